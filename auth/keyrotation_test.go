package auth_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"scanlogin/auth"
)

// fleet is three services on one store, each with somebody elsewhere who takes
// its key set every 300 s.
type fleet struct {
	store    auth.Store
	services [3]*auth.Service
	stops    [3]func()
	cached   [3]keySet
	live     []made // youngest last
	newest   auth.Tokens
	signs    []string // each `kid` that signed, in order
}

type made struct {
	access string
	at     time.Time
}

func newFleet(t *testing.T, change ...func(*auth.Config)) *fleet {
	f := &fleet{store: memory(t)}
	for i := range f.services {
		f.start(t, i, change...)
	}
	synctest.Wait()
	f.newest = issue(t, f.services[0])
	return f
}

func (f *fleet) start(t *testing.T, i int, change ...func(*auth.Config)) {
	if f.stops[i] != nil {
		f.stops[i]()
	}
	f.services[i] = service(f.store, change...)
	f.stops[i] = run(t, f.services[i])
}

// pass lets time go by, in steps of 15 s. At every step one service makes a
// token, and all of them at once verify it and the oldest one alive, and so do
// the three elsewhere.
func (f *fleet) pass(t *testing.T, d time.Duration) {
	t.Helper()
	for step := range int(d / (15 * time.Second)) {
		f.newest = refresh(t, f.services[step%3], f.newest.Refresh)
		now := time.Now()
		f.live = append(f.live, made{f.newest.Access, now})
		f.live = slices.DeleteFunc(f.live, func(m made) bool { return now.Sub(m.at) >= 10*time.Minute })
		if k := kid(t, f.newest.Access); !slices.Contains(f.signs, k) {
			f.signs = append(f.signs, k)
		}
		parallel(6, func(i int) {
			m := []made{f.live[0], f.live[len(f.live)-1]}[i/3]
			if _, err := f.services[i%3].Verify(t.Context(), m.access); err != nil {
				t.Errorf("%v: service %d, a token made %v ago: %v", now, i%3, now.Sub(m.at), err)
			}
		})
		for i := range f.cached {
			if f.cached[i].Keys == nil || (step+i*7)%20 == 0 {
				f.cached[i] = jwks(t, f.services[i])
			}
			if err := f.cached[i].check(f.newest.Access); err != nil {
				t.Errorf("%v: elsewhere: %v", now, err)
			}
		}
		if t.Failed() {
			t.FailNow()
		}
		time.Sleep(15 * time.Second)
	}
}

// No token is refused before its time, by any instance or by anybody who
// caches the key set, whatever makes the keys change.
func TestRotationRefusesNoToken(t *testing.T) {
	for _, algorithm := range algorithms {
		t.Run("by schedule, "+algorithm, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, signing(algorithm), func(c *auth.Config) { c.KeyLife = time.Hour })
				f.pass(t, 3*time.Hour+50*time.Minute)
				if len(f.signs) != 4 {
					t.Errorf("%d keys signed", len(f.signs))
				}
				if n := len(jwks(t, f.services[0]).Keys); n != 2 {
					t.Errorf("%d keys published long after the last rotation", n)
				}
			})
		})
	}
	t.Run("on request", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet(t)
			for range 6 { // some at once, some remembered
				rotate(t, f.services[1])
				f.pass(t, 7*time.Minute)
			}
			f.pass(t, 20*time.Minute)
			if n := len(f.signs); n < 4 || n > 7 {
				t.Errorf("%d keys signed", n)
			}
		})
	})
	t.Run("another algorithm, one instance after the other", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet(t, signing("EdDSA"))
			for _, algorithm := range []string{"RS256", "ES256"} {
				for i := range f.services {
					f.start(t, i, signing(algorithm))
					f.pass(t, 150*time.Second)
				}
				f.pass(t, 15*time.Minute)
				if header, _ := parts(t, f.newest.Access); header["alg"] != algorithm {
					t.Errorf("signs with %v, not %s", header["alg"], algorithm)
				}
			}
			if len(f.signs) != 3 {
				t.Errorf("%d keys signed", len(f.signs))
			}
		})
	})
}

func TestRacingPromotionsHaveOneResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory(t)
		before := jwks(t, service(store)).kids()
		time.Sleep(30*day - time.Millisecond)
		var services [64]*auth.Service
		for i := range services {
			services[i] = service(store)
			run(t, services[i])
		}
		synctest.Wait() // all know the old ring, and wait for the same moment
		time.Sleep(2 * time.Second)
		synctest.Wait()
		after := jwks(t, services[0]).kids()
		if len(after) != 3 || after[0] != before[1] || after[2] != before[0] || slices.Contains(before, after[1]) {
			t.Fatalf("before %v, after %v", before, after)
		}
		for i, s := range services {
			if got := jwks(t, s).kids(); !slices.Equal(got, after) {
				t.Errorf("instance %d has %v", i, got)
			}
		}
		if n := len(ringOf(t, store).Previous); n != 1 {
			t.Errorf("%d previous keys", n)
		}
	})
}

// A short key life must not make a key sign that others may not have seen.
func TestNextKeyIsPublishedBeforeItSigns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory(t)
		short := func(c *auth.Config) { c.KeyLife = time.Second }
		s := service(store, short)
		run(t, s)
		synctest.Wait()
		before := jwks(t, s).kids()
		time.Sleep(10*time.Minute - time.Second)
		run(t, service(store, short)) // an instance that starts looks at the ring, too
		synctest.Wait()
		if got := jwks(t, s).kids(); !slices.Equal(got, before) {
			t.Errorf("promoted early: %v", got)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := jwks(t, s).kids(); got[0] != before[1] {
			t.Errorf("not promoted: %v", got)
		}
	})
}

// The token looks good in all but its key, which has left the ring.
func TestStolenRetiredKeyOpensNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory(t)
		s := service(store, func(c *auth.Config) { c.KeyLife = time.Hour })
		run(t, s)
		synctest.Wait()
		stolen := private(t, ringOf(t, store).Current)
		tokens := issue(t, s)
		header, _ := parts(t, tokens.Access)
		time.Sleep(time.Hour + 12*time.Minute)
		_, claims := parts(t, refresh(t, s, tokens.Refresh).Access)
		if _, err := s.Verify(t.Context(), compact(t, header, claims, signs(stolen))); err != auth.ErrInvalidToken {
			t.Error(err)
		}
	})
}

// changes counts the changes of the ring.
type changes struct {
	auth.Store
	n atomic.Int64
}

func (s *changes) Update(ctx context.Context, key string, change func([]byte) ([]byte, time.Duration, error)) (uint64, error) {
	return s.Store.Update(ctx, key, func(old []byte) ([]byte, time.Duration, error) {
		value, ttl, err := change(old)
		if value != nil && key == "signing-keys" {
			s.n.Add(1)
		}
		return value, ttl, err
	})
}

// Two settings at once: the next key changes hands once a minute at most, and
// the current one signs on, also past its age.
func TestInstancesOfTwoSettingsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &changes{Store: memory(t)}
		ed, es := service(store), service(store, signing("ES256"))
		was := issue(t, ed)
		time.Sleep(30*day - 5*time.Minute)
		run(t, ed)
		stop := run(t, es)
		for minute := range 60 {
			tokens := issue(t, []*auth.Service{ed, es}[minute%2])
			for _, s := range []*auth.Service{ed, es} {
				if _, err := s.Verify(t.Context(), tokens.Access); err != nil {
					t.Fatalf("minute %d: %v", minute, err)
				}
			}
			if kid(t, tokens.Access) != kid(t, was.Access) {
				t.Fatalf("minute %d: a key signs that was not published", minute)
			}
			time.Sleep(time.Minute)
		}
		if n := store.n.Load(); n < 50 || n > 70 {
			t.Errorf("%d changes in an hour", n)
		}
		stop()
		time.Sleep(12 * time.Minute)
		if got := kid(t, issue(t, ed).Access); got == kid(t, was.Access) {
			t.Error("the last one cannot promote")
		}
	})
}

// The next key of a ring is of the old setting: it is replaced when it has been
// there for a minute, and the new one signs when it has been there for ten.
func TestAnotherAlgorithmTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory(t)
		was := issue(t, service(store))
		before := jwks(t, service(store)).kids()
		s := service(store, signing("RS256"))
		run(t, s)
		time.Sleep(time.Minute - time.Millisecond)
		synctest.Wait()
		if got := jwks(t, s).kids(); !slices.Equal(got, before) {
			t.Errorf("replaced at once: %v", got)
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		next := jwks(t, s).Keys[1]
		if got := jwks(t, s).kids(); got[0] != before[0] || len(got) != 2 || next.Algorithm != "RS256" {
			t.Errorf("%v after %v", got, before)
		}
		time.Sleep(9 * time.Minute)
		if _, err := s.Verify(t.Context(), was.Access); err == nil {
			t.Error("a token outlives its end")
		}
		was = issue(t, s)
		time.Sleep(time.Minute)
		synctest.Wait()
		is := issue(t, s)
		if kid(t, was.Access) != before[0] || kid(t, is.Access) != next.KeyID {
			t.Errorf("%s, then %s", kid(t, was.Access), kid(t, is.Access))
		}
		time.Sleep(9*time.Minute - time.Second)
		for _, access := range []string{was.Access, is.Access} {
			if _, err := s.Verify(t.Context(), access); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(3 * time.Minute)
		if got := jwks(t, s).kids(); slices.Contains(got, before[0]) {
			t.Errorf("the old key is kept for ever: %v", got)
		}
	})
}
