// Command bench-peers measures scanlogin beside small servers of other shapes,
// on one machine and in one run, and prints the goals of the project as ratios.
// It is a module of its own, so that peers are no dependency of the server's.
// It needs Linux, Go, a redis-server (or Debian's redis-tools) and about 45
// minutes in which the machine has nothing else to do; --quick takes three and
// shows only that everything works.
//
// The peers are child processes of this program: the shape of gorilla's chat
// example, server-sent events with net/http, github.com/lxzan/gws, and the
// floor, one epoll loop over raw descriptors. They answer the few messages
// that browsers and a phone of the contract send, and know nothing else: no
// store, no signature, no picture. The same client watches all of them. Our
// own server is the real program with limits off (unless a row says on), long
// lives of tickets, and heartbeats like the peers'.
//
// What is measured, in each of five rounds (the table has the median):
//
//   - Memory: resident set of the server with all browsers watching, after a
//     heartbeat of each and two garbage collections, less that of the empty
//     server. Kernel memory is the growth of its slabs while the floor's
//     browsers come, halved: both ends of a connection are on this machine.
//   - A push: from the moment at which a repeated scan of a watched ticket is
//     due to the frame at the browser. It has a request over HTTP in it, and
//     at ours the phone's token, the rules and the store; at a peer none of them.
//   - Polling: RFC 8628 on our own server, people who confirm at any moment.
//   - Redis: CPU, commands and deliveries from INFO while whole logins run as
//     fast as they can, or at one rate with 16 instances and with one. Five
//     EVALSHA are the plainest store with the same promises: as fast as it can,
//     and at the rate of the logins. A command costs Redis less the more of them
//     come at once, and logins over HTTP keep the machine busy before Redis.
//   - Server CPU of a whole login beside the sum of its dearest parts, measured
//     alone by the Go benchmarks of the rooms.
//   - 50,000 browsers over three instances, once.
//
// What it does not show: a network, TLS, or servers that have the machine for
// themselves: servers, Redis and all browsers share its processors, so rates and
// tails are those of the whole machine. Ratios are what counts, and of those
// the ones of memory and of commands are the steady ones.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"
)

// size is how much is measured.
type size struct {
	browsers  int
	beat      time.Duration // between heartbeats
	rate      int           // pushes a second
	push      time.Duration
	polling   int           // logins
	logins    time.Duration // of each run of whole logins
	loginRate float64       // with 16 instances and 1
	benchtime string
	crowd     int // browsers over three instances
	hold      time.Duration
}

var (
	full  = size{10_000, 25 * time.Second, 1000, 10 * time.Second, 48, 8 * time.Second, 500, "300ms", 50_000, 3 * time.Minute}
	quick = size{1000, 2 * time.Second, 200, 2 * time.Second, 8, 2 * time.Second, 100, "20ms", 3000, 6 * time.Second}
)

func main() {
	var err error
	switch {
	case len(os.Args) == 4 && os.Args[1] == "peer":
		var beat time.Duration
		if beat, err = time.ParseDuration(os.Args[3]); err == nil {
			err = runPeer(os.Args[2], beat)
		}
	case len(os.Args) == 2 && os.Args[1] == "hold":
		err = holdBrowsers()
	default:
		err = measure()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-peers:", err)
		os.Exit(1)
	}
}

func measure() error {
	rounds := flag.Int("rounds", 5, "how often everything is measured")
	small := flag.Bool("quick", false, "one round with small numbers, to see that it works")
	skip := flag.Bool("skip-50k", false, "leave out the 50,000 browsers")
	markdown := flag.Bool("markdown", false, "print the table as Markdown")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	debug.SetGCPercent(400) // the browsers' own collections are in the way of what they measure
	for _, setting := range os.Environ() {
		if name, _, _ := strings.Cut(setting, "="); strings.HasPrefix(name, "SCANLOGIN_") {
			os.Unsetenv(name) // servers have the settings that are told here, and no others
		}
	}

	r := &run{size: full, book: book{}}
	if *small {
		*rounds, r.size = 1, quick
	}
	if err := r.prepare(ctx); err != nil {
		return err
	}
	defer os.RemoveAll(r.dir)
	for i := range *rounds {
		if err := r.round(ctx, fmt.Sprintf("%d of %d", i+1, *rounds)); err != nil {
			return err
		}
	}
	if !*skip {
		if err := r.step("at last", "many idle browsers", func() error { return r.fiftyThousand(ctx) }); err != nil {
			return err
		}
	}
	if *markdown {
		return writeMarkdown(os.Stdout, r.book)
	}
	return writeTable(os.Stdout, r.book)
}

// run is one run of everything.
type run struct {
	size
	book    book
	root    string // of the server's module
	dir     string // for what is built
	program string // the server
}

// prepare builds the server.
func (r *run) prepare(ctx context.Context) (err error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "scanlogin").Output()
	if err != nil {
		return fmt.Errorf("this runs inside its module, as `make bench-peers` does: %w", err)
	}
	r.root = strings.TrimSpace(string(out))
	if r.dir, err = os.MkdirTemp("", "bench-peers"); err != nil {
		return err
	}
	r.program = filepath.Join(r.dir, "scanlogin")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", r.program, "./cmd/scanlogin")
	build.Dir = r.root
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		os.RemoveAll(r.dir)
		return fmt.Errorf("build: %w\n%s", err, out)
	}
	return nil
}

// step shows what is going on and how long it took.
func (r *run) step(round, name string, do func() error) error {
	fmt.Fprintf(os.Stderr, "%s  %s ...", round, name)
	start := time.Now()
	err := do()
	fmt.Fprintf(os.Stderr, " %.0f s\n", time.Since(start).Seconds())
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
