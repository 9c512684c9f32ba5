package backend

import (
	"context"
	"crypto/hkdf"
	crand "crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// The root record: a format byte, then one or two wrappings of the root key:
//
//	1 | nonce 12 | sealed root key 32, tag 16 | ...
const (
	rootFormat   = 1
	wrappingSize = nonceSize + rootSize + tagSize
)

// errSecret is why a store cannot be used under our secret; the text tells the operator
// what to do.
var errSecret = errors.New("the secret does not open the root key of this store: " +
	"use the secret of the other instances, give the one before as previous secret, or choose another prefix")

// errOtherRoot is why a store cannot be used any more: somebody started it anew.
var errOtherRoot = errors.New("the store holds another root key than the one in use: " +
	"it was emptied and started anew under another secret; restart this instance")

// root is what we know of the store's root key, and the goroutine that gets it.
type root struct {
	r        *Redis
	name     string
	wrapping []byte // wraps under the secret
	previous []byte // wraps under the previous one; nil: there is none

	ready  chan struct{} // closed when inUse is set
	inUse  atomic.Pointer[keys]
	broken atomic.Pointer[error] // why the store cannot be used under our secrets

	turn   chan struct{} // one check at a time
	key    []byte        // the root key in use, or the one that an empty store would get
	record []byte        // the root record as last seen in the store, or as it would be written

	kick   chan struct{} // the link was remade: look again
	keeper sync.WaitGroup
}

func newRoot(r *Redis, c RedisConfig) *root {
	t := &root{
		r:        r,
		name:     c.Prefix + "root",
		wrapping: fromSecret(c.Secret, c.Prefix, "scanlogin wrapping"),
		ready:    make(chan struct{}),
		turn:     make(chan struct{}, 1),
		kick:     make(chan struct{}, 1),
	}
	first := c.Secret
	if len(c.PreviousSecret) > 0 {
		first = c.PreviousSecret
		t.previous = fromSecret(c.PreviousSecret, c.Prefix, "scanlogin wrapping")
	}
	t.key = fromSecret(first, c.Prefix, "scanlogin root")
	t.record = t.wrap([]byte{rootFormat}, t.wrapping)
	if t.previous != nil {
		t.record = t.wrap(t.record, t.previous)
	}
	return t
}

// keys gives the keys in use. It waits for the first ones within ctx.
func (t *root) keys(ctx context.Context) (*keys, error) {
	if broken := t.broken.Load(); broken != nil {
		return nil, unavailable{*broken}
	}
	if t.r.ctx.Err() != nil {
		return nil, unavailable{errClosed}
	}
	select {
	case <-t.ready:
		return t.inUse.Load(), nil
	default:
	}
	select {
	case <-t.ready:
		return t.inUse.Load(), nil
	case <-t.r.ctx.Done():
		return nil, unavailable{errClosed}
	case <-ctx.Done():
		if broken := t.broken.Load(); broken != nil {
			return nil, unavailable{*broken}
		}
		return nil, unavailable{fmt.Errorf("%w (the root key is not there yet)", ctx.Err())}
	}
}

// keep gets the root key, and puts it back when the link was remade: the server may have
// come back empty.
func (t *root) keep() {
	for {
		ctx, cancel := context.WithTimeout(t.r.ctx, callTimeout)
		err := t.check(ctx)
		cancel()
		var again <-chan time.Time
		if err != nil {
			again = time.After(callTimeout/2 + rand.N(callTimeout/2))
		}
		select {
		case <-again:
		case <-t.kick:
		case <-t.r.ctx.Done():
			return
		}
	}
}

// check writes our root record if there is none, which shows that writing works, and else
// compares the one that is there with ours.
func (t *root) check(ctx context.Context) error {
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return unavailable{ctx.Err()}
	}
	answer, err := t.r.do(ctx, "set", t.name, t.record, "nx", "get")
	if err != nil {
		return err
	}
	found, ok := answer.(string)
	if !ok || found == string(t.record) {
		t.adopt(t.key)
		return nil
	}
	key, wrapping := t.unwrap(found)
	switch {
	case key == nil:
		return t.refuse(errSecret)
	case t.inUse.Load() != nil && string(key) != string(t.key):
		return t.refuse(errOtherRoot)
	}
	t.key, t.record = key, []byte(found)
	if wrapping != nil {
		if err := t.rewrap(ctx, wrapping); err != nil {
			return err
		}
	}
	t.adopt(key)
	return nil
}

// adopt takes key into use.
func (t *root) adopt(key []byte) {
	if t.inUse.Load() == nil {
		t.inUse.Store(newKeys(t.prefix(), key))
		close(t.ready)
	}
	if t.broken.Swap(nil) != nil {
		t.r.log.Info("the secret opens the store again")
	}
}

// refuse keeps the store from being used under a key that is not its own.
func (t *root) refuse(why error) error {
	if old := t.broken.Swap(&why); old == nil || *old != why {
		t.r.log.Error("store refused", "cause", why)
	}
	return unavailable{why}
}

func (t *root) prefix() string { return t.name[:len(t.name)-len("root")] }

// rewrap adds a wrapping under our secret to the one that the previous secret opened;
// older ones go. If another instance was faster the next check sees its record.
func (t *root) rewrap(ctx context.Context, old []byte) error {
	record := append(t.wrap([]byte{rootFormat}, t.wrapping), old...)
	done, err := t.r.run(ctx, rewrapScript, t.name, t.record, record)
	if err == nil && done == int64(1) {
		t.record = record
	}
	return err
}

// wrap appends the root key, wrapped under wrapping, to record.
func (t *root) wrap(record, wrapping []byte) []byte {
	nonce := make([]byte, nonceSize)
	crand.Read(nonce)
	return aead(wrapping).Seal(append(record, nonce...), nonce, t.key, []byte(t.name))
}

// unwrap opens a root record; nil if no secret of ours does. If only the previous one
// did, old is its wrapping.
func (t *root) unwrap(record string) (key, old []byte) {
	if len(record) == 0 || record[0] != rootFormat {
		return nil, nil
	}
	rest := []byte(record[1:])
	for ; len(rest) >= wrappingSize; rest = rest[wrappingSize:] {
		w := rest[:wrappingSize]
		if k, err := aead(t.wrapping).Open(nil, w[:nonceSize], w[nonceSize:], []byte(t.name)); err == nil {
			return k, nil
		}
		if t.previous == nil || old != nil {
			continue
		}
		if k, err := aead(t.previous).Open(nil, w[:nonceSize], w[nonceSize:], []byte(t.name)); err == nil {
			key, old = k, w
		}
	}
	return key, old
}

// fromSecret derives 32 bytes from a configured secret (HKDF, RFC 5869).
func fromSecret(secret []byte, prefix, purpose string) []byte {
	out, err := hkdf.Key(sha256.New, secret, []byte(prefix), purpose, rootSize)
	if err != nil {
		panic(err)
	}
	return out
}
