package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"golang.org/x/term"

	"scanlogin/cmd/scanlogin/bench"
	"scanlogin/qrlogin/backend"
)

// benchVerb is `bench`. Its flags are no settings, see banVerb.
type benchVerb struct {
	URL       []string       `name:"url" env:"-" placeholder:"URL" help:"Running server on this machine, http://127.0.0.1:8080; repeat it for the instances of one store. Without it, servers are started."`
	Admin     []string       `env:"-" placeholder:"URL" help:"Admin listener of each --url, in their order, to measure CPU and memory."`
	Instances int            `env:"-" default:"1" help:"Servers to start; more than one need --redis or --redis-url."`
	Redis     bool           `env:"-" help:"Start a redis-server for them; else they use --redis-url, or memory."`
	Transport string         `env:"-" default:"ws" enum:"ws,sse,poll" help:"How browsers watch: ws, sse, poll."`
	Browsers  int            `env:"-" default:"1000" help:"Idle browsers that watch and wait all the time."`
	Rate      float64        `env:"-" default:"100" help:"Logins that begin in a second, whether or not those before have ended; 0: as many as --parallel allows."`
	Parallel  int            `env:"-" default:"64" help:"Logins at a time, at the most."`
	Logins    int            `env:"-" placeholder:"N" help:"End after so many."`
	Duration  *time.Duration `env:"-" placeholder:"10s" help:"End after so long; 10s, unless --logins is given."`
	JSON      bool           `name:"json" env:"-" help:"Print the result as JSON."`
	HTML      string         `name:"html" env:"-" placeholder:"FILE" help:"Write a report with pictures, too."`
}

// notes is the standard error of a verb.
type notes struct{ io.Writer }

// Help is what exit 1 means.
func (benchVerb) Help() string {
	return "Exit 1: a login was lost, untold, doubled or misgiven; an idle browser was dropped or is missing; of the logins that were tried not one was done; or, on servers that were started here, one failed. Logins that were due and not begun are said, and no failure."
}

// What a result is not to show; the result itself says which.
var (
	errBroken = errors.New("bench: a login was lost, untold, doubled or misgiven, or a browser was dropped: see the result")
	errFailed = errors.New("bench: logins failed: see the result")
)

func (v *benchVerb) Run(ctx context.Context, k *kong.Context, c *Config, out io.Writer, aside notes) error {
	if err := v.check(c); err != nil {
		return usageError{err}
	}
	load := bench.Load{
		Transport: bench.Transport(v.Transport), Logins: v.Logins, Rate: v.Rate, Parallel: v.Parallel,
		Browsers: v.Browsers, Duration: v.length(), Progress: progress(aside),
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	load.Holder = []string{program, "bench-browsers"}
	store := ""
	if len(v.URL) > 0 {
		v.aim(&load, c, aside)
	} else {
		fleet, err := v.start(ctx, program, k, c)
		if err != nil {
			return err
		}
		defer fleet.Stop()
		load.Servers, load.Accounts, load.RedisURL = fleet.Servers, fleet.Accounts, fleet.RedisURL
		store = "memory"
	}
	if load.RedisURL != "" {
		store = "redis"
	}
	if scheme, _, _ := strings.Cut(load.RedisURL, ":"); strings.Contains(scheme, "+") {
		load.RedisURL = "" // several servers have no one INFO
	}
	result, err := bench.Run(ctx, load)
	if errors.Is(err, context.Canceled) {
		return errors.New("bench: ended before anything was measured")
	}
	if err != nil {
		return err
	}
	result.Setup.Store = store
	if result.Setup.Version == "" && len(v.URL) == 0 {
		result.Setup.Version = buildVersion()
	}
	return v.show(result, out)
}

// show writes the result down; an error too when it is not as promised.
func (v *benchVerb) show(result *bench.Result, out io.Writer) error {
	write := bench.WriteText
	if v.JSON {
		write = writeJSON
	}
	if err := write(out, result); err != nil {
		return err
	}
	if v.HTML != "" {
		file, err := os.Create(v.HTML)
		if err == nil {
			err = errors.Join(bench.WriteHTML(file, result), file.Close())
		}
		if err != nil {
			return fmt.Errorf("--html: %w", err)
		}
	}
	return v.judge(result)
}

// judge is what the exit code is about. Whoever limits a running server may refuse
// some logins; on servers of ours there is no reason for one to fail.
func (v *benchVerb) judge(result *bench.Result) error {
	l, b := result.Logins, result.Browsers
	switch {
	case result.Wrong(), b.Dropped > 0, b.Held < b.Asked:
		return errBroken
	case l.Failed > 0 && (l.Done == 0 || len(v.URL) == 0):
		return errFailed
	}
	return nil
}

func writeJSON(w io.Writer, result *bench.Result) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(result)
}

// progress draws a bar, where somebody can see it move.
func progress(aside notes) func(bench.Progress) {
	if file, ok := aside.Writer.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		return bench.Bar(file)
	}
	return nil
}

// length is how long the driven part takes at the most; 0: until all logins are done.
func (v *benchVerb) length() time.Duration {
	switch {
	case v.Duration != nil:
		return *v.Duration
	case v.Logins > 0:
		return 0
	}
	return 10 * time.Second
}

// check refuses what cannot be done, in one line that names the flag.
func (v *benchVerb) check(c *Config) error {
	if err := c.load(); err != nil {
		return err
	}
	switch {
	case v.Instances < 1 || v.Instances > 64:
		return fmt.Errorf("--instances: %d is not between 1 and 64", v.Instances)
	case v.Browsers < 0 || v.Browsers > 1_000_000:
		return fmt.Errorf("--browsers: %d is not between 0 and 1000000", v.Browsers)
	case v.Parallel < 1 || v.Parallel > 4096:
		return fmt.Errorf("--parallel: %d is not between 1 and 4096", v.Parallel)
	case !(v.Rate >= 0 && v.Rate <= 100_000):
		return fmt.Errorf("--rate: %g is not between 0 and 100000", v.Rate)
	case v.Logins < 0:
		return fmt.Errorf("--logins: %d is less than none", v.Logins)
	case v.Duration != nil && (*v.Duration < time.Second || *v.Duration > 24*time.Hour):
		return fmt.Errorf("--duration: %s is not between 1s and 24h", *v.Duration)
	case v.Redis && c.RedisURL != "":
		return errors.New("--redis: starts a redis-server, and redis_url names one; keep one of them")
	case len(v.URL) == 0 && v.Instances > 1 && !v.Redis && c.RedisURL == "":
		return errors.New("--instances: memory is one process; more need --redis or --redis-url")
	case len(v.URL) == 0 && len(v.Admin) > 0:
		return errors.New("--admin: goes with --url")
	}
	if c.RedisURL != "" {
		if err := redisOnThisMachine(c.RedisURL); err != nil {
			return fmt.Errorf("redis_url: %w", err)
		}
	}
	if v.HTML != "" { // better now than after the run
		if _, err := os.Stat(filepath.Dir(v.HTML)); err != nil {
			return fmt.Errorf("--html: %w", err)
		}
	}
	if len(v.URL) == 0 {
		return nil
	}
	return v.checkTargets(c)
}

func (v *benchVerb) checkTargets(c *Config) error {
	switch {
	case v.Redis || v.Instances > 1:
		return errors.New("--url: names running servers; --instances and --redis are for servers that are started")
	case len(v.Admin) > 0 && len(v.Admin) != len(v.URL):
		return fmt.Errorf("--admin: %d for %d --url; one for each, or none", len(v.Admin), len(v.URL))
	case len(c.DemoUsers) == 0:
		return errors.New("--demo-users: name demo users of the running server, as many as logins at a time")
	}
	for _, urls := range []struct {
		flag   string
		values []string
	}{{"url", v.URL}, {"admin", v.Admin}} {
		for i := range urls.values {
			if err := onThisMachine("--"+urls.flag, &urls.values[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// onThisMachine is for a server of this machine: a load test is not for anybody else's.
func onThisMachine(flag string, server *string) error {
	if err := normalise(flag, server); err != nil {
		return err
	}
	u, err := url.Parse(*server)
	if err != nil || u.Scheme != "http" {
		return fmt.Errorf("%s: %q: http is spoken, to the server itself", flag, *server)
	}
	host, ok := loopback(u.Hostname())
	if !ok {
		return fmt.Errorf("%s: %q %w", flag, *server, errElsewhere)
	}
	*server = "http://" + net.JoinHostPort(host, cmp.Or(u.Port(), "80"))
	return nil
}

var errElsewhere = errors.New("is not on this machine (127.0.0.0/8, ::1, localhost): a load test is run where its server is")

// loopback is the address of a host that is this machine.
func loopback(host string) (address string, ok bool) {
	if host == "localhost" {
		host = "127.0.0.1" // whatever a name server says
	}
	ip, err := netip.ParseAddr(host)
	return host, err == nil && ip.IsLoopback()
}

// redisOnThisMachine is for the store's URL: a socket, or hosts of this machine, of which
// a cluster's or Sentinel's has several. An error repeats no password.
func redisOnThisMachine(raw string) error {
	if err := backend.CheckURL(raw); err != nil {
		return err
	}
	scheme, rest, _ := strings.Cut(raw, "://")
	if scheme == "unix" {
		return nil
	}
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		rest = rest[:end]
	}
	for at := range strings.SplitSeq(rest[strings.LastIndexByte(rest, '@')+1:], ",") {
		host := (&url.URL{Host: at}).Hostname()
		if _, ok := loopback(host); !ok {
			return fmt.Errorf("%q %w", host, errElsewhere)
		}
	}
	return nil
}

// aim is for servers that run already.
func (v *benchVerb) aim(load *bench.Load, c *Config, aside notes) {
	for i, at := range v.URL {
		server := bench.Server{URL: at}
		if len(v.Admin) > 0 {
			server.Admin = v.Admin[i]
		}
		load.Servers = append(load.Servers, server)
	}
	load.Accounts, load.RedisURL = c.DemoUsers, c.RedisURL
	if len(c.DemoUsers) < load.Parallel {
		load.Parallel = len(c.DemoUsers)
		fmt.Fprintf(aside, "scanlogin: %d demo users: so many logins at a time, not %d\n", load.Parallel, v.Parallel)
	}
}

// start starts servers with the settings of this command.
func (v *benchVerb) start(ctx context.Context, program string, k *kong.Context, c *Config) (*bench.Fleet, error) {
	spec := bench.Spec{
		Program: program, Instances: v.Instances, Redis: v.Redis, RedisURL: c.RedisURL, Accounts: v.Parallel, Env: given(k),
	}
	if slices.Contains(append(os.Environ(), spec.Env...), "SCANLOGIN_LIMITS=on") {
		spec.Accounts = v.accounts()
	}
	// Servers outlive Ctrl-C by the logins in flight and the last measurements.
	servers, stop := context.WithCancel(context.WithoutCancel(ctx))
	interrupted := context.AfterFunc(ctx, stop)
	fleet, err := bench.Start(servers, spec)
	interrupted()
	if err != nil {
		stop()
	}
	return fleet, err
}

// accounts are so many that nobody's phone scans as often as a limit would notice (30
// in a minute). Their names have to fit into the environment.
func (v *benchVerb) accounts() int {
	const most = 5000
	logins := v.Rate * v.length().Seconds()
	if v.Logins > 0 {
		logins = float64(v.Logins)
	} else if v.Rate == 0 {
		return most
	}
	return max(v.Parallel, min(most, int(logins/20)))
}

// given is the settings on the command line, as an environment: that and the file are
// there for the servers anyway.
func given(k *kong.Context) (env []string) {
	for _, on := range k.Path {
		if on.Flag == nil || len(on.Flag.Envs) == 0 {
			continue
		}
		env = append(env, on.Flag.Envs[0]+"="+word(on.Flag.Target.Interface()))
	}
	return env
}

// word is a setting's value as text.
func word(value any) string {
	switch value := value.(type) {
	case limits:
		if value.Off {
			return "off"
		}
		return "on"
	case []string:
		return strings.Join(value, ",")
	case []netip.Prefix:
		return strings.Join(strings.Fields(strings.Trim(fmt.Sprint(value), "[]")), ",")
	}
	return fmt.Sprint(value)
}

// browsersVerb is a child of `bench`.
type browsersVerb struct{}

func (browsersVerb) Run(ctx context.Context, out io.Writer) error {
	return bench.Hold(ctx, os.Stdin, out)
}
