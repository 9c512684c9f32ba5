package hub

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"runtime/debug"
	"sync"
	"time"
)

// ErrClosed is what newcomers get after Run has ended.
var ErrClosed = errors.New("hub: closed")

// errPanic stands for a panic that was logged and cost one connection.
var errPanic = errors.New("hub: panic")

const (
	// lookWithin bounds the two store calls behind a watch, with room for the answer: a
	// store that cannot be reached is a 1013 or a 503 within a second.
	lookWithin = 800 * time.Millisecond
	// returnWithin is the range of the after_ms that a leaving instance asks for;
	// drain has spread the peers already, this only breaks ties.
	returnWithin = time.Second
)

// Source is where the watched records come from: the backend's Watch.
// The first state is delivered before Watch returns; ctx is for that alone, stop
// ends the watch. Calls of changed are serial per watch. A value may be kept and is
// never written to again. Value nil and rev 0: the record is gone.
type Source interface {
	Watch(ctx context.Context, key string, changed func(value []byte, rev uint64)) (stop func(), err error)
}

// Topic is one watched record and how its peer hears of it.
type Topic struct {
	From  netip.Addr // of the peer on SSE and long poll, for Evict; zero: not known
	Key   string
	Event string // the name of its events on SSE; empty: none
	// Group names what Config.MostPerGroup is for, on sockets whose wire is not
	// Exclusive; empty: none.
	Group string
	// Encode makes the wire form of a state. It is called at a change, at
	// Snapshot.Next and at a refresh, never twice at a time for one connection.
	// Value nil: the record is gone; rev is then one above the last one seen.
	Encode func(value []byte, rev uint64, now time.Time) (Snapshot, error)
}

// Snapshot is the newest state of a topic, ready to send.
type Snapshot struct {
	Data    []byte    // empty: nothing to tell this time
	Seq     uint64    // never goes back on one connection; an older one is dropped
	Next    time.Time // encode again at this time; zero: never
	Close   Code      // 0: more may follow; else this is the last one, and the code to close with
	Refresh bool      // the peer may ask for a fresh encoding; otherwise its refresh is ignored
}

// Config holds what may be chosen; a zero value is the default in brackets.
type Config struct {
	Heartbeat   time.Duration // longest time between two pings or comments (25 s); a fifth of it is jitter
	PongWithin  time.Duration // a peer is given up this long after a ping without a pong (10 s)
	WatchWithin time.Duration // from hello to watch (5 s)
	WriteWithin time.Duration // deadline of one write (5 s)
	CloseWithin time.Duration // after our close frame the peer's is waited for (1 s)
	Logger      *slog.Logger  // slog.Default()

	// How many connections may be open at once: in all, of one network, and sockets of one
	// Topic.Group; zero: no bound. Most and Caps count a socket from before its upgrade.
	Most         int
	Caps         []Cap
	MostPerGroup int

	// Observe is told of "hub.look" (the store calls behind a watch), "hub.deliver"
	// (from a change's arrival to its last byte written) and "hub.close.<word>" (the
	// life of a socket or stream; words are Code.String, "lost" and "by_peer"), and
	// "hub.refused.<limit>" (sockets, sockets_per_network, sockets_per_session).
	Observe func(name string, d time.Duration, err error)
	// HandshakeError answers a request that is no WebSocket handshake (plain text).
	HandshakeError func(w http.ResponseWriter, r *http.Request, status int, reason error)
}

// Hub holds this instance's live connections.
type Hub struct {
	conf  Config
	src   Source
	start time.Time // moments are counted from here, on the monotonic clock
	wheel wheel
	wg    sync.WaitGroup // one for each connection, one for each running writer

	mu     sync.Mutex
	open   map[*conn]struct{}
	stats  [3]int
	room   room
	holder map[string]*socket // exclusive topics: who has it
	drain  bool
	closed bool
	ban    *ban          // what Evict said last
	empty  chan struct{} // made by Drain, closed when the last connection is gone
}

// New makes a hub over src. Run must be running for time to pass in it.
func New(src Source, c Config) *Hub {
	orElse(&c.Heartbeat, 25*time.Second)
	orElse(&c.PongWithin, 10*time.Second)
	orElse(&c.WatchWithin, 5*time.Second)
	orElse(&c.WriteWithin, 5*time.Second)
	orElse(&c.CloseWithin, time.Second)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Observe == nil {
		c.Observe = func(string, time.Duration, error) {}
	}
	room := room{groups: map[string]int{}}
	for range c.Caps {
		room.caps = append(room.caps, map[netip.Prefix]int{})
	}
	return &Hub{conf: c, src: src, start: time.Now(), open: map[*conn]struct{}{}, room: room, holder: map[string]*socket{}}
}

func orElse(d *time.Duration, v time.Duration) {
	if *d == 0 {
		*d = v
	}
}

// Run turns the wheel until ctx ends; then it closes what is left (1001), waits
// for every goroutine of the hub and returns nil. All its waits are bounded.
func (h *Hub) Run(ctx context.Context) error {
	t := time.NewTicker(tickLength)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			h.turn()
		case <-ctx.Done():
			for _, c := range h.census(func() { h.closed = true }) {
				c.close(GoingAway)
			}
			h.wg.Wait()
			return nil
		}
	}
}

func (h *Hub) turn() {
	var err error
	defer h.recovered(&err)
	h.wheel.turn(h.now())
}

// Drain empties the hub: evenly over the time given each connection is told when
// to reconnect and closed with 1012 (SSE ends with retry, waits end with the
// present snapshot); who comes meanwhile is told at once. It blocks until all are
// gone or ctx ends.
func (h *Hub) Drain(ctx context.Context, over time.Duration) {
	empty := make(chan struct{})
	all := h.census(func() {
		h.drain, h.empty = true, empty
		if len(h.open) == 0 {
			close(empty)
			h.empty = nil
		}
	})
	now := h.now()
	for i, c := range all {
		c.leaveAt(now + over*time.Duration(i)/time.Duration(len(all)))
	}
	select {
	case <-empty:
	case <-ctx.Done():
	}
}

// ban is what Evict was told.
type ban struct {
	match   func(from netip.Addr) bool
	refusal Refusal
}

// Evict ends every connection whose address matches, at once: a socket closes with
// code and reason, a stream ends, Wait returns a *Refusal of the two. Nobody is waited
// for; a peer that does not read is told nothing more and is gone within
// Config.WriteWithin.
//
// It holds for newcomers too, until the next call: one that passed the caller's own
// check before the bans changed, and comes in after Evict has looked around, is ended on
// arrival. So the caller checks a request once, early, and needs no second look after
// the upgrade. In return match has to be true to the present bans for as long as it
// is kept: it reads the newest list and the clock, or Evict is called at every change, at
// the end of a ban as well. It is called without a lock, from many goroutines.
func (h *Hub) Evict(match func(from netip.Addr) bool, code Code, reason string) {
	b := &ban{match, Refusal{code, reason}}
	for _, c := range h.census(func() { h.ban = b }) {
		b.apply(c)
	}
}

func (b *ban) apply(c *conn) {
	switch hit, err := b.covers(c); {
	case err != nil:
		c.close(Internal)
	case hit:
		c.refuse(&b.refusal)
	}
}

func (b *ban) covers(c *conn) (hit bool, err error) {
	defer c.hub.recovered(&err)
	return b.match(c.from), nil
}

// census marks the hub and lists who was in it at that moment, in no order.
func (h *Hub) census(mark func()) []*conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	mark()
	all := make([]*conn, 0, len(h.open))
	for c := range h.open {
		all = append(all, c)
	}
	return all
}

// Stats is how many connections are open, by transport.
type Stats struct{ WS, SSE, Poll int }

// Stats counts the open connections by transport.
func (h *Hub) Stats() Stats {
	h.mu.Lock()
	defer h.mu.Unlock()
	return Stats{WS: h.stats[byWS], SSE: h.stats[bySSE], Poll: h.stats[byPoll]}
}

// admit takes in a connection that has its place; false: the hub is closed.
func (h *Hub) admit(c *conn) bool {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return false
	}
	h.open[c] = struct{}{}
	h.stats[c.by]++
	h.wg.Add(1)
	leaving, ban := h.drain, h.ban
	h.mu.Unlock()
	c.mu.Lock()
	if leaving {
		c.leave = h.now()
	}
	c.rewind()
	c.mu.Unlock()
	if ban != nil {
		ban.apply(c)
	}
	return true
}

// release is the last thing a connection's owner does.
func (h *Hub) release(c *conn) {
	if code := c.end(); c.by != byPoll {
		h.conf.Observe("hub.close."+code.String(), h.now()-c.born, nil)
	}
	h.mu.Lock()
	delete(h.open, c)
	h.stats[c.by]--
	h.unseat(c.from)
	if len(h.open) == 0 && h.empty != nil {
		close(h.empty)
		h.empty = nil
	}
	h.mu.Unlock()
	h.wg.Done()
}

// hold makes s the one socket of an exclusive topic; the older of the two is
// sent away, also when it comes here later than the newer one.
func (h *Hub) hold(key string, s *socket) {
	h.mu.Lock()
	old := h.holder[key]
	if old != nil && old.born > s.born {
		old, s = s, old
	}
	h.holder[key] = s
	h.mu.Unlock()
	if old != nil {
		old.close(Replaced)
	}
}

// unhold forgets s, unless a newer socket has taken its place.
func (h *Hub) unhold(key string, s *socket) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.holder[key] == s {
		delete(h.holder, key)
	}
}

// now is the time since the hub was made.
func (h *Hub) now() time.Duration { return time.Since(h.start) }

// interval is the time to the next heartbeat, jittered so that peers that came
// together do not stay together.
func (h *Hub) interval() time.Duration { return h.conf.Heartbeat - rand.N(h.conf.Heartbeat/5+1) }

// comment is the time to a stream's next comment. Its reader can only count on
// something coming every 25 s, because it cannot ask.
func (h *Hub) comment() time.Duration { return min(h.interval(), 25*time.Second) }

// recovered is deferred around everything that runs code of others or belongs to
// one connection: a panic is logged and costs that connection, not the process.
func (h *Hub) recovered(err *error) {
	if p := recover(); p != nil {
		*err = h.panicked(p)
	}
}

func (h *Hub) panicked(p any) error {
	h.conf.Logger.Error("hub: panic", "panic", p, "stack", string(debug.Stack()))
	return errPanic
}
