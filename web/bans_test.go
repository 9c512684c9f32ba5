package web

import (
	"io/fs"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"

	"scanlogin/auth"
)

func (s *site) ban(b auth.Ban) {
	s.t.Helper()
	if err := s.auth.Ban(s.t.Context(), b); err != nil {
		s.t.Fatal(err)
	}
}

func network(text string) auth.Ban { return auth.Ban{Network: netip.MustParsePrefix(text)} }

// everyRoute calls f with each address that takes a request, as a stranger may
// write it.
func everyRoute(s *site, f func(method, path string)) {
	chi.Walk(s.handler.(chi.Routes), func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		path := strings.NewReplacer("{ticket_id}", b64id, "{qr_token}", "x", "{provider}", "demo", "{session_id}", "x").Replace(route)
		if _, err := fs.Stat(assets, "assets"+route); err == nil && route != "/qr-login.js" && route != "/" {
			return nil // one file stands for all
		}
		f(method, path)
		return nil
	})
	f("GET", "/nowhere")
	f("PUT", "/v1/tickets")
	f("OPTIONS", "/v1/tickets")
}

// A banned network gets nothing but what operators' probes get; its neighbours
// notice nothing, and lifting the ban ends it.
func TestBannedNetworkGetsNothing(t *testing.T) {
	s := newSite(t, setup{direct: true, proxies: []string{"192.0.2.0/24"}})
	banned, neighbour := from("203.0.113.7"), from("203.0.114.7")
	refused := func(a answer) bool { return a.status == 403 && a.code() == "network_banned" }
	s.ban(network("203.0.113.0/24"))
	everyRoute(s, func(method, path string) {
		probe := path == "/livez" || path == "/readyz" || path == "/version"
		a := s.send(method, path, nil, banned...)
		if method == http.MethodHead {
			if (a.status == 403) == probe {
				t.Errorf("HEAD %s: %d", path, a.status)
			}
		} else if refused(a) == probe {
			t.Errorf("%s %s: %d %s", method, path, a.status, a.code())
		}
		if a := s.send(method, path, nil, neighbour...); refused(a) {
			t.Errorf("%s %s: the neighbour is banned too", method, path)
		}
	})
	s.want(403, "network_banned", "GET", "/livez/../s", nil, banned...)
	s.want(403, "network_banned", "GET", "/v1/tickets?token=x", nil, banned...)
	// Addresses come in many shapes.
	for address, want := range map[string]bool{
		"::ffff:203.0.113.9": true, "203.0.113.255": true, "203.0.112.255": false, "2001:db8::1": false, "1.2.3.4, 203.0.113.9": true, "203.0.113.9, 1.2.3.4": false,
	} {
		if a := s.send("GET", "/v1/sessions", nil, from(address)...); refused(a) != want {
			t.Errorf("from %s: %d %s", address, a.status, a.code())
		}
	}
	if err := s.auth.Lift(t.Context(), network("203.0.113.0/24")); err != nil {
		t.Fatal(err)
	}
	s.want(201, "", "POST", "/v1/tickets", nil, banned...)
	s.ban(auth.Ban{Network: netip.MustParsePrefix("203.0.113.7/32"), Until: time.Now().Add(time.Hour)})
	s.want(403, "network_banned", "POST", "/v1/tickets", nil, banned...)
	s.want(201, "", "POST", "/v1/tickets", nil, from("203.0.113.8")...)
}

// People read why in words, and a page of an allowed origin may read it too.
func TestBannedNetworkIsToldInWords(t *testing.T) {
	s := newSite(t, setup{direct: true, publicURL: "https://login.example", proxies: []string{"192.0.2.0/24"}, origins: []string{"https://shop.example"}})
	s.ban(network("203.0.113.0/24"))
	headers := append(from("203.0.113.7"), "Accept", "text/html,*/*;q=0.8")
	for _, path := range []string{"/", "/s", "/s/x", "/nowhere"} {
		if a := s.send("GET", path, nil, headers...); a.status != 403 || !strings.Contains(a.header.Get("Content-Type"), "text/html") {
			t.Errorf("%s: %d %s", path, a.status, a.header.Get("Content-Type"))
		}
	}
	a := s.want(403, "network_banned", "GET", "/v1/sessions", nil, append(headers, "Origin", "https://shop.example")...)
	if a.header.Get("Access-Control-Allow-Origin") != "https://shop.example" {
		t.Errorf("hidden from the page: %v", a.header)
	}
}

// Behind an undeclared proxy every browser has its address: a ban of that one
// would ban everybody, so none counts.
func TestBanOfAnUndeclaredProxyBansNobody(t *testing.T) {
	s := newSite(t, setup{publicURL: "https://login.example"})
	l := s.create(nil)
	conn := s.watch(l, l.deviceCode)
	frameOf(t, conn)
	frameOf(t, conn)
	s.ban(network("127.0.0.0/8"))
	s.want(201, "", "POST", "/v1/tickets", nil)
	s.silent(conn)
}

// A ban reaches who is in already: sockets of both kinds, streams and long polls.
func TestOpenConnectionsOfABannedNetworkEnd(t *testing.T) {
	s := newSite(t, setup{})
	l, streamed := s.create(nil), s.create(nil)
	access := s.signedIn(s.phone("alice")).text("access_token")
	ticket, session := s.watch(l, l.deviceCode), s.watching(access)
	silent, _ := s.dial(l.path("/ws")) // which never says what it wants
	frameOf(t, ticket)
	frameOf(t, ticket)
	seq := number(s.want(200, "", "GET", l.path(""), nil, bearerOf(l.deviceCode)...).seq())
	open := func(path, deviceCode string) chan answer {
		got := make(chan answer, 1)
		go func() { got <- s.send("GET", path, nil, bearerOf(deviceCode)...) }()
		return got
	}
	polled, streaming := open(l.path("?wait=25&seq="+seq), l.deviceCode), open(streamed.path("/events"), streamed.deviceCode)
	soon := func(got chan answer) answer {
		t.Helper()
		select {
		case a := <-got:
			return a
		case <-time.After(5 * time.Second):
			t.Fatal("still open")
		}
		return answer{}
	}
	eventually(t, "all wait", func() bool { c := s.hub.Stats(); return c.WS == 3 && c.SSE == 1 && c.Poll == 1 })
	begun := time.Now()
	s.ban(network("127.0.0.1/32"))
	if a := soon(polled); a.status != 403 || a.code() != "network_banned" {
		t.Errorf("long poll: %d %s", a.status, a.raw)
	}
	if a := soon(streaming); a.status != 200 {
		t.Errorf("stream: %d %s", a.status, a.raw)
	}
	if code, word := closed(t, ticket); code != 1008 || word != "network_banned" {
		t.Errorf("ticket: closed with %d %q", code, word)
	}
	if code, word := closed(t, session); code != 1008 || word != "network_banned" {
		t.Errorf("session: closed with %d %q", code, word)
	}
	if code, word := closed(t, silent); code != 1008 || word != "network_banned" {
		t.Errorf("before its watch: closed with %d %q", code, word)
	}
	if took := time.Since(begun); took > time.Second {
		t.Errorf("ended after %s", took)
	}
	if _, a := s.dial(l.path("/ws")); a.status != 403 || a.code() != "network_banned" {
		t.Errorf("again: %d %s", a.status, a.raw)
	}
}

// A banned user's tokens are worth nothing, each door in its own words; the
// phone is told that it is the account.
func TestBannedUserIsRefusedEverywhere(t *testing.T) {
	s := newSite(t, setup{})
	phone := s.phone("alice")
	tokens := s.signedIn(phone)
	access := tokens.text("access_token")
	waiting := s.create(nil)
	s.scan(&waiting, phone)
	s.confirm(waiting, phone)
	s.ban(auth.Ban{User: "demo:alice", Reason: "secret reason"})
	var told []string
	for _, token := range []string{phone, access} {
		for _, route := range bearerRoutes(waiting.id) {
			switch {
			case route.path == "/oauth/userinfo":
				told = append(told, s.want(401, "invalid_token", route.method, route.path, nil, bearerOf(token)...).raw)
			case route.none == "invalid_token":
				told = append(told, s.want(403, "user_banned", route.method, route.path, route.body, bearerOf(token)...).raw)
			}
		}
		s.want(403, "user_banned", "POST", "/session", map[string]string{"access_token": token})
	}
	told = append(told,
		s.want(403, "user_banned", "POST", "/v1/signin/demo", map[string]string{"credential": "alice"}).raw,
		s.want(400, "invalid_grant", "POST", "/oauth/token", refresh(tokens)).raw,
		s.want(400, "invalid_grant", "POST", "/oauth/token", redemption(waiting)).raw)
	if strings.Contains(strings.Join(told, ""), "secret reason") {
		t.Error("the reason is told")
	}
	s.phone("bob")
	if err := s.auth.Lift(t.Context(), auth.Ban{User: "demo:alice"}); err != nil {
		t.Fatal(err)
	}
	s.want(401, "invalid_token", "GET", "/v1/sessions", nil, bearerOf(access)...) // its session does not come back
	s.want(400, "invalid_grant", "POST", "/oauth/token", refresh(tokens))
	s.phone("alice")
}

// on_limit: refuse, at every door: the phone is told in time, and of two that
// were allowed at the same time only one fits.
func TestSignInBeyondTheLimitIsRefused(t *testing.T) {
	full := func(id string, scopes ...string) auth.Client {
		return auth.Client{ID: id, Name: id, Kind: "web", Scopes: scopes, MaxSessions: 2, OnLimit: auth.Refuse}
	}
	s := newSite(t, setup{clients: []auth.Client{full("web", "openid"), full("phone", "phone")}})
	phone := s.phone("alice")
	s.phone("alice")
	s.want(403, "session_limit", "POST", "/v1/signin/demo", map[string]string{"credential": "alice"})
	first := s.signedIn(phone)
	l, faster, late := s.create(nil), s.create(nil), s.create(nil)
	for _, ticket := range []*login{&l, &faster, &late} {
		s.scan(ticket, phone)
	}
	s.confirm(l, phone)
	s.confirm(faster, phone)
	s.want(200, "", "POST", "/oauth/token", redemption(faster))
	s.want(400, "access_denied", "POST", "/oauth/token", redemption(l))
	s.want(403, "session_limit", "POST", "/v1/tickets/"+late.id+"/confirm", map[string]string{"confirm_token": late.confirmToken}, bearerOf(phone)...)
	s.confirm(l, phone) // a repeat is no new question
	s.want(200, "", "POST", "/oauth/revoke", url.Values{"client_id": {"web"}, "token": {first.text("refresh_token")}})
	s.want(200, "", "POST", "/oauth/token", redemption(l)) // there is room now
}
