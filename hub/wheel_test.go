package hub

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Against a map of moments: nobody wakes late, nobody early, nobody twice, and who
// was removed does not wake.
func TestWheelWakesEachAtItsTick(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := New(nil, Config{})
		all := make([]*conn, 8)
		for i := range all {
			all[i] = &conn{hub: h, code: Done} // tick does nothing
		}
		want := map[*conn]int64{}
		var now time.Duration
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			c := rapid.SampledFrom(all).Draw(t, "conn")
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0, 1:
				moment := now + time.Duration(rapid.Int64Range(-1e9, 2e11).Draw(t, "in"))
				tick := max(int64((moment+tickLength-1)/tickLength), int64(now/tickLength)+1)
				h.wheel.set(c, moment)
				if old, ok := want[c]; !ok || tick < old {
					want[c] = tick
				}
			case 2:
				h.wheel.remove(c)
				delete(want, c)
			case 3:
				now += time.Duration(rapid.Int64Range(0, 1e11).Draw(t, "pass"))
				h.wheel.turn(now)
				for c, tick := range want {
					if tick <= int64(now/tickLength) {
						delete(want, c)
					}
				}
			}
			for _, c := range all {
				if c.place.tick != want[c] {
					t.Fatalf("at %v: entered for tick %d, want %d", now, c.place.tick, want[c])
				}
			}
		}
		in := 0
		for _, head := range h.wheel.ring {
			for c := head; c != nil; c = c.place.next {
				in++
			}
		}
		if in != len(want) {
			t.Fatalf("%d linked, want %d", in, len(want))
		}
	})
}
