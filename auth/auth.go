package auth

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/url"
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

// Phone is the built-in client of the signed-in device, and its one scope.
const Phone = "phone"

// Client is an application that gets tokens.
type Client struct {
	ID         string
	Name       string   // for people to read
	Kind       string   // web, app or device
	DeviceFlow bool     // may use the device authorization endpoint of RFC 8628
	Scopes     []string // all it may be given, and what it gets when it names none
	Audience   string   // `aud` of its access tokens; empty: the issuer
}

// Clients are the built-in ones. Only "phone" has the scope "phone", which is
// the only one that may scan, confirm and deny.
func Clients(publicURL string) map[string]Client {
	name := publicURL
	if u, err := url.Parse(publicURL); err == nil && u.Host != "" {
		name = u.Host
	}
	return map[string]Client{
		"web":    {ID: "web", Name: name, Kind: "web", Scopes: []string{"openid", "profile"}},
		"device": {ID: "device", Name: "Device", Kind: "device", DeviceFlow: true, Scopes: []string{"openid", "profile"}},
		Phone:    {ID: Phone, Name: "Phone", Kind: "app", Scopes: []string{Phone}},
	}
}

// Granted checks a space-separated scope against the client's; none means all.
// ErrInvalidScope.
func (c Client) Granted(asked string) (string, error) {
	return narrow(strings.Join(c.Scopes, " "), asked)
}

// narrow gives the asked part of a scope, all of it when nothing is asked; it
// never widens (RFC 6749 section 6).
func narrow(granted, asked string) (string, error) {
	var scope []string
	have := strings.Fields(granted)
	for _, want := range strings.Fields(asked) {
		if !slices.Contains(have, want) {
			return "", ErrInvalidScope
		}
		if !slices.Contains(scope, want) {
			scope = append(scope, want)
		}
	}
	if scope == nil {
		return granted, nil
	}
	return strings.Join(scope, " "), nil
}

// Device is the signed-in device in parsed words, never its raw User-Agent.
type Device struct {
	Browser string `json:"browser,omitempty"`
	OS      string `json:"os,omitempty"`
}

// Grant is a sign-in that was allowed and becomes a session.
type Grant struct {
	SID      string // from NewSID
	Identity Identity
	ClientID string
	Scope    string // space-separated; empty: all the client may have
	AMR      []string
	AuthTime time.Time
	Device   Device
	Seed     []byte // secret; the same seed and SID always give the same first refresh token
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

// Principal is who is asking: what Verify found behind an access token, or
// Session behind a session id.
type Principal struct {
	Sub      string
	Name     string
	Picture  string
	SID      string
	ClientID string
	Scope    string
	AMR      []string
	AuthTime time.Time
	Expires  time.Time // of the access token (Verify) or of the session (Session)
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
	KeyLife     time.Duration // how long a key signs: 30 days
	Providers   map[string]Provider
	Clients     map[string]Client // Clients(Issuer)
	Logger      *slog.Logger      // none
}

func (c Config) withDefaults() Config {
	c.AccessTTL = cmp.Or(c.AccessTTL, 10*time.Minute)
	c.RefreshTTL = cmp.Or(c.RefreshTTL, 30*24*time.Hour)
	c.RefreshIdle = cmp.Or(c.RefreshIdle, 7*24*time.Hour)
	c.Grace = cmp.Or(c.Grace, 10*time.Second)
	c.KeyLife = cmp.Or(c.KeyLife, 30*24*time.Hour)
	if c.Clients == nil {
		c.Clients = Clients(c.Issuer)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}
