package auth_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"scanlogin/auth"
)

var b64 = base64.RawURLEncoding

// members are a token's header or claims.
type members map[string]any

// with gives a changed copy; a nil value takes the member out.
func (m members) with(name string, value any) members {
	c := maps.Clone(m)
	if c[name] = value; value == nil {
		delete(c, name)
	}
	return c
}

// signer signs the first two segments.
type signer func(text string) []byte

func hs256(key []byte) signer {
	return func(text string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
}

func compact(t testing.TB, header, claims any, sign signer) string {
	t.Helper()
	segment := func(v any) string {
		if raw, ok := v.(string); ok {
			return b64.EncodeToString([]byte(raw))
		}
		value, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b64.EncodeToString(value)
	}
	text := segment(header) + "." + segment(claims)
	return text + "." + b64.EncodeToString(sign(text))
}

func parts(t testing.TB, access string) (header, claims members) {
	t.Helper()
	segments := strings.Split(access, ".")
	for i, into := range []*members{&header, &claims} {
		value, err := b64.DecodeString(segments[i])
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(value, into); err != nil {
			t.Fatal(err)
		}
	}
	return header, claims
}

func TestAccessTokenIsRFC9068(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(1500 * time.Millisecond) // not on a whole second
		store := memory(t)
		s := service(store, func(c *auth.Config) {
			c.Clients = auth.Clients(issuer)
			web := c.Clients["web"]
			web.Audience = "https://api.example"
			c.Clients["web"] = web
		})
		tokens := issue(t, s)
		header, claims := parts(t, tokens.Access)
		if len(header) != 3 || header["typ"] != "at+jwt" || header["alg"] != "EdDSA" || len(header["kid"].(string)) != 43 {
			t.Errorf("header %v", header)
		}
		now := float64(time.Now().Unix())
		want := members{
			"iss": issuer, "aud": "https://api.example", "sub": "demo:alice", "client_id": "web", "sid": tokens.SID,
			"iat": now, "nbf": now, "exp": now + 600, "auth_time": now, "scope": "openid profile",
		}
		for name, value := range want {
			if claims[name] != value {
				t.Errorf("%s: %v, want %v", name, claims[name], value)
			}
		}
		if amr, _ := claims["amr"].([]any); len(amr) != 1 || amr[0] != "qr" {
			t.Errorf("amr %v", claims["amr"])
		}
		if jti, _ := claims["jti"].(string); len(jti) < 22 {
			t.Errorf("jti %q", jti)
		}
		if len(claims) != len(want)+2 {
			t.Errorf("claims %v", claims)
		}
		if p, err := s.Verify(t.Context(), tokens.Access); err != nil || p.Expires.Unix() != int64(now)+600 {
			t.Errorf("%v, %v", p.Expires, err)
		}
		if _, err := service(store).Verify(t.Context(), tokens.Access); !errors.Is(err, auth.ErrInvalidToken) {
			t.Errorf("where the client has another audience: %v", err)
		}
	})
}

func TestAudienceOfAnotherClientOpensNothing(t *testing.T) {
	store := memory(t)
	s := service(store, func(c *auth.Config) {
		c.Clients = auth.Clients(issuer)
		c.Clients["shop"] = auth.Client{ID: "shop", Scopes: []string{"profile"}, Audience: "https://shop.example"}
	})
	header, claims := parts(t, issue(t, s).Access)
	sign := signs(private(t, ringOf(t, store).Current))
	for aud, want := range map[string]error{issuer: nil, "https://shop.example": auth.ErrInvalidToken} {
		if _, err := s.Verify(t.Context(), compact(t, header, claims.with("aud", aud), sign)); err != want {
			t.Errorf("%s: %v", aud, err)
		}
	}
}

func TestAccessTokenDiesInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := service(memory(t))
		access := issue(t, s).Access
		time.Sleep(10*time.Minute - time.Second)
		if _, err := s.Verify(t.Context(), access); err != nil {
			t.Errorf("just before its end: %v", err)
		}
		time.Sleep(time.Second)
		if _, err := s.Verify(t.Context(), access); !errors.Is(err, auth.ErrInvalidToken) {
			t.Errorf("at its end: %v", err)
		}
	})
}

func TestTokenIDsAreUnique(t *testing.T) {
	s := service(memory(t))
	token := issue(t, s)
	_, first := parts(t, token.Access)
	_, second := parts(t, refresh(t, s, token.Refresh).Access)
	if first["jti"] == second["jti"] {
		t.Error("one jti twice")
	}
}

// forgery is what an attacker has in the tests below: a token of their own, a
// victim's session id, and (for the rows about claims) even the signing key,
// so that each row is refused for its own reason and for no other.
type forgery struct {
	service        *auth.Service
	tokens         auth.Tokens
	header, claims members
	sign           signer
	public         ed25519.PublicKey
}

func newForgery(t *testing.T) forgery {
	store := memory(t)
	s := service(store)
	tokens := issue(t, s)
	key := private(t, ringOf(t, store).Current)
	f := forgery{service: s, tokens: tokens, sign: signs(key), public: key.Public().(ed25519.PublicKey)}
	f.header, f.claims = parts(t, tokens.Access)
	f.accepted(t, compact(t, f.header, f.claims, f.sign)) // else the rows would prove nothing
	return f
}

func (f forgery) accepted(t *testing.T, access string) {
	t.Helper()
	if _, err := f.service.Verify(t.Context(), access); err != nil {
		t.Fatalf("the untouched token: %v", err)
	}
}

func (f forgery) refused(t *testing.T, tokens map[string]string) {
	t.Helper()
	for name, access := range tokens {
		if p, err := f.service.Verify(t.Context(), access); err != auth.ErrInvalidToken { // exactly: nothing about why
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
	f.accepted(t, f.tokens.Access)
}

func TestForgedAlgorithm(t *testing.T) {
	f := newForgery(t)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, stranger, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	nothing := func(string) []byte { return nil }
	alg := func(alg any, sign signer) string { return compact(t, f.header.with("alg", alg), f.claims, sign) }
	f.refused(t, map[string]string{
		"none":                      alg("none", nothing),
		"None":                      alg("None", nothing),
		"NoNe":                      alg("NoNe", nothing),
		"NONE":                      alg("NONE", nothing),
		"none, signed":              alg("none", f.sign),
		"no alg":                    alg(nil, f.sign),
		"alg a number":              alg(1, f.sign),
		"alg in lower case":         alg("eddsa", f.sign),
		"alg Ed25519":               alg("Ed25519", f.sign),
		"HS256 with the public key": alg("HS256", hs256(f.public)),
		"HS256 with its text":       alg("HS256", hs256([]byte(b64.EncodeToString(f.public)))),
		"HS256 with nothing":        alg("HS256", hs256(nil)),
		"RS256":                     alg("RS256", signs(rs)),
		"ES256":                     alg("ES256", signs(ec)),
		"EdDSA, HMAC signature":     alg("EdDSA", hs256(f.public)),
		"EdDSA by another key":      alg("EdDSA", signs(stranger)),
		"EdDSA without a signature": alg("EdDSA", nothing),
		"EdDSA, signature of zeros": alg("EdDSA", func(string) []byte { return make([]byte, ed25519.SignatureSize) }),
	})
}

func TestForgedHeaderBringsItsOwnKey(t *testing.T) {
	f := newForgery(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int32
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			asked.Add(1)
			conn.Close()
		}
	}()
	url := "http://" + listener.Addr().String() + "/keys"
	mine, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	jwk := members{"kty": "OKP", "crv": "Ed25519", "x": b64.EncodeToString(mine)}
	forged := map[string]string{}
	for name, value := range map[string]any{
		"jwk": jwk, "jku": url, "x5u": url, "x5c": []string{"AAAA"}, "x5t": "AAAA", "crit": []string{"exp"},
		"b64": false, "cty": "JWT", "zip": "DEF", "anything": 1,
	} {
		forged[name+", own key"] = compact(t, f.header.with(name, value), f.claims, signs(key))
		forged[name+", real key"] = compact(t, f.header.with(name, value), f.claims, f.sign)
		forged[name+" for kid"] = compact(t, f.header.with(name, value).with("kid", nil), f.claims, f.sign)
	}
	for name, kid := range map[string]any{
		"none": nil, "empty": "", "unknown": "AAAA", "path": "../../../../dev/null", "passwd": "/etc/passwd",
		"url": url, "sql": "' OR 1=1 --", "number": 7, "list": []any{f.header["kid"]}, "object": jwk,
		"long": strings.Repeat("k", 4000), "other case": strings.ToLower(f.header["kid"].(string)),
	} {
		forged["kid "+name] = compact(t, f.header.with("kid", kid), f.claims, f.sign)
	}
	for name, typ := range map[string]any{
		"none": nil, "empty": "", "JWT": "JWT", "media type": "application/at+jwt", "upper case": "AT+JWT", "number": 1,
		"logout token": "logout+jwt",
	} {
		forged["typ "+name] = compact(t, f.header.with("typ", typ), f.claims, f.sign)
	}
	f.refused(t, forged)
	listener.Close()
	<-done
	if n := asked.Load(); n != 0 {
		t.Errorf("%d calls to the attacker's host", n)
	}
}

func TestForgedClaims(t *testing.T) {
	f := newForgery(t)
	now := time.Now().Unix()
	forged := map[string]string{}
	row := func(claim string, values map[string]any) {
		for name, value := range values {
			forged[claim+" "+name] = compact(t, f.header, f.claims.with(claim, value), f.sign)
		}
	}
	row("exp", map[string]any{
		"missing": nil, "zero": 0, "text": "9999999999", "negative": -1, "past": now - 10, "fraction": float64(now) + 600.5,
		"list": []int64{now + 600}, "true": true, "huge": json.Number("1e300"), "over int64": json.Number("9223372036854775808"),
	})
	row("iat", map[string]any{"missing": nil, "zero": 0, "in an hour": now + 3600, "text": "0"})
	row("nbf", map[string]any{"missing": nil, "zero": 0, "in an hour": now + 3600})
	row("iss", map[string]any{"missing": nil, "empty": "", "other": "https://evil.example", "slash": issuer + "/", "list": []string{issuer}})
	row("aud", map[string]any{
		"missing": nil, "empty": "", "other": "https://evil.example", "ours and another": []string{issuer, "https://evil.example"},
		"object": members{}, "empty list": []string{}, "number": 1,
	})
	row("sub", map[string]any{"missing": nil, "empty": "", "another user": "demo:bob", "no provider": "alice"})
	row("sid", map[string]any{"missing": nil, "empty": "", "unknown": "AAAAAAAAAAAAAAAAAAAAAAAAAA"})
	row("client_id", map[string]any{"missing": nil, "unknown": "nobody", "phone": "phone", "device": "device"})
	row("jti", map[string]any{"missing": nil, "empty": ""})
	row("scope", map[string]any{"number": 1})
	forged["good but over 8 KiB"] = compact(t, f.header, f.claims.with("pad", strings.Repeat("A", 8<<10)), f.sign)
	for name, claims := range map[string]string{
		"null": "null", "list": "[]", "text": `"x"`, "empty": "{}", "no JSON": "{", "two": "{}{}", "nothing": "",
	} {
		forged["claims "+name] = compact(t, f.header, claims, f.sign)
		forged["header "+name] = compact(t, claims, f.claims, f.sign)
	}
	f.refused(t, forged)
}

func TestMalformedAccessTokens(t *testing.T) {
	f := newForgery(t)
	access := f.tokens.Access
	s := strings.Split(access, ".")
	last := s[2][len(s[2])-1:]
	// The last of 86 characters has four bits that mean nothing.
	alias := string("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[(strings.Index(
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", last)+1)%64])
	f.refused(t, map[string]string{
		"empty":                 "",
		"one segment":           s[0],
		"two segments":          s[0] + "." + s[1],
		"two and a dot":         s[0] + "." + s[1] + ".",
		"four segments":         access + ".AAAA",
		"trailing dot":          access + ".",
		"leading dot":           "." + access,
		"padding":               access + "==",
		"padded header":         s[0] + "=." + s[1] + "." + s[2],
		"same bits, other text": access[:len(access)-1] + alias,
		"standard base64":       strings.NewReplacer("-", "+", "_", "/").Replace(s[0]+"."+s[1]) + ".++//",
		"leading space":         " " + access,
		"trailing space":        access + " ",
		"line break at the end": access + "\n",
		"line break inside":     access[:len(access)-9] + "\r\n" + access[len(access)-9:],
		"scheme in front":       "Bearer " + access,
		"JSON serialization":    `{"protected":"` + s[0] + `","payload":"` + s[1] + `","signature":"` + s[2] + `"}`,
		"five segments (JWE)":   s[0] + "..." + s[1] + "." + s[2],
		"swapped":               s[1] + "." + s[0] + "." + s[2],
		"refresh as access":     f.tokens.Refresh,
		"NUL":                   access + "\x00",
		"bad UTF-8":             "\xff" + access,
		"too long by one":       access + strings.Repeat("A", 8<<10+1-len(access)),
	})
}

func TestMegabyteOfDotsCostsNothing(t *testing.T) {
	s := service(memory(t))
	issue(t, s)
	for name, access := range map[string]string{
		"dots":     strings.Repeat(".", 1<<20),
		"letters":  strings.Repeat("A", 1<<20),
		"a header": strings.Repeat("A", 1<<20) + ".AAAA.AAAA",
		"segments": strings.Repeat("AAAA.", 1<<18),
		"8 KiB":    strings.Repeat(".", 8<<10),
	} {
		var before, after runtime.MemStats
		const times = 100
		refresh := "sl_rt_" + access
		runtime.ReadMemStats(&before)
		for range times {
			if _, err := s.Verify(t.Context(), access); err != auth.ErrInvalidToken {
				t.Fatalf("%s: %v", name, err)
			}
			if _, err := s.Refresh(t.Context(), "web", refresh, ""); err != auth.ErrInvalidGrant {
				t.Fatalf("%s: %v", name, err)
			}
		}
		runtime.ReadMemStats(&after)
		if each := (after.TotalAlloc - before.TotalAlloc) / times; each > 8<<10 {
			t.Errorf("%s: %d bytes each", name, each)
		}
	}
}

// A token of one session must not live on another one of the same user.
func TestAccessTokenDiesWithItsSessionAtOnceEverywhere(t *testing.T) {
	store := memory(t)
	here, there := service(store), service(store)
	ended, kept := issue(t, here), issue(t, here)
	end(t, here, kept, ended.SID)
	for _, s := range []*auth.Service{here, there} {
		if _, err := s.Verify(t.Context(), ended.Access); err != auth.ErrInvalidToken {
			t.Errorf("ended: %v", err)
		}
		if _, err := s.Verify(t.Context(), kept.Access); err != nil {
			t.Errorf("kept: %v", err)
		}
	}
}
