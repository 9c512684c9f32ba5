package web

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"scanlogin/qrlogin/backend"
)

// beginning is a request of which not everything has come.
type beginning struct {
	status chan int // of the answer; 0: cut off
	send   func(rest string)
}

// begin sends the head of a request, and so much of its body, over a connection of
// its own.
func (s *site) begin(line string, length int, body string, headers ...string) beginning {
	s.t.Helper()
	conn, err := s.pipes.dial(s.t.Context(), "", "")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	b := beginning{make(chan int, 1), func(rest string) { fmt.Fprint(conn, rest) }}
	go func() {
		defer conn.Close()
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			b.status <- 0
			return
		}
		b.status <- response.StatusCode
	}()
	head := fmt.Sprintf("%s HTTP/1.1\r\nHost: login.example\r\nContent-Type: application/json\r\nContent-Length: %d\r\n", line, length)
	for i := 0; i < len(headers); i += 2 {
		head += headers[i] + ": " + headers[i+1] + "\r\n"
	}
	b.send(head + "\r\n" + body)
	return b
}

// Slowloris: a body that trickles in, however large it wants to be, holds no place
// among the requests in flight, on any kind of route.
func TestTricklingBodyHoldsNoPlace(t *testing.T) {
	for _, line := range []string{"POST /v1/tickets", "POST /oauth/token", "POST /s/signin", "GET /openapi.yaml", "GET /v1/tickets/" + b64id, "POST /nowhere"} {
		for _, length := range []int{100, 100_000} {
			t.Run(fmt.Sprint(line, " ", length), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := limited(t, Limits{RequestsInFlight: 1})
					slow := s.begin(line, length, strings.Repeat(" ", min(length-10, maxBody+1)))
					for range 5 {
						time.Sleep(time.Second)
						slow.send(" ")
						if a := asksAnything(s, "198.51.100.7"); a.status != 200 {
							t.Fatalf("another request: %d %s", a.status, a.raw)
						}
					}
				})
			})
		}
	}
}

// What comes slowly is answered, however long the store takes or the caller wants to
// wait.
func TestSlowBodyIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, setup{
			direct: true, limits: true, publicURL: "http://login.example", proxies: []string{"192.0.2.0/24"},
			store: lazy{backend.NewMemory(), 700 * time.Millisecond}, bounds: Limits{RequestsInFlight: 1},
		})
		late := s.begin("POST /v1/tickets", 2, "{")
		time.Sleep(4 * time.Second)
		late.send("}")
		if status := <-late.status; status != 201 {
			t.Errorf("a ticket: %d", status)
		}
		l := s.create(nil)
		seq := s.want(200, "", "GET", l.path(""), nil, bearerOf(l.deviceCode)...).seq()
		begun, poll := time.Now(), s.begin(fmt.Sprintf("GET %s?seq=%.0f&wait=20", l.path(""), seq), 2, "{", bearerOf(l.deviceCode)...)
		time.Sleep(4 * time.Second)
		poll.send("}")
		if status := <-poll.status; status != 200 || time.Since(begun) < 20*time.Second {
			t.Errorf("a long poll: %d after %s", status, time.Since(begun))
		}
	})
}
