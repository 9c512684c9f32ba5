package qrlogin

import (
	"context"
	"errors"
	"strings"
	"time"

	"scanlogin/auth"
)

// Scan is what a phone presents: exactly one of QR and UserCode.
type Scan struct {
	QR       string // whole QR text, or the bare qr_token
	UserCode string // as typed
	// Proven says that the QR text was good when the phone's page was opened,
	// so that signing in there may take longer than the text lives.
	Proven bool
	// Reload lets the scanner repeat a scan by UserCode, which is otherwise
	// dead from the first scan: a page whose form is posted again.
	Reload bool
}

// Found is a scanned ticket as the phone sees it.
type Found struct {
	TicketID     string
	Seq          uint64
	Status       Status
	ConfirmToken string // the only copy
	ExpiresIn    time.Duration
	Client       auth.Client
	Facts        Facts
	Age          time.Duration
}

// Scan binds a ticket to the user and hands out the phone's half. Errors:
// ErrNotFound; with a ticket id: ErrTicketExpired, ErrQRExpired,
// ErrAlreadyScanned, ErrInvalidState.
func (s *Service) Scan(ctx context.Context, p Scan, by auth.Identity) (Found, error) {
	id, fresh, err := s.resolve(ctx, p)
	if err != nil {
		return Found{}, err
	}
	token := random(secretBytes)
	t, rev, err := s.move(ctx, id, func(t *Ticket, now time.Time) error {
		status := t.At(now)
		again := p.Reload && t.By.Sub() == by.Sub()
		if p.UserCode != "" && status != Pending && status != Expired && !again {
			return ErrNotFound // the code is dead
		}
		return t.scan(by, hash(token), fresh(t, now), s.config.ConfirmTTL, now)
	})
	if err != nil {
		return Found{TicketID: id}, err
	}
	now := time.Now()
	return Found{
		TicketID: t.ID, Seq: rev, Status: t.Status, ConfirmToken: token, ExpiresIn: t.Deadline.Sub(now),
		Client: s.config.Clients[t.ClientID], Facts: t.Facts, Age: now.Sub(t.Created),
	}, nil
}

// resolve finds the ticket that a phone presents, and how to tell whether
// what it presents is still good.
func (s *Service) resolve(ctx context.Context, p Scan) (id string, fresh func(*Ticket, time.Time) bool, err error) {
	if p.UserCode != "" {
		code, err := parseUserCode(p.UserCode)
		if err != nil {
			return "", nil, err
		}
		value, rev, err := s.store.Load(ctx, codeKey(code))
		if err == nil && rev == 0 {
			err = ErrNotFound
		}
		return string(value), func(*Ticket, time.Time) bool { return true }, err
	}
	id, step, err := s.parseQR(ctx, p.QR)
	return id, func(t *Ticket, now time.Time) bool {
		return p.Proven || t.good(step, s.config.QRRotate, now)
	}, err
}

func (s *Service) parseQR(ctx context.Context, text string) (id string, step uint32, err error) {
	key, err := s.qrKey(ctx)
	if err != nil {
		return "", 0, err
	}
	return parseQRToken(key, strings.TrimPrefix(text, s.config.PublicURL+qrPath))
}

// CheckQR says which ticket a QR text belongs to and whether it could be
// scanned now, changing nothing. Errors: ErrNotFound; with a ticket id:
// ErrTicketExpired, ErrInvalidState, ErrQRExpired. A ticket that was scanned
// already is for Scan to judge.
func (s *Service) CheckQR(ctx context.Context, text string) (ticketID string, err error) {
	id, step, err := s.parseQR(ctx, text)
	if err != nil {
		return "", err
	}
	now := time.Now()
	t, _, err := s.load(ctx, id, now)
	switch {
	case err != nil:
		return "", err
	case t.At(now) == Expired:
		return id, ErrTicketExpired
	case t.At(now).Final():
		return id, ErrInvalidState
	case t.At(now) == Pending && !t.good(step, s.config.QRRotate, now):
		return id, ErrQRExpired
	}
	return id, nil
}

// Confirm signs the browser in as the scanner. Errors, the
// first that applies: ErrNotFound, ErrInvalidState, ErrNotScanner,
// ErrInvalidConfirmToken, ErrTicketExpired, auth.ErrSessionLimit.
func (s *Service) Confirm(ctx context.Context, ticketID, confirmToken string, by auth.Identity) error {
	full, err := s.full(ctx, ticketID, by)
	if err != nil {
		return err
	}
	_, _, err = s.move(ctx, ticketID, func(t *Ticket, now time.Time) error {
		waiting := t.At(now) == Scanned
		if err := t.confirm(by, confirmToken, s.config.RedeemTTL, now); err != nil || !waiting {
			return err
		}
		return full
	})
	return err
}

// full is the refusal that the session would meet, so that it is told to who can
// do something about it: the person, before both sides believe in success.
func (s *Service) full(ctx context.Context, ticketID string, by auth.Identity) (full, err error) {
	if !s.refuses {
		return nil, nil
	}
	t, _, err := s.load(ctx, ticketID, time.Now())
	if err != nil {
		return nil, err
	}
	err = s.sessions.Room(ctx, by.Sub(), t.ClientID)
	if errors.Is(err, auth.ErrSessionLimit) {
		return err, nil
	}
	return nil, err
}

// Deny refuses the browser; errors as Confirm.
func (s *Service) Deny(ctx context.Context, ticketID, confirmToken string, by auth.Identity) error {
	_, _, err := s.move(ctx, ticketID, func(t *Ticket, now time.Time) error {
		return t.deny(by, confirmToken, now)
	})
	return err
}

// Decision is how a ticket stands, for its scanner.
type Decision struct {
	Seq    uint64
	Status Status
	Facts  Facts
}

// Decision reads how a ticket stands. Errors: ErrNotFound, ErrInvalidState
// (nobody scanned it), ErrNotScanner.
func (s *Service) Decision(ctx context.Context, ticketID string, by auth.Identity) (Decision, error) {
	now := time.Now()
	t, rev, err := s.load(ctx, ticketID, now)
	if err != nil {
		return Decision{}, err
	}
	if err := t.scanner(by, now); err != nil {
		return Decision{}, err
	}
	v, err := s.view(t, rev, now)
	return Decision{Seq: v.Seq, Status: v.Status, Facts: t.Facts}, err
}
