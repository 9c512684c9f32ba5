package bench

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// madeWatch is a door with made-up frames.
type madeWatch chan Snapshot

func (w madeWatch) next(until time.Time) (Snapshot, error) {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case snapshot, ok := <-w:
		if !ok {
			return Snapshot{}, io.EOF
		}
		return snapshot, nil
	case <-timer.C:
		return Snapshot{}, context.DeadlineExceeded
	}
}

func (madeWatch) close() {}

func newDriver(servers ...Server) *driver {
	return &driver{load: Load{Servers: servers}, record: newRecorder(time.Now(), func() int { return 0 }), ledger: newLedger(map[string]bool{})}
}

func TestSwallowedAndMisguidedFramesAreFound(t *testing.T) {
	for name, row := range map[string]struct {
		frames []Snapshot
		knows  bool
		err    error
		fault  string // empty: none
	}{
		"told":                    {[]Snapshot{{TicketID: "a", Seq: 3, Status: "confirmed"}}, true, nil, ""},
		"the same again, told":    {[]Snapshot{{TicketID: "a", Seq: 2, Status: "scanned"}, {TicketID: "a", Seq: 3, Status: "confirmed"}}, true, nil, ""},
		"swallowed":               {nil, false, nil, "told timeout"},
		"swallowed but for one":   {[]Snapshot{{TicketID: "a", Seq: 2, Status: "scanned"}}, false, nil, "told timeout"},
		"another end":             {[]Snapshot{{TicketID: "a", Seq: 3, Status: "denied"}}, false, nil, "told status denied"},
		"another ticket":          {[]Snapshot{{TicketID: "b", Seq: 3, Status: "confirmed"}}, false, errForeign, ""},
		"seq goes back, and told": {[]Snapshot{{TicketID: "a", Seq: 1, Status: "pending"}, {TicketID: "a", Seq: 3, Status: "confirmed"}}, true, nil, "told seq went back"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				watch := make(madeWatch, len(row.frames))
				for _, f := range row.frames {
					watch <- f
				}
				d, b := newDriver(), &Browser{id: "a", newest: new(uint64(2)), watch: watch}
				knows, err := d.heard(t.Context(), b, told, time.Now(), d.await(b, told))
				if knows != row.knows || !errors.Is(err, row.err) {
					t.Errorf("knows %t, %v", knows, err)
				}
				if faults := d.record.errors; len(faults) != min(1, len(row.fault)) || row.fault != "" && faults[row.fault] != 1 {
					t.Errorf("faults %v", faults)
				}
			})
		})
	}
}

// madeServer answers redemptions.
type madeServer struct {
	mu     sync.Mutex
	asked  []string // hosts
	answer func(nth int) (status int, body string)
}

func (s *madeServer) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, r.URL.Host)
	status, body := s.answer(len(s.asked))
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

func tokensOf(sid string) string {
	return `{"access_token":"h.` + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"demo:alice","sid":"`+sid+`"}`)) + `.s","refresh_token":"r` + sid + `"}`
}

// One in every is redeemed by two requests at once, at two instances: both have to get
// the same.
func TestTwoRequestsForOneTicketGetTheSame(t *testing.T) {
	const refused = `{"error":"invalid_grant"}`
	for name, row := range map[string]struct {
		second func() (int, string)
		lost   bool
		want   Logins
	}{
		"the same":    {func() (int, string) { return 200, tokensOf("1") }, false, Logins{Done: 1}},
		"another":     {func() (int, string) { return 200, tokensOf("2") }, false, Logins{Doubled: 1}},
		"one refused": {func() (int, string) { return 400, refused }, true, Logins{}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := &madeServer{answer: func(nth int) (int, string) {
					if nth > 1 {
						return row.second()
					}
					return 200, tokensOf("1")
				}}
				d := newDriver(Server{URL: "http://one"}, Server{URL: "http://two"})
				answers, err := d.collect(t.Context(), &Browser{Person: Person{HTTP: &http.Client{Transport: server}}}, every)
				if (err != nil) != row.lost || len(server.asked) != 2 || server.asked[0] == server.asked[1] {
					t.Fatalf("%v, asked %v", err, server.asked)
				}
				if err == nil {
					d.ledger.given("demo:alice", true, answers...)
				}
				if got := d.ledger.sum(); got != row.want {
					t.Errorf("%+v", got)
				}
			})
		})
	}
}

// A browser that asked too soon asks again when it may, before it gives up.
func TestSlowDownIsNoLostLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &madeServer{answer: func(nth int) (int, string) {
			if nth == 1 {
				return 400, `{"error":"slow_down"}`
			}
			return 200, tokensOf("1")
		}}
		d, begun := newDriver(Server{URL: "http://one"}), time.Now()
		b := &Browser{Person: Person{HTTP: &http.Client{Transport: server}}, interval: 5 * time.Second}
		if _, err := d.collect(t.Context(), b, 1); err != nil || d.record.errors["redeem slow_down"] != 1 {
			t.Errorf("%v, faults %v", err, d.record.errors)
		}
		if waited := time.Since(begun); waited < 5*time.Second || waited > 6*time.Second {
			t.Errorf("it asked again after %s", waited)
		}
	})
}

// What was due before the end of the time, or of the run.
func TestDueLogins(t *testing.T) {
	start := time.Now()
	for _, row := range []struct {
		rate     float64
		logins   int
		duration time.Duration
		passed   time.Duration
		want     int
	}{
		{100, 0, 10 * time.Second, time.Minute, 1000},
		{0.3, 0, 10 * time.Second, 10 * time.Second, 3},
		{0.31, 0, 10 * time.Second, 10 * time.Second, 4},
		{100, 0, time.Hour, 2 * time.Second, 200},
		{100, 50, 10 * time.Second, time.Minute, 50},
		{0, 0, 10 * time.Second, time.Minute, 0},
	} {
		d := newDriver()
		d.record.start, d.load.Rate, d.load.Logins, d.load.Duration = start, row.rate, row.logins, row.duration
		if got := d.due(start.Add(row.passed)); got != row.want {
			t.Errorf("%+v: %d", row, got)
		}
	}
}
