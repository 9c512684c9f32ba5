package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"

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
	guess := c.PublicURL == ""
	if guess {
		c.PublicURL = "http://localhost"
	}
	if err := c.check(); err != nil {
		return usageError{err}
	}
	public, admin, err := listen(ctx, c)
	if err != nil {
		return err
	}
	at := public.Addr().(*net.TCPAddr)
	local := fmt.Sprintf("http://localhost:%d", at.Port)
	if guess {
		c.PublicURL = reachable(at)
	}
	c.Origins = append(c.Origins, local, fmt.Sprintf("http://127.0.0.1:%d", at.Port))
	if err := banner(out, c, local, admin.Addr().String()); err != nil {
		return err
	}
	level := slog.LevelInfo
	if c.Log == "" {
		c.Log, level = "text", slog.LevelError
	}
	if c.LogLevel == "debug" {
		level = slog.LevelDebug
	}
	return serve(ctx, c, public, admin, newLogger(c.Log, out, level))
}

// banner says where to look and what to do. The code in the terminal is for
// the phone: it leads to the page where the phone signs in.
func banner(out io.Writer, c *Config, local, admin string) error {
	qr, err := web.TerminalQR(c.PublicURL + "/s")
	if err != nil {
		return err
	}
	pages := local
	if c.PublicURL != local {
		pages += "\n     on another one:          " + c.PublicURL
	}
	kept := "Everything is in memory and ends with this process."
	if c.RedisURL != "" {
		kept = "Logins and sessions are kept in the Redis that is configured."
	}
	fmt.Fprintf(out, `
  scanlogin demo

  1. Open on this computer:   %s

  2. Scan the code on that page with a phone in the same network,
     sign in there as %s, and approve.

     To sign the phone in beforehand, scan this one:

%s
  Demo users need no password: for trying, never for real use.
  %s
  Metrics: http://%s/metrics   Stop: Ctrl-C

`, pages, strings.Join(c.DemoUsers, " or "), indent(qr), kept, admin)
	return nil
}

func indent(text string) string {
	return "    " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n    ") + "\n"
}

// reachable is the URL under which a phone reaches a listener: the address it
// is bound to, or this machine's own when it is bound to all.
func reachable(at *net.TCPAddr) string {
	host := lanAddress()
	if !at.IP.IsUnspecified() {
		host = at.IP.String()
	}
	if at.IP.IsLoopback() {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, strconv.Itoa(at.Port))
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
