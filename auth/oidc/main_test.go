package oidc_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"go.uber.org/goleak"

	"scanlogin/auth"
	"scanlogin/auth/oidc"
	"scanlogin/auth/outbound"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type members = map[string]any

// signer is a key of an issuer.
type signer struct {
	kid, alg string
	private  crypto.Signer
}

func ed(kid string) signer {
	_, private, err := ed25519.GenerateKey(nil)
	return signer{kid, "EdDSA", must(private, err)}
}

func ec(kid, alg string, curve elliptic.Curve) signer {
	return signer{kid, alg, must(ecdsa.GenerateKey(curve, rand.Reader))}
}

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })

func rs(kid string) signer { return signer{kid, "RS256", rsaKey()} }

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func (s signer) public() jose.JSONWebKey {
	return jose.JSONWebKey{Key: s.private.Public(), KeyID: s.kid, Use: "sig"}
}

// sign makes a token with a header of its own.
func (s signer) sign(claims members, header members) string {
	return compact(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(s.alg), Key: s.private}, s.kid, claims, header)
}

func compact(key jose.SigningKey, kid string, claims, header members) string {
	options := (&jose.SignerOptions{}).WithType("at+jwt")
	if kid != "" {
		options = options.WithHeader("kid", kid)
	}
	for name, value := range header {
		options = options.WithHeader(jose.HeaderKey(name), value)
	}
	return must(must(must(jose.NewSigner(key, options)).Sign(must(json.Marshal(claims)))).CompactSerialize())
}

// issuer is an OpenID provider as far as anybody needs who verifies its tokens.
type issuer struct {
	url     string
	fetches atomic.Int64 // of the key set

	mu        sync.Mutex
	hold      chan struct{} // the key set is not given before it is closed; nil: at once
	set       any           // the key set
	down      bool
	discovery members
}

func newIssuer(keys ...signer) *issuer {
	i := &issuer{url: "https://id.acme.example"}
	i.publish(keys...)
	return i
}

// serve has the issuer listen on loopback.
func (i *issuer) serve(t *testing.T) *issuer {
	server := httptest.NewServer(i)
	t.Cleanup(server.Close)
	i.url = server.URL
	return i
}

func (i *issuer) publish(keys ...signer) {
	var set jose.JSONWebKeySet
	for _, k := range keys {
		set.Keys = append(set.Keys, k.public())
	}
	i.answer(set)
}

// answer is what the key endpoint says from now on.
func (i *issuer) answer(set any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.set = set
}

func (i *issuer) die(down bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.down = down
}

// mute has the key endpoint answer nobody until what it gives is closed.
func (i *issuer) mute() chan struct{} {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.hold = make(chan struct{})
	return i.hold
}

func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var answer any
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		answer = members{"issuer": i.url, "jwks_uri": i.url + "/keys"}
	case "/keys":
		i.fetches.Add(1)
		i.mu.Lock()
		hold := i.hold
		i.mu.Unlock()
		if hold != nil {
			select {
			case <-hold:
			case <-r.Context().Done():
				return
			}
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case i.down:
		w.WriteHeader(http.StatusBadGateway)
		return
	case answer == nil:
		answer = i.set
	case i.discovery != nil:
		maps.Copy(answer.(members), i.discovery)
	}
	if text, ok := answer.(string); ok {
		w.Write([]byte(text))
		return
	}
	must(0, json.NewEncoder(w).Encode(answer))
}

// Get asks the issuer without a network, for tests in virtual time.
func (i *issuer) Get(ctx context.Context, _, address string) ([]byte, error) {
	w := httptest.NewRecorder()
	i.ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", must(url.Parse(address)).Path, nil))
	if ctx.Err() != nil || w.Code != http.StatusOK {
		return nil, errors.New("no answer")
	}
	return w.Body.Bytes(), nil
}

// config is one that takes good tokens.
func (i *issuer) config(change ...func(*oidc.Config)) oidc.Config {
	c := oidc.Config{
		Name: "acme", Issuer: i.url, PublicURL: "https://login.example",
		Audience: []string{"https://login.example"}, Algorithms: []string{"EdDSA", "ES256", "RS256"},
		Apps: []string{"acme-app"}, Require: oidc.Require{Scopes: []string{"qr-login"}},
		Client: i,
	}
	for _, f := range change {
		f(&c)
	}
	return c
}

// run makes a provider and keeps it running until the test ends.
func run(t *testing.T, c oidc.Config) *oidc.Provider {
	t.Helper()
	p, err := oidc.New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); p.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return p
}

// overHTTP has the keys come by the client that the program uses.
func overHTTP(i *issuer) func(*oidc.Config) {
	host := must(url.Parse(i.url)).Host
	return func(c *oidc.Config) { c.Client = outbound.New(outbound.Config{Hosts: []string{host}}) }
}

// good are claims that nothing is wrong with.
func (i *issuer) good(change ...members) members {
	now := time.Now().Unix()
	claims := members{
		"iss": i.url, "aud": "https://login.example", "sub": "00u1", "name": "Alice Liddell",
		"picture": "https://acme.example/a.png", "client_id": "acme-app", "scope": "openid qr-login",
		"iat": now, "exp": now + 300, "auth_time": now - 60, "jti": "1",
	}
	for _, c := range change {
		for name, value := range c {
			if claims[name] = value; value == nil {
				delete(claims, name)
			}
		}
	}
	return claims
}

var alice = auth.Identity{Provider: "acme", Subject: "00u1", Name: "Alice Liddell", Picture: "https://acme.example/a.png"}

func accepts(t *testing.T, p *oidc.Provider, token string) {
	t.Helper()
	if who, err := p.Authenticate(t.Context(), token); err != nil || who != alice {
		t.Errorf("%+v, %v; want Alice", who, err)
	}
}

func refuses(t *testing.T, p *oidc.Provider, token string, want error) {
	t.Helper()
	if who, err := p.Authenticate(t.Context(), token); !errors.Is(err, want) || who != (auth.Identity{}) {
		t.Errorf("%+v, %v; want %v", who, err, want)
	}
}
