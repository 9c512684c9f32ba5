package web

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"scanlogin/auth"
	"scanlogin/hub"
)

const sessionSocket = "/v1/sessions/current/ws"

// watchSession opens a session's socket and says whose.
func (s *site) watchSession(access string) *websocket.Conn {
	s.t.Helper()
	return s.watchAt(sessionSocket, map[string]string{"type": "watch", "access_token": access})
}

// watching is watchSession for a live session, past its first frames.
func (s *site) watching(access string) *websocket.Conn {
	s.t.Helper()
	conn := s.watchSession(access)
	if hello := frameOf(s.t, conn); hello.raw != `{"type":"hello","heartbeat_ms":25000,"watch_within_ms":5000}` {
		s.t.Errorf("hello: %s", hello.raw)
	}
	if active := frameOf(s.t, conn); active.raw != `{"type":"session","status":"active"}` {
		s.t.Errorf("first: %s", active.raw)
	}
	return conn
}

// silent fails if anything was told before this answer to a ping.
func (s *site) silent(conn *websocket.Conn) {
	s.t.Helper()
	conn.WriteMessage(websocket.TextMessage, []byte(`{"type":"ping"}`))
	if pong := frameOf(s.t, conn); pong.raw != `{"type":"pong"}` {
		s.t.Errorf("instead of a pong: %s", pong.raw)
	}
}

// ended wants the last frame and the close after it.
func ended(t *testing.T, conn *websocket.Conn, reason string) {
	t.Helper()
	if last := frameOf(t, conn); last.raw != `{"type":"session","status":"ended","reason":"`+reason+`"}` {
		t.Errorf("%s: %s", reason, last.raw)
	}
	if code, word := closed(t, conn); code != 4401 || word != "unauthorized" {
		t.Errorf("%s: closed with %d %q", reason, code, word)
	}
}

// endings are what ends the session of a browser, each in the word for it.
var endings = map[string]func(s *site, phone string, tokens answer){
	"logout": func(s *site, _ string, tokens answer) {
		access := tokens.text("access_token")
		s.want(204, "", "DELETE", "/v1/sessions/"+s.currentOf(access), nil, bearerOf(access)...)
	},
	"revoked": func(s *site, phone string, _ answer) {
		s.want(204, "", "DELETE", "/v1/sessions?others=true", nil, bearerOf(phone)...)
	},
	"replaced": func(s *site, phone string, _ answer) {
		s.signedIn(phone)
	},
	"reuse": func(s *site, _ string, tokens answer) {
		s.want(200, "", "POST", "/oauth/token", refresh(tokens))
		time.Sleep(11 * time.Second)
		s.want(400, "invalid_grant", "POST", "/oauth/token", refresh(tokens))
	},
	"expired": func(*site, string, answer) { time.Sleep(time.Hour + time.Second) },
	"banned": func(s *site, _ string, _ answer) {
		if err := s.auth.Ban(s.t.Context(), auth.Ban{User: "demo:alice"}); err != nil {
			s.t.Error(err)
		}
	},
}

// An end is told at once to who watches, and to who comes after it.
func TestSessionSocketTellsEveryEnd(t *testing.T) {
	one := auth.Client{ID: "web", Name: "Web", Kind: "web", Scopes: []string{"openid"}, MaxSessions: 1}
	for reason, end := range endings {
		t.Run(reason, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, setup{direct: true, clients: []auth.Client{one}, auth: auth.Config{RefreshIdle: time.Hour}})
				phone := s.phone("alice")
				tokens := s.signedIn(phone)
				conn := s.watching(tokens.text("access_token"))
				done := make(chan time.Time, 1)
				go func() {
					end(s, phone, tokens)
					done <- time.Now()
				}()
				ended(t, conn, reason)
				if took := time.Since(<-done); took > time.Second {
					t.Errorf("told %s after it", took)
				}
				if reason == "expired" {
					return // so is the token
				}
				after := s.watchSession(tokens.text("access_token"))
				frameOf(t, after) // hello
				ended(t, after, reason)
			})
		})
	}
}

// The other way of signing out.
func TestSessionSocketTellsOfRevocation(t *testing.T) {
	s := newSite(t, setup{})
	tokens := s.signedIn(s.phone("alice"))
	conn := s.watching(tokens.text("access_token"))
	s.want(200, "", "POST", "/oauth/revoke", aboutToken("web", "", tokens.text("refresh_token")))
	ended(t, conn, "logout")
}

// The socket lives as long as the session, not the token that opened it.
func TestSessionSocketOutlivesItsToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, setup{direct: true, auth: auth.Config{RefreshIdle: time.Hour}})
		tokens := s.signedIn(s.phone("alice"))
		conn := s.watching(tokens.text("access_token"))
		opened := time.Now()
		go func() {
			time.Sleep(30 * time.Minute)
			s.want(200, "", "POST", "/oauth/token", refresh(tokens)) // used: its end is later now
		}()
		ended(t, conn, "expired")
		if took := time.Since(opened).Round(time.Minute); took != 90*time.Minute {
			t.Errorf("expired after %s", took)
		}
		// A token that is past its own end opens nothing.
		again := s.watchSession(tokens.text("access_token"))
		if code, word := closed(t, again); code != 4401 || word != "invalid_token" {
			t.Errorf("an expired token: %d %q", code, word)
		}
	})
}

// Each new login of the account is told once to each socket, also when several
// come while nobody reads; not those that were there before, and not one's own.
func TestSessionSocketTellsEachSignInOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, setup{direct: true})
		phone := s.phone("alice")
		first := s.signedIn(phone).text("access_token")
		second := s.signedIn(phone).text("access_token")
		one, two := s.watching(first), s.watching(second)
		s.silent(one)
		s.silent(two)
		ids := map[string]bool{}
		for i, agent := range []string{chromeOnWindows, "", safariOnIPhone, chromeOnWindows} {
			made := s.loginOn(phone, agent) // nobody reads: the frames of a pipe wait
			ids[s.currentOf(made.text("access_token"))] = true
			if i == 1 {
				s.signedIn(s.phone("bob")) // is nobody's business
			}
		}
		for _, conn := range []*websocket.Conn{one, two} {
			told := map[string]bool{}
			for range ids {
				f := frameOf(t, conn)
				if f.text("type") != "sign_in" || len(f.body) != 4 || !ids[f.text("id")] || told[f.text("id")] || f.text("place") != "192.0.2.0/24" {
					t.Errorf("told %s", f.raw)
				}
				told[f.text("id")] = true
				if device := f.text("device"); device != "Chrome, Windows" && device != "Safari, iOS" && device != "" {
					t.Errorf("device %q", device)
				}
			}
			s.silent(conn)
		}
		// One that is gone again by the time it is read was there all the same.
		gone := s.currentOf(s.signedIn(phone).text("access_token"))
		synctest.Wait()
		s.want(204, "", "DELETE", "/v1/sessions/"+gone, nil, bearerOf(phone)...)
		if f := frameOf(t, one); f.text("id") != gone {
			t.Errorf("told %s", f.raw)
		}
		s.silent(one)
	})
}

// A frame for each of many sign-ins that one look finds, and then silence.
func TestCoalescedSignInsAreEachToldOnce(t *testing.T) {
	s := newSite(t, setup{direct: true})
	phone := s.phone("alice")
	who, err := s.auth.Verify(t.Context(), s.signedIn(phone).text("access_token"))
	if err != nil {
		t.Fatal(err)
	}
	watch := &sessionWatch{auth: s.auth, sub: who.Sub, sid: who.SID}
	look := func(now time.Time) hub.Snapshot {
		t.Helper()
		value, rev, err := s.store.Load(t.Context(), auth.UserKey(who.Sub))
		if err != nil {
			t.Fatal(err)
		}
		snap, err := watch.encode(value, rev, now)
		if err != nil || snap.Seq != rev {
			t.Fatalf("%+v, %v", snap, err)
		}
		return snap
	}
	now := time.Now()
	ends := look(now).Next // the first is that it is active
	for range 3 {
		s.signedIn(phone)
	}
	for i := range 3 {
		snap := look(now)
		if !strings.Contains(string(snap.Data), "sign_in") || snap.Next.Equal(now) != (i < 2) {
			t.Errorf("%d: %s, then at %s", i, snap.Data, snap.Next)
		}
	}
	if snap := look(now); len(snap.Data) != 0 || !snap.Next.Equal(ends) || snap.Close != 0 {
		t.Errorf("once more: %s, then at %s, want %s", snap.Data, snap.Next, ends)
	}
	// The record is gone: that is an end, too.
	snap, err := watch.encode(nil, 1, now)
	if err != nil || string(snap.Data) != `{"type":"session","status":"ended","reason":"expired"}` || snap.Close != hub.Unauthorized {
		t.Errorf("without a record: %s %+v %v", snap.Data, snap, err)
	}
}

// A store that came back empty: who watches anew is told that it is over.
func TestSessionSocketOfALostRecordEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, setup{direct: true})
		access := s.signedIn(s.phone("alice")).text("access_token")
		if _, err := s.store.Update(t.Context(), auth.UserKey("demo:alice"), func(old []byte) ([]byte, time.Duration, error) {
			return old, time.Millisecond, nil
		}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		conn := s.watchSession(access)
		frameOf(t, conn)
		ended(t, conn, "expired")
	})
}

// The rules of all sockets, on this one.
func TestSessionSocketCloseCodes(t *testing.T) {
	s := newSite(t, setup{hub: hub.Config{WatchWithin: 300 * time.Millisecond}})
	phone := s.phone("alice")
	tokens := s.signedIn(phone)
	access := tokens.text("access_token")
	say := func(frames ...string) func() *websocket.Conn {
		return func() *websocket.Conn {
			conn := s.watchSession(access)
			for _, f := range frames {
				conn.WriteMessage(websocket.TextMessage, []byte(f))
			}
			return conn
		}
	}
	first := func(frame map[string]string) func() *websocket.Conn {
		return func() *websocket.Conn { return s.watchAt(sessionSocket, frame) }
	}
	padded := func(size int) string { return `{"type":"ping","x":"` + strings.Repeat("a", size-22) + `"}` }
	rows := []struct {
		name string
		open func() *websocket.Conn
		code int
		word string
	}{
		{"no watch", func() *websocket.Conn { conn, _ := s.dial(sessionSocket); return conn }, 4408, "watch_timeout"},
		{"no token", first(map[string]string{"type": "watch"}), 4401, "invalid_token"},
		{"made-up token", first(map[string]string{"type": "watch", "access_token": "x"}), 4401, "invalid_token"},
		{"refresh token", first(map[string]string{"type": "watch", "access_token": tokens.text("refresh_token")}), 4401, "invalid_token"},
		{"in the ticket's member", first(map[string]string{"type": "watch", "device_code": access}), 4401, "invalid_token"},
		{"changed token", first(map[string]string{"type": "watch", "access_token": access[:len(access)-2]}), 4401, "invalid_token"},
		{"4097 bytes", say(padded(4097)), 1009, "too_big"},
		{"watch twice", say(`{"type":"watch","access_token":"` + access + `"}`), 1008, "bad_message"},
		{"unknown type", say(`{"type":"end"}`), 1008, "bad_message"},
		{"bad JSON", say(`{"type":`), 1008, "bad_message"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			if code, word := closed(t, row.open()); code != row.code || word != row.word {
				t.Errorf("%d %q, want %d %q", code, word, row.code, row.word)
			}
		})
	}
	// Any number of sockets, 4096 bytes, and a refresh that there is nothing for.
	one, two := s.watching(access), s.watching(access)
	one.WriteMessage(websocket.TextMessage, []byte(`{"type":"refresh"}`))
	one.WriteMessage(websocket.TextMessage, []byte(padded(4096)))
	if pong := frameOf(t, one); pong.raw != `{"type":"pong"}` {
		t.Errorf("after 4096 bytes: %s", pong.raw)
	}
	s.silent(two)
	s.want(403, "cross_origin", "GET", sessionSocket, nil, "Origin", "https://evil.test")
	if _, a := s.dial(sessionSocket, "Origin", "null"); a.status != 403 || a.code() != "cross_origin" {
		t.Errorf("another origin: %d %s", a.status, a.raw)
	}
	s.web.Close()
	if _, a := s.dial(sessionSocket); a.status != 503 || a.code() != "overloaded" {
		t.Errorf("leaving: %d %s", a.status, a.raw)
	}
}

// A store that is away ends a watch with 1013; the page comes back.
func TestSessionSocketWithoutItsStore(t *testing.T) {
	s := newSite(t, setup{})
	access := s.signedIn(s.phone("alice")).text("access_token")
	conn, _ := s.dial(sessionSocket)
	s.store.Close()
	conn.WriteJSON(map[string]string{"type": "watch", "access_token": access})
	if code, _ := closed(t, conn); code != 1013 {
		t.Errorf("closed with %d", code)
	}
}
