package bench

import (
	"sync"
	"time"
)

// reporter tells Load.Progress ten times a second where the run stands.
type reporter struct {
	tell  func(Progress)
	ticks *time.Ticker
	stop  chan struct{}
	ended sync.WaitGroup

	mu    sync.Mutex
	now   Progress
	since time.Time
	watch *recorder // of the phase, if it drives logins
}

func newReporter(tell func(Progress)) *reporter {
	r := &reporter{tell: tell, stop: make(chan struct{}), ticks: time.NewTicker(100 * time.Millisecond)}
	r.ended.Go(r.run)
	return r
}

func (r *reporter) run() {
	defer r.ticks.Stop()
	for {
		select {
		case now := <-r.ticks.C:
			r.look(now)
		case <-r.stop:
			if r.tell != nil {
				r.tell(Progress{})
			}
			return
		}
	}
}

func (r *reporter) look(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.watch != nil {
		r.now.Done, r.now.Faults = r.watch.tick(now)
	}
	r.now.Elapsed = now.Sub(r.since)
	if r.tell != nil && r.now.Phase != "" {
		r.tell(r.now)
	}
}

// phase begins the next part of the run.
func (r *reporter) phase(name string, of int, length time.Duration) *reporter {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now, r.since, r.watch = Progress{Phase: name, Of: of, Length: length}, time.Now(), nil
	return r
}

// follow takes the numbers of the phase from a recorder.
func (r *reporter) follow(record *recorder) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watch = record
}

// done is how far the phase is.
func (r *reporter) done(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now.Done = n
}

// end tells that there is nothing to be shown any more.
func (r *reporter) end() {
	close(r.stop)
	r.ended.Wait()
}
