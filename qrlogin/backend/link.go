package backend

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// quietLink is how long nothing may come before the link is asked; deadLink is how
	// long before it counts as dead.
	quietLink = time.Second
	deadLink  = 3 * time.Second

	// namesPerCommand bounds one SUBSCRIBE.
	namesPerCommand = 500

	// A reload of n records is done in portions of reloadPortion or n/reloadRounds,
	// reloadPause apart: all of them within about a second, whatever n.
	reloadPortion = 64
	reloadRounds  = 50
	reloadPause   = 20 * time.Millisecond

	// forgedEvery is how often a message that does not open is worth a log line.
	forgedEvery = time.Minute
)

var errDeadLink = errors.New("nothing received for 3 s")

// link is the one subscription connection of this process and all watches on it.
//
// keep owns the connection: it makes it, sends the names that are to be added and dropped
// and starts a reader for it. One round of names is under way at a time; those that come
// meanwhile go together in the next one, so that a crowd costs few commands and a single
// watch does not wait. reload owns the reading of records after a reconnect.
type link struct {
	r *Redis
	watches
	add, drop map[string]struct{} // names whose SUBSCRIBE, UNSUBSCRIBE is still to be sent; under mu
	unacked   int                 // names of the round under way; under mu
	stale     []string            // names to reload; under mu

	down       atomic.Bool
	heard      atomic.Int64 // when something was received last, in Unix nanoseconds
	lastForged atomic.Int64 // when a forgery was logged last, likewise

	work  chan struct{} // add, drop or unacked has changed
	loads chan struct{} // stale has changed
	owned sync.WaitGroup
}

func newLink(r *Redis) *link {
	return &link{
		r:       r,
		watches: watches{of: map[string]*topic{}},
		add:     map[string]struct{}{},
		drop:    map[string]struct{}{},
		work:    make(chan struct{}, 1),
		loads:   make(chan struct{}, 1),
	}
}

// watch is Redis.Watch: subscribe, wait until that stands, load, deliver what is newest.
func (l *link) watch(ctx context.Context, k *keys, key string, changed func([]byte, uint64)) (stop func(), err error) {
	name := k.record(key)
	l.mu.Lock()
	w, created := l.join(name, key, changed)
	if created {
		w.topic.acked = make(chan struct{})
		l.add[name] = struct{}{}
		delete(l.drop, name)
	}
	acked, since := w.topic.acked, w.topic.version
	l.mu.Unlock()
	stop = func() { l.end(name, w) }
	if created {
		nudge(l.work)
	}
	if acked != nil {
		select {
		case <-acked:
		case <-ctx.Done():
			stop()
			return nil, unavailable{ctx.Err()}
		case <-l.r.ctx.Done():
			stop()
			return nil, unavailable{errClosed}
		}
	}
	value, rev, err := l.r.load(ctx, k, key)
	if err != nil {
		stop()
		return nil, err
	}
	l.start(w, since, value, rev)
	return stop, nil
}

// end is stop.
func (l *link) end(name string, w *watch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.leave(name, w) {
		delete(l.add, name)
		l.drop[name] = struct{}{}
		nudge(l.work)
	}
}

// silence is how long nothing was received.
func (l *link) silence() time.Duration {
	return time.Since(time.Unix(0, l.heard.Load()))
}

// keep makes the link again and again until Close.
func (l *link) keep() {
	for attempt := 0; ; attempt++ {
		sub := l.r.client.Subscribe(l.r.ctx)
		err := l.session(sub)
		sub.Close()
		if l.r.ctx.Err() != nil {
			return
		}
		if !l.down.Swap(true) {
			l.r.log.Warn("watch link to the store lost", "cause", err)
			attempt = 0
		}
		pause(l.r.ctx, attempt)
	}
}

// session uses one connection until it fails: subscribes to everything that is watched,
// and to the root key's name, whose acknowledgement shows that the link is up.
func (l *link) session(sub *redis.PubSub) error {
	l.mu.Lock()
	l.unacked = 1
	clear(l.drop)
	for name := range l.of {
		l.add[name] = struct{}{}
	}
	l.mu.Unlock()
	if err := sub.Subscribe(l.r.ctx, l.r.root.name); err != nil {
		return err
	}
	failed := make(chan error, 1)
	var reader sync.WaitGroup
	reader.Go(func() { failed <- l.receive(sub) })
	defer func() {
		sub.Close()
		reader.Wait()
	}()
	for {
		select {
		case err := <-failed:
			return err
		case <-l.r.ctx.Done():
			return l.r.ctx.Err()
		case <-l.work:
			if err := l.sendRound(sub); err != nil {
				return err
			}
		}
	}
}

// sendRound sends the names that wait, unless the round before is still under way.
func (l *link) sendRound(sub *redis.PubSub) error {
	l.mu.Lock()
	if l.unacked > 0 {
		l.mu.Unlock()
		return nil
	}
	add, drop := portion(l.add), portion(l.drop)
	l.unacked = len(add) + len(drop)
	l.mu.Unlock()
	if len(add) > 0 {
		if err := sub.Subscribe(l.r.ctx, add...); err != nil {
			return err
		}
	}
	if len(drop) > 0 { // an UNSUBSCRIBE without names would drop all
		return sub.Unsubscribe(l.r.ctx, drop...)
	}
	return nil
}

// portion moves up to namesPerCommand names out of set.
func portion(set map[string]struct{}) []string {
	names := make([]string, 0, min(len(set), namesPerCommand))
	for name := range set {
		if len(names) == namesPerCommand {
			break
		}
		names = append(names, name)
		delete(set, name)
	}
	return names
}

// receive reads one connection until it fails or has been silent for deadLink. The
// client's own channel would not notice a link that is open on our side only.
func (l *link) receive(sub *redis.PubSub) error {
	last := time.Now()
	for {
		m, err := sub.ReceiveTimeout(l.r.ctx, quietLink)
		switch {
		case err == nil:
			last = time.Now()
			l.heard.Store(last.UnixNano())
			l.received(m)
		case !isTimeout(err):
			return err
		case time.Since(last) >= deadLink:
			return errDeadLink
		default:
			if err := sub.Ping(l.r.ctx); err != nil {
				return err
			}
		}
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

func (l *link) received(m any) {
	switch m := m.(type) {
	case *redis.Subscription:
		l.acknowledged(m)
	case *redis.Message:
		l.message(m.Channel, m.Payload)
	}
}

// acknowledged counts down the round under way. Whoever waits for a first subscription
// loads by itself; every other one, after a reconnect or a quick end-and-watch, means that
// messages may have been missed, so the record is loaded.
func (l *link) acknowledged(s *redis.Subscription) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.unacked--; l.unacked == 0 {
		nudge(l.work)
	}
	if s.Kind != "subscribe" {
		return
	}
	if s.Channel == l.r.root.name {
		nudge(l.r.root.kick)
		if l.down.Swap(false) {
			l.r.log.Info("watch link to the store is up")
		}
		return
	}
	t := l.of[s.Channel]
	switch {
	case t == nil:
	case t.acked != nil:
		close(t.acked)
		t.acked = nil
	default:
		l.outdated(s.Channel, t)
	}
}

// message delivers a record that was published. One that does not open was not sent by an
// instance of ours: it is ignored, and the record loaded, in case it hides a real one.
func (l *link) message(name, rec string) {
	l.mu.Lock()
	t := l.of[name]
	l.mu.Unlock()
	k := l.r.root.inUse.Load()
	if t == nil || k == nil {
		return
	}
	value, rev, err := k.open(t.key, rec)
	if err == nil && rev > 0 {
		l.tell(t, 0, value, rev)
		return
	}
	l.forged("message")
	l.mu.Lock()
	l.outdated(name, t)
	l.mu.Unlock()
}

// forged logs now and then that something did not open.
func (l *link) forged(what string) {
	now, last := time.Now().UnixNano(), l.lastForged.Load()
	if now-last >= int64(forgedEvery) && l.lastForged.CompareAndSwap(last, now) {
		l.r.log.Warn("ignored what does not open under our keys", "what", what)
	}
}

// outdated puts a topic on the list for reload. Called with mu held.
func (l *link) outdated(name string, t *topic) {
	if !t.loading {
		t.loading = true
		l.stale = append(l.stale, name)
		nudge(l.loads)
	}
}

// reload loads what is outdated, portion by portion, until Close.
func (l *link) reload() {
	for {
		select {
		case <-l.loads:
		case <-l.r.ctx.Done():
			return
		}
		for size := reloadPortion; ; {
			l.mu.Lock()
			size = max(size, len(l.stale)/reloadRounds)
			n := min(size, len(l.stale))
			names := l.stale[:n:n]
			l.stale = l.stale[n:]
			l.mu.Unlock()
			if n == 0 {
				break
			}
			l.reloadAll(names)
			select {
			case <-time.After(reloadPause):
			case <-l.r.ctx.Done():
				return
			}
		}
	}
}

// reloadAll loads some records at the same time and tells their watches. What fails is put
// on the list again.
func (l *link) reloadAll(names []string) {
	ctx, cancel := context.WithTimeout(l.r.ctx, callTimeout)
	defer cancel()
	k, err := l.r.root.keys(ctx)
	var all sync.WaitGroup
	for _, name := range names {
		l.mu.Lock()
		t := l.of[name]
		var since uint32
		if t != nil {
			t.loading = false
			since = t.version
			if err != nil {
				l.outdated(name, t)
			}
		}
		l.mu.Unlock()
		if t != nil && err == nil {
			all.Go(func() { l.reloadOne(ctx, k, name, t, since) })
		}
	}
	all.Wait()
}

func (l *link) reloadOne(ctx context.Context, k *keys, name string, t *topic, since uint32) {
	value, rev, err := l.r.load(ctx, k, t.key)
	switch {
	case errors.Is(err, ErrForged):
		l.forged("record")
	case err != nil:
		l.mu.Lock()
		l.outdated(name, t)
		l.mu.Unlock()
	default:
		l.tell(t, since, value, rev)
	}
}

// nudge wakes the one who waits on c, now or when it comes to wait.
func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
