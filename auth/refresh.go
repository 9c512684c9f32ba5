package auth

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
)

const (
	refreshPrefix  = "sl_rt_" // lets secret scanners find a leaked one
	refreshVersion = 1
	maxRefresh     = 1 << 10 // characters; ours are under 600
	secretSize     = sha256.Size
)

var refreshEncoding = base64.RawURLEncoding.Strict()

// refreshToken is what is sealed inside a refresh token.
type refreshToken struct {
	sub, sid   string
	generation uint64
	secret     []byte
}

// refreshKeys make, seal and open refresh tokens. All of it is deterministic:
// equal inputs give the equal token, on every instance, so a lost answer can
// be given again although nothing of it was kept.
type refreshKeys struct {
	seal               cipher.AEAD
	nonce, first, next []byte
}

func deriveRefreshKeys(ctx context.Context, store Store) (*refreshKeys, error) {
	var keys [4][]byte
	for i, purpose := range []string{"refresh seal", "refresh nonce", "refresh first", "refresh next"} {
		var err error
		if keys[i], err = store.Derive(ctx, purpose); err != nil {
			return nil, fmt.Errorf("auth: refresh keys: %w", err)
		}
	}
	block, err := aes.NewCipher(keys[0])
	if err != nil {
		return nil, fmt.Errorf("auth: refresh keys: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("auth: refresh keys: %w", err)
	}
	return &refreshKeys{seal: aead, nonce: keys[1], first: keys[2], next: keys[3]}, nil
}

// firstSecret is the secret of a session's generation 1.
func (k *refreshKeys) firstSecret(seed []byte, sid string) []byte {
	return mac(k.first, seed, []byte(sid))
}

// successor is the secret of the generation after t.
func (k *refreshKeys) successor(t refreshToken) []byte {
	return mac(k.next, t.secret, []byte(t.sid), binary.BigEndian.AppendUint64(nil, t.generation+1))
}

// mac is HMAC-SHA-256 over parts that cannot run into each other.
func mac(key []byte, parts ...[]byte) []byte {
	h := hmac.New(sha256.New, key)
	for _, p := range parts {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(p))))
		h.Write(p)
	}
	return h.Sum(nil)
}

// encode seals a token. The nonce is a MAC of the content, so that it repeats
// only where the whole token does.
func (k *refreshKeys) encode(t refreshToken) string {
	plain := []byte{refreshVersion}
	plain = binary.BigEndian.AppendUint64(plain, t.generation)
	plain = append(plain, t.secret...)
	plain = append(plain, byte(len(t.sid)))
	plain = append(plain, t.sid...)
	plain = append(plain, t.sub...)
	nonce := mac(k.nonce, plain)[:k.seal.NonceSize()]
	return refreshPrefix + refreshEncoding.EncodeToString(k.seal.Seal(nonce, nonce, plain, nil))
}

// looksLikeRefresh sorts out, without any key, what cannot be a refresh token.
// Line breaks are named because base64 decoding skips them.
func looksLikeRefresh(token string) bool {
	return len(token) <= maxRefresh && strings.HasPrefix(token, refreshPrefix) && !strings.ContainsAny(token, "\r\n")
}

// decode opens a token that looks like one; false for everything that encode
// did not make.
func (k *refreshKeys) decode(token string) (refreshToken, bool) {
	sealed, err := refreshEncoding.DecodeString(strings.TrimPrefix(token, refreshPrefix))
	if err != nil || len(sealed) < k.seal.NonceSize() {
		return refreshToken{}, false
	}
	nonce, sealed := sealed[:k.seal.NonceSize()], sealed[k.seal.NonceSize():]
	plain, err := k.seal.Open(nil, nonce, sealed, nil)
	if err != nil {
		return refreshToken{}, false
	}
	const head = 1 + 8 + secretSize + 1
	if len(plain) < head || plain[0] != refreshVersion || len(plain) < head+int(plain[head-1]) {
		return refreshToken{}, false
	}
	sidEnd := head + int(plain[head-1])
	return refreshToken{
		generation: binary.BigEndian.Uint64(plain[1:9]),
		secret:     bytes.Clone(plain[9 : 9+secretSize]),
		sid:        string(plain[head:sidEnd]),
		sub:        string(plain[sidEnd:]),
	}, true
}
