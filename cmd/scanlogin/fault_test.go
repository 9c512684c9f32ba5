package main

import (
	"fmt"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// waiting is a browser that waits for its own login.
type waiting struct {
	login
	user   string // who scanned
	socket *socket
}

// crowd is how many people sign in at once; nobody of them reaches the limit of
// sessions.
const crowd = 40

func person(i int) string { return fmt.Sprintf("person%02d", i%crowd) }

// signInCrowd gives each of them a phone.
func signInCrowd(api *caller) map[string]string {
	api.t.Helper()
	phones := map[string]string{}
	for i := range crowd {
		phones[person(i)] = api.signIn(person(i))
	}
	return phones
}

// openBrowsers creates n tickets, watched half on each instance, and has
// every one scanned by one of the crowd.
func openBrowsers(t *testing.T, c *cluster, n int) []*waiting {
	t.Helper()
	api := newCaller(t, c.url)
	phones := signInCrowd(api)
	browsers := make([]*waiting, n)
	parallel(n, func(i int) {
		b := &waiting{login: api.create(), user: person(i)}
		api.scan(&b.login, phones[b.user])
		s, err := watch(c.instances[(i/2)%len(c.instances)].url, c.url, b.login)
		if err != nil {
			t.Error(err)
			return
		}
		b.socket = s
		if _, err := s.until("scanned", 10*time.Second); err != nil {
			t.Errorf("browser %d: %v", i, err)
		}
		browsers[i] = b
	})
	if t.Failed() {
		t.FailNow()
	}
	t.Cleanup(func() {
		for _, b := range browsers {
			b.socket.conn.Close()
		}
	})
	return browsers
}

// parallel runs n pieces of work, 16 at a time.
func parallel(n int, work func(i int)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, 16)
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			work(i)
		})
	}
	wg.Wait()
}

// again repeats a request while the store is away; anything else is final.
func (c *caller) again(method, path, token string, body any) (answer, error) {
	deadline := time.Now().Add(15 * time.Second)
	for {
		a, err := c.try(method, path, token, body)
		if err != nil || a.code() != "store_unavailable" || time.Now().After(deadline) {
			return a, err
		}
	}
}

// Redis goes away and comes back with its data while 200 browsers wait and
// the phones decide at that very moment. Every browser hears of its own
// login, and every login is there once and belongs to who scanned it.
func TestRestartWithDataLosesNoLogin(t *testing.T) {
	c := startClusterOn(t, startRedis(t, "--appendonly", "yes", "--appendfsync", "always"), 2, "")
	browsers := openBrowsers(t, c, 200)
	api := newCaller(t, c.url)
	phones := signInCrowd(api)

	decided := make(chan struct{})
	wanted := func(i int) string { return []string{"confirmed", "confirmed", "confirmed", "denied"}[i%4] }
	go func() { // phones decide while Redis is down, and insist
		defer close(decided)
		parallel(len(browsers), func(i int) {
			b := browsers[i]
			action := map[string]string{"confirmed": "confirm", "denied": "deny"}[wanted(i)]
			a, err := api.again("POST", "/v1/tickets/"+b.id+"/"+action, phones[b.user], map[string]string{"confirm_token": b.confirmToken})
			if err != nil || a.status != 200 {
				t.Errorf("%s of %d: %v %d %s", action, i, err, a.status, a.raw)
			}
		})
	}()
	c.redis.restart()
	returned := time.Now()
	told := tally(browsers, func(i int, b *waiting) string {
		f, err := b.socket.until(wanted(i), 5*time.Second)
		return fmt.Sprint(f.Status, " ", err)
	})
	t.Logf("told %v within %s of its return", told, time.Since(returned).Round(time.Millisecond))
	<-decided
	if told["confirmed <nil>"] != 150 || told["denied <nil>"] != 50 {
		t.Fatal("not every browser was told its own end")
	}
	ledger(t, api, browsers, func(i int) bool { return wanted(i) == "confirmed" })
}

// tally asks every browser something at once and counts the answers.
func tally(browsers []*waiting, ask func(i int, b *waiting) string) map[string]int {
	var mu sync.Mutex
	counts := map[string]int{}
	var wg sync.WaitGroup
	for i, b := range browsers {
		wg.Go(func() {
			said := ask(i, b)
			mu.Lock()
			counts[said]++
			mu.Unlock()
		})
	}
	wg.Wait()
	return counts
}

// ledger redeems every ticket twice and checks that each confirmed one is
// exactly one session of the person who scanned it, and no other is any.
func ledger(t *testing.T, api *caller, browsers []*waiting, confirmed func(i int) bool) {
	t.Helper()
	var mu sync.Mutex
	owner := map[string]string{} // sid -> ticket
	parallel(len(browsers), func(i int) {
		b := browsers[i]
		first, err := api.try("POST", "/oauth/token", "", redeemForm(b.login))
		second, err2 := api.try("POST", "/oauth/token", "", redeemForm(b.login))
		switch {
		case err != nil || err2 != nil:
			t.Errorf("redeem %d: %v %v", i, err, err2)
			return
		case !confirmed(i):
			if first.code() != "access_denied" {
				t.Errorf("ticket %d was not confirmed, yet: %s", i, first.raw)
			}
			return
		case first.status != 200 || second.status != 200 || first.text("refresh_token") != second.text("refresh_token"):
			t.Errorf("redeem %d: %d %s, then %d", i, first.status, first.raw, second.status)
			return
		}
		sid, _ := claim(t, first.text("access_token"), "sid").(string)
		if sub := claim(t, first.text("access_token"), "sub"); sub != "demo:"+b.user {
			t.Errorf("ticket %d was scanned by %s and signed in %s", i, b.user, sub)
		}
		mu.Lock()
		defer mu.Unlock()
		if other, taken := owner[sid]; taken {
			t.Errorf("tickets %s and %s share a session", other, b.id)
		}
		owner[sid] = b.id
	})
	t.Logf("%d sessions from %d tickets", len(owner), len(browsers))
}

// Redis comes back empty: every browser is told that its ticket is over, and
// a new login works at once.
func TestEmptyRestartTellsEveryBrowser(t *testing.T) {
	c := startCluster(t, 2)
	browsers := openBrowsers(t, c, 200)
	c.redis.restart()
	begun := time.Now()
	told := tally(browsers, func(_ int, b *waiting) string {
		f, err := b.socket.until("expired", 5*time.Second)
		return fmt.Sprint(f.Status, " ", err)
	})
	t.Logf("told %v within %s of its return", told, time.Since(begun).Round(time.Millisecond))
	if told["expired <nil>"] != len(browsers) {
		t.Fatal("not every browser was told")
	}
	for _, s := range c.instances {
		s.ready(t)
	}
	again := openBrowsers(t, c, 20)
	api := newCaller(t, c.url)
	phones := signInCrowd(api)
	for _, b := range again {
		api.confirm(b.login, phones[b.user])
		if _, err := b.socket.until("confirmed", 5*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	ledger(t, api, again, func(int) bool { return true })
}

// The store is away in every way it can be; each route that needs it says so
// in time, and all is well again when it is back.
func TestStoreAwayIsSaidInTime(t *testing.T) {
	faults := map[string]struct{ away, back func(r *redisServer) }{
		"mute": {
			func(r *redisServer) { r.signal(syscall.SIGSTOP) },
			func(r *redisServer) { r.signal(syscall.SIGCONT) },
		},
		"down": {
			func(r *redisServer) { r.signal(syscall.SIGTERM); <-r.done },
			func(r *redisServer) { r.start() },
		},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			c := startClusterOn(t, startRedis(t, "--appendonly", "yes", "--appendfsync", "always"), 1, "")
			api := newCaller(t, c.instances[0].url)
			phone := api.signIn("alice")
			l := api.create()
			api.scan(&l, phone)
			web := api.create()
			api.scan(&web, phone)
			api.confirm(web, phone)
			tokens := api.do(200, "POST", "/oauth/token", "", redeemForm(web))

			fault.away(c.redis)
			routes := []struct {
				method, path, token string
				body                any
			}{
				{"POST", "/v1/tickets", "", map[string]any{"user_code": true}},
				{"POST", "/oauth/device_authorization", "", url.Values{"client_id": {"device"}}},
				{"GET", "/v1/tickets/" + l.id, l.deviceCode, nil},
				{"GET", "/v1/tickets/" + l.id + "?seq=1&wait=25", l.deviceCode, nil},
				{"GET", "/v1/tickets/" + l.id + "/events", l.deviceCode, nil},
				{"GET", "/v1/tickets/" + l.id + "/qr.png", l.deviceCode, nil},
				{"DELETE", "/v1/tickets/" + l.id, l.deviceCode, nil},
				{"POST", "/v1/scan", phone, map[string]string{"qr": l.qr}},
				{"POST", "/v1/scan", phone, map[string]string{"user_code": "BCDF-GHJK"}},
				{"POST", "/v1/tickets/" + l.id + "/confirm", phone, map[string]string{"confirm_token": l.confirmToken}},
				{"POST", "/v1/tickets/" + l.id + "/deny", phone, map[string]string{"confirm_token": l.confirmToken}},
				{"GET", "/v1/tickets/" + l.id + "/decision", phone, nil},
				{"POST", "/v1/signin/demo", "", map[string]string{"credential": "alice"}},
				{"POST", "/oauth/token", "", redeemForm(l)},
				{"POST", "/oauth/token", "", url.Values{"grant_type": {"refresh_token"}, "client_id": {"web"}, "refresh_token": {tokens.text("refresh_token")}}},
				{"GET", "/oauth/userinfo", tokens.text("access_token"), nil},
				{"GET", "/s/" + l.qr[strings.LastIndex(l.qr, "/")+1:], "", nil},
				{"GET", "/readyz", "", nil},
			}
			for _, r := range routes {
				a := api.do(503, r.method, r.path, r.token, r.body)
				if a.header.Get("Retry-After") == "" || a.took > time.Second {
					t.Errorf("%s %s: after %s, Retry-After %q", r.method, r.path, a.took.Round(time.Millisecond), a.header.Get("Retry-After"))
				}
				if strings.HasPrefix(r.path, "/v1") && a.code() != "store_unavailable" {
					t.Errorf("%s %s: %s", r.method, r.path, a.raw)
				}
			}
			api.do(200, "GET", "/livez", "", nil)

			fault.back(c.redis)
			c.instances[0].ready(t)
			api.confirm(l, phone)
			if a := api.do(200, "POST", "/oauth/token", "", redeemForm(l)); claim(t, a.text("access_token"), "sub") != "demo:alice" {
				t.Error("somebody else signed in")
			}
			api.do(200, "POST", "/oauth/token", "", url.Values{"grant_type": {"refresh_token"}, "client_id": {"web"}, "refresh_token": {tokens.text("refresh_token")}})
		})
	}
}

// A browser's socket dies with its instance between scan and confirm; it
// comes back through the other one and hears of the confirm.
func TestKilledInstanceLosesNoLogin(t *testing.T) {
	c := startCluster(t, 2)
	api := newCaller(t, c.instances[1].url)
	phones := signInCrowd(api)
	browsers := openBrowsers(t, c, 40)
	c.instances[0].kill()
	told := tally(browsers, func(i int, b *waiting) string {
		api.confirm(b.login, phones[b.user])
		f, err := b.socket.until("confirmed", 10*time.Second)
		if err != nil { // what the component does: come back
			var s *socket
			if s, err = watch(c.instances[1].url, c.url, b.login); err == nil {
				defer s.conn.Close()
				f, err = s.until("confirmed", 10*time.Second)
			}
		}
		return fmt.Sprint(f.Status, " ", err)
	})
	if told["confirmed <nil>"] != len(browsers) {
		t.Fatalf("told %v", told)
	}
	ledger(t, api, browsers, func(int) bool { return true })
}
