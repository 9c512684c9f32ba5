package auth_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"scanlogin/auth"
)

// acme is an issuer whose tokens are a JSON payload between two dots: what is in
// them is theirs to judge, which is tested where that is done.
type acme struct {
	iss      string
	sessions bool // its tokens may be traded
	err      error
	asked    int
}

func (a *acme) Sessions() bool { return a.sessions }

func (a *acme) Issuer() string { return a.iss }

func (a *acme) Authenticate(_ context.Context, token string) (auth.Identity, error) {
	a.asked++
	if a.err != nil {
		return auth.Identity{}, a.err
	}
	if !strings.HasSuffix(token, ".good") {
		return auth.Identity{}, auth.ErrInvalidCredential
	}
	return auth.Identity{Provider: "acme", Subject: "alice", Name: "Alice", Picture: "https://acme.example/a.png"}, nil
}

// silent is an issuer that says nothing of sessions.
type silent struct{ auth.Provider }

func (silent) Issuer() string { return acmeIssuer }

const acmeIssuer = "https://id.acme.example"

// foreign is a token of the issuer.
func foreign(iss, signature string) string {
	payload, err := json.Marshal(members{"iss": iss})
	if err != nil {
		panic(err)
	}
	return "e30." + base64.RawURLEncoding.EncodeToString(payload) + "." + signature
}

func withAcme(a *acme) func(*auth.Config) {
	return func(c *auth.Config) { c.Providers["acme"] = a }
}

// acmeGrant is a session of the same person in a browser.
func acmeGrant(s *auth.Service) auth.Grant {
	g := grant(s)
	g.Identity = auth.Identity{Provider: "acme", Subject: "alice", Name: "Alice"}
	return g
}

func TestForeignTokenIsAPhone(t *testing.T) {
	s := service(memory(t), withAcme(&acme{iss: acmeIssuer}))
	p, err := s.Verify(t.Context(), foreign(acmeIssuer, "good"))
	if err != nil || p.Sub != "acme:alice" || p.Name != "Alice" || p.Picture == "" || p.SID != "" ||
		p.ClientID != auth.Phone || !p.HasScope(auth.Phone) || p.HasScope("openid") {
		t.Fatalf("%+v, %v", p, err)
	}
	for _, bad := range []string{
		foreign(acmeIssuer, "bad"), foreign(acmeIssuer+"/", "good"), foreign("", "good"), foreign(issuer, "good"),
		"e30.e30.good", "e30..good", "..", "", "good", foreign(acmeIssuer, strings.Repeat("x", 8<<10)+".good"),
	} {
		if p, err := s.Verify(t.Context(), bad); !errors.Is(err, auth.ErrInvalidToken) || p.Sub != "" {
			t.Errorf("%.40s: %+v, %v", bad, p, err)
		}
	}
	own := issue(t, s)
	if p, err := s.Verify(t.Context(), own.Access); err != nil || p.SID != own.SID || p.HasScope(auth.Phone) {
		t.Errorf("our own token: %+v, %v", p, err)
	}
}

// A foreign token opens the doors of phones and nothing else.
func TestForeignTokenHasNoSession(t *testing.T) {
	s := service(memory(t), withAcme(&acme{iss: acmeIssuer}))
	token := foreign(acmeIssuer, "good")
	if _, err := s.Claimed(t.Context(), token); !errors.Is(err, auth.ErrInvalidToken) {
		t.Errorf("Claimed: %v", err)
	}
	if found, err := s.Introspect(t.Context(), "web", token); err != nil || found.Active {
		t.Errorf("Introspect: %+v, %v", found, err)
	}
	if err := s.Revoke(t.Context(), "phone", token); err != nil {
		t.Errorf("Revoke: %v", err)
	}
	if _, err := s.Refresh(t.Context(), "phone", token, ""); !errors.Is(err, auth.ErrInvalidGrant) {
		t.Errorf("Refresh: %v", err)
	}
	if _, err := s.Verify(t.Context(), token); err != nil {
		t.Errorf("it is no phone any more: %v", err)
	}
}

// A session outlives the token that it was had for, so whoever has a token for a
// minute gets none, unless that was configured.
func TestAttackForeignTokenTradedForALongerLife(t *testing.T) {
	a := &acme{iss: acmeIssuer}
	for _, one := range []auth.Issuer{a, silent{a}} {
		s := service(memory(t), func(c *auth.Config) { c.Providers["acme"] = one })
		for _, signature := range []string{"good", "bad"} {
			if got, err := s.SignIn(t.Context(), "acme", foreign(acmeIssuer, signature), auth.Origin{}); !errors.Is(err, auth.ErrUnknownProvider) || got.Access != "" {
				t.Errorf("%T: %+v, %v", one, got, err)
			}
		}
	}
	if a.asked != 0 {
		t.Errorf("asked %d times", a.asked)
	}
}

func TestForeignPhoneEndsSessions(t *testing.T) {
	s := service(memory(t), withAcme(&acme{iss: acmeIssuer, sessions: true}))
	token := foreign(acmeIssuer, "good")
	by, err := s.Verify(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	var browsers [3]auth.Tokens
	for i := range browsers {
		if browsers[i], err = s.Issue(t.Context(), acmeGrant(s)); err != nil {
			t.Fatal(err)
		}
	}
	phone, err := s.SignIn(t.Context(), "acme", token, auth.Origin{})
	if err != nil {
		t.Fatal(err)
	}
	if p, err := s.Verify(t.Context(), phone.Access); err != nil || p.SID == "" || len(p.AMR) != 1 || p.AMR[0] != "acme" {
		t.Errorf("its phone session: %+v, %v", p, err)
	}
	if err := s.End(t.Context(), by, browsers[0].SID); err != nil {
		t.Errorf("End: %v", err)
	}
	for _, sid := range []string{browsers[0].SID, "", issue(t, s).SID} {
		if err := s.End(t.Context(), by, sid); !errors.Is(err, auth.ErrUnknownSession) {
			t.Errorf("End %q: %v", sid, err)
		}
	}
	if err := s.EndOthers(t.Context(), by); err != nil {
		t.Fatalf("EndOthers: %v", err)
	}
	if left, err := s.Sessions(t.Context(), by.Sub); err != nil || len(left) != 0 {
		t.Errorf("left: %+v, %v", left, err)
	}
	if _, err := s.Verify(t.Context(), token); err != nil {
		t.Errorf("it is no phone any more: %v", err)
	}
}

// Who has neither a session nor a phone's token decides about nothing.
func TestAttackNobodyEndsSessions(t *testing.T) {
	s := service(memory(t))
	browser := issue(t, s)
	for _, by := range []auth.Principal{{Sub: "demo:alice"}, {Sub: "demo:alice", Scope: "openid profile"}, {Sub: "demo:alice", SID: "x", Scope: "phone"}} {
		if err := s.EndOthers(t.Context(), by); !errors.Is(err, auth.ErrSessionEnded) {
			t.Errorf("%+v: %v", by, err)
		}
		if err := s.End(t.Context(), by, browser.SID); !errors.Is(err, auth.ErrSessionEnded) {
			t.Errorf("%+v: %v", by, err)
		}
	}
	if _, err := s.Verify(t.Context(), browser.Access); err != nil {
		t.Error(err)
	}
}

func TestForeignTokenOfABannedUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory(t)
		s := service(store, withAcme(&acme{iss: acmeIssuer, sessions: true}))
		deaf := service(store, withAcme(&acme{iss: acmeIssuer, sessions: true})) // keeps the list that it read first
		token := foreign(acmeIssuer, "good")
		if _, err := deaf.Verify(t.Context(), token); err != nil {
			t.Fatal(err)
		}
		until := time.Now().Add(time.Hour)
		if err := s.Ban(t.Context(), auth.Ban{User: "acme:alice", Until: until}); err != nil {
			t.Fatal(err)
		}
		for name, one := range map[string]*auth.Service{"told": s, "not told": deaf} {
			if p, err := one.Verify(t.Context(), token); !errors.Is(err, auth.ErrBanned) || p.Sub != "" {
				t.Errorf("%s: %+v, %v", name, p, err)
			}
			if _, err := one.SignIn(t.Context(), "acme", token, auth.Origin{}); !errors.Is(err, auth.ErrBanned) {
				t.Errorf("%s: SignIn: %v", name, err)
			}
		}
		time.Sleep(time.Until(until))
		if _, err := s.Verify(t.Context(), token); err != nil {
			t.Errorf("after the ban: %v", err)
		}
		if err := s.Ban(t.Context(), auth.Ban{User: "acme:alice"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * 24 * time.Hour) // nothing of it is left in the user's record
		if _, err := s.Verify(t.Context(), token); !errors.Is(err, auth.ErrBanned) {
			t.Errorf("a ban for good, later: %v", err)
		}
	})
}

func TestForeignTokenWhenNobodyCanTell(t *testing.T) {
	store := &switched{Store: memory(t)}
	s := service(store, withAcme(&acme{iss: acmeIssuer, err: auth.ErrProviderBusy}))
	if _, err := s.Verify(t.Context(), foreign(acmeIssuer, "good")); !errors.Is(err, auth.ErrProviderBusy) || errors.Is(err, auth.ErrInvalidToken) {
		t.Errorf("%v", err)
	}
	s = service(store, withAcme(&acme{iss: acmeIssuer}))
	if _, err := s.Verify(t.Context(), foreign(acmeIssuer, "good")); err != nil {
		t.Fatal(err)
	}
	store.pulled.Store(true)
	if _, err := s.Verify(t.Context(), foreign(acmeIssuer, "good")); !errors.As(err, new(pulled)) {
		t.Errorf("without a store: %v", err)
	}
}

// Our own name is never another's to speak in, whatever is configured.
func TestAttackIssuerOfOurOwnName(t *testing.T) {
	a := &acme{iss: issuer}
	s := service(memory(t), withAcme(a))
	if _, err := s.Verify(t.Context(), foreign(issuer, "good")); !errors.Is(err, auth.ErrInvalidToken) || a.asked != 0 {
		t.Errorf("%v, asked %d times", err, a.asked)
	}
	if _, err := s.Verify(t.Context(), issue(t, s).Access); err != nil {
		t.Errorf("our own token: %v", err)
	}
}
