package main

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"scanlogin/qrlogin/backend"
)

// signer is the key that the instances sign with.
func (r *redisServer) signer(t *testing.T) ed25519.PrivateKey {
	t.Helper()
	store, err := backend.OpenRedis(backend.RedisConfig{URL: r.url(), Prefix: "scanlogin:", Secret: []byte(testSecret)})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	value, _, err := store.Load(t.Context(), "signing-keys")
	if err != nil {
		t.Fatal(err)
	}
	var ring struct{ Current struct{ DER []byte } }
	if err := json.Unmarshal(value, &ring); err != nil {
		t.Fatal(err)
	}
	key, err := x509.ParsePKCS8PrivateKey(ring.Current.DER)
	if err != nil {
		t.Fatal(err)
	}
	return key.(ed25519.PrivateKey)
}

// altered is a part of a token with members changed, or, where they are nil, left out.
func altered(t *testing.T, part, changes map[string]any) string {
	t.Helper()
	part = maps.Clone(part)
	maps.Copy(part, changes)
	maps.DeleteFunc(part, func(_ string, value any) bool { return value == nil })
	return segment(t, part)
}

// forge makes a token like a genuine one, but for what is changed in it.
func forge(t *testing.T, key ed25519.PrivateKey, genuine string, head, claims map[string]any) string {
	t.Helper()
	was := map[string]any{}
	if err := json.Unmarshal(decoded(t, strings.Split(genuine, ".")[1]), &was); err != nil {
		t.Fatal(err)
	}
	signed := altered(t, header(t, genuine), head) + "." + altered(t, was, claims)
	return signed + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(key, []byte(signed)))
}

// refusedAtEveryDoor shows tokens wherever an access token is taken, to both instances.
func (p *pair) refusedAtEveryDoor(l login, tokens map[string]string) {
	p.t.Helper()
	doors := [][2]string{{"GET", "/v1/sessions"}, {"POST", "/v1/scan"}, {"GET", "/oauth/userinfo"}, {"POST", "/v1/tickets/" + l.id + "/confirm"}, {"GET", "/v1/tickets/" + l.id + "/decision"}}
	p.untouched(l, func() {
		for name, token := range tokens {
			for _, door := range doors {
				p.both(name, 401, "invalid_token", door[0], door[1], "", bearerOf(token)...)
			}
		}
	})
}

// T28, B15, B29, B30, B32: what was not signed here is nothing, whatever it
// says of how it is to be checked. (That nobody is asked for a key and no memory is kept
// is shown by TestForgedTokensOpenNoDoor.)
func TestForgedAndForeignTokensAreRefused(t *testing.T) {
	p := startPair(t)
	phone := p.turn().signIn("alice")
	l := p.turn().create()
	p.turn().scan(&l, phone)
	k := p.turn().login(phone)

	parts := strings.Split(k.access, ".")
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	with := func(head map[string]any) string { return altered(t, header(t, k.access), head) }
	own := func(head map[string]any) string { return forge(t, private, k.access, head, nil) }
	keys := p.turn().do(200, "GET", "/.well-known/jwks.json", "", nil).body["keys"].([]any)
	confused := with(map[string]any{"alg": "HS256"}) + "." + parts[1]
	mac := hmac.New(sha256.New, decoded(t, keys[0].(map[string]any)["x"].(string)))
	mac.Write([]byte(confused))
	p.refusedAtEveryDoor(l, map[string]string{
		"alg none": with(map[string]any{"alg": "none"}) + "." + parts[1] + ".", "alg None": with(map[string]any{"alg": "None"}) + "." + parts[1] + "." + parts[2],
		"HS256 with the public key": confused + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)),
		"RS256":                     with(map[string]any{"alg": "RS256"}) + "." + parts[1] + "." + parts[2],
		"another key":               own(nil),
		"an embedded key":           own(map[string]any{"jwk": map[string]any{"kty": "OKP", "crv": "Ed25519", "x": base64.RawURLEncoding.EncodeToString(public)}}),
		"jku":                       own(map[string]any{"jku": "https://evil.test/jwks.json"}), "kid is a path": own(map[string]any{"kid": "../../etc/passwd"}),
		"another sub": parts[0] + "." + segment(t, map[string]any{"sub": "demo:bob"}) + "." + parts[2], "another header": with(map[string]any{"x": 1}) + "." + parts[1] + "." + parts[2],
		"two parts": parts[0] + "." + parts[1], "four parts": k.access + ".x", "padding": k.access + "=", "JSON": `{"payload":"` + parts[1] + `"}`,
		"a refresh token": k.refresh, "a device_code": l.deviceCode, "a confirm_token": l.confirmToken,
	})
	// B15: a browser that was signed in by a scan signs in nobody else.
	p.untouched(l, func() {
		for _, path := range []string{"/v1/scan", "/v1/tickets/" + l.id + "/confirm", "/v1/tickets/" + l.id + "/deny"} {
			p.both("a browser's token", 403, "phone_token_required", "POST", path, asJSON(t, l.decision()), bearerOf(k.access)...)
		}
	})
	for _, api := range p.api {
		api.alive(k.access)
	}
}

// T29, B31-B33: a signature of ours is not all: tokens that our own key has signed, with
// one thing each that is wrong for an access token of this client.
func TestSignedTokensForAnotherPurposeAreRefused(t *testing.T) {
	p := startPair(t, "SCANLOGIN_CONFIG="+configFile(t, "clients: {shop: {name: Shop, audience: https://api.shop.example}}\n"))
	phone, bob := p.turn().signIn("alice"), p.turn().signIn("bob")
	l := p.turn().create()
	p.turn().scan(&l, phone)
	k := p.turn().login(phone)
	key, now := p.redis.signer(t), time.Now().Unix()
	keys := p.turn().do(200, "GET", "/.well-known/jwks.json", "", nil).body["keys"].([]any)
	tokens := map[string]string{}
	for name, member := range map[string]map[string]any{
		"typ JWT": {"typ": "JWT"}, "no typ": {"typ": nil}, "typ of an ID token": {"typ": "id+jwt"}, "typ a list": {"typ": []string{"at+jwt"}},
		"crit": {"crit": []string{"x"}}, "crit of what is there": {"crit": []string{"exp"}}, "crit b64": {"crit": []string{"b64"}, "b64": true},
		"jku": {"jku": "https://evil.test/jwks.json"}, "jwk": {"jwk": keys[0]}, "x5u": {"x5u": "https://evil.test/"}, "a member of its own": {"x": 1},
		"no kid": {"kid": nil}, "kid is a path": {"kid": "../../etc/passwd"}, "kid a number": {"kid": 0},
		"ES256 for this kid": {"alg": "ES256"}, "RS256 for this kid": {"alg": "RS256"}, "HS256 for this kid": {"alg": "HS256"}, "none for this kid": {"alg": "none"}, "no alg": {"alg": nil},
	} {
		tokens[name] = forge(t, key, k.access, member, nil)
	}
	for _, other := range keys { // signed by one key, said to be of the other
		if kid := other.(map[string]any)["kid"]; kid != header(t, k.access)["kid"] {
			tokens["the kid of another key"] = forge(t, key, k.access, map[string]any{"kid": kid}, nil)
		}
	}
	for name, claim := range map[string]map[string]any{
		"no exp": {"exp": nil}, "exp 0": {"exp": 0}, "exp negative": {"exp": -1}, "exp in words": {"exp": "never"}, "exp 1e300": {"exp": 1e300}, "exp now": {"exp": now}, "exp a list": {"exp": []int64{now + 600}},
		"no nbf": {"nbf": nil}, "nbf 0": {"nbf": 0}, "nbf in an hour": {"nbf": now + 3600}, "no iat": {"iat": nil}, "iat in an hour": {"iat": now + 3600}, "iat in words": {"iat": "today"},
		"no aud": {"aud": nil}, "aud of another client": {"aud": "https://api.shop.example"}, "aud of ours and others": {"aud": []string{publicURL, "https://evil.test"}}, "aud a list": {"aud": []string{publicURL}},
		"aud an object": {"aud": map[string]any{}}, "a client of another aud": {"client_id": "shop"}, "client_id unknown": {"client_id": "nobody"}, "no client_id": {"client_id": nil},
		"no iss": {"iss": nil}, "iss of another": {"iss": "https://evil.test"}, "iss almost ours": {"iss": publicURL + "/"},
		"no sub": {"sub": nil}, "sub empty": {"sub": ""}, "sub of another": {"sub": "demo:bob"}, "no jti": {"jti": nil},
		"no sid": {"sid": nil}, "sid unknown": {"sid": strings.Repeat("A", 22)}, "sid of another": {"sid": claim(t, bob, "sid")},
	} {
		tokens[name] = forge(t, key, k.access, nil, claim)
	}
	if tokens["the kid of another key"] == "" {
		t.Error("there is no other key")
	}
	genuine := forge(t, key, k.access, nil, nil)
	for _, api := range p.api { // or nothing would be shown
		api.alive(genuine)
	}
	p.refusedAtEveryDoor(l, tokens)
	for _, api := range p.api {
		api.alive(genuine)
	}
}
