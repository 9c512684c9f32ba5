package auth_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"scanlogin/auth"
)

func TestRefreshRotates(t *testing.T) {
	s := service(memory(t))
	first := issue(t, s)
	second := refresh(t, s, first.Refresh)
	third := refresh(t, s, second.Refresh)
	if distinct([]string{first.Refresh, second.Refresh, third.Refresh}) != 3 {
		t.Error("a refresh token came back")
	}
	for _, tokens := range []auth.Tokens{first, second, third} {
		if _, err := s.Verify(t.Context(), tokens.Access); err != nil {
			t.Errorf("access token of the same session: %v", err)
		}
		if tokens.SID != first.SID || tokens.Scope != first.Scope || tokens.Sub != first.Sub {
			t.Errorf("%+v", tokens)
		}
	}
	refresh(t, s, third.Refresh)
}

func TestLostRefreshAnswerCanBeHadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory(t)
		services := []*auth.Service{service(store), service(store)}
		first := issue(t, services[0])
		second := refresh(t, services[0], first.Refresh)
		for i := range 5 {
			time.Sleep(2 * time.Second)
			if again := refresh(t, services[i%2], first.Refresh); again.Refresh != second.Refresh {
				t.Fatal("another successor")
			}
		}
		refresh(t, services[1], second.Refresh)
	})
}

func TestRacingRefreshesGetOneSuccessor(t *testing.T) {
	store := memory(t)
	services := []*auth.Service{service(store), service(store)}
	token := issue(t, services[0]).Refresh
	var got [64]string
	parallel(64, func(i int) {
		tokens, err := services[i%2].Refresh(t.Context(), "web", token, "")
		if err != nil {
			t.Errorf("refresh %d: %v", i, err)
		}
		got[i] = tokens.Refresh
	})
	if distinct(got[:]) != 1 {
		t.Fatalf("%d successors", distinct(got[:]))
	}
	refresh(t, services[1], got[0])
}

func TestRefreshNeverWidensTheScope(t *testing.T) {
	s := service(memory(t))
	g := grant(s)
	g.Scope = "profile"
	tokens, err := s.Issue(t.Context(), g)
	if err != nil {
		t.Fatal(err)
	}
	for _, scope := range []string{"openid", "profile openid", "phone", "profil"} {
		if _, err := s.Refresh(t.Context(), "web", tokens.Refresh, scope); !errors.Is(err, auth.ErrInvalidScope) {
			t.Errorf("%q: %v", scope, err)
		}
	}
	narrowed, err := s.Refresh(t.Context(), "web", tokens.Refresh, "profile")
	if err != nil || narrowed.Scope != "profile" {
		t.Fatalf("the refused ones spent the token: %v", err)
	}
}

func TestNarrowedScopeIsTheAccessTokensAlone(t *testing.T) {
	s := service(memory(t))
	narrowed, err := s.Refresh(t.Context(), "web", issue(t, s).Refresh, " profile  profile")
	if err != nil || narrowed.Scope != "profile" {
		t.Fatalf("%q, %v", narrowed.Scope, err)
	}
	if p, err := s.Verify(t.Context(), narrowed.Access); err != nil || p.Scope != "profile" {
		t.Errorf("%q, %v", p.Scope, err)
	}
	if tokens := refresh(t, s, narrowed.Refresh); tokens.Scope != "openid profile" {
		t.Errorf("the session lost scope: %q", tokens.Scope)
	}
}

func TestStolenRefreshTokenOfAnotherClientEndsNothing(t *testing.T) {
	s := service(memory(t))
	tokens := issue(t, s)
	for _, client := range []string{"device", "phone", "", "nobody", "WEB"} {
		if _, err := s.Refresh(t.Context(), client, tokens.Refresh, ""); !errors.Is(err, auth.ErrInvalidGrant) {
			t.Errorf("%q: %v", client, err)
		}
	}
	refresh(t, s, tokens.Refresh)
}

func TestMadeUpRefreshTokensNeverReachTheStore(t *testing.T) {
	store := &switched{Store: memory(t)}
	s := service(store)
	tokens := issue(t, s)
	other := issue(t, service(memory(t)))
	body := strings.TrimPrefix(tokens.Refresh, "sl_rt_")
	flipped := []byte(tokens.Refresh)
	flipped[len(flipped)/2] ^= 1
	before := store.calls.Load()
	for name, token := range map[string]string{
		"empty":                  "",
		"prefix alone":           "sl_rt_",
		"short":                  "sl_rt_AAAA",
		"no prefix":              body,
		"wrong prefix":           "sl_at_" + body,
		"access token":           tokens.Access,
		"bad mac":                string(flipped),
		"cut":                    tokens.Refresh[:len(tokens.Refresh)-4],
		"longer":                 tokens.Refresh + "AAAA",
		"padded":                 tokens.Refresh + "=",
		"line break":             tokens.Refresh + "\n",
		"line break inside":      tokens.Refresh[:40] + "\r\n" + tokens.Refresh[40:],
		"space":                  " " + tokens.Refresh,
		"made by another server": other.Refresh,
		"random":                 "sl_rt_" + strings.Repeat("Ab3-", 40),
		"a megabyte":             "sl_rt_" + strings.Repeat("A", 1<<20),
		"a megabyte of dots":     strings.Repeat(".", 1<<20),
	} {
		if _, err := s.Refresh(t.Context(), "web", token, ""); !errors.Is(err, auth.ErrInvalidGrant) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := store.calls.Load() - before; n != 0 {
		t.Errorf("the store was asked %d times", n)
	}
	refresh(t, s, tokens.Refresh)
}

func BenchmarkRefresh(b *testing.B) {
	s := service(memory(b))
	tokens := issue(b, s)
	for b.Loop() {
		tokens = refresh(b, s, tokens.Refresh)
	}
}
