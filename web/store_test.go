package web

import (
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"scanlogin/qrlogin/backend"
)

// mute listens, accepts and never says a word.
func mute(t *testing.T) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var accepting sync.WaitGroup
	var conns []net.Conn
	accepting.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns = append(conns, c)
		}
	})
	t.Cleanup(func() {
		l.Close()
		accepting.Wait()
		for _, c := range conns {
			c.Close()
		}
	})
	return l.Addr().String()
}

// Contract section 2: a store that cannot be reached is 503 within 1 s, never
// 200, 400 or 401.
func TestMuteStoreIs503WithinASecond(t *testing.T) {
	store, err := backend.OpenRedis(backend.RedisConfig{URL: "redis://" + mute(t) + "/0", Secret: []byte(strings.Repeat("s", 32))})
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, setup{store: store})
	s.want(200, "", "GET", "/livez", nil)
	s.want(200, "", "GET", "/version", nil)
	jwt := "eyJhbGciOiJFZERTQSIsImtpZCI6ImEiLCJ0eXAiOiJhdCtqd3QifQ.e30.c2ln"
	code := b64id + "." + strings.Repeat("A", 43)
	var asking sync.WaitGroup
	ask := func(method, path string, body any, headers ...string) {
		asking.Go(func() {
			begun := time.Now()
			a := s.send(method, path, body, headers...)
			if took := time.Since(begun); a.status != 503 || took > 1300*time.Millisecond { // a second, and the scheduler's part
				t.Errorf("%s %s: %d %s after %s", method, path, a.status, a.code(), took)
			}
		})
	}
	ask("GET", "/readyz", nil)
	ask("POST", "/v1/tickets", nil)
	for _, route := range bearerRoutes(b64id) {
		credential := code
		if route.none == "invalid_token" {
			credential = jwt
		}
		ask(route.method, route.path, route.body, bearerOf(credential)...)
	}
	ask("GET", "/v1/tickets/"+b64id+"?seq=1&wait=25", nil, bearerOf(code)...)
	ask("POST", "/v1/signin/demo", map[string]string{"credential": "alice"})
	ask("POST", "/oauth/token", redemption(login{deviceCode: code}))
	ask("POST", "/oauth/token", refresh(answer{body: map[string]any{"refresh_token": "sl_rt_" + strings.Repeat("A", 200)}}))
	ask("GET", "/.well-known/jwks.json", nil)
	ask("GET", "/s", nil)
	ask("GET", "/s/"+strings.Repeat("A", 43), nil)
	ask("GET", "/", nil, "Cookie", "scanlogin-web=e30.x")
	ask("POST", "/session", map[string]string{"access_token": jwt})
	asking.Wait()

	conn := s.watch(login{id: b64id}, code)
	if closeCode, _ := closed(t, conn); closeCode != 1013 {
		t.Errorf("socket closed with %d", closeCode)
	}
}
