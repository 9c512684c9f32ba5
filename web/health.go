package web

import (
	"context"
	"log/slog"
	"net/http"
	"runtime"
	"time"

	"github.com/go-chi/chi/v5"
)

// probes are for balancers and orchestrators.
func (s *Server) probes(r chi.Router) {
	get(r, "/livez", func(w http.ResponseWriter, r *http.Request) {
		s.ok(w, http.StatusOK, statusWire{"ok"})
	})
	get(r, "/readyz", s.handleReady)
	get(r, "/version", func(w http.ResponseWriter, r *http.Request) {
		s.ok(w, http.StatusOK, struct {
			Version string `json:"version"`
			Go      string `json:"go"`
		}{s.config.Version, runtime.Version()})
	})
}

func (s *Server) handleReady(w http.ResponseWriter, r *http.Request) {
	if s.leaving.Load() {
		s.fail(w, r, errOverloaded)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), storeDeadline)
	defer cancel()
	start := time.Now()
	if err := s.config.Ping(ctx); err != nil {
		s.log.LogAttrs(ctx, slog.LevelWarn, "not ready", slog.Any("error", err), slog.Duration("took", time.Since(start)))
		s.fail(w, r, errStoreUnavailable)
		return
	}
	s.ok(w, http.StatusOK, statusWire{"ok"})
}
