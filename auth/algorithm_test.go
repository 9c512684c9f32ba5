package auth_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"scanlogin/auth"
)

var algorithms = []string{"EdDSA", "ES256", "RS256"}

// signs signs the way the key's own algorithm does.
func signs(key crypto.Signer) signer {
	switch key := key.(type) {
	case ed25519.PrivateKey:
		return func(text string) []byte { return ed25519.Sign(key, []byte(text)) }
	case *ecdsa.PrivateKey:
		return func(text string) []byte {
			sum := sha256.Sum256([]byte(text))
			r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
			if err != nil {
				panic(err)
			}
			return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
		}
	case *rsa.PrivateKey:
		return func(text string) []byte {
			sum := sha256.Sum256([]byte(text))
			signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
			if err != nil {
				panic(err)
			}
			return signature
		}
	default:
		panic("no such algorithm")
	}
}

// signing has new keys sign with an algorithm.
func signing(algorithm string) func(*auth.Config) {
	return func(c *auth.Config) { c.Algorithm = algorithm }
}

func TestEachAlgorithmIssuesAndVerifies(t *testing.T) {
	for _, algorithm := range algorithms {
		store := memory(t)
		here, there := service(store, signing(algorithm)), service(store, signing(algorithm))
		tokens := issue(t, here)
		for _, access := range []string{tokens.Access, refresh(t, there, tokens.Refresh).Access} {
			if header, _ := parts(t, access); len(header) != 3 || header["alg"] != algorithm || header["typ"] != "at+jwt" {
				t.Errorf("%s: header %v", algorithm, header)
			}
			for _, s := range []*auth.Service{here, there} {
				if _, err := s.Verify(t.Context(), access); err != nil {
					t.Errorf("%s: %v", algorithm, err)
				}
			}
			if err := jwks(t, there).check(access); err != nil {
				t.Errorf("%s, elsewhere: %v", algorithm, err)
			}
		}
	}
}

func TestUnknownAlgorithmSignsNothing(t *testing.T) {
	for _, algorithm := range []string{"none", "HS256", "RS512", "eddsa"} {
		s := service(memory(t), signing(algorithm))
		if tokens, err := s.Issue(t.Context(), grant(s)); err == nil {
			t.Errorf("%s: %v", algorithm, tokens)
		}
	}
}

// The members are spelled out: a private one (d, p, q, dp, dq, qi, oth, k)
// cannot slip in, whatever a library writes.
func TestKeySetHasThePublicMembersAlone(t *testing.T) {
	members := map[string][]string{
		"EdDSA": {"alg", "crv", "kid", "kty", "use", "x"},
		"ES256": {"alg", "crv", "kid", "kty", "use", "x", "y"},
		"RS256": {"alg", "e", "kid", "kty", "n", "use"},
	}
	types := map[string]string{"EdDSA": "OKP", "ES256": "EC", "RS256": "RSA"}
	for _, algorithm := range algorithms {
		store := memory(t)
		s := service(store, signing(algorithm))
		value, err := s.JWKS(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var set map[string][]map[string]string
		if err := json.Unmarshal(value, &set); err != nil {
			t.Fatal(err)
		}
		if len(set) != 1 || len(set["keys"]) != 2 {
			t.Fatalf("%s: %s", algorithm, value)
		}
		r := ringOf(t, store)
		for i, stored := range []storedKey{r.Current, r.Next} {
			k := set["keys"][i]
			if got := slices.Sorted(maps.Keys(k)); !slices.Equal(got, members[algorithm]) {
				t.Errorf("%s: members %v", algorithm, got)
			}
			if k["kty"] != types[algorithm] || k["alg"] != algorithm || k["use"] != "sig" || len(k["kid"]) != 43 {
				t.Errorf("%s: %v", algorithm, k)
			}
			if want := jwkOf(private(t, stored).Public()); k["kid"] != thumbprint(t, want) {
				t.Errorf("%s: kid %s", algorithm, k["kid"])
			}
			if n, _ := b64.DecodeString(k["n"]); algorithm == "RS256" && len(n) != 2048/8 {
				t.Errorf("a modulus of %d bytes", len(n))
			}
		}
	}
}

func jwkOf(public crypto.PublicKey) jose.JSONWebKey { return jose.JSONWebKey{Key: public} }

func thumbprint(t testing.TB, k jose.JSONWebKey) string {
	t.Helper()
	sum, err := k.Thumbprint(crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return b64.EncodeToString(sum)
}

// The private key of RFC 8037 appendix A.1 and its thumbprint of A.3, put into
// the ring by hand.
func TestThumbprintOfRFC8037(t *testing.T) {
	var k jose.JSONWebKey
	if err := k.UnmarshalJSON([]byte(`{"kty":"OKP","crv":"Ed25519",
		"d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
		"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`)); err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(k.Key)
	if err != nil {
		t.Fatal(err)
	}
	store := memory(t)
	now := time.Now().UnixMilli()
	stored := members{"alg": "EdDSA", "der": der, "since": now}
	ring, err := json.Marshal(members{"current": stored, "next": stored})
	if err != nil {
		t.Fatal(err)
	}
	put(t, store, ring, time.Hour)
	if got := jwks(t, service(store)).Keys[0].KeyID; got != "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k" {
		t.Errorf("kid %s", got)
	}
}

// mixed is a service whose ring has a key of every algorithm: RS256 signed
// first, ES256 does now, EdDSA is the next.
func mixed(t *testing.T) (*auth.Service, auth.Tokens, map[string]crypto.Signer) {
	store := memory(t)
	now := time.Now().UnixMilli()
	place := func(algorithm string) members {
		k := ringOf(t, keysOf(t, algorithm)).Current
		return members{"alg": k.Alg, "der": k.DER, "since": now}
	}
	ring, err := json.Marshal(members{
		"current":  place("ES256"),
		"next":     place("EdDSA"),
		"previous": []members{place("RS256").with("until", now+time.Hour.Milliseconds())},
	})
	if err != nil {
		t.Fatal(err)
	}
	put(t, store, ring, time.Hour)
	keys := map[string]crypto.Signer{}
	r := ringOf(t, store)
	for _, k := range append(r.Previous, r.Current, r.Next) {
		keys[k.Alg] = private(t, k)
	}
	s := service(store)
	return s, issue(t, s), keys
}

// keysOf is a store with a ring of one algorithm.
func keysOf(t *testing.T, algorithm string) auth.Store {
	store := memory(t)
	jwks(t, service(store, signing(algorithm)))
	return store
}

// Each row is right in everything but that the named key may not be used so.
func TestAlgorithmConfusion(t *testing.T) {
	s, tokens, keys := mixed(t)
	header, claims := parts(t, tokens.Access)
	token := func(of, alg string, sign signer) string {
		return compact(t, header.with("alg", alg).with("kid", thumbprint(t, jwkOf(keys[of].Public()))), claims, sign)
	}
	f := forgery{service: s, tokens: tokens}
	forged := map[string]string{}
	for _, of := range algorithms {
		f.accepted(t, token(of, of, signs(keys[of]))) // else the rows would prove nothing
		public := keys[of].Public()
		for _, alg := range []string{"none", "HS256", "HS384", "HS512", "RS384", "RS512", "PS256", "PS384", "PS512", "ES384", "ES512"} {
			forged[of+" key, labelled "+alg] = token(of, alg, signs(keys[of]))
		}
		for _, alg := range algorithms {
			if alg == of {
				continue
			}
			forged[of+" key, labelled "+alg] = token(of, alg, signs(keys[of]))
			forged[of+" key named, signed with the "+alg+" key"] = token(of, of, signs(keys[alg]))
			forged[of+" key named, labelled and signed as "+alg] = token(of, alg, signs(keys[alg]))
		}
		for name, text := range texts(t, public) {
			for _, alg := range append([]string{"HS256"}, algorithms...) {
				forged[of+" key, "+alg+" by HMAC with its "+name] = token(of, alg, hs256(text))
			}
		}
	}
	f.refused(t, forged)
}

// The same key, kept for another algorithm: what a token says about itself does
// not count.
func TestKeyVerifiesForItsOwnAlgorithmAlone(t *testing.T) {
	store := keysOf(t, "EdDSA")
	tokens := issue(t, service(store))
	if _, err := service(store).Verify(t.Context(), tokens.Access); err != nil {
		t.Fatal(err)
	}
	ring := bytes.ReplaceAll(stored(t, store), []byte(`"alg":"EdDSA"`), []byte(`"alg":"ES256"`))
	put(t, store, ring, time.Hour)
	if _, err := service(store, signing("ES256")).Verify(t.Context(), tokens.Access); err != auth.ErrInvalidToken {
		t.Errorf("accepted: %v", err)
	}
}

// texts are the ways in which a public key lies about.
func texts(t *testing.T, public crypto.PublicKey) map[string][]byte {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := jwkOf(public).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	return map[string][]byte{
		"DER": der, "PEM": block, "PEM without a line break at the end": bytes.TrimSpace(block), "JWK": plain,
	}
}
