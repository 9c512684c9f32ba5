package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"scanlogin/cmd/scanlogin/bench"
)

// watched measures one kind of server: the memory of browsers that wait, then
// pushes to them.
func (r *run) watched(ctx context.Context, kind string) error {
	at, stop, err := r.start(ctx, kind)
	if err != nil {
		return err
	}
	defer stop()
	empty, err := settled(ctx, at)
	if err != nil {
		return err
	}
	slab, err := kernelSlab()
	if err != nil {
		return err
	}
	by := bench.WS
	if kind == sse {
		by = bench.SSE
	}
	c, err := gather(ctx, at.URL, by, r.browsers)
	if err != nil {
		return err
	}
	defer c.close()
	select {
	case <-time.After(r.beat * 5 / 4): // none waits longer than beat for its heartbeat
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	busy, err := settled(ctx, at)
	if err != nil {
		return err
	}
	r.book.add(rssOf+kind, (busy-empty)/float64(r.browsers))
	if kind == bare {
		if err := r.kernel(slab); err != nil {
			return err
		}
	}
	took, err := pushes(ctx, c, r.rate, r.push)
	if err != nil {
		return err
	}
	r.book.add(p50Of+kind, quantile(took, 0.5))
	r.book.add(p90Of+kind, quantile(took, 0.9))
	return nil
}

// measuredKernel is what a socket cost a kernel on which it was looked at slab
// by slab: TCP 2367, inode 831, dentry, file and epoll 512, rest 64 bytes.
const measuredKernel = 3774

// kernel notes what a socket costs the kernel: half of what its slabs grew by
// for a connection. Where that makes no sense, because something else on the
// machine was busy, it is what was measured once.
func (r *run) kernel(before float64) error {
	after, err := kernelSlab()
	if err != nil {
		return err
	}
	bytes := (after - before) / float64(r.browsers) / 2
	if bytes < measuredKernel/2 || bytes > 3*measuredKernel {
		fmt.Fprintf(os.Stderr, " (kernel memory unclear: %.0f bytes a socket; taking %d)", bytes, measuredKernel)
		bytes = measuredKernel
	}
	r.book.add(kernelOf, bytes)
	return nil
}

// kernelSlab is the kernel's memory for its objects, in bytes.
func kernelSlab() (float64, error) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), "\nSlab:")
	number, _, _ := strings.Cut(strings.TrimSpace(rest), " kB")
	kilobytes, err := strconv.ParseFloat(number, 64)
	return kilobytes * 1024, err
}

// settled is a server's resident set in bytes, after two garbage collections
// and when it has stopped to shrink.
func settled(ctx context.Context, at bench.Server) (float64, error) {
	if err := bench.Settle(ctx, []bench.Server{at}); err != nil {
		return 0, err
	}
	last := math.Inf(1)
	for range 20 {
		time.Sleep(time.Second)
		now, err := bench.Read(ctx, []bench.Server{at})
		if err != nil || now.RSS > last*0.998 {
			return now.RSS, err
		}
		last = now.RSS
	}
	return last, nil
}
