package web

import (
	"crypto/sha256"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"scanlogin/auth"
	"scanlogin/qrlogin"
)

const deviceCodeGrant = "urn:ietf:params:oauth:grant-type:device_code" // RFC 8628 section 3.4

// tokenWire is RFC 6749 section 5.1.
type tokenWire struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"`
	RefreshToken string `json:"refresh_token"`
	Scope        string `json:"scope"`
}

func tokenAnswer(t auth.Tokens) tokenWire {
	return tokenWire{t.Access, "Bearer", seconds(t.ExpiresIn), t.Refresh, t.Scope}
}

func (s *Server) handleToken(w http.ResponseWriter, r *http.Request) error {
	form, err := decodeForm(w, r)
	if err != nil {
		return err
	}
	tokens, err := s.grant(r, form)
	switch {
	case errors.Is(err, auth.ErrBanned):
		return auth.ErrInvalidGrant // what the session gave is worth nothing any more
	case errors.Is(err, auth.ErrSessionLimit):
		return qrlogin.ErrAccessDenied
	case err != nil:
		return err
	}
	return s.ok(w, http.StatusOK, tokenAnswer(tokens))
}

func (s *Server) grant(r *http.Request, form url.Values) (auth.Tokens, error) {
	grant := form.Get("grant_type")
	if grant == "" {
		return auth.Tokens{}, errInvalidRequest
	}
	client, err := s.authenticateClient(r, form)
	if err != nil {
		return auth.Tokens{}, err
	}
	switch grant {
	case deviceCodeGrant:
		if form.Get("device_code") == "" {
			return auth.Tokens{}, errInvalidRequest
		}
		tokens, err := s.trade(r, func() (bool, error) {
			return s.redeemable(r.Context(), form.Get("device_code"))
		}, func() (auth.Tokens, error) {
			return s.tickets.Redeem(r.Context(), qrlogin.Redemption{
				DeviceCode: form.Get("device_code"), ClientID: client.ID, Verifier: form.Get("code_verifier"),
			})
		})
		if err == nil {
			s.config.Metrics.move("consumed")
		}
		return tokens, err
	case "refresh_token":
		if form.Get("refresh_token") == "" {
			return auth.Tokens{}, errInvalidRequest
		}
		return s.trade(r, func() (bool, error) {
			return s.refreshable(r.Context(), client.ID, form.Get("refresh_token"))
		}, func() (auth.Tokens, error) {
			return s.auth.Refresh(r.Context(), client.ID, form.Get("refresh_token"), form.Get("scope"))
		})
	}
	return auth.Tokens{}, errUnsupportedGrant
}

// nobody is compared with when a client is unknown: a secret that none has, for
// the same answer in the same time.
var nobody = auth.Client{SecretHashes: [][]byte{make([]byte, sha256.Size)}}

// authenticateClient is RFC 6749 section 2.3: HTTP Basic or the body, never
// both. Basic with an empty secret names a public client, which has nothing
// that could be guessed.
func (s *Server) authenticateClient(r *http.Request, form url.Values) (auth.Client, error) {
	id, secret := form.Get("client_id"), form.Get("client_secret")
	if scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " "); strings.EqualFold(scheme, "Basic") {
		user, password, ok := r.BasicAuth()
		if !ok {
			return auth.Client{}, errClientCredentials
		}
		headerID, err1 := url.QueryUnescape(user)
		headerSecret, err2 := url.QueryUnescape(password)
		if err1 != nil || err2 != nil || secret != "" || id != "" && id != headerID {
			return auth.Client{}, errInvalidRequest
		}
		id, secret = headerID, headerSecret
	}
	client, ok := s.config.Clients[id]
	if !ok {
		client = nobody
	}
	if err := s.mayName(r, client); err != nil {
		return auth.Client{}, err
	}
	if !client.Confidential() && secret == "" {
		return client, nil
	}
	return client, s.guess(r, clientSecrets, id, func() error {
		if !client.Authenticate(secret) {
			return errClientCredentials
		}
		return nil
	})
}

// aboutToken reads what a client says about a token: who it is, and which one
// it means.
func (s *Server) aboutToken(w http.ResponseWriter, r *http.Request) (client auth.Client, token string, err error) {
	form, err := decodeForm(w, r)
	if err != nil {
		return client, "", err
	}
	if client, err = s.authenticateClient(r, form); err == nil && form.Get("token") == "" {
		err = errInvalidRequest
	}
	return client, form.Get("token"), err
}

// handleRevoke is RFC 7009: the session of the token ends.
func (s *Server) handleRevoke(w http.ResponseWriter, r *http.Request) error {
	client, token, err := s.aboutToken(w, r)
	if err != nil {
		return err
	}
	if err := s.auth.Revoke(r.Context(), client.ID, token); err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	return nil
}

// introspection is RFC 7662 section 2.2; of a token that stands for nothing,
// only Active.
type introspection struct {
	Active    bool     `json:"active"`
	Scope     string   `json:"scope,omitzero"`
	ClientID  string   `json:"client_id,omitzero"`
	TokenType string   `json:"token_type,omitzero"` // an access token's
	Expires   int64    `json:"exp,omitzero"`        // seconds since 1970, like all times here
	IssuedAt  int64    `json:"iat,omitzero"`
	NotBefore int64    `json:"nbf,omitzero"` // an access token's
	Subject   string   `json:"sub,omitzero"`
	Audience  string   `json:"aud,omitzero"` // an access token's
	Issuer    string   `json:"iss,omitzero"`
	ID        string   `json:"jti,omitzero"` // an access token's
	SID       string   `json:"sid,omitzero"`
	AMR       []string `json:"amr,omitzero"`
	AuthTime  int64    `json:"auth_time,omitzero"`
}

// handleIntrospect is for clients that can prove who they are (RFC 7662 section
// 2.1): what is in a token is nobody else's business.
func (s *Server) handleIntrospect(w http.ResponseWriter, r *http.Request) error {
	client, token, err := s.aboutToken(w, r)
	switch {
	case err != nil:
		return err
	case !client.Confidential():
		return errClientCredentials
	}
	found, err := s.auth.Introspect(r.Context(), client.ID, token)
	if err != nil {
		return err
	}
	return s.ok(w, http.StatusOK, s.introspected(found))
}

func (s *Server) introspected(t auth.Introspection) introspection {
	if !t.Active {
		return introspection{}
	}
	out := introspection{
		Active: true, Scope: t.Scope, ClientID: t.ClientID, Expires: t.Expires.Unix(), IssuedAt: t.IssuedAt.Unix(),
		Subject: t.Sub, Issuer: s.config.PublicURL, SID: t.SID, AMR: t.AMR, AuthTime: t.AuthTime.Unix(),
	}
	if !t.Refresh {
		out.TokenType, out.NotBefore, out.Audience, out.ID = "Bearer", out.IssuedAt, t.Audience, t.ID
	}
	return out
}

// handleUserinfo says who the bearer is.
func (s *Server) handleUserinfo(w http.ResponseWriter, r *http.Request) error {
	p, err := s.asking(r)
	if errors.Is(err, auth.ErrBanned) {
		return auth.ErrInvalidToken // their session has ended
	}
	if err != nil {
		return err
	}
	return s.ok(w, http.StatusOK, struct {
		Sub     string `json:"sub"`
		Name    string `json:"name,omitzero"`
		Picture string `json:"picture,omitzero"`
	}{p.Sub, p.Name, p.Picture})
}

// metadata is RFC 8414 section 2, with RFC 8628 section 4.
type metadata struct {
	Issuer                   string   `json:"issuer"`
	Token                    string   `json:"token_endpoint"`
	DeviceAuthorization      string   `json:"device_authorization_endpoint"`
	Revocation               string   `json:"revocation_endpoint"`
	Introspection            string   `json:"introspection_endpoint"`
	Userinfo                 string   `json:"userinfo_endpoint"`
	JWKS                     string   `json:"jwks_uri"`
	Scopes                   []string `json:"scopes_supported"`
	ResponseTypes            []string `json:"response_types_supported"`
	Grants                   []string `json:"grant_types_supported"`
	TokenAuthMethods         []string `json:"token_endpoint_auth_methods_supported"`
	RevocationAuthMethods    []string `json:"revocation_endpoint_auth_methods_supported"`
	IntrospectionAuthMethods []string `json:"introspection_endpoint_auth_methods_supported"`
	ChallengeMethods         []string `json:"code_challenge_methods_supported"`
}

func (s *Server) handleMetadata(w http.ResponseWriter, r *http.Request) error {
	base, methods := s.config.PublicURL, []string{"none", "client_secret_basic", "client_secret_post"}
	scopes := map[string]bool{}
	for _, client := range s.config.Clients {
		for _, scope := range client.Scopes {
			scopes[scope] = true
		}
	}
	return s.public(w, r, "application/json", frame(metadata{
		Issuer: base, Token: base + "/oauth/token", DeviceAuthorization: base + "/oauth/device_authorization",
		Revocation: base + "/oauth/revoke", Introspection: base + "/oauth/introspect",
		Userinfo: base + "/oauth/userinfo", JWKS: base + "/.well-known/jwks.json",
		Scopes: slices.Sorted(maps.Keys(scopes)), ResponseTypes: []string{},
		Grants:           []string{deviceCodeGrant, "refresh_token"},
		TokenAuthMethods: methods, RevocationAuthMethods: methods, IntrospectionAuthMethods: methods[1:],
		ChallengeMethods: []string{"S256"},
	}))
}

func (s *Server) handleJWKS(w http.ResponseWriter, r *http.Request) error {
	keys, err := s.auth.JWKS(r.Context())
	if err != nil {
		return err
	}
	return s.public(w, r, "application/jwk-set+json", keys)
}
