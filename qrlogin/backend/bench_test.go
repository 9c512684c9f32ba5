package backend

import (
	"context"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
)

// crowd is how many callers use a store at the same time where it is not one.
const crowd = 64

// aTicket is about as big as the record of one.
var aTicket = make([]byte, 400)

// operation is one call of a store; key is a record of the caller's own.
type operation struct {
	name string
	do   func(ctx context.Context, s store, key string) error
}

// operations are all that a login is made of.
var operations = []operation{
	{"create", func(ctx context.Context, s store, _ string) error {
		_, err := s.Create(ctx, freshKey(), aTicket, time.Minute)
		return err
	}},
	{"load", func(ctx context.Context, s store, key string) error { _, _, err := s.Load(ctx, key); return err }},
	{"update", func(ctx context.Context, s store, key string) error {
		_, err := s.Update(ctx, key, rewrite)
		return err
	}},
	{"update-one-key", func(ctx context.Context, s store, _ string) error {
		_, err := s.Update(ctx, "one", rewrite)
		return err
	}},
	{"watch", func(ctx context.Context, s store, _ string) error {
		stop, err := s.Watch(ctx, freshKey(), func([]byte, uint64) {})
		if err == nil {
			stop()
		}
		return err
	}},
	{"take", func(ctx context.Context, s store, key string) error {
		_, err := s.Take(ctx, key, time.Microsecond, 1000)
		return err
	}},
}

func rewrite([]byte) ([]byte, time.Duration, error) { return aTicket, time.Minute, nil }

var keysMade atomic.Int64

func freshKey() string { return strconv.FormatInt(keysMade.Add(1), 36) }

// BenchmarkStore is each operation on both backends, by one caller and by a crowd.
func BenchmarkStore(b *testing.B) {
	both := func(b *testing.B, s store) {
		ready(b, s)
		for _, o := range operations {
			b.Run("op="+o.name+"/callers=1", func(b *testing.B) { o.alone(b, s) })
			b.Run("op="+o.name+"/callers="+strconv.Itoa(crowd), func(b *testing.B) { o.together(b, s) })
		}
	}
	b.Run("store=memory", func(b *testing.B) {
		m := NewMemory()
		defer m.Close()
		both(b, m)
	})
	b.Run("store=redis", func(b *testing.B) { both(b, startRedis(b).open()) })
}

func (o operation) alone(b *testing.B, s store) {
	ctx, key := caller(b, s)
	b.ReportAllocs()
	for b.Loop() {
		if err := o.do(ctx, s, key); err != nil {
			b.Fatal(err)
		}
	}
}

func (o operation) together(b *testing.B, s store) {
	b.ReportAllocs()
	b.SetParallelism(max(crowd/runtime.GOMAXPROCS(0), 1))
	b.RunParallel(func(pb *testing.PB) {
		ctx, key := caller(b, s)
		for pb.Next() {
			if err := o.do(ctx, s, key); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// caller has a deadline, as every request has, and a record.
func caller(b *testing.B, s store) (context.Context, string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	b.Cleanup(cancel)
	key := freshKey()
	if _, err := s.Create(ctx, key, aTicket, time.Hour); err != nil {
		b.Error(err)
	}
	return ctx, key
}

// BenchmarkPush is one change on its way to a watch, by Redis on another client.
func BenchmarkPush(b *testing.B) {
	push := func(b *testing.B, from, to store) {
		told := make(chan struct{}, 1)
		stop, err := to.Watch(patient(b), "k", func(value []byte, _ uint64) {
			if value != nil {
				told <- struct{}{}
			}
		})
		must(b, err)
		defer stop()
		ctx, _ := caller(b, from)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := from.Update(ctx, "k", rewrite); err != nil {
				b.Fatal(err)
			}
			<-told
		}
	}
	b.Run("store=memory", func(b *testing.B) {
		m := NewMemory()
		defer m.Close()
		push(b, m, m)
	})
	b.Run("store=redis", func(b *testing.B) {
		s := startRedis(b)
		push(b, s.open(), s.open())
	})
}

// BenchmarkPushToBrowser is a change of a ticket, made by another client of the store, on
// its way to the last byte of the browser's frame: Update, message, hub, wire form, socket.
func BenchmarkPushToBrowser(b *testing.B) {
	p := newPushing(b, 0)
	from := p.server.open()
	value, _, err := from.Load(patient(b), p.key)
	must(b, err)
	ctx, _ := caller(b, from)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := from.Update(ctx, p.key, func([]byte) ([]byte, time.Duration, error) { return value, time.Minute, nil }); err != nil {
			b.Fatal(err)
		}
		p.skip()
	}
}
