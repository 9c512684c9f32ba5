package auth

import (
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Phone is the built-in client of the signed-in device, and its one scope.
const Phone = "phone"

// OnLimit is what happens to a sign-in beyond a client's MaxSessions.
type OnLimit string

// The two policies.
const (
	EndOldest OnLimit = "end_oldest" // the user's oldest session of this client ends ("replaced")
	Refuse    OnLimit = "refuse"     // ErrSessionLimit
)

// defaultMaxSessions is how many sessions a user may have with one client.
const defaultMaxSessions = 10

// Client is an application that gets tokens. A zero life is the Config's.
type Client struct {
	ID           string
	Name         string   // for people to read
	Kind         string   // web, app or device
	DeviceFlow   bool     // may use the device authorization endpoint of RFC 8628
	Scopes       []string // all it may be given, and what it gets when it names none
	Audience     string   // `aud` of its access tokens; empty: the issuer
	SecretHashes [][]byte // SHA-256 of the secrets it may show; none: a public client
	Origins      []string // of pages that may use it, besides those every client has
	AccessTTL    time.Duration
	RefreshTTL   time.Duration
	RefreshIdle  time.Duration
	MaxSessions  int     // of one user; 0: 10
	OnLimit      OnLimit // empty: EndOldest
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

func (c Client) most() int { return cmp.Or(c.MaxSessions, defaultMaxSessions) }

// Confidential says whether the client has a secret to show (RFC 6749 section 2.1).
func (c Client) Confidential() bool { return len(c.SecretHashes) > 0 }

// Authenticate checks a secret in the same time for right, wrong and unknown
// ones. An empty secret is a public client's.
func (c Client) Authenticate(secret string) bool {
	if !c.Confidential() {
		return secret == ""
	}
	sum, good := sha256.Sum256([]byte(secret)), 0
	for _, known := range c.SecretHashes {
		good |= subtle.ConstantTimeCompare(sum[:], known)
	}
	return good == 1
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

func (c Client) audience(issuer string) string { return cmp.Or(c.Audience, issuer) }

// lives are how long what a client is given lasts.
type lives struct {
	access   time.Duration // an access token
	absolute time.Duration // a session, however busy
	idle     time.Duration // a session since it was last used
}

// lives are the client's own, where it has them.
func (c Client) lives(general Config) lives {
	return lives{
		access:   cmp.Or(c.AccessTTL, general.AccessTTL),
		absolute: cmp.Or(c.RefreshTTL, general.RefreshTTL),
		idle:     cmp.Or(c.RefreshIdle, general.RefreshIdle),
	}
}

// longestAccess is how long a key may have to verify after it last signed.
func (c Config) longestAccess() time.Duration {
	longest := c.AccessTTL
	for _, client := range c.Clients {
		longest = max(longest, client.lives(c).access)
	}
	return longest
}
