package backend

import (
	"bytes"
	"context"
	"errors"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// proxy stands between a store and its server and does what networks do.
type proxy struct {
	ln     net.Listener
	target string
	all    sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
	era   atomic.Int64 // connections of an earlier era are dead, without anybody being told

	cutReply atomic.Bool  // the next reply to a command is lost, with its connection
	cuts     atomic.Int64 // replies that were lost
}

func startProxy(t *testing.T, s *server) *proxy {
	t.Helper()
	ln, err := net.Listen("unix", filepath.Join(s.dir, "p.sock"))
	must(t, err)
	p := &proxy{ln: ln, target: s.socket(), conns: map[net.Conn]bool{}}
	p.all.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			p.serve(c)
		}
	})
	t.Cleanup(func() {
		ln.Close()
		p.mu.Lock()
		for c := range p.conns {
			c.Close()
		}
		p.mu.Unlock()
		p.all.Wait()
	})
	return p
}

func (p *proxy) url(c *RedisConfig) { c.URL = "unix://" + p.ln.Addr().String() }

func (p *proxy) serve(c net.Conn) {
	up, err := net.Dial("unix", p.target)
	if err != nil {
		c.Close()
		return
	}
	p.mu.Lock()
	p.conns[c], p.conns[up] = true, true
	p.mu.Unlock()
	var subscriber atomic.Bool
	era := p.era.Load()
	p.all.Go(func() {
		p.copy(up, c, era, func(b []byte) bool {
			if bytes.Contains(b, []byte("subscribe")) {
				subscriber.Store(true)
			}
			return true
		})
	})
	p.all.Go(func() {
		p.copy(c, up, era, func([]byte) bool {
			if subscriber.Load() || !p.cutReply.CompareAndSwap(true, false) {
				return true
			}
			p.cuts.Add(1)
			return false
		})
	})
}

// copy copies until an end closes or pass says no.
func (p *proxy) copy(to, from net.Conn, era int64, pass func([]byte) bool) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if p.era.Load() > era {
			continue
		}
		if !pass(buf[:n]) {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// TestLostReply loses the answer to a write that has landed: it is neither made again nor
// reported as a failure.
func TestLostReply(t *testing.T) {
	s := startRedis(t)
	p := startProxy(t, s)
	a, b := s.open(p.url), s.open()
	ready(t, a)
	p.cutReply.Store(true)
	if _, err := a.Create(patient(t), "k", []byte("new"), time.Minute); err != nil {
		t.Fatalf("create: %v", err)
	}
	var calls int
	for range 20 {
		_, err := a.Update(patient(t), "k", func(old []byte) ([]byte, time.Duration, error) {
			calls++
			p.cutReply.Store(true)
			return append(old, '+'), time.Minute, nil
		})
		must(t, err)
	}
	v, _, err := b.Load(patient(t), "k")
	if want := "new++++++++++++++++++++"; string(v) != want || calls != 20 || err != nil {
		t.Fatalf("record %q after %d calls, %v", v, calls, err)
	}
	if p.cuts.Load() != 21 {
		t.Fatalf("%d replies were lost", p.cuts.Load())
	}
}

// TestHalfOpenConnections lets the other end of all connections die without a sound, as
// after a failover or at a firewall.
func TestHalfOpenConnections(t *testing.T) {
	s := startRedis(t)
	p := startProxy(t, s)
	a, b := s.open(p.url), s.open()
	w, stop := watchOn(t, a, "k")
	defer stop()
	p.era.Add(1)
	put(t, b, "k", "after")
	ctx, cancel := context.WithTimeout(t.Context(), callTimeout)
	defer cancel()
	if v, _, err := a.Load(ctx, "k"); string(v) != "after" || err != nil {
		t.Fatalf("load: %q, %v", v, err)
	}
	w.wants(recovery, "after")
}

// TestMuteStore asks a server that accepts connections and never answers.
func TestMuteStore(t *testing.T) {
	s := startRedis(t)
	a, b := s.open(), s.open()
	ready(t, a)
	put(t, a, "k", "before")
	s.signal(syscall.SIGSTOP)
	const deadline, slack = 400 * time.Millisecond, 250 * time.Millisecond
	for _, limit := range []time.Duration{deadline, 0} {
		race(200, func(i int) {
			ctx, most := context.Background(), callTimeout
			if limit > 0 {
				var cancel func()
				ctx, cancel = context.WithTimeout(ctx, limit)
				defer cancel()
				most = limit
			}
			for name, call := range calls(a) {
				if i%6 != int(name[0])%6 && i > 20 {
					continue
				}
				began := time.Now()
				err := call(ctx)
				if took := time.Since(began); took > most+slack {
					t.Errorf("%s took %s", name, took)
				}
				if !isUnavailable(err) || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%s: %v", name, err)
				}
				break
			}
		})
	}
	s.signal(syscall.SIGCONT)
	put(t, a, "k", "after")
	if v, _, err := b.Load(patient(t), "k"); string(v) != "after" || err != nil {
		t.Fatalf("%q, %v", v, err)
	}
}

// TestRestartedServerForgotScripts also covers a server that others flush them from.
func TestRestartedServerForgotScripts(t *testing.T) {
	s := startRedis(t)
	a := s.open()
	put(t, a, "k", "x")
	s.do("script", "flush")
	put(t, a, "k", "y")
}

func TestReadOnlyReplicaIsNotReady(t *testing.T) {
	s := startRedis(t)
	a := s.open()
	ready(t, a)
	s.do("replicaof", "127.0.0.1", "1")
	if err := a.Ping(t.Context()); !isUnavailable(err) {
		t.Fatalf("ping: %v", err)
	}
	if _, err := a.Create(t.Context(), "k", nil, time.Minute); !isUnavailable(err) {
		t.Fatalf("create: %v", err)
	}
	s.do("replicaof", "no", "one")
	ready(t, a)
	made(t)(a.Create(patient(t), "another", nil, time.Minute)) // what became of the first is not known
}

// TestClockDrift has a table, for nobody can set a test server's clock.
func TestClockDrift(t *testing.T) {
	now := time.Now()
	for server, want := range map[time.Duration]time.Duration{
		-time.Hour: time.Hour, -1: 1, 0: 0, time.Second / 2: 0, time.Second: 0, time.Second + 1: 1, time.Hour: time.Hour - time.Second,
	} {
		if got := drift(now.Add(server), now, now.Add(time.Second)); got != want {
			t.Errorf("server %s ahead: %s, not %s", server, got, want)
		}
	}
	s := startRedis(t)
	answer, err := s.open().do(patient(t), "time")
	must(t, err)
	server, err := serverTime(answer)
	if err != nil || time.Since(server).Abs() > maxDrift {
		t.Errorf("%v is %s, %v", answer, server, err)
	}
	for _, bad := range []any{nil, "x", []any{}, []any{"1"}, []any{"x", "1"}, []any{"1", nil}} {
		if _, err := serverTime(bad); err == nil {
			t.Errorf("%v was taken for a time", bad)
		}
	}
}
