package auth_test

import (
	"context"
	"fmt"
	"time"

	"scanlogin/auth"
	"scanlogin/qrlogin/backend"
)

// A browser gets a session, keeps it by refreshing, and loses it.
func Example() {
	ctx := context.Background()
	store := backend.NewMemory()
	defer store.Close()
	s := auth.New(store, auth.Config{Issuer: "https://login.example"})

	tokens, err := s.Issue(ctx, auth.Grant{
		SID:      s.NewSID(),
		Identity: auth.Identity{Provider: "demo", Subject: "alice", Name: "Alice"},
		ClientID: "web",
		AMR:      []string{"qr"},
		AuthTime: time.Now(),
		Seed:     []byte("a secret that only this browser has"),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if tokens, err = s.Refresh(ctx, "web", tokens.Refresh, ""); err != nil {
		fmt.Println(err)
		return
	}
	who, err := s.Verify(ctx, tokens.Access)
	fmt.Println(who.Name, who.Sub, who.Scope, err)

	if err := s.End(ctx, who, who.SID); err != nil {
		fmt.Println(err)
		return
	}
	_, err = s.Verify(ctx, tokens.Access)
	fmt.Println(err)
	// Output:
	// Alice demo:alice openid profile <nil>
	// auth: invalid token
}
