package auth

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Service issues, refreshes, verifies and ends sessions. Its methods may be
// called from many goroutines and on many instances at once.
type Service struct {
	store   Store
	config  Config
	limits  limits
	parser  *jwt.Parser
	keys    *keys
	refresh atomic.Pointer[refreshKeys] // nil: not derived yet
}

// New makes a service. It does not touch the store: a server may start before
// its store does.
func New(store Store, c Config) *Service {
	c = c.withDefaults()
	return &Service{
		store:  store,
		config: c,
		limits: limits{absolute: c.RefreshTTL, idle: c.RefreshIdle, grace: c.Grace},
		parser: newParser(c),
		keys:   newKeys(store, c),
	}
}

// Run keeps the key ring: it follows what other instances do, publishes the
// next key, promotes it in time, and tries again while the store is away. It
// returns nil when ctx ends. Everything else works without it, with keys that
// are only looked up when they are needed and never rotate.
func (s *Service) Run(ctx context.Context) error {
	s.keys.run(ctx)
	return nil
}

// userKey names the one record of a user.
func userKey(sub string) string { return "user:" + sub }

// NewSID is a fresh session id: 128 random bits or more, safe in URLs and logs.
func (s *Service) NewSID() string { return rand.Text() }

// SignIn lets somebody in by a provider's credential: a session of its own for
// the built-in client "phone". ErrUnknownProvider, ErrInvalidCredential.
func (s *Service) SignIn(ctx context.Context, provider, credential string, d Device) (Tokens, error) {
	p, ok := s.config.Providers[provider]
	if !ok {
		return Tokens{}, ErrUnknownProvider
	}
	who, err := p.Authenticate(ctx, credential)
	if err != nil {
		return Tokens{}, fmt.Errorf("auth: provider %s: %w", provider, err)
	}
	seed := make([]byte, secretSize)
	rand.Read(seed) // never fails
	return s.Issue(ctx, Grant{
		SID:      s.NewSID(),
		Identity: who,
		ClientID: Phone,
		AMR:      []string{provider},
		AuthTime: time.Now(),
		Device:   d,
		Seed:     seed,
	})
}

// Issue makes the session of a grant and its first tokens. Within the grace
// after that, issuing the same grant again gives the same session and the same
// refresh token, however many do so at once and wherever: a lost answer. Later
// it is theft and ends the session. An ended one is ErrSessionEnded, for as
// long as a late Issue is possible.
func (s *Service) Issue(ctx context.Context, g Grant) (Tokens, error) {
	client, ok := s.config.Clients[g.ClientID]
	if !ok {
		return Tokens{}, fmt.Errorf("auth: unknown client %q", g.ClientID)
	}
	scope, err := client.Granted(g.Scope)
	if err != nil {
		return Tokens{}, err
	}
	if err := g.check(); err != nil {
		return Tokens{}, err
	}
	with, secrets, err := s.signers(ctx)
	if err != nil {
		return Tokens{}, err
	}
	sub := g.Identity.Sub()
	first := refreshToken{sub: sub, sid: g.SID, generation: 1, secret: secrets.firstSecret(g.Seed, g.SID)}
	issued, err := s.change(ctx, sub, func(r *record, now time.Time) (*session, bool, error) {
		return r.issue(g.session(first, scope, now), g.Identity, now, s.limits)
	})
	if err != nil {
		return Tokens{}, err
	}
	if issued == nil {
		return Tokens{}, ErrSessionEnded
	}
	return s.tokens(with, sub, issued, issued.Scope, secrets.encode(first))
}

// session is the session that a grant opens.
func (g Grant) session(first refreshToken, scope string, now time.Time) session {
	return session{
		SID:        g.SID,
		ClientID:   g.ClientID,
		Scope:      scope,
		AMR:        g.AMR,
		Device:     g.Device,
		AuthTime:   g.AuthTime.UnixMilli(),
		Created:    now.UnixMilli(),
		Refreshed:  now.UnixMilli(),
		Generation: first.generation,
		Hash:       hash(first.secret),
	}
}

// check refuses what would not come back whole out of a token.
func (g Grant) check() error {
	who := g.Identity
	switch {
	case who.Provider == "" || who.Subject == "":
		return errors.New("auth: identity without a provider or a subject")
	case strings.Contains(who.Provider, ":"): // else two people could share a `sub`
		return errors.New("auth: identity of a provider with a colon in its name")
	case len(who.Sub()) > 300:
		return errors.New("auth: identity with too long a subject")
	case g.SID == "" || len(g.SID) > 255:
		return errors.New("auth: grant without a usable session id")
	case len(g.Seed) == 0:
		return errors.New("auth: grant without a seed")
	}
	return nil
}

// Refresh trades a refresh token for new tokens (RFC 6749 section 6). scope
// may narrow the access token's; empty: all that the session has. The token is
// spent, but while its successor is unused and for as long as the grace it
// gives the same successor again. ErrInvalidGrant, ErrInvalidScope (nothing is
// spent).
func (s *Service) Refresh(ctx context.Context, clientID, refresh, scope string) (Tokens, error) {
	if !looksLikeRefresh(refresh) {
		return Tokens{}, ErrInvalidGrant
	}
	with, secrets, err := s.signers(ctx)
	if err != nil {
		return Tokens{}, err
	}
	presented, ok := secrets.decode(refresh)
	if _, known := s.config.Clients[clientID]; !ok || !known {
		return Tokens{}, ErrInvalidGrant
	}
	next := presented
	next.generation++
	next.secret = secrets.successor(presented)
	var narrowed string
	refreshed, err := s.change(ctx, presented.sub, func(r *record, now time.Time) (*session, bool, error) {
		current, changed, err := r.refresh(presented, next.secret, clientID, now, s.limits)
		if err != nil {
			return nil, false, err
		}
		narrowed, err = narrow(current.Scope, scope)
		return current, changed, err
	})
	if err != nil {
		return Tokens{}, err
	}
	return s.tokens(with, presented.sub, refreshed, narrowed, secrets.encode(next))
}

// Session finds a live session by its id, for pages that keep somebody signed
// in by a cookie. ErrSessionEnded.
func (s *Service) Session(ctx context.Context, sub, sid string) (Principal, error) {
	r, session, err := s.load(ctx, sub, sid)
	if err != nil {
		return Principal{}, err
	}
	p := principal(sub, r, session)
	p.Expires = session.ends(s.limits)
	return p, nil
}

// End ends a session; ending it again, or one that never was, is no error.
func (s *Service) End(ctx context.Context, sub, sid string) error {
	_, err := s.change(ctx, sub, func(r *record, now time.Time) (*session, bool, error) {
		return nil, r.end(sid, now, s.limits), nil
	})
	return err
}

// JWKS is the public key set (RFC 7517 section 5): the current, the next and
// the previous keys, each named by its thumbprint (RFC 7638).
func (s *Service) JWKS(ctx context.Context) ([]byte, error) {
	r, err := s.keys.current(ctx)
	if err != nil {
		return nil, err
	}
	return r.jwks(time.Now())
}

// change applies one rule to a user's record, in one conditional write.
func (s *Service) change(ctx context.Context, sub string, rule func(*record, time.Time) (*session, bool, error)) (*session, error) {
	var result *session
	_, err := s.store.Update(ctx, userKey(sub), func(old []byte) ([]byte, time.Duration, error) {
		r, err := decodeRecord(old)
		if err != nil {
			return nil, 0, err
		}
		now := time.Now()
		var changed bool
		if result, changed, err = rule(r, now); err != nil || !changed {
			return nil, 0, err
		}
		return r.encode(now, s.limits)
	})
	if err != nil {
		return nil, fmt.Errorf("auth: user: %w", err)
	}
	return result, nil
}

// load finds a live session and the record it is in.
func (s *Service) load(ctx context.Context, sub, sid string) (*record, *session, error) {
	value, _, err := s.store.Load(ctx, userKey(sub))
	if err != nil {
		return nil, nil, fmt.Errorf("auth: user: %w", err)
	}
	r, err := decodeRecord(value)
	if err != nil {
		return nil, nil, err
	}
	session, ok := r.live(sid, time.Now(), s.limits)
	if !ok {
		return nil, nil, ErrSessionEnded
	}
	return r, session, nil
}

// signers are all keys that making tokens takes; they are had before anything
// is written, so that no refresh token is spent on an answer that cannot be
// signed.
func (s *Service) signers(ctx context.Context) (*ring, *refreshKeys, error) {
	with, err := s.keys.current(ctx)
	if err != nil {
		return nil, nil, err
	}
	secrets := s.refresh.Load()
	if secrets == nil {
		if secrets, err = deriveRefreshKeys(ctx, s.store); err != nil {
			return nil, nil, err
		}
		s.refresh.Store(secrets)
	}
	return with, secrets, nil
}

func (s *Service) tokens(with *ring, sub string, session *session, scope, refresh string) (Tokens, error) {
	access, life, err := s.sign(with, sub, session, scope)
	if err != nil {
		return Tokens{}, err
	}
	return Tokens{Access: access, Refresh: refresh, Scope: scope, SID: session.SID, Sub: sub, ExpiresIn: life}, nil
}

func principal(sub string, r *record, s *session) Principal {
	return Principal{
		Sub:      sub,
		Name:     r.Name,
		Picture:  r.Picture,
		SID:      s.SID,
		ClientID: s.ClientID,
		Scope:    s.Scope,
		AMR:      s.AMR,
		AuthTime: time.UnixMilli(s.AuthTime),
	}
}
