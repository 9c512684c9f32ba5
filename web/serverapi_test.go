package web

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"scanlogin/qrlogin"
)

// ask is what a caller gets for a good request.
func (s *site) ask(status int, code string, action Action, body string) answer {
	s.t.Helper()
	return s.wantPost(status, code, s.letter(action, body).signed())
}

// A back end ends all of a user's sessions, on every instance; the user's phone
// has to sign in again, and other users notice nothing.
func TestCallerEndsAllSessionsOfAUser(t *testing.T) {
	first := newSite(t, setup{publicURL: "https://login.example", callers: callerKeys(), tickets: qrlogin.Config{Check: qrlogin.CheckOff}})
	second := newSite(t, setup{publicURL: "https://login.example", callers: callerKeys(), store: first.store, tickets: qrlogin.Config{Check: qrlogin.CheckOff}})
	phone, bob := first.phone("alice"), first.phone("bob")
	tokens := first.signedIn(phone)
	approved := first.create(nil)
	first.scan(&approved, phone)
	first.confirm(approved, phone)
	access := bearerOf(tokens.text("access_token"))
	conn := first.watchSession(tokens.text("access_token"))
	// What is approved in the very millisecond of the end counts as after it.
	decided := time.Now().UnixMilli()
	eventually(t, "another millisecond", func() bool { return time.Now().UnixMilli() > decided })

	if a := second.ask(200, "", ActionEndSessions, `{"user":"demo:alice"}`); a.body["ended"] != 2.0 {
		t.Errorf("%s", a.raw)
	}
	for {
		_, frame, err := conn.ReadMessage()
		if err != nil {
			t.Fatalf("the socket was not told: %v", err)
		}
		if strings.Contains(string(frame), `"ended"`) {
			if !strings.Contains(string(frame), `"reason":"revoked"`) {
				t.Errorf("%s", frame)
			}
			break
		}
	}
	for _, s := range []*site{first, second} {
		s.want(401, "invalid_token", "GET", "/v1/sessions", nil, access...)
		s.want(401, "invalid_token", "GET", "/v1/sessions", nil, bearerOf(phone)...)
		s.want(200, "", "GET", "/v1/sessions", nil, bearerOf(bob)...)
		s.want(400, "invalid_grant", "POST", "/oauth/token", refresh(tokens))
	}
	first.want(400, "invalid_grant", "POST", "/oauth/token", redemption(approved))
	first.want(200, "", "GET", "/v1/sessions", nil, bearerOf(first.phone("alice"))...)
	for user, ended := range map[string]float64{"demo:alice": 1, "demo:nobody": 0} {
		if a := first.ask(200, "", ActionEndSessions, `{"user":"`+user+`"}`); a.body["ended"] != ended {
			t.Errorf("%s: %s", user, a.raw)
		}
	}
}

// Bans of a back end are those of the operator.
func TestCallerBansAndLifts(t *testing.T) {
	s := newSite(t, setup{callers: callerKeys()})
	phone := s.phone("alice")
	s.ask(204, "", ActionBan, `{"user":"demo:alice","reason":"fraud","for_seconds":60}`)
	s.want(403, "user_banned", "GET", "/v1/sessions", nil, bearerOf(phone)...)
	if a := s.wantOperate(200, "", "GET", "/admin/bans", ""); !strings.Contains(a.raw, `"reason":"fraud"`) {
		t.Errorf("%s", a.raw)
	}
	s.ask(204, "", ActionLift, `{"user":"demo:alice"}`)
	s.ask(404, "not_found", ActionLift, `{"user":"demo:alice"}`)
	s.want(401, "invalid_token", "GET", "/v1/sessions", nil, bearerOf(phone)...)
	s.phone("alice")
	s.ask(204, "", ActionBan, `{"network":"203.0.113.0/24"}`)
	s.ask(204, "", ActionLift, `{"network":"203.0.113.0/24"}`)

	behind := newSite(t, setup{publicURL: "https://login.example", callers: callerKeys()})
	behind.ask(409, "networks_unknown", ActionBan, `{"network":"203.0.113.0/24"}`)
}

// A back end learns what became of a login, who it was once they are let in, and
// nothing that would let it take the login.
func TestCallerAsksWhatBecameOfALogin(t *testing.T) {
	s := newSite(t, setup{callers: callerKeys(), tickets: qrlogin.Config{Check: qrlogin.CheckOff}})
	phone := s.phone("alice")
	outcome := func(l login) answer {
		t.Helper()
		a := s.ask(200, "", ActionTicket, `{"ticket_id":"`+l.id+`"}`)
		secrets := []string{strings.TrimPrefix(l.deviceCode, l.id+"."), l.qr[strings.LastIndex(l.qr, "/")+1:]}
		if l.confirmToken != "" {
			secrets = append(secrets, l.confirmToken)
		}
		for _, secret := range secrets {
			if strings.Contains(a.raw, secret) {
				t.Errorf("a secret is in the outcome: %s", a.raw)
			}
		}
		return a
	}
	is := func(l login, want string) {
		t.Helper()
		if got := strings.TrimSpace(outcome(l).raw); got != `{"ticket_id":"`+l.id+`",`+want+`}` {
			t.Errorf("%s, want %s", got, want)
		}
	}
	l := s.create(nil)
	is(l, `"status":"pending","client_id":"web"`)
	s.scan(&l, phone)
	is(l, `"status":"scanned","client_id":"web"`)
	s.confirm(l, phone)
	is(l, `"status":"confirmed","client_id":"web","user":"demo:alice"`)
	tokens := s.want(200, "", "POST", "/oauth/token", redemption(l))
	p, err := s.auth.Verify(t.Context(), tokens.text("access_token"))
	if err != nil {
		t.Fatal(err)
	}
	is(l, `"status":"consumed","client_id":"web","user":"demo:alice","sid":"`+p.SID+`"`)

	denied := s.create(map[string]string{"client_id": "other"})
	s.scan(&denied, phone)
	s.want(200, "", "POST", denied.path("/deny"), map[string]string{"confirm_token": denied.confirmToken}, bearerOf(phone)...)
	is(denied, `"status":"denied","client_id":"other","reason":"by_user"`)
	canceled := s.create(nil)
	s.want(204, "", "DELETE", canceled.path(""), nil, bearerOf(canceled.deviceCode)...)
	is(canceled, `"status":"canceled","client_id":"web"`)
	for _, id := range []string{"", b64id, "../bans", strings.Repeat("x", 4000)} {
		s.ask(404, "ticket_not_found", ActionTicket, `{"ticket_id":"`+id+`"}`)
	}
}

// A good signature is no excuse for a bad body.
func TestBadBodiesOfCallers(t *testing.T) {
	s := newSite(t, setup{callers: callerKeys()})
	for _, action := range Actions {
		for body, code := range map[string]string{
			`[]`: "invalid_json", `{"user":"a:b","user":"c:d"}`: "invalid_json", `{} {}`: "invalid_json", `nothing`: "invalid_json",
			`{"everybody":true}`: "unknown_member", `{"user":"demo:\u0000"}`: "invalid_string", "{\"user\":\"demo:\xff\"}": "invalid_string",
		} {
			s.ask(400, code, action, body)
		}
		s.wantPost(415, "unsupported_media_type", s.letter(action, `{"user":"demo:alice"}`).signed(), "Content-Type", "text/plain")
		s.wantPost(415, "unsupported_media_type", s.letter(action, `{"user":"demo:alice"}`).signed(), "Content-Encoding", "gzip")
	}
	for _, body := range []string{``, `{}`, `{"user":""}`, `{"user":"alice"}`, `{"user":":alice"}`, `{"user":"demo:"}`, `{"user":"demo:a\nb"}`, `{"user":"demo:` + strings.Repeat("a", 300) + `"}`, `{"user":7}`} {
		for _, action := range []Action{ActionEndSessions, ActionBan, ActionLift} {
			s.ask(400, "invalid_request", action, body)
		}
	}
	for _, body := range []string{`{"user":"demo:alice","for_seconds":0}`, `{"user":"demo:alice","network":"10.0.0.0/8"}`, `{"network":"10.0.0.0"}`} {
		s.ask(400, "invalid_request", ActionBan, body)
	}
	l := s.letter("nothing", `{}`)
	s.wantPost(404, "not_found", l.signed())
	if a := s.send(http.MethodGet, "/v1/server/ban", nil); a.status != 405 || a.header.Get("Allow") != "POST" {
		t.Errorf("GET: %d %s", a.status, a.raw)
	}
}
