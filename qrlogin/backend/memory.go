package backend

import (
	"bytes"
	"container/heap"
	"context"
	"crypto/rand"
	"sync"
	"time"
)

// Memory is the embedded store: one process, nothing kept across a restart. Its only
// goroutine removes what is over; nothing depends on when it does, because every access
// looks at the clock too.
type Memory struct {
	keys    *keys // for Derive only: nothing leaves the process, so nothing is sealed
	watches watches

	mu        sync.Mutex
	items     map[itemKey]*item
	expiry    expiry
	nextSweep time.Time
	closed    bool

	wake  chan struct{} // something ends before nextSweep, or Close
	swept chan struct{} // closed when the sweeper has ended
}

// NewMemory opens a store that ends with Close.
func NewMemory() *Memory {
	root := make([]byte, rootSize)
	rand.Read(root)
	m := &Memory{
		keys:    newKeys("", root),
		watches: watches{of: map[string]*topic{}},
		items:   map[itemKey]*item{},
		wake:    make(chan struct{}, 1),
		swept:   make(chan struct{}),
	}
	go m.sweep()
	return m
}

// Create stores value under key for ttl and gives its revision, or says ErrExists.
func (m *Memory) Create(ctx context.Context, key string, value []byte, ttl time.Duration) (rev uint64, err error) {
	if err := m.enter(ctx); err != nil {
		return 0, err
	}
	if m.live(itemKey{key: key}) != nil {
		m.mu.Unlock()
		return 0, ErrExists
	}
	return m.write(key, append([]byte{}, value...), ttl), nil
}

// Load gives the record of key and its revision; 0: there is none.
func (m *Memory) Load(ctx context.Context, key string) (value []byte, rev uint64, err error) {
	value, rev, err = m.look(ctx, key)
	return bytes.Clone(value), rev, err
}

// look is Load without a copy: what is stored is never written to again.
func (m *Memory) look(ctx context.Context, key string) (value []byte, rev uint64, err error) {
	if err := m.enter(ctx); err != nil {
		return nil, 0, err
	}
	defer m.mu.Unlock()
	if it := m.live(itemKey{key: key}); it != nil {
		return it.value, it.rev, nil
	}
	return nil, 0, nil
}

// Update replaces the record of key by what change makes of it (nil: there is none), for
// the ttl that it gives. A nil value without an error leaves everything as it is. As with
// Redis, change may be called again when another Update came in between, and is called
// under no lock.
func (m *Memory) Update(ctx context.Context, key string, change func(old []byte) ([]byte, time.Duration, error)) (rev uint64, err error) {
	for {
		old, seen, err := m.Load(ctx, key)
		if err != nil {
			return 0, err
		}
		value, ttl, err := change(old)
		if err != nil {
			return 0, err
		}
		if value == nil {
			return seen, nil
		}
		value = bytes.Clone(value)
		if err := m.enter(ctx); err != nil {
			return 0, err
		}
		if it := m.live(itemKey{key: key}); it.revision() == seen {
			return m.write(key, value, ttl), nil
		}
		m.mu.Unlock()
	}
}

// Watch calls changed with the state of key now, before it returns, and then with the
// newest one after each change; see Redis.Watch.
func (m *Memory) Watch(ctx context.Context, key string, changed func(value []byte, rev uint64)) (stop func(), err error) {
	m.watches.mu.Lock()
	w, _ := m.watches.join(key, key, changed)
	since := w.topic.version
	m.watches.mu.Unlock()
	stop = func() {
		m.watches.mu.Lock()
		defer m.watches.mu.Unlock()
		m.watches.leave(key, w)
	}
	value, rev, err := m.look(ctx, key) // no copy, or each watcher would hold one
	if err != nil {
		stop()
		return nil, err
	}
	m.watches.start(w, since, value, rev)
	return stop, nil
}

// Take takes one of burst permits of key, of which one grows again in every; wait 0 means
// taken, otherwise how long until there is one.
func (m *Memory) Take(ctx context.Context, key string, every time.Duration, burst int) (wait time.Duration, err error) {
	micros, err := permitEvery(every, burst)
	if err != nil {
		return 0, err
	}
	if err := m.enter(ctx); err != nil {
		return 0, err
	}
	defer m.mu.Unlock()
	return m.take(key, time.Now(), micros, burst), nil
}

func (m *Memory) take(key string, at time.Time, every int64, burst int) time.Duration {
	k, now := itemKey{permit: true, key: key}, at.UnixMicro()
	var full int64
	if it := m.items[k]; it != nil {
		full = it.full
	}
	next, wait := permit(full, now, every, burst)
	if wait > 0 {
		return time.Duration(wait) * time.Microsecond
	}
	it := m.put(k, at.Add(time.Duration(next-now)*time.Microsecond))
	it.full = next
	return 0
}

// Ping says whether the store can be used.
func (m *Memory) Ping(ctx context.Context) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	m.mu.Unlock()
	return nil
}

// Derive gives 32 bytes that belong to purpose, the same ones as long as the store lives.
func (m *Memory) Derive(ctx context.Context, purpose string) ([]byte, error) {
	if err := m.Ping(ctx); err != nil {
		return nil, err
	}
	return m.keys.secret(purpose), nil
}

// Close ends the store and its goroutine.
func (m *Memory) Close() error {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	nudge(m.wake)
	<-m.swept
	return nil
}

// enter takes the lock, unless the caller's time is over or the store closed.
func (m *Memory) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return unavailable{err}
	}
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return unavailable{errClosed}
	}
	return nil
}

// write stores a record, releases the lock and tells the watchers.
func (m *Memory) write(key string, value []byte, ttl time.Duration) uint64 {
	k := itemKey{key: key}
	rev := nextRevision(m.items[k].revision())
	it := m.put(k, time.Now().Add(lifetime(ttl)))
	it.value, it.rev = value, rev
	m.mu.Unlock()
	m.watches.mu.Lock()
	t := m.watches.of[key]
	m.watches.mu.Unlock()
	if t != nil {
		m.watches.tell(t, 0, value, rev)
	}
	return rev
}

// put gives the item of k, made if need be, with its end moved to at.
func (m *Memory) put(k itemKey, at time.Time) *item {
	it := m.items[k]
	if it == nil {
		it = &item{itemKey: k, at: at}
		m.items[k] = it
		heap.Push(&m.expiry, it)
	} else {
		it.at = at
		heap.Fix(&m.expiry, it.index)
	}
	if at.Before(m.nextSweep) {
		m.nextSweep = at
		nudge(m.wake)
	}
	return it
}

// live is the item of k whose time is not over, or nil.
func (m *Memory) live(k itemKey) *item {
	if it := m.items[k]; it != nil && time.Now().Before(it.at) {
		return it
	}
	return nil
}
