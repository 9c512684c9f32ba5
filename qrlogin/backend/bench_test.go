package backend

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkStore is each operation on both backends, by 64 callers at a time.
func BenchmarkStore(b *testing.B) {
	value := make([]byte, 300)
	update := func(old []byte) ([]byte, time.Duration, error) { return value, time.Minute, nil }
	var n atomic.Int64
	fresh := func() string { return strconv.FormatInt(n.Add(1), 36) }
	ops := []struct {
		name string
		op   func(ctx context.Context, s store, key string) error
	}{
		{"create", func(ctx context.Context, s store, _ string) error {
			_, err := s.Create(ctx, fresh(), value, time.Minute)
			return err
		}},
		{"load", func(ctx context.Context, s store, key string) error { _, _, err := s.Load(ctx, key); return err }},
		{"update", func(ctx context.Context, s store, key string) error { _, err := s.Update(ctx, key, update); return err }},
		{"update-one-key", func(ctx context.Context, s store, _ string) error { _, err := s.Update(ctx, "one", update); return err }},
		{"watch", func(ctx context.Context, s store, _ string) error {
			stop, err := s.Watch(ctx, fresh(), func([]byte, uint64) {})
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
	bench := func(b *testing.B, s store) {
		for _, o := range ops {
			b.Run(o.name, func(b *testing.B) {
				b.ReportAllocs()
				b.SetParallelism(32)
				b.RunParallel(func(pb *testing.PB) {
					ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
					defer cancel()
					key := fresh()
					if _, err := s.Create(ctx, key, value, time.Hour); err != nil {
						b.Error(err)
					}
					for pb.Next() {
						if err := o.op(ctx, s, key); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
	}
	b.Run("memory", func(b *testing.B) {
		m := NewMemory()
		defer m.Close()
		bench(b, m)
	})
	b.Run("redis", func(b *testing.B) { bench(b, startRedis(b).open()) })
}

// BenchmarkPush is one change on its way to a watch on another client.
func BenchmarkPush(b *testing.B) {
	push := func(b *testing.B, from, to store) {
		told := make(chan struct{}, 1)
		stop, err := to.Watch(context.Background(), "k", func(value []byte, _ uint64) {
			if value != nil {
				told <- struct{}{}
			}
		})
		must(b, err)
		defer stop()
		for b.Loop() {
			put(b, from, "k", "x")
			<-told
		}
	}
	b.Run("memory", func(b *testing.B) {
		m := NewMemory()
		defer m.Close()
		push(b, m, m)
	})
	b.Run("redis", func(b *testing.B) {
		s := startRedis(b)
		push(b, s.open(), s.open())
	})
}
