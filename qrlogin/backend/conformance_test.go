package backend

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// store is what both backends are to their consumers.
type store interface {
	Create(ctx context.Context, key string, value []byte, ttl time.Duration) (uint64, error)
	Load(ctx context.Context, key string) ([]byte, uint64, error)
	Update(ctx context.Context, key string, change func([]byte) ([]byte, time.Duration, error)) (uint64, error)
	Watch(ctx context.Context, key string, changed func([]byte, uint64)) (func(), error)
	Take(ctx context.Context, key string, every time.Duration, burst int) (time.Duration, error)
	Ping(ctx context.Context) error
	Derive(ctx context.Context, purpose string) ([]byte, error)
	Close() error
}

var _, _ store = (*Memory)(nil), (*Redis)(nil)

// TestConformance is what consumers rely on, on both backends; a and b are two clients of
// one store.
func TestConformance(t *testing.T) {
	tests := []struct {
		name string
		test func(t *testing.T, a, b store)
	}{
		{"create, load, exists", testCreate},
		{"update", testUpdate},
		{"values are the caller's own", testOwnValues},
		{"lifetime", testLifetime},
		{"revisions grow", testRevisions},
		{"one winner among 64 conditional updates", testOneWinner},
		{"64 of 64 updates", testAllOf64},
		{"first state", testFirstState},
		{"every change is seen", testEveryChange},
		{"unwatch and rewatch", testRewatch},
		{"many watches of one key", testManyWatches},
		{"callbacks may call back", testCallback},
		{"no call after stop", testStop},
		{"permits", testTake},
		{"derived keys", testDerive},
		{"caller's deadline", testDeadline},
		{"closed", testClosed},
	}
	for _, tt := range tests {
		t.Run("memory/"+tt.name, func(t *testing.T) {
			m := NewMemory()
			t.Cleanup(func() { m.Close() })
			tt.test(t, m, m)
		})
	}
	s := startRedis(t)
	for i, tt := range tests {
		t.Run("redis/"+tt.name, func(t *testing.T) {
			s := *s
			s.tb = t
			prefix := func(c *RedisConfig) { c.Prefix = fmt.Sprintf("t%d:", i) }
			tt.test(t, s.open(prefix), s.open(prefix))
		})
	}
}

func testCreate(t *testing.T, a, b store) {
	ctx := patient(t)
	if v, rev, err := a.Load(ctx, "k"); v != nil || rev != 0 || err != nil {
		t.Fatalf("no record: %q, %d, %v", v, rev, err)
	}
	created, err := a.Create(ctx, "k", []byte("one"), time.Minute)
	must(t, err)
	if _, rev, err := b.Load(ctx, "k"); rev != created || err != nil {
		t.Errorf("created at %d, loaded at %d: %v", created, rev, err)
	}
	if _, err := b.Create(ctx, "k", []byte("two"), time.Minute); !errors.Is(err, fs.ErrExist) || !errors.Is(err, ErrExists) {
		t.Fatalf("second create: %v", err)
	}
	made(t)(a.Create(ctx, "empty", nil, time.Minute))
	for key, want := range map[string]string{"k": "one", "empty": ""} {
		if v, rev, err := b.Load(ctx, key); v == nil || string(v) != want || rev == 0 || err != nil {
			t.Fatalf("%s: %q, %d, %v", key, v, rev, err)
		}
	}
}

func testUpdate(t *testing.T, a, b store) {
	ctx := patient(t)
	rev1, err := a.Update(ctx, "k", func(old []byte) ([]byte, time.Duration, error) {
		if old != nil {
			t.Errorf("no record: %q", old)
		}
		return []byte("one"), time.Minute, nil
	})
	must(t, err)
	rev2, err := b.Update(ctx, "k", func(old []byte) ([]byte, time.Duration, error) {
		return append(old, " two"...), time.Minute, nil
	})
	must(t, err)
	same, err := a.Update(ctx, "k", func([]byte) ([]byte, time.Duration, error) { return nil, 0, nil })
	must(t, err)
	refused := errors.New("refused")
	_, err = a.Update(ctx, "k", func([]byte) ([]byte, time.Duration, error) { return []byte("no"), time.Minute, refused })
	if !errors.Is(err, refused) {
		t.Fatalf("change's error: %v", err)
	}
	v, rev, err := a.Load(ctx, "k")
	if string(v) != "one two" || rev != rev2 || same != rev2 || rev2 <= rev1 || err != nil {
		t.Fatalf("%q, %d after %d %d %d, %v", v, rev, rev1, rev2, same, err)
	}
}

func testOwnValues(t *testing.T, a, b store) {
	ctx := patient(t)
	mine := []byte("mine")
	made(t)(a.Create(ctx, "k", mine, time.Minute))
	copy(mine, "bad!")
	v, _, err := b.Load(ctx, "k")
	must(t, err)
	copy(v, "bad!")
	_, err = b.Update(ctx, "k", func(old []byte) ([]byte, time.Duration, error) {
		copy(old, "bad!")
		return nil, 0, nil
	})
	must(t, err)
	if v, _, _ := a.Load(ctx, "k"); string(v) != "mine" {
		t.Fatalf("stored value is now %q", v)
	}
}

func testLifetime(t *testing.T, a, b store) {
	ctx := patient(t)
	const ttl = 150 * time.Millisecond
	gone := func(since time.Time) time.Duration {
		waitFor(t, 5*time.Second, "the end of the record", func() bool {
			_, rev, err := b.Load(ctx, "k")
			must(t, err)
			return rev == 0
		})
		return time.Since(since)
	}
	before := time.Now()
	made(t)(a.Create(ctx, "k", []byte("one"), ttl))
	if lived := gone(before); lived < ttl-time.Millisecond {
		t.Fatalf("lived %s, not %s", lived, ttl)
	}
	made(t)(a.Create(ctx, "k", []byte("two"), time.Hour))
	before = time.Now()
	_, err := a.Update(ctx, "k", func(old []byte) ([]byte, time.Duration, error) { return old, ttl, nil })
	must(t, err)
	if lived := gone(before); lived < ttl-time.Millisecond {
		t.Fatalf("lived %s after update, not %s", lived, ttl)
	}
	made(t)(a.Create(ctx, "k", []byte("over"), -time.Second))
	gone(time.Now())
}

func testRevisions(t *testing.T, a, b store) {
	ctx := patient(t)
	var last uint64
	for i := range 50 {
		rev, err := []store{a, b}[i%2].Update(ctx, "k", func([]byte) ([]byte, time.Duration, error) {
			return []byte{byte(i)}, time.Minute, nil
		})
		must(t, err)
		if rev <= last || rev >= maxRevision {
			t.Fatalf("revision %d after %d", rev, last)
		}
		last = rev
	}
	if drift := time.Since(time.UnixMicro(int64(last))).Abs(); drift > time.Minute {
		t.Fatalf("revision is %s from the wall clock", drift)
	}
}

func testOneWinner(t *testing.T, a, b store) {
	ctx := patient(t)
	made(t)(a.Create(ctx, "k", []byte("free"), time.Minute))
	taken := errors.New("taken")
	var winner atomic.Int64
	var won atomic.Int32
	race(64, func(i int) {
		_, err := []store{a, b}[i%2].Update(ctx, "k", func(old []byte) ([]byte, time.Duration, error) {
			if string(old) != "free" {
				return nil, 0, taken
			}
			return strconv.AppendInt(nil, int64(i), 10), time.Minute, nil
		})
		switch {
		case err == nil:
			won.Add(1)
			winner.Store(int64(i))
		case !errors.Is(err, taken):
			t.Error(err)
		}
	})
	v, _, err := a.Load(ctx, "k")
	if won.Load() != 1 || string(v) != strconv.FormatInt(winner.Load(), 10) || err != nil {
		t.Fatalf("%d winners, record %q, %v", won.Load(), v, err)
	}
}

func testAllOf64(t *testing.T, a, b store) {
	ctx := patient(t)
	race(64, func(i int) {
		_, err := []store{a, b}[i%2].Update(ctx, "k", func(old []byte) ([]byte, time.Duration, error) {
			return append(old, byte(i)), time.Minute, nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	v, _, err := b.Load(ctx, "k")
	must(t, err)
	for i := range 64 {
		if bytes.Count(v, []byte{byte(i)}) != 1 {
			t.Errorf("update %d is there %d times", i, bytes.Count(v, []byte{byte(i)}))
		}
	}
}

func testTake(t *testing.T, a, b store) {
	ctx := patient(t)
	const every, burst = 10 * time.Second, 10
	var went atomic.Int32
	race(64, func(i int) {
		wait, err := []store{a, b}[i%2].Take(ctx, "k", every, burst)
		if err != nil {
			t.Error(err)
		}
		if wait == 0 {
			went.Add(1)
		} else if wait < 0 || wait > every {
			t.Errorf("wait %s", wait)
		}
	})
	if went.Load() != burst {
		t.Fatalf("%d permits, not %d", went.Load(), burst)
	}
	if wait, err := a.Take(ctx, "other", every, burst); wait != 0 || err != nil {
		t.Fatalf("another key: %s, %v", wait, err)
	}
	made(t)(a.Create(ctx, "k", nil, time.Minute)) // a record of the same name is another thing
	wait, err := a.Take(ctx, "quick", 50*time.Millisecond, 1)
	must(t, err)
	waitFor(t, 5*time.Second, "the permit to grow again", func() bool {
		wait, err = b.Take(ctx, "quick", 50*time.Millisecond, 1)
		return err == nil && wait == 0
	})
	for _, bad := range []struct {
		every time.Duration
		burst int
	}{{0, 1}, {-1, 1}, {1, 0}} {
		if _, err := a.Take(ctx, "bad", bad.every, bad.burst); err == nil {
			t.Errorf("%v was accepted", bad)
		}
	}
}

func testDerive(t *testing.T, a, b store) {
	ctx := patient(t)
	one, err := a.Derive(ctx, "one")
	must(t, err)
	again, err := b.Derive(ctx, "one")
	must(t, err)
	two, err := a.Derive(ctx, "two")
	must(t, err)
	if len(one) != 32 || !bytes.Equal(one, again) || bytes.Equal(one, two) {
		t.Fatalf("%x %x %x", one, again, two)
	}
}

func testDeadline(t *testing.T, a, _ store) {
	made(t)(a.Create(patient(t), "k", nil, time.Minute))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for name, call := range calls(a) {
		if err := call(ctx); !isUnavailable(err) || !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func testClosed(t *testing.T, a, _ store) {
	stop, err := a.Watch(patient(t), "k", func([]byte, uint64) {})
	must(t, err)
	must(t, a.Close())
	for name, call := range calls(a) {
		if err := call(context.Background()); !isUnavailable(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	stop()
}

// calls is one call of each method.
func calls(s store) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"create": func(ctx context.Context) error { _, err := s.Create(ctx, "k", nil, time.Second); return err },
		"load":   func(ctx context.Context) error { _, _, err := s.Load(ctx, "k"); return err },
		"update": func(ctx context.Context) error {
			_, err := s.Update(ctx, "k", func([]byte) ([]byte, time.Duration, error) { return []byte{1}, time.Second, nil })
			return err
		},
		"watch": func(ctx context.Context) error { _, err := s.Watch(ctx, "k", func([]byte, uint64) {}); return err },
		"take":  func(ctx context.Context) error { _, err := s.Take(ctx, "k", time.Second, 1); return err },
		"ping":  s.Ping,
	}
}

func isUnavailable(err error) bool {
	var u interface{ Unavailable() bool }
	return errors.As(err, &u) && u.Unavailable()
}

// race runs n calls at the same time and waits for all.
func race(n int, call func(i int)) {
	start := make(chan struct{})
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			<-start
			call(i)
		})
	}
	close(start)
	all.Wait()
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// made is must for a Create: what it gave has to be a revision.
func made(tb testing.TB) func(rev uint64, err error) {
	return func(rev uint64, err error) {
		tb.Helper()
		must(tb, err)
		if rev == 0 {
			tb.Fatal("created without a revision")
		}
	}
}
