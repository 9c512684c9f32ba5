package auth

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Trader is an Issuer whose tokens may be traded for sessions of ours (SignIn),
// if it says so: a session outlives the token, and all that the issuer thinks of
// its bearer since. Of any other Issuer they never may.
type Trader interface {
	Issuer
	Sessions() bool
}

// keepsToTokens says whether a provider is an issuer whose tokens stay what they
// are.
func keepsToTokens(p Provider) bool {
	_, issuer := p.(Issuer)
	trader, ok := p.(Trader)
	return issuer && !(ok && trader.Sessions())
}

// issuersOf are the configured providers that sign tokens themselves, by their
// `iss`. What is signed in our own name is never theirs to judge.
func issuersOf(c Config) map[string]Issuer {
	issuers := map[string]Issuer{}
	for _, p := range c.Providers {
		if one, ok := p.(Issuer); ok && one.Issuer() != c.Issuer {
			issuers[one.Issuer()] = one
		}
	}
	return issuers
}

// issuerOf is whom a token claims to be from, if that is a configured issuer.
// Nothing is verified here: the claim only says who is to be asked.
func (s *Service) issuerOf(access string) (Issuer, bool) {
	if len(s.issuers) == 0 || len(access) > maxAccess {
		return nil, false
	}
	_, rest, _ := strings.Cut(access, ".")
	payload, _, _ := strings.Cut(rest, ".")
	plain, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return nil, false
	}
	var claimed struct {
		Issuer string `json:"iss"`
	}
	if json.Unmarshal(plain, &claimed) != nil {
		return nil, false
	}
	issuer, ok := s.issuers[claimed.Issuer]
	return issuer, ok
}

// vouched is Verify for a token that another issuer signed. There is no session
// whose record would be read, but the record is: a ban is in it before an
// instance that does not hear from the store knows of it.
func (s *Service) vouched(ctx context.Context, issuer Issuer, access string) (Principal, error) {
	who, err := issuer.Authenticate(ctx, access)
	switch {
	case errors.Is(err, ErrInvalidCredential):
		return Principal{}, ErrInvalidToken
	case err != nil:
		return Principal{}, fmt.Errorf("auth: issuer: %w", err)
	}
	if err := who.check(); err != nil {
		return Principal{}, err
	}
	sub := who.Sub()
	if err := s.bans.refuse(ctx, sub); err != nil {
		return Principal{}, err
	}
	r, err := s.load(ctx, sub)
	switch {
	case err != nil:
		return Principal{}, err
	case time.Now().UnixMilli() < r.Banned:
		return Principal{}, ErrBanned
	}
	return Principal{Sub: sub, Name: who.Name, Picture: who.Picture, ClientID: Phone, Scope: Phone}, nil
}
