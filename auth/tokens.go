package auth

import (
	"context"
	"errors"
	"time"
)

// Introspection is what a token stands for (RFC 7662 section 2.2). Only Active
// is set when it stands for nothing any more, or never did.
type Introspection struct {
	Active   bool
	Refresh  bool // it is a refresh token: no Audience, ID and NotBefore
	Sub      string
	ClientID string
	Scope    string
	SID      string
	AMR      []string
	Audience string
	ID       string // `jti`
	AuthTime time.Time
	IssuedAt time.Time
	Expires  time.Time
}

// Introspect looks a token up for a client. Access tokens may be anybody's: a
// resource server asks about what it was shown. A refresh token is looked up
// for the client that it was given to, and is active while it is the newest.
func (s *Service) Introspect(ctx context.Context, clientID, token string) (Introspection, error) {
	if looksLikeRefresh(token) {
		return s.introspectRefresh(ctx, clientID, token)
	}
	c, p, err := s.verify(ctx, token)
	if errors.Is(err, ErrInvalidToken) || errors.Is(err, ErrBanned) {
		return Introspection{}, nil
	}
	if err != nil {
		return Introspection{}, err
	}
	return Introspection{
		Active: true, Sub: p.Sub, ClientID: p.ClientID, Scope: p.Scope, SID: p.SID, AMR: p.AMR, Audience: c.Audience,
		ID: c.ID, AuthTime: p.AuthTime, IssuedAt: time.Unix(c.IssuedAt, 0), Expires: p.Expires,
	}, nil
}

func (s *Service) introspectRefresh(ctx context.Context, clientID, token string) (Introspection, error) {
	t, ok, err := s.open(ctx, token)
	if err != nil || !ok {
		return Introspection{}, err
	}
	if err := s.bans.refuse(ctx, t.sub); errors.Is(err, ErrBanned) {
		return Introspection{}, nil
	} else if err != nil {
		return Introspection{}, err
	}
	r, err := s.load(ctx, t.sub)
	if err != nil {
		return Introspection{}, err
	}
	current, live := r.live(t.sid, time.Now(), s.limits)
	if !live || current.ClientID != clientID || t.generation < current.Generation {
		return Introspection{}, nil
	}
	p := principal(t.sub, r, current, s.limits)
	return Introspection{
		Active: true, Refresh: true, Sub: p.Sub, ClientID: p.ClientID, Scope: p.Scope, SID: p.SID, AMR: p.AMR,
		AuthTime: p.AuthTime, IssuedAt: time.UnixMilli(current.Refreshed), Expires: p.Expires,
	}, nil
}

// Revoke ends the session that a token belongs to (RFC 7009 section 2.1), for
// the client that it was given to; another client's is ErrInvalidGrant. A token
// that stands for nothing is no error. A refresh token that was spent already
// will do: it shows as well as the newest that somebody wants out.
func (s *Service) Revoke(ctx context.Context, clientID, token string) error {
	sub, sid, err := s.belongs(ctx, token)
	if err != nil || sid == "" {
		return err
	}
	_, err = s.change(ctx, sub, func(r *record, now time.Time) (*session, bool, error) {
		r.tidy(now, s.limits)
		current, live := r.live(sid, now, s.limits)
		switch {
		case !live:
			return nil, false, nil
		case current.ClientID != clientID:
			return nil, false, ErrInvalidGrant
		}
		r.end(sid, Logout, now, s.limits)
		return nil, true, nil
	})
	return err
}

// belongs says whose token of ours it is, if it is one.
func (s *Service) belongs(ctx context.Context, token string) (sub, sid string, err error) {
	if looksLikeRefresh(token) {
		t, _, err := s.open(ctx, token)
		return t.sub, t.sid, err
	}
	p, err := s.Claimed(ctx, token)
	if errors.Is(err, ErrInvalidToken) {
		err = nil
	}
	return p.Sub, p.SID, err
}

// open unseals what looks like a refresh token.
func (s *Service) open(ctx context.Context, token string) (refreshToken, bool, error) {
	secrets, err := s.secrets(ctx)
	if err != nil {
		return refreshToken{}, false, err
	}
	t, ok := secrets.decode(token)
	return t, ok, nil
}
