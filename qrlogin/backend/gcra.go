package backend

import (
	"errors"
	"time"
)

// permit takes one permit at now, when all permits will be there again at full; all in
// microseconds. wait 0 means taken, and the new full is to be kept until it is past;
// otherwise nothing changes. lua/take.lua does the same steps.
func permit(full, now, every int64, burst int) (next, wait int64) {
	next = max(full, now) + every
	if wait := next - now - every*int64(burst); wait > 0 {
		return full, wait
	}
	return next, 0
}

// permitEvery checks Take's arguments and gives every in whole microseconds.
func permitEvery(every time.Duration, burst int) (int64, error) {
	if every <= 0 || burst < 1 {
		return 0, errors.New("backend: take: every and burst must be positive")
	}
	return int64((every + time.Microsecond - 1) / time.Microsecond), nil
}
