package main

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
)

// segment is one part of a JWT.
func segment(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

// Tokens that somebody without our keys can make, at every door that takes an
// access token: 401 each, no memory kept, and nobody asked for a key.
func TestForgedTokensOpenNoDoor(t *testing.T) {
	s := startServer(t, serveEnv("http://login.example")).ready(t)
	api := newCaller(t, s.url)
	phone := api.signIn("alice")
	k := api.login(phone)
	keys := api.do(200, "GET", "/.well-known/jwks.json", "", nil).body["keys"].([]any)
	x, err := base64.RawURLEncoding.DecodeString(keys[0].(map[string]any)["x"].(string))
	if err != nil {
		t.Fatal(err)
	}

	// The attacker's key server counts who comes.
	var asked atomic.Int64
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	attacker := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) })}
	go attacker.Serve(listener)
	defer attacker.Close()
	jku := "http://" + listener.Addr().String() + "/jwks.json"

	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(k.access, ".")
	genuine := header(t, k.access)
	with := func(members map[string]any) string {
		h := maps.Clone(genuine)
		maps.Copy(h, members)
		return segment(t, h)
	}
	sign := func(head string) string {
		signed := head + "." + parts[1]
		return signed + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(private, []byte(signed)))
	}
	hs256 := func(head string, key []byte) string {
		signed := head + "." + parts[1]
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(signed))
		return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	}
	jwk := map[string]any{"kty": "OKP", "crv": "Ed25519", "x": base64.RawURLEncoding.EncodeToString(public)}
	forged := map[string]string{
		"alg none":          with(map[string]any{"alg": "none"}) + "." + parts[1] + ".",
		"alg nOnE":          with(map[string]any{"alg": "nOnE"}) + "." + parts[1] + "." + parts[2],
		"alg HS256":         hs256(with(map[string]any{"alg": "HS256"}), x),
		"alg RS256":         with(map[string]any{"alg": "RS256"}) + "." + parts[1] + "." + parts[2],
		"alg ES256":         with(map[string]any{"alg": "ES256"}) + "." + parts[1] + "." + parts[2],
		"own key":           sign(parts[0]),
		"embedded jwk":      sign(with(map[string]any{"jwk": jwk})),
		"jku":               sign(with(map[string]any{"jku": jku})),
		"x5u":               sign(with(map[string]any{"x5u": jku})),
		"crit":              sign(with(map[string]any{"crit": []string{"exp"}})),
		"unknown kid":       sign(with(map[string]any{"kid": "unknown"})),
		"kid is a path":     sign(with(map[string]any{"kid": "../../../../dev/null"})),
		"kid is a URL":      sign(with(map[string]any{"kid": jku})),
		"typ JWT":           sign(with(map[string]any{"typ": "JWT"})),
		"cut":               k.access[:len(k.access)-2],
		"other claims":      parts[0] + "." + segment(t, map[string]any{"sub": "demo:alice", "exp": 1 << 40}) + "." + parts[2],
		"refresh token":     k.refresh,
		"no token":          "x",
		"dots":              strings.Repeat(".", 8<<10),
		"genuine with more": k.access + "." + parts[2],
	}
	doors := [][2]string{{"GET", "/v1/sessions"}, {"DELETE", "/v1/sessions/" + k.sid}, {"POST", "/v1/scan"}, {"GET", "/oauth/userinfo"}}
	round := func() {
		for name, token := range forged {
			for _, door := range doors {
				if a := api.do(401, door[0], door[1], token, nil); a.code() != "invalid_token" || !strings.Contains(a.header.Get("WWW-Authenticate"), `error="invalid_token"`) {
					t.Errorf("%s at %s: %s %s", name, door[1], a.header.Get("WWW-Authenticate"), a.raw)
				}
			}
		}
		for _, door := range doors {
			if a, err := api.try(door[0], door[1], strings.Repeat(".", 1<<20), nil); err == nil && a.status != http.StatusRequestHeaderFieldsTooLarge {
				t.Errorf("a megabyte of dots at %s: %d", door[1], a.status)
			}
		}
	}
	for range 5 { // until there is as much garbage as there may be
		round()
	}
	before := rss(t, s)
	for range 20 {
		round()
	}
	if grown := rss(t, s) - before; grown > 24<<20 {
		t.Errorf("%d forged tokens took %d MB", 20*len(forged)*len(doors), grown>>20)
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("the attacker was asked for keys %d times", n)
	}
	api.alive(k.access)
}

// rss is a server's memory in bytes.
func rss(t *testing.T, s *server) int64 {
	t.Helper()
	bytes := metric(t, s, "process_resident_memory_bytes")
	if bytes == 0 {
		t.Fatal("no resident memory in the metrics")
	}
	return int64(bytes)
}

// metric is what a server says of itself; 0: nothing yet.
func metric(t *testing.T, s *server, name string) float64 {
	t.Helper()
	response, err := http.Get(s.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			number, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return number
		}
	}
	return 0
}
