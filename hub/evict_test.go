package hub

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
)

const (
	outlaw = "203.0.113.7" // of the network that is banned here
	honest = "198.51.100.7"
)

var bannedNetwork = netip.MustParsePrefix("203.0.113.0/24")

// ban throws the network out.
func (r *rig) ban() { r.hub.Evict(bannedNetwork.Contains, BadMessage, "network_banned") }

// banned wants err to be the refusal of an evicted request.
func banned(t *testing.T, err error) {
	t.Helper()
	var refusal *Refusal
	if !errors.As(err, &refusal) || *refusal != (Refusal{BadMessage, "network_banned"}) {
		t.Errorf("ended with %v", err)
	}
}

// answer is what Wait returned.
type answer struct {
	Snapshot
	err error
}

// wait is a long poll that has seen the present state.
func (r *rig) wait(key string) <-chan answer {
	r.t.Helper()
	_, seen, err := r.store.Load(context.Background(), key)
	if err != nil {
		r.t.Fatal(err)
	}
	topic, ended := ticketTopic(key), make(chan answer, 1)
	topic.From, _ = netip.ParseAddr(r.from)
	go func() {
		s, err := r.hub.Wait(context.Background(), topic, seen, time.Hour)
		ended <- answer{s, err}
	}()
	return ended
}

// doors is one connection on each of the three.
type doors struct {
	ws  *client
	sse *events
	end <-chan answer
}

func (r *rig) enter(from, key string) doors {
	r.t.Helper()
	r.from = from
	d := doors{r.watching(key, "pending"), r.stream(key), r.wait(key)}
	d.sse.block()
	d.sse.block()
	synctest.Wait()
	return d
}

func TestBannedNetworkIsThrownOutThroughAllDoorsAndNobodyElse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := onPipes(t, Config{})
		var bad, good []doors
		for i, from := range []string{outlaw, honest, "203.0.113.255", "", "203.0.114.7", "2001:db8::7"} {
			key := fmt.Sprint("t", i)
			r.put(key, "pending", time.Hour)
			if d := r.enter(from, key); i%2 == 0 && i < 3 {
				bad = append(bad, d)
			} else {
				good = append(good, d)
			}
		}
		before := time.Now()
		r.ban()
		for _, d := range bad {
			d.ws.closed(BadMessage, "network_banned")
			if got := d.sse.block(); got != "" {
				t.Errorf("SSE: %q", got)
			}
			banned(t, (<-d.end).err)
		}
		if took := time.Since(before); took != 0 {
			t.Errorf("it took %v", took)
		}
		synctest.Wait()
		if s := r.hub.Stats(); s != (Stats{4, 4, 4}) {
			t.Errorf("%+v", s)
		}
		for i := range 6 {
			r.put(fmt.Sprint("t", i), "scanned", time.Hour)
		}
		for _, d := range good {
			d.ws.expect("scanned")
			if got := d.sse.block(); got == "" {
				t.Error("SSE ended")
			}
			if a := <-d.end; a.err != nil || string(a.Data) != "scanned" {
				t.Errorf("%q %v", a.Data, a.err)
			}
		}
	})
}

// The caller's check was before the ban, the connection comes in after Evict.
func TestSlowUpgradeDoesNotSlipPastABan(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := onPipes(t, Config{})
		r.put("a", "pending", time.Hour)
		r.ban()
		r.from = outlaw
		before := time.Now()
		_, text, err := r.connect().ReadMessage()
		if !websocket.IsCloseError(err, int(BadMessage)) {
			t.Errorf("%q %v; no hello", text, err)
		}
		if e := r.stream("a"); e.res.StatusCode != http.StatusForbidden {
			t.Error(e.res.Status)
		}
		banned(t, (<-r.wait("a")).err)
		if took := time.Since(before); took != 0 {
			t.Errorf("it took %v", took)
		}
		synctest.Wait()
		if s := r.hub.Stats(); s != (Stats{}) {
			t.Errorf("%+v", s)
		}
		r.hub.Evict(func(netip.Addr) bool { return false }, BadMessage, "network_banned") // it is lifted
		r.enter(outlaw, "a")
	})
}

// Newcomers check the list and come in, while the list changes and Evict looks around.
func TestBanRacingWithNewcomersLetsNobodySlip(t *testing.T) {
	for range 20 {
		bubble(t, func(t *testing.T) {
			r := onPipes(t, Config{})
			r.put("a", "pending", time.Hour)
			seen := rev(t, r, "a")
			topic := ticketTopic("a")
			topic.From = netip.MustParseAddr(outlaw)
			var list atomic.Bool
			before := time.Now()
			var all sync.WaitGroup
			for i := range 150 {
				all.Go(func() {
					switch {
					case list.Load(): // the caller's check
					case i%3 == 0:
						sneakIn(t, r)
					default:
						_, err := r.hub.Wait(context.Background(), topic, seen, time.Hour)
						banned(t, err)
					}
				})
				if i == 75 {
					all.Go(func() {
						list.Store(true)
						r.hub.Evict(func(from netip.Addr) bool { return list.Load() && bannedNetwork.Contains(from) },
							BadMessage, "network_banned")
					})
				}
			}
			all.Wait()
			synctest.Wait()
			if s, took := r.hub.Stats(), time.Since(before); s != (Stats{}) || took != 0 {
				t.Errorf("%+v after %v", s, took)
			}
		})
	}
}

// sneakIn opens a socket, never sends its watch, and wants to be thrown out.
func sneakIn(t *testing.T, r *rig) {
	d := websocket.Dialer{NetDialContext: r.dial}
	ws, res, err := d.Dial("ws://hub/ws?from="+outlaw, nil)
	if err != nil {
		t.Error(err)
		return
	}
	res.Body.Close()
	defer ws.Close()
	for err == nil {
		_, _, err = ws.ReadMessage()
	}
	if !websocket.IsCloseError(err, int(BadMessage)) {
		t.Error(err)
	}
}

func TestPeerThatDoesNotReadDoesNotHoldEvictUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := onPipes(t, Config{})
		r.put("a", "pending", time.Hour)
		r.put("b", "pending", time.Hour)
		r.from = outlaw
		r.connect() // does not even read its hello
		r.stream("a")
		slow := r.watching("b", "pending")
		other := r.watching("a", "pending")
		r.put("b", "scanned", time.Hour)
		synctest.Wait() // its writer waits
		slow.say("ping")
		synctest.Wait()
		r.put("b", "confirmed", time.Hour)
		before := time.Now()
		r.ban()
		other.closed(BadMessage, "network_banned")
		slow.expect("scanned") // was on its way; what was owed besides is dropped
		_, text, err := slow.ReadMessage()
		if !websocket.IsCloseError(err, int(BadMessage)) {
			t.Errorf("%q %v", text, err)
		}
		if took := time.Since(before); took != 0 {
			t.Errorf("it took %v", took)
		}
		synctest.Wait()
		if s := r.hub.Stats(); s != (Stats{WS: 1, SSE: 1}) {
			t.Errorf("%+v", s)
		}
		<-time.After(5 * time.Second)
		synctest.Wait()
		if s := r.hub.Stats(); s != (Stats{}) {
			t.Errorf("%+v: the stuck ones were not cut", s)
		}
	})
}

// A peer that ignores our close frame has a second.
func TestBannedPeerCannotStayByIgnoringTheClose(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := onPipes(t, Config{})
		r.from = outlaw
		c := r.connect()
		c.expect("hello")
		c.SetCloseHandler(func(int, string) error { return nil })
		r.ban()
		c.closed(BadMessage, "network_banned")
		<-time.After(time.Second)
		synctest.Wait()
		if s := r.hub.Stats(); s != (Stats{}) {
			t.Errorf("%+v", s)
		}
	})
}

func TestBanDuringADrain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := onPipes(t, Config{})
		const n = 10 // of each; the drain has told one or two of them when the ban comes
		codes := map[string]*[2]atomic.Int32{outlaw: {}, honest: {}}
		var all sync.WaitGroup
		for i := range 2 * n {
			r.from = []string{outlaw, honest}[i%2]
			r.put(fmt.Sprint("t", i), "pending", time.Hour)
			c, count := r.watching(fmt.Sprint("t", i), "pending"), codes[r.from]
			all.Go(func() {
				var err error
				for err == nil {
					_, _, err = c.ReadMessage()
				}
				switch {
				case websocket.IsCloseError(err, int(BadMessage)):
					count[0].Add(1)
				case websocket.IsCloseError(err, int(Restarting)):
					count[1].Add(1)
				default:
					t.Error(err)
				}
			})
		}
		before, drained := time.Now(), make(chan struct{})
		go func() { defer close(drained); r.hub.Drain(context.Background(), 20*time.Second) }()
		<-time.After(1500 * time.Millisecond)
		r.ban()
		synctest.Wait()
		thrown, told := codes[outlaw][0].Load(), codes[outlaw][1].Load()
		if left := r.hub.Stats().WS; thrown < n-2 || thrown+told != n || left < n-2 {
			t.Errorf("%d thrown out, %d told before, %d left", thrown, told, left)
		}
		r.from = outlaw
		_, text, err := r.connect().ReadMessage()
		if !websocket.IsCloseError(err, int(BadMessage)) {
			t.Errorf("a newcomer got %q %v", text, err)
		}
		<-drained
		all.Wait()
		if got := codes[honest][1].Load(); got != n {
			t.Errorf("%d of the others were told to come back", got)
		}
		if took := time.Since(before); took > 20*time.Second+tickLength {
			t.Errorf("drained after %v", took)
		}
	})
}

func TestBanDuringTheLook(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := onPipes(t, Config{})
		g := r.slow()
		r.put("a", "pending", time.Hour)
		r.from = outlaw
		c := r.connect()
		c.expect("hello")
		c.say("watch a")
		answered := make(chan *events, 1)
		go func() { answered <- r.stream("a") }()
		waited := r.wait("a")
		synctest.Wait()
		if s := r.hub.Stats(); s != (Stats{1, 1, 1}) {
			t.Fatalf("%+v", s)
		}
		c.SetCloseHandler(func(int, string) error { return nil }) // nobody reads while the look lasts
		r.ban()
		c.closed(BadMessage, "network_banned")
		close(g.open)
		if e := <-answered; e.res.StatusCode != http.StatusForbidden {
			t.Error(e.res.Status)
		}
		banned(t, (<-waited).err)
		c.NetConn().Close()
		synctest.Wait()
		if s := r.hub.Stats(); s != (Stats{}) {
			t.Errorf("%+v", s)
		}
	})
}

// match may use the hub, and one that panics costs the connection it was asked about.
func TestMatchIsCalledWithoutALockAndMayPanic(t *testing.T) {
	r := onTCP(t, Config{})
	r.put("a", "pending", time.Hour)
	r.from = outlaw
	bad := r.connect()
	r.from = honest
	good := r.watching("a", "pending")
	evicted := make(chan struct{})
	go func() {
		defer close(evicted)
		r.hub.Evict(func(from netip.Addr) bool {
			if r.hub.Stats(); bannedNetwork.Contains(from) {
				panic("match")
			}
			return false
		}, BadMessage, "network_banned")
	}()
	select {
	case <-evicted:
	case <-time.After(10 * time.Second):
		t.Fatal("Evict hangs")
	}
	bad.closed(Internal, "internal")
	r.from = outlaw
	r.connect().closed(Internal, "internal")
	good.say("ping")
	good.expect("pong")
}

// The same at the narrowest place: who is not on Evict's list has to meet the ban.
func TestNobodyIsAdmittedBetweenTheListAndTheBan(t *testing.T) {
	for range 500 {
		h := New(nil, Config{})
		var all []*conn
		var in atomic.Int32
		var evicted atomic.Bool
		var newcomers sync.WaitGroup
		newcomers.Go(func() {
			for !evicted.Load() {
				c := &conn{hub: h, from: netip.MustParseAddr(outlaw), paying: true} // nobody has to be woken
				all = append(all, c)
				h.admit(c)
				in.Add(1)
			}
		})
		for in.Load() < 20 {
			runtime.Gosched()
		}
		h.Evict(bannedNetwork.Contains, BadMessage, "network_banned")
		evicted.Store(true)
		newcomers.Wait()
		for i, c := range all {
			if c.code != BadMessage {
				t.Fatalf("newcomer %d of %d slipped in", i, len(all))
			}
		}
	}
}
