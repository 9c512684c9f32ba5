package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// lines collects a log that is written to from many goroutines.
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

// The whole program inside this process: after its end no goroutine is left,
// whether somebody was waiting or not.
func TestServeLeavesNothingBehind(t *testing.T) {
	for name, redis := range map[string]func() string{
		"memory": func() string { return "" },
		"redis":  func() string { return startRedis(t).url() },
	} {
		t.Run(name, func(t *testing.T) {
			good(t)
			t.Setenv("SCANLOGIN_REDIS_URL", redis())
			t.Setenv("SCANLOGIN_DEMO_USERS", "alice")
			before := goleak.IgnoreCurrent()
			ctx, stop := context.WithCancel(t.Context())
			var out lines
			ended := make(chan int, 1)
			go func() {
				ended <- run(ctx, []string{"serve", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--drain=1s", "--log=json"}, &out, &out)
			}()
			url := ""
			eventually(t, 10*time.Second, "the server is ready", func() bool {
				for line := range strings.Lines(out.String()) {
					var said struct{ Msg, Listen string }
					if json.Unmarshal([]byte(line), &said) == nil && said.Msg == "serving" {
						url = "http://" + said.Listen
					}
				}
				return url != "" && status(url+"/readyz") == 200
			})
			api := newCaller(t, url)
			phone := api.signIn("alice")
			l := api.create()
			waiting := api.create()
			var sockets []*socket
			for _, each := range []login{l, waiting} {
				s, err := watch(url, "https://login.example", each)
				if err != nil {
					t.Fatal(err)
				}
				sockets = append(sockets, s)
			}
			idle, err := net.Dial("tcp", strings.TrimPrefix(url, "http://")) // says nothing, ever
			if err != nil {
				t.Fatal(err)
			}
			defer idle.Close()
			api.scan(&l, phone)
			api.confirm(l, phone)
			if _, err := sockets[0].until("confirmed", 5*time.Second); err != nil {
				t.Fatal(err)
			}
			api.do(200, "POST", "/oauth/token", "", redeemForm(l))
			stop()
			if code := <-ended; code != 0 {
				t.Errorf("exit code %d: %s", code, out.String())
			}
			for _, s := range sockets {
				s.conn.Close()
			}
			api.http.CloseIdleConnections()
			if err := goleak.Find(before); err != nil {
				t.Error(err)
			}
		})
	}
}
