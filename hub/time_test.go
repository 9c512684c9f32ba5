package hub

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
)

// bubble runs a test in virtual time.
func bubble(t *testing.T, f func(t *testing.T)) { t.Helper(); synctest.Test(t, f) }

// deadline is a pending record that ends after d.
func deadline(d time.Duration) string {
	return fmt.Sprintf("pending@%d", time.Now().Add(d).UnixMilli())
}

func TestHeartbeatComesWithinItsTimeAndJittered(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := onPipes(t, Config{})
		r.put("a", "pending", time.Hour)
		c := r.watching("a", "pending")
		var at []time.Time
		answer := c.PingHandler()
		c.SetPingHandler(func(p string) error { at = append(at, time.Now()); return answer(p) })
		from := time.Now()
		go c.ReadMessage()
		<-time.After(10 * time.Minute)
		synctest.Wait()
		gaps := map[time.Duration]bool{}
		for _, ping := range at {
			gap := ping.Sub(from)
			if gap < 20*time.Second || gap > 25*time.Second+tickLength {
				t.Errorf("a ping after %v", gap)
			}
			gaps[gap], from = true, ping
		}
		if len(at) < 20 || len(gaps) < 5 {
			t.Errorf("%d pings, %d different gaps", len(at), len(gaps))
		}
	})
}

func TestPeerThatAnswersNoPingIsGivenUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := onPipes(t, Config{})
		r.put("a", "pending", time.Hour)
		c := r.watching("a", "pending")
		var ping time.Time
		c.SetPingHandler(func(string) error { ping = time.Now(); return nil })
		_, _, err := c.ReadMessage()
		if took := time.Since(ping); !websocket.IsCloseError(err, 1006) || took < 10*time.Second || took > 10*time.Second+tickLength {
			t.Errorf("%v, %v after the ping", err, took)
		}
		synctest.Wait()
		if s := r.hub.Stats(); s.WS != 0 || r.observed("hub.close.lost") != 1 {
			t.Errorf("%+v %v", s, r.seen)
		}
	})
}

// With a heartbeat of a second an honest client sends ten pongs in ten seconds.
func TestPongsWeAskedForDoNotCount(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := onPipes(t, Config{Heartbeat: time.Second})
		r.put("a", "pending", time.Hour)
		c := r.watching("a", "pending")
		go func() {
			for range 40 {
				<-time.After(2 * time.Second)
				c.WriteMessage(websocket.TextMessage, []byte("ping"))
			}
			<-time.After(time.Second)
			r.put("a", "confirmed", time.Hour)
		}()
		for range 40 {
			c.expect("pong")
		}
		c.expect("confirmed")
		c.closed(Done, "done")
	})
}

func TestSilentSocketIsClosedAfterFiveSeconds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := onPipes(t, Config{})
		c := r.connect()
		from := time.Now()
		c.expect("hello")
		c.closed(WatchTimeout, "watch_timeout")
		if took := time.Since(from); took < 5*time.Second || took > 5*time.Second+tickLength {
			t.Error(took)
		}
	})
}

func TestExpiryIsAnnouncedWithoutAChange(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := onPipes(t, Config{})
		r.put("a", deadline(180*time.Second), time.Hour)
		c := r.watching("a", "pending")
		from := time.Now()
		c.expect("expired")
		if took := time.Since(from); took < 180*time.Second || took > 180*time.Second+tickLength {
			t.Error(took)
		}
		c.closed(Done, "done")
	})
}

// only is the one connection of the hub.
func (r *rig) only() *conn {
	r.t.Helper()
	r.hub.mu.Lock()
	defer r.hub.mu.Unlock()
	for c := range r.hub.open {
		return c
	}
	r.t.Fatal("no connection")
	return nil
}

// Notices may be lost, doubled, late or reordered; the peer sees no step back.
func TestLateAndDoubledNoticesAreDropped(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := onPipes(t, Config{})
		r.put("a", "pending", time.Hour)
		c := r.watching("a", "pending")
		now := rev(t, r, "a")
		told := r.only().changed
		told([]byte("scanned"), now+2)
		c.expect("scanned")
		told([]byte("pending"), now+1)
		told([]byte("scanned"), now+2)
		told([]byte("pending"), now)
		c.say("ping")
		c.expect("pong")
		told(nil, 0)
		c.expect("expired")
		c.closed(Done, "done")
	})
}

func TestRecordThatIsNotThereIsTold(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := onPipes(t, Config{})
		c := r.connect()
		c.expect("hello")
		c.say("watch a")
		c.expect("expired")
		c.closed(Done, "done")
	})
}

// A final state that is changed once more before it was sent does not send two ends.
func TestNothingFollowsTheLastSnapshot(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := onPipes(t, Config{})
		r.put("a", "pending", time.Hour)
		c := r.watching("a", "pending")
		told, now := r.only().changed, rev(t, r, "a")
		told([]byte("confirmed"), now+1)
		synctest.Wait() // the writer waits for us to read
		told([]byte("consumed"), now+2)
		c.expect("confirmed")
		_, text, err := c.ReadMessage()
		if !websocket.IsCloseError(err, 1000) {
			t.Errorf("%q %v", text, err)
		}
	})
}

func TestSnapshotThatGoesBackIsDropped(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := onPipes(t, Config{})
		r.put("a", "pending", time.Hour)
		c := r.watching("a", "pending")
		conn := r.only()
		conn.mu.Lock()
		conn.seq += 10
		conn.mu.Unlock()
		c.say("refresh")
		c.say("ping")
		c.expect("pong")
	})
}

func TestRefreshIsAnsweredOnlyWhenTheSnapshotAllowsIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := onPipes(t, Config{})
		r.put("a", "pending", time.Hour)
		c := r.connect()
		c.expect("hello")
		c.say("refresh") // before a watch there is nothing to refresh
		c.say("watch a")
		c.expect("pending")
		c.say("refresh")
		c.expect("pending")
		r.put("a", "scanned", time.Hour)
		c.expect("scanned")
		c.say("refresh")
		c.say("ping")
		c.expect("pong")
	})
}

func TestCloseIsWaitedForAtMostASecond(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := onPipes(t, Config{})
		r.put("a", "confirmed", time.Hour)
		c := r.connect()
		c.expect("hello")
		c.say("watch a")
		c.expect("confirmed")
		c.SetCloseHandler(func(int, string) error { return nil }) // the peer does not answer
		from := time.Now()
		c.closed(Done, "done")
		for r.hub.Stats().WS != 0 {
			<-time.After(10 * time.Millisecond)
		}
		if took := time.Since(from); took < time.Second || took > 1100*time.Millisecond {
			t.Error(took)
		}
	})
}

func TestAnsweredCloseIsNotWaitedFor(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := onPipes(t, Config{})
		r.put("a", "confirmed", time.Hour)
		c := r.connect()
		c.expect("hello")
		c.say("watch a")
		from := time.Now()
		c.closed(Done, "done")
		synctest.Wait()
		if s := r.hub.Stats(); s.WS != 0 || time.Since(from) != 0 {
			t.Errorf("%+v after %v", s, time.Since(from))
		}
	})
}

// One peer that does not read must not slow the other 99, and is gone after
// WriteWithin.
func TestStuckPeerAmongHundred(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := onPipes(t, Config{})
		all := make([]*client, 100)
		for i := range all {
			key := fmt.Sprint("t", i)
			r.put(key, "pending", time.Hour)
			all[i] = r.watching(key, "pending")
		}
		from := time.Now()
		for i := range all {
			r.put(fmt.Sprint("t", i), "scanned", time.Hour)
		}
		for _, c := range all[1:] {
			c.expect("scanned")
		}
		if took := time.Since(from); took != 0 {
			t.Errorf("the others waited %v", took)
		}
		if got := r.hub.Stats().WS; got != 100 {
			t.Error(got)
		}
		<-time.After(5 * time.Second)
		synctest.Wait()
		if got := r.hub.Stats().WS; got != 99 {
			t.Errorf("%d sockets, the stuck one was not cut", got)
		}
	})
}

func TestStreamIsKeptAliveByComments(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := onPipes(t, Config{})
		r.put("a", "pending", time.Hour)
		e := r.stream("a")
		if got := e.block(); len(got) < 2048 || got[0] != ':' {
			t.Errorf("first %q", got)
		}
		if got := e.block(); !strings.HasPrefix(got, "event: ticket\nid: ") || !strings.HasSuffix(got, "\ndata: pending\n") {
			t.Errorf("snapshot %q", got)
		}
		for range 5 {
			from := time.Now()
			if got := e.block(); got != ":\n" || time.Since(from) > 25*time.Second+tickLength {
				t.Errorf("%q after %v", got, time.Since(from))
			}
		}
	})
}

// rev is the record's present revision.
func rev(t *testing.T, r *rig, key string) uint64 {
	t.Helper()
	_, rev, err := r.store.Load(context.Background(), key)
	if err != nil || rev == 0 {
		t.Fatal(rev, err)
	}
	return rev
}

func TestWaitEndsWithAChangeOrAfterItsTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := onPipes(t, Config{})
		r.put("a", deadline(time.Minute), time.Hour)
		topic, ctx := ticketTopic("a"), context.Background()
		for _, step := range []struct {
			name   string
			seq    uint64
			after  time.Duration // a change comes, 0: none
			wait   time.Duration
			status string
			took   time.Duration
		}{
			{"no seq", 0, 0, 25 * time.Second, "pending", 0},
			{"another seq", 7, 0, 25 * time.Second, "pending", 0},
			{"nothing happens", rev(t, r, "a"), 0, 25 * time.Second, "pending", 25 * time.Second},
			{"no wait", rev(t, r, "a"), 0, 0, "pending", 0},
			{"expiry", rev(t, r, "a"), 0, time.Minute, "expired", 35 * time.Second},
			{"known end", rev(t, r, "a") + 1, 0, 5 * time.Second, "expired", 5 * time.Second},
			{"change", rev(t, r, "a") + 1, time.Second, 5 * time.Second, "scanned", time.Second},
		} {
			if step.after > 0 {
				time.AfterFunc(step.after, func() { r.put("a", "scanned", time.Hour) })
			}
			from := time.Now()
			s, err := r.hub.Wait(ctx, topic, step.seq, step.wait)
			took := time.Since(from)
			if err != nil || string(s.Data) != step.status || took < step.took || took > step.took+tickLength {
				t.Errorf("%s: %q %v after %v; want %q after %v", step.name, s.Data, err, took, step.status, step.took)
			}
		}
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if _, err := r.hub.Wait(ctx, topic, rev(t, r, "a"), time.Minute); err != context.DeadlineExceeded {
			t.Error(err)
		}
		if s := r.hub.Stats(); s.Poll != 0 {
			t.Errorf("%+v", s)
		}
	})
}
