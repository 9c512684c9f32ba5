package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"sync"
	"time"
)

const (
	mostSockets = 17_000 // of one process, which may have 20,000 files
	mostDials   = 64     // at once, of all processes together
	// standstill is when a crowd of which nobody came any more is as big as it gets.
	standstill = 3 * patience
	// trusted is how long what a child has said holds; it speaks five times a second.
	trusted = 3 * time.Second
)

// Crowd is idle browsers that watch a ticket each and wait, in child processes.
type Crowd struct {
	asked    int
	children []*holder
}

// holder is one child.
type holder struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	done  chan struct{} // its output ended

	mu      sync.Mutex
	held    held
	heard   time.Time // when it said so
	leaving bool      // it was told to
}

// Gather opens so many idle browsers, spread over the servers, in as many processes
// of the command line program as are needed; each has to run Hold. Persons are
// numbered from first. It returns when all are open, when no more come, or with ctx;
// an error means that there are none. They stay until Leave, which is due even when
// ctx has ended.
func Gather(ctx context.Context, program []string, servers []Server, by Transport, browsers, first int, progress func(open int)) (*Crowd, error) {
	c := &Crowd{asked: browsers}
	if browsers == 0 {
		return c, nil
	}
	n := (browsers + mostSockets - 1) / mostSockets
	o := order{Transport: by, AtOnce: max(1, mostDials/n)}
	for _, s := range servers {
		o.Servers = append(o.Servers, s.URL)
	}
	for i := range n {
		o.First, o.Browsers = first, (i+1)*browsers/n-i*browsers/n
		first += o.Browsers
		child, err := startHolder(program, o)
		if err != nil {
			c.Leave()
			return nil, err
		}
		c.children = append(c.children, child)
	}
	c.settle(ctx, progress)
	if c.count().there() == 0 {
		defer c.Leave()
		return nil, c.nobody(ctx)
	}
	return c, nil
}

// settle waits until nobody is missing or nobody comes any more.
func (c *Crowd) settle(ctx context.Context, progress func(open int)) {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	most, since := 0, time.Now()
	for now := c.count(); now.there() < c.asked && time.Since(since) < standstill; now = c.count() {
		if now.there() > most {
			most, since = now.there(), time.Now()
		}
		progress(now.there())
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (c *Crowd) nobody(ctx context.Context) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for reason := range c.count().Errors {
		return fmt.Errorf("bench: no idle browser could be opened: %s", reason)
	}
	return errors.New("bench: no idle browser could be opened")
}

func startHolder(program []string, o order) (*holder, error) {
	h := &holder{cmd: exec.Command(program[0], program[1:]...), done: make(chan struct{})}
	ours(h.cmd)
	h.cmd.Stderr = os.Stderr
	var err error
	if h.stdin, err = h.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := h.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := h.cmd.Start(); err != nil {
		return nil, fmt.Errorf("bench: idle browsers: %w", err)
	}
	go h.listen(stdout)
	return h, json.NewEncoder(h.stdin).Encode(o)
}

func (h *holder) listen(stdout io.Reader) {
	defer close(h.done)
	for lines := json.NewDecoder(stdout); ; {
		var now held
		err := lines.Decode(&now)
		h.mu.Lock()
		switch {
		case err == nil:
			h.held, h.heard = now, time.Now()
		case !h.leaving:
			h.held.gone("hold process_ended")
		}
		h.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// now is how the child's browsers are: nobody vouches for those of one that is silent.
func (h *holder) now() held {
	h.mu.Lock()
	defer h.mu.Unlock()
	one := h.held
	if one.there() > 0 && time.Since(h.heard) > trusted {
		one.gone("hold process_silent")
	}
	return one
}

// there is how many wait, with those that get their next ticket.
func (h held) there() int { return h.Open + h.Renewing }

// gone is what is left when the child is.
func (h *held) gone(why string) {
	h.Open, h.Renewing, h.Errors = 0, 0, maps.Clone(h.Errors)
	if h.Errors == nil {
		h.Errors = map[string]int{}
	}
	h.Errors[why]++
}

// count is all children together.
func (c *Crowd) count() held {
	sum := held{Errors: map[string]int{}}
	for _, child := range c.children {
		one := child.now()
		sum.Open, sum.Renewing = sum.Open+one.Open, sum.Renewing+one.Renewing
		sum.Dropped, sum.Renewed, sum.Misgiven = sum.Dropped+one.Dropped, sum.Renewed+one.Renewed, sum.Misgiven+one.Misgiven
		for name, n := range one.Errors {
			sum.Errors[name] += n
		}
	}
	return sum
}

// Open is how many are connected, as of a fifth of a second ago at the most.
func (c *Crowd) Open() int { return c.count().Open }

// Result is what happened to them so far, and what went wrong, by code.
func (c *Crowd) Result() (Browsers, map[string]int) {
	now := c.count()
	return Browsers{
		Asked: c.asked, Held: now.there(), Renewing: now.Renewing,
		Dropped: now.Dropped, Renewed: now.Renewed, Misgiven: now.Misgiven,
	}, now.Errors
}

// Leave ends them and waits until the children are gone.
func (c *Crowd) Leave() {
	for _, child := range c.children {
		child.mu.Lock()
		child.leaving = true
		child.mu.Unlock()
		child.stdin.Close()
	}
	for _, child := range c.children {
		overdue := time.AfterFunc(stopWithin, func() { child.cmd.Process.Kill() })
		<-child.done
		child.cmd.Wait()
		overdue.Stop()
	}
}
