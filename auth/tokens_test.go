package auth_test

import (
	"crypto/sha256"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"scanlogin/auth"
)

func TestIntrospect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory(t)
		s := service(store)
		began := time.Now()
		tokens := issue(t, s)
		got, err := s.Introspect(t.Context(), "device", tokens.Access)
		if err != nil || !got.Active || got.Refresh || got.Sub != "demo:alice" || got.ClientID != "web" || got.Audience != issuer || got.ID == "" ||
			got.SID != tokens.SID || got.Scope != "openid profile" || !slices.Equal(got.AMR, []string{"qr"}) ||
			!got.IssuedAt.Equal(began) || !got.Expires.Equal(began.Add(10*time.Minute)) || !got.AuthTime.Equal(began) {
			t.Errorf("%+v, %v", got, err)
		}
		got, err = s.Introspect(t.Context(), "web", tokens.Refresh)
		if err != nil || !got.Active || !got.Refresh || got.SID != tokens.SID || !got.Expires.Equal(began.Add(7*day)) {
			t.Errorf("%+v, %v", got, err)
		}
		next := refresh(t, s, tokens.Refresh)
		for name, c := range map[string][2]string{
			"another client's refresh token": {"device", next.Refresh},
			"a spent refresh token":          {"web", tokens.Refresh},
			"nothing":                        {"web", ""},
			"a made-up refresh token":        {"web", "sl_rt_" + next.Refresh[10:]},
			"a tampered access token":        {"web", next.Access[:len(next.Access)-4] + "AAAA"},
		} {
			if got, err := s.Introspect(t.Context(), c[0], c[1]); err != nil || got.Active || got.Sub != "" {
				t.Errorf("%s: %+v, %v", name, got, err)
			}
		}
		verified(t, s, next) // nothing of that ended it
		end(t, s, next, next.SID)
		for _, token := range []string{next.Access, next.Refresh} {
			if got, err := s.Introspect(t.Context(), "web", token); err != nil || got.Active {
				t.Errorf("ended: %+v, %v", got, err)
			}
		}
	})
}

func TestRevoke(t *testing.T) {
	store := memory(t)
	s := service(store)
	for name, token := range map[string]func(first, next auth.Tokens) string{
		"refresh token":       func(_, next auth.Tokens) string { return next.Refresh },
		"access token":        func(_, next auth.Tokens) string { return next.Access },
		"spent refresh token": func(first, _ auth.Tokens) string { return first.Refresh },
		"older access token":  func(first, _ auth.Tokens) string { return first.Access },
	} {
		first := issue(t, s)
		next, bystander := refresh(t, s, first.Refresh), issue(t, s)
		if err := s.Revoke(t.Context(), "device", token(first, next)); !errors.Is(err, auth.ErrInvalidGrant) {
			t.Errorf("%s: another client: %v", name, err)
		}
		for _, made := range []string{"", "x", "sl_rt_AAAA", next.Access + "x", next.Refresh[:len(next.Refresh)-2]} {
			if err := s.Revoke(t.Context(), "web", made); err != nil {
				t.Errorf("%s: made up: %v", name, err)
			}
		}
		verified(t, s, next)
		for range 2 {
			if err := s.Revoke(t.Context(), "web", token(first, next)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		over(t, s, next)
		if why := reason(t, s, store, next); why != auth.Logout {
			t.Errorf("%s: reason %q", name, why)
		}
		verified(t, s, bystander)
	}
}

func TestClientSecrets(t *testing.T) {
	hash := func(s string) []byte { sum := sha256.Sum256([]byte(s)); return sum[:] }
	public, confidential := auth.Client{ID: "a"}, auth.Client{ID: "b", SecretHashes: [][]byte{hash("old"), hash("new")}}
	for secret, want := range map[string]bool{"old": true, "new": true, "": false, "New": false, string(hash("old")): false} {
		if confidential.Authenticate(secret) != want {
			t.Errorf("%q: %v", secret, !want)
		}
	}
	if !public.Authenticate("") || public.Authenticate("x") || public.Confidential() || !confidential.Confidential() {
		t.Error("a public client has no secret")
	}
}
