package auth

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"scanlogin/qrlogin/backend"
)

// spares are new keys to make rings of.
func spares(t *testing.T, algorithm string, n int) (made []key) {
	t.Helper()
	for range n {
		k, err := newKey(algorithm)
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, k)
	}
	return made
}

func TestPromotionKeepsTheKeyThatSigned(t *testing.T) {
	c := Config{Clients: map[string]Client{"slow": {ID: "slow", AccessTTL: time.Hour}}}.withDefaults()
	now := time.Now()
	first := (*ring)(nil).advance(now, c, spares(t, c.Algorithm, 2))
	if early := now.Add(c.KeyLife - time.Second); first.needs(early, c) != 0 || first.advance(early, c, nil) != first {
		t.Error("promoted early")
	}
	now = now.Add(c.KeyLife)
	second := first.advance(now, c, spares(t, c.Algorithm, 1))
	if second.Current.id != first.Next.id || first.has(second.Next.id) {
		t.Fatal("not promoted")
	}
	needed := now.Add(time.Hour + leeway) // the longest of all clients
	if _, ok := second.find(first.Current.id, needed); !ok {
		t.Error("the last token of the key that signed cannot be verified")
	}
	if _, ok := second.find(first.Current.id, needed.Add(2*keyLag)); ok {
		t.Error("it verifies for ever")
	}
	third := second.advance(now.Add(c.KeyLife), c, spares(t, c.Algorithm, 1))
	if len(third.Previous) != 1 || third.Previous[0].id != second.Current.id {
		t.Errorf("%d previous keys", len(third.Previous))
	}
}

// A store may lose its last write when another node takes over. The next key
// then has signed already: it must stay the current one.
func TestLostPromotionIsMadeAgain(t *testing.T) {
	c := Config{}.withDefaults()
	now := time.Now()
	lost := (*ring)(nil).advance(now.Add(-c.KeyLife), c, spares(t, c.Algorithm, 2))
	ours := lost.advance(now, c, spares(t, c.Algorithm, 1))
	if got := lost.absorb(ours, now, c); got != ours {
		t.Error("the promotion is forgotten")
	}
	if got := ours.absorb(lost, now, c); got != ours {
		t.Error("an old ring has a say")
	}
}

// Somebody asked for a rotation: neither another algorithm, nor an empty store,
// nor asking again makes the ring forget it.
func TestRotationIsRemembered(t *testing.T) {
	c := Config{}.withDefaults()
	now := time.Now()
	r := (*ring)(nil).advance(now, c, spares(t, c.Algorithm, 2))
	asked := r.retire(r.Current.id)
	if !asked.Rotate || r.Rotate {
		t.Fatal("not marked, or changed in place")
	}
	if asked.retire(r.Current.id) != asked || r.retire(r.Next.id) != r {
		t.Error("marked again, or for a key that does not sign")
	}
	if (*ring)(nil).absorb(asked, now, c) != asked {
		t.Error("forgotten by an empty store")
	}
	other := (*ring)(nil).advance(now, c, spares(t, c.Algorithm, 2))
	if merged := asked.absorb(other, now, c); !merged.Rotate || !merged.has(other.Current.id) {
		t.Error("forgotten with the keys of another ring")
	}
	es := c
	es.Algorithm = "ES256"
	replaced := asked.advance(now.Add(keySettle), es, spares(t, es.Algorithm, 1))
	if !replaced.Rotate || replaced.Next.Algorithm != "ES256" {
		t.Error("forgotten with the next key")
	}
	promoted := replaced.advance(now.Add(keySettle+keyLead), es, spares(t, es.Algorithm, 1))
	if promoted.Rotate || promoted.Current.id != replaced.Next.id || !promoted.has(r.Current.id) {
		t.Error("not done, or not over")
	}
}

// An instance's own write and the notice of a later one may cross.
func TestRingNeverGoesBack(t *testing.T) {
	now := time.Now()
	c := Config{}.withDefaults()
	older := (*ring)(nil).advance(now.Add(-c.KeyLife), c, spares(t, c.Algorithm, 2))
	newer := older.advance(now, c, spares(t, c.Algorithm, 1))
	k := newKeys(nil, c)
	k.adopt(newer, 2)
	k.adopt(older, 1)
	if got := k.ring.Load().Current.id; got != newer.Current.id {
		t.Error("it went back")
	}
}

// While somebody else asks the store about a `kid`, a caller whose time is over
// is told that the store did not answer, not that the token is bad.
func TestWaitingForAReloadIsNotARefusal(t *testing.T) {
	store := backend.NewMemory()
	defer store.Close()
	k := newKeys(store, Config{}.withDefaults())
	if _, err := k.current(t.Context()); err != nil {
		t.Fatal(err)
	}
	k.tending <- struct{}{} // somebody asks
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := k.find(ctx, "unknown")
	if u, ok := err.(interface{ Unavailable() bool }); !ok || !u.Unavailable() {
		t.Error(err)
	}
}

// refusals is a store that counts the errors of what it is to do.
type refusals struct {
	Store
	n int
}

func (s *refusals) Update(ctx context.Context, key string, change func([]byte) ([]byte, time.Duration, error)) (uint64, error) {
	return s.Store.Update(ctx, key, func(old []byte) ([]byte, time.Duration, error) {
		value, life, err := change(old)
		if err != nil {
			s.n++
		}
		return value, life, err
	})
}

// A key takes up to a second to make. Here it cannot be made at all, which
// shows where and when it is tried.
func TestKeysAreMadeOutsideOfTheStoreAndOnlyWhenNeeded(t *testing.T) {
	const impossible = "impossible"
	c := Config{Algorithm: impossible}.withDefaults()
	memory := backend.NewMemory()
	defer memory.Close()
	store := &refusals{Store: memory}
	if err := newKeys(store, c).tend(t.Context()); err == nil || store.n != 0 {
		t.Errorf("%v, %d times while the store was busy with it", err, store.n)
	}
	r := (*ring)(nil).advance(time.Now(), c, spares(t, "EdDSA", 2))
	r.Current.Algorithm, r.Next.Algorithm = impossible, impossible
	value, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Update(t.Context(), keysKey, func([]byte) ([]byte, time.Duration, error) {
		return value, time.Hour, nil
	}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := newKeys(store, c).tend(t.Context()); err != nil {
			t.Errorf("nothing is due: %v", err)
		}
	}
}
