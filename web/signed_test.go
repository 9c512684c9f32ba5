package web

import (
	"bufio"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// T40: not one byte of what was signed can be changed on the way. The request
// goes over the wire byte by byte; left out are the two that are not signed, the
// protocol's version and the Host header's value.
func TestSignedRequestTampering(t *testing.T) {
	s := newSite(t, setup{publicURL: "http://login.example", callers: callerKeys()})
	fresh := func() []byte {
		l := s.letter(ActionBan, banOfMallory)
		l.target += "?a=1&b=2"
		l = l.signed()
		return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: login.example\r\nContent-Type: application/json\r\nX-Key-Id: %s\r\nX-Timestamp: %s\r\nX-Nonce: %s\r\nX-Signature: %s\r\nContent-Length: %d\r\n\r\n%s",
			l.target, l.key, l.timestamp, l.nonce, l.mac, len(l.body), l.body)
	}
	address := strings.TrimPrefix(s.url, "http://")
	example := string(fresh())
	between := func(i int, from, to string) bool {
		begin := strings.Index(example, from) + len(from)
		return i >= begin && i < begin+strings.Index(example[begin:], to)
	}
	var tampered sync.WaitGroup
	slots := make(chan struct{}, 16)
	for i := range example {
		if between(i, " HTTP/", "\r") || between(i, "Host:", "\r") {
			continue
		}
		slots <- struct{}{}
		tampered.Go(func() {
			defer func() { <-slots }()
			request := fresh()
			request[i] ^= 1
			more := between(i, "Content-Length: ", "{") // then there may be less than was announced
			if status := sendRaw(t, address, request, more); status < 400 || status >= 500 {
				t.Errorf("byte %d of %q changed to %q: %d", i, example, request[i], status)
			}
		})
	}
	tampered.Wait()
	if bans, err := s.auth.Bans(t.Context()); err != nil || len(bans) > 0 {
		t.Errorf("tampered requests had effects: %v, %v", bans, err)
	}
	if status := sendRaw(t, address, fresh(), false); status != 204 {
		t.Errorf("untouched: %d", status)
	}
}

// sendRaw sends bytes and reads a status; 0: there was no answer.
func sendRaw(t *testing.T, address string, request []byte, end bool) int {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	conn.Write(request)
	if end {
		conn.(*net.TCPConn).CloseWrite()
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0
	}
	response.Body.Close()
	return response.StatusCode
}

// B41: a header that is missing, twice there or of another shape is refused
// like a wrong signature, although what is there was signed; and a nonce that
// came with a wrong signature can still be used with the right one.
func TestSignedRequestWithOddHeaders(t *testing.T) {
	s := newSite(t, setup{callers: callerKeys()})
	nonce := rand.Text()
	var bodies []string
	refused := func(name string, l letter, headers ...string) {
		t.Helper()
		a := s.wantPost(401, "bad_signature", l, headers...)
		if got := a.header.Get("WWW-Authenticate"); got != `HMAC-SHA256 realm="scanlogin"` {
			t.Errorf("%s: challenge %q", name, got)
		}
		bodies = append(bodies, strings.ReplaceAll(a.raw, a.text("request_id"), ""))
		if s.spent(l) {
			t.Errorf("%s: the nonce was spent", name)
		}
	}
	for name, change := range map[string]func(*letter){
		"no key": func(l *letter) { l.key = "" }, "key with a slash": func(l *letter) { l.key = "shop/1" },
		"key of 65": func(l *letter) { l.key = strings.Repeat("k", 65) }, "key in other case": func(l *letter) { l.key = "SHOP-1" },
		"no time": func(l *letter) { l.timestamp = "" }, "time in words": func(l *letter) { l.timestamp = "abc" },
		"time in ms":                      func(l *letter) { l.timestamp = strconv.FormatInt(time.Now().UnixMilli(), 10) },
		"time in seconds with a fraction": func(l *letter) { l.timestamp += ".0" },
		"negative time":                   func(l *letter) { l.timestamp = "-" + l.timestamp },
		"time with plus":                  func(l *letter) { l.timestamp = "+" + l.timestamp },
		"hexadecimal":                     func(l *letter) { l.timestamp = "0x691f0000" },
		"endless time":                    func(l *letter) { l.timestamp = strings.Repeat("9", 30) },
		"301 s late":                      func(l *letter) { l.timestamp = unix(-301) },
		"310 s early":                     func(l *letter) { l.timestamp = unix(310) },
		"no nonce":                        func(l *letter) { l.nonce = "" },
		"nonce of 15":                     func(l *letter) { l.nonce = nonce[:15] },
		"nonce of 65":                     func(l *letter) { l.nonce = strings.Repeat("n", 65) },
		"nonce of base64":                 func(l *letter) { l.nonce = nonce[:20] + "+/==" },
		"nonce in two":                    func(l *letter) { l.nonce = nonce[:8] + " " + nonce[8:] },
		"nonce in Greek":                  func(l *letter) { l.nonce = "νννννννννννννννν" },
	} {
		l := s.letter(ActionBan, banOfMallory)
		change(&l)
		refused(name, l.signed())
	}
	for name, change := range map[string]func(string) string{
		"no signature": func(string) string { return "" }, "upper case": strings.ToUpper,
		"63 digits": func(mac string) string { return mac[1:] }, "65 digits": func(mac string) string { return mac + "0" },
		"base64":       func(string) string { return "0SzSLW1tRhYvSzpz9kMPHVMvbQvQhYHCkJZ6wrFP1rY=" },
		"prefixed":     func(mac string) string { return "sha256=" + mac },
		"another one":  func(mac string) string { return strings.Repeat("0", 64) },
		"one bit off":  func(mac string) string { return mac[:63] + string(mac[63]^1) },
		"one and more": func(mac string) string { return mac + ", " + mac },
	} {
		l := s.letter(ActionBan, banOfMallory)
		l.nonce = nonce
		l = l.signed()
		l.mac = change(l.mac)
		refused(name, l)
	}
	for i, name := range []string{"X-Key-Id", "X-Timestamp", "X-Nonce", "X-Signature"} {
		l := s.letter(ActionBan, banOfMallory).signed()
		refused(name+" twice", l, name, l.headers()[2*i+1])
	}
	if slices.Sort(bodies); bodies[0] != bodies[len(bodies)-1] {
		t.Errorf("refusals differ: %s %s", bodies[0], bodies[len(bodies)-1])
	}
	l := s.letter(ActionBan, banOfMallory)
	l.nonce = nonce
	s.wantPost(204, "", l.signed())
	s.wantPost(401, "bad_signature", l.signed())
}

// T40: what was signed for one place opens no other one. B42: raw bytes are
// signed, so there is one way to write each of them.
func TestSignedRequestForAnotherPlace(t *testing.T) {
	s := newSite(t, setup{publicURL: "https://login.example:8443", callers: callerKeys(), proxies: []string{"127.0.0.0/8"}})
	for name, row := range map[string]struct{ sign, send func(*letter) }{
		"another method":         {sign: func(l *letter) { l.method = "GET" }},
		"another action":         {sign: func(l *letter) { l.target = "/v1/server/lift" }},
		"action in capitals":     {sign: func(l *letter) { l.target = "/v1/server/BAN" }},
		"another prefix":         {sign: func(l *letter) { l.target = "/v2/server/ban" }},
		"a query more":           {send: func(l *letter) { l.target += "?a=1" }},
		"a query less":           {sign: func(l *letter) { l.target += "?a=1" }},
		"query in the path":      {sign: func(l *letter) { l.target += "%3Fa=1" }, send: func(l *letter) { l.target += "?a=1" }},
		"another order":          {sign: func(l *letter) { l.target += "?a=1&b=2" }, send: func(l *letter) { l.target += "?b=2&a=1" }},
		"a name once more":       {sign: func(l *letter) { l.target += "?a=1" }, send: func(l *letter) { l.target += "?a=1&a=2" }},
		"%20 and +":              {sign: func(l *letter) { l.target += "?a=%20" }, send: func(l *letter) { l.target += "?a=+" }},
		"%2a and %2A":            {sign: func(l *letter) { l.target += "?a=%2a" }, send: func(l *letter) { l.target += "?a=%2A" }},
		"another host":           {sign: func(l *letter) { l.host = "staging.example:8443" }},
		"host without a port":    {sign: func(l *letter) { l.host = "login.example" }},
		"host in capitals":       {sign: func(l *letter) { l.host = "LOGIN.example:8443" }},
		"host of the wire":       {sign: func(l *letter) { l.host = strings.TrimPrefix(s.url, "http://") }},
		"no host":                {sign: func(l *letter) { l.host = "" }},
		"a line moved":           {sign: func(l *letter) { l.host += "\n" + l.timestamp }},
		"body with a BOM":        {send: func(l *letter) { l.body = "\ufeff" + l.body }},
		"body with a blank":      {send: func(l *letter) { l.body += " " }},
		"no body":                {send: func(l *letter) { l.body = "" }},
		"another key's":          {send: func(l *letter) { l.key = "shop-2" }},
		"an unknown key's":       {send: func(l *letter) { l.key = "shop-3" }},
		"a key without a secret": {send: func(l *letter) { l.key = "shop-3" }, sign: func(l *letter) { l.secret = "" }},
	} {
		l := s.letter(ActionBan, banOfMallory)
		asSent := l
		if row.sign != nil {
			row.sign(&l)
		}
		asSent.mac = l.signed().mac
		if row.send != nil {
			row.send(&asSent)
		}
		if a := s.post(asSent); a.status != 401 || a.code() != "bad_signature" || s.spent(asSent) {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
	}
	good := s.letter(ActionBan, banOfMallory)
	good.target += "?a=%20+&a=2"
	s.wantPost(204, "", good.signed(), "Host", "behind-the-proxy:8080", "X-Forwarded-Host", "evil.test")
	bom := s.letter(ActionBan, "\ufeff"+banOfMallory)
	s.wantPost(400, "invalid_json", bom.signed())
	if bans, err := s.auth.Bans(t.Context()); err != nil || len(bans) != 1 {
		t.Errorf("%v, %v", bans, err)
	}
}

// T40: a caller's clock may be 300 s off, and for as long as a timestamp is
// good its nonce is remembered.
func TestSignedRequestReplayInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, setup{direct: true, callers: callerKeys()})
		send := func(l letter) int {
			r := httptest.NewRequestWithContext(t.Context(), l.method, l.target, strings.NewReader(l.body))
			r.Header.Set("Content-Type", "application/json")
			for headers := l.headers(); len(headers) > 0; headers = headers[2:] {
				r.Header.Set(headers[0], headers[1])
			}
			w := httptest.NewRecorder()
			s.handler.ServeHTTP(w, r)
			return w.Code
		}
		time.Sleep(999 * time.Millisecond) // the last moment of a second
		for seconds, want := range map[int64]int{-301: 401, -300: 204, 0: 204, 300: 204, 301: 401} {
			l := s.letter(ActionBan, banOfMallory)
			l.timestamp = unix(seconds)
			if got := send(l.signed()); got != want {
				t.Errorf("%d s: %d, want %d", seconds, got, want)
			}
		}
		l := s.letter(ActionBan, banOfMallory)
		l.timestamp = unix(300)
		l = l.signed()
		if got := send(l); got != 204 {
			t.Fatal(got)
		}
		for range 700 {
			time.Sleep(time.Second)
			if got := send(l); got != 401 {
				t.Fatalf("replayed: %d", got)
			}
		}
		if s.spent(l) {
			t.Error("the nonce is kept longer than it has to be")
		}
	})
}

// T40: of 50 copies over two instances one is done.
func TestSignedRequestParallelReplay(t *testing.T) {
	first := newSite(t, setup{publicURL: "https://login.example", callers: callerKeys()})
	second := newSite(t, setup{publicURL: "https://login.example", callers: callerKeys(), store: first.store})
	sites := []*site{first, second}
	l := first.letter(ActionBan, banOfMallory).signed()
	var copies sync.WaitGroup
	var done atomic.Int32
	for i := range 50 {
		copies.Go(func() {
			switch a := sites[i%2].post(l); {
			case a.status == 204:
				done.Add(1)
			case a.code() != "bad_signature":
				t.Errorf("%d %s", a.status, a.raw)
			}
		})
	}
	if copies.Wait(); done.Load() != 1 {
		t.Errorf("%d of 50 copies were done", done.Load())
	}
	l = first.letter(ActionBan, banOfMallory).signed()
	first.wantPost(204, "", l)
	second.wantPost(401, "bad_signature", l)
	// Each key has nonces of its own.
	l.key, l.secret = "shop-2", string(callerKeys()["shop-2"].Secret)
	second.wantPost(204, "", l.signed())
}

// T41: both keys of a caller work while it changes them, one that was taken
// away does not; and no key opens what it is not for.
func TestKeyOfOneCallerForAnothersRoute(t *testing.T) {
	keys := callerKeys()
	before := newSite(t, setup{publicURL: "https://login.example", callers: keys})
	left := callerKeys()
	delete(left, "shop-1")
	after := newSite(t, setup{publicURL: "https://login.example", callers: left})
	with := func(key string, action Action, body string) letter {
		l := before.letter(action, body)
		l.key, l.secret = key, string(keys[key].Secret)
		return l.signed()
	}
	before.wantPost(200, "", with("shop-1", ActionEndSessions, `{"user":"demo:alice"}`))
	before.wantPost(200, "", with("shop-2", ActionEndSessions, `{"user":"demo:alice"}`))
	after.wantPost(401, "bad_signature", with("shop-1", ActionEndSessions, `{"user":"demo:alice"}`))
	after.wantPost(200, "", with("shop-2", ActionEndSessions, `{"user":"demo:alice"}`))
	for _, action := range []Action{ActionEndSessions, ActionBan, ActionLift} {
		l := with("till-1", action, `{"user":"demo:alice"}`)
		if before.wantPost(401, "bad_signature", l); before.spent(l) {
			t.Errorf("%s: the nonce was spent", action)
		}
	}
	before.wantPost(404, "ticket_not_found", with("till-1", ActionTicket, `{"ticket_id":"`+b64id+`"}`))
	nobody := newSite(t, setup{publicURL: "https://login.example"})
	for _, action := range Actions {
		nobody.wantPost(401, "bad_signature", with("shop-1", action, `{}`))
		nobody.want(401, "bad_signature", "POST", "/v1/server/"+string(action), nil)
	}
	for _, secret := range []string{string(keys["shop-1"].Secret), string(keys["till-1"].Secret)} {
		if strings.Contains(before.log.String(), secret) {
			t.Error("a secret is in the log")
		}
	}
	for _, line := range []string{`"caller":"shop","key_id":"shop-2","action":"end-sessions"`, "refused for its key, which is not for this action"} {
		if !strings.Contains(before.log.String(), line) {
			t.Errorf("no %s in the log", line)
		}
	}
}

// T41: an answer and its time do not tell which keys there are.
func TestGuessingKeyIDs(t *testing.T) {
	s := newSite(t, setup{direct: true, callers: callerKeys()})
	body := `{"user":"demo:alice","reason":"` + strings.Repeat("x", 8000) + `"}`
	send := func(key string) (time.Duration, string) {
		l := s.letter(ActionBan, body)
		l.key, l.mac = key, strings.Repeat("0", 64)
		r := httptest.NewRequestWithContext(t.Context(), l.method, l.target, strings.NewReader(l.body))
		for headers := l.headers(); len(headers) > 0; headers = headers[2:] {
			r.Header.Set(headers[0], headers[1])
		}
		w := httptest.NewRecorder()
		begun := time.Now()
		s.handler.ServeHTTP(w, r)
		took := time.Since(begun)
		var said problem
		if err := json.Unmarshal(w.Body.Bytes(), &said); err != nil || w.Code != 401 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		return took, strings.ReplaceAll(w.Body.String(), said.RequestID, "")
	}
	took := map[string][]time.Duration{}
	_, first := send("shop-1")
	for range 1000 {
		for _, key := range []string{"shop-1", "till-1", "none-1"} {
			d, said := send(key)
			if took[key] = append(took[key], d); said != first {
				t.Fatalf("%s and %s", said, first)
			}
		}
	}
	median := func(key string) float64 { slices.Sort(took[key]); return float64(took[key][500]) }
	for _, key := range []string{"till-1", "none-1"} {
		if ratio := median(key) / median("shop-1"); ratio < 0.8 || ratio > 1.25 {
			t.Errorf("%s: %.2f of the time of a key that is there", key, ratio)
		}
	}
}

// B5: a body is read once and to 8 KiB, whoever it is from.
func TestSignedRequestWithAMegabyte(t *testing.T) {
	s := newSite(t, setup{callers: callerKeys()})
	for _, key := range []string{"shop-1", "till-1", "none-1"} {
		l := s.letter(ActionBan, `{"user":"`+strings.Repeat("a", 1<<20)+`"}`)
		l.key = key
		s.wantPost(413, "body_too_large", l.signed())
	}
	whole := banOfMallory + strings.Repeat(" ", 8<<10-len(banOfMallory))
	s.wantPost(204, "", s.letter(ActionBan, whole).signed())
	s.wantPost(413, "body_too_large", s.letter(ActionBan, whole+" ").signed())
}

// F13: while the store cannot say whether a nonce was spent, nothing is done.
func TestSignedRequestWithoutANonceStore(t *testing.T) {
	s := newSite(t, setup{publicURL: "https://login.example", callers: callerKeys()}) // addresses are not known: no ban is looked up first
	s.store.Close()
	s.wantPost(503, "store_unavailable", s.letter(ActionBan, banOfMallory).signed())
	l := s.letter(ActionBan, banOfMallory)
	s.wantPost(401, "bad_signature", l) // who cannot sign does not reach the store
}

// Browsers have no business here: no page of another origin may send the
// headers, and what a browser adds by itself counts for nothing.
func TestPagesCannotSign(t *testing.T) {
	const friend = "https://shop.example"
	s := newSite(t, setup{publicURL: "https://login.example", origins: []string{friend}, callers: callerKeys()})
	a := s.send("OPTIONS", "/v1/server/ban", nil, "Origin", friend, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "x-signature")
	if allowed := strings.ToLower(a.header.Get("Access-Control-Allow-Headers")); strings.Contains(allowed, "x-") || strings.Contains(allowed, "*") {
		t.Errorf("pages may send %q", allowed)
	}
	s.wantPost(403, "cross_origin", s.letter(ActionBan, banOfMallory).signed(), "Origin", "https://evil.test")
	s.wantPost(204, "", s.letter(ActionBan, banOfMallory).signed(), "Cookie", "__Host-scanlogin=x", "Authorization", "Bearer x")
	bans, err := s.auth.Bans(t.Context())
	if err != nil || len(bans) != 1 || bans[0].Network != (netip.Prefix{}) {
		t.Errorf("%v, %v", bans, err)
	}
}
