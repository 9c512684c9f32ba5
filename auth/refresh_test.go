package auth

import (
	"context"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"scanlogin/qrlogin/backend"
)

func testRefreshKeys(t *testing.T) *refreshKeys {
	store := backend.NewMemory()
	t.Cleanup(func() { store.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	keys, err := deriveRefreshKeys(ctx, store)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestRefreshTokenComesBackWhole(t *testing.T) {
	keys := testRefreshKeys(t)
	rapid.Check(t, func(t *rapid.T) {
		token := refreshToken{
			sub:        rapid.StringN(1, -1, 300).Draw(t, "sub"),
			sid:        rapid.StringN(1, -1, 255).Draw(t, "sid"),
			generation: rapid.Uint64().Draw(t, "generation"),
			secret:     rapid.SliceOfN(rapid.Byte(), secretSize, secretSize).Draw(t, "secret"),
		}
		text := keys.encode(token)
		got, ok := keys.decode(text)
		if !ok || !looksLikeRefresh(text) {
			t.Fatalf("refused, %d characters", len(text))
		}
		if got.sub != token.sub || got.sid != token.sid || got.generation != token.generation || string(got.secret) != string(token.secret) {
			t.Fatalf("%+v became %+v", token, got)
		}
		if keys.encode(token) != text {
			t.Fatal("equal tokens, different texts")
		}
		token.generation++
		other := keys.encode(token)
		const nonce = len(refreshPrefix) + 16 // 12 bytes
		if text[:nonce] == other[:nonce] {
			t.Fatal("different tokens, one nonce")
		}
	})
}

func TestRefreshTokenCannotBeChanged(t *testing.T) {
	keys := testRefreshKeys(t)
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for _, sub := range []string{"demo:alice", "demo:alice1", "demo:alice12"} { // every number of unused last bits
		text := keys.encode(refreshToken{sub: sub, sid: "session", generation: 1, secret: make([]byte, secretSize)})
		for i := len(refreshPrefix); i < len(text); i++ {
			for _, step := range []int{1, 2, 4, 8, 16, 32} { // each bit of the character
				at := strings.IndexByte(alphabet, text[i]) ^ step
				if got, ok := keys.decode(text[:i] + alphabet[at:at+1] + text[i+1:]); ok {
					t.Errorf("character %d, bit %d: %+v", i, step, got)
				}
			}
			if got, ok := keys.decode(text[:i]); ok {
				t.Errorf("cut at %d: %+v", i, got)
			}
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		if got, ok := keys.decode(refreshPrefix + rapid.String().Draw(t, "token")); ok {
			t.Fatalf("%+v", got)
		}
	})
}

// Sessions of one seed, and seeds of one session, must not share secrets.
func TestFirstSecretsAreSeparate(t *testing.T) {
	keys := testRefreshKeys(t)
	if string(keys.firstSecret([]byte("ab"), "c")) == string(keys.firstSecret([]byte("a"), "bc")) {
		t.Error("seed and session id run into each other")
	}
	one := refreshToken{sid: "a", generation: 1, secret: keys.firstSecret([]byte("seed"), "a")}
	two := refreshToken{sid: "b", generation: 1, secret: one.secret}
	three := refreshToken{sid: "a", generation: 2, secret: one.secret}
	if string(keys.successor(one)) == string(keys.successor(two)) || string(keys.successor(one)) == string(keys.successor(three)) {
		t.Error("one secret has one successor in every session and generation")
	}
}
