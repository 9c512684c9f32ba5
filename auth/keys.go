package auth

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	keysKey = "keys"

	reloadEvery = time.Second // after a `kid` nobody here knows
	retryEvery  = time.Second // while the store is away
)

// keys is this instance's view of the shared ring.
type keys struct {
	store  Store
	config Config

	mu   sync.Mutex // orders writers of ring
	rev  uint64
	ring atomic.Pointer[ring] // never changed in place; nil: not loaded yet

	reloading chan struct{} // holds one while somebody reloads
	reloaded  time.Time     // guarded by reloading
}

func newKeys(store Store, c Config) *keys {
	return &keys{store: store, config: c, reloading: make(chan struct{}, 1)}
}

// run follows the ring and promotes its keys in time, until ctx ends.
func (k *keys) run(ctx context.Context) {
	wake := make(chan struct{}, 1)
	changed := func([]byte, uint64) { // whatever it is now, tend looks
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	var stop func()
	defer func() {
		if stop != nil {
			stop()
		}
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	away := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-wake:
		case <-timer.C:
		}
		var err error
		if stop == nil {
			stop, err = k.store.Watch(ctx, keysKey, changed)
		}
		if err == nil {
			err = k.tend(ctx)
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			timer.Reset(retryEvery)
		} else {
			// Never at once: a clock that was set back may leave it overdue here.
			timer.Reset(max(time.Until(k.ring.Load().due(k.config.KeyLife)), retryEvery))
		}
		if (err != nil) != away {
			away = err != nil
			k.log(away, err)
		}
	}
}

func (k *keys) log(away bool, err error) {
	if away {
		k.config.Logger.Warn("the key ring cannot be kept, trying again", "error", err)
	} else {
		k.config.Logger.Info("the key ring is kept again")
	}
}

// adopt takes a stored ring unless a newer one is known.
func (k *keys) adopt(stored *ring, rev uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if rev < k.rev {
		return
	}
	k.ring.Store(stored)
	k.rev = rev
}

// tend makes the stored ring what it has to be now, and adopts it. The keys
// are made outside of the change and the need for them is looked at inside, so
// that of many instances one promotes and the others follow.
func (k *keys) tend(ctx context.Context) error {
	spare := [2]key{newKey(), newKey()}
	var now *ring
	rev, err := k.store.Update(ctx, keysKey, func(old []byte) ([]byte, time.Duration, error) {
		stored, err := decodeRing(old)
		if err != nil {
			return nil, 0, err
		}
		clock := time.Now()
		merged, absorbed := stored.absorb(k.ring.Load(), clock, k.config)
		advanced, promoted := merged.advance(clock, k.config, spare)
		now = advanced
		if !absorbed && !promoted {
			return nil, 0, nil
		}
		value, err := json.Marshal(now)
		return value, k.life(), err
	})
	if err != nil {
		return fmt.Errorf("auth: key ring: %w", err)
	}
	k.adopt(now, rev)
	return nil
}

// life of the stored ring: past the next promotion, however late, and past the
// last token of a ring that nobody promotes any more.
func (k *keys) life() time.Duration {
	return 2*max(k.config.KeyLife, keyLead) + k.config.AccessTTL + leeway + keyLag
}

// current is the ring in use, loaded or made when there is none yet.
func (k *keys) current(ctx context.Context) (*ring, error) {
	if r := k.ring.Load(); r != nil {
		return r, nil
	}
	if err := k.tend(ctx); err != nil {
		return nil, err
	}
	return k.ring.Load(), nil
}

// find gives the public key with this `kid`. An unknown one makes it look at
// the stored ring, at most once a second: another instance may have made one
// while this one could not hear of it.
func (k *keys) find(ctx context.Context, id string) (any, error) {
	r, err := k.current(ctx)
	if err != nil {
		return nil, err
	}
	if public, ok := r.find(id, time.Now()); ok {
		return public, nil
	}
	select {
	case k.reloading <- struct{}{}:
		defer func() { <-k.reloading }()
	case <-ctx.Done():
		return nil, &unavailable{ctx.Err()}
	}
	if time.Since(k.reloaded) >= reloadEvery {
		if err := k.tend(ctx); err != nil {
			return nil, err
		}
		k.reloaded = time.Now()
	}
	if public, ok := k.ring.Load().find(id, time.Now()); ok {
		return public, nil
	}
	return nil, ErrInvalidToken
}

// unavailable is the end of a caller's time while others asked the store: to
// be answered like a store that did not answer.
type unavailable struct{ error }

func (u *unavailable) Unwrap() error     { return u.error }
func (u *unavailable) Unavailable() bool { return true }

// jwks is the ring's public half as RFC 7517 section 5 writes it.
func (r *ring) jwks(now time.Time) ([]byte, error) {
	type jwk struct {
		KeyType   string `json:"kty"`
		Curve     string `json:"crv"`
		X         string `json:"x"`
		ID        string `json:"kid"`
		Use       string `json:"use"`
		Algorithm string `json:"alg"`
	}
	set := struct {
		Keys []jwk `json:"keys"`
	}{}
	for _, k := range r.keys() {
		if !k.over(now) {
			set.Keys = append(set.Keys, jwk{"OKP", "Ed25519", k.x(), k.id, "sig", algorithm})
		}
	}
	value, err := json.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("auth: jwks: %w", err)
	}
	return value, nil
}
