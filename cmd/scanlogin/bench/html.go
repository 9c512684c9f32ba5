package bench

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"regexp"
)

//go:embed report.html.tmpl
var reportSource string

// report is what the page shows.
type report struct {
	*Result
	Verdict     verdict
	Headline    string
	More        []string
	Pace, Place string
	Tiles       []tile
	Begun       int        // logins
	Histogram   *histogram // nil: no login ended
	Ranges      *ranges    // nil: no step of one
	Panels      []*panel
	Cut         bool // the panels leave a part of a second out
	Faults      []fault
}

// tile is a number to look at first.
type tile struct{ Name, Value, Note string }

// WriteHTML writes a result as one page that needs nothing else: no script,
// no request.
func WriteHTML(w io.Writer, r *Result) error {
	page, err := template.New("report").Funcs(template.FuncMap{
		"millis": millis, "thousands": thousands, "decimal": decimal, "size": size, "meaning": meaning, "unbroken": unbroken,
	}).Parse(reportSource)
	if err != nil {
		return err
	}
	view := report{
		Result: r, Verdict: verdictOf(r), Headline: headline(r), More: more(r),
		Pace: pace(r.Setup), Place: place(r.Setup), Tiles: tiles(r), Begun: begun(r.Logins),
		Ranges: newRanges(r.Steps), Faults: faults(r.Errors),
	}
	whole := wholeSeconds(r)
	view.Panels, view.Cut = newPanels(whole), len(whole) < len(r.Timeline)
	if login, ok := wholeLogin(r); ok {
		view.Histogram = newHistogram(login)
	}
	var b bytes.Buffer
	if err := page.Execute(&b, view); err != nil {
		return err
	}
	_, err = w.Write(b.Bytes())
	return err
}

// wholeSeconds is the timeline without a last second that was a short one: it
// would look as if everything had gone down at the end. One in which something
// failed stays.
func wholeSeconds(r *Result) []Second {
	full, part := math.Modf(r.Seconds)
	last := len(r.Timeline) - 1
	if last < 1 || last != int(full) || part > 0.95 || r.Timeline[last].Faults > 0 {
		return r.Timeline
	}
	return r.Timeline[:last]
}

func tiles(r *Result) []tile {
	var list []tile
	add := func(name, value, note string) { list = append(list, tile{name, value, note}) }
	if r.Logins.Done > 0 {
		note := fmt.Sprintf("%s in %s", thousands(r.Logins.Done), seconds(r.Seconds))
		add("Logins per second", decimal(reached(r)), note)
	}
	if login, ok := wholeLogin(r); ok {
		add("Half of the logins", millis(login.P50), "at most (p50)")
		add("99 of 100 logins", millis(login.P99), "at most (p99)")
	}
	if n := r.Logins.Failed; n > 0 {
		add("Failed logins", thousands(n), "with a clear answer")
	}
	if n := r.Logins.Unbegun; n > 0 {
		add("Not begun", thousands(n), "logins that were due")
	}
	if u := r.Server; u != nil && u.CPUPerLogin > 0 {
		add("Server CPU", millis(u.CPUPerLogin), "a login")
	}
	if u := r.Redis; u != nil && r.Logins.Done > 0 {
		add("Redis CPU", millis(u.CPUPerLogin), fmt.Sprintf("a login, %s commands", decimal(u.CommandsPerLogin)))
	}
	if n := r.Browsers; n.Asked > 0 {
		add("Idle browsers", thousands(n.Asked), fate(n))
	}
	if u := r.Server; u != nil && u.RSSPerBrowser > 0 {
		add("Memory", size(u.RSSPerBrowser), "an idle browser")
	}
	return list
}

// meaning is what the time of a step is the time of.
func meaning(step string) string {
	return map[string]string{
		"create":  "the browser asks for a ticket",
		"watch":   "connects, until its first snapshot",
		"scan":    "the phone scans, until its answer",
		"seen":    "from sending the scan until the browser knows",
		"confirm": "the phone confirms, until its answer",
		"told":    "from sending the confirmation until the browser knows",
		"redeem":  "the browser collects its tokens",
		"login":   "all of it, from the moment it was due",
	}[step]
}

var unit = regexp.MustCompile(`(\d) (ms|s|failed|not begun|were|was|lost|untold|doubled|misgiven|held|dropped)\b`)

// unbroken is a sentence in which no line ends between a number and what it
// counts.
func unbroken(sentence string) string { return unit.ReplaceAllString(sentence, "$1\u00a0$2") }
