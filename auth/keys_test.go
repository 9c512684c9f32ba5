package auth_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"scanlogin/auth"
)

// keySet is a key set as somebody else reads it.
type keySet struct{ jose.JSONWebKeySet }

func jwks(t testing.TB, s *auth.Service) (set keySet) {
	t.Helper()
	value, err := s.JWKS(t.Context())
	if err != nil {
		t.Fatalf("JWKS: %v", err)
	}
	if err := json.Unmarshal(value, &set); err != nil {
		t.Fatal(err)
	}
	return set
}

// check verifies a token the way a stranger with a key set does.
func (s keySet) check(access string) error {
	token, err := jose.ParseSignedCompact(access, []jose.SignatureAlgorithm{jose.EdDSA, jose.ES256, jose.RS256})
	if err != nil {
		return err
	}
	_, err = token.Verify(s.JSONWebKeySet)
	return err
}

func (s keySet) kids() (kids []string) {
	for _, k := range s.Keys {
		kids = append(kids, k.KeyID)
	}
	return kids
}

func kid(t testing.TB, access string) string {
	header, _ := parts(t, access)
	return header["kid"].(string)
}

func put(t testing.TB, store auth.Store, ring []byte, life time.Duration) {
	t.Helper()
	_, err := store.Update(t.Context(), "signing-keys", func([]byte) ([]byte, time.Duration, error) { return ring, life, nil })
	if err != nil {
		t.Fatal(err)
	}
}

func TestRacingInstancesMakeOneRing(t *testing.T) {
	store := memory(t)
	var kids [64]string
	parallel(64, func(i int) {
		tokens, err := service(store).Issue(t.Context(), grant(service(store)))
		if err != nil {
			t.Error(err)
			return
		}
		kids[i] = kid(t, tokens.Access)
	})
	if distinct(kids[:]) != 1 {
		t.Errorf("%d rings", distinct(kids[:]))
	}
}

// Making RSA keys takes long, so all of them find nothing and make some.
func TestRacingInstancesMakeOneRingOfRSAKeys(t *testing.T) {
	store := memory(t)
	var services [8]*auth.Service
	var kids [8]string
	for i := range services {
		services[i] = service(store, signing("RS256"))
	}
	parallel(8, func(i int) {
		if i%2 == 0 {
			run(t, services[i])
		}
		tokens, err := services[i].Issue(t.Context(), grant(services[i]))
		if err != nil {
			t.Error(err)
			return
		}
		kids[i] = kid(t, tokens.Access)
	})
	if distinct(kids[:]) != 1 {
		t.Errorf("%d rings", distinct(kids[:]))
	}
	for i, s := range services {
		if got := jwks(t, s).kids(); !slices.Equal(got, jwks(t, services[0]).kids()) {
			t.Errorf("instance %d has %v", i, got)
		}
	}
}

// vanish takes the ring out of the store. As with an empty restart of Redis,
// watchers hear of it when their link is made again.
func vanish(t *testing.T, store auth.Store) {
	t.Helper()
	ring, _, err := store.Load(t.Context(), "signing-keys")
	if err != nil {
		t.Fatal(err)
	}
	put(t, store, ring, time.Second)
	time.Sleep(time.Second)
}

func TestVanishedRingIsPutBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &switched{Store: memory(t)}
		a, b := service(store), service(store)
		run(t, a)
		run(t, b)
		synctest.Wait()
		before := jwks(t, a).kids()
		access := issue(t, a).Access
		vanish(t, store)
		store.relink(t)
		synctest.Wait()
		for name, s := range map[string]*auth.Service{"a": a, "b": b, "a new one": service(store)} {
			if got := jwks(t, s).kids(); !slices.Equal(got, before) {
				t.Errorf("%s has %v", name, got)
			}
			if _, err := s.Verify(t.Context(), access); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// The store came back empty and a new instance was faster: its ring wins, and
// the running tokens of the old one go on, on every instance.
func TestNewRingAfterAnEmptyRestartKeepsRunningTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory(t)
		old := service(store)
		was := issue(t, old)
		vanish(t, store) // nobody watches yet
		fresh := service(store)
		is := issue(t, fresh)
		if kid(t, was.Access) == kid(t, is.Access) {
			t.Fatal("the ring did not vanish")
		}
		if _, err := old.Verify(t.Context(), is.Access); err != nil {
			t.Errorf("the old instance learns the new ring: %v", err)
		}
		if _, err := old.Verify(t.Context(), was.Access); err != nil {
			t.Errorf("and keeps its own: %v", err)
		}
		if got, want := kid(t, issue(t, old).Access), kid(t, is.Access); got != want {
			t.Errorf("the old instance signs with %s", got)
		}
		run(t, old)
		run(t, fresh)
		synctest.Wait()
		for name, s := range map[string]*auth.Service{"old": old, "fresh": fresh, "a third": service(store)} {
			for _, access := range []string{was.Access, is.Access} {
				if _, err := s.Verify(t.Context(), access); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			if got := jwks(t, s).kids(); len(got) != 3 || got[0] != kid(t, is.Access) || got[2] != kid(t, was.Access) {
				t.Errorf("%s has %v", name, got)
			}
		}
		time.Sleep(12 * time.Minute)
		if got := jwks(t, fresh).kids(); len(got) != 2 {
			t.Errorf("the old key is kept for ever: %v", got)
		}
	})
}

func TestUnknownKidAsksTheStoreOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &switched{Store: memory(t)}
		s := service(store)
		tokens := issue(t, s)
		header, claims := parts(t, tokens.Access)
		forged := compact(t, header.with("kid", "AAAA"), claims, func(string) []byte { return make([]byte, 64) })
		before := store.calls.Load()
		for range 4 {
			parallel(64, func(int) {
				if _, err := s.Verify(t.Context(), forged); err != auth.ErrInvalidToken {
					t.Error(err)
				}
			})
			time.Sleep(300 * time.Millisecond)
		}
		if n := store.calls.Load() - before; n != 1 {
			t.Errorf("asked %d times in a second", n)
		}
		time.Sleep(time.Second)
		store.pulled.Store(true)
		for range 2 { // the second one must not be a 401 either
			if _, err := s.Verify(t.Context(), forged); !errors.As(err, new(interface{ Unavailable() bool })) {
				t.Errorf("store away: %v", err)
			}
		}
	})
}

// asked is a store that remembers which records it was asked for.
type asked struct {
	auth.Store
	keys sync.Map
}

func (s *asked) Load(ctx context.Context, key string) ([]byte, uint64, error) {
	s.keys.Store(key, true)
	return s.Store.Load(ctx, key)
}

func (s *asked) Update(ctx context.Context, key string, change func([]byte) ([]byte, time.Duration, error)) (uint64, error) {
	s.keys.Store(key, true)
	return s.Store.Update(ctx, key, change)
}

func TestKidNamesNoRecord(t *testing.T) {
	store := &asked{Store: memory(t)}
	s := service(store)
	tokens := issue(t, s)
	if _, err := s.Verify(t.Context(), tokens.Access); err != nil {
		t.Fatal(err)
	}
	var before, after []any
	list := func(into *[]any) func(any, any) bool {
		return func(key, _ any) bool { *into = append(*into, key); return true }
	}
	store.keys.Range(list(&before))
	header, claims := parts(t, tokens.Access)
	for _, kid := range []string{
		"", "signing-keys", "user:demo:alice", "../user:demo:bob", "/dev/null", "*", "\x00", strings.Repeat("k", 5000),
	} {
		forged := compact(t, header.with("kid", kid), claims, signs(private(t, ringOf(t, store.Store).Current)))
		if _, err := s.Verify(t.Context(), forged); err != auth.ErrInvalidToken {
			t.Errorf("%q: %v", kid, err)
		}
	}
	store.keys.Range(list(&after))
	if len(after) != len(before) {
		t.Errorf("%v were asked for, before it was %v", after, before)
	}
}

func TestRunWaitsForItsStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &switched{Store: memory(t)}
		store.pulled.Store(true)
		s := service(store)
		stop := run(t, s)
		time.Sleep(time.Minute)
		if _, err := s.JWKS(t.Context()); !errors.As(err, new(interface{ Unavailable() bool })) {
			t.Errorf("JWKS while the store is away: %v", err)
		}
		if n := store.calls.Load(); n < 30 || n > 150 {
			t.Errorf("%d tries in a minute", n)
		}
		store.pulled.Store(false)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		ringOf(t, store) // made without anybody asking
		before := store.calls.Load()
		time.Sleep(20 * day)
		if n := store.calls.Load() - before; n != 0 {
			t.Errorf("%d calls while nothing is due", n)
		}
		stop()
	})
}

func TestRunEndsWithItsContext(t *testing.T) {
	s := service(memory(t))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(ctx); err != nil {
		t.Error(err)
	}
}

// An unreadable ring must stop signing with an error, not start a new ring.
func TestDamagedRingIsNotReplaced(t *testing.T) {
	for _, ring := range []string{`{`, `{}`, `{"current":{"alg":"EdDSA","der":"AAAA"},"next":{"alg":"EdDSA","der":"AAAA"}}`} {
		store := memory(t)
		put(t, store, []byte(ring), time.Hour)
		if tokens, err := service(store).Issue(t.Context(), grant(service(store))); err == nil {
			t.Errorf("%s: %v", ring, tokens)
		}
		if value, _, _ := store.Load(t.Context(), "signing-keys"); string(value) != ring {
			t.Errorf("%s was overwritten", ring)
		}
	}
}
