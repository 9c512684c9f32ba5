package bench

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// The words and numbers of a result, the same on a terminal and on a page.

// verdict is how a run is to be taken at a glance.
type verdict string

const (
	good    verdict = "good"    // all that was asked for was done
	lacking verdict = "lacking" // some of it was not, and said so
	wrong   verdict = "wrong"   // the server broke its word
)

func verdictOf(r *Result) verdict {
	l, b := r.Logins, r.Browsers
	switch {
	case r.Wrong():
		return wrong
	case l.Failed > 0, l.Unbegun > 0, b.Dropped > 0, b.Held < b.Asked, l.Done+b.Asked == 0:
		return lacking
	}
	return good
}

// headline is the one sentence for whoever reads no more than one.
func headline(r *Result) string {
	l, b, took := r.Logins, r.Browsers, seconds(r.Seconds)
	switch {
	case r.Wrong():
		var broken []string
		for _, each := range wrongs(r) {
			broken = append(broken, thousands(each.n)+" "+each.word)
		}
		of := plural(begun(l), "login")
		if b.Wrong() {
			of += " and " + plural(b.Asked, "idle browser")
		}
		return fmt.Sprintf("The server broke its word: %s of %s.", strings.Join(broken, ", "), of)
	case l.Done > 0:
		missed := ""
		if l.Failed > 0 {
			missed = ", " + thousands(l.Failed) + " failed"
		}
		if l.Unbegun > 0 {
			missed += ", " + thousands(l.Unbegun) + " not begun"
		}
		if missed != "" {
			missed += "; "
		} else {
			missed = ", "
		}
		return fmt.Sprintf("%s in %s%snone lost, untold, doubled or misgiven.", plural(l.Done, "login"), took, missed)
	case l.Failed > 0:
		return fmt.Sprintf("No login succeeded: %s failed in %s.", thousands(l.Failed), took)
	case b.Asked > 0:
		return fmt.Sprintf("%s for %s: %s.", plural(b.Asked, "idle browser"), took, fate(b))
	}
	return fmt.Sprintf("Nothing was done in %s.", took)
}

// more are the sentences that belong under the headline.
func more(r *Result) []string {
	l, b := r.Logins, r.Browsers
	var says []string
	for _, each := range wrongs(r) {
		says = append(says, fmt.Sprintf("%s: %s.", strings.ToUpper(each.word[:1])+each.word[1:], each.means))
	}
	if r.Wrong() {
		says = append(says, fmt.Sprintf("Right: %s in %s. Failed with a clear answer: %s.", plural(l.Done, "login"), seconds(r.Seconds), thousands(l.Failed)))
	}
	if l.Unbegun > 0 {
		says = append(says, fmt.Sprintf("%s due and not begun: the servers or this machine are too slow.", were(l.Unbegun)))
	}
	if b.Asked > 0 && begun(l) > 0 {
		says = append(says, fmt.Sprintf("%s beside them: %s.", plural(b.Asked, "idle browser"), fate(b)))
	}
	return says
}

// begun is how many logins there were, whatever became of them.
func begun(l Logins) int { return l.Done + l.Failed + l.Lost + l.Untold + l.Doubled + l.Misgiven }

func were(n int) string {
	if n == 1 {
		return "1 was"
	}
	return thousands(n) + " were"
}

type broken struct {
	n           int
	word, means string
}

// wrongs are the promises that were broken.
func wrongs(r *Result) []broken {
	l := r.Logins
	return slices.DeleteFunc([]broken{
		{l.Lost, "lost", "confirmed on the phone, and the browser got nothing"},
		{l.Untold, "untold", "confirmed on the phone, and no frame told the browser in time"},
		{l.Doubled, "doubled", "two sessions from one ticket, or one from two"},
		{l.Misgiven + r.Browsers.Misgiven, "misgiven", "a browser got tokens or news of somebody else"},
	}, func(b broken) bool { return b.n == 0 })
}

// fate is what became of the idle browsers.
func fate(b Browsers) string {
	held, dropped := "all held", "none dropped"
	if b.Held < b.Asked {
		held = thousands(b.Held) + " held"
	}
	if b.Dropped > 0 {
		dropped = thousands(b.Dropped) + " dropped"
	}
	return held + ", " + dropped
}

// pace is what was asked for and how the load was made.
func pace(s Setup) string {
	door := map[Transport]string{WS: "WebSocket", SSE: "SSE", Poll: "long poll"}[s.Transport]
	if s.Rate > 0 {
		return fmt.Sprintf("%s logins/s asked for, at most %s at once, over %s", decimal(s.Rate), thousands(s.Parallel), door)
	}
	return fmt.Sprintf("one login begins where one ended, %s at once, over %s", thousands(s.Parallel), door)
}

// place is what the load was put on.
func place(s Setup) string {
	store := map[string]string{"memory": " in memory", "redis": " on Redis"}[s.Store]
	return fmt.Sprintf("%s%s; %s for servers, store and load", plural(s.Instances, "instance"), store, plural(s.CPUs, "CPU"))
}

// reached is how many logins a second came through.
func reached(r *Result) float64 {
	if r.Seconds <= 0 {
		return 0
	}
	return float64(r.Logins.Done) / r.Seconds
}

// wholeLogin is the step that all others are part of; false: no login ended.
func wholeLogin(r *Result) (Step, bool) {
	i := slices.IndexFunc(r.Steps, func(s Step) bool { return s.Name == "login" && s.Count > 0 })
	if i < 0 {
		return Step{}, false
	}
	return r.Steps[i], true
}

// fault is how often an error was met.
type fault struct {
	Name  string
	Count int
}

// faults are the errors of a run, the most frequent first.
func faults(errors map[string]int) []fault {
	var list []fault
	for name, n := range errors {
		list = append(list, fault{name, n})
	}
	slices.SortFunc(list, func(a, b fault) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Name, b.Name))
	})
	return list
}

func plural(n int, word string) string {
	if n != 1 {
		word += "s"
	}
	return thousands(n) + " " + word
}

// thousands is a whole number with commas.
func thousands(n int) string {
	digits := strconv.Itoa(n)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// decimal is a number with a decimal where that says something.
func decimal(v float64) string {
	if v < 99.95 && v != math.Trunc(v) {
		return fmt.Sprintf("%.1f", v)
	}
	return thousands(int(math.Round(v)))
}

func seconds(s float64) string {
	if s < 99.95 {
		return fmt.Sprintf("%.1f s", s)
	}
	return thousands(int(math.Round(s))) + " s"
}

// millis is a time in milliseconds to about two digits, in ms or s.
func millis(ms float64) string {
	switch {
	case ms == 0:
		return "0 ms"
	case ms < 0.0995:
		return fmt.Sprintf("%.3f ms", ms)
	case ms < 0.995:
		return fmt.Sprintf("%.2f ms", ms)
	case ms < 9.95:
		return fmt.Sprintf("%.1f ms", ms)
	case ms < 999.5:
		return fmt.Sprintf("%.0f ms", ms)
	case ms < 9950:
		return fmt.Sprintf("%.1f s", ms/1000)
	}
	return thousands(int(math.Round(ms/1000))) + " s"
}

// size is a number of bytes to two or three digits.
func size(bytes float64) string {
	unit := 0
	for ; bytes >= 1023.5 && unit < 3; unit++ {
		bytes /= 1024
	}
	name := [...]string{"B", "KiB", "MiB", "GiB"}[unit]
	if unit > 0 && bytes < 99.95 {
		return fmt.Sprintf("%.1f %s", bytes, name)
	}
	return thousands(int(math.Round(bytes))) + " " + name
}
