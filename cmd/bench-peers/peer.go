package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"scanlogin/cmd/scanlogin/bench"
)

// The frames of the contract that peers send; all of them pretend that every
// ticket was scanned just now.
const (
	protocol = "scanlogin.v1"
	hello    = `{"type":"hello","heartbeat_ms":%d,"watch_within_ms":5000}`
	snapshot = `{"type":"ticket","ticket_id":"%d","seq":%d,"status":"%s","expires_in":900}`
	ticket   = `{"type":"ticket","ticket_id":"%d","seq":1,"status":"pending","expires_in":900,"interval":5,` +
		`"verification_uri_complete":"%s/s/%d","device_code":"%d.x"}`
	scanned = `{"ticket_id":"%d","seq":%d,"status":"scanned","confirm_token":"x","expires_in":900}`
	session = `{"access_token":"x","token_type":"Bearer","expires_in":900,"refresh_token":"x","scope":"phone"}`
)

var errMessage = errors.New("not a message of the contract")

// watcher is an open connection that shows one ticket.
type watcher interface{ send(frame []byte) }

// board is what the peers with net/http share: who watches which ticket. It
// forgets nobody: a peer lives for one measurement, in which nobody leaves.
type board struct {
	url  string
	beat time.Duration // between heartbeats

	mu       sync.Mutex
	watchers []watcher // by ticket; nil: nobody yet
	seq      uint64
}

// hello is the first frame of every socket.
func (b *board) hello() string { return fmt.Sprintf(hello, b.beat.Milliseconds()) }

// routes are the requests that are the same in all of them.
func (b *board) routes(mux *http.ServeMux) {
	mux.HandleFunc("POST /v1/signin/demo", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, session)
	})
	mux.HandleFunc("POST /v1/tickets", func(w http.ResponseWriter, _ *http.Request) {
		b.mu.Lock()
		n := len(b.watchers)
		b.watchers = append(b.watchers, nil)
		b.mu.Unlock()
		answer(w, http.StatusCreated, fmt.Sprintf(ticket, n, b.url, n, n))
	})
	mux.HandleFunc("POST /v1/scan", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 8<<10))
		n, numberErr := scanOf(body)
		if err = errors.Join(err, numberErr); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		seq, ok := b.changed(n)
		if !ok {
			http.NotFound(w, r)
			return
		}
		answer(w, http.StatusOK, fmt.Sprintf(scanned, n, seq))
	})
}

// changed tells the ticket's watcher; false: there is no such ticket.
func (b *board) changed(n int) (seq uint64, ok bool) {
	b.mu.Lock()
	if n >= len(b.watchers) {
		b.mu.Unlock()
		return 0, false
	}
	b.seq++
	seq = b.seq + 1
	w := b.watchers[n]
	b.mu.Unlock()
	if w != nil {
		w.send(fmt.Appendf(nil, snapshot, n, seq, "scanned"))
	}
	return seq, true
}

// watch makes w the ticket's watcher and sends the first snapshot.
func (b *board) watch(n int, w watcher) bool {
	b.mu.Lock()
	known := n < len(b.watchers)
	if known {
		b.watchers[n] = w
	}
	b.mu.Unlock()
	if known {
		w.send(fmt.Appendf(nil, snapshot, n, 1, "pending"))
	}
	return known
}

func answer(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	io.WriteString(w, body)
}

// scanOf is the ticket that a POST /v1/scan names by its QR text.
func scanOf(body []byte) (int, error) {
	var in struct{ QR string }
	if err := json.Unmarshal(body, &in); err != nil {
		return 0, err
	}
	return number(in.QR[strings.LastIndexByte(in.QR, '/')+1:])
}

// watchOf is the ticket that a watch frame names by its device_code.
func watchOf(message []byte) (int, error) {
	var in struct {
		Type       string
		DeviceCode string `json:"device_code"`
	}
	if err := json.Unmarshal(message, &in); err != nil {
		return 0, err
	}
	id, _, ok := strings.Cut(in.DeviceCode, ".")
	if in.Type != "watch" || !ok {
		return 0, errMessage
	}
	return number(id)
}

func number(text string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 31)
	return int(n), err
}

// runPeer is what a child of this program does: it serves until its stdin,
// and so the parent, has ended. Its one line of output says where.
func runPeer(kind string, beat time.Duration) error {
	public, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	admin, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	at := bench.Server{URL: "http://" + public.Addr().String(), Admin: "http://" + admin.Addr().String()}
	b := &board{url: at.URL, beat: beat}
	mux := http.NewServeMux()
	b.routes(mux)
	serve := func() error { return http.Serve(public, mux) }
	switch kind {
	case "chat":
		mux.HandleFunc("GET /v1/tickets/{id}/ws", b.chat)
	case "gws":
		mux.Handle("GET /v1/tickets/{id}/ws", newGWS(b))
	case "sse":
		mux.HandleFunc("GET /v1/tickets/{id}/events", b.events)
	case "floor":
		serve = func() error { return serveFloor(public.(*net.TCPListener), at.URL, beat) }
	default:
		return fmt.Errorf("no such peer: %q", kind)
	}
	inside := http.NewServeMux()
	inside.Handle("/metrics", promhttp.Handler())
	inside.Handle("/debug/pprof/heap", pprof.Handler("heap"))
	ended := make(chan error, 3)
	go func() { ended <- serve() }()
	go func() { ended <- http.Serve(admin, inside) }()
	go func() {
		_, err := io.Copy(io.Discard, os.Stdin)
		ended <- err
	}()
	if err := json.NewEncoder(os.Stdout).Encode(at); err != nil {
		return err
	}
	return <-ended
}
