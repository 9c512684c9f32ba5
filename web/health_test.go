package web

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"scanlogin/qrlogin/backend"
)

// pinged is a store that counts its pings, and may take long over them or fail.
type pinged struct {
	*backend.Memory
	pings atomic.Int64
	takes atomic.Int64 // nanoseconds
	dead  atomic.Bool
}

func (p *pinged) Ping(ctx context.Context) error {
	p.pings.Add(1)
	select {
	case <-time.After(time.Duration(p.takes.Load())):
	case <-ctx.Done():
		return ctx.Err()
	}
	if p.dead.Load() {
		return away{errors.New("secret detail")}
	}
	return nil
}

// ready asks n times at once, and says how often which answer came.
func (s *site) ready(n int) map[int]int {
	s.t.Helper()
	var all sync.WaitGroup
	var mu sync.Mutex
	told := map[int]int{}
	for range n {
		all.Go(func() {
			a := s.send("GET", "/readyz", nil)
			mu.Lock()
			defer mu.Unlock()
			told[a.status]++
		})
	}
	all.Wait()
	return told
}

// A flood of /readyz, which no limit stops, is ten looks at the store a second; what
// it says is never older than a tenth of a second, and is said within one.
func TestFloodOfProbesDoesNotReachTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &pinged{Memory: backend.NewMemory()}
		s := newSite(t, setup{direct: true, limits: true, store: store})
		is := func(what string, status int, pings int64, n int) {
			t.Helper()
			before := store.pings.Load()
			if told := s.ready(n); told[status] != n || store.pings.Load()-before != pings {
				t.Errorf("%s: %v, %d pings", what, told, store.pings.Load()-before)
			}
		}
		store.takes.Store(int64(30 * time.Millisecond))
		is("a crowd", 200, 1, 500)
		is("another", 200, 0, 500)
		store.dead.Store(true)
		time.Sleep(69 * time.Millisecond)
		is("99 ms old", 200, 0, 5)
		time.Sleep(time.Millisecond)
		is("the store is dead", 503, 1, 500)
		store.dead.Store(false)
		is("still", 503, 0, 5)
		time.Sleep(100 * time.Millisecond)
		is("it is back", 200, 1, 5)
		time.Sleep(100 * time.Millisecond)

		store.takes.Store(int64(time.Hour))
		begun := time.Now()
		is("it is mute", 503, 1, 500)
		if took := time.Since(begun); took > time.Second {
			t.Errorf("it took %s to say so", took)
		}
		store.takes.Store(0)
		is("it speaks again", 200, 1, 5)
		s.web.Leave()
		is("leaving", 503, 0, 5)
	})
}

// Who asked first and leaves does not take the answer along.
func TestProbeThatLeavesSpoilsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &pinged{Memory: backend.NewMemory()}
		store.takes.Store(int64(50 * time.Millisecond))
		s := newSite(t, setup{direct: true, limits: true, store: store})
		ctx, leave := context.WithCancel(t.Context())
		left := make(chan struct{})
		go func() {
			defer close(left)
			if response, err := s.client.Do(s.request("GET", "/readyz", nil).WithContext(ctx)); err == nil {
				response.Body.Close()
			}
		}()
		time.Sleep(10 * time.Millisecond)
		leave()
		if told := s.ready(5); told[200] != 5 || store.pings.Load() != 1 {
			t.Errorf("%v after %d pings", told, store.pings.Load())
		}
		<-left
	})
}
