package hub

import (
	"sync"
	"time"
)

const (
	tickLength = 100 * time.Millisecond
	slots      = 512 // one turn is 51 s, longer than the time between two heartbeats
)

// wheel is one hashed timing wheel for every moment of every connection. A
// connection is in it at most once, at its earliest moment, and as a link of a
// list, so that nothing is allocated and a connection that ends is let go at once.
// It is never moved to a later slot: it wakes early, finds nothing due and enters
// itself again, which is cheaper than moving it with every pong.
type wheel struct {
	mu   sync.Mutex
	at   int64 // the last tick that was turned
	ring [slots]*conn
	due  []*conn // turn's own
}

// place is a connection's link in the wheel, guarded by wheel.mu.
type place struct {
	prev, next *conn
	tick       int64 // 0: not in the wheel
}

// set makes sure that c wakes at the first tick that is not before the moment.
func (w *wheel) set(c *conn, moment time.Duration) {
	tick := int64((moment + tickLength - 1) / tickLength)
	w.mu.Lock()
	defer w.mu.Unlock()
	tick = max(tick, w.at+1)
	if c.place.tick != 0 {
		if c.place.tick <= tick {
			return
		}
		w.unlink(c)
	}
	head := &w.ring[tick%slots]
	c.place = place{next: *head, tick: tick}
	if *head != nil {
		(*head).place.prev = c
	}
	*head = c
}

// remove takes c out, if it is in.
func (w *wheel) remove(c *conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c.place.tick != 0 {
		w.unlink(c)
	}
}

func (w *wheel) unlink(c *conn) {
	p := c.place
	if p.prev != nil {
		p.prev.place.next = p.next
	} else {
		w.ring[p.tick%slots] = p.next
	}
	if p.next != nil {
		p.next.place.prev = p.prev
	}
	c.place = place{}
}

// turn takes out everything that is due and wakes it, without holding the lock.
// After a long stall one round is enough to find all of it.
func (w *wheel) turn(now time.Duration) {
	w.mu.Lock()
	last := int64(now / tickLength)
	for tick := max(w.at+1, last-slots+1); tick <= last; tick++ {
		for c := w.ring[tick%slots]; c != nil; {
			next := c.place.next
			if c.place.tick <= last {
				w.unlink(c)
				w.due = append(w.due, c)
			}
			c = next
		}
	}
	w.at = max(w.at, last)
	w.mu.Unlock()
	for _, c := range w.due {
		c.tick(now)
	}
	clear(w.due)
	w.due = w.due[:0]
}
