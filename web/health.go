package web

import (
	"log/slog"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"
)

// probes are for balancers and orchestrators.
func (s *Server) probes(r chi.Router) {
	get(r, "/livez", s.api(func(w http.ResponseWriter, r *http.Request) error {
		return s.ok(w, http.StatusOK, statusWire{Status: "ok"})
	}))
	get(r.With(deadline), "/readyz", s.api(s.handleReady))
	get(r, "/version", s.api(func(w http.ResponseWriter, r *http.Request) error {
		return s.ok(w, http.StatusOK, struct {
			Version string `json:"version"`
			Go      string `json:"go"`
		}{s.config.Version, runtime.Version()})
	}))
}

func (s *Server) handleReady(w http.ResponseWriter, r *http.Request) error {
	if s.leaving.Load() {
		return errOverloaded
	}
	if err := s.ping(r); err != nil {
		return err
	}
	return s.ok(w, http.StatusOK, statusWire{Status: "ok"})
}

// pulseLife is how long one look at the store does for everybody: /readyz is open to
// strangers, and no limit is in its way.
const pulseLife = 100 * time.Millisecond

// pulse is the newest look at the store.
type pulse struct {
	mu   sync.Mutex
	look *look
}

type look struct {
	begun time.Time
	done  chan struct{} // closed when bad is known
	bad   error
}

// newest is the look to wait for; mine: the caller has to make it.
func (p *pulse) newest() (l *look, mine bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); p.look == nil || now.Sub(p.look.begun) >= pulseLife {
		p.look, mine = &look{begun: now, done: make(chan struct{})}, true
	}
	return p.look, mine
}

// ping says whether the store can be used. It asks for all who want to know at about
// the same time, also when the one whose request it is has left.
func (s *Server) ping(r *http.Request) error {
	l, mine := s.pulse.newest()
	if mine {
		ctx, cancel := outlasting(r)
		defer cancel()
		if err := s.config.Ping(ctx); err != nil {
			s.log.LogAttrs(ctx, slog.LevelWarn, "not ready", slog.Any("error", err))
			l.bad = errStoreUnavailable
		}
		close(l.done)
	}
	select {
	case <-l.done:
		return l.bad
	case <-r.Context().Done():
		return r.Context().Err()
	}
}
