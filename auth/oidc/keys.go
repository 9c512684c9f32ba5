package oidc

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"scanlogin/auth"
)

const (
	freshFor   = 15 * time.Minute       // how old a set gets before a new one is asked for
	trustedFor = time.Hour              // and before its users wait for that
	fetchEvery = 10 * time.Second       // at most
	patience   = 3 * time.Second        // of a fetch, and of whoever waits for it
	brief      = 300 * time.Millisecond // of whoever has an old key; the store wants its time too
	minRSA     = 2048                   // bits, RFC 7518 section 3.3
)

var errUnknownKey = errors.New("no such key")

// asymmetric says whether an algorithm is one that may be configured.
func asymmetric(algorithm string) bool {
	switch jose.SignatureAlgorithm(algorithm) {
	case jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512,
		jose.ES256, jose.ES384, jose.ES512, jose.EdDSA:
		return true
	}
	return false
}

// keySet is an issuer's key set as it was at one time.
type keySet struct {
	keys []jose.JSONWebKey
	read time.Time
}

// parseKeys leaves out what verifies no configured algorithm, also keys that
// cannot be read: one exotic key must not cost the others (RFC 7517 section 5).
func parseKeys(body []byte, algorithms []string) (*keySet, error) {
	var raw struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &raw); err != nil {
		return nil, errors.New("the key set is not JSON")
	}
	set := &keySet{read: time.Now()}
	for _, one := range raw.Keys {
		var key jose.JSONWebKey
		if key.UnmarshalJSON(one) != nil {
			continue
		}
		for _, algorithm := range algorithms {
			if verifies(&key, algorithm) {
				set.keys = append(set.keys, key)
				break
			}
		}
	}
	if len(set.keys) == 0 {
		return nil, errors.New("the key set has no key for a configured algorithm")
	}
	return set, nil
}

var curves = map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()}

// verifies says whether a key may verify an algorithm. Only public halves pass.
func verifies(key *jose.JSONWebKey, algorithm string) bool {
	if key.Use != "" && key.Use != "sig" || key.Algorithm != "" && key.Algorithm != algorithm {
		return false
	}
	switch public := key.Key.(type) {
	case *rsa.PublicKey:
		return (algorithm[:2] == "RS" || algorithm[:2] == "PS") && public.N.BitLen() >= minRSA
	case *ecdsa.PublicKey:
		return public.Curve == curves[algorithm]
	case ed25519.PublicKey:
		return algorithm == "EdDSA"
	}
	return false
}

// find gives the key of a kid. Without a kid it is the only key there is.
func (s *keySet) find(kid, algorithm string) (*jose.JSONWebKey, bool) {
	if s == nil {
		return nil, false
	}
	var found *jose.JSONWebKey
	for i := range s.keys {
		key := &s.keys[i]
		if kid != "" && key.KeyID != kid || !verifies(key, algorithm) {
			continue
		}
		if found != nil {
			return nil, false // which of them is meant, nobody can say
		}
		found = key
	}
	return found, found != nil
}

// keys are the newest key set that was seen, and who sees to it.
type keys struct {
	name       string
	source     func(context.Context) ([]byte, error)
	algorithms []string
	log        *slog.Logger
	set        atomic.Pointer[keySet] // nil: none was seen yet
	asked      chan *fetch            // for run, one at a time

	mu   sync.Mutex
	last *fetch // nil: there was none
}

// fetch is one question to the issuer, for all who wait for its answer.
type fetch struct {
	began time.Time
	done  chan struct{} // closed when it is over
	err   error         // to be read then
}

func (f *fetch) over() bool {
	select {
	case <-f.done:
		return true
	default:
		return false
	}
}

func newKeys(c Config) *keys {
	return &keys{name: c.Name, source: c.source(), algorithms: c.Algorithms, log: c.Logger, asked: make(chan *fetch, 1)}
}

// find gives the key for a token: errUnknownKey if there is none,
// auth.ErrProviderBusy if that cannot be said.
func (k *keys) find(ctx context.Context, kid, algorithm string) (*jose.JSONWebKey, error) {
	set := k.set.Load()
	if key, ok := set.find(kid, algorithm); ok {
		switch age := time.Since(set.read); {
		case age <= freshFor:
			return key, nil
		case age <= trustedFor:
			k.ask()
			return key, nil
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, brief)
		defer cancel()
	}
	return k.renewed(ctx, kid, algorithm)
}

// renewed is find for whoever the set at hand does not do for: it waits for the
// fetch that it asks for. When that fails, the set stays as it was.
func (k *keys) renewed(ctx context.Context, kid, algorithm string) (*jose.JSONWebKey, error) {
	err := k.wait(ctx, k.ask())
	if key, ok := k.set.Load().find(kid, algorithm); ok {
		return key, nil
	}
	if err != nil {
		// Only in words: a caller's deadline must not pass for the store's.
		return nil, fmt.Errorf("oidc: %s: keys: %w: %v", k.name, auth.ErrProviderBusy, err)
	}
	return nil, errUnknownKey
}

// ask gives the fetch that is under way or was a moment ago, and otherwise begins
// one.
func (k *keys) ask() *fetch {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.last == nil || k.last.over() && time.Since(k.last.began) >= fetchEvery {
		k.last = &fetch{began: time.Now(), done: make(chan struct{})}
		k.asked <- k.last // has room: the one before it is over
	}
	return k.last
}

func (k *keys) wait(ctx context.Context, f *fetch) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run makes the fetches until ctx ends, the first one at once, and then also
// without anybody's use: a key that was withdrawn must not wait for that.
func (k *keys) run(ctx context.Context) {
	due := time.NewTicker(freshFor)
	defer due.Stop()
	if k.set.Load() == nil {
		k.ask()
	}
	for away := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-due.C:
			k.ask()
		case f := <-k.asked:
			f.err = k.fetch(ctx)
			close(f.done)
			if (f.err != nil) == away || ctx.Err() != nil {
				continue
			}
			if away = f.err != nil; away {
				k.log.Warn("an issuer's keys cannot be had, known ones stay good", "provider", k.name, "error", f.err)
			} else {
				k.log.Info("the issuer's keys can be had again", "provider", k.name)
			}
		}
	}
}

// fetch has the newest set replace the one before.
func (k *keys) fetch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	body, err := k.source(ctx)
	if err != nil {
		return err
	}
	set, err := parseKeys(body, k.algorithms)
	if err != nil {
		return err
	}
	k.set.Store(set)
	return nil
}

// discovered is the address of the key set (OpenID Connect Discovery 1.0, section
// 4.3): the document must be the issuer's own.
func (c Config) discovered(document []byte) (string, error) {
	var found struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	switch err := json.Unmarshal(document, &found); {
	case err != nil:
		return "", errors.New("the document is not JSON")
	case found.Issuer != c.Issuer:
		return "", fmt.Errorf("the document is of the issuer %q", found.Issuer)
	case !secure(found.JWKSURI):
		return "", errors.New("jwks_uri is not an https URL")
	}
	return found.JWKSURI, nil
}
