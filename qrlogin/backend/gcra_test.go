package backend

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestPermitsAreTheSame gives both backends the same calls at the same times.
func TestPermitsAreTheSame(t *testing.T) {
	s := startRedis(t)
	r := s.open()
	var run int
	rapid.Check(t, func(rt *rapid.T) {
		m := NewMemory()
		defer m.Close()
		run++
		key := string(rune(run))
		// Long enough for the server's own clock not to matter to a lifetime.
		every := int64(rapid.IntRange(1e7, 1e10).Draw(rt, "every"))
		burst := rapid.IntRange(1, 5).Draw(rt, "burst")
		now := time.Now().UnixMicro()
		for range rapid.IntRange(1, 20).Draw(rt, "calls") {
			now += int64(rapid.IntRange(-1e6, 3e10).Draw(rt, "later"))
			got, err := r.take(patient(t), key, every, burst, now)
			if err != nil {
				rt.Fatal(err)
			}
			m.mu.Lock()
			want := m.take(key, time.UnixMicro(now), every, burst)
			m.mu.Unlock()
			if got != want {
				rt.Fatalf("redis %s, memory %s", got, want)
			}
		}
	})
}

// TestPermits is the rule itself: burst at once, then one per every.
func TestPermits(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		every := int64(rapid.IntRange(1, 1e6).Draw(rt, "every"))
		burst := rapid.IntRange(1, 20).Draw(rt, "burst")
		var full, now, wait int64
		now = 1e15
		for range burst {
			if full, wait = permit(full, now, every, burst); wait != 0 {
				rt.Fatalf("a full burst has to wait %d", wait)
			}
		}
		if _, wait = permit(full, now, every, burst); wait != every {
			rt.Fatalf("after the burst: wait %d, not %d", wait, every)
		}
		if _, wait = permit(full, now+every-1, every, burst); wait != 1 {
			rt.Fatalf("a microsecond early: %d", wait)
		}
		if _, wait = permit(full, now+every, every, burst); wait != 0 {
			rt.Fatalf("in time: %d", wait)
		}
	})
}
