package outbound

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// network is what is at the other end, without sockets, for virtual time.
type network func(r *http.Request) (status int, body string, err error)

func (n network) RoundTrip(r *http.Request) (*http.Response, error) {
	status, body, err := n(r)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

func over(n network) *Client {
	c := New(Config{Hosts: []string{"idp.example"}})
	c.http.Transport = n
	return c
}

const there = "https://idp.example/keys"

var errDown = errors.New("down")

func TestBreakerOpensAndClosesByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		var down atomic.Bool
		c := over(func(*http.Request) (int, string, error) {
			asked.Add(1)
			if down.Load() {
				return 0, "", errDown
			}
			return 200, "{}", nil
		})
		get := func(name string) error { _, err := c.Get(t.Context(), name, there); return err }
		down.Store(true)
		for range 50 {
			if err := get("one"); !errors.Is(err, ErrUnavailable) {
				t.Fatal(err)
			}
		}
		if n := asked.Load(); n != opensAfter {
			t.Errorf("%d calls of a dead upstream", n)
		}
		down.Store(false)
		if err := get("two"); err != nil {
			t.Errorf("another upstream is let down too: %v", err)
		}
		down.Store(true)
		time.Sleep(opensFor + time.Millisecond) // virtual, as all here
		for range 50 {
			get("one")
		}
		if n := asked.Load(); n != opensAfter+2 {
			t.Errorf("%d calls: one is let through, and its failure opens again", n)
		}
		down.Store(false)
		if err := get("one"); !errors.Is(err, ErrUnavailable) {
			t.Errorf("closed early: %v", err)
		}
		time.Sleep(opensFor + time.Millisecond)
		for range 10 {
			if err := get("one"); err != nil {
				t.Errorf("not closed: %v", err)
			}
		}
	})
}

// While one call tries whether the upstream is back, all others are answered
// at once.
func TestOneCallAtATimeTriesAnOpenUpstream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		c := over(func(r *http.Request) (int, string, error) {
			if asked.Add(1) <= opensAfter {
				return 0, "", errDown
			}
			time.Sleep(time.Second)
			return 200, "{}", nil
		})
		for range opensAfter {
			c.Get(t.Context(), "one", there)
		}
		time.Sleep(opensFor + time.Millisecond)
		began := time.Now()
		var good, left, waited atomic.Int32
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				_, err := c.Get(t.Context(), "one", there)
				switch {
				case err == nil:
					good.Add(1)
				case time.Since(began) == 0:
					left.Add(1)
				default:
					waited.Add(1)
				}
			})
		}
		all.Wait()
		if good.Load() != 1 || left.Load() != 19 || waited.Load() != 0 {
			t.Errorf("%d answered, %d left at once, %d waited", good.Load(), left.Load(), waited.Load())
		}
	})
}

// A stranger with made-up codes, and one who hangs up, must not be able to cut
// everybody else off.
func TestRefusalsAndCallersWhoLeaveOpenNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := errors.New("wrong code")
		c := over(func(r *http.Request) (int, string, error) {
			switch r.URL.RawQuery {
			case "hang":
				<-r.Context().Done()
				return 0, "", r.Context().Err()
			case "down":
				return 0, "", errDown
			}
			return 200, "{}", nil
		})
		for range 20 {
			_, err := c.Do(t.Context(), Call{Name: "one", URL: there, Judge: func([]byte) error { return refused }})
			if !errors.Is(err, refused) {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			if _, err := c.Get(ctx, "one", there+"?hang"); !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnavailable) {
				t.Fatal(err)
			}
		}
		if _, err := c.Get(t.Context(), "one", there); err != nil {
			t.Errorf("the breaker is open: %v", err)
		}
		// Nor do they close anything: a failure fewer is counted for nobody.
		for i := range opensAfter {
			if _, err := c.Get(t.Context(), "two", there+"?down"); !errors.Is(err, ErrUnavailable) {
				t.Fatal(err)
			}
			if i == 0 {
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(time.Second, cancel)
				c.Get(ctx, "two", there+"?hang")
			}
		}
		if _, err := c.Get(t.Context(), "two", there); !errors.Is(err, ErrUnavailable) {
			t.Error("a caller who left made a dead upstream look alive")
		}
		// A caller's own deadline does say something: nobody waits for ever.
		for range opensAfter {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			c.Get(ctx, "one", there+"?hang")
			cancel()
		}
		if _, err := c.Get(t.Context(), "one", there); !errors.Is(err, ErrUnavailable) {
			t.Errorf("the breaker is closed after %d timeouts", opensAfter)
		}
	})
}

func TestSlowUpstreamHoldsABoundedNumberOfCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := over(func(r *http.Request) (int, string, error) {
			if r.URL.RawQuery == "hang" {
				<-r.Context().Done()
				return 0, "", r.Context().Err()
			}
			return 200, "{}", nil
		})
		began := time.Now()
		var all sync.WaitGroup
		for range places {
			all.Go(func() { c.Get(t.Context(), "slow", there+"?hang") })
		}
		synctest.Wait()
		if _, err := c.Get(t.Context(), "slow", there); !errors.Is(err, ErrUnavailable) || time.Since(began) != 0 {
			t.Errorf("one too many: %v after %s", err, time.Since(began))
		}
		if _, err := c.Get(t.Context(), "other", there); err != nil {
			t.Errorf("another upstream has no place: %v", err)
		}
		all.Wait()
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("held for %s", took)
		}
		time.Sleep(opensFor + time.Millisecond)
		if _, err := c.Get(t.Context(), "slow", there); err != nil {
			t.Errorf("places are not given back: %v", err)
		}
	})
}

// Only an answer which says that nothing was done is asked for again, once,
// after a moment that differs, and not if there is no time for it.
func TestRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pauses := map[time.Duration]bool{}
		for name, row := range map[string]struct {
			judge   []error
			within  time.Duration
			asked   int
			success bool
		}{
			"answer":           {[]error{nil}, 0, 1, true},
			"no answer":        {[]error{ErrUnavailable}, 0, 1, false},
			"again":            {[]error{ErrAgain, nil}, 0, 2, true},
			"again and again":  {[]error{ErrAgain, ErrAgain}, 0, 2, false},
			"wrapped":          {[]error{fmt.Errorf("busy: %w", ErrAgain), nil}, 0, 2, true},
			"then no answer":   {[]error{ErrAgain, ErrUnavailable}, 0, 2, false},
			"no room in time":  {[]error{ErrAgain}, 50 * time.Millisecond, 1, false},
			"room in time":     {[]error{ErrAgain, nil}, 500 * time.Millisecond, 2, true},
			"again after that": {[]error{ErrAgain, nil}, 0, 2, true},
		} {
			asked := 0
			c := over(func(*http.Request) (int, string, error) { asked++; return 200, fmt.Sprint(asked), nil })
			ctx, cancel := t.Context(), context.CancelFunc(func() {})
			if row.within > 0 {
				ctx, cancel = context.WithTimeout(ctx, row.within)
			}
			began := time.Now()
			body, err := c.Do(ctx, Call{Name: "one", URL: there, Judge: func([]byte) error { return row.judge[asked-1] }})
			cancel()
			if asked != row.asked || (err == nil) != row.success || !row.success && !errors.Is(err, ErrUnavailable) {
				t.Errorf("%s: asked %d times, %v", name, asked, err)
			}
			if row.success && string(body) != fmt.Sprint(row.asked) {
				t.Errorf("%s: the body is that of answer %s", name, body)
			}
			took := time.Since(began)
			if row.asked == 2 {
				pauses[took] = true
			}
			if least, most := 100*time.Millisecond, 300*time.Millisecond; row.asked == 2 && (took < least || took > most) || row.asked == 1 && took != 0 {
				t.Errorf("%s: took %s", name, took)
			}
		}
		if len(pauses) < 3 {
			t.Errorf("the pauses do not differ: %v", pauses)
		}
	})
}
