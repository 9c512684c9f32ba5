package main

import (
	"encoding/json"
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// SIGTERM under 60 waiting browsers: the balancer hears of it first, requests
// are still served, every browser is told to come back, not all at once, and
// the program ends by itself with 0.
func TestDrainSendsBrowsersElsewhere(t *testing.T) {
	c := startCluster(t, 2, "SCANLOGIN_DRAIN=6s")
	leaving, staying := c.instances[0], c.instances[1]
	browsers := openBrowsers(t, c, 120)
	api := newCaller(t, leaving.url)
	phone := api.signIn("alice")
	leaving.signal(syscall.SIGTERM)
	begun := time.Now()
	eventually(t, time.Second, "readyz says 503", func() bool { return status(leaving.url+"/readyz") == 503 })
	l := api.create() // still served
	api.scan(&l, phone)

	told := make([]time.Duration, len(browsers))
	tally(browsers, func(i int, b *waiting) string {
		if (i/2)%2 != 0 {
			return "on the other instance"
		}
		closed := false
		for {
			b.socket.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
			_, raw, err := b.socket.conn.ReadMessage()
			var f struct {
				Type    string
				AfterMS int64 `json:"after_ms"`
			}
			var closeErr *websocket.CloseError
			switch {
			case errors.As(err, &closeErr) && closeErr.Code == 1012 && closed:
				return "told"
			case err != nil:
				t.Errorf("browser %d: %v", i, err)
				return "lost"
			case json.Unmarshal(raw, &f) == nil && f.Type == "reconnect" && f.AfterMS > 0:
				closed, told[i] = true, time.Since(begun)
			}
		}
	})
	first, last, n := time.Hour, time.Duration(0), 0
	for _, at := range told {
		if at > 0 {
			first, last, n = min(first, at), max(last, at), n+1
		}
	}
	t.Logf("%d browsers were told between %s and %s", n, first.Round(time.Millisecond), last.Round(time.Millisecond))
	if n != 60 || first < 1500*time.Millisecond || last-first < time.Second {
		t.Error("not all, too early, or all at once")
	}
	<-leaving.done
	if code := leaving.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if took := time.Since(begun); took > 8*time.Second {
		t.Errorf("draining took %s", took)
	}
	// Nobody lost anything: all of them sign in through the other instance.
	api = newCaller(t, staying.url)
	phones := signInCrowd(api)
	parallel(len(browsers), func(i int) { api.confirm(browsers[i].login, phones[browsers[i].user]) })
	ledger(t, api, browsers, func(int) bool { return true })
}

// A watcher that comes while an instance leaves is sent away with 503.
func TestDrainingInstanceTakesNoNewcomers(t *testing.T) {
	s := startServer(t, serveEnv("http://login.example", "SCANLOGIN_DRAIN=9s")).ready(t)
	api := newCaller(t, s.url)
	l := api.create()
	keep, err := watch(s.url, "http://login.example", l) // keeps the drain from ending early
	if err != nil {
		t.Fatal(err)
	}
	defer keep.conn.Close()
	s.signal(syscall.SIGTERM)
	eventually(t, 6*time.Second, "newcomers are refused", func() bool {
		a, err := api.try("GET", "/v1/tickets/"+l.id+"/events", "wrong", nil)
		return err == nil && a.status == 503 && a.code() == "overloaded" && a.header.Get("Retry-After") != ""
	})
	api.do(200, "GET", "/v1/tickets/"+l.id, l.deviceCode, nil) // answered at once, as ever
	if _, err := watch(s.url, "http://login.example", l); err == nil {
		t.Error("a new socket was taken")
	}
	<-s.done
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
