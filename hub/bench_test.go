package hub

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"
)

func TestConnectionStaysSmall(t *testing.T) {
	if size := unsafe.Sizeof(socket{}); size > 352 { // a size class: one byte more costs 32
		t.Errorf("a socket is %d bytes", size)
	}
}

// handmade is a watching client that costs this process next to nothing.
func handmade(b testing.TB, r *rig, key string) net.Conn {
	c, err := r.dial(context.Background(), "", "")
	if err != nil {
		b.Fatal(err)
	}
	fmt.Fprint(c, "GET /ws HTTP/1.1\r\nHost: hub\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	br := bufio.NewReaderSize(c, 256)
	for line := ""; line != "\r\n"; {
		if line, err = br.ReadString('\n'); err != nil {
			b.Fatal(err)
		}
	}
	c.Write(frame(fin|text, "watch "+key))
	for _, want := range []string{"\x81\x05hello", "\x81\x07pending"} {
		got := make([]byte, len(want))
		if _, err := io.ReadFull(br, got); err != nil || string(got) != want {
			b.Fatalf("%q %v", got, err)
		}
	}
	return c
}

// BenchmarkIdle reports what an idle, watching socket keeps after one ping and pong (with
// the store's watch and this process' end of the client, about 0.5 KB): heap and stack.
// A first lot is there already: the runtime learns from it how big a stack to start with.
func BenchmarkIdle(b *testing.B) {
	const n = 2000
	r := onTCP(b, Config{})
	first := idle(b, r, "first", n)
	for b.Loop() {
		before := memory()
		all := idle(b, r, "t", n)
		after := memory()
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "heap-B/conn")
		b.ReportMetric(float64(after.StackInuse-before.StackInuse)/n, "stack-B/conn")
		all()
		until(b, "all gone", func() bool { return r.hub.Stats().WS == n })
	}
	first()
}

// idle opens n sockets and returns what closes them.
func idle(b testing.TB, r *rig, name string, n int) (done func()) {
	all := make([]net.Conn, n)
	for i := range all {
		key := fmt.Sprint(name, i)
		r.put(key, "pending", time.Hour)
		all[i] = handmade(b, r, key)
		heartbeat(b, r, key, all[i])
	}
	return func() {
		for _, c := range all {
			c.Close()
		}
	}
}

// heartbeat has one ping sent and answered.
func heartbeat(b testing.TB, r *rig, key string, c net.Conn) {
	var s *socket
	until(b, "held", func() bool {
		r.hub.mu.Lock()
		defer r.hub.mu.Unlock()
		s = r.hub.holder[key]
		return s != nil
	})
	s.owe(owedBeat)
	if _, err := io.ReadFull(c, make([]byte, 2)); err != nil {
		b.Fatal(err)
	}
	c.Write(frame(fin|pongOp, ""))
	until(b, "pong", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return !s.pinged
	})
}

func memory() (m runtime.MemStats) {
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return m
}

// delivery returns what makes one change of a record go from the store's call to the last
// byte at a client on loopback; the encoder costs nothing.
func delivery(tb testing.TB) (deliver func()) {
	r := onTCP(tb, Config{})
	r.put("a", "pending", time.Hour)
	c := handmade(tb, r, "a")
	tb.Cleanup(func() { c.Close() })
	conn := r.only()
	data := []byte(strings.Repeat("x", 600))
	conn.mu.Lock()
	conn.encode = func(_ []byte, rev uint64, _ time.Time) (Snapshot, error) {
		return Snapshot{Data: data, Seq: rev}, nil
	}
	rev := conn.rev
	conn.mu.Unlock()
	buf, value := make([]byte, 4+len(data)), []byte("x")
	return func() {
		rev++
		conn.changed(value, rev)
		if _, err := io.ReadFull(c, buf); err != nil {
			tb.Fatal(err)
		}
	}
}

func BenchmarkDeliver(b *testing.B) {
	deliver := delivery(b)
	b.ReportAllocs()
	for b.Loop() {
		deliver()
	}
}

// Twice: to start the short goroutine, and inside the library. The benchmark says 1: where
// there are processors, some changes find the goroutine of the one before them still
// there, and it rounds down what they have on average.
func TestDeliveryAllocatesLittle(t *testing.T) {
	const most = 2
	if each := testing.AllocsPerRun(2000, delivery(t)); each > most {
		t.Errorf("%.0f allocations for each change, at most %d", each, most)
	}
}
