package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"time"
)

// The numbers of persons: idle browsers from 0, logins and phones where they never
// get to.
const (
	firstLogin = 4_000_000
	firstPhone = 12_000_000
)

// Run drives the load and says what happened. When ctx ends it begins no more, and
// the result is what was measured so far; an error means that nothing could be done.
func Run(ctx context.Context, load Load) (*Result, error) {
	switch {
	case len(load.Servers) == 0:
		return nil, errors.New("bench: no servers")
	case load.Parallel < 1 || len(load.Accounts) < load.Parallel:
		return nil, fmt.Errorf("bench: %d accounts for %d logins at a time", len(load.Accounts), load.Parallel)
	case load.Logins == 0 && load.Duration == 0:
		return nil, errors.New("bench: neither a number of logins nor a time")
	}
	r := &run{load: load, http: NewClient(), report: newReporter(load.Progress), sids: map[string]bool{}}
	defer r.http.CloseIdleConnections()
	defer r.report.end()
	return r.all(ctx)
}

// run is one run.
type run struct {
	load   Load
	http   *http.Client
	report *reporter
	phones chan *Phone
	crowd  *Crowd
	others []*driver       // of logins that are not measured; wrong is wrong there too
	sids   map[string]bool // of all sessions that were given
	empty  Reading         // before the idle browsers came
	full   Reading         // with those that came
	came   int             // how many these were
	redis  *RedisMeter
}

func (r *run) all(ctx context.Context) (*Result, error) {
	if err := r.signIn(ctx); err != nil {
		return nil, err
	}
	if err := r.warmUp(ctx); err != nil {
		return nil, err
	}
	if err := r.gather(ctx); err != nil {
		return nil, err
	}
	defer r.crowd.Leave()
	if r.load.RedisURL != "" {
		var err error
		if r.redis, err = NewRedisMeter(ctx, r.load.RedisURL); err != nil {
			return nil, err
		}
		defer r.redis.Close()
	}
	return r.drive(ctx)
}

// signIn gives every account its phone.
func (r *run) signIn(ctx context.Context) error {
	phase := r.report.phase("signing in", len(r.load.Accounts), 0)
	r.phones = make(chan *Phone, len(r.load.Accounts))
	failed := make(chan error, len(r.load.Accounts))
	slots := make(chan struct{}, 16)
	var all sync.WaitGroup
	for i, account := range r.load.Accounts {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			server := r.load.Servers[i%len(r.load.Servers)].URL
			phone := &Phone{Person: Person{HTTP: r.http, Server: server, Address: Address(firstPhone + i)}, Account: account}
			if err := phone.SignIn(ctx); err != nil {
				failed <- fmt.Errorf("bench: signing in as %s at %s: %w", account, server, err)
				return
			}
			r.phones <- phone
			phase.done(len(r.phones))
		})
		if len(failed) > 0 {
			break
		}
	}
	all.Wait()
	if len(failed) > 0 {
		return <-failed
	}
	return nil
}

// warmUp drives a few logins first: what a server does once, it does not do for the
// logins that are measured. It also finds out whether it can be done at all.
func (r *run) warmUp(ctx context.Context) error {
	phase := r.report.phase("warming up", 0, 0)
	load := r.load
	load.Logins, load.Rate, load.Duration = 4*len(load.Servers)+min(load.Parallel, 64), 0, 0
	d := r.driver(load, time.Now(), func() int { return 0 })
	phase.follow(d.record)
	d.run(ctx, firstLogin-load.Logins)
	r.others = append(r.others, d)
	if sum := d.ledger.sum(); sum.Done > 0 || sum.Wrong() {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return fmt.Errorf("bench: not one login was possible: %s", mostOften(d.record.errors))
}

func mostOften(errors map[string]int) string {
	names := slices.Sorted(maps.Keys(errors))
	if len(names) == 0 {
		return "nothing was tried"
	}
	return slices.MaxFunc(names, func(a, b string) int { return cmp.Compare(errors[a], errors[b]) })
}

func (r *run) driver(load Load, start time.Time, open func() int) *driver {
	return &driver{load: load, http: r.http, phones: r.phones, record: newRecorder(start, open), ledger: newLedger(r.sids)}
}

// gather opens the idle browsers and weighs them.
func (r *run) gather(ctx context.Context) (err error) {
	weigh := r.load.Browsers > 0 && measured(r.load.Servers)
	if weigh {
		if r.empty, err = r.weigh(ctx); err != nil {
			return err
		}
	}
	phase := r.report.phase("opening browsers", r.load.Browsers, 0)
	r.crowd, err = Gather(ctx, r.load.Holder, r.load.Servers, r.load.Transport, r.load.Browsers, 0,
		func(open int) { phase.done(open) })
	if err != nil {
		return err
	}
	if weigh {
		if r.full, err = r.weigh(ctx); err != nil {
			r.crowd.Leave()
		}
		r.came = r.crowd.count().there()
	}
	return err
}

// weigh reads the memory that is needed, after garbage was collected.
func (r *run) weigh(ctx context.Context) (Reading, error) {
	r.report.phase("settling", 0, 0)
	if err := Settle(ctx, r.load.Servers); err != nil {
		return Reading{}, err
	}
	return Read(ctx, r.load.Servers)
}

// drive is the measured part.
func (r *run) drive(ctx context.Context) (*Result, error) {
	// What was measured until Ctrl-C is shown: the readings after it need a context.
	after := context.WithoutCancel(ctx)
	before, err := r.read(ctx)
	if err != nil {
		return nil, err
	}
	phase := r.report.phase("logging in", r.load.Logins, r.load.Duration)
	d := r.driver(r.load, time.Now(), r.crowd.Open)
	phase.follow(d.record)
	d.run(ctx, firstLogin)
	end := time.Now()
	result := &Result{Started: d.record.start, Logins: d.ledger.sum(), Setup: r.setup()}
	d.record.into(result, end)
	var codes map[string]int
	result.Browsers, codes = r.crowd.Result()
	add(result.Errors, codes)
	// What cannot be measured is no reason to throw the rest away. The deliveries come
	// last: their logins are nobody else's.
	for _, measure := range []func(context.Context, used, *Result) error{r.servers, r.store, r.deliveries} {
		if err := measure(after, before, result); err != nil {
			result.Errors["measure "+codeOf(err)]++
		}
	}
	for _, d := range r.others {
		if other := d.ledger.sum(); other.Wrong() {
			result.Logins.Lost += other.Lost
			result.Logins.Untold += other.Untold
			result.Logins.Doubled += other.Doubled
			result.Logins.Misgiven += other.Misgiven
			add(result.Errors, d.record.errors)
		}
	}
	return result, nil
}

func add(to, more map[string]int) {
	for code, n := range more {
		to[code] += n
	}
}

// used is what servers and store had used before.
type used struct {
	servers Reading
	redis   RedisReading
}

func (r *run) read(ctx context.Context) (u used, err error) {
	if measured(r.load.Servers) {
		if u.servers, err = Read(ctx, r.load.Servers); err != nil {
			return u, err
		}
	}
	if r.redis != nil {
		u.redis, err = r.redis.Read(ctx)
	}
	return u, err
}

// servers is what the servers used for the logins.
func (r *run) servers(ctx context.Context, before used, result *Result) error {
	if !measured(r.load.Servers) {
		return nil
	}
	now, err := Read(ctx, r.load.Servers)
	if err != nil {
		return err
	}
	result.Server = &Usage{RSS: now.RSS}
	result.Setup.Version, result.Setup.Go = now.Version, now.Go
	if result.Logins.Done > 0 {
		result.Server.CPUPerLogin = milliseconds(now.CPU-before.servers.CPU) / float64(result.Logins.Done)
	}
	if r.full.RSS > 0 && r.came >= fewBrowsers {
		result.Server.RSSPerBrowser = max(0, r.full.RSS-r.empty.RSS) / float64(r.came)
	}
	return nil
}

// fewBrowsers need too little memory to tell it from what a server takes anyway.
const fewBrowsers = 1000

// store is what Redis used for the logins.
func (r *run) store(ctx context.Context, before used, result *Result) error {
	if r.redis == nil {
		return nil
	}
	used, err := r.redis.Used(ctx, before.redis)
	if err != nil {
		return err
	}
	if result.Redis = new(RedisUsage); result.Logins.Done > 0 {
		result.Redis.CPUPerLogin = milliseconds(used.CPU) / float64(result.Logins.Done)
		result.Redis.CommandsPerLogin = float64(used.Commands) / float64(result.Logins.Done)
	}
	return nil
}

// deliveries takes a few logins more, one after the other.
func (r *run) deliveries(ctx context.Context, _ used, result *Result) error {
	if result.Redis == nil {
		return nil
	}
	load := r.load
	load.Logins, load.Parallel, load.Rate, load.Duration = 10, 1, 0, 0
	d := r.driver(load, time.Now(), r.crowd.Open)
	r.others = append(r.others, d)
	n, err := r.redis.Deliveries(ctx, func() { d.run(ctx, firstLogin-load.Logins) })
	if err == nil {
		result.Redis.DeliveriesPerLogin = float64(n) / float64(load.Logins)
	}
	return err
}

func (r *run) setup() Setup {
	return Setup{
		Instances: len(r.load.Servers), Transport: r.load.Transport, Rate: r.load.Rate, Parallel: r.load.Parallel,
		CPUs: runtime.NumCPU(),
	}
}
