package web

import (
	"log/slog"
	"net/http"
	"runtime"

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
	if err := s.config.Ping(r.Context()); err != nil {
		s.log.LogAttrs(r.Context(), slog.LevelWarn, "not ready", slog.Any("error", err))
		return errStoreUnavailable
	}
	return s.ok(w, http.StatusOK, statusWire{Status: "ok"})
}
