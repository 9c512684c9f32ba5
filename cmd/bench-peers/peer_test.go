package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"scanlogin/cmd/scanlogin/bench"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "peer" || os.Args[1] == "hold") {
		main() // a child of a test
		return
	}
	os.Exit(m.Run())
}

// Every peer tells browsers of changes, keeps them with heartbeats, and can be
// measured; all in processes of their own, as they are when it counts.
func TestPeersServeTheBrowsersOfTheLoad(t *testing.T) {
	for _, kind := range []string{chat, sse, gwsLib, bare} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			r := &run{size: size{browsers: 60, beat: time.Second}}
			at, stop, err := r.start(ctx, kind)
			if err != nil {
				t.Fatal(err)
			}
			defer stop()
			by := bench.WS
			if kind == sse {
				by = bench.SSE
			}
			c, err := gather(ctx, at.URL, by, r.browsers)
			if err != nil {
				t.Fatal(err)
			}
			defer c.close()
			time.Sleep(12 * time.Second) // the peers let go who has not answered for 11 s
			took, err := pushes(ctx, c, 50, 3*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			if len(took) != 150 || quantile(took, 0.5) <= 0 || quantile(took, 1) > 1000 {
				t.Errorf("%d frames, p50 %.2f ms, max %.2f ms", len(took), quantile(took, 0.5), quantile(took, 1))
			}
			if rss, err := settled(ctx, at); err != nil || rss < 1<<20 {
				t.Errorf("RSS %.0f %v", rss, err)
			}
		})
	}
}

func TestBenchmarksAreRead(t *testing.T) {
	out := []byte("goos: linux\nBenchmarkQR/chars=60 \t 5000\t 226123 ns/op\t 355.0 bytes\t 133000 B/op\t 3453 allocs/op\nPASS\n")
	if got, found := parseBench(out, "QR/chars=60"); !found || got != (cost{ns: 226123, allocs: 3453}) {
		t.Errorf("%v %v", got, found)
	}
	if _, found := parseBench(out, "QR"); found {
		t.Error("read a benchmark that is not there")
	}
}

func TestTableTellsWhichGoalsWereMet(t *testing.T) {
	b := book{}
	for _, v := range []float64{0.2, 0.9, 0.25} {
		b.add(rssToChat, v)
	}
	b.add(pushToMemory, 2.5)
	b.add(dropped, 0)
	b.add(rssOf+chat, 18758)
	for name, write := range map[string]func(*bytes.Buffer) error{
		"table":    func(w *bytes.Buffer) error { return writeTable(w, b) },
		"markdown": func(w *bytes.Buffer) error { return writeMarkdown(w, b) },
	} {
		var out bytes.Buffer
		if err := write(&out); err != nil {
			t.Fatal(err)
		}
		for line, want := range map[string][]string{
			rssToChat:    {"<= 0.3 ", "0.250", "0.200–0.900", "met"},
			pushToMemory: {"<= 2 ", "2.50", "missed"},
			dropped:      {"<= 0 ", "0 ", "met"},
			rssOf + chat: {"18758 bytes"},
		} {
			_, rest, found := strings.Cut(out.String(), line)
			rest, _, _ = strings.Cut(rest, "\n")
			for _, word := range want {
				if !found || !strings.Contains(rest, word) {
					t.Errorf("%s: %q lacks %q", name, line+rest, word)
				}
			}
		}
	}
}
