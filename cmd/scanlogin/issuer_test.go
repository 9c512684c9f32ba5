package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// idp is somebody else's issuer: discovery, a key set, access tokens (RFC 9068).
type idp struct {
	t   *testing.T
	url string
	key jose.JSONWebKey
}

func startIDP(t *testing.T) *idp {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := &idp{t: t, key: jose.JSONWebKey{Key: private, KeyID: "2026-11", Algorithm: "ES256", Use: "sig"}}
	routes := http.NewServeMux()
	server := httptest.NewServer(routes)
	t.Cleanup(server.Close)
	i.url = server.URL
	routes.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(map[string]string{"issuer": i.url, "jwks_uri": i.url + "/keys"})
	})
	routes.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{i.key.Public()}})
	})
	return i
}

// token is an access token of a person's, with other claims over the good ones.
func (i *idp) token(subject string, other map[string]any) string {
	i.t.Helper()
	return i.tokenOf(i.key, subject, other)
}

func (i *idp) tokenOf(key jose.JSONWebKey, subject string, other map[string]any) string {
	i.t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{}).WithType("at+jwt"))
	if err != nil {
		i.t.Fatal(err)
	}
	now := time.Now()
	claims := map[string]any{
		"iss": i.url, "sub": subject, "aud": "https://login.example", "client_id": "acme-app", "scope": "openid qr-login",
		"iat": now.Unix(), "exp": now.Add(10 * time.Minute).Unix(), "name": "Ada Lovelace", "picture": "https://acme.example/ada.png",
	}
	maps.Copy(claims, other)
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		i.t.Fatal(err)
	}
	return token
}

// file is the part of the configuration that makes it an issuer.
func (i *idp) file() string {
	return `
  acme:
    issuer: ` + i.url + `
    audience: https://login.example
    algorithms: [ES256]
    apps: [acme-app]
    require: {scopes: qr-login}
    sessions: true
`
}

// A company's app is the phone with the tokens that it has anyway: on both
// instances, for one login.
func TestTokenOfTheOwnAppIsAPhoneToken(t *testing.T) {
	acme := startIDP(t)
	p := startPair(t, "SCANLOGIN_CONFIG="+configFile(t, "providers:\n"+acme.file()))
	token := acme.token("ada", nil)
	for i := range 2 {
		here, there := p.api[i], p.api[1-i]
		l := here.create()
		here.scan(&l, token)
		there.confirm(l, token)
		tokens := here.do(200, "POST", "/oauth/token", "", redeemForm(l))
		if claim(t, tokens.text("access_token"), "sub") != "acme:ada" {
			t.Errorf("instance %d: sub is %v", i, claim(t, tokens.text("access_token"), "sub"))
		}
		who := there.do(200, "GET", "/oauth/userinfo", tokens.text("access_token"), nil)
		if who.text("sub") != "acme:ada" || who.text("name") != "Ada Lovelace" || who.text("picture") != "https://acme.example/ada.png" {
			t.Errorf("instance %d: %s", i, who.raw)
		}
	}
	// It may be traded for a session of ours too, and ends sessions as a phone does.
	session := p.wants("traded", 200, "", "POST", "/v1/signin/acme", "", map[string]string{"credential": token})
	p.api[0].do(200, "GET", "/v1/sessions", token, nil)
	p.api[1].do(204, "DELETE", "/v1/sessions?others=true", token, nil)
	p.wants("ended", 401, "invalid_token", "GET", "/v1/sessions", session.text("access_token"), nil)

	for name, wrong := range map[string]string{
		"another app": acme.token("ada", map[string]any{"client_id": "newsletter"}), "another audience": acme.token("ada", map[string]any{"aud": "https://api.acme.example"}),
		"no scope": acme.token("ada", map[string]any{"scope": "openid"}), "expired": acme.token("ada", map[string]any{"exp": time.Now().Add(-time.Second).Unix()}),
		"another issuer's": acme.token("ada", map[string]any{"iss": publicURL}), "somebody else's key": acme.tokenOf(startIDP(t).key, "ada", nil),
		"bent": token[:len(token)-4] + "AAAA",
	} {
		l := p.turn().create()
		p.both(name, 401, "invalid_token", "POST", "/v1/scan", asJSON(t, map[string]string{"qr": l.qr}), bearerOf(wrong)...)
		p.both(name+", traded", 401, "invalid_credential", "POST", "/v1/signin/acme", asJSON(t, map[string]string{"credential": wrong}))
	}
	for _, s := range p.all {
		if strings.Contains(s.output(), token) {
			t.Error("the token is in the log")
		}
	}
}

// An operator who asks for it learns why a token is refused, and nobody the token.
func TestReasonOfARefusedTokenIsInTheDebugLog(t *testing.T) {
	acme := startIDP(t)
	config := "SCANLOGIN_CONFIG=" + configFile(t, "log_level: debug\nproviders:\n"+acme.file())
	loud := startServer(t, serveEnv(publicURL, config)).ready(t)
	quiet := startServer(t, serveEnv(publicURL, config, "SCANLOGIN_LOG_LEVEL=info")).ready(t)
	refused := 0
	for reason, token := range map[string]string{
		`azp and client_id are [\"newsletter\"]`: acme.token("ada", map[string]any{"client_id": "newsletter"}),
		`aud is [\"https://api.acme.example\"]`:  acme.token("ada", map[string]any{"aud": "https://api.acme.example"}),
		`scope \"qr-login\" is missing`:          acme.token("ada", map[string]any{"scope": "openid"}),
		`token is expired`:                       acme.token("ada", map[string]any{"exp": time.Now().Add(-time.Second).Unix()}),
	} {
		refused++
		for _, s := range []*server{loud, quiet} {
			newCaller(t, s.url).do(401, "GET", "/v1/sessions", token, nil)
			eventually(t, 5*time.Second, "the request is in the log", func() bool {
				return strings.Count(s.output(), `"status":401`) == refused
			})
			if said := strings.Contains(s.output(), reason); said != (s == loud) {
				t.Errorf("%s: in the log: %t\n%s", reason, said, s.output())
			}
			for _, part := range strings.Split(token, ".")[1:] {
				if strings.Contains(s.output(), part) {
					t.Errorf("%s: the token is in the log", reason)
				}
			}
		}
	}
	t.Setenv("SCANLOGIN_PUBLIC_URL", publicURL)
	t.Setenv("SCANLOGIN_SECRET", testSecret)
	if code, out, _ := command(t, "config", "print", "--log-level=debug"); code != 0 || !strings.Contains(out, "log_level: debug") {
		t.Errorf("exit %d: %s", code, out)
	}
	if code, _, problem := command(t, "config", "check", "--log-level=trace"); code != 2 || !strings.Contains(problem, "log-level") {
		t.Errorf("exit %d: %s", code, problem)
	}
}

// The walk-through of the README, as it is run by people.
func TestPhoneInShell(t *testing.T) {
	acme := startIDP(t)
	s := startCluster(t, 2, "SCANLOGIN_CONFIG="+configFile(t, "providers:\n"+acme.file()))
	api := newCaller(t, s.url)
	run := func(token, qr string) (said string, err error) {
		cmd := exec.CommandContext(t.Context(), "bash", "testdata/phone.sh", qr)
		cmd.Env = append(os.Environ(), "SCANLOGIN_URL="+s.url, "TOKEN="+token)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	l := api.create()
	if out, err := run(acme.token("ada", nil), l.qr); err != nil || !strings.Contains(out, `"status":"confirmed"`) {
		t.Fatalf("%q, %v", out, err)
	}
	if a := api.do(200, "POST", "/oauth/token", "", redeemForm(l)); claim(t, a.text("access_token"), "sub") != "acme:ada" {
		t.Error("somebody else is signed in")
	}
	if out, err := run(acme.token("ada", map[string]any{"scope": "openid"}), api.create().qr); err == nil || !strings.Contains(out, `"invalid_token"`) {
		t.Errorf("%q", out)
	}
}
