package hub

import (
	"context"
	"time"
)

// poll is the long-poll kind of connection: it is written to by keeping the
// snapshot for its caller.
type poll struct {
	conn
	call chan struct{}
	seen uint64
	got  Snapshot
	news bool // got differs from what the caller has seen
}

// Wait returns the first snapshot whose Seq differs from seq, at once if it differs
// already; else the present one after wait, or earlier on drain. Snapshot.Close does
// not cut the wait short. An error is the source's, Encode's, ErrClosed, ErrFull,
// ErrCrowded, ctx's, or Evict's *Refusal.
func (h *Hub) Wait(ctx context.Context, t Topic, seq uint64, wait time.Duration) (Snapshot, error) {
	p := &poll{call: make(chan struct{}, 1), seen: seq}
	p.conn = conn{hub: h, peer: p, by: byPoll, from: t.From, born: h.now()}
	if err := h.enter(&p.conn); err != nil {
		return Snapshot{}, err
	}
	defer h.release(&p.conn)
	stop, err := h.watch(ctx, &p.conn, t)
	if err != nil {
		return Snapshot{}, err
	}
	defer stop()
	over := time.NewTimer(wait)
	defer over.Stop()
	for {
		select {
		case <-p.call:
			alive := p.pay()
			if p.news {
				return p.got, nil
			}
			if !alive {
				return p.present()
			}
		case <-over.C:
			return p.present()
		case <-ctx.Done():
			return Snapshot{}, ctx.Err()
		}
	}
}

// present is what a wait without news ends with.
func (p *poll) present() (Snapshot, error) {
	if err := p.refused(); err != nil {
		return Snapshot{}, err
	}
	return p.snapshot()
}

func (p *poll) wake() {
	select {
	case p.call <- struct{}{}:
	default:
	}
}

func (p *poll) write(d debt, s Snapshot) error {
	if d == owedSnapshot && s.Seq != p.seen {
		p.got, p.news = s, true
	}
	return nil
}
