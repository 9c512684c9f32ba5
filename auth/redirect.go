package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"
)

// stateLife is how long somebody may be away at a provider.
const stateLife = 5 * time.Minute

// A state is, in hex, 256 random bits, when it was made (Unix milliseconds) and a
// MAC of both and of the provider: nothing is stored until it comes back.
const (
	stateRandom = 32
	stateMade   = stateRandom + 8
	stateSize   = stateMade + 16
)

// stateKey is the record of a state that was spent.
func stateKey(state []byte) string { return "state:" + hex.EncodeToString(hash(state)) }

// redirector is a provider that people are sent away to.
func (s *Service) redirector(provider string) (Redirector, error) {
	p, ok := s.config.Providers[provider].(Redirector)
	if !ok {
		return nil, ErrUnknownProvider
	}
	return p, nil
}

// NewState makes the `state` of one sign-in at a provider (RFC 6749 section
// 10.12): good once, there alone and for 5 minutes. Binding it to the browser is
// the caller's. ErrUnknownProvider.
func (s *Service) NewState(ctx context.Context, provider string) (string, error) {
	if _, err := s.redirector(provider); err != nil {
		return "", err
	}
	state := make([]byte, stateRandom, stateSize)
	rand.Read(state) // never fails
	state = binary.BigEndian.AppendUint64(state, uint64(time.Now().UnixMilli()))
	seal, err := s.stateSeal(ctx, provider, state)
	return hex.EncodeToString(append(state, seal...)), err
}

func (s *Service) stateSeal(ctx context.Context, provider string, state []byte) ([]byte, error) {
	key, err := s.store.Derive(ctx, "sign-in state")
	if err != nil {
		return nil, fmt.Errorf("auth: state: %w", err)
	}
	return mac(key, []byte(provider), state)[:stateSize-stateMade], nil
}

// Redirect is where to send a browser with a state from NewState.
// ErrUnknownProvider.
func (s *Service) Redirect(provider, state, userAgent string) (string, error) {
	p, err := s.redirector(provider)
	if err != nil {
		return "", err
	}
	return p.Redirect(state, userAgent), nil
}

// Return lets somebody in who came back from a provider with a code, as SignIn
// does by a credential. The state is spent before the provider is asked, so a
// callback that is sent again asks nobody anything. ErrUnknownProvider;
// ErrInvalidState for a state that was used, is too old, or was not made here for
// this provider; then as SignIn.
func (s *Service) Return(ctx context.Context, provider, state, code, userAgent string, from Origin) (Tokens, error) {
	p, err := s.redirector(provider)
	if err != nil {
		return Tokens{}, err
	}
	if err := s.spend(ctx, provider, state); err != nil {
		return Tokens{}, err
	}
	return s.admit(ctx, provider, p, p.Credential(code, userAgent), from)
}

// spend takes a state, once. The record is kept for longer than the state would
// be good.
func (s *Service) spend(ctx context.Context, provider, state string) error {
	given, err := hex.DecodeString(state)
	if err != nil || len(given) != stateSize {
		return ErrInvalidState
	}
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	seal, err := s.stateSeal(ctx, provider, given[:stateMade])
	if err != nil {
		return err
	}
	age := time.Since(time.UnixMilli(int64(binary.BigEndian.Uint64(given[stateRandom:stateMade]))))
	if !hmac.Equal(seal, given[stateMade:]) || age < -leeway || age >= stateLife {
		return ErrInvalidState
	}
	_, err = s.store.Update(ctx, stateKey(given), func(old []byte) ([]byte, time.Duration, error) {
		if old != nil {
			return nil, 0, ErrInvalidState
		}
		return []byte("spent"), stateLife + leeway, nil
	})
	if err != nil {
		return fmt.Errorf("auth: state: %w", err)
	}
	return nil
}
