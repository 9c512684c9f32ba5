package auth_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"scanlogin/auth"
)

// away is a provider that people are sent to.
type away struct {
	err   error
	asked atomic.Int64
}

func (a *away) Redirect(state, userAgent string) string {
	return "https://open.example/?state=" + state + "&for=" + userAgent
}

func (a *away) Credential(code, userAgent string) string { return userAgent + " " + code }

func (a *away) Authenticate(_ context.Context, credential string) (auth.Identity, error) {
	a.asked.Add(1)
	if a.err != nil {
		return auth.Identity{}, a.err
	}
	if credential != "Chrome code" {
		return auth.Identity{}, auth.ErrInvalidCredential
	}
	return auth.Identity{Provider: "wechat", Subject: "union", Name: "小明"}, nil
}

func withAway(a *away) func(*auth.Config) {
	return func(c *auth.Config) { c.Providers["wechat"], c.Providers["other"] = a, &away{} }
}

func newState(t testing.TB, s *auth.Service, provider string) string {
	t.Helper()
	state, err := s.NewState(t.Context(), provider)
	if err != nil {
		t.Fatal(err)
	}
	return state
}

func TestRedirectSignIn(t *testing.T) {
	a := &away{}
	store := memory(t)
	s, elsewhere := service(store, withAway(a)), service(store, withAway(a))
	state := newState(t, s, "wechat")
	if !regexp.MustCompile(`^[a-zA-Z0-9]{64,128}$`).MatchString(state) || state == newState(t, s, "wechat") {
		t.Errorf("state %q", state)
	}
	to, err := s.Redirect("wechat", state, "Chrome")
	if want := "https://open.example/?state=" + state + "&for=Chrome"; err != nil || to != want {
		t.Errorf("%q, %v", to, err)
	}
	tokens, err := elsewhere.Return(t.Context(), "wechat", state, "code", "Chrome", auth.Origin{Place: "Delft"})
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.Verify(t.Context(), tokens.Access)
	if err != nil || p.Sub != "wechat:union" || p.Name != "小明" || !p.HasScope(auth.Phone) || p.AMR[0] != "wechat" {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestProvidersThatAreNotForThat(t *testing.T) {
	a := &away{}
	s := service(memory(t), withAway(a))
	state := newState(t, s, "wechat")
	if _, err := s.SignIn(t.Context(), "wechat", "Chrome code", auth.Origin{}); !errors.Is(err, auth.ErrUnknownProvider) {
		t.Errorf("SignIn: %v", err)
	}
	for _, name := range []string{"demo", "none", ""} {
		if _, err := s.Redirect(name, state, "Chrome"); !errors.Is(err, auth.ErrUnknownProvider) {
			t.Errorf("Redirect %q: %v", name, err)
		}
		if _, err := s.NewState(t.Context(), name); !errors.Is(err, auth.ErrUnknownProvider) {
			t.Errorf("NewState %q: %v", name, err)
		}
		if _, err := s.Return(t.Context(), name, state, "code", "Chrome", auth.Origin{}); !errors.Is(err, auth.ErrUnknownProvider) {
			t.Errorf("Return %q: %v", name, err)
		}
	}
	if a.asked.Load() != 0 {
		t.Error("the provider was asked")
	}
}

func TestAttackStateThatIsNotGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &away{}
		store := memory(t)
		s := service(store, withAway(a))
		back := func(provider, state string) error {
			_, err := s.Return(t.Context(), provider, state, "code", "Chrome", auth.Origin{})
			return err
		}
		good := newState(t, s, "wechat")
		old := newState(t, s, "wechat")
		flipped := []byte(good)
		flipped[0] ^= 1
		late := []byte(good)
		late[64+15] ^= 1 // when it was made
		for name, state := range map[string]string{
			"made up":          strings.Repeat("ab", 56),
			"none":             "",
			"short":            good[:110],
			"long":             good + "00",
			"not hex":          strings.Repeat("x", 112),
			"other provider's": newState(t, s, "other"),
			"other random":     string(flipped),
			"other time":       string(late),
			"other server's":   newState(t, service(memory(t), withAway(a)), "wechat"),
		} {
			if err := back("wechat", state); !errors.Is(err, auth.ErrInvalidState) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if a.asked.Load() != 0 {
			t.Error("the provider was asked")
		}
		if err := back("wechat", good); err != nil {
			t.Fatal(err)
		}
		for _, again := range []string{good, strings.ToUpper(good)} { // hex has two spellings
			if err := back("wechat", again); !errors.Is(err, auth.ErrInvalidState) {
				t.Errorf("used: %v", err)
			}
		}
		time.Sleep(5 * time.Minute)
		fresh := newState(t, s, "wechat")
		for name, state := range map[string]string{"used": good, "expired": old} {
			if err := back("wechat", state); !errors.Is(err, auth.ErrInvalidState) {
				t.Errorf("%s, later: %v", name, err)
			}
		}
		if n := a.asked.Load(); n != 1 {
			t.Errorf("the provider was asked %d times", n)
		}
		time.Sleep(5*time.Minute - time.Millisecond)
		if err := back("wechat", fresh); err != nil {
			t.Errorf("just in time: %v", err)
		}
	})
}

// Of a callback that is sent many times, one asks the provider.
func TestAttackCallbackReplayedAtOnce(t *testing.T) {
	a := &away{}
	store := memory(t)
	s := [2]*auth.Service{service(store, withAway(a)), service(store, withAway(a))}
	state := newState(t, s[0], "wechat")
	var results [20]error
	parallel(len(results), func(i int) {
		_, results[i] = s[i%2].Return(t.Context(), "wechat", state, "code", "Chrome", auth.Origin{})
	})
	in := 0
	for _, err := range results {
		switch {
		case err == nil:
			in++
		case !errors.Is(err, auth.ErrInvalidState):
			t.Error(err)
		}
	}
	if in != 1 || a.asked.Load() != 1 {
		t.Errorf("%d got in, asked %d times", in, a.asked.Load())
	}
}

// A state is spent by whatever its code is worth, and kept when nobody could
// look at it.
func TestStateIsSpentBeforeTheProviderIsAsked(t *testing.T) {
	a := &away{err: fmt.Errorf("away: %w", auth.ErrProviderBusy)}
	store := &switched{Store: memory(t)}
	s := service(store, withAway(a))
	state := newState(t, s, "wechat")
	store.pulled.Store(true)
	if _, err := s.Return(t.Context(), "wechat", state, "code", "Chrome", auth.Origin{}); !errors.As(err, new(pulled)) || a.asked.Load() != 0 {
		t.Errorf("without a store: %v", err)
	}
	store.pulled.Store(false)
	for i, want := range []error{auth.ErrProviderBusy, auth.ErrInvalidState} {
		if _, err := s.Return(t.Context(), "wechat", state, "code", "Chrome", auth.Origin{}); !errors.Is(err, want) {
			t.Errorf("try %d: %v", i, err)
		}
	}
	if a.asked.Load() != 1 {
		t.Errorf("asked %d times", a.asked.Load())
	}
}
