package oidc_test

import (
	"context"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"scanlogin/auth"
	"scanlogin/auth/oidc"
)

func TestRotatedKeyIsFoundAndAVanishedOneStopsBeingGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, next := ed("old"), ed("next")
		i := newIssuer(old)
		p := run(t, i.config())
		accepts(t, p, old.sign(i.good(), nil))
		i.publish(old, next)
		time.Sleep(10 * time.Second)
		accepts(t, p, next.sign(i.good(), nil))
		accepts(t, p, old.sign(i.good(), nil))
		if n := i.fetches.Load(); n != 2 {
			t.Errorf("%d fetches, want 2", n)
		}
		i.publish(next)
		accepts(t, p, old.sign(i.good(), nil)) // nobody had a reason to look
		time.Sleep(16 * time.Minute)
		before := i.fetches.Load() // nobody came by, and it was looked all the same
		refuses(t, p, old.sign(i.good(), nil), auth.ErrInvalidCredential)
		if before != 3 {
			t.Errorf("%d fetches, want 3", before)
		}
		accepts(t, p, next.sign(i.good(), nil))
	})
}

// Whoever has a withdrawn key comes first after the issuer was away for long: the
// old set is not what that is judged by.
func TestAttackWithdrawnKeyAfterALongSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, next := ed("old"), ed("next")
		i := newIssuer(old)
		p := run(t, i.config())
		accepts(t, p, old.sign(i.good(), nil))
		i.die(true)
		time.Sleep(65 * time.Minute)
		accepts(t, p, old.sign(i.good(), nil)) // the best that is known
		synctest.Wait()
		i.publish(next)
		i.die(false)
		time.Sleep(9 * time.Minute) // the next look without a user is in one more
		refuses(t, p, old.sign(i.good(), nil), auth.ErrInvalidCredential)
		accepts(t, p, next.sign(i.good(), nil))
	})
}

func TestOldKeyOfAMuteIssuerLeavesTimeForTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		known := ed("known")
		i := newIssuer(known)
		p := run(t, i.config())
		accepts(t, p, known.sign(i.good(), nil))
		i.mute()
		time.Sleep(65 * time.Minute)
		for _, most := range []time.Duration{300 * time.Millisecond, 0} { // then the answer is there: none
			start := time.Now()
			accepts(t, p, known.sign(i.good(), nil))
			if waited := time.Since(start); waited != most {
				t.Errorf("waited %v, want %v", waited, most)
			}
			time.Sleep(3 * time.Second)
		}
	})
}

// One kid for all keys, or none at all: the signature says that there is another.
func TestKeyThatFollowsAnotherUnderItsName(t *testing.T) {
	for _, kid := range []string{"", "always"} {
		synctest.Test(t, func(t *testing.T) {
			old, next := ed(kid), ed(kid)
			i := newIssuer(old)
			p := run(t, i.config())
			accepts(t, p, old.sign(i.good(), nil))
			time.Sleep(time.Minute)
			i.publish(next)
			accepts(t, p, next.sign(i.good(), nil))
			refuses(t, p, old.sign(i.good(), nil), auth.ErrInvalidCredential)
		})
	}
}

// Whoever can write a signature can make it up: that costs the issuer one question
// in ten seconds, and nobody else anything.
func TestAttackWrongSignatureStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		known := ed("known")
		i := newIssuer(known)
		p := run(t, i.config())
		good, wrong := known.sign(i.good(), nil), ed("known").sign(i.good(), nil)
		accepts(t, p, good)
		before := i.fetches.Load()
		for range 250 {
			refuses(t, p, wrong, auth.ErrInvalidCredential)
			accepts(t, p, good)
			time.Sleep(200 * time.Millisecond)
		}
		if n := i.fetches.Load() - before; n < 2 || n > 5 {
			t.Errorf("%d fetches in 50 s", n)
		}
		time.Sleep(10 * time.Second)
		i.die(true)
		refuses(t, p, wrong, auth.ErrInvalidCredential) // the key that is known says no
	})
}

// Whoever can write a header can make up a kid.
func TestAttackUnknownKidStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		known := ed("known")
		i := newIssuer(known)
		p := run(t, i.config())
		accepts(t, p, known.sign(i.good(), nil))
		time.Sleep(time.Minute)
		i.mute()
		before, began := i.fetches.Load(), time.Now()
		good := known.sign(i.good(), nil)
		var storm sync.WaitGroup
		for n := range 200 {
			made := signer{fmt.Sprint("made up ", n), "EdDSA", known.private}.sign(i.good(), nil)
			storm.Go(func() {
				time.Sleep(time.Duration(n) * 300 * time.Millisecond) // a minute in all
				switch _, err := p.Authenticate(t.Context(), made); {
				case !errors.Is(err, auth.ErrProviderBusy):
					t.Errorf("%v, want busy", err)
				}
			})
			storm.Go(func() {
				time.Sleep(time.Duration(n) * 300 * time.Millisecond)
				start := time.Now()
				accepts(t, p, good)
				if waited := time.Since(start); waited != 0 {
					t.Errorf("a known key waited %v", waited)
				}
			})
		}
		storm.Wait()
		spent := time.Since(began)
		if n := i.fetches.Load() - before; n < 2 || n > int64(spent/(10*time.Second))+1 {
			t.Errorf("%d fetches in %v", n, spent)
		}
	})
}

// 200 at once share one answer, and the real key among them is found by it.
func TestAttackUnknownKidStormOverHTTP(t *testing.T) {
	known, next := ed("known"), ed("next")
	i := newIssuer(known, next).serve(t)
	hold := i.mute()
	p := run(t, i.config(overHTTP(i)))
	var storm sync.WaitGroup
	for n := range 200 {
		storm.Go(func() {
			if n%2 == 0 {
				accepts(t, p, next.sign(i.good(), nil))
				return
			}
			refuses(t, p, signer{fmt.Sprint(n), "EdDSA", known.private}.sign(i.good(), nil), auth.ErrInvalidCredential)
		})
	}
	close(hold)
	storm.Wait()
	if n := i.fetches.Load(); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
}

func TestKnownKeysOutliveTheirEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		known := ed("known")
		i := newIssuer(known)
		p := run(t, i.config())
		accepts(t, p, known.sign(i.good(), nil))
		var hold chan struct{}
		for name, fault := range map[string]func(){
			"mute":      func() { hold = i.mute() },
			"dead":      func() { i.die(true) },
			"HTML":      func() { i.answer("<html>busy</html>") },
			"empty set": func() { i.answer(members{"keys": []any{}}) },
			"no set":    func() { i.answer(members{"error": "busy"}) },
		} {
			fault()
			for range 3 {
				before := i.fetches.Load()
				time.Sleep(20 * time.Minute)
				start := time.Now()
				accepts(t, p, known.sign(i.good(), nil))
				if waited := time.Since(start); waited > 300*time.Millisecond { // the store has 500 left
					t.Errorf("%s: waited %v", name, waited)
				}
				synctest.Wait()
				if name != "dead" && i.fetches.Load() == before {
					t.Errorf("%s: not asked again", name)
				}
				time.Sleep(3 * time.Second) // no fetch takes longer
			}
			i.die(false)
			if hold != nil {
				close(hold)
				hold = nil
			}
		}
		i.publish(ed("next"))
		time.Sleep(20 * time.Minute)
		refuses(t, p, known.sign(i.good(), nil), auth.ErrInvalidCredential)
	})
}

func TestNoKeyIsKnownWhileTheIssuerCannotBeAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		known := ed("known")
		i := newIssuer(known)
		i.die(true)
		p := run(t, i.config())
		token := func() string { return known.sign(i.good(), nil) }
		refuses(t, p, token(), auth.ErrProviderBusy)
		i.die(false)
		refuses(t, p, token(), auth.ErrProviderBusy) // it was asked a moment ago
		time.Sleep(10 * time.Second)
		accepts(t, p, token())
	})
}

func TestWhoWaitsForAKeyDoesNotWaitForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		known := ed("known")
		i := newIssuer(known)
		i.mute()
		p := run(t, i.config())
		start := time.Now()
		refuses(t, p, known.sign(i.good(), nil), auth.ErrProviderBusy)
		if waited := time.Since(start); waited > 3*time.Second {
			t.Errorf("waited %v", waited)
		}
		time.Sleep(10 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := p.Authenticate(ctx, known.sign(i.good(), nil))
		if !errors.Is(err, auth.ErrProviderBusy) || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, want only busy", err)
		}
	})
}

func TestDiscoveryOfAnotherIssuer(t *testing.T) {
	for name, found := range map[string]members{
		"other issuer":  {"issuer": "https://id.evil.example"},
		"with a slash":  {"issuer": "https://id.acme.example/"},
		"no issuer":     {"issuer": nil},
		"keys in clear": {"jwks_uri": "http://id.acme.example/keys"},
		"no keys":       {"jwks_uri": nil},
	} {
		t.Run(name, func(t *testing.T) {
			key := ed("1")
			i := newIssuer(key)
			i.discovery = found
			p := run(t, i.config())
			refuses(t, p, key.sign(i.good(), nil), auth.ErrProviderBusy)
			if i.fetches.Load() != 0 {
				t.Error("its keys were asked for")
			}
		})
	}
}

func TestKeysOfAURL(t *testing.T) {
	key := ed("1")
	i := newIssuer(key).serve(t)
	p := run(t, i.config(overHTTP(i), func(c *oidc.Config) {
		c.Issuer, c.JWKSURL = "acme", i.url+"/keys"
	}))
	accepts(t, p, key.sign(i.good(members{"iss": "acme"}), nil))
}

func TestKeysOfAFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := ed("1"), ed("2")
		file := filepath.Join(t.TempDir(), "keys.json")
		write := func(key signer) {
			set := must(json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key.public()}}))
			must(0, os.WriteFile(file, set, 0o600))
		}
		i := newIssuer()
		write(first)
		p := run(t, i.config(func(c *oidc.Config) { c.JWKSFile, c.Client = file, nil }))
		accepts(t, p, first.sign(i.good(), nil))
		write(second)
		accepts(t, p, second.sign(i.good(), nil))
		refuses(t, p, first.sign(i.good(), nil), auth.ErrInvalidCredential)
	})
}

func TestKeySetWithKeysThatAreNotForThis(t *testing.T) {
	good, weak := ed("good"), signer{"weak", "RS256", must(rsa.GenerateKey(rand.Reader, 1024))}
	encrypts, other := ed("enc"), ec("other", "ES256", elliptic.P256())
	enc, wrong := encrypts.public(), other.public()
	enc.Use, wrong.Algorithm = "enc", "ES384"
	secret := []byte("0123456789abcdef0123456789abcdef")
	private := signer{"private", "EdDSA", ed("x").private}
	keys := []any{
		members{"kty": "OKP", "crv": "Ed448", "x": "AAAA", "kid": "odd"}, members{"kty": "new"}, "text", nil,
		weak.public(), enc, wrong, jose.JSONWebKey{Key: secret, KeyID: "secret"},
		jose.JSONWebKey{Key: private.private, KeyID: "private"}, good.public(),
	}
	i := newIssuer()
	i.answer(members{"keys": keys})
	p := run(t, i.config())
	accepts(t, p, good.sign(i.good(), nil))
	// The only key that is left needs no name.
	accepts(t, p, signer{"", "EdDSA", good.private}.sign(i.good(), nil))
	for _, k := range []signer{weak, encrypts, other, private} {
		refuses(t, p, k.sign(i.good(), nil), auth.ErrInvalidCredential)
	}
}
