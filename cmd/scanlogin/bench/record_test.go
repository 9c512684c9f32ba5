package bench

import (
	"math"
	"testing"
	"testing/synctest"
	"time"
)

// Quantiles of times that are known, over all the decades there are.
func TestQuantilesAreGoodToAFewPercent(t *testing.T) {
	for _, unit := range []time.Duration{10 * time.Microsecond, time.Millisecond, 100 * time.Millisecond} {
		var h spread
		for i := range 1000 {
			h.add(time.Duration(i+1) * unit)
		}
		step := h.step("login")
		for q, got := range map[float64]float64{0.5: step.P50, 0.9: step.P90, 0.99: step.P99} {
			if want := q * 1000 * milliseconds(unit); math.Abs(got/want-1) > 0.012 {
				t.Errorf("unit %s: p%g is %g ms, want %g", unit, q*100, got, want)
			}
		}
		if step.Max != 1000*milliseconds(unit) || step.Count != 1000 {
			t.Errorf("unit %s: %d, at most %g ms", unit, step.Count, step.Max)
		}
	}
}

// Each time is in the bucket that holds it, and the ends are not empty.
func TestBucketsHoldWhatTheySay(t *testing.T) {
	for _, d := range []time.Duration{0, time.Microsecond, 999 * time.Microsecond, time.Millisecond, 1001 * time.Microsecond, 40 * time.Millisecond, time.Hour} {
		var h spread
		h.add(d)
		h.add(2 * d)
		buckets := h.buckets()
		if buckets[0].Count == 0 || buckets[len(buckets)-1].Count == 0 {
			t.Errorf("%s: an empty end: %v", d, buckets)
		}
		first, ms := buckets[0].To, milliseconds(min(max(d, time.Microsecond), 1000*time.Second))
		if ms > first*1.001 || ms < first/math.Pow(10, 0.1)*0.999 && d > time.Microsecond {
			t.Errorf("%s is in the bucket that ends at %g ms", d, first)
		}
		for i := 1; i < len(buckets); i++ {
			if ratio := buckets[i].To / buckets[i-1].To; math.Abs(ratio-math.Pow(10, 0.1)) > 0.002 {
				t.Errorf("%s: buckets grow by %g", d, ratio)
			}
		}
	}
	var none spread
	if step := none.step("scan"); step.P50 != 0 || step.Max != 0 || len(step.Buckets) != 0 {
		t.Errorf("of nothing: %+v", step)
	}
}

// Every second has its line, also one in which nothing ended.
func TestTimelineHasEverySecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open := 7
		r := newRecorder(time.Now(), func() int { return open })
		r.took(whole, 2*time.Millisecond)
		r.took(scan, time.Millisecond)
		time.Sleep(time.Second)
		r.fault(scan, "rate_limited")
		time.Sleep(2 * time.Second)
		open = 5
		r.took(whole, 4*time.Millisecond)
		time.Sleep(100 * time.Millisecond)
		var result Result
		r.into(&result, time.Now())
		if result.Seconds != 3.1 || len(result.Timeline) != 4 || result.Errors["scan rate_limited"] != 1 {
			t.Fatalf("%g s, %+v, %v", result.Seconds, result.Timeline, result.Errors)
		}
		for i, want := range []Second{{Done: 1, Open: 7}, {Faults: 1, Open: 5}, {Open: 5}, {Done: 1, Open: 5}} {
			got := result.Timeline[i]
			if got.At != i || got.Done != want.Done || got.Faults != want.Faults || (got.P50 > 0) != (want.Done > 0) {
				t.Errorf("second %d: %+v", i, got)
			}
		}
		if done, faults := r.tick(time.Now()); done != 2 || faults != 1 {
			t.Errorf("%d done, %d faults", done, faults)
		}
	})
}
