package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// row is one line of the table. Limit is the goal, 0: there is none and the
// figure is there to be read beside the others.
type row struct {
	name  string
	limit float64
	unit  string // empty: a ratio or a count
}

// book keeps what was measured, by the name of its row; a round adds one value.
type book map[string][]float64

func (b book) add(name string, value float64) {
	if !slices.ContainsFunc(rows, func(r row) bool { return r.name == name }) {
		panic("no row: " + name)
	}
	b[name] = append(b[name], value)
}

// ratio adds the quotient of what was measured last for two rows.
func (b book) ratio(name, over, under string) {
	b.add(name, b.last(over)/b.last(under))
}

// last is what was measured last.
func (b book) last(name string) float64 { return b[name][len(b[name])-1] }

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// verdict is whether the goal was met, as the median tells.
func (r row) verdict(values []float64) string {
	switch {
	case r.limit == 0 && r.name != dropped:
		return ""
	case median(values) <= r.limit:
		return "met"
	default:
		return "missed"
	}
}

func (r row) cells(values []float64) []string {
	limit := ""
	if r.verdict(values) != "" {
		limit = strings.TrimSpace("<= " + strconv.FormatFloat(r.limit, 'g', -1, 64) + " " + r.unit)
	}
	span := ""
	if len(values) > 1 {
		span = figure(slices.Min(values)) + "–" + figure(slices.Max(values))
	}
	return []string{r.name, limit, strings.TrimSpace(figure(median(values)) + " " + r.unit), span, r.verdict(values)}
}

// figure writes three digits that count.
func figure(v float64) string {
	switch {
	case v >= 100 || v == float64(int(v)):
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case v >= 1:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strconv.FormatFloat(v, 'f', 3, 64)
}

var heading = []string{"", "goal", "median", "min–max", ""}

// writeTable writes every row that has a value, for a terminal.
func writeTable(w io.Writer, b book) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(heading, "\t"))
	for _, r := range rows {
		if values := b[r.name]; len(values) > 0 {
			fmt.Fprintln(t, strings.Join(r.cells(values), "\t"))
		}
	}
	return t.Flush()
}

// writeMarkdown writes the same for a README.
func writeMarkdown(w io.Writer, b book) error {
	line := func(cells []string) error {
		_, err := fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
		return err
	}
	if err := line(heading); err != nil {
		return err
	}
	if err := line([]string{"---", "---", "---", "---", "---"}); err != nil {
		return err
	}
	for _, r := range rows {
		if values := b[r.name]; len(values) > 0 {
			if err := line(r.cells(values)); err != nil {
				return err
			}
		}
	}
	return nil
}
