package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"scanlogin/auth"
	"scanlogin/qrlogin"
	"scanlogin/qrlogin/backend"
)

// from is a request's client address, through the proxy that tests have.
func from(address string) []string { return []string{"X-Forwarded-For", address} }

// counting is a site behind a proxy, whose wrong tries are counted.
func counting(t *testing.T) *site {
	return newSite(t, setup{
		direct: true, limits: true, proxies: []string{"192.0.2.0/24"}, clients: []auth.Client{shop, bank},
		auth: auth.Config{AccessTTL: time.Hour},
	})
}

// try is one guess at a client's secret, a credential or a typed code.
type try func(s *site, right bool, headers ...string) answer

func trySignIn(s *site, right bool, headers ...string) answer {
	credential := "alice"
	if !right {
		credential = "mallory"
	}
	return s.send("POST", "/v1/signin/demo", map[string]string{"credential": credential}, headers...)
}

func tryClient(id, secret string) try {
	return func(s *site, right bool, headers ...string) answer {
		form := url.Values{"token": {"x"}}
		if right {
			headers = append(headers, s.basic(id, secret)...)
		} else {
			headers = append(headers, s.basic(id, "wrong")...)
		}
		return s.send("POST", "/oauth/introspect", form, headers...)
	}
}

func tryCode(phone string) try {
	return func(s *site, right bool, headers ...string) answer {
		code := "BCDF-GHJK"
		if right {
			code = s.create(map[string]any{"user_code": true}).userCode
		}
		return s.send("POST", "/v1/scan", map[string]string{"user_code": code}, append(headers, bearerOf(phone)...)...)
	}
}

// slowed wants the answer to a try that is not looked at.
func slowed(t *testing.T, a answer, after string) {
	t.Helper()
	if a.status != 429 || a.code() != "rate_limited" || a.header.Get("Retry-After") != after {
		t.Errorf("%d %s, Retry-After %q, want %q: %s", a.status, a.code(), a.header.Get("Retry-After"), after, a.raw)
	}
}

// Ten wrong codes of one account, then one in 90 seconds, wherever it is. While it
// waits, what is right is not looked at either; for others nothing has changed.
func TestGuessingCodesIsSlowedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := counting(t)
		one, another := tryCode(s.phone("alice")), tryCode(s.phone("bob"))
		here, there := from("203.0.113.7"), from("198.51.100.7")
		for i := range 10 {
			if a := one(s, false, here...); a.status != 404 {
				t.Fatalf("wrong try %d: %d %s", i, a.status, a.raw)
			}
		}
		slowed(t, one(s, false, here...), "90")
		slowed(t, one(s, true, here...), "90")
		slowed(t, one(s, false, from("203.0.113.200")...), "90") // the same network
		slowed(t, one(s, true, there...), "90")                  // nor does another network help
		for _, a := range []answer{another(s, true, here...), another(s, true, there...)} {
			if a.status != 200 {
				t.Errorf("somebody else: %d %s", a.status, a.raw)
			}
		}
		time.Sleep(60*time.Second + time.Millisecond)
		slowed(t, one(s, true, here...), "30")
		time.Sleep(30 * time.Second)
		for range 3 {
			if a := one(s, true, here...); a.status != 200 {
				t.Errorf("after the wait: %d %s", a.status, a.raw)
			}
		}
		if a := one(s, false, here...); a.status != 404 {
			t.Errorf("one more is allowed: %d %s", a.status, a.raw)
		}
		slowed(t, one(s, true, here...), "90")
		time.Sleep(15 * time.Minute)
		for i := range 10 { // all is forgotten
			if a := one(s, false, here...); a.status != 404 {
				t.Errorf("afresh, wrong try %d: %d %s", i, a.status, a.raw)
			}
		}
		slowed(t, one(s, false, here...), "90")
	})
}

// Accounts that guess in turns use up their network; whoever has not guessed
// wrong there is let in all the same.
func TestGuessingWithManyAccountsIsSlowedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		people := make([]string, 12)
		for i := range people {
			people[i] = fmt.Sprint("person", i)
		}
		s := newSite(t, setup{direct: true, limits: true, proxies: []string{"192.0.2.0/24"}, more: people, auth: auth.Config{AccessTTL: time.Hour}})
		phones := make([]string, len(people))
		for i, name := range people {
			phones[i] = s.phone(name)
		}
		here := from("203.0.113.7")
		for i := range 50 {
			if a := tryCode(phones[i%10])(s, false, here...); a.status != 404 {
				t.Fatalf("wrong try %d: %d %s", i, a.status, a.raw)
			}
		}
		slowed(t, tryCode(phones[0])(s, true, here...), "18")
		if a := tryCode(phones[10])(s, true, here...); a.status != 200 {
			t.Errorf("who did not guess: %d %s", a.status, a.raw)
		}
	})
}

// Wrong secrets slow down whoever sends them; the right one is let in whatever
// others do, so that nobody can lock a back end or an office out.
func TestWrongSecretsLockNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := counting(t)
		here := from("203.0.113.7")
		for i := range 60 {
			a := tryClient("shop", "right")(s, false, here...)
			if i < 10 && a.status != 401 {
				t.Fatalf("wrong try %d: %d %s", i, a.status, a.raw)
			} else if i == 10 {
				slowed(t, a, "90")
			} else if i > 10 && a.status != 429 {
				t.Errorf("wrong try %d: %d", i, a.status)
			}
			if a := tryClient("shop", "right")(s, true, here...); a.status != 200 {
				t.Errorf("the right one after %d wrong ones: %d %s", i+1, a.status, a.raw)
			}
			trySignIn(s, false, here...)
			if a := trySignIn(s, true, here...); a.status != 200 {
				t.Errorf("the right credential after %d wrong ones: %d %s", i+1, a.status, a.raw)
			}
		}
	})
}

// Fifty wrong tries of one network, whatever they name, then one in 18 seconds.
func TestGuessingByANetworkIsSlowedDown(t *testing.T) {
	for name, guess := range map[string]func(s *site, i int, headers ...string) answer{
		"credentials": func(s *site, _ int, headers ...string) answer { return trySignIn(s, false, headers...) },
		"clients": func(s *site, i int, headers ...string) answer {
			return tryClient(fmt.Sprint("nobody", i), "")(s, false, headers...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := counting(t)
				for i := range 50 {
					host := fmt.Sprintf("2001:db8:1:2::%x", i)
					if a := guess(s, i, from(host)...); a.status != 401 {
						t.Fatalf("wrong try %d: %d %s", i, a.status, a.raw)
					}
				}
				slowed(t, guess(s, 99, from("2001:db8:1:2:ffff::1")...), "18")
				if a := guess(s, 99, from("2001:db8:1:3::1")...); a.status != 401 {
					t.Errorf("the next network: %d %s", a.status, a.raw)
				}
				time.Sleep(18 * time.Second)
				if a := guess(s, 99, from("2001:db8:1:2:ffff::1")...); a.status != 401 {
					t.Errorf("after the wait: %d %s", a.status, a.raw)
				}
				slowed(t, guess(s, 99, from("2001:db8:1:2:ffff::1")...), "18")
			})
		})
	}
}

// An office signs in behind one address, and some mistype: nobody is slowed.
func TestOfficeBehindOneAddressIsNotSlowedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := counting(t)
		here := from("203.0.113.7")
		for i := range 500 {
			if a := trySignIn(s, true, here...); a.status != 200 {
				t.Fatalf("sign-in %d: %d %s", i, a.status, a.raw)
			}
			if i%12 == 0 {
				if a := trySignIn(s, false, here...); a.status != 401 {
					t.Fatalf("mistyped %d: %d %s", i, a.status, a.raw)
				}
			}
		}
		// Nor does who guesses keep public clients and scanners out.
		phone := s.phone("alice")
		for i := range 60 {
			trySignIn(s, false, here...)
			tryClient(fmt.Sprint("nobody", i), "")(s, false, here...)
		}
		l := s.create(nil)
		s.want(400, "authorization_pending", "POST", "/oauth/token", redemption(l), here...)
		s.want(200, "", "POST", "/v1/scan", map[string]string{"qr": l.qr}, append(here, bearerOf(phone)...)...)
	})
}

// Unknown clients and wrong secrets are counted alike, or the count would tell
// them apart.
func TestCountDoesNotTellWhichClientsExist(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := counting(t)
		rows := map[string]string{}
		for _, id := range []string{"shop", "nobody", "web"} {
			for i := range 12 {
				a := tryClient(id, "")(s, false, from("203.0.113.7")...)
				rows[id] += fmt.Sprintln(i, a.status, a.header.Get("Retry-After"), a.header.Get("WWW-Authenticate"), a.raw)
			}
		}
		if rows["shop"] != rows["nobody"] || rows["shop"] != rows["web"] {
			t.Errorf("told apart:\n%s\n%s\n%s", rows["shop"], rows["nobody"], rows["web"])
		}
	})
}

// Codes that are tried at once are looked at one after the other.
func TestGuessingInParallelGainsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := counting(t)
		try := tryCode(s.phone("alice"))
		for round := range 5 {
			var tries sync.WaitGroup
			var looked atomic.Int64
			for range 200 {
				tries.Go(func() {
					if a := try(s, false, from("203.0.113.7")...); a.status == 404 {
						looked.Add(1)
					}
				})
			}
			tries.Wait()
			if most := int64(10); round == 0 && looked.Load() != most || round > 0 && looked.Load() > 2 {
				t.Errorf("volley %d: %d were looked at", round, looked.Load())
			}
			time.Sleep(181 * time.Second)
		}
		if a := try(s, true, from("203.0.113.7")...); a.status != 200 {
			t.Errorf("locked out: %d %s", a.status, a.raw)
		}
	})
}

// The arithmetic, at its edges.
func TestBudget(t *testing.T) {
	now := time.UnixMicro(1_763_629_384_123_456)
	b := Rate{3, 30 * time.Second}
	full := time.UnixMicro(0)
	for i, want := range []time.Duration{0, 0, 0, 10, 20, 20} {
		if got := b.wait(full, now); got != want*time.Second {
			t.Errorf("after %d wrong tries: wait %s, want %ds", i, got, want)
		}
		full = b.charged(full, now)
	}
	if got := b.wait(full, now.Add(20*time.Second-time.Nanosecond)); got != time.Nanosecond {
		t.Errorf("a moment too early: %s", got)
	}
	if got := seconds(time.Nanosecond); got != 1 {
		t.Errorf("told to come back after %d s", got)
	}
	for _, text := range []string{"x", "1.5", "9999999999999999999999"} {
		if _, err := decodeFull([]byte(text)); err == nil {
			t.Errorf("%q is a time", text)
		}
	}
}

func TestNetworksOfOneCustomer(t *testing.T) {
	for address, want := range map[string]string{
		"203.0.113.7": "203.0.113.0/24", "2001:db8:1:2:3::4": "2001:db8:1:2::/64",
	} {
		if got := networkOf(netip.MustParseAddr(address)).String(); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}

// Who leaves before the answer pays as well.
func TestLeavingEarlyDoesNotSaveAGuess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := counting(t)
		for range 10 {
			r := s.request("POST", "/v1/signin/demo", nil, from("203.0.113.7")...)
			r.RemoteAddr = "192.0.2.1:1"
			ctx, leave := context.WithTimeout(r.Context(), time.Second)
			err := s.web.guessCode(r.WithContext(ctx), "demo:alice", func() error {
				leave()
				return qrlogin.ErrNotFound
			})
			if !errors.Is(err, qrlogin.ErrNotFound) {
				t.Fatal(err)
			}
		}
		slowed(t, tryCode(s.phone("alice"))(s, true, from("203.0.113.7")...), "90")
	})
}

// Without addresses nobody can be told apart, and with limits off nobody is.
func TestGuessesAreCountedOnlyWhereTheyCanBe(t *testing.T) {
	for name, c := range map[string]setup{
		"undeclared proxy": {publicURL: "https://login.example", limits: true, direct: true},
		"limits off":       {direct: true},
	} {
		s := newSite(t, c)
		for i := range 60 {
			if a := trySignIn(s, false); a.status != 401 {
				t.Fatalf("%s: wrong try %d: %d %s", name, i, a.status, a.raw)
			}
		}
	}
}

// failing is a store whose failure counts cannot be reached, or not be written.
type failing struct {
	*backend.Memory
	load, update bool
}

type away struct{ error }

func (away) Unavailable() bool { return true }

func (f failing) Load(ctx context.Context, key string) ([]byte, uint64, error) {
	if f.load && strings.HasPrefix(key, "failures:") {
		return nil, 0, away{errors.New("secret detail")}
	}
	return f.Memory.Load(ctx, key)
}

func (f failing) Update(ctx context.Context, key string, change func([]byte) ([]byte, time.Duration, error)) (uint64, error) {
	if f.update && strings.HasPrefix(key, "failures:") {
		return 0, away{errors.New("secret detail")}
	}
	return f.Memory.Update(ctx, key, change)
}

// A count that cannot be had, or not be charged, is 503: else cutting the store
// off would be a way to guess on.
func TestGuessingWhileTheStoreIsAway(t *testing.T) {
	for name, store := range map[string]failing{"look": {backend.NewMemory(), true, false}, "charge": {backend.NewMemory(), false, true}} {
		s := newSite(t, setup{direct: true, limits: true, store: store, clients: []auth.Client{shop}})
		tries := map[string]answer{"typed code": tryCode(s.phone("alice"))(s, false)}
		if store.update {
			tries["credential"], tries["secret"] = trySignIn(s, false), tryClient("shop", "right")(s, false)
		}
		for what, a := range tries {
			if a.status != http.StatusServiceUnavailable || a.code() != "store_unavailable" {
				t.Errorf("%s, %s: %d %s", name, what, a.status, a.raw)
			}
		}
		for what, a := range map[string]answer{"credential": trySignIn(s, true), "secret": tryClient("shop", "right")(s, true)} {
			if a.status != 200 {
				t.Errorf("%s, the right %s: %d %s", name, what, a.status, a.raw)
			}
		}
	}
}

// written counts the failure records that are written.
type written struct {
	*backend.Memory
	keys sync.Map
}

func (w *written) Update(ctx context.Context, key string, change func([]byte) ([]byte, time.Duration, error)) (uint64, error) {
	if strings.HasPrefix(key, "failures:") {
		w.keys.Store(key, true)
	}
	return w.Memory.Update(ctx, key, change)
}

// Names that somebody invents must not fill the store.
func TestInventedClientsLeaveFewRecords(t *testing.T) {
	store := &written{Memory: backend.NewMemory()}
	s := newSite(t, setup{direct: true, limits: true, store: store})
	for i := range 300 {
		tryClient(fmt.Sprint("nobody", i), "")(s, false)
	}
	records := 0
	store.keys.Range(func(any, any) bool { records++; return true })
	if records > 52 {
		t.Errorf("300 invented names left %d records", records)
	}
}
