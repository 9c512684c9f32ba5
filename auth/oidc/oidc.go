package oidc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"scanlogin/auth"
)

const maxToken = 8 << 10 // characters, looked at before anything is parsed

// Client asks others for us. Its errors hold no secrets, and end up in the log.
type Client interface {
	// Get gives the body of a good answer. name is the upstream's, for metrics
	// and the breaker.
	Get(ctx context.Context, name, url string) ([]byte, error)
}

// Config of one issuer. Without JWKSURL and JWKSFile its keys are found by
// OpenID Connect Discovery.
type Config struct {
	Name       string   // of the provider, in `sub`: [a-z0-9-], at most 32
	Issuer     string   // `iss`, exactly
	PublicURL  string   // our own issuer, which Issuer cannot be
	JWKSURL    string   // of the key set
	JWKSFile   string   // with the key set; read again like a URL
	Audience   []string // one of them must be in `aud`
	Algorithms []string // asymmetric ones: RS256, ES256, EdDSA and their like
	Apps       []string // phone apps: what `azp` or `client_id` may be
	Require    Require  // at least one thing
	Claims     Claims
	MaxAge     time.Duration // since `auth_time`, which is then required; 0: any
	IDTokens   bool          // ID tokens are accepted too
	Sessions   bool          // tokens may be traded for sessions, which outlive them; not with MaxAge
	Client     Client        // required without JWKSFile
	Logger     *slog.Logger  // none
}

// Require is what must be in a token besides.
type Require struct {
	Scopes []string          // all of them
	Claims map[string]string // name to value; of a list, one member
}

// Claims are the names of those that say who it is.
type Claims struct {
	Subject string // sub
	Name    string // name
	Picture string // picture
}

// Provider is one configured issuer; it implements auth.Trader.
type Provider struct {
	config     Config
	algorithms []jose.SignatureAlgorithm
	keys       *keys
}

var providerName = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)

// New checks the configuration and reads JWKSFile; nothing else is asked until
// Run. An error names the field as the configuration file spells it.
func New(c Config) (*Provider, error) {
	c.Claims.Subject = cmp.Or(c.Claims.Subject, "sub")
	c.Claims.Name = cmp.Or(c.Claims.Name, "name")
	c.Claims.Picture = cmp.Or(c.Claims.Picture, "picture")
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("oidc: %s: %w", cmp.Or(c.Name, c.Issuer), err)
	}
	p := &Provider{config: c}
	for _, name := range c.Algorithms {
		p.algorithms = append(p.algorithms, jose.SignatureAlgorithm(name))
	}
	p.keys = newKeys(c)
	if c.JWKSFile != "" {
		if err := p.keys.fetch(context.Background()); err != nil {
			return nil, fmt.Errorf("oidc: %s: jwks_file: %w", c.Name, err)
		}
	}
	return p, nil
}

func (c Config) check() error {
	switch {
	case !providerName.MatchString(c.Name):
		return errors.New("name: 1 to 32 of a-z, 0-9 and - are wanted")
	case c.Issuer == "":
		return errors.New("issuer is missing")
	case strings.EqualFold(strings.TrimRight(c.Issuer, "/"), strings.TrimRight(c.PublicURL, "/")):
		return errors.New("issuer is our own public URL")
	case c.JWKSURL != "" && c.JWKSFile != "":
		return errors.New("jwks_url and jwks_file: only one is wanted")
	case c.JWKSURL != "" && !secure(c.JWKSURL):
		return errors.New("jwks_url is not an https URL")
	case c.JWKSURL == "" && c.JWKSFile == "" && (!secure(c.Issuer) || strings.Contains(c.Issuer, "?")):
		return errors.New("issuer is not an https URL without a query, which finding its keys by discovery needs")
	case c.JWKSFile == "" && c.Client == nil:
		return errors.New("client is missing")
	case len(c.Audience) == 0 || slices.Contains(c.Audience, ""):
		return errors.New("audience is missing")
	case len(c.Algorithms) == 0:
		return errors.New("algorithms are missing")
	case slices.ContainsFunc(c.Algorithms, func(name string) bool { return !asymmetric(name) }):
		return errors.New("algorithms: only asymmetric ones are wanted, such as RS256, ES256 or EdDSA")
	case len(c.Apps) == 0 || slices.Contains(c.Apps, ""):
		return errors.New("apps are missing")
	case len(c.Require.Scopes)+len(c.Require.Claims) == 0:
		return errors.New("require is missing: a scope or a claim that only tokens for phones have")
	case slices.ContainsFunc(c.Require.Scopes, func(scope string) bool { return scope == "" || strings.ContainsFunc(scope, unicode.IsSpace) }):
		return errors.New("require.scopes: a scope is empty or has a space in it: write a list")
	case c.MaxAge < 0:
		return errors.New("max_age is negative")
	case c.MaxAge > 0 && c.Sessions:
		return errors.New("max_age and sessions: only one is wanted, a session goes on for longer")
	}
	return nil
}

// secure says whether what comes from an address can be trusted: https, or from
// this machine.
func secure(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	loopback := u.Hostname() == "localhost" || err == nil && ip.IsLoopback()
	return u.Scheme == "https" || u.Scheme == "http" && loopback
}

// Issuer is the `iss` of its tokens.
func (p *Provider) Issuer() string { return p.config.Issuer }

// Sessions says whether its tokens may be traded for sessions.
func (p *Provider) Sessions() bool { return p.config.Sessions }

// Run asks for the issuer's keys, at once and whenever that is due, until ctx
// ends. Without it no keys but those of JWKSFile are known.
func (p *Provider) Run(ctx context.Context) error {
	p.keys.run(ctx)
	return nil
}

// Authenticate says whose token it is: auth.ErrInvalidCredential for every one
// that is not as configured, auth.ErrProviderBusy if the issuer had to be asked
// for its key and could not be.
func (p *Provider) Authenticate(ctx context.Context, token string) (auth.Identity, error) {
	who, err := p.authenticate(ctx, token)
	switch {
	case errors.Is(err, auth.ErrProviderBusy):
		return auth.Identity{}, err
	case err != nil:
		p.config.Logger.DebugContext(ctx, "a token was refused", "provider", p.config.Name, "reason", err)
		return auth.Identity{}, auth.ErrInvalidCredential
	}
	return who, nil
}

func (p *Provider) authenticate(ctx context.Context, token string) (auth.Identity, error) {
	// Line breaks are named because base64 decoding skips them.
	if len(token) > maxToken || strings.ContainsAny(token, "\r\n") {
		return auth.Identity{}, errors.New("too long, or with line breaks")
	}
	parsed, err := jose.ParseSignedCompact(token, p.algorithms)
	if err != nil {
		return auth.Identity{}, errors.New("not a signed token, or its algorithm is not configured")
	}
	header := parsed.Signatures[0].Protected
	typ, err := checkHeader(header)
	if err != nil {
		return auth.Identity{}, err
	}
	key, err := p.keys.find(ctx, header.KeyID, header.Algorithm)
	if err != nil {
		return auth.Identity{}, err
	}
	verifier := oidc.NewVerifier(p.config.Issuer, signed{parsed, key, p.keys}, &oidc.Config{
		SkipClientIDCheck:    true, // one audience is all it could check
		SupportedSigningAlgs: p.config.Algorithms,
	})
	verified, err := verifier.Verify(ctx, token)
	if err != nil {
		return auth.Identity{}, err
	}
	var c claims
	if err := verified.Claims(&c); err != nil {
		return auth.Identity{}, err
	}
	if err := p.check(typ, c, time.Now()); err != nil {
		return auth.Identity{}, err
	}
	return p.identity(c)
}

// signed is the key set that go-oidc is given: the one key that the token may
// be signed with.
type signed struct {
	parsed *jose.JSONWebSignature
	key    *jose.JSONWebKey
	keys   *keys
}

// VerifySignature looks at what was parsed from the same token. A key may have
// followed another under its kid, or without one: a signature that is not this
// key's is tried once more, with the newest.
func (s signed) VerifySignature(ctx context.Context, _ string) ([]byte, error) {
	payload, err := s.parsed.Verify(s.key)
	if err == nil {
		return payload, nil
	}
	header := s.parsed.Signatures[0].Protected
	newest, missing := s.keys.renewed(ctx, header.KeyID, header.Algorithm)
	if missing != nil || newest == s.key { // the set is the same
		return nil, err
	}
	return s.parsed.Verify(newest)
}

// checkHeader gives `typ` in lower case, without "application/" (RFC 7515
// section 4.1.9).
func checkHeader(header jose.Header) (typ string, err error) {
	for _, name := range []jose.HeaderKey{"crit", "b64"} {
		if _, has := header.ExtraHeaders[name]; has {
			return "", fmt.Errorf("the header has %q", name)
		}
	}
	value, has := header.ExtraHeaders[jose.HeaderType]
	typ, ok := value.(string)
	if has && !ok {
		return "", errors.New("typ is no string")
	}
	typ = strings.TrimPrefix(strings.ToLower(typ), "application/")
	if !slices.Contains([]string{"", "jwt", accessType}, typ) {
		return "", fmt.Errorf("typ is %.40q", typ)
	}
	return typ, nil
}

// source says where the key set comes from.
func (c Config) source() func(context.Context) ([]byte, error) {
	name := "oidc." + c.Name
	switch {
	case c.JWKSFile != "":
		return func(context.Context) ([]byte, error) { return os.ReadFile(c.JWKSFile) }
	case c.JWKSURL != "":
		return func(ctx context.Context) ([]byte, error) { return c.Client.Get(ctx, name, c.JWKSURL) }
	}
	return func(ctx context.Context) ([]byte, error) {
		found, err := c.Client.Get(ctx, name, strings.TrimRight(c.Issuer, "/")+"/.well-known/openid-configuration")
		if err != nil {
			return nil, fmt.Errorf("discovery: %w", err)
		}
		address, err := c.discovered(found)
		if err != nil {
			return nil, fmt.Errorf("discovery: %w", err)
		}
		return c.Client.Get(ctx, name, address)
	}
}
