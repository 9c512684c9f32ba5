package auth_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"scanlogin/auth"
)

func rotate(t testing.TB, s *auth.Service) time.Time {
	t.Helper()
	from, err := s.RotateKeys(t.Context())
	if err != nil {
		t.Fatalf("RotateKeys: %v", err)
	}
	return from
}

// stored is the ring's record, byte for byte.
func stored(t testing.TB, store auth.Store) []byte {
	t.Helper()
	value, _, err := store.Load(t.Context(), "signing-keys")
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func TestRotateKeysTakesOverNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory(t)
		here, there := service(store), service(store)
		run(t, here)
		run(t, there)
		synctest.Wait()
		before := jwks(t, here).kids()
		time.Sleep(10 * time.Minute)
		old := issue(t, there)
		if from := rotate(t, here); !from.Equal(time.Now()) {
			t.Errorf("from %v, now is %v", from, time.Now())
		}
		synctest.Wait()
		for _, s := range []*auth.Service{here, there} {
			if got := kid(t, issue(t, s).Access); got != before[1] {
				t.Errorf("signs with %s", got)
			}
		}
		time.Sleep(10*time.Minute - time.Second)
		if _, err := there.Verify(t.Context(), old.Access); err != nil {
			t.Errorf("a token of the old key: %v", err)
		}
		time.Sleep(2 * time.Minute)
		if got := jwks(t, there).kids(); len(got) != 2 || slices.Contains(got, before[0]) {
			t.Errorf("%v, long after %v", got, before)
		}
	})
}

func TestRotateKeysIsRememberedUntilTheNextKeyWasPublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory(t)
		asked := service(store)
		before := jwks(t, asked).kids()
		due := time.Now().Add(10 * time.Minute)
		time.Sleep(time.Minute)
		for range 2 {
			if from := rotate(t, asked); !from.Equal(due) {
				t.Errorf("from %v, not %v", from, due)
			}
		}
		once := stored(t, store)
		if rotate(t, service(store)); !bytes.Equal(stored(t, store), once) {
			t.Error("asking again changed the ring")
		}
		time.Sleep(time.Minute)
		restarted := service(store) // nobody ran until now
		run(t, restarted)
		time.Sleep(time.Until(due) - time.Millisecond)
		synctest.Wait()
		if got := jwks(t, restarted).kids(); !slices.Equal(got, before) {
			t.Errorf("too early: %v", got)
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		after := jwks(t, restarted).kids()
		if after[0] != before[1] || after[2] != before[0] {
			t.Errorf("%v after %v", after, before)
		}
		time.Sleep(29 * day) // it was one rotation
		if got := jwks(t, restarted).kids(); got[0] != after[0] {
			t.Errorf("rotated again: %v", got)
		}
	})
}

// racing holds back the second look at the ring until all others have had
// their first: they have seen the same one.
type racing struct {
	auth.Store
	looks atomic.Int32
	first *sync.WaitGroup
}

func (s *racing) Update(ctx context.Context, key string, change func([]byte) ([]byte, time.Duration, error)) (uint64, error) {
	if s.looks.Add(1) == 2 {
		s.first.Done()
		s.first.Wait()
	}
	return s.Store.Update(ctx, key, change)
}

func TestRotateKeysAskedByManyAtOnceIsOneRotation(t *testing.T) {
	for name, age := range map[string]time.Duration{"at once": 10 * time.Minute, "remembered": time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			store := memory(t)
			before := jwks(t, service(store)).kids()
			born := time.Now()
			time.Sleep(age)
			var first sync.WaitGroup
			first.Add(8)
			parallel(8, func(int) {
				s := service(&racing{Store: store, first: &first})
				if from := rotate(t, s); !from.Equal(born.Add(10 * time.Minute)) {
					t.Errorf("%s: from %v", name, from)
				}
			})
			run(t, service(store))
			time.Sleep(20 * time.Minute)
			if got := kid(t, issue(t, service(store)).Access); got != before[1] {
				t.Errorf("%s: %s signs, of %v", name, got, before)
			}
		})
	}
}

func TestRotateKeysWithoutItsStoreChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &switched{Store: memory(t)}
		s := service(store)
		jwks(t, s)
		time.Sleep(time.Hour)
		before := stored(t, store)
		store.pulled.Store(true)
		if from, err := s.RotateKeys(t.Context()); !errors.As(err, new(interface{ Unavailable() bool })) || !from.IsZero() {
			t.Errorf("%v, %v", from, err)
		}
		store.pulled.Store(false)
		time.Sleep(time.Minute)
		if !bytes.Equal(stored(t, store), before) {
			t.Error("the ring changed")
		}
	})
}
