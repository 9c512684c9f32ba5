package hub

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
)

// stream is the SSE kind of connection. The handler's goroutine is there anyway,
// so it does the writing.
type stream struct {
	conn
	call  chan struct{}
	out   http.ResponseWriter
	ctl   *http.ResponseController
	event string
	begun bool // something was written
}

// padding makes proxies and browsers that hold back the first 2 KB let go.
var padding = ":" + strings.Repeat(" ", 2048) + "\n\n"

// ServeSSE streams the topic as server-sent events and returns when that is over:
// after a snapshot with Close, on drain, by Evict, or when the client has gone. An
// error means that nothing was written yet and the caller answers: ErrClosed, ErrFull,
// ErrCrowded, the source's, or a *Refusal when Evict came first.
func (h *Hub) ServeSSE(w http.ResponseWriter, r *http.Request, t Topic) error {
	now := h.now()
	s := &stream{call: make(chan struct{}, 1), out: w, ctl: http.NewResponseController(w), event: t.Event}
	s.conn = conn{hub: h, peer: s, by: bySSE, from: t.From, born: now, beat: now + h.comment()}
	if err := s.deadline(); err != nil {
		return err
	}
	if err := h.enter(&s.conn); err != nil {
		return err
	}
	defer h.release(&s.conn)
	s.owe(owedHello) // before an end that may come during the look
	stop, err := h.watch(r.Context(), &s.conn, t)
	if err != nil {
		return err
	}
	defer stop()
	defer s.deadline() // net/http still has the last chunk to write
	for {
		select {
		case <-s.call:
			if s.pay() {
				continue
			}
			if s.begun {
				return nil
			}
			return s.refused()
		case <-r.Context().Done():
			return nil
		}
	}
}

// watch is follow for a request: bounded, and observed.
func (h *Hub) watch(ctx context.Context, c *conn, t Topic) (stop func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	start := h.now()
	stop, err = c.follow(ctx, t)
	h.conf.Observe("hub.look", h.now()-start, err)
	return stop, err
}

func (s *stream) wake() {
	select {
	case s.call <- struct{}{}:
	default:
	}
}

func (s *stream) deadline() error {
	return s.ctl.SetWriteDeadline(time.Now().Add(s.hub.conf.WriteWithin))
}

func (s *stream) write(d debt, snap Snapshot) error {
	if d == owedClose { // the end needs no words
		return nil
	}
	if err := s.deadline(); err != nil {
		return err
	}
	var b bytes.Buffer
	switch d {
	case owedHello:
		head := s.out.Header()
		head.Set("Content-Type", "text/event-stream")
		head.Set("Cache-Control", "no-store, no-transform")
		head.Set("X-Accel-Buffering", "no")
		b.WriteString(padding)
	case owedSnapshot:
		s.format(&b, snap)
	case owedBeat:
		b.WriteString(":\n\n")
	case owedReconnect:
		fmt.Fprintf(&b, "retry: %d\n\n", rand.N(returnWithin).Milliseconds())
	}
	s.begun = true
	if _, err := s.out.Write(b.Bytes()); err != nil {
		return err
	}
	if err := s.ctl.Flush(); err != nil {
		return err
	}
	return s.ctl.SetWriteDeadline(time.Time{}) // HTTP/2 would end an idle stream at it
}

func (s *stream) format(b *bytes.Buffer, snap Snapshot) {
	if s.event != "" {
		fmt.Fprintf(b, "event: %s\n", s.event)
	}
	fmt.Fprintf(b, "id: %d\n", snap.Seq)
	for line := range bytes.SplitSeq(snap.Data, []byte("\n")) {
		b.WriteString("data: ")
		b.Write(line)
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
}
