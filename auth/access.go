package auth

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	accessType = "at+jwt" // RFC 9068 section 2.1
	maxAccess  = 8 << 10  // characters, looked at before anything is parsed
)

// claims of an access token (RFC 9068 section 2.2). The types are stricter
// than RFC 7519: only tokens made here are read here, so one audience is one
// string and every time is a whole number of seconds.
type claims struct {
	Issuer    string   `json:"iss"`
	Audience  string   `json:"aud"`
	Subject   string   `json:"sub"`
	ClientID  string   `json:"client_id"`
	SID       string   `json:"sid"`
	ID        string   `json:"jti"`
	IssuedAt  int64    `json:"iat"`
	NotBefore int64    `json:"nbf"`
	Expires   int64    `json:"exp"`
	AuthTime  int64    `json:"auth_time"`
	Scope     string   `json:"scope"`
	AMR       []string `json:"amr,omitempty"`
}

func (c *claims) GetIssuer() (string, error)                   { return c.Issuer, nil }
func (c *claims) GetSubject() (string, error)                  { return c.Subject, nil }
func (c *claims) GetAudience() (jwt.ClaimStrings, error)       { return jwt.ClaimStrings{c.Audience}, nil }
func (c *claims) GetIssuedAt() (*jwt.NumericDate, error)       { return date(c.IssuedAt), nil }
func (c *claims) GetNotBefore() (*jwt.NumericDate, error)      { return date(c.NotBefore), nil }
func (c *claims) GetExpirationTime() (*jwt.NumericDate, error) { return date(c.Expires), nil }

// date makes a missing time and a zero one the same: missing.
func date(seconds int64) *jwt.NumericDate {
	if seconds == 0 {
		return nil
	}
	return &jwt.NumericDate{Time: time.Unix(seconds, 0)}
}

// Validate is called by the parser after the signature and the registered
// claims were found good. The leeway is for tokens from a clock that is ahead;
// their end is taken at its word, because an early one costs only a refresh.
func (c *claims) Validate() error {
	if time.Now().Unix() >= c.Expires {
		return jwt.ErrTokenExpired
	}
	if c.IssuedAt == 0 || c.Subject == "" || c.ClientID == "" || c.SID == "" || c.ID == "" {
		return jwt.ErrTokenRequiredClaimMissing
	}
	return nil
}

// newParser has every check that the library offers; checkHeader and audience
// are those that it does not.
func newParser(c Config) *jwt.Parser {
	var audiences []string
	for _, client := range c.Clients {
		audiences = append(audiences, client.audience(c.Issuer))
	}
	return jwt.NewParser(
		jwt.WithValidMethods(algorithms),
		jwt.WithIssuer(c.Issuer),
		jwt.WithAudience(audiences...),
		jwt.WithExpirationRequired(),
		jwt.WithNotBeforeRequired(),
		jwt.WithIssuedAt(),
		jwt.WithLeeway(leeway),
		jwt.WithStrictDecoding(),
	)
}

// sign makes an access token for a session, good for as long as the client's
// tokens are or the session itself, whichever is less.
func (s *Service) sign(with *ring, sub string, session *session, scope string) (string, time.Duration, error) {
	issued := time.Now().Truncate(time.Second)
	expires := issued.Add(s.limits.of(session.ClientID).access)
	if ends := session.ends(s.limits); ends.Before(expires) {
		expires = ends
	}
	// A life of less than a second would be told as none: whole seconds, one at
	// the least. The session's end is looked up with every use anyway.
	expires = later(expires.Truncate(time.Second), issued.Add(time.Second))
	token := jwt.NewWithClaims(jwt.GetSigningMethod(with.Current.Algorithm), &claims{
		Issuer:    s.config.Issuer,
		Audience:  s.config.Clients[session.ClientID].audience(s.config.Issuer),
		Subject:   sub,
		ClientID:  session.ClientID,
		SID:       session.SID,
		ID:        rand.Text(),
		IssuedAt:  issued.Unix(),
		NotBefore: issued.Unix(),
		Expires:   expires.Unix(),
		AuthTime:  time.UnixMilli(session.AuthTime).Unix(),
		Scope:     scope,
		AMR:       session.AMR,
	})
	token.Header = map[string]any{"typ": accessType, "alg": with.Current.Algorithm, "kid": with.Current.id}
	access, err := token.SignedString(with.Current.private)
	if err != nil {
		return "", 0, fmt.Errorf("auth: access token: %w", err)
	}
	return access, expires.Sub(issued), nil
}

// parse reads an access token of ours: ErrInvalidToken for every other one,
// the store's error when the keys cannot be had.
func (s *Service) parse(ctx context.Context, access string) (*claims, error) {
	// Line breaks are named because base64 decoding skips them.
	if len(access) > maxAccess || strings.ContainsAny(access, "\r\n") {
		return nil, ErrInvalidToken
	}
	var keyErr error
	c := &claims{}
	_, err := s.parser.ParseWithClaims(access, c, func(token *jwt.Token) (any, error) {
		kid, ok := checkHeader(token.Header)
		if !ok {
			return nil, ErrInvalidToken
		}
		var found *key
		if found, keyErr = s.keys.find(ctx, kid); keyErr != nil {
			return nil, keyErr
		}
		if found.Algorithm != token.Method.Alg() {
			return nil, ErrInvalidToken // one key, one algorithm (RFC 8725 section 3.1)
		}
		return found.public(), nil
	})
	switch {
	case keyErr != nil && !errors.Is(keyErr, ErrInvalidToken):
		return nil, keyErr
	case err != nil:
		return nil, ErrInvalidToken
	}
	client, ok := s.config.Clients[c.ClientID]
	if !ok || c.Audience != client.audience(s.config.Issuer) {
		return nil, ErrInvalidToken
	}
	return c, nil
}

// checkHeader wants exactly the header that sign writes (parse sees to
// `alg`). Every other member is refused, so that no `crit`, `jwk`, `jku`, `x5u`,
// `x5c` or `b64`, and nothing yet to be invented, has a say in how the token is
// checked (RFC 8725 section 3.10).
func checkHeader(header map[string]any) (kid string, ok bool) {
	kid, ok = header["kid"].(string)
	return kid, ok && len(header) == 3 && header["typ"] == accessType
}
