package hub

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"

	"scanlogin/qrlogin/backend"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a hub on the memory store behind a real net/http server, on TCP or, in a
// synctest bubble, on pipes. Records are "status" or "status@<unix ms deadline>";
// messages are "watch <key>", "refresh" and "ping".
type rig struct {
	t     testing.TB
	hub   *Hub
	store *backend.Memory
	dial  func(ctx context.Context, network, addr string) (net.Conn, error)
	quit  context.CancelFunc // ends Run
	ended chan struct{}      // Run has returned

	patience time.Duration // how long a client reads
	from     string        // the address that clients come from; empty: not known

	mu   sync.Mutex
	seen []string // Observe's names
}

func newRig(t testing.TB, l net.Listener, dial func() (net.Conn, error), c Config) *rig {
	r := &rig{t: t, store: backend.NewMemory(), ended: make(chan struct{}), patience: time.Hour}
	r.dial = func(context.Context, string, string) (net.Conn, error) { return dial() }
	c.Logger = slog.New(slog.DiscardHandler)
	c.Observe = func(name string, _ time.Duration, _ error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.seen = append(r.seen, name)
	}
	r.hub = New(r.store, c)
	ctx, quit := context.WithCancel(context.Background())
	r.quit = quit
	go func() {
		defer close(r.ended)
		r.hub.Run(ctx)
	}()
	srv := &http.Server{Handler: r.routes(), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	served := make(chan struct{})
	go func() { defer close(served); srv.Serve(l) }()
	t.Cleanup(func() {
		quit()
		<-r.ended
		srv.Close()
		<-served
		r.store.Close()
	})
	return r
}

func onTCP(t testing.TB, c Config) *rig {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, l, func() (net.Conn, error) { return net.Dial("tcp", l.Addr().String()) }, c)
	r.patience = 10 * time.Second
	return r
}

func onPipes(t *testing.T, c Config) *rig {
	l := &pipes{accept: make(chan net.Conn), done: make(chan struct{})}
	return newRig(t, l, l.dial, c)
}

// pipes is a listener without a kernel: nothing is buffered, time is the bubble's.
type pipes struct {
	accept chan net.Conn
	once   sync.Once
	done   chan struct{}
}

func (p *pipes) dial() (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case p.accept <- far:
		return near, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.accept:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes"} }

func (r *rig) routes() http.Handler {
	mux := http.NewServeMux()
	shared := ticketWire()
	mux.HandleFunc("GET /ws", func(w http.ResponseWriter, q *http.Request) {
		wire, open := *shared, openTicket
		if group := q.FormValue("group"); group != "" {
			wire.Exclusive = false
			open = func(ctx context.Context, credential string) (Topic, error) {
				topic, err := openTicket(ctx, credential)
				topic.Group = group
				return topic, err
			}
		}
		if err := r.hub.ServeWS(w, q, &wire, from(q), open); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("GET /events/{key}", func(w http.ResponseWriter, q *http.Request) {
		topic := ticketTopic(q.PathValue("key"))
		topic.From = from(q)
		err := r.hub.ServeSSE(w, q, topic)
		var refusal *Refusal
		switch {
		case errors.As(err, &refusal):
			http.Error(w, refusal.Reason, http.StatusForbidden)
		case err != nil:
			http.Error(w, "store away", http.StatusServiceUnavailable)
		}
	})
	return mux
}

func from(q *http.Request) netip.Addr {
	addr, err := netip.ParseAddr(q.FormValue("from"))
	if err != nil {
		return netip.Addr{}
	}
	return addr
}

func ticketWire() *Wire {
	return &Wire{
		Protocol: "scanlogin.v1", Limit: 1024, Exclusive: true,
		Hello: []byte("hello"), Pong: []byte("pong"),
		Reconnect: func(after time.Duration) []byte {
			return []byte("reconnect " + strconv.FormatInt(after.Milliseconds(), 10))
		},
		Read: func(text []byte) (Message, error) {
			word, arg, _ := strings.Cut(string(text), " ")
			switch word {
			case "watch":
				return Message{Watch, arg}, nil
			case "refresh":
				return Message{Kind: Refresh}, nil
			case "ping":
				return Message{Kind: Ping}, nil
			case "panic":
				panic("read")
			}
			return Message{}, errors.New("unknown type")
		},
	}
}

func openTicket(_ context.Context, credential string) (Topic, error) {
	switch credential {
	case "wrong":
		return Topic{}, &Refusal{Unauthorized, "invalid_device_code"}
	case "unknown":
		return Topic{}, fmt.Errorf("open: %w", &Refusal{Code: Unknown})
	case "down":
		return Topic{}, errors.New("store unreachable")
	}
	return ticketTopic(credential), nil
}

func ticketTopic(key string) Topic { return Topic{Key: key, Event: "ticket", Encode: encodeTicket} }

func encodeTicket(value []byte, rev uint64, now time.Time) (Snapshot, error) {
	status, deadline, timed := strings.Cut(string(value), "@")
	s := Snapshot{Seq: rev}
	if timed {
		ms, err := strconv.ParseInt(deadline, 10, 64)
		if err != nil {
			return s, err
		}
		if s.Next = time.UnixMilli(ms); !now.Before(s.Next) {
			status, s.Seq, s.Next = "expired", rev+1, time.Time{}
		}
	}
	switch status {
	case "":
		status = "expired"
		fallthrough
	case "expired", "confirmed", "denied":
		s.Close = Done
	case "pending":
		s.Refresh = true
	case "panic":
		panic("encode")
	}
	s.Data = []byte(status)
	return s, nil
}

// put writes the record.
func (r *rig) put(key, value string, ttl time.Duration) {
	r.t.Helper()
	_, err := r.store.Update(context.Background(), key, func([]byte) ([]byte, time.Duration, error) {
		return []byte(value), ttl, nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// client is the far end of a socket.
type client struct {
	*websocket.Conn
	t testing.TB
}

func (r *rig) connect() *client {
	r.t.Helper()
	d := websocket.Dialer{NetDialContext: r.dial, Subprotocols: []string{"scanlogin.v1"}}
	ws, res, err := d.Dial("ws://hub/ws?from="+r.from, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	res.Body.Close()
	r.t.Cleanup(func() { ws.Close() })
	ws.SetReadDeadline(time.Now().Add(r.patience))
	return &client{ws, r.t}
}

// watching is a socket that has been told the state of key.
func (r *rig) watching(key, status string) *client {
	r.t.Helper()
	c := r.connect()
	c.expect("hello")
	c.say("watch " + key)
	c.expect(status)
	return c
}

func (c *client) say(text string) {
	c.t.Helper()
	if err := c.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) expect(text string) {
	c.t.Helper()
	kind, got, err := c.ReadMessage()
	if err != nil || kind != websocket.TextMessage || string(got) != text {
		c.t.Fatalf("got kind %d %q, %v; want %q", kind, got, err, text)
	}
}

// closed reads on to the end and wants it to be a close frame with the code.
func (c *client) closed(code Code, reason string) {
	c.t.Helper()
	for {
		_, got, err := c.ReadMessage()
		if err == nil {
			c.t.Logf("before the close: %q", got)
			continue
		}
		var ce *websocket.CloseError
		if !errors.As(err, &ce) || Code(ce.Code) != code || (reason != "" && ce.Text != reason) {
			c.t.Fatalf("ended with %v; want %d %s", err, code, reason)
		}
		return
	}
}

// events is the far end of an SSE stream.
type events struct {
	*bufio.Reader
	res *http.Response
	t   testing.TB
}

func (r *rig) stream(key string) *events {
	r.t.Helper()
	tr := &http.Transport{DialContext: r.dial}
	res, err := (&http.Client{Transport: tr}).Get("http://hub/events/" + key + "?from=" + r.from)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(tr.CloseIdleConnections)
	return newEvents(r.t, res)
}

func newEvents(t testing.TB, res *http.Response) *events {
	t.Cleanup(func() { res.Body.Close() })
	return &events{bufio.NewReader(res.Body), res, t}
}

// block reads to the next empty line; "" at the end of the stream.
func (e *events) block() string {
	e.t.Helper()
	var b strings.Builder
	for {
		line, err := e.ReadString('\n')
		if err == io.EOF && b.Len() == 0 && line == "" {
			return ""
		}
		if err != nil {
			e.t.Fatalf("after %q: %v", b.String()+line, err)
		}
		if line == "\n" {
			return b.String()
		}
		b.WriteString(line)
	}
}

// until waits for a condition with a deadline; for real time only.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatal("never happened: " + what)
		}
		<-time.After(time.Millisecond)
	}
}

// observed counts a name that Observe was called with.
func (r *rig) observed(name string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.seen {
		if s == name {
			n++
		}
	}
	return n
}

// gate is the memory store behind a slow link: Watch waits for open.
type gate struct {
	*backend.Memory
	open chan struct{}
}

func (g gate) Watch(ctx context.Context, key string, changed func([]byte, uint64)) (func(), error) {
	select {
	case <-g.open:
		return g.Memory.Watch(ctx, key, changed)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// slow puts the gate before the store; nothing may be connected yet.
func (r *rig) slow() gate {
	g := gate{r.store, make(chan struct{})}
	r.hub.src = g
	return g
}

// The older of two sockets may be the later one to hold the topic.
func TestNewerSocketStaysWhoeverHoldsFirst(t *testing.T) {
	for name, order := range map[string][2]int{"older first": {0, 1}, "newer first": {1, 0}} {
		h := New(nil, Config{})
		sockets := [2]*socket{{conn: conn{hub: h, born: 1, paying: true}}, {conn: conn{hub: h, born: 2, paying: true}}}
		for _, i := range order {
			h.hold("a", sockets[i])
		}
		if h.holder["a"] != sockets[1] || sockets[0].code != Replaced || sockets[1].code != 0 {
			t.Errorf("%s: older %v, newer %v", name, sockets[0].code, sockets[1].code)
		}
	}
}
