package qrlogin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// View is what the browser may see of its ticket at one moment.
type View struct {
	TicketID  string
	Seq       uint64
	Status    Status
	ExpiresIn time.Duration
	QRText    string        // only while pending
	RotatesIn time.Duration // until QRText is replaced; 0: it stays
	User      string        // the scanner's masked name
	TriesLeft int           // of the check code that the browser has to send; 0: none is awaited
	Reason    string
	Next      time.Time // when the view changes by itself; zero: never again
}

// View reads a stored record as the browser sees it at a moment. A record
// that is gone (value nil) is an expired ticket to whoever still watches it.
func (s *Service) View(ticketID string, value []byte, rev uint64, now time.Time) (View, error) {
	if value == nil {
		return View{TicketID: ticketID, Seq: rev, Status: Expired}, nil
	}
	t, err := decode(value)
	if err != nil {
		return View{}, err
	}
	return s.view(t, rev, now)
}

func (s *Service) view(t *Ticket, rev uint64, now time.Time) (View, error) {
	v := View{TicketID: t.ID, Seq: rev, Status: t.At(now), Reason: t.Reason}
	if v.Status == Expired {
		// The change that nobody wrote: one seq for it on every instance.
		v.Seq = max(rev+1, uint64(t.Deadline.UnixMicro()))
	}
	if !v.Status.Final() {
		v.Next = t.Deadline
		v.ExpiresIn = s.remaining(t, now)
	}
	switch v.Status {
	case Pending:
		key := s.key.Load()
		if key == nil {
			return View{}, errors.New("qrlogin: a ticket was viewed before it was opened")
		}
		step := t.step(s.config.QRRotate, now)
		v.QRText = s.config.PublicURL + qrPath + qrToken(*key, t.ID, step)
		if !t.Device {
			v.RotatesIn = t.Created.Add(time.Duration(step+1) * s.config.QRRotate).Sub(now)
		}
	case Scanned, Confirmed, Consumed:
		v.User = mask(t.By.Name)
	}
	if v.Status == Scanned && t.checking() {
		v.TriesLeft = maxTries - t.Tries
	}
	return v, nil
}

// remaining is how long the browser may go on. A device client is told the
// sum of all deadlines ahead, because RFC 8628 clients stop for good at the
// first expires_in they heard.
func (s *Service) remaining(t *Ticket, now time.Time) time.Duration {
	d := t.Deadline.Sub(now)
	if t.Device {
		switch t.Status {
		case Pending:
			d += s.config.ConfirmTTL + s.config.RedeemTTL
		case Scanned:
			d += s.config.RedeemTTL
		}
	}
	return d
}

// mask leaves the first letter of a name, and the last of four or more.
func mask(name string) string {
	r := []rune(name)
	switch {
	case len(r) == 0:
		return "***"
	case len(r) < 4:
		return string(r[0]) + "***"
	}
	return string(r[0]) + "***" + string(r[len(r)-1])
}

func decode(value []byte) (*Ticket, error) {
	t := new(Ticket)
	if err := json.Unmarshal(value, t); err != nil {
		return nil, fmt.Errorf("qrlogin: stored ticket: %w", err)
	}
	return t, nil
}

// load finds a ticket that still answers.
func (s *Service) load(ctx context.Context, id string, now time.Time) (*Ticket, uint64, error) {
	if !validID(id) {
		return nil, 0, ErrNotFound
	}
	if _, err := s.qrKey(ctx); err != nil {
		return nil, 0, err
	}
	value, rev, err := s.store.Load(ctx, TicketKey(id))
	if err != nil {
		return nil, 0, err
	}
	if rev == 0 {
		return nil, 0, ErrNotFound
	}
	t, err := decode(value)
	if err != nil {
		return nil, 0, err
	}
	if !t.known(now) {
		return nil, 0, ErrNotFound
	}
	return t, rev, nil
}
