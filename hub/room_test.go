package hub

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// by24 is a cap for every IPv4 /24.
func by24(most int) Cap {
	return Cap{Most: most, Network: func(from netip.Addr) netip.Prefix {
		network, _ := from.Prefix(24) // invalid of one that is not known
		return network
	}}
}

// refusedUpgrade wants no socket, and an answer instead.
func (r *rig) refusedUpgrade(t *testing.T) {
	t.Helper()
	d := websocket.Dialer{NetDialContext: r.dial}
	ws, res, err := d.Dial("ws://hub/ws?from="+r.from, nil)
	if err == nil {
		ws.Close()
		t.Fatal("one too many was upgraded")
	}
	if res == nil || res.StatusCode != http.StatusServiceUnavailable {
		t.Fatalf("refused with %v %v", res, err)
	}
	res.Body.Close()
}

func (r *rig) taken() int {
	r.hub.mu.Lock()
	defer r.hub.mu.Unlock()
	return r.hub.room.all
}

// nobody says that the hub keeps no count of anybody.
func (r *rig) nobody() bool {
	r.hub.mu.Lock()
	defer r.hub.mu.Unlock()
	left := len(r.hub.room.groups)
	for _, counts := range r.hub.room.caps {
		left += len(counts)
	}
	return r.hub.room.all == 0 && left == 0
}

// A network has as many connections as it may, through whichever door, and another
// network has its own.
func TestOneNetworkCannotTakeEveryPlace(t *testing.T) {
	r := onTCP(t, Config{Caps: []Cap{by24(3)}})
	r.put("a", "pending", time.Hour)
	r.from = outlaw
	socket, stream, poll := r.watching("a", "pending"), r.stream("a"), r.wait("a")
	stream.block()
	until(t, "the poll waits", func() bool { return r.hub.Stats().Poll == 1 })
	r.from = "203.0.113.200" // the same network
	r.refusedUpgrade(t)
	topic := ticketTopic("a")
	topic.From = netip.MustParseAddr(r.from)
	if _, err := r.hub.Wait(context.Background(), topic, 0, 0); !errors.Is(err, ErrCrowded) {
		t.Errorf("Wait: %v", err)
	}
	if e := r.stream("a"); e.res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("SSE: %d", e.res.StatusCode)
	}
	for _, other := range []string{honest, "", "2001:db8::1"} { // the last two have no such network
		r.from = other
		r.watching("a", "pending").Close()
	}
	r.from = outlaw
	r.put("a", "scanned", time.Hour) // each of the three is told, and the poll is over
	if a := <-poll; a.err != nil {
		t.Error(a.err)
	}
	until(t, "a place is free", func() bool { return r.hub.Stats().Poll == 0 })
	r.connect()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Contains(r.seen, "hub.refused.sockets_per_network") {
		t.Errorf("not observed: %v", r.seen)
	}
	socket.Close()
}

func TestHubHasRoomForSoManyAndNoMore(t *testing.T) {
	r := onTCP(t, Config{Most: 2})
	r.put("a", "pending", time.Hour)
	first := r.connect()
	r.stream("a").block()
	r.refusedUpgrade(t)
	if _, err := r.hub.Wait(context.Background(), ticketTopic("a"), 0, 0); !errors.Is(err, ErrFull) {
		t.Errorf("Wait: %v", err)
	}
	first.Close()
	until(t, "a place is free", func() bool { return r.taken() == 1 })
	r.connect()
}

// Whatever way a connection ends, or does not even begin, its place is free again.
func TestEveryEndGivesThePlaceBack(t *testing.T) {
	r := onTCP(t, Config{
		Most: 1, Caps: []Cap{by24(1)}, MostPerGroup: 1, WatchWithin: 200 * time.Millisecond, WriteWithin: 200 * time.Millisecond,
		HandshakeError: func(_ http.ResponseWriter, q *http.Request, _ int, _ error) {
			if q.FormValue("group") == "panic" {
				panic(http.ErrAbortHandler)
			}
		},
	})
	plain := func(query string) {
		tr := &http.Transport{DialContext: r.dial}
		defer tr.CloseIdleConnections()
		if res, err := (&http.Client{Transport: tr}).Get("http://hub/ws?from=" + honest + query); err == nil {
			res.Body.Close()
		}
	}
	for name, visit := range map[string]func(){
		"the client leaves":    func() { r.watching("a", "pending").Close() },
		"the line breaks":      func() { r.watching("a", "pending").NetConn().Close() },
		"no watch in time":     func() { r.connect().closed(WatchTimeout, "") },
		"wrong credential":     func() { c := r.connect(); c.say("watch wrong"); c.closed(Unauthorized, "") },
		"store away":           func() { c := r.connect(); c.say("watch down"); c.closed(TryLater, "") },
		"panic of the reader":  func() { c := r.connect(); c.say("panic"); c.closed(Internal, "") },
		"panic of the encoder": func() { r.put("p", "panic", time.Hour); c := r.connect(); c.say("watch p"); c.closed(Internal, "") },
		"last snapshot":        func() { r.put("d", "denied", time.Hour); r.watching("d", "denied").closed(Done, "") },
		"evicted": func() {
			c := r.watching("a", "pending")
			r.hub.Evict(func(netip.Addr) bool { return true }, BadMessage, "x")
			c.closed(BadMessage, "")
			r.hub.Evict(func(netip.Addr) bool { return false }, BadMessage, "x")
		},
		"no handshake":     func() { plain("") },
		"handshake panics": func() { plain("&group=panic") },
		"stream ends": func() {
			r.put("d", "denied", time.Hour)
			e := r.stream("d")
			for e.block() != "" {
				_ = e
			}
		},
		"stream is left": func() { e := r.stream("a"); e.block(); e.res.Body.Close() },
		"poll":           func() { r.hub.Wait(context.Background(), ticketTopic("a"), 0, 0) },
		"poll of nothing": func() {
			r.hub.Wait(context.Background(), Topic{Key: "a", Encode: func([]byte, uint64, time.Time) (Snapshot, error) { panic("x") }}, 0, 0)
		},
		"a group": func() {
			r.from += "&group=g"
			r.watching("a", "pending").Close()
		},
		"a group of a wrong watch": func() {
			r.from += "&group=g"
			c := r.connect()
			c.say("watch wrong")
			c.closed(Unauthorized, "")
		},
	} {
		t.Run(name, func(t *testing.T) {
			r.put("a", "pending", time.Hour)
			r.from = honest
			visit()
			until(t, "nobody is counted", r.nobody)
		})
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r.from = honest
	last := r.connect()
	go r.hub.Drain(ctx, 0)
	last.closed(Restarting, "")
	until(t, "drained", r.nobody)
}

// A session has so many sockets; one more may come back when one has gone.
func TestOneSessionCannotTakeEveryPlace(t *testing.T) {
	r := onTCP(t, Config{MostPerGroup: 2})
	r.put("a", "pending", time.Hour)
	r.from = honest + "&group=mine"
	first := r.watching("a", "pending")
	r.watching("a", "pending")
	third := r.connect()
	third.expect("hello")
	third.say("watch a")
	third.closed(TryLater, "rate_limited")
	r.from = honest + "&group=another"
	r.watching("a", "pending")
	r.from = honest + "&group=mine"
	first.Close()
	until(t, "a place is free", func() bool { return r.hub.Stats().WS == 2 })
	r.watching("a", "pending")
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Contains(r.seen, "hub.refused.sockets_per_session") {
		t.Errorf("not observed: %v", r.seen)
	}
}

// Many who come at the same moment do not slip in together.
func TestCrowdAtTheDoorDoesNotSlipIn(t *testing.T) {
	r := onTCP(t, Config{Caps: []Cap{by24(5)}})
	r.put("a", "pending", time.Hour)
	topic := ticketTopic("a")
	topic.From = netip.MustParseAddr(outlaw)
	_, seen, _ := r.store.Load(context.Background(), "a")
	ctx, leave := context.WithCancel(context.Background())
	var crowded, waited atomic.Int32
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			if _, err := r.hub.Wait(ctx, topic, seen, time.Hour); errors.Is(err, ErrCrowded) {
				crowded.Add(1)
			} else {
				waited.Add(1)
			}
		})
	}
	until(t, "all have knocked", func() bool { return crowded.Load() == 95 && r.hub.Stats().Poll == 5 })
	leave()
	all.Wait()
	if waited.Load() != 5 || !r.nobody() {
		t.Errorf("%d waited", waited.Load())
	}
}
