package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// ends is how the server ends a socket.
func ends(t *testing.T, conn *websocket.Conn) int {
	t.Helper()
	for {
		_, _, err := conn.ReadMessage()
		var closed *websocket.CloseError
		if errors.As(err, &closed) {
			return closed.Code
		}
		if err != nil {
			t.Errorf("not closed: %v", err)
			return 0
		}
	}
}

// T18, T19, B35, B36: whatever a browser's end of the socket sends that it should
// not, on both instances: the socket ends for this reason, and the ticket is as
// before.
func TestFramesOfAnAttackerEndTheSocket(t *testing.T) {
	p := startPair(t)
	l := p.turn().create()
	send := func(kind int, texts ...string) func(*websocket.Conn) {
		return func(conn *websocket.Conn) {
			for _, text := range texts {
				conn.WriteMessage(kind, []byte(text))
			}
		}
	}
	raw := func(frame string) func(*websocket.Conn) {
		return func(conn *websocket.Conn) { conn.NetConn().Write([]byte(frame)) }
	}
	say := func(texts ...string) func(*websocket.Conn) { return send(websocket.TextMessage, texts...) }
	ping, watch := `{"type":"ping"}`, asJSON(t, map[string]string{"type": "watch", "device_code": l.deviceCode})
	rows := map[string]struct {
		attack func(*websocket.Conn)
		code   int
	}{
		"65 KB in a frame":         {say(strings.Repeat("x", 65<<10)), 1009},
		"1025 bytes":               {say(`{"type":"` + strings.Repeat("x", 1014) + `"}`), 1009},
		"600 and 600 in fragments": {raw("\x01\xfe\x02\x58\x00\x00\x00\x00" + strings.Repeat("a", 600) + "\x80\xfe\x02\x58\x00\x00\x00\x00" + strings.Repeat("a", 600)), 1009},
		"binary":                   {send(websocket.BinaryMessage, ping), 1003},
		"compressed":               {raw("\xc1\x82\x00\x00\x00\x00{}"), 1002},
		"unmasked":                 {raw("\x81\x02{}"), 1002},
		"a ping of 126":            {raw("\x89\xfe\x00\x7e\x00\x00\x00\x00" + strings.Repeat("a", 126)), 1002},
		"unknown opcode":           {raw("\x83\x80\x00\x00\x00\x00"), 1002},
		"bad UTF-8":                {say("\xff\xfe"), 1007},
		"no JSON":                  {say(`{"type":`), 1008},
		"two values":               {say(ping + ping), 1008},
		"unknown type":             {say(`{"type":"confirm"}`), 1008},
		"watch twice":              {say(watch, watch), 1008},
		"wrong device_code":        {say(`{"type":"watch","device_code":"` + l.id + `"}`), 4401},
		"a flood":                  {say(strings.Split(strings.Repeat(ping+" ", 11), " ")[:11]...), 4429},
		"nothing at all":           {func(*websocket.Conn) {}, 4408},
	}
	p.untouched(l, func() {
		var all sync.WaitGroup
		for name, row := range rows {
			for i, api := range p.api {
				all.Go(func() {
					conn, _, err := api.upgrade("/v1/tickets/"+l.id+"/ws", publicURL)
					if err != nil {
						t.Errorf("%s: %v", name, err)
						return
					}
					row.attack(conn)
					// Two watches of one ticket: whichever comes later replaces the other.
					if code := ends(t, conn); code != row.code && !(name == "watch twice" && code == 4409) {
						t.Errorf("%s at instance %d: closed with %d, want %d", name, i, code, row.code)
					}
				})
			}
		}
		all.Wait()
	})
}

// B34: what is no handshake is answered as any other bad request.
func TestBadHandshakesAreRefused(t *testing.T) {
	p := startPair(t)
	path := "/v1/tickets/" + strings.Repeat("A", 22) + "/ws"
	good := map[string]string{"Origin": publicURL, "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
	for name, change := range map[string][2]string{
		"no Upgrade": {"Upgrade", ""}, "version 8": {"Sec-WebSocket-Version", "8"}, "no key": {"Sec-WebSocket-Key", ""}, "bad key": {"Sec-WebSocket-Key", "x"},
	} {
		var headers []string
		for header, value := range good {
			if header == change[0] {
				value = change[1]
			}
			if value != "" {
				headers = append(headers, header, value)
			}
		}
		p.both(name, 400, "invalid_request", "GET", path, "", headers...)
	}
	p.both("POST", 405, "method_not_allowed", "POST", path, "")
}

// deaf is a browser's socket for which the kernels on both sides keep as little as they
// can, so that it is full when its page has not read a few KB.
func (c *caller) deaf(l login) {
	c.t.Helper()
	small := func(_, _ string, raw syscall.RawConn) (err error) {
		raw.Control(func(fd uintptr) {
			err = errors.Join(syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 1),
				syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 256))
		})
		return err
	}
	dialer := websocket.Dialer{HandshakeTimeout: 5 * time.Second, Subprotocols: []string{"scanlogin.v1"}, NetDialContext: (&net.Dialer{Control: small}).DialContext}
	conn, _, err := dialer.Dial("ws"+strings.TrimPrefix(c.base, "http")+"/v1/tickets/"+l.id+"/ws", http.Header{"Origin": {publicURL}})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { conn.Close() })
	if err := conn.WriteJSON(map[string]string{"type": "watch", "device_code": l.deviceCode}); err != nil {
		c.t.Fatal(err)
	}
}

// neighbour is a login whose browser hears of it at once, whatever others do.
func (p *pair) neighbour(i int, phone string) {
	p.t.Helper()
	l := p.api[i%2].create()
	s, err := watch(p.all[i%2].url, publicURL, l)
	if err != nil {
		p.t.Fatal(err)
	}
	defer s.conn.Close()
	if _, err := s.until("pending", 5*time.Second); err != nil {
		p.t.Fatal(err)
	}
	p.api[(i+1)%2].scan(&l, phone)
	if _, err := s.until("scanned", time.Second); err != nil {
		p.t.Errorf("neighbour %d: %v", i, err)
	}
}

// T18: on each instance a browser stops reading while its phone scans again and again,
// until nothing more can be written to it. Its neighbours are not delayed by that, and it
// is cut off at the write deadline of 5 s. (Heartbeats, which would end it too, are far.)
func TestReaderThatStopsIsCutOff(t *testing.T) {
	t.Parallel()
	p := startPair(t, "SCANLOGIN_HEARTBEAT=10m", "SCANLOGIN_CONFIRM_TTL=10m")
	phones := signInCrowd(p.api[0])
	var watched [2]login
	for i, api := range p.api {
		watched[i] = api.create()
		api.deaf(watched[i])
	}
	begun, changes := time.Now(), 0
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for open := 2; open > 0; changes++ {
		<-tick.C
		if time.Since(begun) > 40*time.Second {
			t.Fatalf("%d are still written to after %d changes", open, changes)
		}
		p.neighbour(changes, phones[person(2+changes%30)])
		open = 0
		for i, s := range p.all {
			if metric(t, s, `scanlogin_hub_event_duration_seconds_count{name="hub.deliver",result="refused"}`) == 0 {
				p.api[1-i].scan(&watched[i], phones[person(i)])
				open++
			}
		}
	}
	t.Logf("both cut off after %d changes and %s", changes, time.Since(begun).Round(time.Millisecond))
	for _, s := range p.all {
		eventually(t, 5*time.Second, "the socket is gone", func() bool { return metric(t, s, `scanlogin_sockets{transport="ws"}`) == 0 })
	}
}

// T18, T20: sockets that read nothing, sockets that talk while they are talked to and
// sockets that vanish, on both instances; the neighbours hear of their logins at
// once, and neither instance panics.
func TestGreedySocketsDelayNobody(t *testing.T) {
	p := startPair(t)
	phones := signInCrowd(p.api[0])
	var greedy sync.WaitGroup
	for i := range 40 {
		greedy.Go(func() {
			api, phone := p.api[i%2], phones[person(i)]
			l := api.create()
			conn, _, err := api.upgrade("/v1/tickets/"+l.id+"/ws", publicURL)
			if err != nil {
				t.Error(err)
				return
			}
			conn.WriteJSON(map[string]string{"type": "watch", "device_code": l.deviceCode})
			for n := range 9 { // all at once with what the phone does, and never reads
				conn.WriteJSON(map[string]string{"type": []string{"refresh", "ping"}[n%2]})
				if n == 4 {
					p.api[(i+1)%2].scan(&l, phone)
				}
			}
			p.api[(i+1)%2].do(200, "POST", "/v1/tickets/"+l.id+"/deny", phone, l.decision())
			if i%3 == 0 {
				conn.NetConn().Close()
			}
		})
	}
	for i := range 10 {
		p.neighbour(i, phones[person(i)])
	}
	greedy.Wait()
	for i, s := range p.all {
		if out := s.output(); strings.Contains(out, "panic") || strings.Contains(out, `"level":"ERROR"`) {
			t.Errorf("instance %d: %s", i, tail(out, 2000))
		}
		s.ready(t)
	}
}

// T21, T30: half a header, a header without end and a token of a million dots take
// nothing from either instance but a connection: 5 s for a header, 10 s for all of it.
func TestSlowAndGiantHeadersAreCutOff(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	var slow sync.WaitGroup
	for i, s := range p.all {
		for begin, within := range map[string]time.Duration{
			"GET /livez HTTP/1.1\r\nHost: login.ex": 6 * time.Second,
			"POST /v1/tickets HTTP/1.1\r\nHost: login.example\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{": 11 * time.Second,
		} {
			slow.Go(func() {
				c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				c.SetDeadline(time.Now().Add(within))
				fmt.Fprint(c, begin)
				if _, err := io.Copy(io.Discard, c); err != nil {
					t.Errorf("instance %d waits on after %s: %v", i, within, err)
				}
			})
		}
	}
	for _, header := range [][]string{{"X-Padding", strings.Repeat("a", 64<<10)}, bearerOf(strings.Repeat(".", 1<<20))} {
		for i, api := range p.api {
			r, err := http.NewRequestWithContext(t.Context(), "POST", api.base+"/v1/scan", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set(header[0], header[1])
			// A server that has read enough may close before all of it is written.
			if a, err := api.send(r); err == nil && a.status != http.StatusRequestHeaderFieldsTooLarge || a.took > 2*time.Second {
				t.Errorf("instance %d: %s: %d after %s, %v", i, header[0], a.status, a.took, err)
			}
		}
	}
	p.both("12 KB of dots", 401, "invalid_token", "POST", "/v1/scan", `{"qr":"x"}`, bearerOf(strings.Repeat(".", 12<<10))...)
	slow.Wait()
}

// T23, B47: nobody has a picture drawn at a size of theirs, or for a ticket that is
// not.
func TestGiantPicturesAreNotDrawn(t *testing.T) {
	p := startPair(t)
	l := p.turn().create()
	before := rss(t, p.all[0])
	for _, scale := range []string{"0", "17", "100000", "-1", "-9999", "abc", "", "1.5", "08", "9223372036854775808"} {
		for _, kind := range []string{"png", "svg"} {
			p.both(scale, 400, "invalid_size", "GET", "/v1/tickets/"+l.id+"/qr."+kind+"?scale="+scale, "", bearerOf(l.deviceCode)...)
		}
	}
	p.both("unknown", 404, "ticket_not_found", "GET", "/v1/tickets/"+strings.Repeat("A", 22)+"/qr.png", "", bearerOf(l.deviceCode)...)
	if grown := rss(t, p.all[0]) - before; grown > 24<<20 {
		t.Errorf("refusing took %d MB", grown>>20)
	}
}
