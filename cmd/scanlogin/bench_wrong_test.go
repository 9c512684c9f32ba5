package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"scanlogin/cmd/scanlogin/bench"
)

// snapshots passes everything on, and what polls are told as change makes of it.
func snapshots(change func(w http.ResponseWriter, body []byte)) meddler {
	return func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
		if r.Method != http.MethodGet || !strings.HasPrefix(r.URL.Path, "/v1/tickets/") {
			forward.ServeHTTP(w, r)
			return
		}
		answer := httptest.NewRecorder()
		forward.ServeHTTP(answer, r)
		w.WriteHeader(answer.Code)
		change(w, answer.Body.Bytes())
	}
}

func TestBenchFindsSwallowedPushes(t *testing.T) {
	s := startServer(t, serveEnv("http://login.example", "SCANLOGIN_LIMITS=off")).ready(t)
	flags := through(t, s, func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
		answer := httptest.NewRecorder()
		forward.ServeHTTP(answer, r)
		if r.Method == http.MethodGet && bytes.Contains(answer.Body.Bytes(), []byte(`"status":"confirmed"`)) {
			http.Error(w, "there is no such ticket", http.StatusNotFound)
			return
		}
		w.WriteHeader(answer.Code)
		w.Write(answer.Body.Bytes())
	})
	r := needResult(t, 1, append(flags, "--logins=12", "--transport=poll")...)
	if r.Logins.Untold < 12 || r.Logins.Done+r.Logins.Lost+r.Logins.Failed != 0 || r.Errors["told 404"] == 0 {
		t.Errorf("logins %+v, errors %v", r.Logins, r.Errors)
	}
}

// Logins are told of another ticket when the phone has scanned, idle browsers when
// theirs expires.
func TestBenchFindsSnapshotsOfAnotherTicket(t *testing.T) {
	s := startServer(t, serveEnv("http://login.example", "SCANLOGIN_LIMITS=off", "SCANLOGIN_TICKET_TTL=2s")).ready(t)
	flags := through(t, s, snapshots(func(w http.ResponseWriter, body []byte) {
		if bytes.Contains(body, []byte(`"status":"scanned"`)) || bytes.Contains(body, []byte(`"status":"expired"`)) {
			body = bytes.Replace(body, []byte(`"ticket_id":"`), []byte(`"ticket_id":"x`), 1)
		}
		w.Write(body)
	}))
	r := needResult(t, 1, append(flags, "--transport=poll", "--rate=5", "--browsers=5", "--duration=3s")...)
	if r.Logins.Misgiven == 0 || r.Logins.Done+r.Logins.Failed != 0 || r.Errors["seen foreign_ticket"] == 0 {
		t.Errorf("logins %+v, errors %v", r.Logins, r.Errors)
	}
	if b := r.Browsers; b.Misgiven < 5 || b.Dropped != 0 || r.Errors["hold foreign_ticket"] != b.Misgiven {
		t.Errorf("browsers %+v, errors %v", b, r.Errors)
	}
}

// Refused by a running server is one thing; if that is all there was, it is no success.
func TestBenchFailsWhenNoLoginWasDone(t *testing.T) {
	s := startServer(t, serveEnv("http://login.example", "SCANLOGIN_LIMITS=off")).ready(t)
	var scans atomic.Int64
	for name, row := range map[string]struct {
		refuses func(scan int64) bool
		code    int
	}{
		"all":  {func(scan int64) bool { return scan > 3 }, 1},
		"some": {func(scan int64) bool { return scan > 10 && scan%2 == 0 }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			scans.Store(0)
			flags := through(t, s, func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
				if r.URL.Path == "/v1/scan" && row.refuses(scans.Add(1)) {
					http.Error(w, `{"code":"rate_limited"}`, http.StatusTooManyRequests)
					return
				}
				forward.ServeHTTP(w, r)
			})
			r := needResult(t, row.code, append(flags, "--logins=10")...)
			if r.Logins.Failed == 0 || (r.Logins.Done == 0) != (name == "all") {
				t.Errorf("logins %+v, errors %v", r.Logins, r.Errors)
			}
		})
	}
}

// What was due while a server stood still, and could not begin before the end.
func TestBenchCountsWhatWasNotBegun(t *testing.T) {
	s := startServer(t, serveEnv("http://login.example", "SCANLOGIN_LIMITS=off")).ready(t)
	var n atomic.Int64
	flags := between(t, s, func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
		if n.Add(1) == 10 { // after the warm-up
			<-time.After(1500 * time.Millisecond)
		}
		forward.ServeHTTP(w, r)
	})
	r := needResult(t, 0, append(flags, "--duration=1s", "--rate=30", "--parallel=1")...)
	l := r.Logins
	if l.Unbegun < 10 || l.Done+l.Unbegun != 30 || l != (bench.Logins{Done: l.Done, Unbegun: l.Unbegun}) {
		t.Errorf("logins %+v", l)
	}
}
