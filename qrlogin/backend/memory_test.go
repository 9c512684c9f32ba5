package backend

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// TestMemoryLifetime is exact to the clock: a record is there until its last moment.
func TestMemoryLifetime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		defer m.Close()
		ctx := t.Context()
		const ttl = 30 * time.Millisecond // over before the sweeper comes
		made(t)(m.Create(ctx, "k", []byte("x"), ttl))
		time.Sleep(ttl - 1)
		if _, rev, err := m.Load(ctx, "k"); rev == 0 || err != nil {
			t.Fatalf("gone too early: %v", err)
		}
		time.Sleep(time.Nanosecond)
		if _, rev, err := m.Load(ctx, "k"); rev != 0 || err != nil {
			t.Fatalf("still there: %v", err)
		}
		made(t)(m.Create(ctx, "k", []byte("y"), time.Minute))
	})
}

// TestMemoryForgets shows that what is over does not stay in memory until somebody asks
// for it, whatever the order in which it was written.
func TestMemoryForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		defer m.Close()
		synctest.Wait() // the sweeper has looked and sleeps
		for i := range 100 {
			made(t)(m.Create(t.Context(), fmt.Sprint("k", i), nil, time.Duration(100-i)*time.Minute))
			if _, err := m.Take(t.Context(), fmt.Sprint("k", i), time.Duration(i+1)*time.Minute, 1); err != nil {
				t.Fatal(err)
			}
		}
		for minute := range 101 {
			synctest.Wait()
			m.mu.Lock()
			left := len(m.items)
			m.mu.Unlock()
			if want := 2 * (100 - minute); left != want {
				t.Fatalf("minute %d: %d items, not %d", minute, left, want)
			}
			time.Sleep(time.Minute)
		}
	})
}

// TestMemoryPermits takes permits over virtual time.
func TestMemoryPermits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		defer m.Close()
		for range 3 {
			if wait, err := m.Take(t.Context(), "k", time.Second, 3); wait != 0 || err != nil {
				t.Fatal(wait, err)
			}
		}
		wait, err := m.Take(t.Context(), "k", time.Second, 3)
		if wait != time.Second || err != nil {
			t.Fatal(wait, err)
		}
		time.Sleep(wait)
		if wait, err := m.Take(t.Context(), "k", time.Second, 3); wait != 0 || err != nil {
			t.Fatal(wait, err)
		}
	})
}

// TestMemoryWatchInBubble is what the hub's tests rely on.
func TestMemoryWatchInBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		defer m.Close()
		w, stop := watchOn(t, m, "k")
		put(t, m, "k", "x")
		synctest.Wait()
		if value, _, calls := w.now(); value != "x" || calls != 2 {
			t.Fatalf("%q after %d calls", value, calls)
		}
		stop()
		if len(m.watches.of) != 0 {
			t.Fatal("a stopped watch is kept")
		}
	})
}
