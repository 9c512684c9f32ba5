package qrlogin

import (
	"context"
	"errors"
	"time"

	"scanlogin/auth"
)

// Redemption is what a browser presents for its tokens (RFC 8628 section 3.4).
type Redemption struct {
	DeviceCode string
	ClientID   string
	Verifier   string // RFC 7636; empty when no challenge was given
}

// Redeem gives the browser its tokens: one session per ticket, whatever the
// number of racing requests and instances. The ticket is marked consumed,
// with the session's id, before the session is made; making it is idempotent,
// so what fails or gets lost in between is simply asked for again. How long
// that may go on, and that a later repeat is theft, is the session's business.
// Errors: ErrAuthorizationPending, ErrSlowDown,
// ErrAccessDenied, ErrExpiredToken, ErrInvalidGrant.
func (s *Service) Redeem(ctx context.Context, r Redemption) (auth.Tokens, error) {
	id, secret, err := ParseDeviceCode(r.DeviceCode)
	if err != nil {
		return auth.Tokens{}, ErrInvalidGrant
	}
	sid := s.sessions.NewSID()
	t, _, err := s.update(ctx, id, func(t *Ticket, now time.Time) error {
		if t.ClientID != r.ClientID || !t.proves(secret, r.Verifier) {
			return ErrInvalidGrant
		}
		return t.redeem(sid, now)
	})
	switch {
	case errors.Is(err, ErrNotFound):
		return auth.Tokens{}, ErrInvalidGrant
	case errors.Is(err, ErrAuthorizationPending):
		return auth.Tokens{}, s.poll(ctx, id)
	case err != nil:
		return auth.Tokens{}, err
	}
	return s.issue(ctx, t, r.DeviceCode)
}

func (s *Service) issue(ctx context.Context, t *Ticket, deviceCode string) (auth.Tokens, error) {
	tokens, err := s.sessions.Issue(ctx, auth.Grant{
		SID: t.SID, Identity: t.By, ClientID: t.ClientID, Scope: t.Scope,
		AMR: []string{"qr"}, AuthTime: t.Decided,
		Origin: t.Facts.Origin(), Seed: []byte(deviceCode),
	})
	if errors.Is(err, auth.ErrSessionEnded) {
		return auth.Tokens{}, ErrInvalidGrant
	}
	return tokens, err
}

// poll answers who asks before the phone has decided. Two polls per interval
// are always allowed and a refused one costs nothing, so a client that keeps
// to the interval is never told to slow down for good (RFC 8628 section 3.5).
func (s *Service) poll(ctx context.Context, id string) error {
	wait, err := s.store.Take(ctx, "poll:"+id, Interval/2, 2)
	switch {
	case err != nil:
		return err
	case wait > 0:
		return ErrSlowDown
	}
	return ErrAuthorizationPending
}
