package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path"
	"strconv"
	"strings"
)

// cost is what one turn of a Go benchmark takes.
type cost struct{ ns, allocs float64 }

// goBench runs benchmarks of a room one after the other, on one processor.
// Their names are without "Benchmark" and differ in the last part only.
func (r *run) goBench(ctx context.Context, room string, names ...string) ([]cost, error) {
	above, last := path.Split(names[0])
	for _, name := range names[1:] {
		last += "|" + path.Base(name)
	}
	pattern := "^Benchmark" + strings.ReplaceAll(above, "/", "$/^") + "(" + last + ")$"
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", pattern, "-benchtime", r.benchtime, "-benchmem", "-cpu", "1", room)
	cmd.Dir = r.root
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("go test -bench %s: %w\n%s", pattern, err, out)
	}
	costs := make([]cost, len(names))
	for i, name := range names {
		var found bool
		if costs[i], found = parseBench(out, name); !found {
			return nil, fmt.Errorf("%s has no Benchmark%s any more", room, name)
		}
	}
	return costs, nil
}

// parseBench reads the line of a benchmark: name, turns, then pairs of a number
// and its unit.
func parseBench(out []byte, name string) (c cost, found bool) {
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		words := strings.Fields(lines.Text())
		if len(words) < 4 || words[0] != "Benchmark"+name {
			continue
		}
		for i := 2; i+1 < len(words); i += 2 {
			value, err := strconv.ParseFloat(words[i], 64)
			switch {
			case err != nil:
			case words[i+1] == "ns/op":
				c.ns = value
			case words[i+1] == "allocs/op":
				c.allocs = value
			}
		}
		return c, true
	}
	return c, false
}
