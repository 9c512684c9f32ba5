package backend

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// watcher keeps what a watch was told and checks what holds for every watch.
type watcher struct {
	tb    testing.TB
	mu    sync.Mutex
	value string
	rev   uint64
	high  uint64
	calls int
	in    atomic.Bool
}

func (w *watcher) changed(value []byte, rev uint64) {
	if !w.in.CompareAndSwap(false, true) {
		w.tb.Error("two calls at the same time")
	}
	defer w.in.Store(false)
	w.mu.Lock()
	defer w.mu.Unlock()
	if rev != 0 && rev < w.high || (rev == 0) != (value == nil) {
		w.tb.Errorf("told %q, %d after %d", value, rev, w.high)
	}
	w.value, w.rev, w.high = string(value), rev, max(w.high, rev)
	w.calls++
}

func (w *watcher) now() (value string, rev uint64, calls int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.value, w.rev, w.calls
}

// wants waits until the watch was told value ("-": that there is none).
func (w *watcher) wants(d time.Duration, want string) {
	w.tb.Helper()
	waitFor(w.tb, d, "a watch to be told "+want, func() bool {
		value, rev, _ := w.now()
		return value == want || want == "-" && rev == 0
	})
}

func watchOn(tb testing.TB, s store, key string) (*watcher, func()) {
	tb.Helper()
	w := &watcher{tb: tb}
	stop, err := s.Watch(patient(tb), key, w.changed)
	must(tb, err)
	if _, _, calls := w.now(); calls == 0 {
		tb.Fatal("watch returned before the first state")
	}
	return w, stop
}

// put writes value into key.
func put(tb testing.TB, s store, key, value string) uint64 {
	tb.Helper()
	rev, err := s.Update(patient(tb), key, func([]byte) ([]byte, time.Duration, error) {
		return []byte(value), time.Minute, nil
	})
	must(tb, err)
	return rev
}

func testFirstState(t *testing.T, a, b store) {
	w, stop := watchOn(t, a, "k")
	defer stop()
	if value, rev, calls := w.now(); rev != 0 || calls != 1 {
		t.Fatalf("no record: told %q, %d", value, rev)
	}
	made(t)(b.Create(patient(t), "k", []byte("new"), time.Minute))
	w.wants(5*time.Second, "new")
	late, stopLate := watchOn(t, a, "k")
	defer stopLate()
	if value, _, calls := late.now(); value != "new" || calls != 1 {
		t.Fatalf("second watch: told %q first, %d calls", value, calls)
	}
}

func testEveryChange(t *testing.T, a, b store) {
	w, stop := watchOn(t, a, "k")
	defer stop()
	for i := range 300 {
		value := string(rune('a' + i%26))
		rev := put(t, []store{a, b}[i%2], "k", value)
		if i%10 == 0 {
			w.wants(5*time.Second, value)
		}
		if i == 299 {
			w.wants(5*time.Second, value)
			if _, told, _ := w.now(); told != rev {
				t.Fatalf("told %d, written %d", told, rev)
			}
		}
	}
}

func testRewatch(t *testing.T, a, b store) {
	for i := range 300 {
		w, stop := watchOn(t, a, "k")
		value := string(rune('a' + i%26))
		put(t, b, "k", value)
		w.wants(5*time.Second, value)
		stop()
		if i%3 == 0 { // the next watch comes while the end of this one is under way
			continue
		}
		put(t, b, "k", "unseen")
		if got, _, _ := w.now(); got == "unseen" {
			t.Fatal("told after stop")
		}
	}
}

func testManyWatches(t *testing.T, a, b store) {
	const n = 20
	watchers, stops := make([]*watcher, n), make([]func(), n)
	race(n, func(i int) { watchers[i], stops[i] = watchOn(t, []store{a, b}[i%2], "k") })
	for _, value := range []string{"x", "y", "z"} {
		put(t, a, "k", value)
		for i, w := range watchers {
			if i%2 == 0 || value == "x" {
				w.wants(5*time.Second, value)
			}
		}
		for i := 1; i < n; i += 2 {
			stops[i]()
			stops[i]()
		}
	}
	for i := 0; i < n; i += 2 {
		stops[i]()
	}
}

func testCallback(t *testing.T, a, b store) {
	ctx := patient(t)
	put(t, b, "k", "0")
	var stop func()
	ready, done := make(chan struct{}), make(chan struct{})
	var calls atomic.Int32
	stop, err := a.Watch(ctx, "k", func(value []byte, rev uint64) {
		if calls.Add(1) == 1 {
			return
		}
		<-ready
		put(t, a, "k", "while it runs")
		if _, _, err := a.Load(ctx, "k"); err != nil {
			t.Error(err)
		}
		stop()
		close(done)
	})
	must(t, err)
	close(ready)
	put(t, b, "k", "1")
	select {
	case <-done:
	case <-ctx.Done():
		t.Fatal("the callback did not come back")
	}
	put(t, b, "k", "2")
	last, stopLast := watchOn(t, a, "k")
	defer stopLast()
	put(t, b, "k", "3")
	last.wants(5*time.Second, "3")
	if n := calls.Load(); n != 2 {
		t.Fatalf("%d calls", n)
	}
}

func testStop(t *testing.T, a, b store) {
	for range 50 {
		w, stop := watchOn(t, a, "k")
		probe, stopProbe := watchOn(t, a, "k")
		stop()
		_, _, before := w.now()
		put(t, b, "k", "x")
		put(t, b, "k", "y")
		probe.wants(5*time.Second, "y")
		if _, _, after := w.now(); after != before {
			t.Fatalf("%d calls after stop", after-before)
		}
		stopProbe()
	}
}

// TestLateAnswerThatThereIsNone: a message came while a load that finds nothing was under
// way; the message is the newer one, unless nothing was told since the load began.
func TestLateAnswerThatThereIsNone(t *testing.T) {
	s := watches{of: map[string]*topic{}}
	w := &watcher{tb: t}
	m, _ := s.join("k", "k", w.changed)
	before := m.topic.version
	s.start(m, before, []byte("x"), 5)
	since := m.topic.version
	s.tell(m.topic, 0, []byte("y"), 6)
	s.tell(m.topic, since, nil, 0)
	if value, rev, calls := w.now(); value != "y" || rev != 6 || calls != 2 {
		t.Fatalf("told %q, %d in %d calls", value, rev, calls)
	}
	s.tell(m.topic, m.topic.version, nil, 0)
	s.tell(m.topic, m.topic.version, nil, 0)
	if _, rev, calls := w.now(); rev != 0 || calls != 3 {
		t.Fatalf("told %d in %d calls", rev, calls)
	}
	s.tell(m.topic, 0, []byte("y"), 6) // it was only away
	w.wants(time.Second, "y")
	if m.topic.value != nil {
		t.Error("a value is kept that every watch has seen")
	}
}

// TestLateFirstState: a message came while the first load was under way.
func TestLateFirstState(t *testing.T) {
	for _, loaded := range []uint64{0, 5} {
		s := watches{of: map[string]*topic{}}
		w := &watcher{tb: t}
		m, _ := s.join("k", "k", w.changed)
		s.tell(m.topic, 0, []byte("y"), 6)
		var value []byte
		if loaded > 0 {
			value = []byte("x")
		}
		s.start(m, 0, value, loaded)
		if value, _, calls := w.now(); value != "y" || calls != 1 {
			t.Fatalf("told %q in %d calls", value, calls)
		}
	}
}
