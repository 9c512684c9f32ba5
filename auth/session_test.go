package auth_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"scanlogin/auth"
	"scanlogin/auth/demo"
)

func TestSignInGivesAPhoneSession(t *testing.T) {
	s := service(memory(t))
	tokens, err := s.SignIn(t.Context(), "demo", "alice", auth.Origin{Device: auth.Device{Browser: "Safari", OS: "iOS"}, Place: "192.0.2.0/24"})
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.Verify(t.Context(), tokens.Access)
	if err != nil {
		t.Fatal(err)
	}
	if p.Sub != "demo:alice" || p.Name != "Alice" || p.ClientID != "phone" || p.SID != tokens.SID || !slices.Equal(p.AMR, []string{"demo"}) {
		t.Errorf("principal %+v", p)
	}
	if !p.HasScope("phone") || p.HasScope("profile") || p.HasScope("phon") || tokens.Scope != "phone" {
		t.Errorf("scope %q", p.Scope)
	}
	if got := p.Identity(); got != (auth.Identity{Provider: "demo", Subject: "alice", Name: "Alice"}) {
		t.Errorf("identity %+v", got)
	}
	if tokens.ExpiresIn != 10*time.Minute || tokens.Sub != "demo:alice" {
		t.Errorf("tokens %v %v", tokens.ExpiresIn, tokens.Sub)
	}
}

func TestSignInRefusesStrangers(t *testing.T) {
	s := service(memory(t))
	for _, credential := range []string{"", "mallory", "Alice", " alice", "alice\x00", strings.Repeat("a", 1<<20)} {
		if _, err := s.SignIn(t.Context(), "demo", credential, auth.Origin{}); !errors.Is(err, auth.ErrInvalidCredential) {
			t.Errorf("%.20q: %v", credential, err)
		}
	}
	if _, err := s.SignIn(t.Context(), "none", "alice", auth.Origin{}); !errors.Is(err, auth.ErrUnknownProvider) {
		t.Errorf("unknown provider: %v", err)
	}
}

func TestDemoWithoutUsersLetsNobodyIn(t *testing.T) {
	for _, users := range [][]string{nil, {""}} {
		if who, err := demo.New(users).Authenticate(t.Context(), ""); !errors.Is(err, auth.ErrInvalidCredential) {
			t.Errorf("%q: %+v, %v", users, who, err)
		}
	}
}

func TestIssueIsIdempotent(t *testing.T) {
	store := memory(t)
	services := []*auth.Service{service(store), service(store)}
	g := grant(services[0])
	var sids, refreshes [64]string
	parallel(64, func(i int) {
		tokens, err := services[i%2].Issue(t.Context(), g)
		if err != nil {
			t.Errorf("issue %d: %v", i, err)
		}
		if _, err := services[(i+1)%2].Verify(t.Context(), tokens.Access); err != nil {
			t.Errorf("verify %d: %v", i, err)
		}
		sids[i], refreshes[i] = tokens.SID, tokens.Refresh
	})
	if distinct(sids[:]) != 1 || distinct(refreshes[:]) != 1 {
		t.Fatalf("%d sessions, %d refresh tokens", distinct(sids[:]), distinct(refreshes[:]))
	}
	if n := len(sessions(t, store)); n != 1 {
		t.Errorf("%d sessions in the record", n)
	}
	refresh(t, services[1], refreshes[0])
}

// sessions are the session ids in alice's record, oldest first.
func sessions(t testing.TB, store auth.Store) (sids []string) {
	t.Helper()
	value, _, err := store.Load(t.Context(), "user:demo:alice")
	if err != nil {
		t.Fatal(err)
	}
	var r struct{ Sessions []struct{ SID string } }
	if value != nil {
		if err := json.Unmarshal(value, &r); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range r.Sessions {
		sids = append(sids, s.SID)
	}
	return sids
}

func TestIssueChecksTheGrant(t *testing.T) {
	s := service(memory(t))
	for name, spoil := range map[string]func(*auth.Grant){
		"scope of another client": func(g *auth.Grant) { g.Scope = "openid phone" },
		"unknown client":          func(g *auth.Grant) { g.ClientID = "nobody" },
		"no subject":              func(g *auth.Grant) { g.Identity.Subject = "" },
		"provider with a colon":   func(g *auth.Grant) { g.Identity.Provider = "demo:x" },
		"no provider":             func(g *auth.Grant) { g.Identity.Provider = "" },
		"long subject":            func(g *auth.Grant) { g.Identity.Subject = strings.Repeat("a", 301) },
		"no session id":           func(g *auth.Grant) { g.SID = "" },
		"long session id":         func(g *auth.Grant) { g.SID = strings.Repeat("a", 256) },
		"no seed":                 func(g *auth.Grant) { g.Seed = nil },
	} {
		g := grant(s)
		spoil(&g)
		tokens, err := s.Issue(t.Context(), g)
		if err == nil || tokens != (auth.Tokens{}) {
			t.Errorf("%s: %v", name, err)
		}
		if want := strings.HasPrefix(name, "scope"); errors.Is(err, auth.ErrInvalidScope) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	g := grant(s)
	g.Scope = ""
	if tokens, err := s.Issue(t.Context(), g); err != nil || tokens.Scope != "openid profile" {
		t.Errorf("no scope asked: %q, %v", tokens.Scope, err)
	}
}

func TestIssueNeverRevivesAnEndedSession(t *testing.T) {
	for name, c := range map[string]struct {
		idle time.Duration
		end  func(*testing.T, *auth.Service, auth.Grant)
	}{
		"ended": {time.Hour, func(t *testing.T, s *auth.Service, g auth.Grant) {
			end(t, s, issue(t, s), g.SID)
		}},
		"idle": {time.Second, func(*testing.T, *auth.Service, auth.Grant) { time.Sleep(time.Second) }},
		"pushed out": {time.Hour, func(t *testing.T, s *auth.Service, _ auth.Grant) {
			for range 32 {
				issue(t, s)
			}
		}},
		"tidied up meanwhile": {time.Second, func(t *testing.T, s *auth.Service, _ auth.Grant) {
			time.Sleep(5 * time.Second)
			issue(t, s)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := service(memory(t), func(c2 *auth.Config) { c2.RefreshIdle = c.idle })
				g := grant(s)
				first, err := s.Issue(t.Context(), g)
				if err != nil {
					t.Fatal(err)
				}
				c.end(t, s, g)
				for range 60 { // past the grace, and the lateness on top of it
					if _, err := s.Issue(t.Context(), g); !errors.Is(err, auth.ErrSessionEnded) {
						t.Fatalf("issued again: %v", err)
					}
					if _, err := s.Verify(t.Context(), first.Access); !errors.Is(err, auth.ErrInvalidToken) {
						t.Fatalf("verify: %v", err)
					}
					if _, err := s.Refresh(t.Context(), "web", first.Refresh, ""); !errors.Is(err, auth.ErrInvalidGrant) {
						t.Fatalf("refresh: %v", err)
					}
					time.Sleep(2 * time.Second)
				}
			})
		})
	}
}

// end ends a session by another one of alice's.
func end(t testing.TB, s *auth.Service, by auth.Tokens, sid string) {
	t.Helper()
	if err := s.End(t.Context(), verified(t, s, by), sid); err != nil {
		t.Fatalf("End: %v", err)
	}
}

func verified(t testing.TB, s *auth.Service, tokens auth.Tokens) auth.Principal {
	t.Helper()
	p, err := s.Verify(t.Context(), tokens.Access)
	if err != nil {
		t.Fatalf("Verify: %v", err)
	}
	return p
}

func TestEndEndsOneSessionOnly(t *testing.T) {
	s := service(memory(t))
	kept, ended := issue(t, s), issue(t, s)
	by := verified(t, s, kept)
	end(t, s, kept, ended.SID)
	for _, sid := range []string{ended.SID, "nobody", ""} {
		if err := s.End(t.Context(), by, sid); !errors.Is(err, auth.ErrUnknownSession) {
			t.Errorf("%q: %v", sid, err)
		}
	}
	if _, err := s.Session(t.Context(), "demo:alice", ended.SID); !errors.Is(err, auth.ErrSessionEnded) {
		t.Errorf("ended: %v", err)
	}
	if _, err := s.Session(t.Context(), "demo:bob", kept.SID); !errors.Is(err, auth.ErrSessionEnded) {
		t.Errorf("another user's: %v", err)
	}
	p, err := s.Session(t.Context(), "demo:alice", kept.SID)
	if err != nil || p.SID != kept.SID || p.Name != "Alice" || p.Picture != alice.Picture || p.Scope != "openid profile" {
		t.Errorf("kept: %+v, %v", p, err)
	}
	end(t, s, kept, kept.SID)
	if err := s.End(t.Context(), by, kept.SID); !errors.Is(err, auth.ErrSessionEnded) {
		t.Errorf("by an ended session: %v", err)
	}
	if err := s.EndOthers(t.Context(), by); !errors.Is(err, auth.ErrSessionEnded) {
		t.Errorf("others, by an ended session: %v", err)
	}
}

func TestNewestSessionsAreKept(t *testing.T) {
	for most, kept := range map[int]int{0: 10, 1: 1, 7: 7, 32: 32} {
		store := memory(t)
		s := service(store, func(c *auth.Config) {
			c.Clients = map[string]auth.Client{"web": {ID: "web", Scopes: []string{"openid", "profile"}, MaxSessions: most}}
		})
		var issued []string
		for range 40 {
			issued = append(issued, issue(t, s).SID)
		}
		if got := sessions(t, store); !slices.Equal(got, issued[40-kept:]) {
			t.Errorf("MaxSessions %d: kept %d sessions, not the %d newest", most, len(got), kept)
		}
	}
}

func TestRecordStaysSmall(t *testing.T) {
	store := memory(t)
	scope := "openid " + strings.Repeat("s", 900)
	s := service(store, func(c *auth.Config) {
		c.Clients = map[string]auth.Client{"web": {ID: "web", Scopes: strings.Fields(scope), MaxSessions: 32}}
	})
	for i := range 40 {
		g := grant(s)
		g.Scope = scope
		g.Identity.Name = strings.Repeat("ä", 5000)
		g.Identity.Picture = "data:image/png;base64," + strings.Repeat("A", 100_000)
		if _, err := s.Issue(t.Context(), g); err != nil {
			t.Fatalf("%d: %v", i, err)
		}
	}
	value, _, err := store.Load(t.Context(), "user:demo:alice")
	if err != nil || len(value) > 16<<10 {
		t.Errorf("%d bytes, %v", len(value), err)
	}
	if n := len(sessions(t, store)); n < 8 {
		t.Errorf("only %d sessions kept", n)
	}
}

func TestSessionEndsIdleAndAbsolutely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := service(memory(t), func(c *auth.Config) { c.RefreshIdle, c.RefreshTTL = 7*day, 30*day })
		began := time.Now()
		tokens := issue(t, s)
		for range 4 {
			time.Sleep(7*day - time.Second)
			tokens = refresh(t, s, tokens.Refresh)
		}
		p, err := s.Session(t.Context(), tokens.Sub, tokens.SID)
		if err != nil || !p.Expires.Equal(began.Add(30*day)) || !p.AuthTime.Equal(began) {
			t.Errorf("ends %v, signed in %v, %v", p.Expires, p.AuthTime, err)
		}
		time.Sleep(30*day - time.Since(began) - time.Minute)
		tokens = refresh(t, s, tokens.Refresh)
		if tokens.ExpiresIn != time.Minute {
			t.Errorf("access token outlives its session: %v", tokens.ExpiresIn)
		}
		time.Sleep(time.Minute)
		over(t, s, tokens)

		idle := issue(t, s)
		time.Sleep(7 * day)
		over(t, s, idle)
	})
}

const day = 24 * time.Hour

func over(t *testing.T, s *auth.Service, tokens auth.Tokens) {
	t.Helper()
	if _, err := s.Refresh(t.Context(), "web", tokens.Refresh, ""); !errors.Is(err, auth.ErrInvalidGrant) {
		t.Errorf("refresh: %v", err)
	}
	if _, err := s.Session(t.Context(), tokens.Sub, tokens.SID); !errors.Is(err, auth.ErrSessionEnded) {
		t.Errorf("session: %v", err)
	}
	if _, err := s.Verify(t.Context(), tokens.Access); !errors.Is(err, auth.ErrInvalidToken) {
		t.Errorf("verify: %v", err)
	}
}

func TestRestartKeepsEverything(t *testing.T) {
	store := memory(t)
	before := service(store)
	g := grant(before)
	tokens, err := before.Issue(t.Context(), g)
	if err != nil {
		t.Fatal(err)
	}
	after := service(store)
	if _, err := after.Verify(t.Context(), tokens.Access); err != nil {
		t.Errorf("verify: %v", err)
	}
	if again, err := after.Issue(t.Context(), g); err != nil || again.Refresh != tokens.Refresh {
		t.Errorf("the same grant: %v", err)
	}
	refresh(t, service(store), refresh(t, after, tokens.Refresh).Refresh)
}

func TestNoSecretAtRestOrInLogs(t *testing.T) {
	store := memory(t)
	s := service(store)
	g := grant(s)
	tokens, err := s.Issue(t.Context(), g)
	if err != nil {
		t.Fatal(err)
	}
	record, _, err := store.Load(t.Context(), "user:demo:alice")
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("issued", "tokens", tokens, "grant", g)
	slog.New(slog.NewTextHandler(&log, nil)).Info("issued", "tokens", tokens, "grant", g)
	for where, text := range map[string]string{"the record": string(record), "a log": log.String()} {
		for _, secret := range []string{tokens.Access, tokens.Refresh, string(g.Seed), strings.TrimPrefix(tokens.Refresh, "sl_rt_")[:20]} {
			if strings.Contains(text, secret) {
				t.Errorf("%s holds a secret", where)
			}
		}
		if !strings.Contains(text, tokens.SID) {
			t.Errorf("%s does not name the session", where)
		}
	}
}

func TestStoreAwayIsNeverACallersFault(t *testing.T) {
	store := &switched{Store: memory(t)}
	warm := service(store)
	tokens := issue(t, warm)
	by := verified(t, warm, tokens)
	store.pulled.Store(true)
	for name, s := range map[string]*auth.Service{"warm": warm, "cold": service(store)} {
		g := grant(s)
		_, issued := s.Issue(t.Context(), g)
		_, refreshed := s.Refresh(t.Context(), "web", tokens.Refresh, "")
		_, verified := s.Verify(t.Context(), tokens.Access)
		_, session := s.Session(t.Context(), tokens.Sub, tokens.SID)
		_, used := s.Use(t.Context(), tokens.Sub, tokens.SID)
		_, access := s.Access(t.Context(), tokens.Sub, tokens.SID)
		_, listed := s.Sessions(t.Context(), tokens.Sub)
		_, introspected := s.Introspect(t.Context(), "web", tokens.Refresh)
		_, bans := s.Bans(t.Context())
		_, network := service(store).NetworkBanned(t.Context(), netip.MustParseAddr("192.0.2.1"))
		lifted := s.Lift(t.Context(), auth.Ban{Network: netip.MustParsePrefix("192.0.2.0/24")})
		_, signedIn := s.SignIn(t.Context(), "demo", "alice", auth.Origin{})
		for what, err := range map[string]error{
			"Issue": issued, "Refresh": refreshed, "Verify": verified, "Session": session,
			"SignIn": signedIn, "End": s.End(t.Context(), by, tokens.SID), "EndOthers": s.EndOthers(t.Context(), by),
			"Use": used, "Access": access, "Sessions": listed, "Revoke": s.Revoke(t.Context(), "web", tokens.Refresh),
			"Introspect": introspected, "Ban": s.Ban(t.Context(), auth.Ban{User: tokens.Sub}), "Bans": bans,
			"NetworkBanned": network, "Lift": lifted,
		} {
			var u interface{ Unavailable() bool }
			if !errors.As(err, &u) || !u.Unavailable() {
				t.Errorf("%s, %s: %v", what, name, err)
			}
			for _, wrong := range []error{auth.ErrInvalidToken, auth.ErrInvalidGrant, auth.ErrSessionEnded, auth.ErrInvalidCredential} {
				if errors.Is(err, wrong) {
					t.Errorf("%s, %s: %v", what, name, err)
				}
			}
		}
	}
	store.pulled.Store(false)
	refresh(t, service(store), tokens.Refresh)
}

func TestClients(t *testing.T) {
	clients := auth.Clients("https://login.example:8443")
	for id, want := range map[string]auth.Client{
		"web":    {Name: "login.example:8443", Kind: "web"},
		"device": {Name: "Device", Kind: "device", DeviceFlow: true},
		"phone":  {Name: "Phone", Kind: "app"},
	} {
		got := clients[id]
		if got.ID != id || got.Name != want.Name || got.Kind != want.Kind || got.DeviceFlow != want.DeviceFlow {
			t.Errorf("%s: %+v", id, got)
		}
		if slices.Contains(got.Scopes, "phone") != (id == "phone") {
			t.Errorf("%s: scopes %v", id, got.Scopes)
		}
	}
	if len(clients) != 3 {
		t.Errorf("%d clients", len(clients))
	}
}

func BenchmarkIssue(b *testing.B) {
	s := service(memory(b))
	for i := 0; b.Loop(); i++ {
		g := grant(s)
		g.Identity.Subject = fmt.Sprint(i)
		if _, err := s.Issue(b.Context(), g); err != nil {
			b.Fatal(err)
		}
	}
}
