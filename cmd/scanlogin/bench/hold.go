package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// order is what a child is asked to hold: the first line of its input.
type order struct {
	Servers   []string  `json:"servers"`
	Transport Transport `json:"transport"`
	Browsers  int       `json:"browsers"`
	First     int       `json:"first"`  // number of the first person
	AtOnce    int       `json:"atonce"` // that open at the same time
}

// held is how a crowd is: each line of a child's output, with all it counted so far.
type held struct {
	Open     int            `json:"open"`
	Renewing int            `json:"renewing"` // between two tickets; not Open meanwhile
	Dropped  int            `json:"dropped"`
	Renewed  int            `json:"renewed"`
	Misgiven int            `json:"misgiven"`
	Errors   map[string]int `json:"errors,omitempty"` // "hold 1012": a drop; "open ...": a try that failed
}

// Hold is a child of Gather: it opens idle browsers and keeps them open until its
// input ends, telling how many there are about five times a second.
func Hold(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	input := json.NewDecoder(stdin)
	var o order
	if err := input.Decode(&o); err != nil {
		return fmt.Errorf("bench: what to hold: %w", err)
	}
	c := &crowd{order: o, http: NewClient(), slots: make(chan struct{}, o.AtOnce)}
	c.held.Errors = map[string]int{}
	go func() {
		input.Decode(new(order)) // returns when the parent is done, or gone
		stop()
	}()
	var browsers sync.WaitGroup
	for i := range o.Browsers {
		browsers.Go(func() { c.hold(ctx, i) })
	}
	defer browsers.Wait()
	output := json.NewEncoder(stdout)
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if err := output.Encode(c.count()); err != nil {
				return nil // nobody listens any more
			}
		}
	}
}

// crowd is the idle browsers of one process.
type crowd struct {
	order order
	http  *http.Client
	slots chan struct{} // of those that are being opened
	mu    sync.Mutex
	held  held
}

// hold keeps one browser waiting, as a page does: a ticket that expires is renewed, a
// connection that drops is counted and opened again.
func (c *crowd) hold(ctx context.Context, i int) {
	n := c.order.First + i
	browser := &Browser{Person: Person{HTTP: c.http, Server: c.order.Servers[i%len(c.order.Servers)], Address: Address(n)}}
	renewing := 0 // 1: it is
	for ctx.Err() == nil {
		snapshot, err := c.open(ctx, browser)
		c.note(func(h *held) {
			h.Renewing -= renewing
			if err == nil {
				h.Open++
				return
			}
			h.Errors["open "+codeOf(err)]++
			if errors.Is(err, errForeign) {
				h.Misgiven++
			}
		})
		if renewing = 0; err != nil {
			pause(ctx, time.Second)
			continue
		}
		ours := context.AfterFunc(ctx, browser.watch.close)
		err = wait(browser, snapshot)
		if !ours() { // we ended it
			return
		}
		browser.Close()
		if err == nil {
			renewing = 1
		}
		c.note(func(h *held) { h.ended(err) })
	}
}

// ended is for a watch; nil: the ticket has expired and is renewed.
func (h *held) ended(err error) {
	h.Open--
	if err == nil {
		h.Renewed++
		h.Renewing++
		return
	}
	h.Errors["hold "+codeOf(err)]++
	if errors.Is(err, errForeign) {
		h.Misgiven++
	} else {
		h.Dropped++
	}
}

// open makes a ticket and watches it, when it is its turn.
func (c *crowd) open(ctx context.Context, browser *Browser) (Snapshot, error) {
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return Snapshot{}, ctx.Err()
	}
	if _, err := browser.Create(ctx); err != nil {
		return Snapshot{}, err
	}
	snapshot, err := browser.Watch(ctx, c.order.Transport)
	if err != nil {
		browser.Close()
	}
	return snapshot, err
}

// wait returns nil when the ticket has come to its end.
func wait(browser *Browser, snapshot Snapshot) error {
	for !snapshot.over() {
		life := time.Duration(snapshot.ExpiresIn) * time.Second
		var err error
		if snapshot, err = browser.Next(life + patience); err != nil {
			return err
		}
	}
	if snapshot.Status != "expired" {
		return errors.New("bench: a ticket that nobody scanned is " + snapshot.Status)
	}
	return nil
}

// pause waits between a half and one and a half of about, so that a crowd does not
// come back as one.
func pause(ctx context.Context, about time.Duration) { rest(ctx, about/2+rand.N(about)) }

// rest waits so long, or until ctx ends.
func rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (c *crowd) note(change func(*held)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.held)
}

func (c *crowd) count() held {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.held
	h.Errors = maps.Clone(h.Errors)
	return h
}
