package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	// keyLead is how long a key is published before it signs: longer than the
	// 300 s for which others may cache the key set, and as much again for
	// caches that are late.
	keyLead = 10 * time.Minute
	// keyLag is how long an instance may go on signing with a key after
	// another one promoted the next: its watch link may have to be remade.
	keyLag = time.Minute
	// keySettle is how long a next key of another algorithm is left alone:
	// while instances of two settings run, they take turns that slowly.
	keySettle = time.Minute
	// leeway is how far two clocks may differ. An instance within 2 s of the
	// store's clock is ready, so two of them are within 4 s; times in tokens
	// are whole seconds.
	leeway = 5 * time.Second
)

// algorithms are what keys may sign with (RFC 7518 section 3.1, RFC 8037).
var algorithms = []string{"EdDSA", "ES256", "RS256"}

// ring is the signing keys that all instances share.
//
//	made ──► next ──keyLead at least──► current ──KeyLife──► previous ──► gone
//	         published                  signs                verifies for as long as
//	                                                         a token it signed lives
//
// A ring in use is never changed: each step gives another one, or the same
// when there is nothing to do.
type ring struct {
	Next     key   `json:"next"`
	Current  key   `json:"current"`
	Previous []key `json:"previous,omitempty"`
	Rotate   bool  `json:"rotate,omitempty"` // the current key's age no longer matters
}

// key is one key for one algorithm (RFC 8725 section 3.1). Times are Unix
// milliseconds.
type key struct {
	Algorithm string `json:"alg"`
	DER       []byte `json:"der"`             // PKCS #8
	Since     int64  `json:"since"`           // in its present place
	Until     int64  `json:"until,omitempty"` // previous: the end of the last token it may have signed

	id      string // `kid`: RFC 7638 thumbprint
	private crypto.Signer
}

// newKey may take a second: RSA looks for two large primes.
func newKey(algorithm string) (key, error) {
	var private any
	var err error
	switch algorithm {
	case "EdDSA":
		_, private, err = ed25519.GenerateKey(rand.Reader)
	case "ES256":
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "RS256":
		private, err = rsa.GenerateKey(rand.Reader, 2048) // RFC 7518 section 3.3
	default:
		err = fmt.Errorf("unknown algorithm %q", algorithm)
	}
	if err != nil {
		return key{}, fmt.Errorf("auth: signing key: %w", err)
	}
	k := key{Algorithm: algorithm}
	if k.DER, err = x509.MarshalPKCS8PrivateKey(private); err != nil {
		return key{}, fmt.Errorf("auth: signing key: %w", err)
	}
	return k, k.expand()
}

// expand computes what is not stored.
func (k *key) expand() error {
	private, err := x509.ParsePKCS8PrivateKey(k.DER)
	if err != nil {
		return fmt.Errorf("auth: signing key: %w", err)
	}
	var ok bool
	if k.private, ok = private.(crypto.Signer); !ok {
		return fmt.Errorf("auth: signing key: a %T cannot sign", private)
	}
	public := k.jwk()
	sum, err := public.Thumbprint(crypto.SHA256)
	if err != nil {
		return fmt.Errorf("auth: signing key: %w", err)
	}
	k.id = base64.RawURLEncoding.EncodeToString(sum)
	return nil
}

func (k *key) public() crypto.PublicKey { return k.private.Public() }

// jwk is the public half as RFC 7517 section 4 writes it.
func (k *key) jwk() jose.JSONWebKey {
	return jose.JSONWebKey{Key: k.public(), KeyID: k.id, Use: "sig", Algorithm: k.Algorithm}
}

// placed is the key in a place that it has from now on.
func (k key) placed(now time.Time) key {
	k.Since = now.UnixMilli()
	return k
}

// retired is the key as a previous one.
func (k key) retired(now time.Time, c Config) key {
	k.Until = now.Add(c.longestAccess() + leeway + keyLag).UnixMilli()
	return k.placed(now)
}

func (k *key) over(now time.Time) bool { return k.Until != 0 && k.Until <= now.UnixMilli() }

// decodeRing gives a nil ring for a nil value.
func decodeRing(value []byte) (*ring, error) {
	if value == nil {
		return nil, nil
	}
	r := &ring{}
	if err := json.Unmarshal(value, r); err != nil {
		return nil, fmt.Errorf("auth: key ring: %w", err)
	}
	for _, k := range r.keys() {
		if err := k.expand(); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// keys are all keys of the ring, the one that signs first.
func (r *ring) keys() []*key {
	all := []*key{&r.Current, &r.Next}
	for i := range r.Previous {
		all = append(all, &r.Previous[i])
	}
	return all
}

// find gives the key that verifies tokens with this `kid`. The next one does
// too: another instance may have promoted it a moment ago.
func (r *ring) find(id string, now time.Time) (*key, bool) {
	for _, k := range r.keys() {
		if k.id == id && !k.over(now) {
			return k, true
		}
	}
	return nil, false
}

func (r *ring) has(id string) bool {
	for _, k := range r.keys() {
		if k.id == id {
			return true
		}
	}
	return false
}

// due is when the ring has to change: the next key takes over, or is itself
// replaced, because it is of another algorithm than it has to be.
func (r *ring) due(c Config) time.Time {
	since := time.UnixMilli(r.Next.Since)
	if r.Next.Algorithm != c.Algorithm {
		return since.Add(keySettle)
	}
	if r.Rotate || r.Current.Algorithm != c.Algorithm {
		return since.Add(keyLead)
	}
	return later(time.UnixMilli(r.Current.Since).Add(c.KeyLife), since.Add(keyLead))
}

// signsFrom is when the next key takes over, or the one that replaces it.
func (r *ring) signsFrom(c Config) time.Time {
	if r.Next.Algorithm != c.Algorithm {
		return r.due(c).Add(keyLead)
	}
	return r.due(c)
}

// needs is how many new keys advance takes.
func (r *ring) needs(now time.Time, c Config) int {
	switch {
	case r == nil:
		return 2
	case now.Before(r.due(c)):
		return 0
	default:
		return 1
	}
}

// advance gives the ring as it has to be now; spare are as many keys as it
// needs or more, which nobody has seen yet. The first ring's current key signs
// at once: nobody can have cached a key set before there was one. A next key
// of the wrong algorithm has never signed, so nobody misses it.
func (r *ring) advance(now time.Time, c Config, spare []key) *ring {
	if r == nil {
		return &ring{Current: spare[0].placed(now), Next: spare[1].placed(now)}
	}
	if now.Before(r.due(c)) {
		return r
	}
	if r.Next.Algorithm != c.Algorithm {
		replaced := *r
		replaced.Next = spare[0].placed(now)
		return &replaced
	}
	promoted := &ring{Current: r.Next.placed(now), Next: spare[0].placed(now), Previous: []key{r.Current.retired(now, c)}}
	for _, k := range r.Previous {
		if !k.over(now) {
			promoted.Previous = append(promoted.Previous, k)
		}
	}
	return promoted
}

// retire has the next key take over as soon as it may, if the current one is
// still the one with this `kid`: else that has happened already.
func (r *ring) retire(id string) *ring {
	if r == nil || r.Rotate || r.Current.id != id {
		return r
	}
	marked := *r
	marked.Rotate = true
	return &marked
}

// absorb gives the ring with every key of other that tokens may still need. It
// is how a ring survives a store that came back empty, or without its last
// promotion: nobody was faster, other is put back whole; somebody was, theirs
// wins and ours goes on verifying.
func (r *ring) absorb(other *ring, now time.Time, c Config) *ring {
	if other == nil {
		return r
	}
	if r == nil || r.Next.id == other.Current.id {
		return other
	}
	merged := *r
	merged.Previous = append([]key(nil), r.Previous...)
	for _, k := range append([]key{other.Current.retired(now, c)}, other.Previous...) {
		if !merged.has(k.id) && !k.over(now) {
			merged.Previous = append(merged.Previous, k)
		}
	}
	if len(merged.Previous) == len(r.Previous) {
		return r
	}
	return &merged
}
