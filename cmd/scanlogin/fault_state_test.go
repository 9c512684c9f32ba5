package main

import (
	"bufio"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// do runs a command on Redis itself and gives back the bulk strings of its answer,
// one on a line.
func (r *redisServer) do(t *testing.T, args ...string) string {
	t.Helper()
	c, err := net.Dial("unix", r.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	fmt.Fprintf(c, "*%d\r\n", len(args))
	for _, arg := range args {
		fmt.Fprintf(c, "$%d\r\n%s\r\n", len(arg), arg)
	}
	raw, err := readValue(bufio.NewReader(c))
	if err != nil || raw[0] == '-' {
		t.Fatalf("%v: %v %s", args, err, raw)
	}
	return string(raw)
}

// F12: no store, no limiter: a flood gets nothing that is guarded, while what
// needs no store is served as ever.
func TestLimiterWithoutRedisLetsNothingThrough(t *testing.T) {
	f := startFaulty(t, "SCANLOGIN_LIMITS=on")
	phone := f.here.signIn("alice")
	k := f.here.login(phone)
	guarded := []struct {
		path, token string
		body        any
	}{
		{"/v1/signin/demo", "", map[string]string{"credential": "bob"}},
		{"/v1/signin/demo", "", map[string]string{"credential": "mallory"}},
		{"/v1/tickets", "", nil},
		{"/oauth/device_authorization", "", url.Values{"client_id": {"device"}}},
		{"/v1/scan", phone, map[string]string{"user_code": "BCDF-GHJK"}},
		{"/oauth/token", "", refreshForm(k.refresh)},
		{"/oauth/token", "", redeemForm(login{deviceCode: strings.Repeat("A", 22) + "." + strings.Repeat("A", 43)})},
	}
	for name, fault := range map[string]func(){"cut": f.proxy.cut, "mute": func() { f.proxy.with(mute) }} {
		fault()
		var mu sync.Mutex
		count := map[int]int{}
		parallel(96, func(i int) {
			g := guarded[i%len(guarded)]
			a, err := f.here.try("POST", g.path, g.token, g.body)
			if err != nil || a.status != 503 && a.status != 429 || a.header.Get("Retry-After") == "" {
				t.Errorf("%s: %s: %v %d %s", name, g.path, err, a.status, a.raw)
			}
			mu.Lock()
			defer mu.Unlock()
			count[a.status]++
		})
		t.Logf("%s: answers by status: %v", name, count)
		for _, path := range []string{"/livez", "/version", "/qr-login.js", "/.well-known/oauth-authorization-server"} {
			if a := f.here.do(200, "GET", path, "", nil); a.took > time.Second {
				t.Errorf("%s: %s took %s", name, path, a.took)
			}
		}
		f.back()
	}
}

// F12: Redis is there, and only the limiter's keys find no room in it. Whatever is
// limited is 503 and is not done; afterwards it is.
func TestLimiterWithoutRoomLetsNothingThrough(t *testing.T) {
	f := startFaulty(t, "SCANLOGIN_LIMITS=on", "SCANLOGIN_TRUSTED_PROXIES=127.0.0.0/8")
	f.here, f.there = f.here.within("203.0.113.7"), f.there.within("198.51.100.7")
	phone := f.there.signIn("alice")
	k := f.there.login(phone)
	qr, confirmed := f.there.create(), f.there.create()
	f.there.scan(&confirmed, phone)
	f.there.confirm(confirmed, phone)
	device := f.there.do(200, "POST", "/oauth/device_authorization", "", url.Values{"client_id": {"device"}})
	const permits, all = ":p:", ""
	one, other := f.written(func() { f.here.signIn("bob") }), f.written(func() { f.here.signIn("carol") })
	maps.DeleteFunc(one, func(key string, _ bool) bool { return !other[key] })
	signIns := slices.Collect(maps.Keys(one))
	if len(signIns) != 1 {
		t.Fatalf("two sign-ins of one network have in common: %v", signIns)
	}
	for what, g := range map[string]struct {
		full, path, token string
		body              any
		done              int
	}{
		"a ticket":          {permits, "/v1/tickets", "", nil, 201},
		"a device's":        {permits, "/oauth/device_authorization", "", url.Values{"client_id": {"device"}}, 200},
		"a scan":            {permits, "/v1/scan", phone, map[string]string{"qr": qr.qr}, 200},
		"a typed code":      {permits, "/v1/scan", phone, map[string]string{"user_code": device.text("user_code")}, 200},
		"a redemption":      {permits, "/oauth/token", "", redeemForm(confirmed), 200},
		"a refresh":         {permits, "/oauth/token", "", refreshForm(k.refresh), 200},
		"a wrong grant":     {permits, "/oauth/token", "", refreshForm("made up"), 400},
		"a sign-in":         {signIns[0], "/v1/signin/demo", "", map[string]string{"credential": "bob"}, 200},
		"a wrong sign-in":   {all, "/v1/signin/demo", "", map[string]string{"credential": "mallory"}, 401},
		"a wrong user_code": {all, "/v1/scan", phone, map[string]string{"user_code": "BCDF-GHJK"}, 404},
	} {
		before := f.proxy.struck.Load()
		f.proxy.with(noRoom(g.full))
		f.refused("POST", g.path, g.token, g.body)
		f.proxy.heal()
		if f.proxy.struck.Load() == before {
			t.Errorf("%s is not limited", what)
		}
		f.here.do(g.done, "POST", g.path, g.token, g.body)
	}
}

// written are the keys of the scripts that something runs.
func (f *faulty) written(something func()) map[string]bool {
	var mu sync.Mutex
	keys := map[string]bool{}
	f.proxy.with(func(s said) ([]byte, error) {
		mu.Lock()
		defer mu.Unlock()
		if s.key != "" {
			keys[s.key] = true
		}
		return s.raw, nil
	})
	something()
	f.proxy.heal()
	mu.Lock()
	defer mu.Unlock()
	return keys
}

// F23: a double tap, a retry, a phone with two radios: the same decision five
// times at once on two instances is one decision, and every one is told so.
func TestDoubleTapIsOneDecision(t *testing.T) {
	f := startFaulty(t)
	alice, bob := f.here.signIn("alice"), f.here.signIn("bob")
	five := func(want int, path, token string, body any) (last answer) {
		t.Helper()
		var mu sync.Mutex
		parallel(5, func(i int) {
			a, err := []*caller{f.here, f.there}[i%2].try("POST", path, token, body)
			if err != nil || a.status != want {
				t.Errorf("%s: %v %d %s", path, err, a.status, a.raw)
			}
			mu.Lock()
			defer mu.Unlock()
			last = a
		})
		return last
	}
	for _, decision := range []string{"confirm", "deny"} {
		l := f.here.create()
		browser := f.open(f.there.base, l)
		five(200, "/v1/scan", alice, map[string]string{"qr": l.qr})
		if a := five(409, "/v1/scan", bob, map[string]string{"qr": l.qr}); a.code() != "already_scanned" {
			t.Error(a.raw)
		}
		f.here.scan(&l, alice) // of five confirm tokens the newest counts
		token := map[string]string{"confirm_token": l.confirmToken}
		status := map[string]string{"confirm": "confirmed", "deny": "denied"}[decision]
		if a := five(200, "/v1/tickets/"+l.id+"/"+decision, alice, token); a.text("status") != status {
			t.Error(a.raw)
		}
		if a := five(403, "/v1/tickets/"+l.id+"/"+decision, bob, token); a.code() != "not_scanner" {
			t.Error(a.raw)
		}
		if _, err := browser.until(status, 5*time.Second); err != nil {
			t.Error(err)
		}
		if decision == "confirm" {
			f.oneSession(l, alice)
		} else if a := f.there.do(400, "POST", "/oauth/token", "", redeemForm(l)); a.code() != "access_denied" {
			t.Error(a.raw)
		}
	}
}

// F28: everything in Redis is gone under live sessions. Nothing that was signed
// before is good any more, bans hold, browsers are told, and all begin anew.
func TestFlushedRedisOpensNoDoor(t *testing.T) {
	f := startFaulty(t)
	operator{t, f.instances[0]}.do("ban", "add", "demo:carol")
	phone := f.here.signIn("alice")
	old, waiting := f.here.login(phone), f.here.create()
	spent := f.here.create()
	f.here.scan(&spent, phone)
	f.here.confirm(spent, phone)
	f.here.tokens(f.here.do(200, "POST", "/oauth/token", "", redeemForm(spent)))
	f.there.alive(old.access)
	browser := f.open(f.there.base, waiting)
	s := &service{public: f.public, urls: []string{f.here.base, f.there.base}}
	session := s.follow(t, 1, old.access)

	f.redis.do(t, "FLUSHALL")
	// The root key and its readers come back by themselves; until then the answer is 503.
	for _, c := range []*caller{f.here, f.there} {
		for _, token := range []string{old.access, phone} {
			if a, err := c.again("GET", "/v1/sessions", token, nil); err != nil || a.status != 401 || a.code() != "invalid_token" {
				t.Errorf("access token: %v %d %s", err, a.status, a.raw)
			}
		}
		for _, form := range []url.Values{refreshForm(old.refresh), redeemForm(spent), redeemForm(waiting)} {
			if a, err := c.again("POST", "/oauth/token", "", form); err != nil || a.status != 400 || a.code() != "invalid_grant" {
				t.Errorf("%s: %v %d %s", form.Get("grant_type"), err, a.status, a.raw)
			}
		}
		if a, err := c.again("POST", "/v1/signin/demo", "", map[string]string{"credential": "carol"}); err != nil || a.code() != "user_banned" {
			t.Errorf("the ban: %v %d %s", err, a.status, a.raw)
		}
	}
	f.redis.do(t, "CLIENT", "KILL", "TYPE", "pubsub") // a restart ends these connections, FLUSHALL does not
	if _, err := browser.until("expired", 5*time.Second); err != nil {
		t.Error(err)
	}
	if got, err := session.next(5 * time.Second); err != nil || got.Status != "ended" {
		t.Errorf("the session's socket: %+v, %v", got, err)
	}
	f.instances[0].ready(t)
	f.instances[1].ready(t)
	// Who comes now knows only what is in Redis: the ban has been put back there.
	newcomer := newCaller(t, startServer(t, serveEnv(f.public, "SCANLOGIN_REDIS_URL="+f.redis.url())).ready(t).url)
	newcomer.do(403, "POST", "/v1/signin/demo", "", map[string]string{"credential": "carol"})
	k := f.here.login(f.there.signIn("alice"))
	f.there.alive(k.access)
	f.here.do(401, "GET", "/v1/sessions", old.access, nil)
}

// F13: Redis reads as ever and has no room for a nonce. What was asked for needs no more
// than reading, and is not told all the same.
func TestSignedRequestWhoseNonceIsNotStored(t *testing.T) {
	f := startFaulty(t, "SCANLOGIN_CONFIG="+configFile(t, callersFile))
	caller := newCaller(t, f.public)
	l := f.here.create()
	ask := func() *http.Request {
		return caller.signed("till-1", till, "ticket", asJSON(t, map[string]string{"ticket_id": l.id}))
	}
	for i, p := range []*redisProxy{f.proxy, f.beyond} {
		p.with(noRoom(""))
		a := caller.at(f.instances[i], ask())
		p.heal()
		if a.status != 503 || a.code() != "store_unavailable" || a.took > time.Second || p.struck.Load() == 0 {
			t.Errorf("instance %d: %d after %s: %s", i, a.status, a.took, a.raw)
		}
		if a := caller.at(f.instances[i], ask()); a.status != 200 || a.text("status") != "pending" {
			t.Errorf("instance %d afterwards: %d %s", i, a.status, a.raw)
		}
	}
}

// F13: the nonce was spent, or the work was done, and the caller was told 503. The
// same request again is a replay or does it; signed anew, it is done.
func TestSignedRequestWhoseReplyIsLost(t *testing.T) {
	f := startFaulty(t, "SCANLOGIN_CONFIG="+configFile(t, callersFile))
	caller := newCaller(t, f.public)
	phone := f.here.signIn("alice")
	replays := 0
	for n := range int64(20) {
		k := f.here.login(phone)
		request := caller.signed("shop-1", oldKey, "end-sessions", `{"user":"demo:alice"}`)
		f.proxy.with(loseFrom(n))
		a := caller.at(f.instances[0], request)
		f.proxy.heal()
		if a.status != 503 && a.status >= 300 || a.status == 503 && (a.took > time.Second || a.header.Get("Retry-After") == "") {
			t.Fatalf("with %d answers: %d after %s: %s", n, a.status, a.took, a.raw)
		}
		switch again := caller.at(f.instances[1], request); {
		case again.status == 401 && again.code() == "bad_signature":
			replays++
		case a.status != 503 || again.status >= 300:
			t.Fatalf("again after %d: %d %s", a.status, again.status, again.raw)
		}
		anew := caller.signed("shop-2", newKey, "end-sessions", `{"user":"demo:alice"}`)
		if b := caller.at(f.instances[1], anew); b.status >= 300 {
			t.Fatalf("signed anew: %d %s", b.status, b.raw)
		}
		f.there.dead(k)
		phone = f.there.signIn("alice")
		if a.status != 503 {
			if n == 0 || replays < 2 {
				t.Errorf("done with %d answers, %d replays", n, replays)
			}
			return
		}
	}
	t.Error("it never gets what it needs")
}
