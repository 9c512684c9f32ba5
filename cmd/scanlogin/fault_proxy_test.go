package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// redisProxy stands between one instance and Redis. On command it does what
// networks and dying servers do, to the answers: the commands themselves always
// get through, because work that is done and not acknowledged is the worst case.
type redisProxy struct {
	listener net.Listener
	target   string
	all      sync.WaitGroup
	struck   atomic.Int64 // answers that a fault did not let pass as they were

	mu    sync.Mutex
	fault fault
	hops  map[*hop]bool
	away  bool
}

// said is one answer on its way to the instance.
type said struct {
	to         string // the command's name; of what is pushed: "message", "subscribe", "unsubscribe"
	key        string // that a script was given
	raw        []byte
	subscriber bool // on a connection that has subscribed to something
}

// fault decides what an instance gets instead of an answer: other bytes, or
// nothing with one of the two errors.
type fault func(said) ([]byte, error)

var (
	errCut  = errors.New("the connection breaks")
	errMute = errors.New("nothing more comes on this connection, which stays open")
)

// hop is one connection through the proxy.
type hop struct {
	down, up net.Conn // to the instance, to Redis

	mu         sync.Mutex
	asked      []said // what the answers still to come are to, in order
	subscriber bool
}

func startProxy(t *testing.T, r *redisServer) *redisProxy {
	t.Helper()
	listener, err := net.Listen("unix", filepath.Join(r.dir, fmt.Sprintf("p%d.sock", time.Now().UnixNano())))
	if err != nil {
		t.Fatal(err)
	}
	p := &redisProxy{listener: listener, target: r.socket, hops: map[*hop]bool{}}
	p.all.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			p.serve(c)
		}
	})
	t.Cleanup(func() {
		listener.Close()
		p.cut()
		p.all.Wait()
	})
	return p
}

func (p *redisProxy) url() string { return "unix://" + p.listener.Addr().String() }

func (p *redisProxy) serve(c net.Conn) {
	up, err := net.Dial("unix", p.target)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil || p.away {
		c.Close()
		if err == nil {
			up.Close()
		}
		return
	}
	h := &hop{down: c, up: up}
	p.hops[h] = true
	p.all.Go(func() { p.ask(h) })
	p.all.Go(func() { p.answer(h) })
}

// ask passes commands on and remembers what they were.
func (p *redisProxy) ask(h *hop) {
	defer p.drop(h)
	in := bufio.NewReader(h.down)
	for {
		raw, err := readValue(in)
		if err != nil {
			return
		}
		h.note(raw)
		if _, err := h.up.Write(raw); err != nil {
			return
		}
	}
}

// answer passes answers on, or what the fault makes of them.
func (p *redisProxy) answer(h *hop) {
	defer p.drop(h)
	in := bufio.NewReader(h.up)
	for {
		raw, err := readValue(in)
		if err != nil {
			return
		}
		p.mu.Lock()
		f := p.fault
		p.mu.Unlock()
		out, s := raw, h.match(raw)
		if f != nil {
			out, err = f(s)
		}
		if err != nil || !bytes.Equal(out, raw) {
			p.struck.Add(1)
		}
		if errors.Is(err, errMute) {
			io.Copy(io.Discard, in) // until the instance gives up
		}
		if err != nil {
			return
		}
		if _, err := h.down.Write(out); err != nil {
			return
		}
	}
}

func (p *redisProxy) drop(h *hop) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.hops, h)
	h.down.Close()
	h.up.Close()
}

// with puts a fault in place of the one before, for connections old and new.
func (p *redisProxy) with(f fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = f
}

// cut breaks all connections, and those that are tried from now on.
func (p *redisProxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.away = true
	for h := range p.hops {
		h.down.Close()
		h.up.Close()
	}
}

// heal ends every fault. Connections that went mute stay so, as they do on a
// network that has forgotten them.
func (p *redisProxy) heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault, p.away = nil, false
}

// mute is Redis doing all it is told and saying nothing.
func mute(said) ([]byte, error) { return nil, errMute }

// muteLink is the same for the subscriptions alone.
func muteLink(s said) ([]byte, error) {
	if s.subscriber {
		return nil, errMute
	}
	return s.raw, nil
}

// lose breaks the connection in place of the answer to any of these commands.
func lose(commands ...string) fault {
	return func(s said) ([]byte, error) {
		if slices.Contains(commands, s.to) {
			return nil, errCut
		}
		return s.raw, nil
	}
}

// loseFrom lets n answers to reads and writes of records pass and loses all later
// ones.
func loseFrom(n int64) fault {
	var count atomic.Int64
	return func(s said) ([]byte, error) {
		if slices.Contains(touching, s.to) && count.Add(1) > n {
			return nil, errCut
		}
		return s.raw, nil
	}
}

// What scripts do is writing; touching are the commands that read and write records.
var (
	writing  = []string{"EVALSHA", "EVAL"}
	touching = append([]string{"GET"}, writing...)
)

// noRoom is Redis with its memory full, for the scripts whose key has this in it: reads
// are answered as ever.
func noRoom(in string) fault {
	return func(s said) ([]byte, error) {
		if !slices.Contains(writing, s.to) || !strings.Contains(s.key, in) {
			return s.raw, nil
		}
		return []byte("-OOM command not allowed when used memory > 'maxmemory'.\r\n"), nil
	}
}

// shiftTime has Redis' clock differ by d.
func shiftTime(d time.Duration) fault {
	return func(s said) ([]byte, error) {
		if s.to != "TIME" {
			return s.raw, nil
		}
		now := time.Now().Add(d)
		sec, micro := strconv.FormatInt(now.Unix(), 10), strconv.Itoa(now.Nanosecond()/1000)
		return fmt.Appendf(nil, "*2\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(sec), sec, len(micro), micro), nil
	}
}

// note remembers a command. Subscribing is acknowledged by pushes only (RESP3).
func (h *hop) note(raw []byte) {
	name := strings.ToUpper(element(raw, 0))
	h.mu.Lock()
	defer h.mu.Unlock()
	if strings.HasSuffix(name, "SUBSCRIBE") {
		h.subscriber = true
		return
	}
	to := said{to: name}
	if slices.Contains(writing, name) {
		to.key = element(raw, 3)
	}
	h.asked = append(h.asked, to)
}

// match finds what an answer is to.
func (h *hop) match(raw []byte) said {
	h.mu.Lock()
	defer h.mu.Unlock()
	var s said
	if raw[0] == '>' {
		s.to = element(raw, 0)
	} else if len(h.asked) > 0 {
		s, h.asked = h.asked[0], h.asked[1:]
	}
	s.raw, s.subscriber = raw, h.subscriber
	return s
}

// element is the nth element of an array of bulk strings.
func element(raw []byte, n int) string {
	in := bufio.NewReader(bytes.NewReader(raw))
	in.ReadBytes('\n')
	for range n {
		readValue(in)
	}
	bulk, _ := readValue(in)
	_, text, _ := strings.Cut(string(bulk), "\r\n")
	return strings.TrimSuffix(text, "\r\n")
}

// readValue reads one value of Redis' protocol (RESP3) as it is.
func readValue(in *bufio.Reader) ([]byte, error) {
	raw, err := in.ReadBytes('\n')
	if err != nil {
		return nil, err
	}
	n, _ := strconv.Atoi(string(bytes.TrimSpace(raw[1:])))
	switch raw[0] {
	case '$', '=', '!':
		if n < 0 {
			return raw, nil
		}
		text := make([]byte, n+2)
		_, err := io.ReadFull(in, text)
		return append(raw, text...), err
	case '%':
		n *= 2
	case '*', '~', '>':
	default:
		return raw, nil
	}
	for range n {
		part, err := readValue(in)
		if err != nil {
			return nil, err
		}
		raw = append(raw, part...)
	}
	return raw, nil
}
