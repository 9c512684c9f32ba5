package auth_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"scanlogin/auth"
)

func TestBannedUserIsOutEverywhereAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory(t)
		here, there := service(store), service(store)
		run(t, here)
		run(t, there)
		synctest.Wait()
		tokens := issue(t, here)
		phone, err := here.SignIn(t.Context(), "demo", "alice", auth.Origin{})
		if err != nil {
			t.Fatal(err)
		}
		bob, err := here.SignIn(t.Context(), "demo", "bob", auth.Origin{})
		if err != nil {
			t.Fatal(err)
		}
		pending := grant(here)
		time.Sleep(time.Second)
		if err := here.Ban(t.Context(), auth.Ban{User: "demo:alice", Reason: "spam", Until: time.Now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for _, s := range []*auth.Service{here, there} {
			_, verified := s.Verify(t.Context(), tokens.Access)
			_, byPhone := s.Verify(t.Context(), phone.Access)
			_, refreshed := s.Refresh(t.Context(), "web", tokens.Refresh, "")
			_, issued := s.Issue(t.Context(), pending)
			_, signedIn := s.SignIn(t.Context(), "demo", "alice", auth.Origin{})
			_, session := s.Session(t.Context(), tokens.Sub, tokens.SID)
			_, used := s.Use(t.Context(), tokens.Sub, tokens.SID)
			_, access := s.Access(t.Context(), tokens.Sub, tokens.SID)
			for what, err := range map[string]error{
				"Verify": verified, "Verify, phone": byPhone, "Refresh": refreshed, "Issue": issued, "SignIn": signedIn,
				"Session": session, "Use": used, "Access": access,
			} {
				if !errors.Is(err, auth.ErrBanned) {
					t.Errorf("%s: %v", what, err)
				}
			}
			if got, err := s.Introspect(t.Context(), "web", tokens.Access); err != nil || got.Active {
				t.Errorf("introspected: %+v, %v", got, err)
			}
			if why := reason(t, s, store, tokens); why != auth.Banned {
				t.Errorf("reason %q", why)
			}
			if _, err := s.Verify(t.Context(), bob.Access); err != nil {
				t.Errorf("somebody else: %v", err)
			}
		}
		if _, err := there.Verify(t.Context(), "x"); !errors.Is(err, auth.ErrInvalidToken) {
			t.Errorf("a bad token: %v", err)
		}
		time.Sleep(time.Hour)
		if _, err := there.Verify(t.Context(), tokens.Access); !errors.Is(err, auth.ErrInvalidToken) {
			t.Errorf("after the ban: %v", err)
		}
		verified(t, there, issue(t, here))
	})
}

func TestLiftingABanRevivesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory(t)
		here, there := service(store), service(store)
		run(t, here)
		run(t, there)
		synctest.Wait()
		tokens := issue(t, here)
		for range 2 { // twice is once
			if err := here.Ban(t.Context(), auth.Ban{User: "demo:alice"}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if list, err := there.Bans(t.Context()); err != nil || len(list) != 1 || !list[0].Until.IsZero() {
			t.Errorf("%+v, %v", list, err)
		}
		time.Sleep(400 * day)
		if err := there.Lift(t.Context(), auth.Ban{User: "demo:alice"}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := there.Lift(t.Context(), auth.Ban{User: "demo:alice"}); !errors.Is(err, auth.ErrUnknownBan) {
			t.Errorf("again: %v", err)
		}
		over(t, here, tokens)
		verified(t, there, issue(t, here))
	})
}

// An instance that has not heard of a ban lets nobody in all the same.
func TestSignInRacingABanIsRefused(t *testing.T) {
	store := memory(t)
	deaf, other := service(store), service(store)
	issue(t, deaf) // knows the bans of now, and hears of no others
	if err := other.Ban(t.Context(), auth.Ban{User: "demo:alice"}); err != nil {
		t.Fatal(err)
	}
	late := grant(deaf)
	late.AuthTime = time.Now().Add(-time.Second)
	if _, err := deaf.Issue(t.Context(), late); !errors.Is(err, auth.ErrBanned) {
		t.Errorf("while banned: %v", err)
	}
	if err := deaf.Lift(t.Context(), auth.Ban{User: "demo:alice"}); err != nil {
		t.Errorf("lifted where nobody had heard of it: %v", err)
	}
	if err := other.Lift(t.Context(), auth.Ban{User: "demo:alice"}); !errors.Is(err, auth.ErrUnknownBan) {
		t.Errorf("again: %v", err)
	}
	if _, err := deaf.Issue(t.Context(), late); !errors.Is(err, auth.ErrSessionEnded) {
		t.Errorf("allowed before the ban, redeemed after it: %v", err)
	}
	verified(t, deaf, issue(t, deaf))
}

func TestNetworkBan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory(t)
		var told atomic.Pointer[func(netip.Addr) bool]
		here := service(store)
		there := service(store, func(c *auth.Config) {
			c.NetworksBanned = func(banned func(netip.Addr) bool) { told.Store(&banned) }
		})
		run(t, there)
		synctest.Wait()
		in, out := netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("203.0.114.9")
		check := func(want bool) {
			t.Helper()
			synctest.Wait()
			banned := *told.Load()
			if banned(in) != want || banned(out) {
				t.Errorf("told %v, %v", banned(in), banned(out))
			}
			for addr, want := range map[netip.Addr]bool{in: want, out: false, netip.AddrFrom16(in.As16()): want, {}: false} {
				if got, err := there.NetworkBanned(t.Context(), addr); err != nil || got != want {
					t.Errorf("%v: %v, %v", addr, got, err)
				}
			}
		}
		check(false)
		ban := auth.Ban{Network: netip.MustParsePrefix("203.0.113.77/24"), Until: time.Now().Add(time.Minute)}
		if err := here.Ban(t.Context(), ban); err != nil {
			t.Fatal(err)
		}
		check(true)
		if err := here.Lift(t.Context(), auth.Ban{Network: netip.MustParsePrefix("::ffff:203.0.113.0/120")}); err != nil {
			t.Fatal(err)
		}
		check(false)
		if err := here.Ban(t.Context(), ban); err != nil {
			t.Fatal(err)
		}
		check(true)
		time.Sleep(time.Minute)
		check(false)
	})
}

func TestBansAreChecked(t *testing.T) {
	s := service(memory(t))
	v4 := netip.MustParsePrefix("203.0.113.0/24")
	for name, b := range map[string]auth.Ban{
		"nobody":            {},
		"both":              {User: "demo:alice", Network: v4},
		"no provider":       {User: ":alice"},
		"no subject":        {User: "demo:"},
		"no colon":          {User: "alice"},
		"bad user, network": {User: "alice", Network: v4},
		"over already":      {User: "demo:alice", Until: time.Now().Add(-time.Second)},
		"long reason":       {User: "demo:alice", Reason: strings.Repeat("x", 201)},
		"line break":        {User: "demo:alice", Reason: "a\nb"},
		"odd bytes":         {User: "demo:alice", Reason: "\xff"},
		"long user":         {User: "demo:" + strings.Repeat("x", 300)},
		"all of IPv4":       {Network: netip.MustParsePrefix("0.0.0.0/0")},
		"wider than /8":     {Network: netip.MustParsePrefix("10.0.0.0/7")},
		"wider than /16":    {Network: netip.MustParsePrefix("2001::/15")},
		"wider than IPv4":   {Network: netip.MustParsePrefix("::ffff:0.0.0.0/90")},
	} {
		if err := s.Ban(t.Context(), b); !errors.Is(err, auth.ErrInvalidBan) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if list, err := s.Bans(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestBansAreBounded(t *testing.T) {
	s := service(memory(t))
	for i := range 1000 {
		if err := s.Ban(t.Context(), auth.Ban{User: fmt.Sprintf("demo:%d", i)}); err != nil {
			t.Fatal(err)
		}
	}
	tokens := issue(t, s)
	if err := s.Ban(t.Context(), auth.Ban{User: tokens.Sub}); !errors.Is(err, auth.ErrTooManyBans) {
		t.Errorf("one more: %v", err)
	}
	verified(t, s, tokens) // a ban that was refused has done nothing
	if err := s.Ban(t.Context(), auth.Ban{User: "demo:7", Reason: "again"}); err != nil {
		t.Errorf("one that is there: %v", err)
	}
}

func TestParallelBansAreAllKept(t *testing.T) {
	store := memory(t)
	services := []*auth.Service{service(store), service(store)}
	parallel(40, func(i int) {
		if err := services[i%2].Ban(t.Context(), auth.Ban{User: fmt.Sprintf("demo:%d", i)}); err != nil {
			t.Error(err)
		}
	})
	if list, err := service(store).Bans(t.Context()); err != nil || len(list) != 40 {
		t.Errorf("%d bans, %v", len(list), err)
	}
}

func TestBansSurviveAStoreThatCameBackEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &switched{Store: memory(t)}
		s := service(store)
		run(t, s)
		synctest.Wait()
		if err := s.Ban(t.Context(), auth.Ban{User: "demo:alice"}); err != nil {
			t.Fatal(err)
		}
		if err := s.Ban(t.Context(), auth.Ban{User: "demo:bob", Until: time.Now().Add(time.Minute)}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if _, err := store.Update(t.Context(), "bans", func(old []byte) ([]byte, time.Duration, error) { return old, time.Second, nil }); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		store.relink(t)
		synctest.Wait()
		list, err := service(store).Bans(t.Context())
		if err != nil || len(list) != 1 || list[0].User != "demo:alice" {
			t.Errorf("%+v, %v", list, err)
		}
	})
}

// deaf is a store whose watch link is down, without anybody noticing.
type deaf struct {
	*switched
	off atomic.Bool
}

func (d *deaf) Watch(ctx context.Context, key string, changed func([]byte, uint64)) (func(), error) {
	return d.switched.Watch(ctx, key, func(value []byte, rev uint64) {
		if !d.off.Load() {
			changed(value, rev)
		}
	})
}

// An instance that was deaf while a ban was lifted, or made shorter, must not take
// the empty list for a store that came back empty.
func TestLiftedBanStaysLifted(t *testing.T) {
	for name, lift := range map[string]func(s *auth.Service) error{
		"lifted": func(s *auth.Service) error { return s.Lift(t.Context(), auth.Ban{User: "demo:alice"}) },
		"shorter": func(s *auth.Service) error {
			return s.Ban(t.Context(), auth.Ban{User: "demo:alice", Until: time.Now().Add(time.Second)})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := memory(t)
				link := &deaf{switched: &switched{Store: store}}
				here, there := service(store), service(link)
				run(t, here)
				run(t, there)
				synctest.Wait()
				if err := here.Ban(t.Context(), auth.Ban{User: "demo:alice"}); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				link.off.Store(true)
				if err := lift(here); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Hour)
				link.off.Store(false)
				link.relink(t)
				synctest.Wait()
				for _, s := range []*auth.Service{here, there} {
					if all, err := s.Bans(t.Context()); err != nil || len(all) != 0 {
						t.Errorf("%+v, %v", all, err)
					}
					verified(t, s, issue(t, s))
				}
			})
		})
	}
}

// half lets the first writes through and no more.
type half struct {
	auth.Store
	left atomic.Int32
}

func (h *half) Update(ctx context.Context, key string, change func([]byte) ([]byte, time.Duration, error)) (uint64, error) {
	if h.left.Add(-1) < 0 {
		return 0, pulled{}
	}
	return h.Store.Update(ctx, key, change)
}

// The store goes away in the middle of a ban: the operator is told, and what was
// done so far can be completed or taken back.
func TestHalfABanCanBeCompletedOrTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory(t)
		s := service(store)
		tokens := issue(t, s)
		breaking := &half{Store: store}
		operator := service(breaking)
		ban := auth.Ban{User: "demo:alice", Until: time.Now().Add(time.Hour)}
		if err := operator.Ban(t.Context(), ban); err == nil {
			t.Fatal("banned without a write")
		}
		verified(t, s, tokens)
		breaking.left.Store(1)
		if err := operator.Ban(t.Context(), ban); err == nil {
			t.Fatal("banned with half the writes")
		}
		if _, err := s.Verify(t.Context(), tokens.Access); err == nil {
			t.Error("the session is alive")
		}
		if _, err := s.Issue(t.Context(), grant(s)); !errors.Is(err, auth.ErrBanned) {
			t.Errorf("signed in: %v", err)
		}
		if err := s.Lift(t.Context(), ban); err != nil {
			t.Errorf("taken back: %v", err)
		}
		verified(t, s, issue(t, s))
		breaking.left.Store(2)
		if err := operator.Ban(t.Context(), ban); err != nil {
			t.Errorf("completed: %v", err)
		}
		if list, err := s.Bans(t.Context()); err != nil || len(list) != 1 {
			t.Errorf("%+v, %v", list, err)
		}
	})
}
