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

func TestDrainSpreadsThePeersAndTellsNewcomersAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := onPipes(t, Config{})
		r.put("a", "pending", time.Hour)
		const n = 50
		gone := make(chan time.Duration, n)
		var from time.Time
		for i := range n {
			r.put(fmt.Sprint("t", i), "pending", time.Hour)
			c := r.watching(fmt.Sprint("t", i), "pending")
			go func() {
				_, text, err := c.ReadMessage()
				if err != nil || !strings.HasPrefix(string(text), "reconnect ") {
					t.Errorf("%q %v", text, err)
				}
				_, _, err = c.ReadMessage()
				if !websocket.IsCloseError(err, 1012) {
					t.Error(err)
				}
				gone <- time.Since(from)
			}()
		}
		e := r.stream("a")
		e.block()
		e.block()
		ended := make(chan string, 1)
		go func() { ended <- e.block() + "|" + e.block() }()
		waited := make(chan Snapshot, 1)
		go func() {
			s, err := r.hub.Wait(context.Background(), ticketTopic("a"), rev(t, r, "a"), 25*time.Second)
			if err != nil {
				t.Error(err)
			}
			waited <- s
		}()
		synctest.Wait()
		if s := r.hub.Stats(); s != (Stats{n, 1, 1}) {
			t.Fatalf("%+v", s)
		}
		from = time.Now()
		drained := make(chan struct{})
		go func() { defer close(drained); r.hub.Drain(context.Background(), 10*time.Second) }()

		<-time.After(time.Second)
		late := r.connect()
		late.expect("hello")
		late.closed(Restarting, "restarting")
		if took := time.Since(from); took > time.Second+2*tickLength {
			t.Errorf("a newcomer was told after %v", took)
		}
		<-drained
		if took := time.Since(from); took > 10*time.Second+tickLength {
			t.Errorf("drained after %v", took)
		}
		var perSecond [11]int
		for range n {
			perSecond[int((<-gone).Seconds())]++
		}
		for i, got := range perSecond[:10] {
			if got < 2 || got > 8 {
				t.Errorf("second %d: %d of %d", i, got, n)
			}
		}
		if s := <-waited; string(s.Data) != "pending" {
			t.Errorf("wait ended with %q", s.Data)
		}
		if got := <-ended; !strings.HasPrefix(got, "retry: ") || !strings.HasSuffix(got, "\n|") {
			t.Errorf("SSE: %q", got)
		}
	})
}

func TestDrainOfAnEmptyHubReturns(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := onPipes(t, Config{})
		r.hub.Drain(context.Background(), time.Minute)
	})
}

func TestDrainEndsWithItsContext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := onPipes(t, Config{})
		r.put("a", "pending", time.Hour)
		r.watching("a", "pending")
		r.watching("a", "pending")
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		r.hub.Drain(ctx, time.Hour)
	})
}

func TestEndOfRunClosesWhatIsLeft(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := onPipes(t, Config{})
		r.put("a", "pending", time.Hour)
		c := r.watching("a", "pending")
		stuck := r.connect() // does not even read its hello
		e := r.stream("a")
		e.block()
		e.block()
		r.quit()
		c.closed(GoingAway, "going_away")
		if got := e.block(); got != "" {
			t.Errorf("SSE: %q", got)
		}
		<-r.ended
		if _, err := r.hub.Wait(context.Background(), ticketTopic("a"), 0, 0); err != ErrClosed {
			t.Error(err)
		}
		if s := r.hub.Stats(); s != (Stats{}) {
			t.Errorf("%+v", s)
		}
		stuck.Close()
	})
}

// A stream that is told to go before its record was found still begins as one.
func TestStreamThatIsDrainedDuringItsLookHasItsHead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := onPipes(t, Config{})
		g := r.slow()
		r.put("a", "pending", time.Hour)
		time.AfterFunc(500*time.Millisecond, func() { close(g.open) })
		go func() {
			synctest.Wait() // it looks
			r.hub.Drain(context.Background(), 0)
		}()
		e := r.stream("a")
		if got := e.res.Header.Get("Content-Type"); got != "text/event-stream" {
			t.Errorf("Content-Type %q", got)
		}
		if got := e.block(); len(got) < 2048 {
			t.Errorf("first %q", got)
		}
		if got := e.block() + "|" + e.block(); !strings.HasPrefix(got, "retry: ") || !strings.HasSuffix(got, "\n|") {
			t.Errorf("then %q", got)
		}
	})
}
