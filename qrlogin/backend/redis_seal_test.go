package backend

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// name is what the store calls a record.
func name(t *testing.T, r *Redis, key string) string {
	k, err := r.root.keys(patient(t))
	must(t, err)
	return k.record(key)
}

// logBuffer collects a store's log.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), s)
}

func (l *logBuffer) use(c *RedisConfig) { c.Logger = slog.New(slog.NewTextHandler(l, nil)) }

// TestTamperedRecord changes every byte of a stored record in turn.
func TestTamperedRecord(t *testing.T) {
	s := startRedis(t)
	a := s.open()
	put(t, a, "k", "value")
	rec := s.do("get", name(t, a, "k")).(string)
	for i := range rec {
		bad := []byte(rec)
		bad[i] ^= 1
		refused(t, s, a, "k", string(bad))
	}
	for _, n := range []int{1, headerSize, bodyStart, len(rec) - 1} {
		refused(t, s, a, "k", rec[:n])
	}
	refused(t, s, a, "k", rec+"x")
	s.do("set", name(t, a, "k"), rec, "px", 60000)
	if v, _, err := a.Load(patient(t), "k"); string(v) != "value" || err != nil {
		t.Fatalf("%q, %v", v, err)
	}
}

// TestRecordCopiedToAnotherKey is how one user's confirmed ticket would become another's.
func TestRecordCopiedToAnotherKey(t *testing.T) {
	s := startRedis(t)
	a := s.open()
	put(t, a, "ticket:mine", "confirmed")
	put(t, a, "ticket:yours", "pending")
	refused(t, s, a, "ticket:yours", s.do("get", name(t, a, "ticket:mine")).(string))
}

// refused puts rec where key's record is and expects that nothing uses it.
func refused(t *testing.T, s *server, r *Redis, key, rec string) {
	t.Helper()
	s.do("set", name(t, r, key), rec, "px", 60000)
	if _, _, err := r.Load(patient(t), key); !errors.Is(err, ErrForged) || isUnavailable(err) {
		t.Errorf("load of %x: %v", rec, err)
	}
	_, err := r.Update(patient(t), key, func(old []byte) ([]byte, time.Duration, error) {
		t.Errorf("a rule was shown %q", old)
		return nil, 0, nil
	})
	if !errors.Is(err, ErrForged) {
		t.Errorf("update of %x: %v", rec, err)
	}
	if _, err := r.Watch(patient(t), key, func([]byte, uint64) { t.Error("told") }); !errors.Is(err, ErrForged) {
		t.Errorf("watch of %x: %v", rec, err)
	}
}

// TestForgedMessage publishes what no instance sealed, and what one sealed for another
// key or long ago.
func TestForgedMessage(t *testing.T) {
	s := startRedis(t)
	var log logBuffer
	a := s.open(log.use)
	put(t, a, "other", "confirmed")
	put(t, a, "k", "old")
	channel := name(t, a, "k")
	old := s.do("get", channel).(string)
	put(t, a, "k", "now")
	w, stop := watchOn(t, a, "k")
	defer stop()
	loads := commandCalls(t, s, "get")
	for _, forged := range []string{"", "confirmed", strings.Repeat("x", 200), s.do("get", name(t, a, "other")).(string), old} {
		s.do("publish", channel, forged)
	}
	waitFor(t, 5*time.Second, "the record to be loaded again", func() bool { return commandCalls(t, s, "get") > loads+1 })
	put(t, a, "k", "next")
	w.wants(5*time.Second, "next")
	if _, _, calls := w.now(); calls != 2 {
		t.Errorf("%d calls", calls)
	}
	if n := log.count("does not open"); n != 1 {
		t.Errorf("%d log lines about forgeries", n)
	}
}

// TestStolenDump looks for what callers stored in what a thief of the server's data has.
func TestStolenDump(t *testing.T) {
	s := startRedis(t, "--rdbcompression", "no")
	a := s.open()
	put(t, a, "user:demo:alice", "a secret value")
	_, err := a.Take(patient(t), "signin:203.0.113.7", time.Minute, 5)
	must(t, err)
	for _, n := range s.do("keys", "*").([]any) {
		ttl := s.do("pttl", n).(int64)
		if ttl <= 0 && n != "scanlogin:root" {
			t.Errorf("%s has no lifetime", n)
		}
	}
	s.do("save")
	dump, err := os.ReadFile(filepath.Join(s.dir, "dump.rdb"))
	must(t, err)
	if !bytes.Contains(dump, []byte("scanlogin:root")) {
		t.Fatal("this is no dump")
	}
	clear := []string{"alice", "user:", "a secret", "203.0.113", "signin", string(secret(1)), string(a.root.key), string(a.root.wrapping)}
	for _, word := range clear {
		if bytes.Contains(dump, []byte(word)) {
			t.Errorf("the dump has %q", word)
		}
	}
}

func secrets(now, before byte) func(*RedisConfig) {
	return func(c *RedisConfig) {
		c.Secret = secret(now)
		if before != 0 {
			c.PreviousSecret = secret(before)
		}
	}
}

// TestChangedSecret goes through a change of the secret with instances of each kind.
func TestChangedSecret(t *testing.T) {
	s := startRedis(t)
	first := s.open(secrets(1, 0))
	put(t, first, "k", "one")
	key, err := first.Derive(patient(t), "p")
	must(t, err)
	w, stop := watchOn(t, first, "k")
	defer stop()
	both := s.open(secrets(2, 1))
	put(t, both, "k", "two")
	w.wants(5*time.Second, "two")
	for i, kind := range [][2]byte{{1, 0}, {2, 1}, {1, 0}, {2, 0}, {3, 2}, {2, 0}, {3, 0}} {
		r := s.open(secrets(kind[0], kind[1]))
		put(t, r, "k", fmt.Sprint(i))
		w.wants(5*time.Second, fmt.Sprint(i))
		if same, err := r.Derive(patient(t), "p"); err != nil || !bytes.Equal(same, key) {
			t.Errorf("%d: %x, %v", i, same, err)
		}
		ready(t, r)
		if kind[0] == 1 { // who was there before the change goes on
			ready(t, first)
		}
	}
	// The wrapping under the first secret went with the second change.
	if _, err := s.open(secrets(1, 0)).Derive(t.Context(), "p"); !errors.Is(err, errSecret) {
		t.Errorf("a secret two changes old: %v", err)
	}
}

// TestStartOnEmptyStore starts instances in the middle of a change of the secret, in any
// order: all have the same root key.
func TestStartOnEmptyStore(t *testing.T) {
	kinds := [][2]byte{{1, 0}, {2, 1}}
	for _, order := range [][]int{{0, 1}, {1, 0}} {
		s := startRedis(t)
		var derived [2][]byte
		for _, i := range order {
			d, err := s.open(secrets(kinds[i][0], kinds[i][1])).Derive(patient(t), "p")
			must(t, err)
			derived[i] = d
		}
		if !bytes.Equal(derived[0], derived[1]) {
			t.Errorf("order %v: different root keys", order)
		}
	}
	// One runs when the store loses everything, and the other starts before that one knows.
	s := startRedis(t)
	running := s.open(secrets(1, 0))
	ready(t, running)
	one, err := running.Derive(patient(t), "p")
	must(t, err)
	s.do("flushall")
	two, err := s.open(secrets(2, 1)).Derive(patient(t), "p")
	if err != nil || !bytes.Equal(one, two) {
		t.Errorf("different root keys after a flush: %v", err)
	}
}

// TestWrongSecret is an instance with another secret: it changes nothing and says why.
func TestWrongSecret(t *testing.T) {
	s := startRedis(t)
	a := s.open()
	put(t, a, "k", "one")
	root := s.do("get", "scanlogin:root")
	var log logBuffer
	wrong := s.open(secrets(9, 8), log.use)
	for range 3 {
		for name, call := range calls(wrong) {
			if err := call(t.Context()); !isUnavailable(err) || !errors.Is(err, errSecret) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if n := log.count("root key of this store"); n != 1 {
		t.Errorf("%d log lines", n)
	}
	if s.do("get", "scanlogin:root") != root {
		t.Error("the root record was changed")
	}
	for _, forged := range []string{"", "x", strings.Repeat("\x01", 200)} {
		s.do("set", "scanlogin:root", forged)
		if err := a.Ping(t.Context()); !errors.Is(err, errSecret) {
			t.Errorf("root record %q: %v", forged, err)
		}
	}
	s.do("set", "scanlogin:root", root)
	ready(t, a)
	put(t, a, "k", "two")
}

// TestStoreStartedAnew replaces the root key under a running instance.
func TestStoreStartedAnew(t *testing.T) {
	s := startRedis(t)
	both := s.open(secrets(2, 1)) // its root key is of the first secret
	put(t, both, "k", "one")
	s.do("flushall")
	put(t, s.open(secrets(2, 0)), "k", "anew")
	if err := both.Ping(t.Context()); !isUnavailable(err) || !errors.Is(err, errOtherRoot) {
		t.Errorf("ping: %v", err)
	}
	if _, _, err := both.Load(t.Context(), "k"); !errors.Is(err, errOtherRoot) {
		t.Errorf("load: %v", err)
	}
}
