package hub

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

func TestStreamOverRealHTTP(t *testing.T) {
	r := onTCP(t, Config{})
	r.put("a", "pending", time.Hour)
	e := r.stream("a")
	for name, want := range map[string]string{
		"Content-Type":      "text/event-stream",
		"Cache-Control":     "no-store, no-transform",
		"X-Accel-Buffering": "no",
	} {
		if got := e.res.Header.Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	if got := e.block(); len(got) < 2048 || strings.TrimSpace(got) != ":" {
		t.Errorf("first %q", got)
	}
	for _, status := range []string{"pending", "scanned", "two\nlines", "confirmed"} {
		if status != "pending" {
			r.put("a", status, time.Hour)
		}
		want := "event: ticket\nid: " + strconv.FormatUint(rev(t, r, "a"), 10) + "\ndata: " +
			strings.ReplaceAll(status, "\n", "\ndata: ") + "\n"
		if got := e.block(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := e.block(); got != "" {
		t.Errorf("after the last one: %q", got)
	}
	until(t, "released", func() bool { return r.hub.Stats().SSE == 0 })
}

func TestVanishedStreamIsLetGo(t *testing.T) {
	r := onTCP(t, Config{})
	r.put("a", "pending", time.Hour)
	e := r.stream("a")
	e.block()
	e.res.Body.Close()
	until(t, "released", func() bool { return r.hub.Stats().SSE == 0 })
}

// A client that stops reading is dropped, not waited for.
func TestStuckStreamIsCut(t *testing.T) {
	r := onTCP(t, Config{WriteWithin: 200 * time.Millisecond})
	r.put("a", strings.Repeat("x", 8<<20), time.Hour)
	r.stream("a")
	until(t, "it is being written to", func() bool { return r.hub.Stats().SSE == 1 })
	until(t, "cut", func() bool { return r.hub.Stats().SSE == 0 })
}

// net/http writes the last chunk after us; that must not wait for the peer either.
func TestEndOfAStuckStreamIsNotWaitedFor(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := onPipes(t, Config{})
		r.put("a", "pending", time.Hour)
		e := r.stream("a")
		e.block()
		e.block()
		r.quit()
		<-r.ended
		<-time.After(6 * time.Second)
		if text, err := e.ReadString('\n'); err == nil || err == io.EOF {
			t.Errorf("the server still wanted to write: %q, %v", text, err)
		}
	})
}

// The write deadline is for one write: HTTP/2 would end an idle stream at it, and
// HTTP/1 the next request on the same connection.
func TestStreamOutlivesItsWriteDeadline(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		r := onTCP(t, Config{WriteWithin: 50 * time.Millisecond, Heartbeat: 300 * time.Millisecond})
		r.put("a", "pending", time.Hour)
		srv := httptest.NewUnstartedServer(r.routes())
		srv.EnableHTTP2 = http2
		srv.StartTLS()
		t.Cleanup(srv.Close)
		res, err := srv.Client().Get(srv.URL + "/events/a")
		if err != nil {
			t.Fatal(err)
		}
		if (res.ProtoMajor == 2) != http2 {
			t.Fatal(res.Proto)
		}
		e := newEvents(t, res)
		e.block()
		e.block()
		for range 3 {
			if got := e.block(); got != ":\n" {
				t.Errorf("%s: %q", res.Proto, got)
			}
		}
		r.put("a", "confirmed", time.Hour)
		if got := e.block(); !strings.HasSuffix(got, "data: confirmed\n") {
			t.Errorf("%s: %q", res.Proto, got)
		}
		if got := e.block(); got != "" {
			t.Errorf("%s: %q", res.Proto, got)
		}
	}
}

func TestStreamNeedsAWriterWithDeadlines(t *testing.T) {
	r := onTCP(t, Config{})
	w := httptest.NewRecorder()
	if err := r.hub.ServeSSE(w, httptest.NewRequest("GET", "/", nil), ticketTopic("a")); err == nil || w.Body.Len() > 0 {
		t.Error(err, w.Body)
	}
}

func TestWaitOverRealTime(t *testing.T) {
	r := onTCP(t, Config{})
	r.put("a", "pending", time.Hour)
	got := make(chan Snapshot, 1)
	seen := rev(t, r, "a")
	go func() {
		s, err := r.hub.Wait(context.Background(), ticketTopic("a"), seen, time.Minute)
		if err != nil {
			t.Error(err)
		}
		got <- s
	}()
	until(t, "it waits", func() bool { return r.hub.Stats().Poll == 1 })
	r.put("a", "scanned", time.Hour)
	if s := <-got; string(s.Data) != "scanned" || s.Seq <= seen {
		t.Errorf("%+v", s)
	}
	for _, status := range []string{"panic", "pending@soon"} {
		r.put("b", status, time.Hour)
		if _, err := r.hub.Wait(context.Background(), ticketTopic("b"), 0, time.Minute); err == nil {
			t.Errorf("%s: no error", status)
		}
	}
}

func TestSocketsOverTLS(t *testing.T) {
	r := onTCP(t, Config{})
	srv := httptest.NewTLSServer(r.routes())
	t.Cleanup(srv.Close)
	r.put("a", "pending", time.Hour)
	d := websocket.Dialer{TLSClientConfig: &tls.Config{RootCAs: srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, ServerName: "example.com"}}
	dial := func() *client {
		ws, res, err := d.Dial("wss"+strings.TrimPrefix(srv.URL, "https")+"/ws", nil)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		t.Cleanup(func() { ws.Close() })
		c := &client{ws, t}
		c.expect("hello")
		c.say("watch a")
		c.expect("pending")
		return c
	}
	old := dial()
	next := dial()
	old.closed(Replaced, "replaced")
	next.say("ping")
	next.expect("pong")
	r.put("a", "confirmed", time.Hour)
	next.expect("confirmed")
	next.closed(Done, "done")
	until(t, "released", func() bool { return r.hub.Stats().WS == 0 })
}
