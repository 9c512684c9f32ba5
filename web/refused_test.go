package web

import (
	"html"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"scanlogin/auth"
)

// What people read who are not let in.

// A banned person is signed out, and reads why they can't come in again.
func TestBannedPersonReadsWhy(t *testing.T) {
	s := newSite(t, setup{})
	v, desk := newPerson(s), atDesk(s, s.phone("alice"))
	v.submit(v.open(devicesPath), "/s/signin", "credential", "alice")
	if err := s.auth.Ban(t.Context(), auth.Ban{User: "demo:alice", Reason: "stolen"}); err != nil {
		t.Fatal(err)
	}
	signin := v.open(devicesPath)
	pageIs(t, signin, 200, "Sign in")
	if !strings.Contains(desk.open(accountPath).raw, "<qr-login") {
		t.Error("the desktop is still signed in")
	}
	why := v.submit(signin, "/s/signin", "credential", "alice")
	pageIs(t, why, 403, "This account is on hold")
	if strings.Contains(why.raw, "stolen") || !strings.Contains(why.raw, `href="/s/devices"`) {
		t.Errorf("it says: %s", why.raw)
	}
	v.lang = "zh-CN"
	pageIs(t, v.submit(signin, "/s/signin", "credential", "alice"), 403, "此账号已暂停使用")
	pageIs(t, v.submit(signin, "/s/signin", "credential", "bob"), 200, "您的设备")
	if a := s.sendWith(desk.http, s.request("POST", "/session/token", nil)); a.status != 401 {
		t.Errorf("a token for a banned page: %d", a.status)
	}
}

// A policy that refuses says so, and a form leads back to the sign-in with the
// code that was scanned.
func TestFullAccountReadsWhy(t *testing.T) {
	phone := auth.Clients("")[auth.Phone]
	phone.MaxSessions, phone.OnLimit = 1, auth.Refuse
	s := newSite(t, setup{clients: []auth.Client{phone}})
	s.phone("alice")
	l := s.create(nil)
	v := newPerson(s)
	full := v.submit(v.open(l.qr), "/s/signin", "credential", "alice")
	pageIs(t, full, 403, "All places are taken")
	back := regexp.MustCompile(`href="(/s/[^"]+\?proof=[^"]+)"`).FindStringSubmatch(full.raw)
	if back == nil {
		t.Fatalf("no way back: %s", full.raw)
	}
	pageIs(t, v.open(html.UnescapeString(back[1])), 200, "Sign in")
}

// Guessed codes and credentials are slowed down on the pages as on the API.
func TestGuessingOnThePagesIsSlowedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, setup{direct: true, limits: true})
		v, bob := newPerson(s), newPerson(s)
		code := v.signIn("alice")
		bobs := bob.signIn("bob")
		l := s.create(map[string]any{"user_code": true})
		for range 10 {
			pageIs(t, v.submit(code, "/s/scan", "user_code", "BCDF-GHJK"), 404, "Type the code shown on the other device")
		}
		slow := v.submit(code, "/s/scan", "user_code", l.userCode) // not even the right one
		pageIs(t, slow, 429, "A short break")
		if slow.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		pageIs(t, bob.submit(bobs, "/s/scan", "user_code", "BCDF-GHJK"), 404, "Type the code shown on the other device")
		time.Sleep(90 * time.Second)
		pageIs(t, v.submit(code, "/s/scan", "user_code", l.userCode), 200, "Sign in another device?")

		stranger := newPerson(s)
		signin := stranger.open("/s")
		for range 50 {
			pageIs(t, stranger.submit(signin, "/s/signin", "credential", "mallory"), 401, "Sign in")
		}
		pageIs(t, stranger.submit(signin, "/s/signin", "credential", "mallory"), 429, "A short break")
		pageIs(t, stranger.submit(signin, "/s/signin", "credential", "alice"), 200, "Type the code shown on the other device")
	})
}

// Every message has all its words, also those that only other rooms cause.
func TestMessagesAreWhole(t *testing.T) {
	words := loadPages().words["en"]
	codes := 0
	for key := range words {
		if code, ok := strings.CutSuffix(key, ".heading"); ok && strings.HasPrefix(key, "message.") {
			codes++
			if words[code+".text"] == "" || words[code+".next"] == "" {
				t.Errorf("%s says half", code)
			}
		}
	}
	for _, f := range []*failure{explain(auth.ErrBanned), explain(auth.ErrSessionLimit), errNetworkBanned, errRateLimited, errSessionEnded} {
		if words["message."+f.code+".heading"] == "" {
			t.Errorf("no words for %s", f.code)
		}
	}
	if codes < 10 {
		t.Errorf("found %d messages", codes)
	}
	for _, why := range (page{}).Ends() {
		if words["signed_out."+string(why)] == "" {
			t.Errorf("no words for the end %s", why)
		}
	}
}
