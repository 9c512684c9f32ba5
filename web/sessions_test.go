package web

import (
	"net/url"
	"testing"
	"testing/synctest"
	"time"
)

// sessionsOf are the rows of the device list.
func (s *site) sessionsOf(token string) (rows []map[string]any) {
	s.t.Helper()
	a := s.want(200, "", "GET", "/v1/sessions", nil, bearerOf(token)...)
	list, ok := a.body["sessions"].([]any)
	if !ok {
		s.t.Fatalf("no list: %s", a.raw)
	}
	for _, row := range list {
		rows = append(rows, row.(map[string]any))
	}
	return rows
}

// currentOf is the id of the token's own session.
func (s *site) currentOf(token string) string {
	s.t.Helper()
	for _, row := range s.sessionsOf(token) {
		if row["current"] == true {
			return row["id"].(string)
		}
	}
	s.t.Fatal("no session is the current one")
	return ""
}

// loginOn goes through a whole login on a browser of that name.
func (s *site) loginOn(phone, agent string) answer {
	s.t.Helper()
	made := s.want(201, "", "POST", "/v1/tickets", nil, "User-Agent", agent)
	l := login{id: made.text("ticket_id"), deviceCode: made.text("device_code"), qr: made.text("verification_uri_complete")}
	s.scan(&l, phone)
	s.confirm(l, phone)
	return s.want(200, "", "POST", "/oauth/token", redemption(l))
}

func TestSessionListShowsEveryDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, setup{direct: true})
		s.loginOn(s.phone("bob"), chromeOnWindows) // is not alice's to see
		begun := time.Now()
		phone := s.want(200, "", "POST", "/v1/signin/demo", map[string]string{"credential": "alice"}, "User-Agent", safariOnIPhone).text("access_token")
		time.Sleep(time.Minute)
		first := s.loginOn(phone, chromeOnWindows)
		time.Sleep(time.Minute)
		odd := s.loginOn(phone, "Approve/1.0")
		time.Sleep(time.Minute)
		s.want(200, "", "POST", "/oauth/token", refresh(first))
		stamped := func(minutes int) string {
			return begun.Add(time.Duration(minutes) * time.Minute).UTC().Format(time.RFC3339)
		}
		want := []struct {
			client, amr, device string
			created, used       int // minutes
		}{{"web", "qr", "", 2, 2}, {"web", "qr", "Chrome, Windows", 1, 3}, {"phone", "demo", "Safari, iOS", 0, 0}}
		for _, token := range []string{phone, first.text("access_token"), odd.text("access_token")} {
			rows := s.sessionsOf(token)
			if len(rows) != len(want) {
				t.Fatalf("%d sessions: %v", len(rows), rows)
			}
			ids := map[any]bool{}
			current := 0
			for i, row := range rows {
				w := want[i]
				amr := row["amr"].([]any)
				if row["client_id"] != w.client || len(amr) != 1 || amr[0] != w.amr || row["device"] != w.device || row["place"] != "192.0.2.0/24" ||
					row["created_at"] != stamped(w.created) || row["last_used_at"] != stamped(w.used) || len(row) != 8 {
					t.Errorf("row %d: %v, want %v", i, row, w)
				}
				ids[row["id"]] = true
				if row["current"] == true {
					current++
				}
			}
			if len(ids) != 3 || current != 1 {
				t.Errorf("%d ids, %d current ones", len(ids), current)
			}
		}
		if s.currentOf(phone) == s.currentOf(first.text("access_token")) {
			t.Error("two devices are the same current one")
		}
		// Behind a proxy that nobody declared the place is not known.
		blind := newSite(t, setup{direct: true, publicURL: "https://login.example"})
		if rows := blind.sessionsOf(blind.phone("alice")); rows[0]["place"] != "" {
			t.Errorf("place %v", rows[0]["place"])
		}
	})
}

// Ids of other users' sessions and made-up ones are the same answer; a browser
// cannot sign out the phone that watches over it.
func TestStrangersSessionsCannotBeEnded(t *testing.T) {
	s := newSite(t, setup{})
	alice, bob := s.phone("alice"), s.phone("bob")
	web, other := s.signedIn(alice).text("access_token"), s.signedIn(alice).text("access_token")
	end := func(status int, code, id, token string) answer {
		t.Helper()
		return s.want(status, code, "DELETE", "/v1/sessions/"+id, nil, bearerOf(token)...)
	}
	unknown := end(404, "not_found", b64id, web)
	for _, id := range []string{s.currentOf(bob), "x", "..", "%00", s.currentOf(alice) + "x", "current", "*"} {
		if a := end(404, "not_found", id, web); !sameBut(a, unknown) {
			t.Errorf("%s: %s", id, a.raw)
		}
	}
	end(403, "phone_token_required", s.currentOf(alice), web)
	s.want(401, "invalid_token", "DELETE", "/v1/sessions/"+s.currentOf(web), nil)
	for _, query := range []string{"", "?others", "?others=", "?others=false", "?others=1", "?others=TRUE", "?other=true", "?others=true&others=true", "?others=true&x=%zz"} {
		s.want(400, "invalid_request", "DELETE", "/v1/sessions"+query, nil, bearerOf(web)...)
	}
	if got := len(s.sessionsOf(alice)); got != 3 {
		t.Fatalf("%d sessions after refusals", got)
	}

	end(204, "", s.currentOf(other), web)
	s.want(401, "invalid_token", "GET", "/v1/sessions", nil, bearerOf(other)...)
	end(404, "not_found", s.currentOf(bob), alice)
	end(204, "", s.currentOf(web), web)
	s.want(401, "invalid_token", "DELETE", "/v1/sessions?others=true", nil, bearerOf(web)...)

	web, other = s.signedIn(alice).text("access_token"), s.signedIn(alice).text("access_token")
	second := s.phone("alice")
	s.want(204, "", "DELETE", "/v1/sessions?others=true", nil, bearerOf(web)...)
	s.want(401, "invalid_token", "GET", "/v1/sessions", nil, bearerOf(other)...)
	if got := len(s.sessionsOf(web)); got != 3 { // itself and both phones
		t.Errorf("%d sessions left by a browser", got)
	}
	s.want(204, "", "DELETE", "/v1/sessions?others=true", nil, bearerOf(alice)...)
	if got := len(s.sessionsOf(alice)); got != 1 {
		t.Errorf("%d sessions left by a phone", got)
	}
	for _, token := range []string{web, second} {
		s.want(401, "invalid_token", "GET", "/v1/sessions", nil, bearerOf(token)...)
	}
	s.want(200, "", "GET", "/v1/sessions", nil, bearerOf(bob)...)
}

// What is no access token of ours opens no list, and ends nothing.
func TestForeignTokensOnSessionsAreRefused(t *testing.T) {
	s, stranger := newSite(t, setup{}), newSite(t, setup{publicURL: "https://other.example"})
	phone := s.phone("alice")
	l := s.create(nil)
	tokens := s.signedIn(phone)
	for name, token := range map[string]string{
		"another server's": stranger.phone("alice"), "refresh token": tokens.text("refresh_token"),
		"device_code": l.deviceCode, "admin token": adminToken, "session id": s.currentOf(phone),
	} {
		for _, route := range [][2]string{{"GET", "/v1/sessions"}, {"DELETE", "/v1/sessions?others=true"}, {"DELETE", "/v1/sessions/" + s.currentOf(phone)}} {
			a := s.want(401, "invalid_token", route[0], route[1], nil, bearerOf(token)...)
			if got := a.header.Get("WWW-Authenticate"); got != `Bearer realm="scanlogin", error="invalid_token"` {
				t.Errorf("%s: %q", name, got)
			}
		}
	}
	s.want(401, "invalid_token", "GET", "/v1/sessions", nil, "Cookie", "scanlogin-web="+url.QueryEscape(phone))
	if got := len(s.sessionsOf(phone)); got != 2 {
		t.Errorf("%d sessions left", got)
	}
}
