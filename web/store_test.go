package web

import (
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"scanlogin/auth"
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
// 200, 400 or 401. With addresses it is the bans that cannot be had, without them
// it is what each route needs.
func TestMuteStoreIs503WithinASecond(t *testing.T) {
	t.Run("addresses", func(t *testing.T) { muteStoreIs503(t, "", nil) })
	t.Run("no addresses", func(t *testing.T) {
		muteStoreIs503(t, "https://login.example", func(s *site) {
			code := b64id + "." + strings.Repeat("A", 43)
			for _, conn := range []*websocket.Conn{s.watch(login{id: b64id}, code), s.watchSession("eyJhbGciOiJFZERTQSIsImtpZCI6ImEiLCJ0eXAiOiJhdCtqd3QifQ.e30.c2ln")} {
				if closeCode, _ := closed(t, conn); closeCode != 1013 {
					t.Errorf("socket closed with %d", closeCode)
				}
			}
		})
	})
}

func muteStoreIs503(t *testing.T, publicURL string, sockets func(*site)) {
	store, err := backend.OpenRedis(backend.RedisConfig{URL: "redis://" + mute(t) + "/0", Secret: []byte(strings.Repeat("s", 32))})
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, setup{store: store, publicURL: publicURL, clients: []auth.Client{shop}, limits: true})
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
	ask("POST", "/oauth/revoke", url.Values{"client_id": {"web"}, "token": {jwt}})
	ask("POST", "/oauth/introspect", url.Values{"client_id": {"shop"}, "client_secret": {"right"}, "token": {jwt}})
	ask("GET", "/.well-known/jwks.json", nil)
	ask("GET", "/s", nil)
	ask("GET", "/s/"+strings.Repeat("A", 43), nil)
	ask("GET", "/", nil, "Cookie", s.web.cookieName(webCookie)+"=e30.x")
	ask("POST", "/session", map[string]string{"access_token": jwt})
	asking.Wait()

	if sockets != nil {
		sockets(s)
		return
	}
	if _, a := s.dial("/v1/sessions/current/ws"); a.status != 503 || a.code() != "store_unavailable" {
		t.Errorf("handshake: %d %s", a.status, a.raw)
	}
}
