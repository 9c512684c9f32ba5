package web

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"scanlogin/auth"
	"scanlogin/auth/demo"
	"scanlogin/hub"
	"scanlogin/qrlogin"
	"scanlogin/qrlogin/backend"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sharedStore is what the rooms need of a backend.
type sharedStore interface {
	qrlogin.Store
	auth.Store
	hub.Source
	Ping(context.Context) error
	Close() error
}

// counted is the memory backend that knows how often it was asked for records.
type counted struct {
	*backend.Memory
	calls atomic.Int64
}

func (c *counted) Load(ctx context.Context, key string) ([]byte, uint64, error) {
	c.calls.Add(1)
	return c.Memory.Load(ctx, key)
}

func (c *counted) Update(ctx context.Context, key string, change func([]byte) ([]byte, time.Duration, error)) (uint64, error) {
	c.calls.Add(1)
	return c.Memory.Update(ctx, key, change)
}

// setup is what a test may choose about its site.
type setup struct {
	publicURL string // empty: where the site listens
	origins   []string
	proxies   []string
	geo       *Geo
	tickets   qrlogin.Config
	auth      auth.Config // its lives
	clients   []auth.Client
	hub       hub.Config
	callers   map[string]CallerKey
	limits    bool        // nobody is slowed down without
	bounds    Limits      // other than the defaults
	store     sharedStore // nil: memory
	more      []string    // users besides alice and bob
	noUsers   bool        // nobody can sign in on the phone pages by a form
	wechat    *weChats    // mini-programs and websites sign people in by this one
	direct    bool        // no network: requests go straight to the handler, sockets over pipes, also in a bubble
}

// What opens the admin calls of a test.
const adminToken, otherAdminToken = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"

// site is the whole server but the program around it.
type site struct {
	t       testing.TB
	url     string
	public  string
	web     *Server
	auth    *auth.Service
	hub     *hub.Hub
	store   *counted
	log     *lines
	handler http.Handler
	admin   http.Handler
	client  *http.Client
	server  *http.Server // as it listens; nil when direct
	pipes   *pipes       // when direct
}

// lines is a log to read while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newSite(t testing.TB, c setup) *site {
	t.Helper()
	s := &site{t: t, log: &lines{}, store: &counted{Memory: backend.NewMemory()}}
	var store sharedStore = s.store
	if c.store != nil {
		s.store.Close()
		store = c.store
	}
	server := httptest.NewUnstartedServer(nil)
	s.url = "http://" + server.Listener.Addr().String()
	s.public = c.publicURL
	if s.public == "" {
		s.public = s.url
	}
	log := slog.New(slog.NewJSONHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	users := append([]string{"alice", "bob"}, c.more...)
	if c.noUsers {
		users = nil
	}
	clients, metrics := auth.Clients(s.public), NewMetrics("test")
	clients["other"] = auth.Client{ID: "other", Name: "Other", Kind: "web", Scopes: []string{"openid"}}
	for _, client := range c.clients {
		clients[client.ID] = client
	}
	c.hub.Logger, c.hub.HandshakeError = log, HandshakeError
	c.bounds.Off = !c.limits
	c.bounds.Bound(&c.hub)
	c.hub.Observe = metrics.Hub
	s.hub = hub.New(store, c.hub)
	c.auth.Issuer, c.auth.Clients, c.auth.Logger = s.public, clients, log
	c.auth.Providers = map[string]auth.Provider{"demo": demo.New(users)}
	if c.wechat != nil {
		s.addWeChat(c.wechat, store, c.auth.Providers, log)
	}
	c.auth.NetworksBanned = func(banned func(netip.Addr) bool) { s.hub.Evict(banned, hub.BadMessage, "network_banned") }
	s.auth = auth.New(store, c.auth)
	c.tickets.PublicURL, c.tickets.Clients = s.public, clients
	config := Config{
		PublicURL: s.public, Origins: c.origins, Geo: c.geo, Clients: clients, Provider: "demo", DemoUsers: users,
		Heartbeat: 25 * time.Second, SessionTTL: 720 * time.Hour, Version: "test",
		Limits: c.bounds, AdminTokens: []string{adminToken, otherAdminToken}, CallerKeys: c.callers, Store: store,
		Ping: store.Ping, Derive: store.Derive, Metrics: metrics, Logger: log,
	}
	if c.wechat != nil {
		config.Redirectors = []string{"wechat"}
	}
	for _, p := range c.proxies {
		config.TrustedProxies = append(config.TrustedProxies, netip.MustParsePrefix(p))
	}
	s.web = New(qrlogin.New(store, s.auth, c.tickets), s.auth, s.hub, config)
	s.handler, s.admin = s.web.Handler(), s.web.Admin()
	s.run(c, store, server)
	return s
}

func (s *site) run(c setup, store sharedStore, server *httptest.Server) {
	ctx, stop := context.WithCancel(context.Background())
	var rooms sync.WaitGroup
	rooms.Go(func() { s.auth.Run(ctx) })
	rooms.Go(func() { s.hub.Run(ctx) })
	s.client = s.browser()
	s.t.Cleanup(func() {
		s.client.CloseIdleConnections()
		server.CloseClientConnections()
		stop()
		rooms.Wait()
		server.Close()
		store.Close()
	})
	if c.direct {
		server.Listener.Close()
		s.client.Transport = direct{s.handler}
		s.pipes = &pipes{accept: make(chan net.Conn), done: make(chan struct{})}
		sockets := &http.Server{Handler: s.handler}
		rooms.Go(func() { sockets.Serve(s.pipes) })
		s.t.Cleanup(func() { sockets.Close() })
	} else {
		server.Config = &http.Server{
			Handler: s.handler, MaxHeaderBytes: 16 << 10,
			ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
		}
		server.Start()
		s.server = server.Config
	}
}

// browser is a client with cookies of its own that shows redirects.
func (s *site) browser() *http.Client {
	jar, _ := cookiejar.New(nil) // never fails
	b := &http.Client{
		Jar: jar, Timeout: 30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if s.client != nil {
		b.Transport = s.client.Transport
	}
	return b
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	raw    string
	body   map[string]any
}

// text is a member of the answer.
func (a answer) text(name string) string {
	s, _ := a.body[name].(string)
	return s
}

// code is the code word of an error, of either kind.
func (a answer) code() string {
	if code := a.text("code"); code != "" {
		return code
	}
	return a.text("error")
}

func (a answer) seq() float64 {
	n, _ := a.body["seq"].(float64)
	return n
}

// request makes one; body is nil, url.Values (a form), a string (as it is, as
// JSON) or a map (JSON). Headers come in pairs and win.
func (s *site) request(method, path string, body any, headers ...string) *http.Request {
	s.t.Helper()
	var content, kind string
	switch b := body.(type) {
	case nil:
	case url.Values:
		content, kind = b.Encode(), formType
	case string:
		content, kind = b, "application/json"
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			s.t.Fatal(err)
		}
		content, kind = string(raw), "application/json"
	}
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(content))
	if err != nil {
		s.t.Fatal(err)
	}
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	for i := 0; i < len(headers); i += 2 {
		switch name, value := headers[i], headers[i+1]; {
		case name == "Host":
			r.Host = value
		case value == "":
			r.Header.Del(name)
		default:
			r.Header.Add(name, value)
		}
	}
	if len(r.Header.Values("Content-Type")) > 1 {
		r.Header["Content-Type"] = r.Header["Content-Type"][1:]
	}
	return r
}

// send sends a request with the site's own client and judges the answer by
// what holds for all of them.
func (s *site) send(method, path string, body any, headers ...string) answer {
	s.t.Helper()
	return s.sendWith(s.client, s.request(method, path, body, headers...))
}

func (s *site) sendWith(client *http.Client, r *http.Request) answer {
	s.t.Helper()
	response, err := client.Do(r)
	if err != nil {
		s.t.Fatalf("%s %.80s: %v", r.Method, r.URL.Path, err)
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatalf("%s %.80s: %v", r.Method, r.URL.Path, err)
	}
	a := answer{status: response.StatusCode, header: response.Header, raw: string(raw)}
	json.Unmarshal(raw, &a.body) // an HTML page has none
	s.judge(r, a)
	return a
}

// want is send for an answer that must have this status and code.
func (s *site) want(status int, code, method, path string, body any, headers ...string) answer {
	s.t.Helper()
	a := s.send(method, path, body, headers...)
	if a.status != status || a.code() != code {
		s.t.Errorf("%s %.80s: %d %q, want %d %q: %.300s", method, path, a.status, a.code(), status, code, a.raw)
	}
	return a
}

// judge checks what every answer owes.
func (s *site) judge(r *http.Request, a answer) {
	s.t.Helper()
	need := func(ok bool, what string) {
		s.t.Helper()
		if !ok {
			s.t.Errorf("%s %.80s: %d: %s: %v %.200s", r.Method, r.URL.Path, a.status, what, a.header, a.raw)
		}
	}
	h := a.header
	need(len(h.Get("X-Request-Id")) == 16, "no X-Request-Id of the server's")
	need(h.Get("X-Content-Type-Options") == "nosniff", "no nosniff")
	need(h.Get("Referrer-Policy") == "same-origin", "no Referrer-Policy")
	need((h.Get("Strict-Transport-Security") != "") == strings.HasPrefix(s.public, "https:"), "HSTS")
	need(h.Get("Access-Control-Allow-Credentials") == "", "CORS with credentials")
	api := strings.HasPrefix(r.URL.Path, "/v1/") || strings.HasPrefix(r.URL.Path, "/oauth/")
	if api && r.Method != http.MethodOptions {
		need(strings.HasPrefix(h.Get("Cache-Control"), "no-store"), "API answer without no-store")
		away := r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, signinPath) // by a person's browser
		need(away || len(h.Values("Set-Cookie")) == 0, "API answer with a cookie")
	}
	if a.status == 401 && !strings.HasPrefix(h.Get("Content-Type"), "text/html") {
		need(h.Get("WWW-Authenticate") != "", "no WWW-Authenticate")
	}
	if a.status == 429 || a.status == 503 {
		need(h.Get("Retry-After") != "", "no Retry-After")
	}
	if a.status == 405 {
		need(h.Get("Allow") != "", "no Allow")
	}
	switch kind := h.Get("Content-Type"); {
	case strings.HasPrefix(kind, "text/html"):
		for _, rule := range []string{"default-src 'none'", "script-src 'self';", "frame-ancestors 'none'", "img-src 'self' data:", "connect-src 'self' ws"} {
			need(strings.Contains(h.Get("Content-Security-Policy"), rule), "CSP lacks "+rule)
		}
		need(!strings.Contains(h.Get("Content-Security-Policy"), "unsafe"), "CSP allows inline")
		need(h.Get("Cache-Control") == "no-store", "page without no-store")
	case kind == "application/problem+json" && r.Method != http.MethodHead:
		need(a.text("type") == "urn:scanlogin:"+a.text("code"), "type")
		need(a.body["status"] == float64(a.status), "status in the body")
		need(a.text("request_id") == h.Get("X-Request-Id"), "request_id")
	}
	specified(s.t, s.handler, r, a)
}

// bearerOf is an Authorization header.
func bearerOf(token string) []string { return []string{"Authorization", "Bearer " + token} }

// phone signs a user in and returns the phone token.
func (s *site) phone(user string) string {
	s.t.Helper()
	return s.want(200, "", "POST", "/v1/signin/demo", map[string]string{"credential": user}).text("access_token")
}

// login is a ticket with all that was told about it.
type login struct {
	id, deviceCode, qr, userCode, confirmToken string
}

func (l login) path(rest string) string { return "/v1/tickets/" + l.id + rest }

func (s *site) create(body any) login {
	s.t.Helper()
	a := s.want(201, "", "POST", "/v1/tickets", body)
	return login{id: a.text("ticket_id"), deviceCode: a.text("device_code"), qr: a.text("verification_uri_complete"), userCode: a.text("user_code")}
}

func (s *site) scan(l *login, phone string) answer {
	s.t.Helper()
	a := s.want(200, "", "POST", "/v1/scan", map[string]string{"qr": l.qr}, bearerOf(phone)...)
	l.confirmToken = a.text("confirm_token")
	return a
}

func (s *site) confirm(l login, phone string) answer {
	s.t.Helper()
	return s.want(200, "", "POST", l.path("/confirm"), map[string]string{"confirm_token": l.confirmToken}, bearerOf(phone)...)
}

// redemption is the form that asks for a ticket's tokens.
func redemption(l login) url.Values {
	return url.Values{"grant_type": {deviceCodeGrant}, "client_id": {"web"}, "device_code": {l.deviceCode}}
}

// signedIn goes through a whole login and returns the token answer.
func (s *site) signedIn(phone string) answer {
	s.t.Helper()
	l := s.create(nil)
	s.scan(&l, phone)
	s.confirm(l, phone)
	return s.want(200, "", "POST", "/oauth/token", redemption(l))
}

func (s *site) status(l login) string {
	s.t.Helper()
	return s.want(200, "", "GET", l.path(""), nil, bearerOf(l.deviceCode)...).text("status")
}

// b64id is a well-formed ticket id that nobody made.
const b64id = "AAAAAAAAAAAAAAAAAAAAAA"

// eventually waits for a condition, not for a time.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}
