package hub

import (
	"context"
	"net/netip"
	"sync"
	"time"
)

// debt is what a connection owes its peer: a set, not a queue. The lowest bit is
// paid first.
type debt uint8

const (
	owedDrop      debt = 1 << iota // nothing more: the peer is gone
	owedHello                      // hello, or SSE's first comment
	owedSnapshot                   // the newest state
	owedPong                       // the answer to a ping message
	owedEcho                       // the answer to a ping frame
	owedBeat                       // a ping frame, or a comment
	owedReconnect                  // when to come back
	owedClose                      // the last thing
)

// transport is which of the three doors a connection came through.
type transport uint8

const (
	byWS transport = iota
	bySSE
	byPoll
)

// peer is what the transports do differently. Calls of write never overlap.
type peer interface {
	// wake has conn.pay called soon, on another goroutine. It is called with the
	// connection's lock held and never blocks.
	wake()
	// write sends one debt, within Config.WriteWithin; s is set for owedSnapshot.
	write(d debt, s Snapshot) error
}

// conn is one live connection. Whoever has news for it only sets bits; at most one
// goroutine at a time (paying) encodes and writes.
type conn struct {
	hub  *Hub
	peer peer
	from netip.Addr
	born time.Duration
	by   transport

	place place // guarded by wheel.mu

	mu      sync.Mutex
	owed    debt
	paying  bool     // somebody is in pay, or was woken for it
	over    bool     // the last thing has been written, or nothing can be
	pinged  bool     // a ping of ours is unanswered
	watched bool     // a watch was received
	refresh bool     // the last snapshot allows a refresh
	code    Code     // how it ends; 0: not yet, and only then new debts are taken on
	refusal *Refusal // nil: the code says it all

	encode func([]byte, uint64, time.Time) (Snapshot, error)
	value  []byte
	rev    uint64
	seq    uint64
	since  time.Duration // arrival of the oldest change not yet written; 0: none

	// moments since the hub's start; 0: none
	beat  time.Duration // next heartbeat; when pinged: give up
	next  time.Duration // encode again; before a watch: too late for it
	leave time.Duration // drain's turn for this connection
}

// owe adds a debt and sees to it that somebody pays.
func (c *conn) owe(d debt) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.code == 0 {
		c.add(d)
	}
}

// add is owe with the lock held, whatever has been decided about the end.
func (c *conn) add(d debt) {
	c.owed |= d
	if !c.paying && !c.over {
		c.paying = true
		c.peer.wake()
	}
}

// close decides how the connection ends, if that is still open; all other debts
// are dropped.
func (c *conn) close(code Code) { c.finish(code, nil) }

// refuse is close with a reason of somebody else's.
func (c *conn) refuse(r *Refusal) { c.finish(r.Code, r) }

func (c *conn) finish(code Code, r *Refusal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.code == 0 {
		c.code, c.refusal, c.owed = code, r, 0
		c.add(owedClose)
	}
}

// refused is the *Refusal with which the connection was turned away, or nil.
func (c *conn) refused() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refusal == nil {
		return nil
	}
	return c.refusal
}

// ending reports whether the end has been decided.
func (c *conn) ending() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.code != 0
}

// end stops everything that could still reach the connection and says how it ended.
func (c *conn) end() Code {
	c.mu.Lock()
	c.over = true
	if c.code == 0 {
		c.code = lost
	}
	code := c.code
	c.mu.Unlock()
	c.hub.wheel.remove(c)
	return code
}

// follow has the connection told of everything that happens to t, from now on.
// What it was asked to stop with is stopped by its owner.
func (c *conn) follow(ctx context.Context, t Topic) (stop func(), err error) {
	c.mu.Lock()
	c.watched, c.encode = true, t.Encode
	c.mu.Unlock()
	return c.hub.src.Watch(ctx, t.Key, c.changed)
}

// changed is the source's news. Late and doubled ones are dropped here; the rest
// overwrite one another until they are written.
func (c *conn) changed(value []byte, rev uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	gone := rev == 0
	switch {
	case gone && c.value == nil && c.rev != 0:
		return
	case gone:
		c.value, c.rev = nil, c.rev+1
	case rev <= c.rev:
		return
	default:
		c.value, c.rev = value, rev
	}
	if c.code == 0 {
		if c.since == 0 {
			c.since = c.hub.now()
		}
		c.add(owedSnapshot)
	}
}

// pay writes all that is owed, one thing at a time, until nothing is. False: that
// was the last, or the peer cannot be written to.
func (c *conn) pay() (alive bool) {
	for {
		c.mu.Lock()
		d := c.owed & -c.owed
		c.owed &^= d
		if d == owedDrop {
			c.over = true
		}
		if d == 0 || c.over {
			c.paying = false
			alive = !c.over
			c.mu.Unlock()
			return alive
		}
		if d == owedBeat {
			c.beaten()
		}
		c.mu.Unlock()
		err := c.settle(d)
		if err != nil || d == owedClose {
			c.mu.Lock()
			c.over = true
			if err != nil && c.code == 0 {
				c.code = lost
			}
			c.mu.Unlock()
		}
	}
}

// settle writes one debt.
func (c *conn) settle(d debt) (err error) {
	defer c.hub.recovered(&err)
	if d != owedSnapshot {
		return c.peer.write(d, Snapshot{})
	}
	s, err := c.snapshot()
	if err != nil {
		c.hub.conf.Logger.Error("hub: encode", "err", err)
		c.close(Internal)
		return nil
	}
	c.mu.Lock()
	if s.Seq < c.seq {
		c.mu.Unlock()
		return nil
	}
	since := c.since
	c.seq, c.refresh, c.since = s.Seq, s.Refresh, 0
	c.next = 0
	if !s.Next.IsZero() {
		c.next = c.hub.now() + max(time.Until(s.Next), 1)
	}
	c.rewind()
	c.mu.Unlock()
	if len(s.Data) > 0 {
		err = c.peer.write(owedSnapshot, s)
	}
	if since != 0 {
		c.hub.conf.Observe("hub.deliver", c.hub.now()-since, err)
	}
	if err == nil && s.Close != 0 && c.by != byPoll {
		c.mu.Lock()
		c.code, c.refusal, c.owed = s.Close, nil, owedClose
		c.mu.Unlock()
	}
	return err
}

// snapshot encodes the present state.
func (c *conn) snapshot() (s Snapshot, err error) {
	defer c.hub.recovered(&err)
	c.mu.Lock()
	encode, value, rev := c.encode, c.value, c.rev
	c.mu.Unlock()
	return encode(value, rev, time.Now())
}

// tick looks at the connection's moments; the wheel calls it at the earliest.
func (c *conn) tick(now time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.code != 0 {
		return
	}
	if due(&c.leave, now) {
		c.code = Restarting
		c.add(owedReconnect | owedClose)
		return
	}
	if due(&c.beat, now) {
		if c.pinged {
			c.code, c.owed = lost, 0
			c.add(owedDrop)
			return
		}
		c.add(owedBeat)
	}
	if due(&c.next, now) {
		if !c.watched {
			c.code, c.owed = WatchTimeout, 0
			c.add(owedClose)
			return
		}
		c.add(owedSnapshot)
	}
	c.rewind()
}

// due takes a moment that has come.
func due(m *time.Duration, now time.Duration) bool {
	if *m == 0 || *m > now {
		return false
	}
	*m = 0
	return true
}

// rewind enters the earliest moment into the wheel; with the lock held.
func (c *conn) rewind() {
	if c.over {
		return
	}
	var first time.Duration
	for _, m := range [...]time.Duration{c.beat, c.next, c.leave} {
		if m != 0 && (first == 0 || m < first) {
			first = m
		}
	}
	if first != 0 {
		c.hub.wheel.set(c, first)
	}
}

// beaten sets the moment after a heartbeat, before it is written: the pong may be
// faster than the return from the write.
func (c *conn) beaten() {
	now := c.hub.now()
	if c.by == byWS {
		c.pinged, c.beat = true, now+c.hub.conf.PongWithin
	} else {
		c.beat = now + c.hub.comment()
	}
	c.rewind()
}

// ponged takes a pong; false: nobody had asked for one.
func (c *conn) ponged() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.pinged {
		return false
	}
	sent := c.beat - c.hub.conf.PongWithin
	c.pinged, c.beat = false, max(c.hub.now(), sent+c.hub.interval())
	c.rewind()
	return true
}

// leaveAt sets the moment at which the connection is told to go elsewhere.
func (c *conn) leaveAt(moment time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leave = max(moment, 1)
	c.rewind()
}
