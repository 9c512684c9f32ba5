package bench

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func pageOf(t *testing.T, r *Result) string {
	t.Helper()
	var b bytes.Buffer
	if err := WriteHTML(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// element is one of a page's body, which is well-formed XML too: a stricter
// reader than a browser.
type element struct {
	name     string
	attrs    map[string]string
	text     string
	children []*element
}

func bodyOf(t *testing.T, page string) *element {
	t.Helper()
	at := strings.Index(page, "<body>")
	if at < 0 {
		t.Fatalf("no body:\n%s", page)
	}
	decoder := xml.NewDecoder(strings.NewReader(strings.TrimSuffix(strings.TrimSpace(page[at:]), "</html>")))
	root := &element{}
	open := []*element{root}
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return root
		} else if err != nil {
			t.Fatalf("the body is not well-formed: %v", err)
		}
		top := open[len(open)-1]
		switch token := token.(type) {
		case xml.StartElement:
			e := &element{name: token.Name.Local, attrs: map[string]string{}}
			for _, a := range token.Attr {
				e.attrs[a.Name.Local] = a.Value
			}
			top.children = append(top.children, e)
			open = append(open, e)
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			for _, e := range open {
				e.text += string(token)
			}
		}
	}
}

// each calls f for an element and everything in it.
func (e *element) each(f func(*element)) {
	f(e)
	for _, child := range e.children {
		child.each(f)
	}
}

func (e *element) named(name string) []*element {
	var found []*element
	e.each(func(e *element) {
		if e.name == name {
			found = append(found, e)
		}
	})
	return found
}

// plots are the drawings that mean something.
func (e *element) plots() []*element {
	var found []*element
	for _, svg := range e.named("svg") {
		if svg.attrs["role"] == "img" {
			found = append(found, svg)
		}
	}
	return found
}

func TestPageSaysWhatHappened(t *testing.T) {
	r := madeResult()
	r.Logins.Failed, r.Errors = 5, map[string]int{"scan rate_limited": 3, "create store_unavailable": 2}
	body := bodyOf(t, pageOf(t, r))
	if h1 := body.named("h1"); len(h1) != 1 || strings.ReplaceAll(h1[0].text, "\u00a0", " ") != headline(r) {
		t.Errorf("headline: %q", h1[0].text)
	}
	var rows []string
	for _, tr := range body.named("tr") {
		rows = append(rows, tr.text)
	}
	table := strings.Join(rows, "\n")
	for _, s := range r.Steps {
		if !strings.Contains(table, s.Name) || !strings.Contains(table, millis(s.P99)) {
			t.Errorf("step %s is not in the table", s.Name)
		}
	}
	for _, says := range []string{
		"scan rate_limited", "create store_unavailable", "0.92 ms", "4.7 KiB", "9.2 commands", "3 deliveries", "Open loop",
		"3 instances on Redis", "12 renewed", "v1.2.3, go1.26.0", "10,000 idle browsers beside them: all held",
	} {
		if !strings.Contains(strings.ReplaceAll(body.text, "\u00a0", " "), says) {
			t.Errorf("the page does not say %q", says)
		}
	}
	var titles []string
	for _, plot := range body.plots() {
		titles = append(titles, plot.named("title")[0].text)
	}
	if got := strings.Join(titles, ", "); got != "The whole login, Step by step, Logins per second, Time of a whole login, Idle browsers connected" {
		t.Errorf("charts: %s", got)
	}
}

func TestPageOfBrowsersAloneHasNoChartsOfLogins(t *testing.T) {
	body := bodyOf(t, pageOf(t, onlyBrowsers()))
	if plots := body.plots(); len(plots) != 1 || plots[0].named("title")[0].text != "Idle browsers connected" {
		t.Errorf("%d charts", len(plots))
	}
	if strings.Contains(body.text, "a login") || strings.Contains(body.text, "p50") {
		t.Errorf("no login was made: %s", body.text)
	}
}

func TestPageNeedsNothingElse(t *testing.T) {
	outside := regexp.MustCompile(`(?i)https?:|//|url\(|@import|<script|<link|\bsrc=|\bhref=`)
	for name, r := range edges {
		page := strings.Replace(pageOf(t, r), `<link rel="icon" href="data:,">`, "", 1)
		if found := outside.FindString(page); found != "" {
			t.Errorf("%s: the page has %q", name, found)
		}
	}
}

// Whatever a run was like, everything drawn is inside its chart.
func TestPageDrawsInsideItsCharts(t *testing.T) {
	for name, r := range edges {
		t.Run(name, func(t *testing.T) {
			page := pageOf(t, r)
			if bad := notNumbers.FindString(regexp.MustCompile(`(?s)<style>.*</style>`).ReplaceAllString(page, "")); bad != "" {
				t.Errorf("the page says %s", bad)
			}
			ids := map[string]bool{}
			body := bodyOf(t, page)
			body.each(func(e *element) {
				if id := e.attrs["id"]; id != "" && ids[id] {
					t.Errorf("two elements are %q", id)
				} else {
					ids[id] = true
				}
			})
			for _, plot := range body.plots() {
				inside(t, plot, ids)
			}
		})
	}
}

// inside looks over one chart: its names for who can't see it, its places
// across and down.
func inside(t *testing.T, plot *element, ids map[string]bool) {
	t.Helper()
	for name := range strings.FieldsSeq(plot.attrs["aria-labelledby"]) {
		if !ids[name] {
			t.Errorf("there is no %q", name)
		}
	}
	if plot.named("title")[0].text == "" || plot.named("desc")[0].text == "" {
		t.Error("a chart without words")
	}
	high := number(t, plot.attrs["height"])
	if high < 20 || high > 600 {
		t.Errorf("%v pixels high", high)
	}
	plot.each(func(e *element) {
		for _, key := range []string{"x", "x1", "x2", "width"} {
			if percent, ok := strings.CutSuffix(e.attrs[key], "%"); ok {
				if v := number(t, percent); v < 0 || v > 100.6 {
					t.Errorf("%s %s is at %s %v %%", e.name, e.attrs["class"], key, v)
				}
			}
		}
		if e.name == "rect" {
			if y, h := number(t, e.attrs["y"]), number(t, e.attrs["height"]); y < 0 || h <= 0 || y+h > high+0.1 {
				t.Errorf("a bar from %v, %v high, in a chart of %v", y, h, high)
			}
		}
		if d := e.attrs["d"]; d != "" {
			drawn(t, d, high)
		}
	})
}

var pathStep = regexp.MustCompile(`M(\d+) ([\d.]+)|H(\d+)|V([\d.]+)|Z`)

// drawn reads a path: only straight lines, none above or below the chart.
func drawn(t *testing.T, d string, high float64) {
	t.Helper()
	if rest := pathStep.ReplaceAllString(d, ""); rest != "" {
		t.Errorf("a path with %.40q in it", rest)
	}
	for _, step := range pathStep.FindAllStringSubmatch(d, -1) {
		for _, y := range []string{step[2], step[4]} {
			if y != "" && number(t, y) > high+0.1 {
				t.Errorf("a path goes down to %s in a chart of %v", y, high)
			}
		}
	}
}

func number(t *testing.T, s string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		t.Errorf("%q is not a number", s)
	}
	return v
}

// Error codes and the version come from a server.
func TestErrorCodeWithMarkup(t *testing.T) {
	hostile := `</td></style><script>alert(1)</script><img src=x onerror=alert(1)>"'`
	page := pageOf(t, changed(func(r *Result) {
		r.Errors = map[string]int{hostile: 1}
		r.Setup.Version, r.Setup.Go, r.Setup.Store = hostile, hostile, hostile
	}))
	if strings.Contains(page, "<script") || strings.Contains(page, "<img") {
		t.Error("it is markup on the page")
	}
	body := bodyOf(t, page)
	if !strings.Contains(body.text, hostile) {
		t.Error("the page does not say what the server said")
	}
}

func TestTimelineLeavesOutTheRestOfASecond(t *testing.T) {
	r := madeResult()
	r.Seconds = 12.3
	r.Timeline = append(r.Timeline, Second{At: 12, Done: 3, P50: 4, P99: 5})
	if whole := wholeSeconds(r); len(whole) != 12 {
		t.Errorf("%d seconds", len(whole))
	}
	if !strings.Contains(pageOf(t, r), "is left out") {
		t.Error("the page does not say so")
	}
	r.Timeline[12].Faults = 1
	if whole := wholeSeconds(r); len(whole) != 13 {
		t.Errorf("%d seconds: a fault is left out", len(whole))
	}
	r.Seconds, r.Timeline = 0.3, r.Timeline[:1]
	if whole := wholeSeconds(r); len(whole) != 1 {
		t.Errorf("%d seconds of a short run", len(whole))
	}
}

func TestTimelineHasGapsWhereNothingIsKnown(t *testing.T) {
	panels := newPanels([]Second{
		{At: 0, Done: 1, P50: 1, P99: 10}, {At: 1, Done: 2, P50: 1, P99: 10}, {At: 2, Faults: 3}, {At: 3, Done: 1, P50: 10, P99: 10},
	})
	if len(panels) != 2 {
		t.Fatalf("%d panels", len(panels))
	}
	if rate := panels[0]; rate.Line != "M0 48.0H1V0.0H2V96.0H3V48.0H4" || rate.Area != rate.Line+"V96H0Z" {
		t.Errorf("logins per second: line %s, area %s", rate.Line, rate.Area)
	}
	if latency := panels[1]; latency.Line != "M0 128.0H1V128.0H2M3 0.0H4" || latency.Area != "M0 0.0H1V0.0H2V128.0H1V128.0H0ZM3 0.0H4V0.0H3Z" {
		t.Errorf("latency: line %s, area %s", latency.Line, latency.Area)
	}
	if f := panels[1].Faults; len(f) != 1 || f[0] != 2 {
		t.Errorf("faults in %v", f)
	}
}

func TestHistogramShowsEveryLogin(t *testing.T) {
	h := newHistogram(madeStep("login", 2.51, 10, 100000, 5, 0, 0, 0, 1))
	if len(h.Bars) != 4 {
		t.Fatalf("%d bars", len(h.Bars))
	}
	for i, b := range h.Bars {
		if b.High < 2 || b.Wide <= 0 || i > 0 && b.X < h.Bars[i-1].X+h.Bars[i-1].Wide-0.01 {
			t.Errorf("bar %d: %+v", i, b)
		}
	}
	if last := h.Bars[3].Says; last != "7.9 ms to 10.0 ms: 1 login" && last != "7.9 ms to 10 ms: 1 login" {
		t.Errorf("the last bar says %q", last)
	}
}
