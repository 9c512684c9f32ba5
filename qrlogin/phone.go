package qrlogin

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
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
	Phone  Facts // what the server saw of the phone
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
	Signals      Signals
	Check        bool // after the confirm the browser has to send the code that the phone shows
	UserCode     bool // the confirm has to bring the code that the device shows
	TriesLeft    int  // of either code
	Tried        bool // a wrong one was typed
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
	seen, err := s.weigh(ctx, id, p, by)
	if err != nil {
		return Found{TicketID: id}, err
	}
	token := random(secretBytes)
	t, rev, err := s.move(ctx, id, func(t *Ticket, now time.Time) error {
		status := t.At(now)
		again := p.Reload && t.By.Sub() == by.Sub()
		if p.UserCode != "" && status != Pending && status != Expired && !again {
			return ErrNotFound // the code is dead
		}
		if err := t.scan(by, hash(token), fresh(t, now), s.config.ConfirmTTL, now); err != nil {
			return err
		}
		t.judge(seen, s.config.Check)
		return nil
	})
	if err != nil {
		return Found{TicketID: id}, err
	}
	found := s.found(t, rev, time.Now())
	found.ConfirmToken = token
	return found, nil
}

// found is a ticket as its scanner sees it.
func (s *Service) found(t *Ticket, rev uint64, now time.Time) Found {
	return Found{
		TicketID: t.ID, Seq: rev, Status: t.Status, ExpiresIn: t.Deadline.Sub(now),
		Client: s.config.Clients[t.ClientID], Facts: t.Facts, Signals: t.Signals,
		Check: t.checkWanted(), UserCode: t.codeWanted(), TriesLeft: maxTries - t.Tries, Tried: t.Tries > 0,
		Age: now.Sub(t.Created),
	}
}

// weigh gathers what speaks for this login or against it. It reads outside of the
// change: the signals are those of the moment of the scan.
func (s *Service) weigh(ctx context.Context, id string, p Scan, by auth.Identity) (seen Signals, err error) {
	t, _, err := s.load(ctx, id, time.Now())
	if err != nil {
		return seen, err
	}
	seen.Typed = p.UserCode != ""
	if from := t.Facts.Network; from.IsValid() {
		if seen.KnownNetwork, err = s.sessions.Knows(ctx, by.Sub(), from); err != nil {
			return seen, err
		}
		if seen.Banned, err = s.sessions.NetworkBanned(ctx, from.Addr()); err != nil {
			return seen, err
		}
		if seen.HighUsage, err = s.Reported(ctx, from); err != nil {
			return seen, err
		}
	}
	return seen.compare(t.Facts, p.Phone), nil
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

// Answer is what the phone hears of its confirm.
type Answer struct {
	Status    Status
	CheckCode string // two digits for the browser to send, while Status is Scanned
	Reason    string // on Denied
}

// Confirm signs the browser in as the scanner, or has the phone show the check
// code that the browser has to send first. userCode is the code that a device
// shows, where Found asked for it. Errors, the first that applies: ErrNotFound,
// ErrInvalidState, ErrNotScanner, ErrInvalidConfirmToken, ErrTicketExpired,
// ErrProximityBlocked, ErrCheckFailed, auth.ErrSessionLimit. The Answer to the
// confirm that ended the ticket is Denied, beside its error.
func (s *Service) Confirm(ctx context.Context, ticketID, confirmToken, userCode string, by auth.Identity) (Answer, error) {
	code, err := parseUserCode(userCode)
	if err != nil {
		code = "" // as wrong as any other
	}
	full, err := s.full(ctx, ticketID, by)
	if err != nil {
		return Answer{}, err
	}
	var refused error
	t, _, err := s.move(ctx, ticketID, func(t *Ticket, now time.Time) (err error) {
		asked := t.At(now) == Scanned && t.Decided.IsZero()
		if refused, err = t.confirm(by, confirmToken, code, s.config.RedeemTTL, now); err != nil || refused != nil || !asked {
			return err
		}
		return full
	})
	switch {
	case err != nil:
		return Answer{}, err
	case refused != nil:
		return Answer{Status: t.Status, Reason: t.Reason}, refused
	case !t.checkWanted():
		return Answer{Status: Confirmed}, nil
	}
	digits, err := s.checkCode(ctx, ticketID)
	return Answer{Status: Scanned, CheckCode: digits}, err
}

// Confirmed says whether a confirm would only repeat one that was made before,
// changing nothing. Errors as Confirm, but for what only a change finds out.
func (s *Service) Confirmed(ctx context.Context, ticketID, confirmToken string, by auth.Identity) (bool, error) {
	now := time.Now()
	t, _, err := s.load(ctx, ticketID, now)
	if err != nil {
		return false, err
	}
	before := *t
	_, err = t.confirm(by, confirmToken, "", s.config.RedeemTTL, now)
	return before.Status != Scanned || !before.Decided.IsZero(), err
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

// Deny refuses the browser; errors as Confirm. A report of the scanner also
// counts against the network that the browser is in, and takes it from those that
// the account uses: also when it is too late to deny, or whoever is reported could
// prevent it by being quick.
func (s *Service) Deny(ctx context.Context, ticketID, confirmToken string, by auth.Identity, report bool) error {
	var from netip.Prefix
	_, _, err := s.move(ctx, ticketID, func(t *Ticket, now time.Time) error {
		if from = (netip.Prefix{}); t.holder(by, confirmToken, now) == nil {
			from = t.Facts.Network
		}
		return t.deny(by, confirmToken, now)
	})
	if !report || !from.IsValid() || err != nil && !errors.Is(err, ErrInvalidState) && !errors.Is(err, ErrTicketExpired) {
		return err
	}
	return cmp.Or(s.report(ctx, from, by.Sub()), s.sessions.Forget(ctx, by.Sub(), from), err)
}

// Decision is how a ticket stands, for its scanner. There is no confirm_token in
// it: that is given by a scan alone.
type Decision struct {
	Found
	Reason    string
	CheckCode string // while the browser has to send it, for the scanner to see again
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
	if err != nil {
		return Decision{}, err
	}
	d := Decision{Found: s.found(t, v.Seq, now), Reason: v.Reason}
	if d.Status = v.Status; d.Status == Scanned && t.checking() {
		d.CheckCode, err = s.checkCode(ctx, ticketID)
	}
	return d, err
}
