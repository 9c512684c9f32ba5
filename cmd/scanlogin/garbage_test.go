package main

import "testing"

func TestGarbageIsBounded(t *testing.T) {
	for live, want := range map[uint64]int{
		0: 200, 4 << 20: 200, 8 << 20: 200, 12 << 20: 133, 16 << 20: 100, 32 << 20: 50, 1 << 30: 50,
	} {
		if got := garbagePercent(live); got != want {
			t.Errorf("%d bytes alive: %d %%, want %d", live, got, want)
		}
	}
}
