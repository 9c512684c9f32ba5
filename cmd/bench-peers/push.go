package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"scanlogin/cmd/scanlogin/bench"
)

// phones are how many accounts scan; each has many tickets.
const phones = 50

// pushes scans watched tickets again and again, rate times a second, and
// returns how long each change took from its scheduled moment to its frame. Of
// the crowd as many tickets change as there are scans in a second, one after
// the other: a change of a ticket has a whole second before the next one.
func pushes(ctx context.Context, c *crowd, rate int, length time.Duration) ([]time.Duration, error) {
	rate = min(rate, len(c.browsers))
	p := &pusher{crowd: c, step: len(c.browsers) / rate}
	for i := range phones {
		phone := &bench.Phone{Person: c.person(i), Account: account(i)}
		if err := phone.SignIn(ctx); err != nil {
			return nil, fmt.Errorf("sign in: %w", err)
		}
		p.phones = append(p.phones, phone)
	}
	for i := range rate { // the first scan of each is none of a repeated one's
		if err := p.scan(ctx, i); err != nil {
			return nil, err
		}
	}
	n := int(length.Seconds() * float64(rate))
	runtime.LockOSThread() // a sleep of the runtime's is up to 1 ms late
	defer runtime.UnlockOSThread()
	start := time.Now().Add(100 * time.Millisecond)
	for i := range n {
		due := start.Add(time.Duration(i) * time.Second / time.Duration(rate))
		if wait := time.Until(due); wait > 0 {
			pause := syscall.NsecToTimespec(int64(wait))
			syscall.Nanosleep(&pause, nil)
		}
		c.expect(i%rate*p.step, due)
		p.scans.Go(func() {
			if p.scan(ctx, i%rate) != nil {
				c.forget(i % rate * p.step)
			}
		})
		if ctx.Err() != nil {
			break
		}
	}
	p.scans.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return p.all(n)
}

type pusher struct {
	crowd  *crowd
	step   int // from one browser whose ticket changes to the next
	phones []*bench.Phone
	scans  sync.WaitGroup
}

// scan has the n-th of the changing tickets scanned by its phone.
func (p *pusher) scan(ctx context.Context, n int) error {
	if _, err := p.phones[n%phones].Scan(ctx, p.crowd.qr[n*p.step]); err != nil {
		return fmt.Errorf("scan: %w", err)
	}
	return nil
}

// all waits for the last of n frames. On a machine that has too much to do some
// scans are refused; of more than one in a hundred nothing can be learned.
func (p *pusher) all(n int) ([]time.Duration, error) {
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		took, forgotten := p.crowd.told()
		switch dropped := p.crowd.dropped.Load(); {
		case dropped > 0:
			return nil, fmt.Errorf("%d browsers dropped", dropped)
		case forgotten > n/100:
			return nil, fmt.Errorf("%d of %d scans failed", forgotten, n)
		case len(took)+forgotten == n:
			return took, nil
		case time.Now().After(deadline):
			return nil, fmt.Errorf("%d changes, %d frames", n, len(took))
		}
	}
}

func account(i int) string { return fmt.Sprintf("bench-%d", i) }

// quantile is the time that a part q of all did not exceed, in milliseconds.
func quantile(took []time.Duration, q float64) float64 {
	sorted := slices.Sorted(slices.Values(took))
	return float64(sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]) / float64(time.Millisecond)
}
