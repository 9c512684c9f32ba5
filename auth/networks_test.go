package auth_test

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"scanlogin/auth"
)

func TestNetworksOfAUserAreKnownForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := service(memory(t))
		knows := func(text string) bool {
			t.Helper()
			known, err := s.Knows(t.Context(), "demo:alice", netip.MustParsePrefix(text))
			if err != nil {
				t.Fatal(err)
			}
			return known
		}
		from := func(text string) {
			t.Helper()
			g := grant(s)
			g.Network = netip.MustParsePrefix(text)
			if _, err := s.Issue(t.Context(), g); err != nil {
				t.Fatal(err)
			}
		}
		if knows("192.0.2.1/32") {
			t.Error("known before the first sign-in")
		}
		from("192.0.2.1/32")
		time.Sleep(80 * day)
		from("2001:db8::/64")
		if !knows("192.0.2.1/32") || !knows("2001:db8::/64") || knows("192.0.2.2/32") {
			t.Error("not the two that were used")
		}
		time.Sleep(10 * day)
		if knows("192.0.2.1/32") || !knows("2001:db8::/64") {
			t.Error("after 90 days")
		}
		for i := range 8 {
			from(netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}), 32).String())
		}
		if knows("2001:db8::/64") || !knows("203.0.113.0/32") {
			t.Error("more than 8 are remembered, or less")
		}
		other, err := s.Knows(t.Context(), "demo:bob", netip.MustParsePrefix("203.0.113.0/32"))
		if err != nil || other {
			t.Errorf("somebody else's: %v, %v", other, err)
		}
	})
}

// Who was phished ends that session; the phisher's network must not count as one
// that the account uses.
func TestNetworkOfARevokedSessionIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := service(memory(t))
		home, away := netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("198.51.100.1/32")
		from := func(network netip.Prefix) auth.Tokens {
			t.Helper()
			time.Sleep(time.Second)
			g := grant(s)
			g.Network = network
			tokens, err := s.Issue(t.Context(), g)
			if err != nil {
				t.Fatal(err)
			}
			return tokens
		}
		knows := func(network netip.Prefix) bool {
			t.Helper()
			known, err := s.Knows(t.Context(), "demo:alice", network)
			if err != nil {
				t.Fatal(err)
			}
			return known
		}
		mine, evil := from(home), from(away)
		end(t, s, mine, evil.SID)
		if !knows(home) || knows(away) {
			t.Errorf("home %v, away %v", knows(home), knows(away))
		}
		first := from(away)
		from(away)
		end(t, s, mine, first.SID)
		if !knows(away) {
			t.Error("a later sign-in from there does not count")
		}
		// Who was phished can also end all others, or report the network.
		if err := s.EndOthers(t.Context(), verified(t, s, mine)); err != nil {
			t.Fatal(err)
		}
		if !knows(home) || knows(away) {
			t.Errorf("others ended: home %v, away %v", knows(home), knows(away))
		}
		from(away)
		if err := s.Forget(t.Context(), "demo:alice", away); err != nil {
			t.Fatal(err)
		}
		if !knows(home) || knows(away) {
			t.Errorf("reported: home %v, away %v", knows(home), knows(away))
		}
		if err := s.Ban(t.Context(), auth.Ban{User: "demo:alice"}); err != nil {
			t.Fatal(err)
		}
		if err := s.Lift(t.Context(), auth.Ban{User: "demo:alice"}); err != nil {
			t.Fatal(err)
		}
		if knows(home) {
			t.Error("a network is known after everything was ended")
		}
	})
}

// A thief who got in once and signs himself out at once cannot be ended any more:
// his network must not stay one of the user's for it.
func TestThiefWhoSignsHimselfOutLeavesNoKnownNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := service(memory(t))
		home, evil := netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("198.51.100.1/32")
		visit := func(network netip.Prefix, length time.Duration) {
			t.Helper()
			g := grant(s)
			g.Network = network
			tokens, err := s.Issue(t.Context(), g)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(length)
			if err := s.Revoke(t.Context(), g.ClientID, tokens.Refresh); err != nil {
				t.Fatal(err)
			}
		}
		knows := func(network netip.Prefix) bool {
			t.Helper()
			known, err := s.Knows(t.Context(), "demo:alice", network)
			if err != nil {
				t.Fatal(err)
			}
			return known
		}
		visit(home, 25*time.Hour)
		visit(home, time.Minute)
		if !knows(home) {
			t.Error("a short session costs the user a network of a day ago")
		}
		for range 3 { // also not by doing it again
			visit(evil, time.Second)
			if knows(evil) {
				t.Fatal("one short session makes a network known for good")
			}
		}
	})
}
