package web

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/http"
	"path"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"scanlogin/auth"
)

type contextKey int

const (
	requestIDKey contextKey = iota
	placeKey
)

func requestID(r *http.Request) string {
	id, _ := r.Context().Value(requestIDKey).(string)
	return id
}

// observe gives every request an id of our own, a log line and a metric, and
// keeps a panic from taking the process down.
func (s *Server) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start, id := time.Now(), rand.Text()[:16]
		r = r.WithContext(context.WithValue(r.Context(), requestIDKey, id))
		ww := middleware.NewWrapResponseWriter(w, r.ProtoMajor)
		ww.Header().Set("X-Request-Id", id)
		defer func() {
			if v := recover(); v != nil && v != http.ErrAbortHandler {
				s.log.Error("panic in a request", "request_id", id, "panic", v, "stack", string(debug.Stack()))
				if ww.Status() == 0 {
					s.fail(ww, r, errInternal)
				} else {
					defer panic(http.ErrAbortHandler) // a cut answer must not look whole
				}
			}
			s.logRequest(r, ww.Status(), id, time.Since(start))
		}()
		next.ServeHTTP(ww, r)
	})
}

func (s *Server) logRequest(r *http.Request, status int, id string, took time.Duration) {
	route := chi.RouteContext(r.Context()).RoutePattern()
	if route == "" || route == "/*" {
		route = "none"
	}
	if status == 0 {
		status = http.StatusSwitchingProtocols // hijacked
	}
	s.config.Metrics.request(route, r.Method, status, took)
	level := slog.LevelInfo
	switch {
	case route == "/livez", route == "/readyz", path.Ext(route) != "":
		level = slog.LevelDebug // every probe of every balancer, every file of every page
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable:
		level = slog.LevelDebug // or a flood would fill the disk: the metrics count it
	}
	s.log.LogAttrs(r.Context(), level, "request",
		slog.String("request_id", id), slog.String("method", r.Method), slog.String("route", route),
		slog.Int("status", status), slog.String("took", took.Round(time.Microsecond).String()))
}

// headers are what every answer carries.
func (s *Server) headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		if s.secure() {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		next.ServeHTTP(w, r)
	})
}

// guard holds the rules that no request escapes.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := s.refuseBanned(r); err != nil {
			s.tell(w, r, err)
			return
		}
		if tokenInURL(r) {
			s.fail(w, r, errTokenInURL)
			return
		}
		if !slices.Contains([]string{"GET", "HEAD", "OPTIONS"}, r.Method) && s.crossOrigin(r) {
			s.fail(w, r, s.originRefused(r))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// refuseBanned keeps banned networks out. The hub sees to the connections that
// are open, or come in while the ban does (hub.Evict). Operators' probes say the
// same to everybody, or a careless ban would take the instance down; the style
// sheet is for the page that says so.
func (s *Server) refuseBanned(r *http.Request) error {
	if probe(r) {
		return nil
	}
	from := s.clientAddr(r)
	if !from.IsValid() {
		return nil
	}
	look, cancel := bounded(r)
	defer cancel()
	banned, err := s.auth.NetworkBanned(look.Context(), from)
	if banned {
		err = errNetworkBanned
	}
	return err
}

// originRefused leaves a line for whoever forgot to allow an origin of theirs.
func (s *Server) originRefused(r *http.Request) error {
	s.log.LogAttrs(r.Context(), slog.LevelWarn, "origin refused: allow it with origins if it is yours",
		slog.String("request_id", requestID(r)), slog.String("origin", clip(r.Header.Get("Origin"))))
	return errCrossOrigin
}

// clip bounds what a stranger can write into a log line.
func clip(text string) string { return text[:min(len(text), 200)] }

// tokenInURL: URLs end up in logs, histories and Referer headers.
func tokenInURL(r *http.Request) bool {
	if r.URL.RawQuery == "" {
		return false
	}
	query := r.URL.Query()
	for _, name := range []string{"access_token", "token", "refresh_token", "device_code", "confirm_token"} {
		if query.Has(name) {
			return true
		}
	}
	return false
}

// crossOrigin: a state-changing request that a page of a foreign origin sent.
func (s *Server) crossOrigin(r *http.Request) bool {
	origin, site := r.Header.Get("Origin"), r.Header.Get("Sec-Fetch-Site")
	switch site {
	case "same-origin", "none":
		return false
	case "":
		return origin != "" && !s.allowed(origin)
	}
	return origin == s.config.PublicURL || !s.allowed(origin)
}

// allowed says whether an Origin is exactly one whose pages may call this
// server.
func (s *Server) allowed(origin string) bool { return s.general(origin) || s.origins[origin] }

// general says whether an Origin is exactly one that every client has: the
// public URL's, or a configured one.
func (s *Server) general(origin string) bool {
	return origin == s.config.PublicURL || slices.Contains(s.config.Origins, origin)
}

// mayName refuses a client to the pages of an origin that only others have.
func (s *Server) mayName(r *http.Request, client auth.Client) error {
	origin := r.Header.Get("Origin")
	if s.origins[origin] && !s.general(origin) && !slices.Contains(client.Origins, origin) {
		return s.originRefused(r)
	}
	return nil
}

// cors lets pages of allowed origins call the API, never with cookies, and
// read its refusals too.
func (s *Server) cors(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/v1/") && !strings.HasPrefix(r.URL.Path, "/oauth/") {
			next.ServeHTTP(w, r)
			return
		}
		h := w.Header()
		h.Add("Vary", "Origin")
		if origin := r.Header.Get("Origin"); s.allowed(origin) {
			h.Set("Access-Control-Allow-Origin", origin)
			h.Set("Access-Control-Expose-Headers", "Retry-After, X-Request-Id")
			if r.Method == http.MethodOptions {
				h.Set("Access-Control-Allow-Methods", "GET, POST, DELETE")
				h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
				h.Set("Access-Control-Max-Age", "7200")
				w.WriteHeader(http.StatusNoContent)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// storeDeadline leaves room for the answer within a second.
const storeDeadline = 800 * time.Millisecond

// bounded is the request with what it may wait for the store.
func bounded(r *http.Request) (*http.Request, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(r.Context(), storeDeadline)
	return r.WithContext(ctx), cancel
}

// deadline is for routes that answer at once.
func deadline(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r, cancel := bounded(r)
		defer cancel()
		next.ServeHTTP(w, r)
	})
}

// endless lifts the server's deadlines from a request that waits, once it is
// known to be entitled to. Until then, and for everything else, they hold, or
// a stranger could keep connections open for ever.
func endless(w http.ResponseWriter, r *http.Request) error {
	if _, err := readBody(w, r); err != nil { // or it would be waited for after the answer
		return err
	}
	if here, ok := r.Context().Value(placeKey).(*place); ok {
		here.leave()
	}
	c := http.NewResponseController(w)
	c.SetReadDeadline(time.Time{}) // fails only on a connection that is gone
	c.SetWriteDeadline(time.Time{})
	return nil
}

// answerWithin is the deadline of an answer that had to wait.
const answerWithin = 5 * time.Second
