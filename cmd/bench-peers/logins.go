package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"scanlogin/cmd/scanlogin/bench"
)

// accounts is how many people log in: with limits on, each of them may scan 30
// times in a minute.
const accounts = 1000

var errWrong = errors.New("the server broke its word")

// drive runs whole logins against servers of ours.
func (r *run) drive(ctx context.Context, f *bench.Fleet, load bench.Load) (*bench.Result, error) {
	load.Servers, load.Accounts, load.RedisURL = f.Servers, f.Accounts, f.RedisURL
	load.Transport = bench.WS
	if load.Duration == 0 {
		load.Duration = r.logins
	}
	result, err := bench.Run(ctx, load)
	switch {
	case err != nil:
		return nil, err
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case result.Wrong():
		return nil, fmt.Errorf("%w: %+v %+v", errWrong, result.Logins, result.Browsers)
	case result.Logins.Done == 0:
		return nil, fmt.Errorf("no login was done: %v", result.Errors)
	}
	for what, n := range result.Errors {
		fmt.Fprintf(os.Stderr, " (%d of %d: %s)", n, result.Logins.Done, what)
	}
	return result, nil
}

// saturated measures what Redis pays for whole logins that run as fast as
// machine and server can, beside five plain EVALSHA on the same Redis.
func (r *run) saturated(ctx context.Context, limits bool) error {
	setting := map[bool]string{false: "off", true: "on"}[limits]
	f, err := r.fleet(ctx, bench.Spec{Instances: 1, Redis: true, Accounts: accounts, Env: []string{"SCANLOGIN_LIMITS=" + setting}})
	if err != nil {
		return err
	}
	defer f.Stop()
	result, err := r.drive(ctx, f, bench.Load{Parallel: atOnce})
	if err != nil {
		return err
	}
	cpu := result.Redis.CPUPerLogin * 1000
	if limits {
		r.book.add(cpuLimits, cpu)
		r.book.ratio(cpuToFiveOn, cpuLimits, cpuFive)
		return nil
	}
	rate := float64(result.Logins.Done) / result.Seconds
	r.book.add(cpuLogin, cpu)
	r.book.add(rateLogin, rate)
	for _, plain := range []struct {
		rate       float64
		row, ratio string
	}{{0, cpuFive, cpuToFive}, {rate, cpuFiveRate, cpuToFiveRate}} {
		cpu, err := five(ctx, f.RedisURL, plain.rate, r.logins/2)
		if err != nil {
			return err
		}
		r.book.add(plain.row, cpu)
		r.book.ratio(plain.ratio, cpuLogin, plain.row)
	}
	return nil
}

// replicas measures what more instances cost Redis, at a rate that the machine
// can carry with all of them. The goals are for the full rate: at a lower one they
// are neither met nor missed, and the table says at which the figures were taken.
func (r *run) replicas(ctx context.Context) error {
	many, err := r.paced(ctx, 16)
	for errors.Is(err, errTooFast) {
		r.loginRate *= 0.7
		takeGoals(fmt.Sprintf("at %.0f/s", r.loginRate), commands16, deliveries16, redisCPU16)
		many, err = r.paced(ctx, 16)
	}
	if err != nil {
		return err
	}
	one, err := r.paced(ctx, 1)
	if err != nil {
		return err
	}
	r.book.add(rate16, float64(many.Logins.Done)/many.Seconds)
	r.book.add(commands1, one.Redis.CommandsPerLogin)
	r.book.add(deliveries1, one.Redis.DeliveriesPerLogin)
	r.book.add(commands16, many.Redis.CommandsPerLogin/one.Redis.CommandsPerLogin)
	r.book.add(deliveries16, many.Redis.DeliveriesPerLogin/one.Redis.DeliveriesPerLogin)
	r.book.add(cpu16, many.Redis.CPUPerLogin*1000)
	r.book.add(cpu1, one.Redis.CPUPerLogin*1000)
	r.book.ratio(redisCPU16, cpu16, cpu1)
	return nil
}

// takeGoals takes the goals of some rows, whose figures were had under another
// condition; the condition is said in their place.
func takeGoals(condition string, names ...string) {
	for i := range rows {
		if slices.Contains(names, rows[i].name) {
			rows[i].limit, rows[i].unit = 0, condition
		}
	}
}

var errTooFast = errors.New("the machine does not carry this rate")

func (r *run) paced(ctx context.Context, instances int) (*bench.Result, error) {
	f, err := r.fleet(ctx, bench.Spec{Instances: instances, Redis: true, Accounts: accounts})
	if err != nil {
		return nil, err
	}
	defer f.Stop()
	result, err := r.drive(ctx, f, bench.Load{Parallel: 256, Rate: r.loginRate})
	if err == nil && float64(result.Logins.Done) < 0.97*r.loginRate*result.Seconds {
		return nil, errTooFast
	}
	return result, err
}

// whole measures what a login costs the server, beside its dearest parts.
func (r *run) whole(ctx context.Context) error {
	f, err := r.fleet(ctx, bench.Spec{Instances: 1, Accounts: accounts})
	if err != nil {
		return err
	}
	defer f.Stop()
	result, err := r.drive(ctx, f, bench.Load{Parallel: 8})
	if err != nil {
		return err
	}
	r.book.add(serverCPU, result.Server.CPUPerLogin*1000)
	parts := r.book.last(partQR) + r.book.last(partSign) + 2*r.book.last(partCheck)
	r.book.add(cpuToParts, r.book.last(serverCPU)/parts)
	return nil
}

// polled measures RFC 8628 on our own server.
func (r *run) polled(ctx context.Context) error {
	f, err := r.fleet(ctx, bench.Spec{Instances: 1, Accounts: phones})
	if err != nil {
		return err
	}
	defer f.Stop()
	mean, err := viaPolling(ctx, f.Servers[0].URL, r.polling)
	if err == nil {
		r.book.add(polling, mean)
	}
	return err
}

// fiftyThousand holds a crowd over three instances, with a login among them
// twice a second.
func (r *run) fiftyThousand(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	f, err := r.fleet(ctx, bench.Spec{Instances: 3, Redis: true, Accounts: accounts, Env: []string{"SCANLOGIN_TICKET_TTL=15m"}})
	if err != nil {
		return err
	}
	defer f.Stop()
	result, err := r.drive(ctx, f, bench.Load{
		Parallel: 16, Rate: 2, Browsers: r.crowd, Duration: r.hold, Holder: []string{self, "hold"},
	})
	if err != nil {
		return err
	}
	if result.Browsers.Asked != r.crowd {
		return fmt.Errorf("%+v", result.Browsers)
	}
	r.book.add(dropped, float64(max(r.crowd-result.Browsers.Held, result.Browsers.Dropped)))
	for _, step := range result.Steps {
		if step.Name == "told" {
			r.book.add(told50k, step.P50)
		}
	}
	return nil
}
