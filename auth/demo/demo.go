// Package demo is a provider for trying and testing: the credential is simply
// the name of one of the configured users, there is no password. A server that
// offers it lets anybody in who can reach it, which is why the program warns
// about it at start and refuses it in production.
package demo

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"unicode"
	"unicode/utf8"

	"scanlogin/auth"
)

type provider struct{ users []string }

// New accepts exactly these names, as they are written.
func New(users []string) auth.Provider { return provider{users} }

// Authenticate compares with every user in constant time, so that the time
// says nothing about who exists. Anything else is auth.ErrInvalidCredential.
func (p provider) Authenticate(_ context.Context, credential string) (auth.Identity, error) {
	given := sha256.Sum256([]byte(credential))
	name, found := "", 0
	for _, user := range p.users {
		want := sha256.Sum256([]byte(user))
		if equal := subtle.ConstantTimeCompare(given[:], want[:]); equal == 1 {
			name, found = user, 1
		}
	}
	if found == 0 || name == "" {
		return auth.Identity{}, auth.ErrInvalidCredential
	}
	return auth.Identity{Provider: "demo", Subject: name, Name: capitalised(name)}, nil
}

func capitalised(name string) string {
	first, size := utf8.DecodeRuneInString(name)
	return string(unicode.ToUpper(first)) + name[size:]
}
