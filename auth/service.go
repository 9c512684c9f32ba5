package auth

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/golang-jwt/jwt/v5"
)

// Service issues, refreshes, verifies and ends sessions. Its methods may be
// called from many goroutines and on many instances at once.
type Service struct {
	store   Store
	config  Config
	issuers map[string]Issuer // by `iss`
	limits  limits
	parser  *jwt.Parser
	keys    *keys
	bans    *bans
	refresh atomic.Pointer[refreshKeys] // nil: not derived yet
}

// New makes a service. It does not touch the store: a server may start before
// its store does.
func New(store Store, c Config) *Service {
	c = c.withDefaults()
	return &Service{
		store:   store,
		config:  c,
		issuers: issuersOf(c),
		limits:  limits{config: c},
		parser:  newParser(c),
		keys:    newKeys(store, c),
		bans:    newBans(store, c),
	}
}

// Run keeps the key ring and the list of bans: it follows what other instances
// do, publishes the next key, promotes it in time, and tries again while the
// store is away. It returns nil when ctx ends. Everything else works without
// it, with keys that never rotate and bans as they were when first asked for.
func (s *Service) Run(ctx context.Context) error {
	var rooms sync.WaitGroup
	rooms.Go(func() { s.keys.run(ctx) })
	rooms.Go(func() { s.bans.run(ctx) })
	rooms.Wait()
	return nil
}

// maxSub bounds a `sub`, in bytes.
const maxSub = 300

// UserKey is the record of a user, to be watched for its changes (State).
func UserKey(sub string) string { return "user:" + sub }

// NewSID is a fresh session id: 128 random bits or more, safe in URLs and logs.
func (s *Service) NewSID() string { return rand.Text() }

// SignIn lets somebody in by a provider's credential: a session of its own for
// the built-in client "phone". ErrUnknownProvider, also for a Redirector (that is
// Return) and for an Issuer whose tokens are not to be traded; ErrInvalidCredential and the other errors of providers; what Issue
// refuses.
func (s *Service) SignIn(ctx context.Context, provider, credential string, from Origin) (Tokens, error) {
	p, ok := s.config.Providers[provider]
	if _, away := p.(Redirector); !ok || away || keepsToTokens(p) {
		return Tokens{}, ErrUnknownProvider
	}
	return s.admit(ctx, provider, p, credential, from)
}

// storeTime is what the store has for each step of a sign-in. The caller's
// deadline is for the whole, and that is mostly the provider's.
const storeTime = 800 * time.Millisecond

// admit makes the phone session of whoever the provider says it is.
func (s *Service) admit(ctx context.Context, provider string, p Provider, credential string, from Origin) (Tokens, error) {
	who, err := p.Authenticate(ctx, credential)
	if err != nil {
		return Tokens{}, fmt.Errorf("auth: provider %s: %w", provider, err)
	}
	seed := make([]byte, secretSize)
	rand.Read(seed) // never fails
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	return s.Issue(ctx, Grant{
		SID:      s.NewSID(),
		Identity: who,
		ClientID: Phone,
		AMR:      []string{provider},
		Origin:   from,
		Seed:     seed,
	})
}

// Issue makes the session of a grant and its first tokens. Within the grace
// after that, issuing the same grant again gives the same session and the same
// refresh token, however many do so at once and wherever: a lost answer. Later
// it is theft and ends the session. An ended one is ErrSessionEnded, for as
// long as a late Issue is possible, and so is a sign-in that was allowed before
// the user had all others ended. ErrInvalidScope, ErrBanned, ErrSessionLimit.
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
	sub := g.Identity.Sub()
	if err := s.bans.refuse(ctx, sub); err != nil {
		return Tokens{}, err
	}
	with, secrets, err := s.signers(ctx)
	if err != nil {
		return Tokens{}, err
	}
	first := refreshToken{sub: sub, sid: g.SID, generation: 1, secret: secrets.firstSecret(g.Seed, g.SID)}
	issued, err := s.change(ctx, sub, func(r *record, now time.Time) (*session, bool, error) {
		return r.issue(g.session(first, scope, now), g.Identity, g.Network, now, s.limits)
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
	if len(g.Place) > maxPlace {
		g.Place = ""
	}
	allowed := g.AuthTime
	if allowed.IsZero() {
		allowed = now
	}
	return session{
		SID:        g.SID,
		ClientID:   g.ClientID,
		Scope:      scope,
		AMR:        g.AMR,
		Device:     g.Device,
		Place:      g.Place,
		AuthTime:   allowed.UnixMilli(),
		Created:    now.UnixMilli(),
		Used:       now.UnixMilli(),
		Refreshed:  now.UnixMilli(),
		Generation: first.generation,
		Hash:       hash(first.secret),
	}
}

// check refuses who could be somebody else, or would not come back whole out of
// a token.
func (i Identity) check() error {
	switch {
	case i.Provider == "" || i.Subject == "":
		return errors.New("auth: identity without a provider or a subject")
	case strings.Contains(i.Provider, ":"): // else two people could share a `sub`
		return errors.New("auth: identity of a provider with a colon in its name")
	case len(i.Sub()) > maxSub:
		return errors.New("auth: identity with too long a subject")
	}
	return nil
}

// maxLetters bounds a name that somebody else tells.
const maxLetters = 64

// CleanName is a name as a line of text, of at most 64 letters: people may call themselves anything,
// with line breaks and with characters that turn the text around them.
func CleanName(name string) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case r != '\u200d' && !unicode.IsGraphic(r), r == unicode.ReplacementChar: // the joiner makes emoji whole
			return -1
		}
		return r
	}, name)
	letters := []rune(strings.Join(strings.Fields(name), " "))
	if len(letters) > maxLetters {
		letters = letters[:maxLetters]
	}
	return string(letters)
}

func (g Grant) check() error {
	switch {
	case g.SID == "" || len(g.SID) > 255:
		return errors.New("auth: grant without a usable session id")
	case len(g.Seed) == 0:
		return errors.New("auth: grant without a seed")
	}
	return g.Identity.check()
}

// Refresh trades a refresh token for new tokens (RFC 6749 section 6). scope
// may narrow the access token's; empty: all that the session has. The token is
// spent, but while its successor is unused and for as long as the grace it
// gives the same successor again; presented later it ends the session.
// ErrInvalidGrant, ErrBanned, ErrInvalidScope (nothing is spent).
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
	if err := s.bans.refuse(ctx, presented.sub); err != nil {
		return Tokens{}, err
	}
	next := presented
	next.generation++
	next.secret = secrets.successor(presented)
	var narrowed string
	refreshed, err := s.change(ctx, presented.sub, func(r *record, now time.Time) (*session, bool, error) {
		current, changed, err := r.refresh(presented, next.secret, clientID, now, s.limits)
		if err != nil || current == nil {
			return nil, changed, err
		}
		narrowed, err = narrow(current.Scope, scope)
		return current, changed, err
	})
	if err != nil {
		return Tokens{}, err
	}
	if refreshed == nil {
		return Tokens{}, ErrInvalidGrant
	}
	return s.tokens(with, presented.sub, refreshed, narrowed, secrets.encode(next))
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
	_, err := s.store.Update(ctx, UserKey(sub), func(old []byte) ([]byte, time.Duration, error) {
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
		return nil, wrapUser(err)
	}
	return result, nil
}

// wrapUser says what was asked of the store when it failed.
func wrapUser(err error) error { return fmt.Errorf("auth: user: %w", err) }

// signers are all keys that making tokens takes; they are had before anything
// is written, so that no refresh token is spent on an answer that cannot be
// signed.
func (s *Service) signers(ctx context.Context) (*ring, *refreshKeys, error) {
	with, err := s.keys.current(ctx)
	if err != nil {
		return nil, nil, err
	}
	secrets, err := s.secrets(ctx)
	return with, secrets, err
}

// secrets are the keys of refresh tokens, derived once.
func (s *Service) secrets(ctx context.Context) (*refreshKeys, error) {
	if secrets := s.refresh.Load(); secrets != nil {
		return secrets, nil
	}
	secrets, err := deriveRefreshKeys(ctx, s.store)
	if err == nil {
		s.refresh.Store(secrets)
	}
	return secrets, err
}

func (s *Service) tokens(with *ring, sub string, session *session, scope, refresh string) (Tokens, error) {
	access, life, err := s.sign(with, sub, session, scope)
	if err != nil {
		return Tokens{}, err
	}
	return Tokens{Access: access, Refresh: refresh, Scope: scope, SID: session.SID, Sub: sub, ExpiresIn: life}, nil
}
