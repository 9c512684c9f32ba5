package bench

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// madeStep is a step with one bucket for each count, the first up to `to` ms.
func madeStep(name string, to float64, counts ...int) Step {
	s := Step{Name: name, P50: to, P90: to * 1.2, P99: to * 2, Max: to * 4}
	for _, n := range counts {
		s.Count += n
		s.Buckets = append(s.Buckets, Bucket{To: to, Count: n})
		to *= bucketRatio
	}
	return s
}

// madeResult is a run with nothing to complain about.
func madeResult() *Result {
	r := &Result{
		Started: time.Date(2026, 3, 4, 15, 4, 5, 0, time.UTC), Seconds: 12,
		Setup:    Setup{Version: "v1.2.3", Store: "redis", Instances: 3, Transport: WS, Rate: 200, Parallel: 64, CPUs: 2, Go: "go1.26.0"},
		Logins:   Logins{Done: 2400},
		Browsers: Browsers{Asked: 10000, Held: 10000, Renewed: 12},
		Server:   &Usage{CPUPerLogin: 0.92, RSSPerBrowser: 4813, RSS: 98 << 20},
		Redis:    &RedisUsage{CPUPerLogin: 0.126, CommandsPerLogin: 9.2, DeliveriesPerLogin: 3},
	}
	for i, name := range []string{"create", "watch", "scan", "seen", "confirm", "told", "redeem", "login"} {
		r.Steps = append(r.Steps, madeStep(name, 0.42*float64(i+1), 300, 1200, 800, 99, 0, 1))
	}
	for i := range 12 {
		r.Timeline = append(r.Timeline, Second{At: i, Done: 200, P50: 3.4, P99: 7, Open: 10000})
	}
	return r
}

// onlyBrowsers is a run without logins.
func onlyBrowsers() *Result {
	r := madeResult()
	r.Logins, r.Redis = Logins{}, nil
	for i := range r.Steps {
		r.Steps[i] = Step{Name: r.Steps[i].Name}
	}
	r.Server.CPUPerLogin = 0
	for i := range r.Timeline {
		r.Timeline[i] = Second{At: i, Open: 10000}
	}
	return r
}

// changed is a made result with something else about it.
func changed(change func(*Result)) *Result {
	r := madeResult()
	change(r)
	return r
}

// edges are results that come of short, empty or bad runs.
var edges = map[string]*Result{
	"nothing at all": {},
	"one login": {Seconds: 0.4, Logins: Logins{Done: 1}, Steps: []Step{{Name: "login", Count: 1, P50: 4, P90: 4, P99: 4, Max: 4, Buckets: []Bucket{{To: 4.1, Count: 1}}}},
		Timeline: []Second{{Done: 1, P50: 4, P99: 4}}},
	"no seconds": changed(func(r *Result) { r.Timeline, r.Seconds = nil, 0 }),
	"no buckets": changed(func(r *Result) { r.Steps[7].Buckets = nil }),
	"steps nobody came to": changed(func(r *Result) {
		for i := range r.Steps[2:] {
			r.Steps[2+i] = Step{Name: r.Steps[2+i].Name}
		}
	}),
	"no time passed": changed(func(r *Result) { r.Steps[7] = Step{Name: "login", Count: 3, Buckets: []Bucket{{To: 0.001, Count: 3}}} }),
	"from 1 µs to 1000 s": changed(func(r *Result) {
		r.Steps[7] = madeStep("login", 0.001, append(make([]int, 90), 1)...)
		r.Steps[7].Buckets[0].Count, r.Steps[7].Max = 1, 1e6
		r.Timeline[3].P99 = 1e6
	}),
	"a gap and faults": changed(func(r *Result) {
		r.Timeline[4] = Second{At: 4, Faults: 200}
		r.Logins.Failed, r.Errors = 600, map[string]int{"scan rate_limited": 400, "create store_unavailable": 200}
	}),
	"a long word": changed(func(r *Result) {
		r.Setup.Version = strings.Repeat("v", 200)
		r.Errors = map[string]int{strings.Repeat("x", 200): 1}
	}),
	"half an hour": changed(func(r *Result) {
		r.Seconds, r.Timeline = 1800.2, nil
		for i := range 1801 {
			r.Timeline = append(r.Timeline, Second{At: i, Done: 1, P50: 1, P99: 2})
		}
	}),
	"wrong in every way": changed(func(r *Result) {
		r.Logins = Logins{Done: 123456789, Failed: 123456789, Lost: 123456789, Untold: 123456789, Doubled: 123456789, Misgiven: 123456789, Unbegun: 123456789}
		r.Browsers = Browsers{Asked: 123456789, Held: 1, Dropped: 123456789, Renewed: 123456789}
		r.Setup.Rate, r.Setup.Transport = 0, Poll
	}),
	"only browsers": onlyBrowsers(),
}

func textOf(t *testing.T, r *Result) string {
	t.Helper()
	var b bytes.Buffer
	if err := WriteText(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

var notNumbers = regexp.MustCompile(`NaN|Inf|%!|0x`)

func TestTextSaysWhatHappened(t *testing.T) {
	for _, test := range []struct {
		name   string
		result *Result
		first  string
		says   []string
	}{
		{"all is well", madeResult(), "2,400 logins in 12.0 s, none lost, untold, doubled or misgiven.",
			[]string{"10,000 idle browsers beside them: all held, none dropped.", "200 logins/s asked for", "over WebSocket", "3 instances on Redis",
				"0.92 ms a login", "4.7 KiB an idle browser", "98.0 MiB", "0.13 ms CPU, 9.2 commands and 3 deliveries a login", "12 renewed"}},
		{"one", edges["one login"], "1 login in 0.4 s, none lost, untold, doubled or misgiven.", []string{"4.0 ms"}},
		{"some failed", changed(func(r *Result) { r.Logins.Failed, r.Errors = 5, map[string]int{"scan rate_limited": 5} }),
			"2,400 logins in 12.0 s, 5 failed; none lost, untold, doubled or misgiven.", []string{"5 × scan rate_limited"}},
		{"all failed", changed(func(r *Result) { r.Logins, r.Steps[7] = Logins{Failed: 7}, Step{Name: "login"} }), "No login succeeded: 7 failed in 12.0 s.", []string{"200 logins/s asked for", "create"}},
		{"lost", changed(func(r *Result) { r.Logins.Lost = 1 }), "The server broke its word: 1 lost of 2,401 logins.",
			[]string{"Lost: confirmed on the phone, and the browser got nothing.", "Right: 2,400 logins"}},
		{"doubled", changed(func(r *Result) { r.Logins.Doubled = 2 }), "The server broke its word: 2 doubled of 2,402 logins.", []string{"Doubled: two sessions from one ticket, or one from two."}},
		{"misgiven", changed(func(r *Result) { r.Logins.Misgiven = 3 }), "The server broke its word: 3 misgiven of 2,403 logins.",
			[]string{"Misgiven: a browser got tokens or news of somebody else."}},
		{"untold", changed(func(r *Result) { r.Logins.Untold = 4 }), "The server broke its word: 4 untold of 2,404 logins.",
			[]string{"Untold: confirmed on the phone, and no frame told the browser in time."}},
		{"idle browsers told of another ticket", changed(func(r *Result) { r.Browsers.Misgiven = 1 }),
			"The server broke its word: 1 misgiven of 2,400 logins and 10,000 idle browsers.", []string{"Right: 2,400 logins"}},
		{"not begun", changed(func(r *Result) { r.Logins.Unbegun = 58 }), "2,400 logins in 12.0 s, 58 not begun; none lost, untold, doubled or misgiven.",
			[]string{"58 were due and not begun: the servers or this machine are too slow."}},
		{"only browsers", onlyBrowsers(), "10,000 idle browsers for 12.0 s: all held, none dropped.", []string{"4.7 KiB an idle browser"}},
		{"browsers dropped", changed(func(r *Result) { r.Browsers.Held, r.Browsers.Dropped = 9990, 12 }), "2,400 logins in 12.0 s, none lost, untold, doubled or misgiven.",
			[]string{"9,990 held, 12 dropped."}},
		{"nothing", &Result{}, "Nothing was done in 0.0 s.", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := textOf(t, test.result)
			if first, _, _ := strings.Cut(text, "\n"); first != test.first {
				t.Errorf("the headline is %q, not %q", first, test.first)
			}
			for _, says := range test.says {
				if !strings.Contains(text, says) {
					t.Errorf("it does not say %q:\n%s", says, text)
				}
			}
		})
	}
}

func TestTextOfARunWithoutLoginsHasNoNumbersOfLogins(t *testing.T) {
	if text := textOf(t, onlyBrowsers()); regexp.MustCompile(`a login|p50|logins/s`).MatchString(text) {
		t.Errorf("no login was made:\n%s", text)
	}
}

func TestTextIsNeverTooWide(t *testing.T) {
	for name, r := range edges {
		text := textOf(t, r)
		for line := range strings.Lines(text) {
			if line = strings.TrimSuffix(line, "\n"); utf8.RuneCountInString(line) > 80 {
				t.Errorf("%s: a line of %d characters: %q", name, utf8.RuneCountInString(line), line)
			}
		}
		if bad := notNumbers.FindString(text); bad != "" {
			t.Errorf("%s: it says %s:\n%s", name, bad, text)
		}
	}
}

// Error codes and the version come from a server.
func TestErrorCodeThatSteersTheTerminal(t *testing.T) {
	text := textOf(t, changed(func(r *Result) {
		r.Errors = map[string]int{"scan \x1b[2J\x1b]0;owned\a\r\n2,400 logins, all well\u202e\u009b1m": 1}
		r.Setup.Version = "\x1b[31m"
	}))
	if strings.ContainsAny(text, "\x1b\a\r\u202e\u009b") {
		t.Errorf("it can: %q", text)
	}
	if strings.Contains(text, "\n2,400 logins, all well") {
		t.Errorf("it begins a line of its own:\n%s", text)
	}
}

func TestTextHistogramShowsEveryBucket(t *testing.T) {
	r := madeResult()
	r.Steps[7] = madeStep("login", 2.51, 10, 100000, 5, 0, 0, 0, 1)
	var bottom string
	lines := strings.Split(textOf(t, r), "\n")
	for i, line := range lines {
		if strings.Contains(line, "┬") {
			bottom = lines[i-1]
		}
	}
	if got := strings.Fields(bottom); len(got) != 2 || got[0] != "▁▁▁███▁▁▁" || got[1] != "▁▁▁" {
		t.Errorf("the lowest row is %q", bottom)
	}
}

func TestNumbersForPeople(t *testing.T) {
	for want, got := range map[string]string{
		"0 ms": millis(0), "0.004 ms": millis(0.004), "0.42 ms": millis(0.42), "1.0 ms": millis(0.999), "9.9 ms": millis(9.94), "10 ms": millis(9.96),
		"999 ms": millis(999.4), "1.0 s": millis(999.6), "3.1 s": millis(3100), "12 s": millis(12345), "1,000 s": millis(1e6),
		"0": thousands(0), "999": thousands(999), "1,000": thousands(1000), "12,345,678": thousands(12345678), "-123,456": thousands(-123456),
		"0 B": size(0), "1,000 B": size(1000), "1.0 KiB": size(1024), "4.7 KiB": size(4813), "300 MiB": size(300 << 20), "2,048 GiB": size(2 << 40),
		"9.2": decimal(9.2), "3": decimal(3), "200": decimal(199.96), "1,234": decimal(1234.4),
	} {
		if got != want {
			t.Errorf("%q should be %q", got, want)
		}
	}
}

func TestBar(t *testing.T) {
	var b bytes.Buffer
	bar := Bar(&b)
	for _, test := range []struct {
		progress Progress
		says     []string
	}{
		{Progress{Phase: "opening browsers", Done: 5000, Of: 10000, Elapsed: 2 * time.Second}, []string{"opening browsers", "████████████░░░░░░░░░░░░", "5,000/10,000", "2,500/s"}},
		{Progress{Phase: "signing in", Done: 600, Elapsed: 3 * time.Second, Length: 12 * time.Second, Faults: 2}, []string{"██████░", "3/12 s", "200/s", "2 faults"}},
		{Progress{Phase: "settling", Elapsed: 1500 * time.Millisecond}, []string{"settling", "1.5 s"}},
		{Progress{Phase: "signing in", Done: 3, Of: 2, Elapsed: time.Hour, Length: time.Second}, []string{strings.Repeat("█", 24)}},
		{Progress{Phase: strings.Repeat("long ", 30), Done: 123456789, Of: 123456789, Elapsed: time.Second, Faults: 123456789}, []string{"…"}},
	} {
		b.Reset()
		bar(test.progress)
		line, ok := strings.CutPrefix(b.String(), "\r")
		line, cleared := strings.CutSuffix(line, "\x1b[K")
		if !ok || !cleared || utf8.RuneCountInString(line) > 79 || strings.ContainsAny(line, "\r\n\x1b") {
			t.Errorf("not one line in place: %q", b.String())
		}
		for _, says := range test.says {
			if !strings.Contains(line, says) {
				t.Errorf("%+v: %q does not say %q", test.progress, line, says)
			}
		}
	}
	b.Reset()
	bar(Progress{})
	if b.String() != "\r\x1b[K" {
		t.Errorf("the end leaves %q", b.String())
	}
}

func TestAxisHoldsWhatItShows(t *testing.T) {
	for _, span := range [][2]float64{{0, 0}, {1.995, 2.512}, {0.3981, 5012}, {1, 1}, {1000, 1000}, {0.001, 1e6}, {9.99, 10.01}} {
		axis := newLogAxis(span[0], span[1])
		if axis.lo > max(span[0], 0.001)*1.01 || axis.hi < span[1]*0.99 {
			t.Errorf("%v is not inside %v", span, axis)
		}
		ticks := axis.ticks()
		if len(ticks) < 2 || len(ticks) > 14 {
			t.Errorf("%v has %d ticks", span, len(ticks))
		}
		for i, tick := range ticks {
			if tick.At < 0 || tick.At > 1 || i > 0 && tick.At <= ticks[i-1].At {
				t.Errorf("%v: ticks %v", span, ticks)
			}
		}
	}
	for most, want := range map[int]string{0: "[0 1]", 1: "[0 1]", 4: "[0 1 2 3 4]", 5: "[0 2 4 6]", 208: "[0 100 200 300]", 50000: "[0 20000 40000 60000]"} {
		if got := fmt.Sprint(countTicks(most)); got != want {
			t.Errorf("counts up to %d are shown at %s, not %s", most, got, want)
		}
	}
}
