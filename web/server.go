package web

import (
	"cmp"
	"context"
	_ "embed"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"

	"scanlogin/auth"
	"scanlogin/hub"
	"scanlogin/qrlogin"
)

// Config is what web needs besides the rooms it speaks for.
type Config struct {
	PublicURL      string                      // scheme and host; issuer, QR prefix, own origin
	Origins        []string                    // allowed besides the public URL's
	Geo            *Geo                        // where addresses are; nil: nobody knows
	TrustedProxies []netip.Prefix              // whose X-Forwarded-For counts
	Clients        map[string]auth.Client      // who may ask for tokens
	Provider       string                      // that signs people in on the phone pages; empty: none does
	DemoUsers      []string                    // offered on the demo provider's sign-in page
	Redirectors    []string                    // providers that the sign-in page offers to be sent to
	Heartbeat      time.Duration               // as told to sockets
	SessionTTL     time.Duration               // how long a page's cookie may live
	Limits         Limits                      // what anybody may do
	AdminTokens    []string                    // each opens the admin calls
	CallerKeys     map[string]CallerKey        // of back ends that sign their requests, by X-Key-Id
	Version        string                      // of this build
	Ping           func(context.Context) error // the store's health
	Derive         func(ctx context.Context, purpose string) ([]byte, error)
	Store          Store // for what wrong tries cost
	Metrics        *Metrics
	Logger         *slog.Logger
}

// Server is the public face: HTTP in, one call, HTTP out.
type Server struct {
	config  Config
	tickets *qrlogin.Service
	auth    *auth.Service
	hub     *hub.Hub
	log     *slog.Logger
	qr      qrCache
	ticket  *hub.Wire
	session *hub.Wire
	host    string // of the public URL
	pages   *pages
	origins map[string]bool // that only some clients have
	floor   floor
	crowd   crowd
	pulse   pulse

	guessing inFlight  // tries at typed codes
	mute     sync.Once // a proxy named no address
	inside   sync.Once // a client seems to be a proxy that is not declared

	leaving atomic.Bool // not ready for new traffic
	closed  atomic.Bool // takes no new watchers
}

//go:embed openapi.yaml
var openAPI []byte

// New wires the rooms; it touches neither network nor store.
func New(t *qrlogin.Service, a *auth.Service, h *hub.Hub, c Config) *Server {
	c.Limits = c.Limits.WithDefaults()
	s := &Server{
		config: c, tickets: t, auth: a, hub: h, log: c.Logger,
		pages: loadPages(), origins: map[string]bool{},
	}
	s.ticket = s.wire(1<<10, true, func(f clientFrame) string { return f.DeviceCode })
	s.session = s.wire(4<<10, false, func(f clientFrame) string { return f.AccessToken })
	_, s.host, _ = strings.Cut(c.PublicURL, "://")
	for _, client := range c.Clients {
		for _, origin := range client.Origins {
			s.origins[origin] = true
		}
	}
	return s
}

// Leave takes this instance out: /readyz says 503, everything is still served.
func (s *Server) Leave() { s.leaving.Store(true) }

// Close refuses new watchers; requests that finish at once are still served.
func (s *Server) Close() { s.closed.Store(true) }

// Handler is the public port.
func (s *Server) Handler() http.Handler {
	r := chi.NewRouter()
	r.Use(s.observe, s.headers, s.cors, s.door, s.guard)
	r.NotFound(s.notFound)
	r.MethodNotAllowed(s.methodNotAllowed)

	s.probes(r)
	s.files(r)
	r.Group(func(r chi.Router) {
		r.Use(deadline)
		s.pageRoutes(r)
	})
	r.Route("/v1", func(r chi.Router) {
		r.Get("/tickets/{ticket_id}/ws", s.api(s.handleSocket))
		r.Get("/tickets/{ticket_id}/events", s.api(s.handleEvents))
		r.Get("/tickets/{ticket_id}", s.api(s.handleTicket))
		r.Get("/tickets/{ticket_id}/decision", s.api(s.handleDecision))
		r.Get("/sessions/current/ws", s.api(s.handleSessionSocket))
		r.Group(s.signinRoutes)
		r.Group(func(r chi.Router) {
			r.Use(deadline)
			r.Post("/tickets", s.api(s.handleCreate))
			r.Delete("/tickets/{ticket_id}", s.api(s.handleCancel))
			r.Get("/tickets/{ticket_id}/qr.png", s.api(s.handleQR(qrPNG, "image/png")))
			r.Get("/tickets/{ticket_id}/qr.svg", s.api(s.handleQR(qrSVG, "image/svg+xml")))
			r.Post("/tickets/{ticket_id}/check", s.api(s.handleCheck))
			r.Post("/tickets/{ticket_id}/confirm", s.api(s.handleConfirm))
			r.Post("/tickets/{ticket_id}/deny", s.api(s.handleDeny))
			r.Post("/scan", s.api(s.handleScan))
			r.Get("/sessions", s.api(s.handleSessions))
			r.Delete("/sessions", s.api(s.handleEndOtherSessions))
			r.Delete("/sessions/{session_id}", s.api(s.handleEndSession))
			s.serverRoutes(r)
		})
	})
	r.Route("/oauth", func(r chi.Router) {
		r.Use(deadline)
		r.Post("/device_authorization", s.api(s.handleDeviceAuthorization))
		r.Post("/token", s.api(s.handleToken))
		r.Post("/revoke", s.api(s.handleRevoke))
		r.Post("/introspect", s.api(s.handleIntrospect))
		r.Get("/userinfo", s.api(s.handleUserinfo))
	})
	return r
}

// files are what browsers of any origin may load.
func (s *Server) files(r chi.Router) {
	get(r.With(deadline), "/.well-known/jwks.json", s.api(s.handleJWKS))
	get(r, "/.well-known/oauth-authorization-server", s.api(s.handleMetadata))
	get(r, "/openapi.yaml", s.file("application/yaml", openAPI))
	fs.WalkDir(assets, "assets", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := assets.ReadFile(path)
		if err != nil {
			return err
		}
		get(r, strings.TrimPrefix(path, "assets"), s.file(contentTypeOf(path), body))
		return nil
	})
}

func (s *Server) file(contentType string, body []byte) http.HandlerFunc {
	return s.api(func(w http.ResponseWriter, r *http.Request) error { return s.public(w, r, contentType, body) })
}

// get also takes HEAD, with which monitors and link checkers look at pages and
// files; net/http leaves the body out.
func get(r chi.Router, pattern string, h http.HandlerFunc) {
	r.Get(pattern, h)
	r.Head(pattern, h)
}

// tell answers an error to people in words, to programs in JSON.
func (s *Server) tell(w http.ResponseWriter, r *http.Request, err error) {
	if strings.HasPrefix(r.URL.Path, "/v1/") || strings.HasPrefix(r.URL.Path, "/oauth/") {
		s.fail(w, r, err)
		return
	}
	s.tellVisitor(w, r, new(visitor), err)
}

func (s *Server) tellVisitor(w http.ResponseWriter, r *http.Request, v *visitor, err error) {
	if strings.Contains(r.Header.Get("Accept"), "text/html") {
		s.failPage(w, r, v, err)
		return
	}
	s.fail(w, r, err)
}

func (s *Server) notFound(w http.ResponseWriter, r *http.Request) { s.tell(w, r, errNotFound) }

// methodNotAllowed lists what the address knows (RFC 9110 section 15.5.6). The
// router also comes here with a method it has never heard of, whatever the
// address.
func (s *Server) methodNotAllowed(w http.ResponseWriter, r *http.Request) {
	routes, path := chi.RouteContext(r.Context()).Routes, cmp.Or(r.URL.RawPath, r.URL.Path)
	var allow []string
	for _, method := range []string{"GET", "HEAD", "POST", "DELETE"} {
		if routes.Match(chi.NewRouteContext(), method, path) {
			allow = append(allow, method)
		}
	}
	if allow == nil {
		s.fail(w, r, errNotFound)
		return
	}
	w.Header().Set("Allow", strings.Join(allow, ", "))
	s.fail(w, r, errMethod)
}
