package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// service is a running service as its clients know it: where requests go, in turn.
type service struct {
	public string
	urls   []string
	first  *server // whose admin listener is asked
}

// onBothStores runs a test against one instance on the memory store and
// against two on a Redis of their own.
func onBothStores(t *testing.T, env []string, test func(t *testing.T, s *service)) {
	t.Helper()
	const public = "http://login.example"
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		one := startServer(t, serveEnv(public, env...)).ready(t)
		test(t, &service{public: public, urls: []string{one.url, one.url}, first: one})
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		both := serveEnv(public, append([]string{"SCANLOGIN_REDIS_URL=" + startRedis(t).url()}, env...)...)
		one, two := startServer(t, both), startServer(t, both)
		test(t, &service{public: public, urls: []string{one.ready(t).url, two.ready(t).url}, first: one})
	})
}

// api is a client of the i-th instance.
func (s *service) api(t testing.TB, i int) *caller { return newCaller(t, s.urls[i%len(s.urls)]) }

// tokens is what a browser holds after a login.
type tokens struct{ access, refresh, sid string }

func (c *caller) tokens(a answer) tokens {
	c.t.Helper()
	sid, ok := claim(c.t, a.text("access_token"), "sid").(string)
	if !ok {
		c.t.Fatal("a token without a session")
	}
	return tokens{a.text("access_token"), a.text("refresh_token"), sid}
}

// login is a whole login by QR.
func (c *caller) login(phone string) tokens {
	c.t.Helper()
	l := c.create()
	c.scan(&l, phone)
	c.confirm(l, phone)
	return c.tokens(c.do(200, "POST", "/oauth/token", "", redeemForm(l)))
}

func (c *caller) refresh(token string) tokens {
	c.t.Helper()
	return c.tokens(c.do(200, "POST", "/oauth/token", "", refreshForm(token)))
}

// dead says that nothing is left of a session.
func (c *caller) dead(k tokens) {
	c.t.Helper()
	if a := c.do(401, "GET", "/v1/sessions", k.access, nil); a.code() != "invalid_token" {
		c.t.Errorf("access: %s", a.raw)
	}
	if a := c.do(400, "POST", "/oauth/token", "", refreshForm(k.refresh)); a.code() != "invalid_grant" {
		c.t.Errorf("refresh: %s", a.raw)
	}
}

func (c *caller) alive(access string) {
	c.t.Helper()
	c.do(200, "GET", "/oauth/userinfo", access, nil)
}

// sessionSocket watches a session.
type sessionSocket struct{ conn *websocket.Conn }

type sessionFrame struct{ Type, Status, Reason, ID, Device string }

func (s *service) follow(t testing.TB, i int, access string) *sessionSocket {
	t.Helper()
	dialer := websocket.Dialer{HandshakeTimeout: 5 * time.Second, Subprotocols: []string{"scanlogin.v1"}}
	conn, response, err := dialer.Dial("ws"+strings.TrimPrefix(s.urls[i%len(s.urls)], "http")+"/v1/sessions/current/ws", http.Header{"Origin": {s.public}})
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	t.Cleanup(func() { conn.Close() })
	if err := conn.WriteJSON(map[string]string{"type": "watch", "access_token": access}); err != nil {
		t.Fatal(err)
	}
	socket := &sessionSocket{conn}
	if f, err := socket.next(5 * time.Second); err != nil || f.Type != "session" || f.Status != "active" {
		t.Fatalf("first frame %+v, %v", f, err)
	}
	return socket
}

// next reads the next frame that is not the hello.
func (s *sessionSocket) next(within time.Duration) (sessionFrame, error) {
	s.conn.SetReadDeadline(time.Now().Add(within))
	for {
		_, raw, err := s.conn.ReadMessage()
		if err != nil {
			return sessionFrame{}, err
		}
		var f sessionFrame
		if err := json.Unmarshal(raw, &f); err != nil || f.Type != "hello" {
			return f, err
		}
	}
}

// ends wants the end for this reason, and the close that follows it, within a
// second.
func (s *sessionSocket) ends(t testing.TB, reason string) {
	t.Helper()
	begun := time.Now()
	for {
		f, err := s.next(time.Second - time.Since(begun))
		if err != nil {
			t.Errorf("no end for being %s: %v", reason, err)
			return
		}
		if f.Type == "sign_in" {
			continue
		}
		if f.Status != "ended" || f.Reason != reason {
			t.Errorf("%+v, want the end for being %s", f, reason)
		}
		break
	}
	var closed *websocket.CloseError
	if _, err := s.next(time.Second); !errors.As(err, &closed) || closed.Code != 4401 {
		t.Errorf("after the end: %v", err)
	}
}

func TestRefreshFamily(t *testing.T) {
	onBothStores(t, []string{"SCANLOGIN_REFRESH_GRACE=2s"}, func(t *testing.T, s *service) {
		here, there := s.api(t, 0), s.api(t, 1)
		phone := here.signIn("alice")

		first := here.login(phone)
		answers := make([]string, 64)
		var wg sync.WaitGroup
		for i := range answers {
			api := s.api(t, i)
			wg.Go(func() {
				a, err := api.try("POST", "/oauth/token", "", refreshForm(first.refresh))
				if err != nil || a.status != 200 {
					t.Errorf("refresh %d: %v %d %s", i, err, a.status, a.raw)
				}
				answers[i] = a.text("refresh_token")
			})
		}
		wg.Wait()
		for _, a := range answers {
			if a != answers[0] || a == first.refresh {
				t.Fatal("64 refreshes at once do not have one successor")
			}
		}
		second := there.refresh(answers[0])
		here.alive(second.access)
		here.alive(first.access)

		// Whoever shows it: made up, cut, another client's.
		for name, form := range map[string]url.Values{
			"made up":        refreshForm("sl_rt_" + strings.Repeat("A", 200)),
			"cut":            refreshForm(first.refresh[:len(first.refresh)-3]),
			"access token":   refreshForm(first.access),
			"another client": {"grant_type": {"refresh_token"}, "client_id": {"device"}, "refresh_token": {first.refresh}},
		} {
			if a := here.do(400, "POST", "/oauth/token", "", form); a.code() != "invalid_grant" {
				t.Errorf("%s: %s", name, a.raw)
			}
			there.alive(second.access)
		}

		socket := s.follow(t, 1, second.access)
		here.do(400, "POST", "/oauth/token", "", refreshForm(first.refresh)) // the thief
		socket.ends(t, "reuse")
		there.dead(second)
		here.alive(here.login(phone).access)

		late := here.login(phone)
		next := here.refresh(late.refresh)
		if again := there.refresh(late.refresh); again.refresh != next.refresh {
			t.Error("a lost answer is given again as another one")
		}
		eventually(t, 5*time.Second, "the grace ends", func() bool {
			a, err := there.try("POST", "/oauth/token", "", refreshForm(late.refresh))
			return err == nil && a.code() == "invalid_grant"
		})
		here.dead(next)
	})
}

func TestSessionEndsByItself(t *testing.T) {
	onBothStores(t, []string{"SCANLOGIN_REFRESH_IDLE=3s", "SCANLOGIN_REFRESH_TTL=6s"}, func(t *testing.T, s *service) {
		api := s.api(t, 0)
		phone := api.signIn("alice")
		idle, busy := api.login(phone), api.login(phone)
		begun := time.Now()
		idleSocket, busySocket := s.follow(t, 0, idle.access), s.follow(t, 1, busy.access)
		over := make(chan time.Duration, 1)
		go func() {
			if f, err := idleSocket.next(8 * time.Second); err != nil || f.Reason != "expired" {
				t.Errorf("idle: %+v, %v", f, err)
			}
			over <- time.Since(begun)
		}()
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for time.Since(begun) < 4500*time.Millisecond {
			<-tick.C
			busy = api.refresh(busy.refresh)
		}
		if took := <-over; took < 2*time.Second || took > 4*time.Second {
			t.Errorf("idle for 3 s: ended after %s", took)
		}
		api.dead(idle)
		if f, err := busySocket.next(4 * time.Second); err != nil || f.Reason != "expired" || time.Since(begun) < 5*time.Second {
			t.Errorf("6 s old: %+v, %v after %s", f, err, time.Since(begun))
		}
		api.dead(busy)
	})
}

func TestDeviceListAndLogoutEverywhere(t *testing.T) {
	onBothStores(t, nil, func(t *testing.T, s *service) {
		here, there := s.api(t, 0), s.api(t, 1)
		phone, other := here.signIn("alice"), there.signIn("bob")
		one, two, three := here.login(phone), there.login(phone), here.login(phone)
		var list struct {
			Sessions []struct {
				ID        string    `json:"id"`
				Current   bool      `json:"current"`
				ClientID  string    `json:"client_id"`
				CreatedAt time.Time `json:"created_at"`
			}
		}
		a := there.do(200, "GET", "/v1/sessions", one.access, nil)
		if err := json.Unmarshal([]byte(a.raw), &list); err != nil || len(list.Sessions) != 4 {
			t.Fatalf("%v: %s", err, a.raw)
		}
		phoneID := ""
		for _, each := range list.Sessions {
			if each.Current != (each.ID == one.sid) || time.Since(each.CreatedAt).Abs() > time.Minute {
				t.Errorf("%+v", each)
			}
			if each.ClientID == "phone" {
				phoneID = each.ID
			}
		}
		sockets := map[string]*sessionSocket{}
		for i, k := range []tokens{one, two, three} {
			sockets[k.sid] = s.follow(t, i, k.access)
		}
		phoneSocket := s.follow(t, 1, phone)

		for id, want := range map[string]int{phoneID: 403, "nobody": 404, claim(t, other, "sid").(string): 404} {
			here.do(want, "DELETE", "/v1/sessions/"+id, one.access, nil)
		}
		here.do(400, "DELETE", "/v1/sessions", one.access, nil)
		here.do(204, "DELETE", "/v1/sessions/"+two.sid, one.access, nil)
		sockets[two.sid].ends(t, "revoked")
		there.dead(two)

		here.do(204, "DELETE", "/v1/sessions/"+three.sid, three.access, nil)
		sockets[three.sid].ends(t, "logout")
		there.dead(three)

		// A new login is told to all the others, also to the phone.
		new := there.login(phone)
		for who, socket := range map[string]*sessionSocket{"browser": sockets[one.sid], "phone": phoneSocket} {
			if f, err := socket.next(time.Second); err != nil || f.Type != "sign_in" || f.ID != new.sid {
				t.Errorf("%s: %+v, %v", who, f, err)
			}
		}
		newSocket := s.follow(t, 0, new.access)
		there.do(204, "DELETE", "/v1/sessions?others=true", one.access, nil)
		newSocket.ends(t, "revoked")
		here.dead(new)
		here.alive(phone)
		there.do(204, "DELETE", "/v1/sessions?others=true", phone, nil)
		sockets[one.sid].ends(t, "revoked")
		here.dead(one)
		here.alive(phone)
		there.alive(other)
	})
}

func TestLimitOfSessionsIsExact(t *testing.T) {
	config := "SCANLOGIN_CONFIG=" + configFile(t, "clients:\n  web: { max_sessions: 3 }\n  device: { max_sessions: 2, on_limit: refuse }\n")
	onBothStores(t, []string{config}, func(t *testing.T, s *service) {
		api := s.api(t, 0)
		phone := api.signIn("alice")
		ready := make([]login, 20)
		for i := range ready {
			ready[i] = api.create()
			api.scan(&ready[i], phone)
			api.confirm(ready[i], phone)
		}
		made := make([]tokens, len(ready))
		parallel(len(ready), func(i int) {
			c := s.api(t, i)
			a, err := c.try("POST", "/oauth/token", "", redeemForm(ready[i]))
			if err != nil || a.status != 200 {
				t.Errorf("%d: %v %d %s", i, err, a.status, a.raw)
				return
			}
			made[i] = c.tokens(a)
		})
		if t.Failed() {
			return
		}
		live := 0
		for i, k := range made {
			a, err := s.api(t, i+1).try("GET", "/v1/sessions", k.access, nil)
			if err == nil && a.status == 200 {
				live++
			}
		}
		if live != 3 {
			t.Errorf("%d of 20 parallel logins are live, the limit is 3", live)
		}

		answers := make([]answer, 6)
		devices := make([]url.Values, len(answers))
		for i := range devices {
			a := api.do(200, "POST", "/oauth/device_authorization", "", url.Values{"client_id": {"device"}})
			l := login{id: a.text("ticket_id"), qr: a.text("verification_uri_complete")}
			api.scan(&l, phone)
			api.confirm(l, phone)
			devices[i] = url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "client_id": {"device"}, "device_code": {a.text("device_code")}}
		}
		parallel(len(devices), func(i int) {
			a, err := s.api(t, i).try("POST", "/oauth/token", "", devices[i])
			if err != nil {
				t.Error(err)
			}
			answers[i] = a
		})
		codes := map[string]int{}
		for _, a := range answers {
			codes[fmt.Sprint(a.status, " ", a.code())]++
		}
		if codes["200 "] != 2 || codes["400 access_denied"] != 4 {
			t.Errorf("6 devices, 2 allowed: %v", codes)
		}

		// Who asks now is told on the phone, where something can be done about it.
		a := api.do(200, "POST", "/oauth/device_authorization", "", url.Values{"client_id": {"device"}})
		l := login{id: a.text("ticket_id"), qr: a.text("verification_uri_complete")}
		api.scan(&l, phone)
		confirm := map[string]string{"confirm_token": l.confirmToken}
		if a := s.api(t, 1).do(403, "POST", "/v1/tickets/"+l.id+"/confirm", phone, confirm); a.code() != "session_limit" {
			t.Error(a.raw)
		}
		api.do(403, "POST", "/v1/tickets/"+l.id+"/confirm", phone, map[string]string{"confirm_token": "x"})
		api.do(200, "POST", "/v1/tickets/"+l.id+"/deny", phone, confirm)
	})
}

func TestRevokeAndIntrospect(t *testing.T) {
	const secret = "the secret of a back end, made at random"
	config := "SCANLOGIN_CONFIG=" + configFile(t, "clients:\n  shop: { name: Shop, secret_sha256: "+fmt.Sprintf("%x", sha256.Sum256([]byte(secret)))+" }\n")
	onBothStores(t, []string{config}, func(t *testing.T, s *service) {
		here, there := s.api(t, 0), s.api(t, 1)
		k := here.login(here.signIn("alice"))
		ask := func(api *caller, token string) answer {
			t.Helper()
			return api.do(200, "POST", "/oauth/introspect", "", url.Values{"client_id": {"shop"}, "client_secret": {secret}, "token": {token}})
		}
		if a := ask(there, k.access); a.body["active"] != true || a.text("sub") != "demo:alice" || a.text("sid") != k.sid {
			t.Errorf("active: %s", a.raw)
		}
		if a := ask(there, k.refresh); a.body["active"] != false {
			t.Errorf("another client's refresh token: %s", a.raw)
		}
		here.do(401, "POST", "/oauth/introspect", "", url.Values{"client_id": {"web"}, "token": {k.access}})
		socket := s.follow(t, 1, k.access)
		here.do(400, "POST", "/oauth/revoke", "", url.Values{"client_id": {"device"}, "token": {k.refresh}})
		here.do(200, "POST", "/oauth/revoke", "", url.Values{"client_id": {"web"}, "token": {"made up"}})
		there.alive(k.access)
		here.do(200, "POST", "/oauth/revoke", "", url.Values{"client_id": {"web"}, "token": {k.refresh}})
		socket.ends(t, "logout")
		there.dead(k)
		if a := ask(there, k.access); a.raw != "{\"active\":false}\n" {
			t.Errorf("ended: %q", a.raw)
		}
		here.do(200, "POST", "/oauth/revoke", "", url.Values{"client_id": {"web"}, "token": {k.refresh}})
	})
}
