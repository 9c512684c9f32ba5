package bench

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"
)

// textWidth is what every terminal and log has room for.
const textWidth = 80

// WriteText writes a result for people: UTF-8, no colours, lines of at most 80
// characters.
func WriteText(w io.Writer, r *Result) error {
	var b strings.Builder
	for _, sentence := range append([]string{headline(r)}, more(r)...) {
		fmt.Fprintln(&b, clip(sentence, textWidth))
	}
	fmt.Fprintln(&b)
	if begun(r.Logins) > 0 {
		writeRow(&b, "load", pace(r.Setup))
		writeRow(&b, "reached", decimal(reached(r))+" logins/s")
	}
	writeRow(&b, "servers", place(r.Setup))
	writeRow(&b, "version", printable(strings.Trim(r.Setup.Version+", "+r.Setup.Go, ", ")))
	if begun(r.Logins) > 0 {
		writeSteps(&b, r.Steps)
	}
	if login, ok := wholeLogin(r); ok {
		writeHistogram(&b, login)
	}
	writeUse(&b, r)
	for _, fault := range faults(r.Errors) {
		writeRow(&b, "error", thousands(fault.Count)+" × "+printable(fault.Name))
	}
	_, err := io.WriteString(w, strings.TrimRight(b.String(), "\n")+"\n")
	return err
}

func writeRow(b *strings.Builder, name, text string) {
	fmt.Fprintln(b, clip(fmt.Sprintf("  %-10s %s", name, text), textWidth))
}

func writeSteps(b *strings.Builder, steps []Step) {
	const columns = "  %-10s%10s%11s%11s%11s%11s\n"
	fmt.Fprintf(b, "\n"+columns, "", "count", "p50", "p90", "p99", "max")
	for _, s := range steps {
		if s.Count == 0 {
			fmt.Fprintf(b, columns, s.Name, "0", "-", "-", "-", "-")
			continue
		}
		fmt.Fprintf(b, columns, s.Name, thousands(s.Count), millis(s.P50), millis(s.P90), millis(s.P99), millis(s.Max))
	}
	fmt.Fprintln(b)
}

// writeHistogram draws a column for each bucket, or for several where there are
// more than fit; a bucket that is not empty is never too low to be seen.
func writeHistogram(b *strings.Builder, login Step) {
	if len(login.Buckets) == 0 {
		return
	}
	const room, rows, levels = textWidth - 4, 5, 8
	axis := axisOf(login)
	tenths := int(math.Round(10 * math.Log10(axis.hi/axis.lo)))
	merged := (tenths + room - 1) / room
	wide := max(1, min(3, room/tenths))
	bars := make([]int, (tenths+merged-1)/merged)
	for _, bucket := range login.Buckets {
		// The middle of a bucket is well inside a column.
		at := axis.at(bucket.To/math.Sqrt(bucketRatio)) * float64(tenths)
		bars[min(int(at)/merged, len(bars)-1)] += bucket.Count
	}
	most := 0
	for _, n := range bars {
		most = max(most, n)
	}
	for row := rows - 1; row >= 0; row-- {
		line := ""
		for _, n := range bars {
			height := int(math.Ceil(float64(n) / float64(max(most, 1)) * rows * levels))
			level := max(0, min(height-row*levels, levels))
			line += strings.Repeat(string([]rune(" ▁▂▃▄▅▆▇█")[level]), wide)
		}
		fmt.Fprintln(b, strings.TrimRight("  "+line, " "))
	}
	writeAxis(b, axis, len(bars)*wide)
	fmt.Fprint(b, "  the whole login, from the moment it was due to its tokens\n\n")
}

func writeAxis(b *strings.Builder, axis logAxis, width int) {
	line := []rune(strings.Repeat("─", width+1))
	labels := ""
	for _, tick := range axis.ticks() {
		at := int(math.Round(tick.At * float64(width)))
		if tick.Minor || labels != "" && at < len(labels)+2 || at+len(tick.Label) > textWidth-2 {
			continue
		}
		line[at] = '┬'
		labels += strings.Repeat(" ", at-len(labels)) + tick.Label
	}
	fmt.Fprintf(b, "  %s\n  %s\n", string(line), labels)
}

// writeUse says what the servers and Redis used, where it was measured, and
// what became of the idle browsers.
func writeUse(b *strings.Builder, r *Result) {
	if u := r.Server; u != nil {
		if u.CPUPerLogin > 0 {
			writeRow(b, "CPU", millis(u.CPUPerLogin)+" a login, on all instances together")
		}
		memory := size(u.RSS) + " at the end"
		if u.RSSPerBrowser > 0 {
			memory = size(u.RSSPerBrowser) + " an idle browser, " + memory
		}
		writeRow(b, "memory", memory)
	}
	if u := r.Redis; u != nil && r.Logins.Done > 0 {
		writeRow(b, "Redis", fmt.Sprintf("%s CPU, %s commands and %s deliveries a login",
			millis(u.CPUPerLogin), decimal(u.CommandsPerLogin), decimal(u.DeliveriesPerLogin)))
	}
	if n := r.Browsers; n.Asked > 0 {
		writeRow(b, "browsers", fmt.Sprintf("%s asked for, %s held, %s dropped, %s renewed",
			thousands(n.Asked), thousands(n.Held), thousands(n.Dropped), thousands(n.Renewed)))
	}
}

// printable is text from a server without what could steer a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

func clip(s string, width int) string {
	if runes := []rune(s); len(runes) > width {
		return string(runes[:width-1]) + "…"
	}
	return s
}

// Bar shows on a terminal where a run stands, in one line that it writes anew
// each time. A Progress without a phase clears it.
func Bar(w io.Writer) func(Progress) {
	const begin, clear = "\r", "\x1b[K"
	return func(p Progress) {
		if p.Phase == "" {
			io.WriteString(w, begin+clear)
			return
		}
		// The last column stays free: some terminals begin a new line in it.
		io.WriteString(w, begin+clip(progressLine(p), textWidth-1)+clear)
	}
}

func progressLine(p Progress) string {
	const cells = 24
	parts := []string{fmt.Sprintf("%-16s", p.Phase)}
	if p.Of > 0 || p.Length > 0 {
		part := 0.0
		if p.Of > 0 {
			part = float64(p.Done) / float64(p.Of)
		}
		if p.Length > 0 {
			part = max(part, p.Elapsed.Seconds()/p.Length.Seconds())
		}
		full := int(max(0, min(part, 1)) * cells)
		parts = append(parts, strings.Repeat("█", full)+strings.Repeat("░", cells-full))
	}
	switch {
	case p.Of > 0:
		parts = append(parts, thousands(p.Done)+"/"+thousands(p.Of))
	case p.Length > 0:
		parts = append(parts, fmt.Sprintf("%.0f/%.0f s", min(p.Elapsed, p.Length).Seconds(), p.Length.Seconds()))
	default:
		parts = append(parts, seconds(p.Elapsed.Seconds()))
	}
	if p.Done > 0 && p.Elapsed >= time.Second {
		parts = append(parts, decimal(float64(p.Done)/p.Elapsed.Seconds())+"/s")
	}
	if p.Faults > 0 {
		parts = append(parts, plural(p.Faults, "fault"))
	}
	return strings.Join(parts, "  ")
}
