package auth

import (
	"testing"
	"time"

	"scanlogin/qrlogin/backend"
)

// each runs a benchmark for every algorithm, with the tokens of one session of a user
// on the embedded store.
func each(b *testing.B, bench func(b *testing.B, s *Service, tokens Tokens)) {
	for _, algorithm := range algorithms {
		b.Run("alg="+algorithm, func(b *testing.B) {
			store := backend.NewMemory()
			defer store.Close()
			s := New(store, Config{Issuer: "https://login.example", Algorithm: algorithm})
			tokens, err := s.Issue(b.Context(), Grant{
				SID: s.NewSID(), Identity: Identity{Provider: "demo", Subject: "alice", Name: "Alice"},
				ClientID: "web", Scope: "openid profile", AMR: []string{"qr"},
				Origin: Origin{Device: Device{Browser: "Chrome", OS: "Windows"}}, Seed: []byte("seed"),
			})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			bench(b, s, tokens)
		})
	}
}

// BenchmarkSign is making one access token.
func BenchmarkSign(b *testing.B) {
	each(b, func(b *testing.B, s *Service, tokens Tokens) {
		with, err := s.keys.current(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		of := &session{SID: tokens.SID, ClientID: "web", AMR: []string{"qr"}, Used: time.Now().UnixMilli(),
			Created: time.Now().UnixMilli(), Refreshed: time.Now().UnixMilli(), AuthTime: time.Now().UnixMilli()}
		for b.Loop() {
			if _, _, err := s.sign(with, tokens.Sub, of, tokens.Scope); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkVerify is one request's look at its access token: signature, claims and the
// user's record.
func BenchmarkVerify(b *testing.B) {
	each(b, func(b *testing.B, s *Service, tokens Tokens) {
		for b.Loop() {
			if _, err := s.Verify(b.Context(), tokens.Access); err != nil {
				b.Fatal(err)
			}
		}
	})
}
