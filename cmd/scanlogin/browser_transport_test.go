package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
)

// gate is a reverse proxy between browsers and the product that does what
// networks do: holds, buffers, refuses and cuts.
type gate struct {
	url    string
	rule   atomic.Pointer[func(http.ResponseWriter, *http.Request) bool]
	cutter atomic.Pointer[cutter]
}

type cutter struct {
	ctx context.Context
	cut context.CancelFunc
}

// startGate listens at once, so that the product can be told its public URL,
// and forwards to the address that target gives.
func startGate(t *testing.T, target func() string) *gate {
	t.Helper()
	g := &gate{}
	g.pass()
	proxy := &httputil.ReverseProxy{
		FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			to, err := url.Parse(target())
			if err != nil {
				panic(err)
			}
			r.SetURL(to)
			r.Out.Host = r.In.Host
			r.SetXForwarded()
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := g.cutter.Load()
		ctx, done := context.WithCancel(r.Context())
		defer done()
		defer context.AfterFunc(now.ctx, done)()
		r = r.WithContext(ctx)
		if rule := g.rule.Load(); rule != nil && (*rule)(w, r) {
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		g.cutter.Load().cut()
		server.Close()
	})
	g.url = server.URL
	return g
}

// pass lets everything through again.
func (g *gate) pass() {
	g.rule.Store(nil)
	if g.cutter.Load() == nil {
		g.renewCutter()
	}
}

// intercept sets the rule; one that gives true has answered the request.
func (g *gate) intercept(rule func(http.ResponseWriter, *http.Request) bool) { g.rule.Store(&rule) }

// cut ends all running connections and refuses new ones, until pass.
func (g *gate) cut() {
	g.intercept(func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) })
	old := g.cutter.Load()
	g.renewCutter()
	old.cut()
}

func (g *gate) renewCutter() {
	ctx, cut := context.WithCancel(context.Background())
	g.cutter.Store(&cutter{ctx, cut})
}

// hold keeps requests of a path waiting until release.
func (g *gate) hold(suffix string) (release func()) {
	released := make(chan struct{})
	g.intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, suffix) {
			select {
			case <-released:
			case <-r.Context().Done():
				panic(http.ErrAbortHandler)
			}
		}
		return false
	})
	return func() {
		g.pass()
		close(released)
	}
}

// answer refuses requests to a path, as the server does when it must.
func (g *gate) answer(status int, path string) {
	g.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != path {
			return false
		}
		w.Header().Set("Retry-After", "30")
		problem(w, status, "refused_by_the_test")
		return true
	})
}

func problem(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"code":%q}`, code)
}

// buffered swallows a body until it ends, as some proxies do with SSE.
func buffered(target string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/events") {
			return false
		}
		request, err := http.NewRequestWithContext(r.Context(), r.Method, target+r.URL.Path, nil)
		if err != nil {
			panic(err)
		}
		request.Header = r.Header.Clone()
		response, err := http.DefaultTransport.RoundTrip(request)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Type", response.Header.Get("Content-Type"))
		w.WriteHeader(response.StatusCode)
		w.Write(body)
		return true
	}
}

const noWebSocket = "  http-request deny if { hdr(upgrade) -i websocket }\n"

// signsInOver goes through a whole login and checks which doors were open.
func signsInOver(t *testing.T, s site, desktop *tab, transport string) {
	t.Helper()
	phone := openPhone(t)
	phone.open(desktop.readQR())
	phone.signInOnPhone("alice")
	desktop.until(`state() === "scanned" && said(".message").includes("A***e")`)
	eventually(t, patience, "a watcher over "+transport, func() bool { return s.sockets(t, transport) == 1 })
	phone.click("button[value=approve]")
	desktop.signedIn("Alice")
	desktop.notReloaded()
	if n := s.answers("/v1/tickets/{ticket_id}/ws", "101"); n != 0 {
		t.Errorf("%d sockets came through", n)
	}
}

// sockets asks the instances how many watchers they have over a transport.
func (s site) sockets(t *testing.T, transport string) int {
	t.Helper()
	n := 0
	for _, instance := range s.instances {
		response, err := http.Get(instance.admin + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		response.Body.Close()
		for line := range strings.Lines(string(body)) {
			if strings.HasPrefix(line, `scanlogin_sockets{transport="`+transport+`"} 1`) {
				n++
			}
		}
	}
	return n
}

func TestBrowserFallsBackToSSE(t *testing.T) {
	t.Parallel()
	c := startClusterBehind(t, 2, noWebSocket)
	s := site{c.url, c.instances}
	desktop := openLogin(t, s).provoke()
	signsInOver(t, s, desktop, "sse")
	if n := s.answers("/v1/tickets/{ticket_id}", "200"); n != 0 {
		t.Errorf("%d polls", n)
	}
}

func TestBrowserFallsBackToLongPoll(t *testing.T) {
	t.Run("SSE blocked", func(t *testing.T) {
		t.Parallel()
		c := startClusterBehind(t, 2, noWebSocket+"  http-request deny if { path_end /events }\n")
		s := site{c.url, c.instances}
		signsInOver(t, s, openLogin(t, s).provoke(), "poll")
	})
	t.Run("SSE buffered", func(t *testing.T) {
		t.Parallel()
		var c *cluster
		g := startGate(t, func() string { return c.url })
		c = startClusterBehind(t, 2, noWebSocket, "SCANLOGIN_PUBLIC_URL="+g.url)
		g.intercept(buffered(c.url))
		s := site{g.url, c.instances}
		signsInOver(t, s, openLogin(t, s).provoke(), "poll")
	})
}
