package auth_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jwt"

	"scanlogin/auth"
)

// Verifiers that nobody here wrote, with nothing but the address of the key
// set and what a resource server knows: the issuer and its own audience.
func TestTokensVerifyElsewhere(t *testing.T) {
	const audience = "https://api.example"
	for _, algorithm := range algorithms {
		t.Run(algorithm, func(t *testing.T) {
			s := service(memory(t), signing(algorithm), func(c *auth.Config) {
				c.Clients = auth.Clients(issuer)
				web := c.Clients["web"]
				web.Audience = audience
				c.Clients["web"] = web
			})
			url := published(t, s)
			verifiers := map[string]func(access string) error{
				"go-oidc": goOIDC(t, url, issuer, audience),
				"jwx":     jwx(t, url, issuer, audience),
			}
			tokens := issue(t, s)
			for name, verify := range verifiers {
				if err := verify(tokens.Access); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				for what, access := range tampered(t, tokens.Access) {
					if verify(access) == nil {
						t.Errorf("%s takes a token with %s", name, what)
					}
				}
			}
			for name, verify := range map[string]func(access string) error{
				"go-oidc, another audience": goOIDC(t, url, issuer, issuer),
				"go-oidc, another issuer":   goOIDC(t, url, audience, audience),
				"jwx, another audience":     jwx(t, url, issuer, issuer),
				"jwx, another issuer":       jwx(t, url, audience, audience),
			} {
				if verify(tokens.Access) == nil {
					t.Errorf("%s: accepted", name)
				}
			}
		})
	}
}

// published serves the key set on loopback.
func published(t *testing.T, s *auth.Service) (url string) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		value, err := s.JWKS(r.Context())
		if err != nil {
			t.Errorf("JWKS: %v", err)
		}
		w.Header().Set("Content-Type", "application/jwk-set+json")
		w.Write(value)
	}))
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		server.Close()
	})
	return server.URL
}

func goOIDC(t *testing.T, url, issuer, audience string) func(access string) error {
	verifier := oidc.NewVerifier(issuer, oidc.NewRemoteKeySet(t.Context(), url), &oidc.Config{
		ClientID:             audience,
		SupportedSigningAlgs: algorithms,
	})
	return func(access string) error {
		_, err := verifier.Verify(t.Context(), access)
		return err
	}
}

func jwx(t *testing.T, url, issuer, audience string) func(access string) error {
	set, err := jwk.Fetch(t.Context(), url)
	if err != nil {
		t.Fatalf("jwx cannot read the key set: %v", err)
	}
	return func(access string) error {
		_, err := jwt.Parse([]byte(access), jwt.WithKeySet(set), jwt.WithIssuer(issuer), jwt.WithAudience(audience))
		return err
	}
}

// tampered are copies of a token with one thing about them changed.
func tampered(t *testing.T, access string) map[string]string {
	segments := strings.Split(access, ".")
	header, claims := parts(t, access)
	signature, err := b64.DecodeString(segments[2])
	if err != nil {
		t.Fatal(err)
	}
	same := func(string) []byte { return signature }
	flipped := bytes.Clone(signature)
	flipped[len(flipped)/2] ^= 1
	return map[string]string{
		"another subject":   compact(t, header, claims.with("sub", "demo:bob"), same),
		"a later end":       compact(t, header, claims.with("exp", claims["exp"].(float64)+3600), same),
		"another key named": compact(t, header.with("kid", strings.Repeat("A", 43)), claims, same),
		"another algorithm": compact(t, header.with("alg", "HS256"), claims, same),
		"alg none":          compact(t, header.with("alg", "none"), claims, func(string) []byte { return nil }),
		"a flipped bit":     segments[0] + "." + segments[1] + "." + b64.EncodeToString(flipped),
		"no signature":      segments[0] + "." + segments[1] + ".",
	}
}
