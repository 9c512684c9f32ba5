package auth

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"
)

var (
	// ErrInvalidCredential is a provider's answer to a credential it does not
	// accept; the same for unknown and wrong ones.
	ErrInvalidCredential = errors.New("auth: invalid credential")
	// ErrUnknownProvider names a provider that is not configured.
	ErrUnknownProvider = errors.New("auth: unknown provider")
	// ErrInvalidState is the one answer to every `state` that a provider's
	// callback cannot be taken with: used, too old, made up, another provider's.
	ErrInvalidState = errors.New("auth: invalid state")
	// ErrInvalidToken is the one answer to every access token that does not
	// open a live session, whatever is wrong with it (RFC 6750 section 3.1).
	ErrInvalidToken = errors.New("auth: invalid token")
	// ErrInvalidGrant is the one answer to every refresh token that cannot be
	// used (RFC 6749 section 5.2).
	ErrInvalidGrant = errors.New("auth: invalid grant")
	// ErrInvalidScope asks for more than the client or the session has (RFC
	// 6749 section 5.2).
	ErrInvalidScope = errors.New("auth: invalid scope")
	// ErrSessionEnded says that the session is over, or never was.
	ErrSessionEnded = errors.New("auth: session ended")
	// ErrSessionLimit refuses a sign-in: the user has as many sessions with
	// this client as its policy allows.
	ErrSessionLimit = errors.New("auth: session limit")
	// ErrUnknownSession is a session that this user does not have.
	ErrUnknownSession = errors.New("auth: unknown session")
	// ErrPhoneOnly protects the sessions of phones from all others.
	ErrPhoneOnly = errors.New("auth: only a phone may end a phone session")
	// ErrBanned refuses a user who is banned, whatever they show.
	ErrBanned = errors.New("auth: user banned")
	// ErrInvalidUser is what cannot be a `sub`.
	ErrInvalidUser = errors.New("auth: invalid user")
	// ErrInvalidBan is a ban of nobody, or one that cannot be.
	ErrInvalidBan = errors.New("auth: invalid ban")
	// ErrUnknownBan is a ban that there is not.
	ErrUnknownBan = errors.New("auth: unknown ban")
	// ErrTooManyBans refuses one more than fit into their record.
	ErrTooManyBans = errors.New("auth: too many bans")
)

// Identity is somebody as a provider knows them.
type Identity struct {
	Provider string // name of the provider, without a colon
	Subject  string // stable there, never reused, at most 255 bytes
	Name     string // for people to read
	Picture  string // URL, empty when there is none
}

// Sub is the `sub` claim: "<provider>:<subject>".
func (i Identity) Sub() string { return i.Provider + ":" + i.Subject }

// Provider turns a credential into somebody. A credential it does not accept
// is ErrInvalidCredential; any other error means that it could not find out.
type Provider interface {
	Authenticate(ctx context.Context, credential string) (Identity, error)
}

// Store is what the room needs of the shared store. Its errors pass through
// this room wrapped, never translated.
type Store interface {
	// Load reads a record; rev 0: there is none.
	Load(ctx context.Context, key string) (value []byte, rev uint64, err error)
	// Update changes a record by compare-and-swap. change may run several
	// times; a nil value with a nil error leaves the record as it is, an
	// error of change comes back and nothing is written.
	Update(ctx context.Context, key string, change func(old []byte) (value []byte, ttl time.Duration, err error)) (rev uint64, err error)
	// Watch calls changed with every newer state (value nil: gone), with the
	// first one before it returns. changed must not block or call the store.
	Watch(ctx context.Context, key string, changed func(value []byte, rev uint64)) (stop func(), err error)
	// Derive gives 32 bytes, the same on all instances sharing the store.
	Derive(ctx context.Context, purpose string) ([]byte, error)
}

// Device is the signed-in device in parsed words, never its raw User-Agent.
type Device struct {
	Browser string `json:"browser,omitempty"`
	OS      string `json:"os,omitempty"`
}

// Origin is where a sign-in comes from, as far as is known.
type Origin struct {
	Device  Device
	Place   string       // for people to read
	Network netip.Prefix // its IPv4 address or /64, to know it again
}

// Grant is a sign-in that was allowed and becomes a session.
type Grant struct {
	SID      string // from NewSID
	Identity Identity
	ClientID string
	Scope    string // space-separated; empty: all the client may have
	AMR      []string
	AuthTime time.Time // when it was allowed; zero: now
	Origin
	Seed []byte // secret; the same seed and SID always give the same first refresh token
}

// LogValue leaves the seed out.
func (g Grant) LogValue() slog.Value {
	return slog.GroupValue(slog.String("sid", g.SID), slog.String("client_id", g.ClientID))
}

// Tokens are the answer of RFC 6749 section 5.1.
type Tokens struct {
	Access    string // RFC 9068 JWT
	Refresh   string // opaque
	Scope     string // of the access token
	SID       string
	Sub       string
	ExpiresIn time.Duration // of the access token, whole seconds
}

// LogValue leaves both tokens out.
func (t Tokens) LogValue() slog.Value {
	return slog.GroupValue(slog.String("sid", t.SID), slog.String("scope", t.Scope))
}

// Principal is who is asking: what Verify or Claimed found behind an access
// token, Session or Use behind a session id. A phone by the token of another
// issuer has neither SID nor AMR, and no times.
type Principal struct {
	Sub      string
	Name     string
	Picture  string
	SID      string
	ClientID string
	Scope    string
	AMR      []string
	AuthTime time.Time
	Expires  time.Time // of the access token (Verify, Claimed) or of the session (Session, Use)
}

// HasScope says whether one scope was granted.
func (p Principal) HasScope(scope string) bool {
	return slices.Contains(strings.Fields(p.Scope), scope)
}

// Identity is the person as last seen by the provider.
func (p Principal) Identity() Identity {
	provider, subject, _ := strings.Cut(p.Sub, ":")
	return Identity{Provider: provider, Subject: subject, Name: p.Name, Picture: p.Picture}
}

// Config of a Service; the zero value of a field is the default named there.
type Config struct {
	Issuer      string        // `iss`: the public URL; required
	AccessTTL   time.Duration // life of an access token: 10 minutes
	RefreshTTL  time.Duration // life of a session, however busy: 30 days
	RefreshIdle time.Duration // life of a session since its last refresh: 7 days
	Grace       time.Duration // how long a lost token answer can be had again: 10 seconds
	Algorithm   string        // that new keys sign with: "EdDSA", "ES256" or "RS256": EdDSA
	KeyLife     time.Duration // how long a key signs: 30 days
	Providers   map[string]Provider
	Clients     map[string]Client // Clients(Issuer)
	Logger      *slog.Logger      // none
	// NetworksBanned is called when the banned networks may be others than
	// before, with what tells them: connections from them are to be ended.
	NetworksBanned func(banned func(netip.Addr) bool)
}

func (c Config) withDefaults() Config {
	c.AccessTTL = cmp.Or(c.AccessTTL, 10*time.Minute)
	c.RefreshTTL = cmp.Or(c.RefreshTTL, 30*24*time.Hour)
	c.RefreshIdle = cmp.Or(c.RefreshIdle, 7*24*time.Hour)
	c.Grace = cmp.Or(c.Grace, 10*time.Second)
	c.Algorithm = cmp.Or(c.Algorithm, "EdDSA")
	c.KeyLife = cmp.Or(c.KeyLife, 30*24*time.Hour)
	if c.Clients == nil {
		c.Clients = Clients(c.Issuer)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.NetworksBanned == nil {
		c.NetworksBanned = func(func(netip.Addr) bool) {}
	}
	return c
}
