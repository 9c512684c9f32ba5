package web

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// refreshing is the form that trades a refresh token.
func refreshing(refresh string) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "client_id": {"web"}, "refresh_token": {refresh}}
}

// confirmed is a login that waits for its browser.
func (s *site) confirmed(phone string) login {
	s.t.Helper()
	l := s.create(nil)
	s.scan(&l, phone)
	s.confirm(l, phone)
	return l
}

// wrongProofs are what somebody sends who has no login to collect here: made up,
// malformed, half right, spent, and what was right elsewhere.
func wrongProofs(s *site) map[string]url.Values {
	alice, canceled, other := s.phone("alice"), s.create(nil), s.create(nil)
	s.want(204, "", "DELETE", canceled.path(""), nil, bearerOf(canceled.deviceCode)...)
	ended := s.signedIn(alice)
	s.want(200, "", "POST", "/oauth/revoke", url.Values{"client_id": {"web"}, "token": {ended.text("refresh_token")}})
	half := redemption(login{deviceCode: other.id + "." + strings.Repeat("A", 43)})
	foreign := refreshing(s.signedIn(alice).text("refresh_token"))
	foreign.Set("client_id", "other")
	return map[string]url.Values{
		"no code":             redemption(login{deviceCode: "x"}),
		"made up":             redemption(login{deviceCode: b64id + "." + strings.Repeat("A", 43)}),
		"of a ticket, a half": half,
		"no refresh token":    refreshing("x"),
		"a made-up one":       refreshing("sl_rt_" + strings.Repeat("A", 200)),
		"of an ended session": refreshing(ended.text("refresh_token")),
		"of another client":   foreign,
		"an access token":     refreshing(s.signedIn(alice).text("access_token")),
		"of a canceled one":   redemption(canceled),
		"of one that waits":   redemption(other),
	}
}

// Whatever one host sends, the rights of its neighbours are left: with a budget of
// three they redeem and refresh three times after all that, and no fourth time.
func TestGarbageOfOneHostKeepsNoNeighbourOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := limited(t, Limits{TokensPerNetwork: Rate{3, time.Hour}, SigninsPerNetwork: Rate{20, time.Hour}})
		mallory, neighbour := from("203.0.113.66"), from("203.0.113.7")
		for what, form := range wrongProofs(s) {
			for range 5 {
				if a := s.send("POST", "/oauth/token", form, mallory...); a.status == 200 {
					t.Errorf("%s: %s", what, a.raw)
				}
			}
		}
		alice := s.phone("alice")
		var tokens answer
		for range 2 {
			tokens = s.want(200, "", "POST", "/oauth/token", redemption(s.confirmed(alice)), neighbour...)
		}
		tokens = s.want(200, "", "POST", "/oauth/token", refreshing(tokens.text("refresh_token")), neighbour...)
		slowed(t, s.send("POST", "/oauth/token", refreshing(tokens.text("refresh_token")), neighbour...), "1200")
		slowed(t, s.send("POST", "/oauth/token", redemption(s.confirmed(alice)), neighbour...), "1200")
	})
}

// The same at the door for phones: with a budget of three, three sign in after a
// thousand wrong credentials. Whom the budget refuses has made no session.
func TestWrongCredentialsKeepNoNeighbourOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := limited(t, Limits{SigninsPerNetwork: Rate{3, time.Hour}})
		told := map[int]int{}
		for range 1000 {
			told[trySignIn(s, false, from("203.0.113.66")...).status]++
		}
		if told[401] != 50 || told[429] != 950 {
			t.Errorf("wrong credentials: %v", told)
		}
		var phone answer
		for range 3 {
			if phone = trySignIn(s, true, from("203.0.113.7")...); phone.status != 200 {
				t.Errorf("a neighbour: %d %s", phone.status, phone.raw)
			}
		}
		for range 3 {
			slowed(t, trySignIn(s, true, from("203.0.113.7")...), "1200")
		}
		a := s.want(200, "", "GET", "/v1/sessions", nil, bearerOf(phone.text("access_token"))...)
		if made, _ := a.body["sessions"].([]any); len(made) != 3 {
			t.Errorf("%d sessions: %s", len(made), a.raw)
		}
	})
}

// Garbage has a budget as large, and then has to wait. Each piece is two reads for
// the store at the most, and what cannot be a proof is none.
func TestGarbageIsBounded(t *testing.T) {
	for _, kind := range []struct {
		name  string
		form  url.Values
		reads int64
	}{
		{"no code", redemption(login{deviceCode: "x"}), 0},
		{"a made-up code", redemption(login{deviceCode: b64id + "." + strings.Repeat("A", 43)}), 2},
		{"a made-up refresh token", refreshing("sl_rt_" + strings.Repeat("A", 200)), 0},
	} {
		t.Run(kind.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := limited(t, Limits{TokensPerNetwork: Rate{3, 30 * time.Second}})
				s.signedIn(s.phone("alice")) // all keys are there
				before := s.store.calls.Load()
				for range 3 {
					s.want(400, "invalid_grant", "POST", "/oauth/token", kind.form, from("203.0.113.66")...)
				}
				slowed(t, s.send("POST", "/oauth/token", kind.form, from("203.0.113.67")...), "10")
				if reads := s.store.calls.Load() - before; reads > 4*kind.reads {
					t.Errorf("four of it were %d reads", reads)
				}
				s.want(400, "invalid_grant", "POST", "/oauth/token", kind.form, from("198.51.100.7")...)
				time.Sleep(10 * time.Second)
				s.want(400, "invalid_grant", "POST", "/oauth/token", kind.form, from("203.0.113.66")...)
				if n := s.refusals(tokensPerNetwork); n != "1" {
					t.Errorf("%s refusals were counted", n)
				}
			})
		})
	}
}

// A lost answer may be asked for again, whatever the network has used up; and theft is
// noticed also then.
func TestLostAnswerIsNeverRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := limited(t, Limits{TokensPerNetwork: Rate{2, time.Hour}})
		here := from("203.0.113.7")
		l := s.confirmed(s.phone("alice"))
		first := s.want(200, "", "POST", "/oauth/token", redemption(l), here...).text("refresh_token")
		second := ""
		for i := range 5 {
			if again := s.want(200, "", "POST", "/oauth/token", redemption(l), here...); again.text("refresh_token") != first {
				t.Errorf("repeat %d: another token", i)
			}
		}
		for i := range 5 {
			again := s.want(200, "", "POST", "/oauth/token", refreshing(first), here...).text("refresh_token")
			if second != "" && again != second {
				t.Errorf("refresh %d: another token", i)
			}
			second = again
		}
		for i := range 9 {
			s.send("POST", "/oauth/token", refreshing(fmt.Sprint("x", i)), here...)
		}
		slowed(t, s.send("POST", "/oauth/token", refreshing(second), here...), "1800")
		time.Sleep(11 * time.Second)
		s.send("POST", "/oauth/token", refreshing(first), here...) // theft, and out of every budget
		s.want(400, "invalid_grant", "POST", "/oauth/token", refreshing(second), from("198.51.100.7")...)
	})
}
