package main

import (
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
)

// behindGate is one instance whose public URL is a gate.
func behindGate(t *testing.T) (*gate, site) {
	t.Helper()
	var s site
	g := startGate(t, func() string { return s.instances[0].url })
	s = site{url: g.url, instances: []*server{startServer(t, serveEnv(g.url)).ready(t)}}
	return g, s
}

// before runs a script in every page before its own.
func (b *tab) before(js string) *tab {
	b.t.Helper()
	call(b, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: js})
	return b
}

// refuseWebSocket is a network that lets no upgrade through.
func refuseWebSocket(w http.ResponseWriter, r *http.Request) bool {
	if !strings.HasSuffix(r.URL.Path, "/ws") {
		return false
	}
	w.WriteHeader(http.StatusForbidden) // not in our words
	return true
}

// The network is back, or the person is: the page does not wait for its next
// try. Its own timers stand still here.
func TestBrowserComesBackWhenTheNetworkDoes(t *testing.T) {
	t.Parallel()
	g, s := behindGate(t)
	desktop := openDesktop(t).provoke().before(`window.later = setTimeout;
		Object.defineProperty(navigator, "onLine", { get: () => false }); // the first loss is told, too
		window.setTimeout = (f, ms, ...a) => window.still && ms >= 900 && ms < 40000 ? 0 : later(f, ms, ...a);`)
	desktop.open(s.url + "/")
	desktop.mark()
	for _, event := range []string{`window.dispatchEvent(new Event("online"))`, `document.dispatchEvent(new Event("visibilitychange"))`} {
		desktop.until(`state() === "pending" && find("img")`)
		eval[bool](desktop, `(window.still = true)`)
		g.cut()
		desktop.until(`state() === "offline"`)
		g.pass()
		eval[bool](desktop, event)
		desktop.until(`state() === "pending"`)
		eval[bool](desktop, `(window.still = false, true)`)
	}
	desktop.notReloaded()
}

// 503 is about the server, not about the transport.
func TestBusyServerDoesNotCostTheWebSocket(t *testing.T) {
	t.Parallel()
	g, s := behindGate(t)
	desktop := openLogin(t, s).provoke()
	desktop.until(`state() === "pending" && find("img")`)
	g.cut()
	g.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, "/v1/tickets/") {
			return false
		}
		w.Header().Set("Retry-After", "1")
		problem(w, http.StatusServiceUnavailable, "store_unavailable")
		return true
	})
	desktop.until(`state() === "busy"`)
	g.pass()
	desktop.until(`state() === "pending" && find("img")`)
	eventually(t, patience, "the page is back on WebSocket", func() bool {
		return s.sockets(t, "ws") == 1 && s.sockets(t, "sse") == 0 && s.sockets(t, "poll") == 0
	})
	desktop.notReloaded()
}

// WebSocket is tried again after a minute, beside the stream; the minute is a
// second here.
func TestBrowserClimbsBackToTheWebSocket(t *testing.T) {
	t.Parallel()
	g, s := behindGate(t)
	g.intercept(refuseWebSocket)
	desktop := openDesktop(t).provoke().before(`const every = setInterval;
		window.setInterval = (f, ms, ...a) => every(f, ms === 60000 ? 1000 : ms, ...a);`)
	desktop.open(s.url + "/")
	desktop.mark()
	desktop.until(`state() === "pending" && find("img")`)
	eventually(t, patience, "the page watches over SSE", func() bool { return s.sockets(t, "sse") == 1 })
	g.pass()
	eventually(t, patience, "the page is back on WebSocket", func() bool {
		return s.sockets(t, "ws") == 1 && s.sockets(t, "sse") == 0
	})
	phone := openPhone(t)
	phone.open(desktop.readQR())
	phone.signInOnPhone("alice")
	phone.click("button[value=approve]")
	desktop.signedIn("Alice")
	desktop.notReloaded()
}

// A link that is dead without a close is found by asking: the instance is
// frozen here, and the page is told that somebody looks.
func TestBrowserNoticesADeadSocket(t *testing.T) {
	t.Parallel()
	_, s := behindGate(t)
	desktop := openDesktop(t).provoke().before(`window.snapshots = 0;
		addEventListener("qr-login-state", () => window.snapshots += 1);
		Object.defineProperty(navigator, "onLine", { get: () => false }); // the first loss is told, too`)
	desktop.open(s.url + "/")
	desktop.mark()
	desktop.until(`snapshots === 2`) // the new ticket's, and the socket's
	s.instances[0].freeze(t)
	eval[bool](desktop, `window.dispatchEvent(new Event("online"))`)
	desktop.until(`state() === "offline"`)
	s.instances[0].signal(syscall.SIGCONT)
	desktop.until(`state() === "pending"`)
	desktop.notReloaded()
}

// Tickets that are unknown as soon as they are made (instances that do not
// share a store) must not turn every page into a flood.
func TestLostTicketsAreNoFlood(t *testing.T) {
	t.Parallel()
	g, s := behindGate(t)
	made := make(chan time.Time, 100)
	g.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/v1/tickets" {
			made <- time.Now()
			return false
		}
		if strings.HasPrefix(r.URL.Path, "/v1/tickets/") {
			problem(w, http.StatusNotFound, "ticket_not_found")
			return true
		}
		return false
	})
	openLogin(t, s).provoke()
	last := <-made
	for range 2 {
		select {
		case next := <-made:
			if pause := next.Sub(last); pause < 1500*time.Millisecond {
				t.Fatalf("the next ticket after %s", pause)
			}
			last = next
		case <-time.After(patience):
			t.Fatal("the page gave up")
		}
	}
}
