package auth

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	keysKey = "signing-keys"

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

	tending  chan struct{} // holds one while somebody tends the ring
	reloaded time.Time     // guarded by tending
}

func newKeys(store Store, c Config) *keys {
	return &keys{store: store, config: c, tending: make(chan struct{}, 1)}
}

// run follows the ring and promotes its keys in time, until ctx ends.
func (k *keys) run(ctx context.Context) {
	follow(ctx, k.store, keysKey, k.config.Logger, func(ctx context.Context) (time.Time, error) {
		if err := k.alone(ctx, func() error { return k.tend(ctx) }); err != nil {
			return time.Time{}, err
		}
		return k.ring.Load().due(k.config), nil
	})
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

// alone runs f while nobody else on this instance tends the ring: RSA keys are
// dear to make, and a hundred callers ask the store once.
func (k *keys) alone(ctx context.Context, f func() error) error {
	select {
	case k.tending <- struct{}{}:
		defer func() { <-k.tending }()
		return f()
	case <-ctx.Done():
		return &unavailable{ctx.Err()}
	}
}

// tend makes the stored ring what it has to be now, and adopts it.
func (k *keys) tend(ctx context.Context) error {
	_, err := k.change(ctx, asItIs)
	return err
}

func asItIs(r *ring) *ring { return r }

// change makes the stored ring what step and the time make of it, and adopts
// it. It looks first and makes keys only when some are missing, outside of the
// store's change; inside, the need is looked at again, so that of many
// instances one promotes and the others follow.
func (k *keys) change(ctx context.Context, step func(*ring) *ring) (*ring, error) {
	var spare []key
	for {
		var want *ring
		var missing int
		rev, err := k.store.Update(ctx, keysKey, func(old []byte) ([]byte, time.Duration, error) {
			stored, err := decodeRing(old)
			if err != nil {
				return nil, 0, err
			}
			now := time.Now()
			want = step(stored.absorb(k.ring.Load(), now, k.config))
			if missing = want.needs(now, k.config) - len(spare); missing > 0 {
				return nil, 0, nil
			}
			if want = want.advance(now, k.config, spare); want == stored {
				return nil, 0, nil
			}
			value, err := json.Marshal(want)
			return value, k.life(), err
		})
		if err != nil {
			return nil, fmt.Errorf("auth: key ring: %w", err)
		}
		if missing <= 0 {
			k.adopt(want, rev)
			return want, nil
		}
		for range missing {
			fresh, err := newKey(k.config.Algorithm)
			if err != nil {
				return nil, err
			}
			spare = append(spare, fresh)
		}
	}
}

// life of the stored ring: past the next promotion, however late, and past the
// last token of a ring that nobody promotes any more.
func (k *keys) life() time.Duration {
	return 2*max(k.config.KeyLife, keyLead) + k.config.longestAccess() + leeway + keyLag
}

// current is the ring in use, loaded or made when there is none yet.
func (k *keys) current(ctx context.Context) (*ring, error) {
	if r := k.ring.Load(); r != nil {
		return r, nil
	}
	err := k.alone(ctx, func() error {
		if k.ring.Load() != nil {
			return nil // somebody else's wait was for the same
		}
		return k.tend(ctx)
	})
	if err != nil {
		return nil, err
	}
	return k.ring.Load(), nil
}

// find gives the key with this `kid`. An unknown one makes it look at the
// stored ring, at most once a second: another instance may have made one while
// this one could not hear of it. What the `kid` says has no part in that.
func (k *keys) find(ctx context.Context, id string) (*key, error) {
	r, err := k.current(ctx)
	if err != nil {
		return nil, err
	}
	if found, ok := r.find(id, time.Now()); ok {
		return found, nil
	}
	err = k.alone(ctx, func() error {
		if time.Since(k.reloaded) < reloadEvery {
			return nil
		}
		if err := k.tend(ctx); err != nil {
			return err
		}
		k.reloaded = time.Now()
		return nil
	})
	if err != nil {
		return nil, err
	}
	if found, ok := k.ring.Load().find(id, time.Now()); ok {
		return found, nil
	}
	return nil, ErrInvalidToken
}

// RotateKeys has the next key sign from now on, or as soon as it has been
// published for long enough; whichever instance is first sees to that, also
// after a restart. The key that signed until then verifies for as long as its
// tokens live. Asking again before signsFrom changes nothing, and of several
// who ask at once one rotates.
func (s *Service) RotateKeys(ctx context.Context) (signsFrom time.Time, err error) {
	err = s.keys.alone(ctx, func() (err error) {
		signsFrom, err = s.keys.rotate(ctx)
		return err
	})
	return signsFrom, err
}

func (k *keys) rotate(ctx context.Context) (signsFrom time.Time, err error) {
	seen, err := k.change(ctx, asItIs)
	if err != nil {
		return time.Time{}, err
	}
	now, err := k.change(ctx, func(r *ring) *ring { return r.retire(seen.Current.id) })
	if err != nil {
		return time.Time{}, err
	}
	if now.Current.id != seen.Current.id {
		return time.UnixMilli(now.Current.Since), nil
	}
	return now.signsFrom(k.config), nil
}

// unavailable is the end of a caller's time while others asked the store: to
// be answered like a store that did not answer.
type unavailable struct{ error }

func (u *unavailable) Unwrap() error     { return u.error }
func (u *unavailable) Unavailable() bool { return true }

// jwks is the ring's public half as RFC 7517 section 5 writes it.
func (r *ring) jwks(now time.Time) ([]byte, error) {
	var set jose.JSONWebKeySet
	for _, k := range r.keys() {
		if !k.over(now) {
			set.Keys = append(set.Keys, k.jwk())
		}
	}
	value, err := json.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("auth: jwks: %w", err)
	}
	return value, nil
}
