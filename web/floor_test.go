package web

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"scanlogin/hub"
	"scanlogin/qrlogin/backend"
)

// lazy is a store that takes its time over permits.
type lazy struct {
	*backend.Memory
	takes time.Duration
}

func (l lazy) Take(ctx context.Context, key string, every time.Duration, burst int) (time.Duration, error) {
	select {
	case <-time.After(l.takes):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	return l.Memory.Take(ctx, key, every, burst)
}

// What is being worked at holds places in the crowd. One network gets an eighth of
// them, and the instance says when it is full.
func TestSlowRequestsDoNotKeepOthersOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, setup{
			direct: true, limits: true, proxies: []string{"192.0.2.0/24"},
			store: lazy{backend.NewMemory(), 700 * time.Millisecond}, bounds: Limits{RequestsInFlight: 4},
		})
		done := make(chan int, 4)
		hold := func(address string) {
			go func() { done <- asksTicket(s, address).status }()
			synctest.Wait() // until the store is waited for
		}
		hold("203.0.113.7")
		slowed(t, asksAnything(s, "203.0.113.200"), "5")
		if a := asksAnything(s, "198.51.100.7"); a.status != 200 {
			t.Errorf("another network: %d %s", a.status, a.raw)
		}
		hold("198.51.100.7")
		hold("2001:db8:1:1::1")
		hold("2001:db8:1:2::1")
		a := asksAnything(s, "2001:db8:2::1")
		if a.status != 503 || a.code() != "overloaded" || a.header.Get("Retry-After") == "" {
			t.Errorf("a full instance: %d %s", a.status, a.raw)
		}
		s.want(200, "", "GET", "/livez", nil)
		for range cap(done) {
			if status := <-done; status != 201 {
				t.Errorf("one who was in: %d", status)
			}
		}
		if a := asksAnything(s, "203.0.113.7"); a.status != 200 || len(s.web.crowd.of) != 0 || s.web.crowd.all != 0 {
			t.Errorf("afterwards: %d, %d are counted in %v", a.status, s.web.crowd.all, s.web.crowd.of)
		}
	})
}

// Who waits is a connection, not a request in flight.
func TestWaitingRequestsAreNotInFlight(t *testing.T) {
	s := limited(t, Limits{RequestsInFlight: 4})
	here := from("203.0.113.7")
	var l login
	a := s.want(201, "", "POST", "/v1/tickets", nil, here...)
	l.id, l.deviceCode = a.text("ticket_id"), a.text("device_code")
	ctx, leave := context.WithCancel(t.Context())
	polled := make(chan struct{})
	go func() {
		defer close(polled)
		r := s.request("GET", fmt.Sprintf("%s?seq=%.0f&wait=25", l.path(""), a.seq()), nil, append(here, bearerOf(l.deviceCode)...)...)
		if response, err := s.client.Do(r.WithContext(ctx)); err == nil {
			response.Body.Close()
		}
	}()
	eventually(t, "it waits", func() bool { return s.hub.Stats().Poll == 1 })
	s.want(200, "", "GET", "/openapi.yaml", nil, here...)
	leave()
	<-polled
}

// Sockets, streams and polls of one network, refused before they are upgraded.
func TestOpenSocketsOfANetworkAreLimited(t *testing.T) {
	s := newSite(t, setup{limits: true, bounds: Limits{SocketsPerNetwork: 2}, proxies: []string{"127.0.0.0/8"}})
	l := s.create(nil)
	open := func(path, address string) (*websocket.Conn, answer) {
		t.Helper()
		return s.dial(path, append(from(address), "Origin", s.public)...)
	}
	first, _ := open(l.path("/ws"), "203.0.113.7")
	second, _ := open("/v1/sessions/current/ws", "203.0.113.8")
	for _, path := range []string{l.path("/ws"), "/v1/sessions/current/ws"} {
		_, a := open(path, "203.0.113.9")
		slowed(t, a, "5")
		if third, a := open(path, "198.51.100.7"); third == nil {
			t.Errorf("another network: %d %s", a.status, a.raw)
		}
	}
	slowed(t, s.send("GET", l.path("/events"), nil, append(from("203.0.113.9"), bearerOf(l.deviceCode)...)...), "5")
	now := s.want(200, "", "GET", l.path(""), nil, bearerOf(l.deviceCode)...)
	slowed(t, s.send("GET", fmt.Sprintf("%s?seq=%.0f&wait=5", l.path(""), now.seq()), nil, append(from("203.0.113.9"), bearerOf(l.deviceCode)...)...), "5")
	_, a := s.dial(l.path("/ws"), append(from("203.0.113.9"), "Origin", "https://evil.example")...)
	if a.status != 403 {
		t.Errorf("a foreign page learns of the limit: %d", a.status)
	}
	first.Close()
	second.Close()
	eventually(t, "their places are free", func() bool {
		c, _ := open(l.path("/ws"), "203.0.113.9")
		return c != nil
	})
}

// A session has so many sockets.
func TestOpenSocketsOfASessionAreLimited(t *testing.T) {
	s := limited(t, Limits{SocketsPerSession: 2})
	access := s.signedIn(s.phone("alice")).text("access_token")
	first := s.watching(access)
	s.watching(access)
	third := s.watchSession(access)
	for {
		if _, _, err := third.ReadMessage(); err != nil {
			if !websocket.IsCloseError(err, int(hub.TryLater)) {
				t.Errorf("the third one: %v", err)
			}
			break
		}
	}
	s.watching(s.signedIn(s.phone("alice")).text("access_token")) // another session of the user
	first.Close()
	eventually(t, "the place is free", func() bool { return s.hub.Stats().WS == 2 })
	s.watching(access)
	if n := s.refusals(socketsPerSession); n != "1" {
		t.Errorf("%s refusals were counted", n)
	}
}

// A flood from a million networks has the floor remember two generations of them,
// and does not make it forget who is over a limit.
func TestMillionNetworksDoNotGrowTheFloor(t *testing.T) {
	f, now, rate := floor{}, time.Now(), Rate{3, 24 * time.Hour}
	greedy := asker{limit: "x", network: netip.MustParsePrefix("203.0.113.0/24")}
	for range 3 {
		f.take(greedy, rate, now)
	}
	var address [16]byte
	for i := range 1_000_000 {
		binary.BigEndian.PutUint64(address[:], 0x20010db8_00000000+uint64(i))
		f.take(asker{limit: "x", network: networkOf(netip.AddrFrom16(address))}, rate, now)
		if i%1000 == 0 && f.take(greedy, rate, now) == 0 {
			t.Fatalf("forgotten after %d others", i)
		}
		if n := len(f.young) + len(f.old); n > 2*generation+1 {
			t.Fatalf("%d are remembered", n)
		}
	}
}
