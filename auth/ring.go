package auth

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"
)

const (
	// keyLead is how long a key is published before it signs: longer than the
	// 300 s for which others may cache the key set, and as much again for
	// caches that are late.
	keyLead = 10 * time.Minute
	// keyLag is how long an instance may go on signing with a key after
	// another one promoted the next: its watch link may have to be remade.
	keyLag = time.Minute
	// leeway is how far two clocks may differ. An instance within 2 s of the
	// store's clock is ready, so two of them are within 4 s; times in tokens
	// are whole seconds.
	leeway = 5 * time.Second
)

// ring is the signing keys that all instances share.
//
//	made ──► next ──keyLead at least──► current ──KeyLife──► previous ──► gone
//	         published                  signs                verifies for as long as
//	                                                         a token it signed lives
type ring struct {
	Next     key   `json:"next"`
	Current  key   `json:"current"`
	Previous []key `json:"previous,omitempty"`
}

// key is one Ed25519 key. Times are Unix milliseconds.
type key struct {
	Seed  []byte `json:"seed"`
	Since int64  `json:"since"`           // in its present place
	Until int64  `json:"until,omitempty"` // previous: the end of the last token it may have signed

	id      string // `kid`: RFC 7638 thumbprint
	private ed25519.PrivateKey
}

func newKey() key {
	k := key{Seed: make([]byte, ed25519.SeedSize)}
	rand.Read(k.Seed) // never fails
	k.expand()
	return k
}

// expand computes what is not stored.
func (k *key) expand() {
	k.private = ed25519.NewKeyFromSeed(k.Seed)
	sum := sha256.Sum256(fmt.Appendf(nil, `{"crv":"Ed25519","kty":"OKP","x":%q}`, k.x()))
	k.id = base64.RawURLEncoding.EncodeToString(sum[:])
}

func (k *key) public() ed25519.PublicKey { return k.private.Public().(ed25519.PublicKey) }

// x is the public key as RFC 8037 section 2 writes it.
func (k *key) x() string { return base64.RawURLEncoding.EncodeToString(k.public()) }

// retired is the key as a previous one.
func (k key) retired(now time.Time, accessTTL time.Duration) key {
	k.Since = now.UnixMilli()
	k.Until = now.Add(accessTTL + leeway + keyLag).UnixMilli()
	return k
}

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
		if len(k.Seed) != ed25519.SeedSize {
			return nil, fmt.Errorf("auth: key ring: a seed of %d bytes", len(k.Seed))
		}
		k.expand()
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
func (r *ring) find(id string, now time.Time) (ed25519.PublicKey, bool) {
	for _, k := range r.keys() {
		if k.id == id && !k.over(now) {
			return k.public(), true
		}
	}
	return nil, false
}

func (k *key) over(now time.Time) bool { return k.Until != 0 && k.Until <= now.UnixMilli() }

// due is when the next key takes over.
func (r *ring) due(keyLife time.Duration) time.Time {
	return later(time.UnixMilli(r.Current.Since).Add(keyLife), time.UnixMilli(r.Next.Since).Add(keyLead))
}

// advance gives the ring as it has to be now, and whether that is another one
// than r. The first ring's current key signs at once: nobody can have cached a
// key set before there was one. spare are keys that nobody has seen yet.
func (r *ring) advance(now time.Time, c Config, spare [2]key) (*ring, bool) {
	for i := range spare {
		spare[i].Since = now.UnixMilli()
	}
	if r == nil {
		return &ring{Current: spare[0], Next: spare[1]}, true
	}
	if now.Before(r.due(c.KeyLife)) {
		return r, false
	}
	promoted := &ring{Current: r.Next, Next: spare[0], Previous: []key{r.Current.retired(now, c.AccessTTL)}}
	promoted.Current.Since = now.UnixMilli()
	for _, k := range r.Previous {
		if !k.over(now) {
			promoted.Previous = append(promoted.Previous, k)
		}
	}
	return promoted, true
}

// absorb gives the ring with every key of other that tokens may still need,
// and whether that is another one than r. It is how a ring survives a store
// that came back empty: nobody was faster, it is put back whole; somebody was,
// theirs wins and ours goes on verifying.
func (r *ring) absorb(other *ring, now time.Time, c Config) (*ring, bool) {
	if other == nil || r == other {
		return r, false
	}
	if r == nil {
		return other, true
	}
	merged := &ring{Next: r.Next, Current: r.Current, Previous: append([]key(nil), r.Previous...)}
	needed := append([]key{other.Current.retired(now, c.AccessTTL)}, other.Previous...)
	for _, k := range needed {
		if !merged.has(k.id) && !k.over(now) {
			merged.Previous = append(merged.Previous, k)
		}
	}
	return merged, len(merged.Previous) > len(r.Previous)
}

func (r *ring) has(id string) bool {
	for _, k := range r.keys() {
		if k.id == id {
			return true
		}
	}
	return false
}
