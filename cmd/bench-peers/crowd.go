package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"scanlogin/cmd/scanlogin/bench"
)

// crowd is browsers that watch, all in this process and each in a goroutine
// of its own, as far from the server's process as loopback allows.
type crowd struct {
	client   *http.Client
	url      string
	browsers []*bench.Browser
	qr       []string // by browser, what its picture shows
	readers  sync.WaitGroup
	leaving  atomic.Bool
	dropped  atomic.Int64

	mu        sync.Mutex
	since     []time.Time // by browser, when the change was due that its next frame tells; zero: none
	took      []time.Duration
	expected  int // changes
	forgotten int
	untold    int // changes whose frame had not come by the next one
}

// dialsAtOnce bounds the ramp.
const dialsAtOnce = 64

// gather opens n browsers and waits until each has its first snapshot.
func gather(ctx context.Context, url string, by bench.Transport, n int) (*crowd, error) {
	c := &crowd{client: bench.NewClient(), url: url, browsers: make([]*bench.Browser, n), qr: make([]string, n), since: make([]time.Time, n)}
	var next atomic.Int64
	var openers sync.WaitGroup
	var once sync.Once
	var failed error
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for range dialsAtOnce {
		openers.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := c.open(ctx, i, by); err != nil {
					once.Do(func() { failed = fmt.Errorf("browser %d: %w", i, err) })
					cancel()
				}
			}
		})
	}
	openers.Wait()
	if failed == nil {
		failed = context.Cause(ctx)
	}
	if failed != nil {
		c.close()
		return nil, failed
	}
	return c, nil
}

func (c *crowd) open(ctx context.Context, i int, by bench.Transport) error {
	b := &bench.Browser{Person: c.person(i)}
	ticket, err := b.Create(ctx)
	if err != nil {
		return err
	}
	if _, err := b.Watch(ctx, by); err != nil {
		return err
	}
	c.browsers[i], c.qr[i] = b, ticket.QR
	c.readers.Go(func() { c.read(i) })
	return nil
}

func (c *crowd) person(i int) bench.Person {
	return bench.Person{HTTP: c.client, Server: c.url, Address: bench.Address(i)}
}

// read takes every frame of one browser and the time of those that were waited for.
func (c *crowd) read(i int) {
	b := *c.browsers[i] // Close takes the watch from the original
	for {
		_, err := b.Next(time.Hour)
		now := time.Now()
		if err != nil {
			if !c.leaving.Load() {
				c.dropped.Add(1)
			}
			return
		}
		c.mu.Lock()
		if !c.since[i].IsZero() {
			c.took = append(c.took, now.Sub(c.since[i]))
			c.since[i] = time.Time{}
		}
		c.mu.Unlock()
	}
}

// expect says that a change of browser i's ticket is due at that moment. One
// before it that has not been told by then will not be: the newest frame stands
// for both, and how long the first would have taken is not known.
func (c *crowd) expect(i int, due time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expected++
	if !c.since[i].IsZero() {
		c.untold++
	}
	c.since[i] = due
}

// forget says that a change of browser i's ticket may not have happened.
func (c *crowd) forget(i int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.since[i].IsZero() {
		c.since[i] = time.Time{}
		c.forgotten++
	}
}

// told is what was measured so far, and how many changes are left out: those that
// were forgotten, and those that were not told, as long as these are at most one in a
// thousand. More than that are frames that are missing.
func (c *crowd) told() (took []time.Duration, leftOut int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	leftOut = c.forgotten
	if c.untold*1000 <= c.expected {
		leftOut += c.untold
	}
	return slices.Clone(c.took), leftOut
}

// close ends all watches and waits for their readers.
func (c *crowd) close() {
	c.leaving.Store(true)
	for _, b := range c.browsers {
		if b != nil {
			b.Close()
		}
	}
	c.readers.Wait()
	c.client.CloseIdleConnections()
	if c.untold > 0 {
		fmt.Fprintf(os.Stderr, " (%d of %d frames did not come before the next change)", c.untold, c.expected)
	}
}
