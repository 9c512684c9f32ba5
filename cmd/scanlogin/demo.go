package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"time"

	"scanlogin/web"
)

type demoVerb struct{}

// Run serves with what a person who has set nothing needs: an address that a
// phone in the same network can open, a secret, two demo users. Unless a log
// format was asked for, the terminal shows what is to be done and what goes
// wrong, not every request.
func (demoVerb) Run(ctx context.Context, c *Config, out io.Writer) error {
	if err := c.load(); err != nil {
		return usageError{err}
	}
	if c.Secret == "" {
		c.Secret = rand.Text() + rand.Text()
	}
	if len(c.DemoUsers) == 0 {
		c.DemoUsers = []string{"alice", "bob"}
	}
	// Nobody balances over a demo, and Ctrl-C should not take long.
	c.Drain = min(c.Drain, time.Second)
	wanted := c.PublicURL
	if wanted == "" {
		c.PublicURL = "http://localhost"
	}
	if err := c.check(); err != nil {
		return usageError{err}
	}
	public, admin, err := listen(ctx, c)
	if err != nil {
		return err
	}
	port := public.Addr().(*net.TCPAddr).Port
	if wanted == "" {
		c.PublicURL = fmt.Sprintf("http://%s:%d", lanAddress(), port)
	}
	local := fmt.Sprintf("http://localhost:%d", port)
	c.Origins = append(c.Origins, local, fmt.Sprintf("http://127.0.0.1:%d", port))
	if err := banner(out, c, local, admin.Addr().String()); err != nil {
		return err
	}
	level := slog.LevelInfo
	if c.Log == "" {
		c.Log, level = "text", slog.LevelError
	}
	return serve(ctx, c, public, admin, newLogger(c.Log, out, level))
}

// banner says where to look and what to do.
func banner(out io.Writer, c *Config, local, admin string) error {
	qr, err := web.TerminalQR(c.PublicURL)
	if err != nil {
		return err
	}
	where := "  1. Open " + local + " in a browser on this computer"
	if c.PublicURL != local {
		where += ",\n     or " + c.PublicURL + " on another device (or scan this):"
	} else {
		where += "."
	}
	fmt.Fprintf(out, `
  scanlogin demo

%s

%s
  2. Scan the code on that page with a phone in the same network.
  3. On the phone, sign in as %s and approve.

  Demo users need no password: for trying, never for real use.
  Everything is in memory and ends with this process.
  Metrics: http://%s/metrics   Stop: Ctrl-C

`, where, indent(qr), strings.Join(c.DemoUsers, " or "), admin)
	return nil
}

func indent(text string) string {
	return "    " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n    ") + "\n"
}

// lanAddress is the address of this machine that a phone can reach: the first
// private IPv4 address of an interface that is not a container's bridge, else
// the first address of any other kind.
func lanAddress() string {
	interfaces, err := net.Interfaces()
	if err != nil {
		return "localhost"
	}
	found := "localhost"
	for _, i := range interfaces {
		addrs, err := i.Addrs()
		if err != nil || i.Flags&net.FlagUp == 0 || virtual(i.Name) {
			continue
		}
		for _, a := range addrs {
			prefix, err := netip.ParsePrefix(a.String())
			if err != nil || !prefix.Addr().Is4() || !prefix.Addr().IsGlobalUnicast() {
				continue
			}
			if prefix.Addr().IsPrivate() {
				return prefix.Addr().String()
			}
			if found == "localhost" {
				found = prefix.Addr().String()
			}
		}
	}
	return found
}

func virtual(name string) bool {
	for _, prefix := range []string{"docker", "br-", "veth", "virbr", "cni", "flannel"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
