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
	mu    sync.Mutex
	held  held
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
	if c.Open() == 0 {
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
	for open := c.Open(); open < c.asked && time.Since(since) < standstill; open = c.Open() {
		if open > most {
			most, since = open, time.Now()
		}
		progress(open)
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
		if lines.Decode(&now) != nil {
			return
		}
		h.mu.Lock()
		h.held = now
		h.mu.Unlock()
	}
}

// count is all children together.
func (c *Crowd) count() held {
	sum := held{Errors: map[string]int{}}
	for _, child := range c.children {
		child.mu.Lock()
		one := child.held
		child.mu.Unlock()
		sum.Open, sum.Dropped, sum.Renewed = sum.Open+one.Open, sum.Dropped+one.Dropped, sum.Renewed+one.Renewed
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
	return Browsers{Asked: c.asked, Held: now.Open, Dropped: now.Dropped, Renewed: now.Renewed}, maps.Clone(now.Errors)
}

// Leave ends them and waits until the children are gone.
func (c *Crowd) Leave() {
	for _, child := range c.children {
		child.stdin.Close()
	}
	for _, child := range c.children {
		overdue := time.AfterFunc(stopWithin, func() { child.cmd.Process.Kill() })
		<-child.done
		child.cmd.Wait()
		overdue.Stop()
	}
}
