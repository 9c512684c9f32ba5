package main

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// Slowloris: who sends a request piece by piece, or announces a body and never
// sends it, is cut off on every route, also on those that may wait.
func TestSlowlorisIsCutOff(t *testing.T) {
	t.Parallel()
	s := startServer(t, serveEnv("http://login.example")).ready(t)
	l := newCaller(t, s.url).create()
	withBody := "\r\nHost: login.example\r\nOrigin: http://login.example\r\nContent-Length: 10\r\n"
	bearer := "Authorization: Bearer " + l.deviceCode + "\r\n\r\n"
	requests := map[string]string{
		"half a header": "GET /livez HTTP/1.1\r\nHost: login.ex",
	}
	for _, path := range []string{"", "/events", "/decision", "/ws", "?seq=1&wait=25"} {
		requests["no credential, "+path] = "GET /v1/tickets/x" + path + " HTTP/1.1" + withBody + "\r\n"
		requests["the owner, "+path] = "GET /v1/tickets/" + l.id + path + " HTTP/1.1" + withBody + bearer
	}
	requests["a form"] = "POST /s/scan HTTP/1.1" + withBody + "Content-Type: application/x-www-form-urlencoded\r\n\r\n"
	var wg sync.WaitGroup
	for name, request := range requests {
		wg.Go(func() {
			begun := time.Now()
			c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			c.SetDeadline(begun.Add(15 * time.Second))
			fmt.Fprint(c, request)
			if _, err := io.Copy(io.Discard, c); err != nil {
				t.Errorf("%s: still open after %s: %v", name, time.Since(begun).Round(time.Second), err)
			}
		})
	}
	wg.Wait()
}
