package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"time"

	"scanlogin/cmd/scanlogin/bench"
)

// start starts one server of a kind, to be watched by idle browsers. It ends
// with stop.
func (r *run) start(ctx context.Context, kind string) (at bench.Server, stop func(), err error) {
	names := map[string]string{chat: "chat", sse: "sse", gwsLib: "gws", bare: "floor"}
	if name := names[kind]; name != "" {
		return startPeer(ctx, name, r.beat)
	}
	const long = "15m" // tickets live on while they are looked at
	fleet, err := r.fleet(ctx, bench.Spec{Instances: 1, Redis: kind == redis, Accounts: phones, Env: []string{
		"SCANLOGIN_TICKET_TTL=" + long, "SCANLOGIN_CONFIRM_TTL=" + long, "SCANLOGIN_QR_ROTATE=" + long,
		"SCANLOGIN_HEARTBEAT=" + r.beat.String(),
	}})
	if err != nil {
		return at, nil, err
	}
	return fleet.Servers[0], fleet.Stop, nil
}

// fleet starts servers of ours.
func (r *run) fleet(ctx context.Context, spec bench.Spec) (*bench.Fleet, error) {
	spec.Program = r.program
	return bench.Start(ctx, spec)
}

// startPeer starts a peer as a child process, which ends when stop is called
// or, its stdin gone, with this process.
func startPeer(ctx context.Context, name string, beat time.Duration) (at bench.Server, stop func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return at, nil, err
	}
	cmd := exec.CommandContext(ctx, self, "peer", name, beat.String())
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return at, nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return at, nil, err
	}
	if err := cmd.Start(); err != nil {
		return at, nil, err
	}
	stop = func() {
		stdin.Close()
		cmd.Wait()
	}
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &at)
	}
	if err != nil {
		stop()
		return at, nil, fmt.Errorf("peer %s: %w", name, err)
	}
	return at, stop, nil
}

// holdBrowsers is the other thing that a child of this program may be: idle
// browsers, for a parent that must not have so many sockets.
func holdBrowsers() error { return bench.Hold(context.Background(), os.Stdin, os.Stdout) }
