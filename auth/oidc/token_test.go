package oidc_test

import (
	"bytes"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"scanlogin/auth"
	"scanlogin/auth/oidc"
)

func TestTokenOfEachAlgorithmOverHTTP(t *testing.T) {
	keys := []signer{ed("1"), ec("2", "ES256", elliptic.P256()), rs("3")}
	i := newIssuer(keys...).serve(t)
	p := run(t, i.config(overHTTP(i)))
	for _, k := range keys {
		accepts(t, p, k.sign(i.good(), nil))
	}
	accepts(t, p, keys[0].sign(i.good(members{"aud": []string{"other", "https://login.example"}, "azp": "acme-app"}), nil))
	accepts(t, p, keys[0].sign(i.good(members{"scope": nil, "scp": []string{"qr-login"}}), members{"typ": "application/AT+JWT"}))
	accepts(t, p, keys[0].sign(i.good(), members{"typ": "JWT", "jku": "https://evil.example", "x5t": "x"}))
}

func TestTokenThatIsNotAsConfigured(t *testing.T) {
	key, now := ed("1"), time.Now().Unix()
	i := newIssuer(key)
	var log bytes.Buffer
	p := run(t, i.config(func(c *oidc.Config) {
		c.MaxAge = time.Hour
		c.Require.Claims = map[string]string{"groups": "staff", "mfa": "true"}
		c.Logger = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}))
	required := members{"groups": []string{"all", "staff"}, "mfa": true}
	accepts(t, p, key.sign(i.good(required), nil))
	for name, wrong := range map[string]members{
		"other issuer":       {"iss": "https://id.evil.example"},
		"issuer with slash":  {"iss": i.url + "/"},
		"no issuer":          {"iss": nil},
		"issuer spelt twice": {"iss": "https://id.evil.example", "i\u017fs": i.url}, // the same to encoding/json
		"other audience":     {"aud": "https://api.acme.example"},
		"no audience":        {"aud": nil},
		"audience in part":   {"aud": "https://login.example.evil"},
		"other app":          {"client_id": "acme-web"},
		"other azp":          {"azp": "acme-web"},
		"azp no string":      {"azp": 1},
		"no app":             {"client_id": nil},
		"no scope":           {"scope": nil},
		"scope in part":      {"scope": "qr-login-not openid"},
		"claim missing":      {"mfa": nil},
		"claim otherwise":    {"mfa": false},
		"not in the list":    {"groups": []string{"all"}},
		"expired":            {"exp": now - 1},
		"no exp":             {"exp": nil},
		"exp otherwise":      {"exp": nil, "EXP": now + 300},
		"exp in words":       {"exp": "never"},
		"exp beyond time":    {"exp": 1e30},
		"from the future":    {"iat": now + 120},
		"not yet":            {"nbf": now + 120},
		"signed in long ago": {"auth_time": now - 3700},
		"signed in unknown":  {"auth_time": nil},
		"signed in later":    {"auth_time": now + 120},
		"bound to a key":     {"cnf": members{"jkt": "x"}},
		"logout token":       {"events": members{}},
		"no subject":         {"sub": nil},
		"subject no string":  {"sub": 7},
		"other spelling":     {"sub": nil, "SUB": "00u1"},
	} {
		t.Run(name, func(t *testing.T) {
			log.Reset()
			token := key.sign(i.good(required, wrong), nil)
			refuses(t, p, token, auth.ErrInvalidCredential)
			_, rest, _ := strings.Cut(token, ".")
			if text := log.String(); !strings.Contains(text, "reason") || strings.Contains(text, rest[:20]) {
				t.Errorf("logged: %s", text)
			}
		})
	}
	for name, typ := range map[string]any{"logout": "logout+jwt", "dpop": "dpop+jwt", "none": 1} {
		t.Run("typ "+name, func(t *testing.T) {
			refuses(t, p, key.sign(i.good(required), members{"typ": typ}), auth.ErrInvalidCredential)
		})
	}
	accepts(t, p, key.sign(i.good(required, members{"iat": now + 50, "nbf": now + 50}), nil))
}

func TestSubjects(t *testing.T) {
	key := ed("1")
	i := newIssuer(key)
	p := run(t, i.config(func(c *oidc.Config) { c.Claims.Subject = "uid" }))
	for subject, good := range map[string]bool{
		"auth0|5f7c8ec7c33c6c004bbafe82": true,
		"urn:acme:7":                     true, // the provider's name has no colon, so the first one ends it
		"张三":                             true,
		strings.Repeat("x", 255):         true,
		strings.Repeat("x", 256):         false,
		"":                               false,
		"a\x00b":                         false,
		"a\nb":                           false,
		"a\u0085b":                       false,
		"a\ufffdb":                       false, // what is left of a lone surrogate
	} {
		who, err := p.Authenticate(t.Context(), key.sign(i.good(members{"uid": subject}), nil))
		if good != (err == nil) || good && (who.Subject != subject || who.Sub() != "acme:"+subject) {
			t.Errorf("%q: %+v, %v", subject, who, err)
		}
		if good && (auth.Principal{Sub: who.Sub()}).Identity().Subject != subject {
			t.Errorf("%q does not come back out of a sub", subject)
		}
	}
	who, err := p.Authenticate(t.Context(), key.sign(i.good(members{"uid": "1", "name": " A\x00\n \u202e\u2067\u2028b\ufffd\t", "picture": "javascript:alert(1)"}), nil))
	if err != nil || who.Name != "A b" || who.Picture != "" {
		t.Errorf("%+v, %v", who, err)
	}
}

// Two halves of different surrogate pairs must not become one person.
func TestAttackSubjectOfLoneSurrogates(t *testing.T) {
	key := ed("1")
	i := newIssuer(key)
	p := run(t, i.config())
	for _, half := range []string{`\ud800`, `\ud801`} {
		payload := strings.Replace(string(must(json.Marshal(i.good()))), "00u1", "a"+half, 1)
		sign := must(jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: key.private}, (&jose.SignerOptions{}).WithHeader("kid", "1")))
		refuses(t, p, must(must(sign.Sign([]byte(payload))).CompactSerialize()), auth.ErrInvalidCredential)
	}
}

func TestAttackAlgorithmConfusion(t *testing.T) {
	rsa, edd, p384 := rs("rsa"), ed("ed"), ec("p384", "ES384", elliptic.P384())
	second := ed("ed2")
	one := rsa.public()
	one.Algorithm = "RS256"
	i := newIssuer()
	i.answer(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{one, edd.public(), second.public(), p384.public()}})
	p := run(t, i.config(func(c *oidc.Config) { c.Algorithms = append(c.Algorithms, "PS384") }))
	b64 := base64.RawURLEncoding
	payload := b64.EncodeToString(must(json.Marshal(i.good())))
	der := must(x509.MarshalPKIXPublicKey(rsa.private.Public()))
	for name, token := range map[string]string{
		"HS256 with the public key": compact(jose.SigningKey{Algorithm: jose.HS256, Key: pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})}, "rsa", i.good(), nil),
		"HS256 with its bytes":      compact(jose.SigningKey{Algorithm: jose.HS256, Key: der}, "rsa", i.good(), nil),
		"none":                      b64.EncodeToString([]byte(`{"alg":"none"}`)) + "." + payload + ".",
		"None with a kid":           b64.EncodeToString([]byte(`{"alg":"None","kid":"rsa"}`)) + "." + payload + ".",
		"alg not configured":        compact(jose.SigningKey{Algorithm: jose.PS256, Key: rsa.private}, "rsa", i.good(), nil),
		"curve not configured":      p384.sign(i.good(), nil),
		"key of another alg":        compact(jose.SigningKey{Algorithm: jose.PS384, Key: rsa.private}, "rsa", i.good(), nil),
		"kid of another alg":        signer{"rsa", "EdDSA", edd.private}.sign(i.good(), nil),
		"key in the header":         compact(jose.SigningKey{Algorithm: jose.EdDSA, Key: ed("x").private}, "ed", i.good(), members{"jwk": ed("x").public()}),
		"no kid, the first of two":  signer{"", "EdDSA", edd.private}.sign(i.good(), nil),
		"no kid, the second of two": signer{"", "EdDSA", second.private}.sign(i.good(), nil),
		"critical":                  edd.sign(i.good(), members{"crit": []string{"x"}, "x": 1}),
		"critical, known to jose":   edd.sign(i.good(), members{"crit": []string{"b64"}, "b64": true}),
		"line breaks":               strings.Replace(edd.sign(i.good(), nil), ".", ".\n", 1),
		"too long":                  edd.sign(i.good(members{"x": strings.Repeat("x", 8<<10)}), nil),
		"other payload":             swapped(edd.sign(i.good(), nil), payload),
		"JSON form":                 `{"payload":"` + payload + `","signatures":[]}`,
		"nothing":                   "",
		"dots":                      "..",
		"opaque":                    "sl_rt_x",
	} {
		t.Run(name, func(t *testing.T) { refuses(t, p, token, auth.ErrInvalidCredential) })
	}
	accepts(t, p, edd.sign(i.good(), nil))
	accepts(t, p, rsa.sign(i.good(), nil))
}

// swapped is a token with another payload.
func swapped(token, payload string) string {
	head, rest, _ := strings.Cut(token, ".")
	_, signature, _ := strings.Cut(rest, ".")
	return head + "." + payload[:len(payload)-4] + "." + signature
}

func TestAttackIssuerSpeaksForAnother(t *testing.T) {
	acmeKey, otherKey := ed("1"), ed("1")
	acme, other := newIssuer(acmeKey), newIssuer(otherKey)
	other.url = "https://id.other.example"
	p := run(t, acme.config())
	refuses(t, p, otherKey.sign(other.good(members{"iss": acme.url}), nil), auth.ErrInvalidCredential)
	refuses(t, p, acmeKey.sign(acme.good(members{"iss": other.url}), nil), auth.ErrInvalidCredential)
	refuses(t, p, acmeKey.sign(acme.good(members{"iss": "https://login.example"}), nil), auth.ErrInvalidCredential)
}

func TestIDTokens(t *testing.T) {
	key := ed("1")
	i := newIssuer(key)
	strict := run(t, i.config())
	open := run(t, i.config(func(c *oidc.Config) { c.IDTokens = true }))
	for name, mark := range map[string]members{
		"nonce": {"nonce": "n"}, "at_hash": {"at_hash": "h"}, "c_hash": {"c_hash": "h"}, "Keycloak": {"typ": "ID"},
		"Cognito": {"token_use": "id"},
	} {
		t.Run(name, func(t *testing.T) {
			token := key.sign(i.good(mark), members{"typ": "JWT"})
			refuses(t, strict, token, auth.ErrInvalidCredential)
			accepts(t, open, token)
			accepts(t, strict, key.sign(i.good(mark), nil)) // RFC 9068 says what it is
		})
	}
	// As Dex makes them: no azp, and the app is the audience.
	single := run(t, i.config(func(c *oidc.Config) {
		c.IDTokens, c.Audience, c.Apps = true, []string{"acme-app", "acme-web"}, []string{"acme-app", "acme-tv"}
		c.Require = oidc.Require{Claims: map[string]string{"email_verified": "true"}}
	}))
	id := members{"client_id": nil, "scope": nil, "at_hash": "h", "email_verified": true, "aud": "acme-app"}
	accepts(t, single, key.sign(i.good(id), members{"typ": "JWT"}))
	refuses(t, single, key.sign(i.good(id, members{"aud": "acme-web"}), members{"typ": "JWT"}), auth.ErrInvalidCredential)
	refuses(t, single, key.sign(i.good(id, members{"aud": []string{"acme-app", "acme-tv"}}), members{"typ": "JWT"}), auth.ErrInvalidCredential)
	refuses(t, single, key.sign(i.good(id), nil), auth.ErrInvalidCredential) // no ID token, and of no app
}
