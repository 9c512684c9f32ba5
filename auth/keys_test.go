package auth_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"scanlogin/auth"
)

// keySet is a key set as somebody else reads it.
type keySet struct {
	Keys []struct{ Kty, Crv, X, Kid, Use, Alg string }
}

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

func (s keySet) kids() (kids []string) {
	for _, k := range s.Keys {
		kids = append(kids, k.Kid)
	}
	return kids
}

func kid(t testing.TB, access string) string {
	header, _ := parts(t, access)
	return header["kid"].(string)
}

func TestKeySetIsRFC7517(t *testing.T) {
	store := memory(t)
	s := service(store)
	access := issue(t, s).Access
	set := jwks(t, s)
	if len(set.Keys) != 2 || set.Keys[0].Kid != kid(t, access) {
		t.Fatalf("%+v", set)
	}
	r := ringOf(t, store)
	for i, seed := range [][]byte{r.Current.Seed, r.Next.Seed} {
		k := set.Keys[i]
		x := b64.EncodeToString(private(seed).Public().(ed25519.PublicKey))
		sum := sha256.Sum256([]byte(`{"crv":"Ed25519","kty":"OKP","x":"` + x + `"}`))
		if k.Kty != "OKP" || k.Crv != "Ed25519" || k.X != x || k.Use != "sig" || k.Alg != "EdDSA" || k.Kid != b64.EncodeToString(sum[:]) {
			t.Errorf("key %d: %+v", i, k)
		}
	}
	value, _ := s.JWKS(t.Context())
	for _, seed := range [][]byte{r.Current.Seed, r.Next.Seed} {
		if strings.Contains(string(value), b64.EncodeToString(seed)) || strings.Contains(string(value), `"d"`) {
			t.Error("the key set holds a private key")
		}
	}
	if got := checkSignature(set, access); got != nil {
		t.Error(got)
	}
}

// checkSignature verifies a token the way a stranger with a key set does.
func checkSignature(set keySet, access string) error {
	cut := strings.LastIndexByte(access, '.')
	raw, err := b64.DecodeString(access[:strings.IndexByte(access, '.')])
	if err != nil {
		return err
	}
	var header struct{ Kid string }
	if err := json.Unmarshal(raw, &header); err != nil {
		return err
	}
	signature, err := b64.DecodeString(access[cut+1:])
	if err != nil {
		return err
	}
	for _, k := range set.Keys {
		x, err := b64.DecodeString(k.X)
		if err != nil {
			return err
		}
		if k.Kid == header.Kid && ed25519.Verify(x, []byte(access[:cut]), signature) {
			return nil
		}
	}
	return fmt.Errorf("kid %s is not in the key set", header.Kid)
}

// The thumbprint of the key in RFC 8037 appendix A.3, put into the ring by hand.
func TestThumbprintOfRFC8037(t *testing.T) {
	seed, err := b64.DecodeString("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")
	if err != nil {
		t.Fatal(err)
	}
	store := memory(t)
	now := time.Now().UnixMilli()
	ring, _ := json.Marshal(members{
		"current": members{"seed": seed, "since": now},
		"next":    members{"seed": make([]byte, 32), "since": now},
	})
	put(t, store, ring, time.Hour)
	if got := jwks(t, service(store)).Keys[0].Kid; got != "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k" {
		t.Errorf("kid %s", got)
	}
}

func put(t testing.TB, store auth.Store, ring []byte, life time.Duration) {
	t.Helper()
	_, err := store.Update(t.Context(), "keys", func([]byte) ([]byte, time.Duration, error) { return ring, life, nil })
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

// Two instances, three rotations: no token is refused before its time, by
// either of them or by somebody who caches the key set for its five minutes.
func TestRotationRefusesNoToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory(t)
		fast := func(c *auth.Config) { c.KeyLife = time.Hour }
		services := []*auth.Service{service(store, fast), service(store, fast)}
		for _, s := range services {
			run(t, s)
		}
		synctest.Wait()
		type made struct {
			access string
			at     time.Time
		}
		var live []made
		var cached keySet
		var cachedAt time.Time
		published, signs := map[string]time.Time{}, []string{}
		tokens := issue(t, services[0])
		for i := range 4 * (3*60 + 50) { // ten minutes short of four hours, every 15 s
			now := time.Now()
			tokens = refresh(t, services[i%2], tokens.Refresh)
			live = append(live, made{tokens.Access, now})
			live = slices.DeleteFunc(live, func(m made) bool { return now.Sub(m.at) >= 10*time.Minute })
			for _, m := range []made{live[0], live[len(live)-1]} { // each token becomes the oldest one day
				if _, err := services[(i+1)%2].Verify(t.Context(), m.access); err != nil {
					t.Fatalf("after %v, made %v ago: %v", now, now.Sub(m.at), err)
				}
			}
			for _, k := range jwks(t, services[i%2]).kids() {
				if _, ok := published[k]; !ok {
					published[k] = now
				}
			}
			if k := kid(t, tokens.Access); !slices.Contains(signs, k) {
				if len(signs) > 0 && now.Sub(published[k]) < 10*time.Minute {
					t.Errorf("%s signs %v after it was published", k, now.Sub(published[k]))
				}
				signs = append(signs, k)
			}
			if now.Sub(cachedAt) >= 300*time.Second {
				cached, cachedAt = jwks(t, services[i%2]), now
			}
			if err := checkSignature(cached, tokens.Access); err != nil {
				t.Fatalf("elsewhere: %v", err)
			}
			time.Sleep(15 * time.Second)
		}
		if len(signs) != 4 {
			t.Errorf("%d keys signed", len(signs))
		}
		if n := len(jwks(t, services[0]).Keys); n != 2 {
			t.Errorf("%d keys published long after the last rotation", n)
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

// vanish takes the ring out of the store. As with an empty restart of Redis,
// watchers hear of it when their link is made again.
func vanish(t *testing.T, store auth.Store) {
	t.Helper()
	ring, _, err := store.Load(t.Context(), "keys")
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

// The token looks good in all but its key, which has left the ring.
func TestStolenRetiredKeyOpensNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory(t)
		s := service(store, func(c *auth.Config) { c.KeyLife = time.Hour })
		run(t, s)
		synctest.Wait()
		stolen := ringOf(t, store).Current.Seed
		tokens := issue(t, s)
		header, _ := parts(t, tokens.Access)
		time.Sleep(time.Hour + 12*time.Minute)
		_, claims := parts(t, refresh(t, s, tokens.Refresh).Access)
		if _, err := s.Verify(t.Context(), compact(t, header, claims, eddsa(private(stolen)))); err != auth.ErrInvalidToken {
			t.Error(err)
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
		if n := store.calls.Load(); n < 30 || n > 120 {
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
	for _, ring := range []string{`{`, `{}`, `{"current":{"seed":"AAAA"},"next":{"seed":"AAAA"}}`} {
		store := memory(t)
		put(t, store, []byte(ring), time.Hour)
		if tokens, err := service(store).Issue(t.Context(), grant(service(store))); err == nil {
			t.Errorf("%s: %v", ring, tokens)
		}
		if value, _, _ := store.Load(t.Context(), "keys"); string(value) != ring {
			t.Errorf("%s was overwritten", ring)
		}
	}
}
