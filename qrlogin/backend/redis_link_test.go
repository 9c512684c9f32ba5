package backend

import (
	"fmt"
	"regexp"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// recovery is how long after its return a store's watchers may wait for what they missed.
const recovery = 5 * time.Second

// watchers puts n watches on s and writes each record once.
func watchers(t *testing.T, s store, n int) []*watcher {
	t.Helper()
	all := make([]*watcher, n)
	for i := range all {
		put(t, s, fmt.Sprint("k", i), "before")
		w, stop := watchOn(t, s, fmt.Sprint("k", i))
		t.Cleanup(stop)
		all[i] = w
	}
	return all
}

func TestWatchersSurviveKilledLink(t *testing.T) {
	s := startRedis(t)
	a, b := s.open(), s.open()
	all := watchers(t, a, 50)
	for round := range 5 {
		s.do("client", "kill", "type", "pubsub")
		value := fmt.Sprint("round", round)
		for i := range all {
			put(t, b, fmt.Sprint("k", i), value)
		}
		for _, w := range all {
			w.wants(recovery, value)
		}
	}
}

func TestWatchersSurviveFrozenStore(t *testing.T) {
	s := startRedis(t)
	a, b := s.open(), s.open()
	all := watchers(t, a, 50)
	s.signal(syscall.SIGSTOP)
	frozen := time.Now()
	waitFor(t, 20*time.Second, "10 s of silence", func() bool { return time.Since(frozen) > 10*time.Second })
	if err := a.Ping(t.Context()); !isUnavailable(err) {
		t.Fatalf("ping of a frozen store: %v", err)
	}
	s.signal(syscall.SIGCONT)
	back := time.Now()
	for i := range all {
		put(t, b, fmt.Sprint("k", i), "after")
	}
	for _, w := range all {
		w.wants(recovery-time.Since(back), "after")
	}
	ready(t, a)
}

func TestWatchersSurviveRestartWithData(t *testing.T) {
	s := startRedis(t, "--appendonly", "yes", "--appendfsync", "always")
	a, b := s.open(), s.open()
	all := watchers(t, a, 200)
	s.kill()
	if err := a.Ping(t.Context()); !isUnavailable(err) {
		t.Fatalf("ping of a dead store: %v", err)
	}
	s.start()
	back := time.Now()
	put(t, b, "k0", "after")
	all[0].wants(recovery-time.Since(back), "after")
	for i, w := range all[1:] {
		if value, _, _ := w.now(); value != "before" {
			t.Fatalf("watch %d was told %q", i+1, value)
		}
	}
	ready(t, a)
}

func TestWatchersSurviveEmptyRestart(t *testing.T) {
	s := startRedis(t)
	a, b := s.open(), s.open()
	all := watchers(t, a, 200)
	key, err := a.Derive(t.Context(), "p")
	must(t, err)
	_, rev, _ := all[0].now()
	s.kill()
	s.start()
	back := time.Now()
	for _, w := range all {
		w.wants(recovery-time.Since(back), "-")
	}
	if again := put(t, b, "k0", "anew"); again <= rev {
		t.Fatalf("revision %d after %d", again, rev)
	}
	all[0].wants(recovery, "anew")
	// The root key is put back by those who run, and is what those who start find.
	waitFor(t, recovery, "the root key to be put back", func() bool {
		return s.client.Exists(t.Context(), "scanlogin:root").Val() == 1
	})
	ready(t, a)
	if same, err := s.open().Derive(patient(t), "p"); err != nil || string(same) != string(key) {
		t.Fatalf("another root key after an empty restart: %v", err)
	}
}

func TestPingSeesDeadLink(t *testing.T) {
	a := startRedis(t).open()
	ready(t, a)
	waitFor(t, recovery, "ping to see a silent link", func() bool {
		a.link.heard.Store(time.Now().Add(-deadLink).UnixNano())
		return isUnavailable(a.Ping(t.Context()))
	})
	ready(t, a)
}

// TestStoreMayComeLater starts an instance before its store.
func TestStoreMayComeLater(t *testing.T) {
	s := startRedis(t)
	s.kill()
	a := s.open()
	began := time.Now()
	if err := a.Ping(t.Context()); !isUnavailable(err) || time.Since(began) > callTimeout+recovery/10 {
		t.Fatalf("%v after %s", err, time.Since(began))
	}
	s.start()
	ready(t, a)
	put(t, a, "k", "x")
}

// TestFiftyThousandWatches also shows that their SUBSCRIBEs go together, that a lost link
// costs a bounded number of commands again, and what a watch weighs.
func TestFiftyThousandWatches(t *testing.T) {
	const n = 50_000
	s := startRedis(t)
	a, b := s.open(), s.open()
	put(t, b, "k0", "before")
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	told, missing := make([]string, n), make([]string, n)
	var mu sync.Mutex
	stops := watchAll(t, a, n, func(i int, value []byte) {
		mu.Lock()
		told[i] = string(value)
		mu.Unlock()
	})
	if t.Failed() {
		return
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	weight := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / n
	commands := commandCalls(t, s, "subscribe")
	t.Logf("%d SUBSCRIBE commands, %d bytes of heap a watch", commands, weight)
	if commands > n/20 {
		t.Errorf("%d SUBSCRIBE commands for %d watches", commands, n)
	}
	if weight > 1500 {
		t.Errorf("%d bytes a watch", weight)
	}

	s.do("client", "kill", "type", "pubsub")
	for i := 0; i < n; i += 100 {
		put(t, b, fmt.Sprint("k", i), "after")
		missing[i] = "after"
	}
	waitFor(t, 30*time.Second, "all watches to be told", func() bool {
		mu.Lock()
		defer mu.Unlock()
		for i := 0; i < n; i += 100 {
			if told[i] != missing[i] {
				return false
			}
		}
		return true
	})
	if again := commandCalls(t, s, "subscribe") - commands; again > 3*n/namesPerCommand {
		t.Errorf("%d SUBSCRIBE commands after a lost link", again)
	}
	for _, stop := range stops {
		stop()
	}
	waitFor(t, 30*time.Second, "all subscriptions to end", func() bool {
		return len(s.do("pubsub", "channels", "*").([]any)) == 1
	})
}

// watchAll watches the keys k0 to k(n-1) of s, 256 at a time.
func watchAll(t *testing.T, s store, n int, changed func(i int, value []byte)) []func() {
	stops := make([]func(), n)
	ctx := patient(t)
	var next atomic.Int64
	race(256, func(int) {
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			stop, err := s.Watch(ctx, fmt.Sprint("k", i), func(value []byte, _ uint64) { changed(i, value) })
			if err != nil {
				t.Error(err)
				return
			}
			stops[i] = stop
		}
	})
	return stops
}

// commandCalls is how often the server was sent a command.
func commandCalls(t *testing.T, s *server, command string) int {
	stats := fmt.Sprint(s.do("info", "commandstats"))
	m := regexp.MustCompile("cmdstat_" + command + ":calls=([0-9]+)").FindStringSubmatch(stats)
	if m == nil {
		t.Fatalf("no statistics of %s", command)
	}
	n, err := strconv.Atoi(m[1])
	must(t, err)
	return n
}
