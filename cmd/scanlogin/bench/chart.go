package bench

import (
	"fmt"
	"slices"
	"strings"
)

// The charts of the page as numbers; the template draws them. Across is in
// percent of whatever room there is, so that one drawing with letters of one
// size fits a phone and a desk; down is in pixels.

// chart is what all of them have.
type chart struct {
	ID           string
	Title, About string // About says in words what there is to see
	Height       int    // of the plot, without names and ticks
	Across, Down []tick
}

// bar is one bucket.
type bar struct {
	X, Wide, Y, High float64
	Says             string
}

// mark is a line down a plot, with its name above.
type mark struct {
	X    float64
	Name string
	Left bool // the name is on the left of the line
	Y    int  // of the name; no two are on one line, so that they can't meet
}

type histogram struct {
	chart
	Bars  []bar
	Marks []mark
}

func newHistogram(login Step) *histogram {
	if len(login.Buckets) == 0 {
		return nil
	}
	const height = 200
	axis := axisOf(login)
	h := &histogram{chart: chart{
		ID: "login", Title: "The whole login", Height: height, Across: across(axis.ticks()),
		About: fmt.Sprintf("%s. Half of them took at most %s, 99 of 100 at most %s, the slowest %s.",
			plural(login.Count, "login"), millis(login.P50), millis(login.P99), millis(login.Max)),
	}}
	most := 0
	for _, bucket := range login.Buckets {
		most = max(most, bucket.Count)
	}
	var top float64
	h.Down, top = countScale(most, height)
	for _, bucket := range login.Buckets {
		if bucket.Count == 0 {
			continue
		}
		from := bucket.To / bucketRatio
		x, high := 100*axis.at(from), max(4, height*float64(bucket.Count)/top) // one login is to be seen, too
		h.Bars = append(h.Bars, bar{
			X: x, Wide: 100*axis.at(bucket.To) - x, Y: height - high, High: high,
			Says: fmt.Sprintf("%s to %s: %s", millis(from), millis(bucket.To), plural(bucket.Count, "login")),
		})
	}
	for i, ms := range []float64{login.P50, login.P99} {
		x := 100 * axis.at(ms)
		h.Marks = append(h.Marks, mark{x, [...]string{"p50 ", "p99 "}[i] + millis(ms), x > 60, 18*i - 30})
	}
	return h
}

// ranges shows where the steps of a login lie: p50 to p99 as a bar, p90 as a
// notch in it, and a hair to the slowest.
type ranges struct {
	chart
	Rows []rangeRow
}

type rangeRow struct {
	Y                  int
	Name, Says         string
	P50, P90, End, Max float64
	Whole              bool // the whole login
}

func newRanges(steps []Step) *ranges {
	const row = 28
	var low, high float64
	for _, s := range steps {
		if s.Count > 0 && (high == 0 || s.P50 < low) {
			low = s.P50
		}
		high = max(high, s.Max)
	}
	if high == 0 {
		return nil
	}
	axis := newLogAxis(low, high)
	at := func(ms float64) float64 { return 100 * axis.at(ms) }
	r := &ranges{chart: chart{ID: "steps", Title: "Step by step", Across: across(axis.ticks())}}
	for _, s := range steps {
		if s.Count == 0 {
			continue
		}
		says := fmt.Sprintf("%s: half at most %s, 99 of 100 at most %s, the slowest %s.", s.Name, millis(s.P50), millis(s.P99), millis(s.Max))
		r.Rows = append(r.Rows, rangeRow{
			Y: r.Height + row/2, Name: s.Name, Says: says,
			P50: at(s.P50), P90: at(s.P90), End: max(at(s.P99), at(s.P50)+0.5), // a bar also where all took the same
			Max: at(s.Max), Whole: s.Name == "login",
		})
		r.Height += row
	}
	for _, row := range r.Rows {
		r.About += row.Says + " "
	}
	return r
}

// panel is one quantity over the seconds of a run. Its paths count seconds
// across; the template stretches them.
type panel struct {
	chart
	Unit    string
	Seconds int
	Area    string // what is filled
	Line    string
	Thin    string // a second line
	Faults  []int  // the seconds that had some
}

func newPanels(timeline []Second) []*panel {
	if len(timeline) == 0 {
		return nil
	}
	var done, open int
	var low, high float64
	var faults []int
	for _, s := range timeline {
		done, open = max(done, s.Done), max(open, s.Open)
		if s.Done > 0 && (high == 0 || s.P50 < low) {
			low = s.P50
		}
		if s.Done > 0 {
			high = max(high, s.P99)
		}
		if s.Faults > 0 {
			faults = append(faults, s.At)
		}
	}
	var panels []*panel
	if done > 0 || len(faults) > 0 {
		panels = append(panels, countPanel("Logins per second", "rate", timeline, done, func(s Second) int { return s.Done }))
	}
	if high > 0 {
		panels = append(panels, latencyPanel(timeline, newLogAxis(low, high)))
	}
	if open > 0 {
		panels = append(panels, countPanel("Idle browsers connected", "open", timeline, open, func(s Second) int { return s.Open }))
	}
	length := timeline[len(timeline)-1].At + 1
	for _, p := range panels {
		p.Seconds, p.Faults, p.Across = length, faults, across(timeTicks(length))
	}
	return panels
}

// countPanel shows a count, from 0 up to most.
func countPanel(title, id string, timeline []Second, most int, of func(Second) int) *panel {
	const height = 96
	p := &panel{chart: chart{ID: id, Title: title, Height: height}}
	var top float64
	p.Down, top = countScale(most, height)
	least := most
	for _, run := range runs(timeline, func(Second) bool { return true }) {
		line := stepped(run, func(s Second) float64 { return height * (1 - float64(of(s))/top) })
		p.Line += line
		p.Area += fmt.Sprintf("%sV%dH%dZ", line, height, run[0].At)
		for _, s := range run {
			least = min(least, of(s))
		}
	}
	p.About = fmt.Sprintf("Between %s and %s over %s.", thousands(least), thousands(most), plural(len(timeline), "second"))
	return p
}

// latencyPanel shows p50 and p99 of the logins that ended in each second.
func latencyPanel(timeline []Second, axis logAxis) *panel {
	const height = 128
	p := &panel{chart: chart{ID: "latency", Title: "Time of a whole login", Height: height}, Unit: "p50 to p99"}
	for _, t := range axis.ticks() {
		if !t.Minor {
			p.Down = append(p.Down, tick{At: height * (1 - t.At), Label: t.Label})
		}
	}
	y := func(ms float64) float64 { return height * (1 - axis.at(ms)) }
	var area strings.Builder
	var worst Second
	for _, run := range runs(timeline, func(s Second) bool { return s.Done > 0 }) {
		p99 := stepped(run, func(s Second) float64 { return y(s.P99) })
		p.Line += stepped(run, func(s Second) float64 { return y(s.P50) })
		p.Thin += p99
		area.WriteString(p99)
		for _, s := range slices.Backward(run) {
			fmt.Fprintf(&area, "V%.1fH%d", y(s.P50), s.At)
		}
		area.WriteString("Z")
		for _, s := range run {
			if s.P99 > worst.P99 {
				worst = s
			}
		}
	}
	p.Area = area.String()
	p.About = fmt.Sprintf("p50 and p99 in each second; the highest p99 is %s, in second %d.", millis(worst.P99), worst.At)
	return p
}

// runs are the stretches of a timeline in which every second is known.
func runs(timeline []Second, known func(Second) bool) [][]Second {
	var list [][]Second
	from := 0
	for i, s := range timeline {
		if !known(s) {
			from = i + 1
			continue
		}
		if i+1 == len(timeline) || !known(timeline[i+1]) {
			list = append(list, timeline[from:i+1])
			from = i + 1
		}
	}
	return list
}

// stepped is a path that is level through each second, because a second has
// one value and nothing is known in between.
func stepped(run []Second, y func(Second) float64) string {
	var d strings.Builder
	for i, s := range run {
		if i == 0 {
			fmt.Fprintf(&d, "M%d %.1f", s.At, y(s))
		} else {
			fmt.Fprintf(&d, "V%.1f", y(s))
		}
		fmt.Fprintf(&d, "H%d", s.At+1)
	}
	return d.String()
}

// countScale is an axis of counts from 0 at the bottom: its ticks in pixels,
// and the count at the top.
func countScale(most, height int) ([]tick, float64) {
	counts := countTicks(most)
	top := float64(counts[len(counts)-1])
	var ticks []tick
	for _, n := range counts {
		ticks = append(ticks, tick{At: float64(height) * (1 - float64(n)/top), Label: thousands(n)})
	}
	return ticks, top
}

// across are ticks in percent.
func across(ticks []tick) []tick {
	for i := range ticks {
		ticks[i].At *= 100
	}
	return ticks
}
