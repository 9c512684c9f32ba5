package web

import (
	"net/http"
	"net/url"

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
	if err != nil {
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
		tokens, err := s.tickets.Redeem(r.Context(), qrlogin.Redemption{
			DeviceCode: form.Get("device_code"), ClientID: client.ID, Verifier: form.Get("code_verifier"),
		})
		if err == nil {
			s.config.Metrics.move("consumed")
		}
		return tokens, err
	case "refresh_token":
		if form.Get("refresh_token") == "" {
			return auth.Tokens{}, errInvalidRequest
		}
		return s.auth.Refresh(r.Context(), client.ID, form.Get("refresh_token"), form.Get("scope"))
	}
	return auth.Tokens{}, errUnsupportedGrant
}

// authenticateClient is RFC 6749 section 2.3: HTTP Basic or the body, never
// both. All built-in clients are public; Basic with an empty secret names one.
func (s *Server) authenticateClient(r *http.Request, form url.Values) (auth.Client, error) {
	id, secret := form.Get("client_id"), form.Get("client_secret")
	if user, password, ok := r.BasicAuth(); ok {
		headerID, err1 := url.QueryUnescape(user)
		headerSecret, err2 := url.QueryUnescape(password)
		if err1 != nil || err2 != nil || secret != "" || id != "" && id != headerID {
			return auth.Client{}, errInvalidRequest
		}
		id, secret = headerID, headerSecret
	}
	client, ok := s.config.Clients[id]
	if !ok || secret != "" {
		return auth.Client{}, errClientCredentials
	}
	return client, nil
}

// handleUserinfo says who the bearer is.
func (s *Server) handleUserinfo(w http.ResponseWriter, r *http.Request) error {
	token, err := bearer(r, errNoCredential)
	if err != nil {
		return err
	}
	p, err := s.auth.Verify(r.Context(), token)
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
	Issuer              string   `json:"issuer"`
	Token               string   `json:"token_endpoint"`
	DeviceAuthorization string   `json:"device_authorization_endpoint"`
	Userinfo            string   `json:"userinfo_endpoint"`
	JWKS                string   `json:"jwks_uri"`
	Scopes              []string `json:"scopes_supported"`
	ResponseTypes       []string `json:"response_types_supported"`
	Grants              []string `json:"grant_types_supported"`
	AuthMethods         []string `json:"token_endpoint_auth_methods_supported"`
	ChallengeMethods    []string `json:"code_challenge_methods_supported"`
}

func (s *Server) handleMetadata(w http.ResponseWriter, r *http.Request) error {
	base := s.config.PublicURL
	return s.public(w, r, "application/json", frame(metadata{
		Issuer: base, Token: base + "/oauth/token", DeviceAuthorization: base + "/oauth/device_authorization",
		Userinfo: base + "/oauth/userinfo", JWKS: base + "/.well-known/jwks.json",
		Scopes: []string{"openid", "profile", auth.Phone}, ResponseTypes: []string{},
		Grants: []string{deviceCodeGrant, "refresh_token"}, AuthMethods: []string{"none"},
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
