package auth_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"scanlogin/auth"
)

// reason is why a session ended, as its watcher hears it.
func reason(t testing.TB, s *auth.Service, store auth.Store, tokens auth.Tokens) auth.Reason {
	t.Helper()
	value, _, err := store.Load(t.Context(), auth.UserKey(tokens.Sub))
	if err != nil {
		t.Fatal(err)
	}
	state, err := s.State(tokens.Sub, tokens.SID, value, 0, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return state.Reason
}

func TestStolenRefreshTokenEndsTheSession(t *testing.T) {
	for name, steal := range map[string]func(t *testing.T, first, second auth.Tokens, s *auth.Service) string{
		"after the grace": func(_ *testing.T, first, _ auth.Tokens, _ *auth.Service) string {
			time.Sleep(11 * time.Second)
			return first.Refresh
		},
		"successor used": func(t *testing.T, first, second auth.Tokens, s *auth.Service) string {
			refresh(t, s, second.Refresh)
			return first.Refresh
		},
		"long ago": func(t *testing.T, first, second auth.Tokens, s *auth.Service) string {
			for range 10 {
				second = refresh(t, s, second.Refresh)
			}
			return first.Refresh
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := memory(t)
				s, other := service(store), service(store)
				bystander := issue(t, s)
				first := issue(t, s)
				second := refresh(t, s, first.Refresh)
				stolen := steal(t, first, second, s)
				if _, err := other.Refresh(t.Context(), "device", stolen, ""); !errors.Is(err, auth.ErrInvalidGrant) {
					t.Errorf("another client: %v", err)
				}
				if _, err := s.Verify(t.Context(), second.Access); err != nil {
					t.Fatalf("another client ended it: %v", err)
				}
				if _, err := other.Refresh(t.Context(), "web", stolen, ""); !errors.Is(err, auth.ErrInvalidGrant) {
					t.Errorf("stolen: %v", err)
				}
				over(t, s, second)
				over(t, s, first)
				if why := reason(t, other, store, first); why != auth.Reuse {
					t.Errorf("reason %q", why)
				}
				if _, err := s.Verify(t.Context(), bystander.Access); err != nil {
					t.Errorf("another session of the user: %v", err)
				}
			})
		})
	}
}

// A store that fails over may lose the last writes: the client then holds a
// token that is newer than the record.
func TestRotationThatTheStoreLostSignsNobodyOut(t *testing.T) {
	store := memory(t)
	s := service(store)
	tokens := issue(t, s)
	before, _, err := store.Load(t.Context(), auth.UserKey(tokens.Sub))
	if err != nil {
		t.Fatal(err)
	}
	newer := refresh(t, s, refresh(t, s, tokens.Refresh).Refresh)
	if _, err := store.Update(t.Context(), auth.UserKey(tokens.Sub), func([]byte) ([]byte, time.Duration, error) {
		return before, time.Hour, nil
	}); err != nil {
		t.Fatal(err)
	}
	again := refresh(t, s, refresh(t, s, newer.Refresh).Refresh)
	if _, err := s.Verify(t.Context(), again.Access); err != nil {
		t.Error(err)
	}
	if _, err := s.Refresh(t.Context(), "web", tokens.Refresh, ""); !errors.Is(err, auth.ErrInvalidGrant) {
		t.Errorf("the first one: %v", err)
	}
	over(t, s, again)
}

func TestLivesOfAClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := service(memory(t), func(c *auth.Config) {
			c.Clients = auth.Clients(issuer)
			web := c.Clients["web"]
			web.AccessTTL, web.RefreshTTL, web.RefreshIdle = time.Minute, 3*time.Hour, time.Hour
			c.Clients["web"] = web
		})
		tokens := issue(t, s)
		if tokens.ExpiresIn != time.Minute {
			t.Errorf("access token for %v", tokens.ExpiresIn)
		}
		for range 3 {
			time.Sleep(time.Hour - time.Second)
			tokens = refresh(t, s, tokens.Refresh)
		}
		time.Sleep(3 * time.Second)
		over(t, s, tokens)
		phone, err := s.SignIn(t.Context(), "demo", "alice", auth.Origin{})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Hour)
		if _, err := s.Session(t.Context(), phone.Sub, phone.SID); err != nil {
			t.Errorf("another client: %v", err)
		}
	})
}

func TestLimitIsExactUnderParallelSignIns(t *testing.T) {
	for _, policy := range []auth.OnLimit{auth.EndOldest, auth.Refuse} {
		store := memory(t)
		limited := func(c *auth.Config) {
			c.Clients = auth.Clients(issuer)
			web := c.Clients["web"]
			web.MaxSessions, web.OnLimit = 3, policy
			c.Clients["web"] = web
		}
		services := []*auth.Service{service(store, limited), service(store, limited)}
		phone, err := services[0].SignIn(t.Context(), "demo", "alice", auth.Origin{})
		if err != nil {
			t.Fatal(err)
		}
		var made [20]auth.Tokens
		var refused [20]error
		parallel(20, func(i int) { made[i], refused[i] = services[i%2].Issue(t.Context(), grant(services[0])) })
		alive := 0
		for i, tokens := range made {
			switch {
			case refused[i] != nil:
				if policy != auth.Refuse || !errors.Is(refused[i], auth.ErrSessionLimit) {
					t.Errorf("%s: %v", policy, refused[i])
				}
			default:
				if _, err := services[0].Verify(t.Context(), tokens.Access); err == nil {
					alive++
				} else if why := reason(t, services[0], store, tokens); policy != auth.EndOldest || why != auth.Replaced {
					t.Errorf("%s: ended, %s", policy, why)
				}
			}
		}
		if alive != 3 {
			t.Errorf("%s: %d sessions are live", policy, alive)
		}
		if _, err := services[1].Verify(t.Context(), phone.Access); err != nil {
			t.Errorf("%s: the phone's: %v", policy, err)
		}
	}
}

func TestEndOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory(t)
		s := service(store)
		phone, err := s.SignIn(t.Context(), "demo", "alice", auth.Origin{})
		if err != nil {
			t.Fatal(err)
		}
		one, two := issue(t, s), issue(t, s)
		late := grant(s) // confirmed, but not redeemed yet
		time.Sleep(time.Second)
		if err := s.EndOthers(t.Context(), verified(t, s, one)); err != nil {
			t.Fatal(err)
		}
		over(t, s, two)
		if why := reason(t, s, store, two); why != auth.Revoked {
			t.Errorf("reason %q", why)
		}
		if _, err := s.Issue(t.Context(), late); !errors.Is(err, auth.ErrSessionEnded) {
			t.Errorf("a login that was allowed before: %v", err)
		}
		for _, kept := range []auth.Tokens{phone, one, issue(t, s)} {
			verified(t, s, kept)
		}
		if err := s.End(t.Context(), verified(t, s, one), phone.SID); !errors.Is(err, auth.ErrPhoneOnly) {
			t.Errorf("a browser ends a phone: %v", err)
		}
		if err := s.EndOthers(t.Context(), verified(t, s, phone)); err != nil {
			t.Fatal(err)
		}
		all, err := s.Sessions(t.Context(), phone.Sub)
		if err != nil || len(all) != 1 || all[0].ID != phone.SID {
			t.Errorf("left: %+v, %v", all, err)
		}
	})
}

func TestSessionsAreListedNewestFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := service(memory(t), func(c *auth.Config) { c.RefreshIdle = time.Hour })
		began := time.Now()
		idle := issue(t, s)
		time.Sleep(40 * time.Minute)
		g := grant(s)
		g.Place = "Delft, NL"
		if _, err := s.Issue(t.Context(), g); err != nil {
			t.Fatal(err)
		}
		last := issue(t, s)
		time.Sleep(10 * time.Minute)
		refresh(t, s, last.Refresh)
		got, err := s.Sessions(t.Context(), "demo:alice")
		if err != nil || len(got) != 3 || got[0].ID != last.SID || got[2].ID != idle.SID {
			t.Fatalf("%+v, %v", got, err)
		}
		if one := got[1]; one.Place != "Delft, NL" || one.Device != g.Device || !slices.Equal(one.AMR, g.AMR) || one.ClientID != "web" || one.Number != 2 {
			t.Errorf("%+v", one)
		}
		if !got[0].LastUsed.Equal(began.Add(50*time.Minute)) || !got[0].Created.Equal(began.Add(40*time.Minute)) {
			t.Errorf("%+v", got[0])
		}
		time.Sleep(15 * time.Minute)
		if got, err = s.Sessions(t.Context(), "demo:alice"); err != nil || len(got) != 2 {
			t.Errorf("with one that was idle: %+v, %v", got, err)
		}
		if got, err = s.Sessions(t.Context(), "demo:nobody"); err != nil || len(got) != 0 {
			t.Errorf("of nobody: %+v, %v", got, err)
		}
	})
}

func TestPagesKeepTheirSessionByUsingIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory(t)
		s := service(store, func(c *auth.Config) { c.RefreshIdle = time.Hour })
		tokens := issue(t, s)
		for range 3 {
			time.Sleep(50 * time.Minute)
			if p, err := s.Use(t.Context(), tokens.Sub, tokens.SID); err != nil || p.Name != "Alice" || !p.Expires.Equal(time.Now().Add(time.Hour)) {
				t.Fatalf("%+v, %v", p, err)
			}
		}
		_, rev, _ := store.Load(t.Context(), auth.UserKey(tokens.Sub))
		time.Sleep(9 * time.Minute)
		access, err := s.Access(t.Context(), tokens.Sub, tokens.SID)
		if err != nil || access.Refresh != "" || access.Scope != "openid profile" {
			t.Fatalf("%+v, %v", access, err)
		}
		if _, after, _ := store.Load(t.Context(), auth.UserKey(tokens.Sub)); after != rev {
			t.Error("every use is a write")
		}
		if p := verified(t, s, access); p.SID != tokens.SID {
			t.Errorf("%+v", p)
		}
		if got := refresh(t, s, tokens.Refresh); got.SID != tokens.SID {
			t.Error("the refresh token was spent")
		}
		time.Sleep(time.Hour)
		_, used := s.Use(t.Context(), tokens.Sub, tokens.SID)
		_, access2 := s.Access(t.Context(), tokens.Sub, tokens.SID)
		if !errors.Is(used, auth.ErrSessionEnded) || !errors.Is(access2, auth.ErrSessionEnded) {
			t.Errorf("idle: %v, %v", used, access2)
		}
	})
}

func TestStateTellsOfSignInsAndTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory(t)
		s := service(store, func(c *auth.Config) { c.RefreshIdle = time.Hour })
		own := issue(t, s)
		state := func(after uint64) auth.State {
			t.Helper()
			value, _, err := store.Load(t.Context(), auth.UserKey(own.Sub))
			if err != nil {
				t.Fatal(err)
			}
			got, err := s.State(own.Sub, own.SID, value, after, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		at := state(0)
		if !at.Live || len(at.SignIns) != 0 || at.Newest != 1 || !at.Ends.Equal(time.Now().Add(time.Hour)) {
			t.Fatalf("%+v", at)
		}
		two, three := issue(t, s), issue(t, s)
		if at = state(at.Newest); len(at.SignIns) != 2 || at.SignIns[0].ID != two.SID || at.SignIns[1].ID != three.SID || at.Newest != 3 {
			t.Fatalf("%+v", at)
		}
		end(t, s, two, three.SID)
		if at = state(1); len(at.SignIns) != 1 {
			t.Errorf("%+v", at)
		}
		if at = state(3); len(at.SignIns) != 0 || !at.Live {
			t.Errorf("%+v", at)
		}
		four := issue(t, s)
		end(t, s, four, four.SID) // by itself: whoever it was does not get away unseen
		if at = state(3); len(at.SignIns) != 1 || at.SignIns[0].ID != four.SID || at.SignIns[0].Device != (auth.Device{Browser: "Chrome", OS: "Windows"}) {
			t.Errorf("%+v", at)
		}
		time.Sleep(time.Hour)
		if at = state(4); at.Live || at.Reason != auth.Expired {
			t.Errorf("%+v", at)
		}
		if gone, err := s.State(own.Sub, own.SID, nil, 0, time.Now()); err != nil || gone.Live || gone.Reason != auth.Expired {
			t.Errorf("without a record: %+v, %v", gone, err)
		}
	})
}

// The cap of all sessions ends no phone as long as there is anything else.
func TestBrowserLoginsDoNotEndThePhone(t *testing.T) {
	s := service(memory(t), func(c *auth.Config) {
		c.Clients = auth.Clients(issuer)
		web := c.Clients["web"]
		web.MaxSessions = 32
		c.Clients["web"] = web
	})
	phone, err := s.SignIn(t.Context(), "demo", "alice", auth.Origin{})
	if err != nil {
		t.Fatal(err)
	}
	first := issue(t, s)
	for range 31 {
		issue(t, s)
	}
	verified(t, s, phone)
	if _, err := s.Verify(t.Context(), first.Access); !errors.Is(err, auth.ErrInvalidToken) {
		t.Errorf("the oldest browser: %v", err)
	}
	if all, err := s.Sessions(t.Context(), "demo:alice"); err != nil || len(all) != 32 {
		t.Errorf("%d sessions, %v", len(all), err)
	}
}

// A client reads a life of no seconds as one without an end.
func TestAccessTokenLivesASecondAtLeast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := service(memory(t), func(c *auth.Config) { c.RefreshTTL = 8 * time.Second })
		time.Sleep(300 * time.Millisecond)
		tokens := issue(t, s)
		time.Sleep(7900 * time.Millisecond)
		last := refresh(t, s, tokens.Refresh)
		if last.ExpiresIn != time.Second {
			t.Errorf("expires in %v", last.ExpiresIn)
		}
		time.Sleep(200 * time.Millisecond)
		over(t, s, last)
	})
}
