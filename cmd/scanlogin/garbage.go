package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Go's collector lets as much garbage grow as there is alive. While little is alive
// that is too often: one QR code is a quarter of a megabyte of garbage, and a fifth of
// a login's time went into collecting. With many idle browsers it is too seldom: what
// is left lies scattered, and the holes in between cost each browser a kilobyte.
//
// At most 200 %, so below 8 MB alive the 16 MB are not reached: there is one look a
// second, and the percent for 1 MB alive (1,600) would let a rush that brings 50 MB alive
// before the next one grow to 850.
const (
	leastGarbage = 16 << 20 // bytes
	lookEvery    = time.Second
)

// garbagePercent is what GOGC should be where so many bytes are alive.
func garbagePercent(live uint64) int {
	return int(min(max(leastGarbage*100/max(live, 1), 50), 200))
}

// boundGarbage keeps to that until ctx ends, unless the operator has set GOGC. Then
// the percent is what it was.
func boundGarbage(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	const unset = 100
	set := unset
	defer debug.SetGCPercent(unset)
	for {
		metrics.Read(live)
		if want := garbagePercent(live[0].Value.Uint64()); want != set {
			debug.SetGCPercent(want)
			set = want
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}
