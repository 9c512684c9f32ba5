package auth

import (
	"context"
	"testing"
	"time"

	"scanlogin/qrlogin/backend"
)

func TestPromotionKeepsTheKeyThatSigned(t *testing.T) {
	c := Config{}.withDefaults()
	now := time.Now()
	spares := func() [2]key { return [2]key{newKey(), newKey()} }
	first, _ := (*ring)(nil).advance(now, c, spares())
	if same, promoted := first.advance(now.Add(c.KeyLife-time.Second), c, spares()); promoted || same != first {
		t.Error("promoted early")
	}
	now = now.Add(c.KeyLife)
	second, promoted := first.advance(now, c, spares())
	if !promoted || second.Current.id != first.Next.id || first.has(second.Next.id) {
		t.Fatalf("promoted %v", promoted)
	}
	needed := now.Add(c.AccessTTL + leeway)
	if _, ok := second.find(first.Current.id, needed); !ok {
		t.Error("the last token of the key that signed cannot be verified")
	}
	if _, ok := second.find(first.Current.id, needed.Add(2*keyLag)); ok {
		t.Error("it verifies for ever")
	}
	third, _ := second.advance(now.Add(c.KeyLife), c, spares())
	if len(third.Previous) != 1 || third.Previous[0].id != second.Current.id {
		t.Errorf("%d previous keys", len(third.Previous))
	}
}

// An instance's own write and the notice of a later one may cross.
func TestRingNeverGoesBack(t *testing.T) {
	now := time.Now()
	c := Config{}.withDefaults()
	older, _ := (*ring)(nil).advance(now.Add(-c.KeyLife), c, [2]key{newKey(), newKey()})
	newer, promoted := older.advance(now, c, [2]key{newKey(), newKey()})
	if !promoted {
		t.Fatal("not promoted")
	}
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
	k.reloading <- struct{}{} // somebody asks
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := k.find(ctx, "unknown")
	if u, ok := err.(interface{ Unavailable() bool }); !ok || !u.Unavailable() {
		t.Error(err)
	}
}

func BenchmarkSign(b *testing.B) {
	store := backend.NewMemory()
	defer store.Close()
	s := New(store, Config{Issuer: "https://login.example"})
	with, err := s.keys.current(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	now := time.Now().UnixMilli()
	for b.Loop() {
		if _, _, err := s.sign(with, "demo:alice", &session{SID: "s", ClientID: "web", Created: now, Refreshed: now}, "openid"); err != nil {
			b.Fatal(err)
		}
	}
}
