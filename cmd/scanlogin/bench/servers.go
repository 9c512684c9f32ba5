package bench

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// Spec is what servers to start.
type Spec struct {
	Program   string   // path of scanlogin
	Instances int      // more than one need Redis
	Redis     bool     // they share a redis-server that is started for them
	RedisURL  string   // or this one, under a prefix of their own; empty: memory
	Accounts  int      // demo users
	Env       []string // more settings, as in SCANLOGIN_TICKET_TTL=15m, besides those of the environment
}

// Fleet is servers that were started, and what a Load needs of them.
type Fleet struct {
	Servers  []Server
	Accounts []string
	RedisURL string // empty: memory

	prefix string // in a Redis that was there before; empty: nothing has to be cleaned up
	stop   context.CancelFunc
	ended  sync.WaitGroup
	dir    string
}

const (
	startWithin = 30 * time.Second
	stopWithin  = 5 * time.Second // then they are killed
)

// Start starts servers and waits until all of them are ready. They end with ctx or
// Stop.
func Start(ctx context.Context, spec Spec) (*Fleet, error) {
	f := &Fleet{RedisURL: spec.RedisURL}
	running, stop := context.WithCancel(ctx)
	f.stop = stop
	for i := range spec.Accounts {
		f.Accounts = append(f.Accounts, fmt.Sprintf("bench-%d", i))
	}
	err := f.start(running, spec)
	if err != nil {
		f.Stop()
		return nil, err
	}
	return f, nil
}

func (f *Fleet) start(ctx context.Context, spec Spec) (err error) {
	if f.dir, err = os.MkdirTemp("", "sl"); err != nil { // the path of a socket is short
		return err
	}
	switch {
	case spec.Redis:
		if f.RedisURL, err = f.startRedis(ctx); err != nil {
			return err
		}
	case spec.RedisURL != "":
		if err := reachable(ctx, f.RedisURL); err != nil {
			return err
		}
		f.prefix = "bench-" + rand.Text()[:8] + ":"
	}
	f.Servers = make([]Server, spec.Instances)
	failed := make([]error, spec.Instances)
	env := f.settings(spec)
	var all sync.WaitGroup
	for i := range f.Servers {
		all.Go(func() { f.Servers[i], failed[i] = f.startServer(ctx, spec.Program, env) })
	}
	all.Wait()
	return errors.Join(failed...)
}

// settings are the environment of every instance: check codes and limits are off
// unless somebody wants them, addresses and secrets are the fleet's own. An empty name
// takes the place of one in a file.
func (f *Fleet) settings(spec Spec) []string {
	env := append([]string{"SCANLOGIN_CHECK_CODE=off", "SCANLOGIN_LIMITS=off"}, os.Environ()...)
	env = append(append(env, spec.Env...),
		"SCANLOGIN_LISTEN=127.0.0.1:0", "SCANLOGIN_ADMIN_LISTEN=127.0.0.1:0", "SCANLOGIN_PUBLIC_URL=http://localhost",
		"SCANLOGIN_SECRET="+rand.Text()+rand.Text(), "SCANLOGIN_SECRET_FILE=", "SCANLOGIN_SECRET_PREVIOUS=", "SCANLOGIN_SECRET_PREVIOUS_FILE=",
		"SCANLOGIN_REDIS_URL="+f.RedisURL, "SCANLOGIN_REDIS_URL_FILE=", "SCANLOGIN_ENV=", "SCANLOGIN_LOG=json",
		"SCANLOGIN_DEMO_USERS="+strings.Join(f.Accounts, ","), "SCANLOGIN_TRUSTED_PROXIES=127.0.0.0/8")
	if f.prefix != "" {
		env = append(env, "SCANLOGIN_REDIS_PREFIX="+f.prefix)
	}
	return env
}

// child runs a program until ctx ends: asked first, then killed.
func (f *Fleet) child(ctx context.Context, env []string, name string, args ...string) (stdout io.ReadCloser, err error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env, cmd.Dir, cmd.WaitDelay = env, f.dir, stopWithin
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	ours(cmd)
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer writer.Close()
	cmd.Stdout, cmd.Stderr = writer, writer
	if err := cmd.Start(); err != nil {
		reader.Close()
		return nil, err
	}
	f.ended.Go(func() { cmd.Wait() })
	return reader, nil
}

// startServer waits until one instance is ready.
func (f *Fleet) startServer(running context.Context, program string, env []string) (s Server, err error) {
	output, err := f.child(running, env, program, "serve")
	if err != nil {
		return s, fmt.Errorf("bench: server: %w", err)
	}
	ctx, cancel := context.WithTimeout(running, startWithin)
	defer cancel()
	told := make(chan Server, 1)
	last := make(chan string, 1) // its last line, when it ended without telling
	f.ended.Go(func() {
		defer output.Close()
		where, line := serving(output)
		if where.URL == "" {
			last <- line
			return
		}
		told <- where
		io.Copy(io.Discard, output) // its log is written, as in production, and not kept
	})
	select {
	case s = <-told:
		return s, ready(ctx, s.URL)
	case line := <-last:
		return s, fmt.Errorf("bench: the server ended: %s", line)
	case <-ctx.Done():
		return s, fmt.Errorf("bench: the server does not start: %w", ctx.Err())
	}
}

// serving reads the log until it says where the server listens, or to its end.
func serving(log io.Reader) (where Server, last string) {
	for lines := bufio.NewScanner(log); lines.Scan(); {
		last = lines.Text()
		var line struct{ Msg, Listen, Admin string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "serving" {
			return Server{URL: "http://" + line.Listen, Admin: "http://" + line.Admin}, last
		}
	}
	return where, last
}

// lastLine reads a log to its end.
func lastLine(log io.Reader) (last string) {
	for lines := bufio.NewScanner(log); lines.Scan(); {
		last = lines.Text()
	}
	return last
}

// ready asks until the answer is yes.
func ready(ctx context.Context, url string) error {
	for {
		_, err := get(ctx, url+"/readyz")
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("bench: the server is not ready: %w", err)
		}
		pause(ctx, 20*time.Millisecond)
	}
}

// Stop ends the servers and removes what they left.
func (f *Fleet) Stop() {
	f.stop()
	f.ended.Wait()
	if f.prefix != "" {
		cleanUp(f.RedisURL, f.prefix)
	}
	if f.dir != "" {
		os.RemoveAll(f.dir)
	}
}
