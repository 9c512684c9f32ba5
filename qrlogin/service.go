package qrlogin

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"sync/atomic"
	"time"

	"scanlogin/auth"
)

// Store keeps tickets (backend). A record that exists already is an
// fs.ErrExist; change returning a nil value leaves a record as it is.
type Store interface {
	Create(ctx context.Context, key string, value []byte, ttl time.Duration) (rev uint64, err error)
	Load(ctx context.Context, key string) (value []byte, rev uint64, err error)
	Update(ctx context.Context, key string, change func(old []byte) (value []byte, ttl time.Duration, err error)) (rev uint64, err error)
	Take(ctx context.Context, key string, every time.Duration, burst int) (wait time.Duration, err error)
	Derive(ctx context.Context, purpose string) ([]byte, error)
}

// Sessions turns a redeemed ticket into tokens (auth).
type Sessions interface {
	NewSID() string
	Issue(ctx context.Context, g auth.Grant) (auth.Tokens, error)
	// Knows says whether a user has signed in from a network of late.
	Knows(ctx context.Context, sub string, network netip.Prefix) (bool, error)
	// Forget takes a network from those that a user is known to use.
	Forget(ctx context.Context, sub string, network netip.Prefix) error
	NetworkBanned(ctx context.Context, from netip.Addr) (bool, error)
	// Room is auth.ErrSessionLimit where one more session would be refused.
	Room(ctx context.Context, sub, clientID string) error
}

// Config holds a ticket's deadlines. Zero means the default.
type Config struct {
	PublicURL  string                 // scheme and host; QR texts begin with it
	Clients    map[string]auth.Client // who may ask for a login
	TicketTTL  time.Duration          // 180 s
	ConfirmTTL time.Duration          // 60 s
	RedeemTTL  time.Duration          // 60 s
	QRRotate   time.Duration          // 30 s
	Grace      time.Duration          // 10 s: a lost token answer may be asked for again
	Check      Mode                   // CheckRisk
}

// Interval is the polling interval told to RFC 8628 clients.
const Interval = 5 * time.Second

const qrPath = "/s/"

// Service is every move of a login. It is safe for concurrent use.
type Service struct {
	store    Store
	sessions Sessions
	config   Config
	key      atomic.Pointer[[]byte] // of QR texts
	refuses  bool                   // a client has a limit of sessions that refuses
}

// New returns a Service; it does not touch the store yet.
func New(store Store, sessions Sessions, c Config) *Service {
	for _, d := range []struct {
		value *time.Duration
		zero  time.Duration
	}{
		{&c.TicketTTL, 180 * time.Second}, {&c.ConfirmTTL, 60 * time.Second},
		{&c.RedeemTTL, 60 * time.Second}, {&c.QRRotate, 30 * time.Second}, {&c.Grace, 10 * time.Second},
	} {
		if *d.value == 0 {
			*d.value = d.zero
		}
	}
	if c.Check == "" {
		c.Check = CheckRisk
	}
	s := &Service{store: store, sessions: sessions, config: c}
	for _, client := range c.Clients {
		s.refuses = s.refuses || client.OnLimit == auth.Refuse
	}
	return s
}

// TicketKey is the record of a ticket, to be watched for its changes.
func TicketKey(id string) string { return "ticket:" + id }

func codeKey(code string) string { return "code:" + code }

// Request is a browser's wish to be signed in.
type Request struct {
	ClientID        string
	Scope           string // space separated; empty: all that the client may have
	Challenge       string // RFC 7636; empty: none
	ChallengeMethod string
	UserCode        bool // make a code for typing
	Device          bool // through the RFC 8628 door
	Facts           Facts
}

// Created is a new ticket, with the only copy of its secret.
type Created struct {
	View
	DeviceCode string
	UserCode   string // BCDF-GHJK; empty: none was asked for
}

// Create makes a ticket. Errors: ErrInvalidClient, ErrUnauthorizedClient,
// auth.ErrInvalidScope, ErrInvalidCodeChallenge.
func (s *Service) Create(ctx context.Context, r Request) (Created, error) {
	client, ok := s.config.Clients[r.ClientID]
	switch {
	case !ok:
		return Created{}, ErrInvalidClient
	case client.ID == auth.Phone || r.Device && !client.DeviceFlow:
		return Created{}, ErrUnauthorizedClient
	case !validChallenge(r.Challenge, r.ChallengeMethod):
		return Created{}, ErrInvalidCodeChallenge
	}
	scope, err := client.Granted(r.Scope)
	if err != nil {
		return Created{}, err
	}
	if _, err := s.qrKey(ctx); err != nil {
		return Created{}, err
	}
	now, secret := time.Now().UTC(), random(secretBytes)
	t := &Ticket{
		ID: random(idBytes), Status: Pending, ClientID: client.ID, Scope: scope, Device: r.Device,
		Challenge: r.Challenge, SecretHash: hash(secret), Facts: r.Facts,
		Created: now, Deadline: now.Add(s.config.TicketTTL),
	}
	made := Created{DeviceCode: t.ID + "." + secret}
	if r.UserCode || r.Device {
		code, err := s.createUserCode(ctx, t.ID)
		if err != nil {
			return Created{}, err
		}
		made.UserCode, t.CodeHash = FormatUserCode(code), hash(code)
	}
	value, ttl, err := s.encode(t, now)
	if err != nil {
		return Created{}, err
	}
	rev, err := s.store.Create(ctx, TicketKey(t.ID), value, ttl)
	if err != nil {
		return Created{}, fmt.Errorf("qrlogin: create: %w", err)
	}
	made.View, err = s.view(t, rev, now)
	return made, err
}

// createUserCode comes before the ticket it points to: a code without a
// ticket is harmless, a ticket without its code is not. It is kept until the
// decision, so that the page of who typed it can be loaded again.
func (s *Service) createUserCode(ctx context.Context, ticketID string) (string, error) {
	for {
		code := newUserCode()
		_, err := s.store.Create(ctx, codeKey(code), []byte(ticketID), s.config.TicketTTL+s.config.ConfirmTTL)
		if errors.Is(err, fs.ErrExist) {
			continue // somebody else's code
		}
		return code, err
	}
}

// Open lets the browser read its ticket. Errors: ErrNotFound,
// ErrInvalidDeviceCode.
func (s *Service) Open(ctx context.Context, ticketID, deviceCode string) (View, error) {
	now := time.Now()
	t, rev, err := s.load(ctx, ticketID, now)
	if err != nil {
		return View{}, err
	}
	if err := t.opens(deviceCode); err != nil {
		return View{}, err
	}
	return s.view(t, rev, now)
}

// opens checks the browser's half against this ticket.
func (t *Ticket) opens(deviceCode string) error {
	id, secret, err := ParseDeviceCode(deviceCode)
	if err != nil || id != t.ID || !hashes(secret, t.SecretHash) {
		return ErrInvalidDeviceCode
	}
	return nil
}

// Outcome is what became of a login, for the back end that it was made for. It
// opens nothing.
type Outcome struct {
	TicketID string
	Status   Status
	ClientID string
	Reason   string // on Denied
	User     string // the `sub` of who is let in; on Confirmed and Consumed
	SID      string // of the session that came of it; on Consumed
}

// Outcome tells who needs no device_code how a ticket stands. ErrNotFound.
func (s *Service) Outcome(ctx context.Context, ticketID string) (Outcome, error) {
	now := time.Now()
	t, _, err := s.load(ctx, ticketID, now)
	if err != nil {
		return Outcome{}, err
	}
	o := Outcome{TicketID: t.ID, Status: t.At(now), ClientID: t.ClientID, Reason: t.Reason, SID: t.SID}
	if o.Status == Confirmed || o.Status == Consumed {
		o.User = t.By.Sub()
	}
	return o, nil
}

// Cancel is the browser giving up; repeating it is fine. Errors: ErrNotFound,
// ErrInvalidDeviceCode, ErrInvalidState.
func (s *Service) Cancel(ctx context.Context, ticketID, deviceCode string) error {
	_, _, err := s.move(ctx, ticketID, func(t *Ticket, now time.Time) error {
		if err := t.opens(deviceCode); err != nil {
			return err
		}
		return t.cancel(now)
	})
	return err
}

// Check is the browser sending the code that the phone shows. Errors:
// ErrNotFound, ErrInvalidDeviceCode, ErrInvalidState (none is awaited),
// ErrCheckFailed, with how the ticket stands: the third wrong one ends it.
func (s *Service) Check(ctx context.Context, ticketID, deviceCode, code string) (View, error) {
	if !validID(ticketID) {
		return View{}, ErrNotFound
	}
	right, err := s.checkCode(ctx, ticketID)
	if err != nil {
		return View{}, err
	}
	var refused error
	t, rev, err := s.move(ctx, ticketID, func(t *Ticket, now time.Time) (err error) {
		if err := t.opens(deviceCode); err != nil {
			return err
		}
		refused, err = t.check(right, code, now)
		return err
	})
	if err != nil {
		return View{}, err
	}
	v, err := s.view(t, rev, time.Now())
	return v, cmp.Or(err, refused)
}

// checkCode is the two digits of a ticket, the same on every instance.
func (s *Service) checkCode(ctx context.Context, ticketID string) (string, error) {
	key, err := s.store.Derive(ctx, "check code")
	if err != nil {
		return "", err
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(ticketID))
	return fmt.Sprintf("%02d", binary.BigEndian.Uint64(mac.Sum(nil))%100), nil
}

// move is update for a ticket that still answers.
func (s *Service) move(ctx context.Context, id string, rule func(t *Ticket, now time.Time) error) (*Ticket, uint64, error) {
	return s.update(ctx, id, func(t *Ticket, now time.Time) error {
		if !t.known(now) {
			return ErrNotFound
		}
		return rule(t, now)
	})
}

// update runs a rule on a ticket that is kept and stores what it changed. The
// rule may run several times: it must be a pure change of t.
func (s *Service) update(ctx context.Context, id string, rule func(t *Ticket, now time.Time) error) (*Ticket, uint64, error) {
	if !validID(id) {
		return nil, 0, ErrNotFound
	}
	var after *Ticket
	rev, err := s.store.Update(ctx, TicketKey(id), func(old []byte) ([]byte, time.Duration, error) {
		if old == nil {
			return nil, 0, ErrNotFound
		}
		t, err := decode(old)
		if err != nil {
			return nil, 0, err
		}
		now := time.Now().UTC()
		if !now.Before(t.forget(s.config.Grace)) {
			return nil, 0, ErrNotFound
		}
		if err := rule(t, now); err != nil {
			return nil, 0, err
		}
		after = t
		value, ttl, err := s.encode(t, now)
		if err == nil && string(value) == string(old) {
			return nil, 0, nil // a repeat
		}
		return value, ttl, err
	})
	if err != nil {
		return nil, 0, err
	}
	return after, rev, nil
}

// encode gives the record and how long it is kept.
func (s *Service) encode(t *Ticket, now time.Time) ([]byte, time.Duration, error) {
	value, err := json.Marshal(t)
	return value, t.forget(s.config.Grace).Sub(now), err
}
