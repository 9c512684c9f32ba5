package outbound

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "appsecret-5b1f"

// upstreamOf is a server that ends with the test.
func upstreamOf(t *testing.T, answer http.HandlerFunc) *httptest.Server {
	s := httptest.NewServer(answer)
	t.Cleanup(s.Close)
	return s
}

func host(s *httptest.Server) string { return s.Listener.Addr().String() }

func says(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(body)) }
}

func TestGetAndPost(t *testing.T) {
	var seen []string
	s := upstreamOf(t, func(w http.ResponseWriter, r *http.Request) {
		body := make([]byte, 100)
		n, _ := r.Body.Read(body)
		seen = append(seen, r.Method+" "+r.URL.String()+" "+r.Header.Get("Content-Type")+" "+string(body[:n]))
		w.Write([]byte("answer"))
	})
	var observed []string
	c := New(Config{Hosts: []string{host(s)}, Observe: func(name string, d time.Duration, err error) {
		if d <= 0 || err != nil {
			t.Errorf("observed %s, %v", d, err)
		}
		observed = append(observed, name)
	}})
	if body, err := c.Get(t.Context(), "one", s.URL+"/a?b=c"); err != nil || string(body) != "answer" {
		t.Errorf("%q, %v", body, err)
	}
	if body, err := c.Do(t.Context(), Call{Name: "two", URL: s.URL + "/d", JSON: []byte("{}")}); err != nil || string(body) != "answer" {
		t.Errorf("%q, %v", body, err)
	}
	if got := strings.Join(seen, "|"); got != "GET /a?b=c  |POST /d application/json {}" {
		t.Errorf("asked %s", got)
	}
	if got := strings.Join(observed, " "); got != "one two" {
		t.Errorf("observed %s", got)
	}
}

// Addresses from somebody else's document are no way into the network.
func TestOnlyAllowedHostsByHTTPS(t *testing.T) {
	c := New(Config{Hosts: []string{"idp.example", "Other.Example:8443", "127.0.0.1:1", "[::1]:2", "localhost:3", "192.0.2.1:80", "idp.example:80"}})
	for address, allowed := range map[string]bool{
		"https://idp.example/jwks": true, "https://IDP.example:443/jwks": true, "https://other.example:8443/": true,
		"http://127.0.0.1:1/": true, "http://[::1]:2/": true, "http://localhost:3/": true, "https://127.0.0.1:1/": true,

		"http://idp.example/jwks": false, "http://192.0.2.1/": false, "https://idp.example:8443/": false, "https://other.example/": false,
		"https://idp.example.evil/": false, "https://evil/idp.example": false, "https://idp.example@evil/": false, "https://a:b@idp.example/": false,
		"http://127.0.0.1:2/": false, "https://169.254.169.254/": false, "ftp://idp.example/": false, "file:///etc/passwd": false,
		"https:idp.example": false, "//idp.example/": false, "": false, "https://idp.example\x7f/": false, "http://localhost.evil:3/": false,
	} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // nothing is sent
		_, err := c.Get(ctx, "idp", address)
		if errors.Is(err, ErrNotAllowed) == allowed {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	other := upstreamOf(t, func(http.ResponseWriter, *http.Request) { t.Error("it was followed") })
	for _, status := range []int{301, 302, 303, 307, 308} {
		s := upstreamOf(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL+"?"+r.URL.RawQuery, status)
		})
		c := New(Config{Hosts: []string{host(s), host(other)}})
		if _, err := c.Get(t.Context(), "one", s.URL); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%d: %v", status, err)
		}
	}
}

func TestBodiesHaveABound(t *testing.T) {
	for size, ok := range map[int]bool{64 << 10: true, 64<<10 + 1: false, 1 << 20: false} {
		s := upstreamOf(t, says(strings.Repeat("x", size)))
		body, err := New(Config{Hosts: []string{host(s)}}).Get(t.Context(), "one", s.URL)
		if (err == nil) != ok || ok && len(body) != size {
			t.Errorf("%d bytes: %d, %v", size, len(body), err)
		}
	}
}

func TestSlowUpstreamIsLeftInTime(t *testing.T) {
	for name, slow := range map[string]http.HandlerFunc{
		"headers": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"body": func(w http.ResponseWriter, r *http.Request) {
			w.Write([]byte("{"))
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
	} {
		s := upstreamOf(t, slow)
		began := time.Now()
		_, err := New(Config{Hosts: []string{host(s)}, Timeout: 50 * time.Millisecond}).Get(t.Context(), "one", s.URL)
		if took := time.Since(began); !errors.Is(err, ErrUnavailable) || took > time.Second {
			t.Errorf("%s: %v after %s", name, err, took)
		}
	}
}

// net/http asks again by itself when a connection that it kept turns out to be
// dead; for a one-time code that is once too often.
func TestLostAnswerIsNotAskedAgain(t *testing.T) {
	var asked atomic.Int32
	s := upstreamOf(t, func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 1 {
			return
		}
		conn, _, _ := w.(http.Hijacker).Hijack()
		conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
	})
	c := New(Config{Hosts: []string{host(s)}})
	if _, err := c.Get(t.Context(), "one", s.URL); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(t.Context(), "one", s.URL); !errors.Is(err, ErrUnavailable) {
		t.Errorf("lost: %v", err)
	}
	if n := asked.Load(); n != 2 {
		t.Errorf("asked %d times for 2 calls", n)
	}
}

// T44: WeChat wants its secret in the query, and net/url's error prints it.
func TestErrorsAndLogsHoldNoQuery(t *testing.T) {
	var log strings.Builder
	var mu sync.Mutex
	closed := httptest.NewServer(nil)
	closed.Close()
	s := upstreamOf(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/reset":
			conn, _, _ := w.(http.Hijacker).Hijack()
			conn.(*net.TCPConn).SetLinger(0)
			conn.Close()
		case "/echo": // an answer that is none and repeats what was asked
			conn, _, _ := w.(http.Hijacker).Hijack()
			conn.Write([]byte("HTTP/1.1 " + r.URL.RawQuery + "\r\n\r\n"))
			conn.Close()
		case "/header":
			conn, _, _ := w.(http.Hijacker).Hijack()
			conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: " + r.URL.RawQuery + "\r\n\r\n"))
			conn.Close()
		case "/slow":
			<-r.Context().Done()
		case "/redirect":
			http.Redirect(w, r, "http://192.0.2.1/?"+r.URL.RawQuery, http.StatusFound)
		default:
			http.Error(w, r.URL.String(), http.StatusBadGateway)
		}
	})
	secure := httptest.NewTLSServer(says("{}"))
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	t.Cleanup(secure.Close)
	c := New(Config{
		Hosts: []string{host(s), host(closed), host(secure), "no-such-host.invalid"}, Timeout: 200 * time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(lockedWriter{&mu, &log}, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	for i, address := range []string{
		s.URL + "/reset", s.URL + "/echo", s.URL + "/header", s.URL + "/slow", s.URL + "/redirect", s.URL + "/502",
		closed.URL + "/closed", secure.URL + "/certificate", "https://no-such-host.invalid/", "http://192.0.2.1/", s.URL + "/%zz", "http://" + secret + ":\x7f",
	} {
		_, err := c.Do(t.Context(), Call{Name: fmt.Sprint(i), URL: address + "?secret=" + secret})
		if err == nil {
			t.Errorf("%s worked", address)
			continue
		}
		for e := err; e != nil; e = errors.Unwrap(e) {
			if strings.Contains(e.Error(), secret) {
				t.Errorf("%s: %v", address, e)
			}
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if strings.Contains(log.String(), "secret="+secret) || !strings.Contains(log.String(), "status 502") || !strings.Contains(log.String(), "certificate") {
		t.Errorf("the log says\n%s", log.String())
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	to *strings.Builder
}

func (w lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.Write(p)
}

func TestEnvironmentsProxiesAreNotUsed(t *testing.T) {
	if New(Config{}).http.Transport.(*http.Transport).Proxy != nil {
		t.Error("a variable of the environment decides where calls go")
	}
}

func TestTLSSessionsAreResumed(t *testing.T) {
	resumed := 0
	s := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.TLS.DidResume {
			resumed++
		}
	}))
	t.Cleanup(s.Close)
	c := New(Config{Hosts: []string{host(s)}})
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	c.http.Transport.(*http.Transport).TLSClientConfig.RootCAs = roots
	if c.http.Transport.(*http.Transport).TLSClientConfig.MinVersion > tls.VersionTLS12 {
		t.Error("TLS 1.2 is not spoken")
	}
	for range 4 {
		if _, err := c.Get(t.Context(), "one", s.URL); err != nil {
			t.Fatal(err)
		}
	}
	if resumed != 3 {
		t.Errorf("%d of 3 sessions were resumed", resumed)
	}
}
