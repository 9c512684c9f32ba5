package web

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"scanlogin/hub"
)

// dial opens a ticket's socket; headers come in pairs and win.
func (s *site) dial(path string, headers ...string) (*websocket.Conn, answer) {
	s.t.Helper()
	h := http.Header{"Origin": {s.public}}
	for i := 0; i < len(headers); i += 2 {
		h[headers[i]] = []string{headers[i+1]}
	}
	dialer := websocket.Dialer{HandshakeTimeout: 5 * time.Second, Subprotocols: []string{"scanlogin.v1"}, EnableCompression: true}
	patience := 10 * time.Second
	if s.pipes != nil {
		dialer.NetDialContext, patience = s.pipes.dial, 24*time.Hour // of virtual time
	}
	conn, response, err := dialer.DialContext(s.t.Context(), "ws"+strings.TrimPrefix(s.url, "http")+path, h)
	if response == nil {
		s.t.Fatal(err)
	}
	a := answer{status: response.StatusCode, header: response.Header}
	if err != nil {
		raw, _ := io.ReadAll(response.Body) // the library keeps the first KB
		a.raw = string(raw)
		json.Unmarshal(raw, &a.body)
		return nil, a
	}
	s.t.Cleanup(func() { conn.Close() })
	conn.SetReadDeadline(time.Now().Add(patience))
	return conn, a
}

// watch opens a socket and says what it wants to see.
func (s *site) watch(l login, deviceCode string) *websocket.Conn {
	s.t.Helper()
	return s.watchAt(l.path("/ws"), map[string]string{"type": "watch", "device_code": deviceCode})
}

func (s *site) watchAt(path string, frame map[string]string) *websocket.Conn {
	s.t.Helper()
	conn, a := s.dial(path)
	if conn == nil {
		s.t.Fatalf("handshake: %d %s", a.status, a.raw)
	}
	if err := conn.WriteJSON(frame); err != nil {
		s.t.Fatal(err)
	}
	return conn
}

// frame reads the next frame.
func frameOf(t testing.TB, conn *websocket.Conn) (a answer) {
	t.Helper()
	_, raw, err := conn.ReadMessage()
	if err != nil {
		t.Fatal(err)
	}
	a.raw = string(raw)
	if err := json.Unmarshal(raw, &a.body); err != nil {
		t.Fatal(err)
	}
	return a
}

// closed reads until the server closes and says how.
func closed(t testing.TB, conn *websocket.Conn) (code int, reason string) {
	t.Helper()
	for {
		_, _, err := conn.ReadMessage()
		var c *websocket.CloseError
		if errors.As(err, &c) {
			return c.Code, c.Text
		}
		if err != nil {
			t.Fatalf("not closed: %v", err)
		}
	}
}

// T15: only pages of exactly the allowed origins may open a socket.
func TestCrossSiteWebSocketHijacking(t *testing.T) {
	const public, friend = "https://login.example", "https://shop.example"
	s := newSite(t, setup{publicURL: public, origins: []string{friend}})
	l := s.create(nil)
	for _, origin := range []string{
		"https://evil.test", "null", "", "https://login.example.evil.test", "http://login.example", "https://login.example:8443",
		"https://evil.test/https://login.example", "https://LOGIN.example", "https://login.example/", "file://", s.url,
	} {
		_, a := s.dial(l.path("/ws"), "Origin", origin)
		if a.status != 403 || a.code() != "cross_origin" || a.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("Origin %q: %d %s", origin, a.status, a.raw)
		}
	}
	for _, origin := range []string{public, friend} {
		conn, a := s.dial(l.path("/ws"), "Origin", origin)
		if a.status != 101 || a.header.Get("Sec-WebSocket-Protocol") != "scanlogin.v1" {
			t.Errorf("Origin %q: %d %s", origin, a.status, a.raw)
		}
		// T19: no compression, whatever is offered.
		if conn == nil || a.header.Get("Sec-WebSocket-Extensions") != "" {
			t.Errorf("extensions %q", a.header.Get("Sec-WebSocket-Extensions"))
		}
	}
}

// B34, B37: what is no handshake is answered like every other bad request.
func TestBadHandshakesAreProblems(t *testing.T) {
	s := newSite(t, setup{})
	path := "/v1/tickets/" + b64id + "/ws"
	good := map[string]string{"Origin": s.public, "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
	for name, change := range map[string][2]string{
		"no Upgrade": {"Upgrade", ""}, "another Upgrade": {"Upgrade", "h2c"}, "no Connection": {"Connection", ""},
		"version 8": {"Sec-WebSocket-Version", "8"}, "no version": {"Sec-WebSocket-Version", ""},
		"no key": {"Sec-WebSocket-Key", ""}, "bad key": {"Sec-WebSocket-Key", "x"},
	} {
		var headers []string
		for header, value := range good {
			if header == change[0] {
				value = change[1]
			}
			headers = append(headers, header, value)
		}
		a := s.want(400, "invalid_request", "GET", path, nil, headers...)
		if a.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %v", name, a.header)
		}
	}
	s.want(405, "method_not_allowed", "POST", path, nil, "Origin", s.public, "Upgrade", "websocket", "Connection", "Upgrade")
	if _, a := s.dial(path + "?token=x"); a.status != 400 || a.code() != "token_in_url" {
		t.Errorf("token in the URL: %d %s", a.status, a.raw)
	}
	// A server that can't hijack says no more than that it failed.
	w := httptest.NewRecorder()
	HandshakeError(w, httptest.NewRequest("GET", path, nil), http.StatusInternalServerError, errors.New("secret detail"))
	if w.Code != 500 || strings.Contains(w.Body.String(), "secret") {
		t.Errorf("hijack failed: %d %s", w.Code, w.Body)
	}
}

// One of each close code through the whole stack; the hub's own
// tests go deeper.
func TestSocketCloseCodes(t *testing.T) {
	s := newSite(t, setup{hub: hub.Config{WatchWithin: 300 * time.Millisecond}})
	l, other := s.create(nil), s.create(nil)
	unknown := login{id: b64id}
	say := func(frames ...string) func() *websocket.Conn {
		return func() *websocket.Conn {
			conn := s.watch(l, l.deviceCode)
			for _, f := range frames {
				conn.WriteMessage(websocket.TextMessage, []byte(f))
			}
			return conn
		}
	}
	first := func(kind int, frame string) func() *websocket.Conn {
		return func() *websocket.Conn {
			conn, _ := s.dial(l.path("/ws"))
			conn.WriteMessage(kind, []byte(frame))
			return conn
		}
	}
	rows := []struct {
		name string
		open func() *websocket.Conn
		code int
		word string
	}{
		{"no watch", func() *websocket.Conn { conn, _ := s.dial(l.path("/ws")); return conn }, 4408, "watch_timeout"},
		{"wrong code", func() *websocket.Conn { return s.watch(l, other.deviceCode) }, 4401, "invalid_device_code"},
		{"no code", func() *websocket.Conn { return s.watch(l, "") }, 4401, "invalid_device_code"},
		{"id for code", func() *websocket.Conn { return s.watch(l, l.id) }, 4401, "invalid_device_code"},
		{"unknown", func() *websocket.Conn { return s.watch(unknown, l.deviceCode) }, 4404, "ticket_not_found"},
		{"malformed id", func() *websocket.Conn { return s.watch(login{id: "x"}, l.deviceCode) }, 4404, "ticket_not_found"},
		{"unknown type first", first(websocket.TextMessage, `{"type":"confirm","device_code":"`+l.deviceCode+`"}`), 1008, "bad_message"},
		{"bad JSON", say(`{"type":`), 1008, "bad_message"},
		{"no object", say(`[]`), 1008, "bad_message"},
		{"two values", say(`{"type":"ping"}{}`), 1008, "bad_message"},
		{"duplicate member", say(`{"type":"ping","type":"refresh"}`), 1008, "bad_message"},
		{"NUL", say(`{"type":"ping\u0000"}`), 1008, "bad_message"},
		{"unknown type", say(`{"type":"confirm"}`), 1008, "bad_message"},
		{"type is no string", say(`{"type":1}`), 1008, "bad_message"},
		{"watch twice", say(`{"type":"watch","device_code":"x"}`), 1008, "bad_message"},
		{"too big", say(`{"type":"ping","x":"` + strings.Repeat("a", 1024) + `"}`), 1009, "too_big"},
		{"too many", say(strings.Split(strings.Repeat(`{"type":"ping"} `, 12), " ")[:12]...), 4429, "too_many"},
		{"binary", first(websocket.BinaryMessage, "{}"), 1003, "not_text"},
		{"replaced", func() *websocket.Conn {
			first := s.watch(l, l.deviceCode)
			frameOf(t, first) // hello
			frameOf(t, first) // its snapshot
			first.WriteMessage(websocket.TextMessage, []byte(`{"type":"ping"}`))
			frameOf(t, first) // pong: its watch is done with
			s.watch(l, l.deviceCode)
			return first
		}, 4409, "replaced"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			if code, word := closed(t, row.open()); code != row.code || word != row.word {
				t.Errorf("%d %q, want %d %q", code, word, row.code, row.word)
			}
		})
	}
}

// The whole login as a browser's socket sees it; until the confirm it learns
// no more of the user than the masked name (T14).
func TestIdentityIsMaskedOnTheSocket(t *testing.T) {
	s := newSite(t, setup{})
	alice := s.phone("alice")
	l := s.create(nil)
	conn := s.watch(l, l.deviceCode)
	hello := frameOf(t, conn)
	if hello.raw != `{"type":"hello","heartbeat_ms":25000,"watch_within_ms":5000}` {
		t.Errorf("hello: %s", hello.raw)
	}
	pending := frameOf(t, conn)
	if pending.text("status") != "pending" || pending.text("type") != "ticket" || pending.text("verification_uri_complete") != l.qr || pending.body["device_code"] != nil {
		t.Errorf("first snapshot: %s", pending.raw)
	}
	conn.WriteMessage(websocket.TextMessage, []byte(`{"type":"ping","new_member":1}`))
	if pong := frameOf(t, conn); pong.raw != `{"type":"pong"}` {
		t.Errorf("pong: %s", pong.raw)
	}
	conn.WriteMessage(websocket.TextMessage, []byte(`{"type":"refresh"}`))
	if fresh := frameOf(t, conn); fresh.text("status") != "pending" || fresh.seq() != pending.seq() {
		t.Errorf("refreshed: %s", fresh.raw)
	}
	s.scan(&l, alice)
	scanned := frameOf(t, conn)
	user, _ := scanned.body["user"].(map[string]any)
	if scanned.text("status") != "scanned" || len(user) != 1 || user["name"] != "A***e" || scanned.seq() <= pending.seq() {
		t.Errorf("scanned: %s", scanned.raw)
	}
	for _, member := range []string{"verification_uri_complete", "qr_image", "rotates_in", "reason"} {
		if scanned.body[member] != nil {
			t.Errorf("scanned, and yet %s", member)
		}
	}
	conn.WriteMessage(websocket.TextMessage, []byte(`{"type":"refresh"}`)) // ignored now
	s.confirm(l, alice)
	if confirmed := frameOf(t, conn); confirmed.text("status") != "confirmed" || strings.Contains(confirmed.raw, "demo:") {
		t.Errorf("confirmed: %s", confirmed.raw)
	}
	if code, _ := closed(t, conn); code != 1000 {
		t.Errorf("closed with %d", code)
	}
}

func TestIdentityIsGoneAfterADenial(t *testing.T) {
	s := newSite(t, setup{})
	alice := s.phone("alice")
	l := s.create(nil)
	s.scan(&l, alice)
	conn := s.watch(l, l.deviceCode)
	frameOf(t, conn)
	frameOf(t, conn)
	s.want(200, "", "POST", l.path("/deny"), map[string]string{"confirm_token": l.confirmToken}, bearerOf(alice)...)
	if denied := frameOf(t, conn); denied.text("status") != "denied" || denied.text("reason") != "by_user" || denied.body["user"] != nil {
		t.Errorf("denied: %s", denied.raw)
	}
	if code, _ := closed(t, conn); code != 1000 {
		t.Errorf("closed with %d", code)
	}
}

// The same login over server-sent events.
func TestEventsTellTheWholeLogin(t *testing.T) {
	s := newSite(t, setup{})
	alice := s.phone("alice")
	l := s.create(nil)
	response, err := s.client.Do(s.request("GET", l.path("/events"), nil, bearerOf(l.deviceCode)...))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	h := response.Header
	if response.StatusCode != 200 || h.Get("Content-Type") != "text/event-stream" || h.Get("X-Accel-Buffering") != "no" || !strings.Contains(h.Get("Cache-Control"), "no-transform") {
		t.Fatalf("%d %v", response.StatusCode, h)
	}
	lines := bufio.NewScanner(response.Body)
	next := func() (name, id string, a answer) {
		for lines.Scan() {
			field, value, _ := strings.Cut(lines.Text(), ": ")
			switch field {
			case "event":
				name = value
			case "id":
				id = value
			case "data":
				a.raw = value
				json.Unmarshal([]byte(value), &a.body)
				return name, id, a
			}
		}
		return "", "", a
	}
	for _, step := range []struct {
		status string
		do     func()
	}{{"pending", func() {}}, {"scanned", func() { s.scan(&l, alice) }}, {"confirmed", func() { s.confirm(l, alice) }}} {
		step.do()
		if name, id, a := next(); name != "ticket" || id != number(a.seq()) || a.text("status") != step.status || a.text("type") != "ticket" {
			t.Errorf("%s: event %q, id %q: %s", step.status, name, id, a.raw)
		}
	}
	if rest, err := io.ReadAll(response.Body); err != nil || len(rest) > 1 {
		t.Errorf("after confirmed: %q, %v", rest, err)
	}
	s.want(401, "invalid_device_code", "GET", l.path("/events"), nil)
	s.want(404, "ticket_not_found", "GET", "/v1/tickets/"+b64id+"/events", nil, bearerOf(l.deviceCode)...)
}

// A browser that leaves its long poll is no fault of the store's.
func TestLeavingALongPollIsNoFault(t *testing.T) {
	s := newSite(t, setup{})
	l := s.create(nil)
	seq := number(s.want(200, "", "GET", l.path(""), nil, bearerOf(l.deviceCode)...).seq())
	ctx, leave := context.WithCancel(t.Context())
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		r := s.request("GET", l.path("?wait=20&seq="+seq), nil, bearerOf(l.deviceCode)...)
		if response, err := s.client.Do(r.WithContext(ctx)); err == nil {
			response.Body.Close()
		}
	}()
	eventually(t, "the poll waits", func() bool { return s.hub.Stats().Poll == 1 })
	leave()
	<-asked
	eventually(t, "the poll has ended", func() bool { return strings.Contains(s.log.String(), `"status":499`) })
	for _, word := range []string{`"WARN"`, `"ERROR"`} {
		if strings.Contains(s.log.String(), word) {
			t.Errorf("the log complains: %s", s.log)
		}
	}
}

// An instance that is leaving takes no new watchers; the rest is still served.
func TestLeavingInstanceRefusesNewcomers(t *testing.T) {
	s := newSite(t, setup{})
	l := s.create(nil)
	seq := number(s.want(200, "", "GET", l.path(""), nil, bearerOf(l.deviceCode)...).seq())
	s.web.Leave()
	s.want(503, "overloaded", "GET", "/readyz", nil)
	s.want(200, "", "GET", "/livez", nil)
	if conn, _ := s.dial(l.path("/ws")); conn == nil {
		t.Error("refused before the end of the notice")
	}
	s.web.Close()
	if _, a := s.dial(l.path("/ws")); a.status != 503 || a.code() != "overloaded" || a.header.Get("Retry-After") == "" {
		t.Errorf("socket: %d %s", a.status, a.raw)
	}
	s.want(503, "overloaded", "GET", l.path("/events"), nil, bearerOf(l.deviceCode)...)
	s.want(503, "overloaded", "GET", l.path("?wait=20&seq="+seq), nil, bearerOf(l.deviceCode)...)
	s.want(200, "", "GET", l.path(""), nil, bearerOf(l.deviceCode)...)
	s.create(nil)
}

// T18, B35: frames that break RFC 6455 end the socket with 1002.
func TestBrokenFramesEndTheSocket(t *testing.T) {
	s := newSite(t, setup{})
	l := s.create(nil)
	for name, frame := range map[string]string{
		"unmasked":         "\x81\x02{}",
		"RSV1, compressed": "\xc1\x82\x00\x00\x00\x00{}",
		"ping of 126":      "\x89\xfe\x00\x7e\x00\x00\x00\x00" + strings.Repeat("a", 126),
		"unknown opcode":   "\x83\x80\x00\x00\x00\x00",
	} {
		conn, _ := s.dial(l.path("/ws"))
		if _, err := conn.NetConn().Write([]byte(frame)); err != nil {
			t.Fatal(err)
		}
		if code, _ := closed(t, conn); code != 1002 {
			t.Errorf("%s: closed with %d", name, code)
		}
	}
}
