package oidc

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"
)

// FuzzToken reads whatever a header and a payload can be, under a good signature:
// what is accepted is for one clean subject, and says so in exact names.
func FuzzToken(f *testing.F) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		f.Fatal(err)
	}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: public, KeyID: "1"}}})
	if err != nil {
		f.Fatal(err)
	}
	file := filepath.Join(f.TempDir(), "keys.json")
	if err := os.WriteFile(file, set, 0o600); err != nil {
		f.Fatal(err)
	}
	p, err := New(Config{
		Name: "acme", Issuer: "acme", JWKSFile: file, Audience: []string{"a"}, Algorithms: []string{"EdDSA"},
		Apps: []string{"b"}, Require: Require{Scopes: []string{"c"}},
	})
	if err != nil {
		f.Fatal(err)
	}
	const good = `{"iss":"acme","aud":"a","azp":"b","scope":"c","sub":"d","exp":32503680000}`
	for _, header := range []string{`{"alg":"EdDSA","kid":"1"}`, `{"alg":"EdDSA"}`, `{"alg":"none"}`, `{"alg":"EdDSA","typ":"at+jwt","jwk":{}}`, `{"alg":"EdDSA","crit":["b64"],"b64":false}`} {
		for _, payload := range []string{good, `{}`, `[]`, `null`, strings.Replace(good, `"d"`, `"\ud800"`, 1), strings.Replace(good, `"a"`, `["x",["a"],null,1e9]`, 1)} {
			f.Add([]byte(header), []byte(payload))
		}
	}
	f.Fuzz(func(t *testing.T, header, payload []byte) {
		b64 := base64.RawURLEncoding
		signing := b64.EncodeToString(header) + "." + b64.EncodeToString(payload)
		token := signing + "." + b64.EncodeToString(ed25519.Sign(private, []byte(signing)))
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // nobody fetches another key: Run is not running
		who, err := p.Authenticate(ctx, token)
		if err != nil {
			return
		}
		var c map[string]json.RawMessage
		if err := json.Unmarshal(payload, &c); err != nil {
			t.Fatalf("accepted %s", payload)
		}
		if !clean(who.Subject) || !utf8.ValidString(who.Name) || who.Provider != "acme" || c["sub"] == nil || c["exp"] == nil || c["iss"] == nil {
			t.Fatalf("accepted %s %s as %+v", header, payload, who)
		}
	})
}

// FuzzKeySet reads whatever a key endpoint can say: what is kept verifies a
// configured algorithm, and is public.
func FuzzKeySet(f *testing.F) {
	for _, text := range []string{
		`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"1"}]}`,
		`{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"},{"kty":"RSA","n":"AQAB","e":"AQAB"},{"kty":"oct","k":"AAAA"}]}`,
		`{"keys":[null,1,"",{}]}`, `{"keys":{}}`, `[]`, ``, `<html>`,
	} {
		f.Add([]byte(text))
	}
	algorithms := []string{"RS256", "ES256", "EdDSA"}
	f.Fuzz(func(t *testing.T, body []byte) {
		set, err := parseKeys(body, algorithms)
		if err != nil {
			return
		}
		for i := range set.keys {
			key := &set.keys[i]
			if !key.Valid() || !key.IsPublic() || !slices.ContainsFunc(algorithms, func(a string) bool { return verifies(key, a) }) {
				t.Fatalf("kept %v of %s", key.KeyID, body)
			}
		}
	})
}
