package main

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

func TestBanIsEffectiveAtOnce(t *testing.T) {
	onBothStores(t, []string{"SCANLOGIN_TRUSTED_PROXIES=127.0.0.0/8"}, func(t *testing.T, s *service) {
		here, there := s.api(t, 0), s.api(t, 1)
		phone, other := here.signIn("alice"), here.signIn("bob")
		one, two := here.login(phone), there.login(phone)
		bystander := there.login(other)
		waiting := there.create()
		there.scan(&waiting, phone)
		there.confirm(waiting, phone)
		sockets := []*sessionSocket{s.follow(t, 0, one.access), s.follow(t, 1, two.access), s.follow(t, 1, phone)}
		bystanders := s.follow(t, 1, bystander.access)

		admin := operator{t, s.first}
		admin.do("ban", "add", "demo:alice", "--for", "1h", "--reason", "spam")
		for _, socket := range sockets {
			socket.ends(t, "banned")
		}
		for _, api := range []*caller{here, there} {
			if a := api.do(403, "GET", "/v1/sessions", one.access, nil); a.code() != "user_banned" {
				t.Error(a.raw)
			}
			if a := api.do(403, "POST", "/v1/scan", phone, map[string]string{"qr": "x"}); a.code() != "user_banned" {
				t.Error(a.raw)
			}
			if a := api.do(400, "POST", "/oauth/token", "", refreshForm(two.refresh)); a.code() != "invalid_grant" {
				t.Error(a.raw)
			}
			if a := api.do(400, "POST", "/oauth/token", "", redeemForm(waiting)); a.code() != "invalid_grant" {
				t.Error(a.raw)
			}
			if a := api.do(403, "POST", "/v1/signin/demo", "", map[string]string{"credential": "alice"}); a.code() != "user_banned" {
				t.Error(a.raw)
			}
			api.do(401, "GET", "/oauth/userinfo", one.access, nil)
			api.alive(bystander.access)
		}
		if out := admin.do("ban", "list"); !strings.Contains(out, "demo:alice") || !strings.Contains(out, "spam") {
			t.Errorf("list: %s", out)
		}
		admin.do("ban", "lift", "demo:alice")
		eventually(t, time.Second, "the ban is lifted on the other instance", func() bool {
			a, err := there.try("POST", "/v1/signin/demo", "", map[string]string{"credential": "alice"})
			return err == nil && a.status == 200
		})
		here.dead(one)
		there.dead(two)

		// A whole network: its open ticket socket and its requests; nobody else's.
		from := func(address, method, path string) int {
			request, err := http.NewRequest(method, s.urls[1]+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("X-Forwarded-For", address)
			a, err := there.send(request)
			if err != nil {
				t.Fatal(err)
			}
			return a.status
		}
		l := there.create()
		dialer := websocket.Dialer{HandshakeTimeout: 5 * time.Second, Subprotocols: []string{"scanlogin.v1"}}
		conn, response, err := dialer.Dial("ws"+strings.TrimPrefix(s.urls[1], "http")+"/v1/tickets/"+l.id+"/ws",
			http.Header{"Origin": {s.public}, "X-Forwarded-For": {"203.0.113.9"}})
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		defer conn.Close()
		if err := conn.WriteJSON(map[string]string{"type": "watch", "device_code": l.deviceCode}); err != nil {
			t.Fatal(err)
		}
		evil := &socket{conn}
		if _, err := evil.until("pending", 5*time.Second); err != nil {
			t.Fatal(err)
		}
		admin.do("ban", "add", "203.0.113.0/24")
		var closed *websocket.CloseError
		if _, err := evil.next(time.Second); !errors.As(err, &closed) || closed.Code != 1008 {
			t.Errorf("the socket of a banned network: %v", err)
		}
		if got := from("203.0.113.200", "POST", "/v1/tickets"); got != 403 {
			t.Errorf("from the banned network: %d", got)
		}
		if got := from("203.0.113.200", "GET", "/readyz"); got != 200 {
			t.Errorf("a probe: %d", got)
		}
		if got := from("203.0.114.200", "POST", "/v1/tickets"); got != 201 {
			t.Errorf("from another network: %d", got)
		}
		if _, err := bystanders.next(200 * time.Millisecond); !isTimeout(err) {
			t.Errorf("a bystander's socket: %v", err)
		}
		admin.do("ban", "lift", "203.0.113.0/24")
		eventually(t, time.Second, "the network is let in again", func() bool { return from("203.0.113.200", "POST", "/v1/tickets") == 201 })
	})
}

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}
