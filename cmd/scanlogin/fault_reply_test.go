package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// faulty is two instances on one Redis, each with a proxy of its own in between:
// the faults happen to one of them, here; there is the other.
type faulty struct {
	t             *testing.T
	redis         *redisServer
	here, there   *caller
	proxy, beyond *redisProxy // of here, of there
	instances     [2]*server
	public        string
}

func startFaulty(t *testing.T, env ...string) *faulty {
	t.Helper()
	f := &faulty{t: t, redis: startRedis(t), public: "http://login.example"}
	f.proxy, f.beyond = startProxy(t, f.redis), startProxy(t, f.redis)
	for i, p := range []*redisProxy{f.proxy, f.beyond} {
		f.instances[i] = startServer(t, serveEnv(f.public, append([]string{"SCANLOGIN_REDIS_URL=" + p.url(), "SCANLOGIN_LIMITS=off"}, env...)...))
	}
	for _, s := range f.instances {
		s.ready(t)
	}
	f.here, f.there = newCaller(t, f.instances[0].url), newCaller(t, f.instances[1].url)
	return f
}

// back ends every fault and waits until here is ready again.
func (f *faulty) back() {
	f.t.Helper()
	f.proxy.heal()
	f.instances[0].ready(f.t)
}

// refused is a request during a fault: 503 within a second, and nothing that
// could be taken for an answer.
func (f *faulty) refused(method, path, token string, body any) {
	f.t.Helper()
	a := f.here.do(503, method, path, token, body)
	if a.took > time.Second || a.header.Get("Retry-After") == "" {
		f.t.Errorf("%s %s: after %s, Retry-After %q", method, path, a.took.Round(time.Millisecond), a.header.Get("Retry-After"))
	}
	for _, name := range []string{"device_code", "verification_uri_complete", "confirm_token", "access_token", "refresh_token"} {
		if a.body[name] != nil {
			f.t.Errorf("%s %s: 503 with %s", method, path, name)
		}
	}
	if strings.HasPrefix(path, "/v1/") && a.code() != "store_unavailable" {
		f.t.Errorf("%s %s: %s", method, path, a.raw)
	}
}

// eachLoss does something again and again: the first time all of Redis' answers to
// it are lost, then all but one, until it gets all that it needs. What failed has
// to be told as 503 in time; after says what must be true each time.
func (f *faulty) eachLoss(once func() (method, path, token string, body any), after func(answered bool, a answer)) {
	f.t.Helper()
	for n := range int64(20) {
		method, path, token, body := once()
		before := f.proxy.struck.Load()
		f.proxy.with(loseFrom(n))
		a, err := f.here.try(method, path, token, body)
		f.proxy.heal()
		lost := f.proxy.struck.Load() - before
		switch {
		case err != nil:
			f.t.Fatal(err)
		case a.status == 503 && (a.took > time.Second || a.header.Get("Retry-After") == "" || lost == 0):
			f.t.Errorf("answer %d lost: after %s, Retry-After %q, %d lost", n, a.took, a.header.Get("Retry-After"), lost)
		case a.status >= 300 && a.status != 503:
			f.t.Fatalf("answer %d lost: %d %s", n, a.status, a.raw)
		}
		after(a.status < 300, a)
		if a.status < 300 {
			f.t.Logf("%s %s: all is well with %d answers", method, path, n)
			if n == 0 {
				f.t.Error("nothing was lost")
			}
			return
		}
	}
	f.t.Error("it never gets what it needs")
}

// F1: a ticket whose creation was not acknowledged is not handed out.
func TestCreateWhoseReplyIsLostGivesNoQR(t *testing.T) {
	f := startFaulty(t)
	f.eachLoss(func() (string, string, string, any) {
		return "POST", "/v1/tickets", "", map[string]any{"user_code": true}
	}, func(answered bool, a answer) {
		if secret := a.text("device_code") + a.text("verification_uri_complete") + a.text("user_code"); answered != (secret != "") {
			t.Errorf("%d with %s", a.status, a.raw)
		}
	})
	for name, fault := range map[string]func(){"mute": func() { f.proxy.with(mute) }, "cut": f.proxy.cut} {
		fault()
		f.refused("POST", "/v1/tickets", "", nil)
		f.refused("POST", "/oauth/device_authorization", "", url.Values{"client_id": {"device"}})
		f.back()
		if l := f.here.create(); l.qr == "" {
			t.Errorf("after %s: no QR", name)
		}
	}
}

// F4: the scan landed and nobody knows. The same phone scans again, on either
// instance; somebody else is too late.
func TestScanWhoseReplyIsLostIsRepeated(t *testing.T) {
	f := startFaulty(t)
	alice, bob := f.here.signIn("alice"), f.here.signIn("bob")
	var l login
	f.eachLoss(func() (string, string, string, any) {
		l = f.there.create()
		return "POST", "/v1/scan", alice, map[string]string{"qr": l.qr}
	}, func(answered bool, a answer) {
		before := f.there.do(200, "GET", "/v1/tickets/"+l.id, l.deviceCode, nil)
		if status := before.text("status"); status != "scanned" && (answered || status != "pending") {
			t.Fatalf("the ticket is %s", before.raw)
		}
		if before.text("status") == "scanned" {
			if a := f.there.do(409, "POST", "/v1/scan", bob, map[string]string{"qr": l.qr}); a.code() != "already_scanned" {
				t.Error(a.raw)
			}
		}
		f.there.scan(&l, alice)
		if answered { // the token before is dead
			stale := map[string]string{"confirm_token": a.text("confirm_token")}
			f.here.do(403, "POST", "/v1/tickets/"+l.id+"/confirm", alice, stale)
		}
		f.here.confirm(l, alice)
		if sub := claim(t, f.there.do(200, "POST", "/oauth/token", "", redeemForm(l)).text("access_token"), "sub"); sub != "demo:alice" {
			t.Errorf("signed in: %s", sub)
		}
	})
}

// F5: the confirm landed and the phone was told 503. Its repeat gets the same
// answer, the browser hears of it once, and it is one session.
func TestConfirmWhoseReplyIsLostIsRepeated(t *testing.T) {
	f := startFaulty(t)
	alice := f.here.signIn("alice")
	var l login
	var browser *socket
	f.eachLoss(func() (string, string, string, any) {
		l = f.there.create()
		f.there.scan(&l, alice)
		var err error
		if browser, err = watch(f.there.base, f.public, l); err != nil {
			t.Fatal(err)
		}
		return "POST", "/v1/tickets/" + l.id + "/confirm", alice, map[string]string{"confirm_token": l.confirmToken}
	}, func(bool, answer) {
		defer browser.conn.Close()
		for _, c := range []*caller{f.there, f.here} {
			a := c.do(200, "POST", "/v1/tickets/"+l.id+"/confirm", alice, map[string]string{"confirm_token": l.confirmToken})
			if a.text("status") != "confirmed" {
				t.Error(a.raw)
			}
		}
		if _, err := browser.until("confirmed", 5*time.Second); err != nil {
			t.Error(err)
		}
		f.oneSession(l, alice)
	})
}

// F5: the other decision after a lost one: the deny stands, whatever the phone
// was told of its confirm.
func TestDenyAfterALostConfirmStands(t *testing.T) {
	f := startFaulty(t)
	alice := f.here.signIn("alice")
	l := f.here.create()
	f.here.scan(&l, alice)
	token := map[string]string{"confirm_token": l.confirmToken}
	f.proxy.with(lose("EVALSHA", "EVAL"))
	f.refused("POST", "/v1/tickets/"+l.id+"/confirm", alice, token)
	f.back()
	f.there.do(200, "POST", "/v1/tickets/"+l.id+"/deny", alice, token)
	if a := f.here.do(409, "POST", "/v1/tickets/"+l.id+"/confirm", alice, token); a.code() != "invalid_state" {
		t.Error(a.raw)
	}
	if a := f.here.do(400, "POST", "/oauth/token", "", redeemForm(l)); a.code() != "access_denied" {
		t.Error(a.raw)
	}
}

// webSessions are the sids of a user's browsers.
func (f *faulty) webSessions(phone string) (sids []string) {
	f.t.Helper()
	list, _ := f.there.do(200, "GET", "/v1/sessions", phone, nil).body["sessions"].([]any)
	for _, one := range list {
		if s, _ := one.(map[string]any); s["client_id"] == "web" {
			sids = append(sids, fmt.Sprint(s["id"]))
		}
	}
	return sids
}

// oneSession redeems a ticket on both instances at once, many times: it is one
// session with one refresh token, and no other one is left lying about.
func (f *faulty) oneSession(l login, phone string) {
	f.t.Helper()
	before := f.webSessions(phone)
	var wg sync.WaitGroup
	answers := make([]answer, 20)
	for i := range answers {
		c := []*caller{f.here, f.there}[i%2]
		wg.Go(func() {
			var err error
			if answers[i], err = c.try("POST", "/oauth/token", "", redeemForm(l)); err != nil {
				f.t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, a := range answers {
		if a.status != 200 || a.text("refresh_token") != answers[0].text("refresh_token") {
			f.t.Fatalf("%d %s", a.status, a.raw)
		}
	}
	k := f.here.tokens(answers[0])
	f.there.alive(k.access)
	after := f.webSessions(phone)
	known := strings.Count(strings.Join(before, " "), k.sid)
	if len(after) != len(before)+1-known || strings.Count(strings.Join(after, " "), k.sid) != 1 {
		f.t.Errorf("sessions %v, then %v; redeemed for %s", before, after, k.sid)
	}
	f.there.do(204, "DELETE", "/v1/sessions/"+k.sid, phone, nil) // room for the next
	if left := f.webSessions(phone); len(left) != 0 {
		f.t.Errorf("an orphan is alive: %v", left)
	}
}

// F7: the ticket is consumed, or the session made, and the browser was told 503.
// Asking again gives the one session; a second one never comes to be.
func TestRedeemWhoseReplyIsLostMakesOneSession(t *testing.T) {
	f := startFaulty(t)
	alice := f.here.signIn("alice")
	var l login
	f.eachLoss(func() (string, string, string, any) {
		l = f.there.create()
		f.there.scan(&l, alice)
		f.there.confirm(l, alice)
		return "POST", "/oauth/token", "", redeemForm(l)
	}, func(answered bool, a answer) {
		if answered {
			if again := f.there.do(200, "POST", "/oauth/token", "", redeemForm(l)); again.text("refresh_token") != a.text("refresh_token") {
				t.Error("the repeat got another session")
			}
		}
		f.oneSession(l, alice)
	})
}

// F8: the token was rotated and the browser was told 503. The old one gives the
// same successor on every instance, and nobody takes the browser for a thief.
func TestRefreshWhoseReplyIsLostGivesTheSamePair(t *testing.T) {
	f := startFaulty(t)
	alice := f.here.signIn("alice")
	k := f.here.login(alice)
	f.eachLoss(func() (string, string, string, any) {
		return "POST", "/oauth/token", "", refreshForm(k.refresh)
	}, func(answered bool, a answer) {
		next := f.there.refresh(k.refresh)
		if again := f.here.refresh(k.refresh); again.refresh != next.refresh || again.sid != k.sid {
			t.Error("two successors of one token")
		}
		if answered && a.text("refresh_token") != next.refresh {
			t.Error("the repeat got another token")
		}
		f.there.alive(next.access)
		k = next
	})
}

// F9: a refresh while Redis is away costs the browser nothing: not its token, not
// its session.
func TestRefreshWithoutRedisKeepsTheToken(t *testing.T) {
	f := startFaulty(t)
	k := f.here.login(f.here.signIn("alice"))
	for _, fault := range []func(){f.proxy.cut, func() { f.proxy.with(mute) }} {
		fault()
		for range 3 {
			f.refused("POST", "/oauth/token", "", refreshForm(k.refresh))
		}
		f.back()
		k = f.here.refresh(k.refresh)
		f.there.alive(k.access)
	}
}

// F10: a token that cannot be looked up opens nothing: the good one is told 503,
// and one that was ended meanwhile on the other instance is never told 200.
func TestTokenCheckWithoutRedisFailsClosed(t *testing.T) {
	f := startFaulty(t)
	phone := f.here.signIn("alice")
	good, ended := f.here.login(phone), f.here.login(phone)
	f.here.alive(ended.access) // whatever could be remembered is
	for name, fault := range map[string]func(){"cut": f.proxy.cut, "mute": func() { f.proxy.with(mute) }} {
		ended = f.here.login(phone)
		f.here.alive(ended.access)
		fault()
		f.there.do(204, "DELETE", "/v1/sessions/"+ended.sid, phone, nil)
		for _, token := range []string{good.access, ended.access, phone} {
			f.refused("GET", "/v1/sessions", token, nil)
			f.refused("GET", "/oauth/userinfo", token, nil)
		}
		f.refused("POST", "/v1/scan", phone, map[string]string{"user_code": "BCDF-GHJK"})
		f.back()
		f.here.alive(good.access)
		if a := f.here.do(401, "GET", "/v1/sessions", ended.access, nil); a.code() != "invalid_token" {
			t.Errorf("after %s: %s", name, a.raw)
		}
	}
}

// F11: a logout that may not have reached Redis is not called done; repeated, it
// is.
func TestLogoutWithoutRedisIsNotClaimed(t *testing.T) {
	f := startFaulty(t)
	phone := f.here.signIn("alice")
	revoke := func(k tokens) (string, string, string, any) {
		return "POST", "/oauth/revoke", "", url.Values{"client_id": {"web"}, "token": {k.refresh}}
	}
	end := func(k tokens) (string, string, string, any) { return "DELETE", "/v1/sessions/" + k.sid, phone, nil }
	for _, logout := range []func(tokens) (string, string, string, any){revoke, end} {
		k := f.here.login(phone)
		f.proxy.cut()
		f.refused(logout(k))
		f.there.alive(k.access) // it was not even asked for
		f.back()
		f.eachLoss(func() (string, string, string, any) {
			k = f.there.login(phone)
			return logout(k)
		}, func(answered bool, _ answer) {
			if answered {
				f.there.dead(k)
				return
			}
			method, path, token, body := logout(k)
			a, err := f.there.try(method, path, token, body)
			if err != nil || a.status >= 300 && a.status != http.StatusNotFound { // 404: it has landed before
				t.Fatalf("%v %d %s", err, a.status, a.raw)
			}
			f.there.dead(k)
			f.here.dead(k)
		})
	}
}
