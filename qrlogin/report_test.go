package qrlogin_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"scanlogin/auth"
	"scanlogin/qrlogin"
)

// signedIn has alice signed in from a network.
func (w *world) signedIn(t *testing.T, from netip.Prefix) {
	t.Helper()
	_, err := w.auth.Issue(t.Context(), auth.Grant{
		SID: w.auth.NewSID(), Identity: alice, ClientID: "web", AuthTime: time.Now(),
		Origin: auth.Origin{Network: from}, Seed: []byte("seed"),
	})
	want(t, "sign in", err, nil)
}

// A check is wanted unless the networks are the same or the browser's is known;
// after a typed code or high usage, always.
func TestWhenACheckIsWanted(t *testing.T) {
	nowhere := netip.Prefix{}
	rows := []struct {
		name           string
		browser, phone netip.Prefix
		known          netip.Prefix
		typed, high    bool
		check          bool
	}{
		{"the same network", office, office, nowhere, false, false, false},
		{"a known network", office, home, office, false, false, false},
		{"a known network, phone unknown", office, nowhere, office, false, false, false},
		{"two networks", office, home, nowhere, false, false, true},
		{"only the phone's is known", office, home, home, false, false, true},
		{"IPv6 and IPv4", abroad, home, nowhere, false, false, true},
		{"no place is known", nowhere, nowhere, nowhere, false, false, true},
		{"the browser's is not known", nowhere, home, home, false, false, true},
		{"typed, the same network", office, office, nowhere, true, false, true},
		{"typed, a known network", office, home, office, true, false, true},
		{"high usage, the same network", office, office, nowhere, false, true, true},
		{"high usage, a known network", office, home, office, false, true, true},
	}
	for _, row := range rows {
		inWorld(t, func(t *testing.T, w *world) {
			if row.known.IsValid() {
				w.signedIn(t, row.known)
			}
			if row.high {
				w.reported(t, row.browser, "mallory", "mike", "moe")
			}
			for mode, check := range map[qrlogin.Mode]bool{qrlogin.CheckOff: false, "": row.check, qrlogin.CheckRisk: row.check, qrlogin.CheckAlways: true} {
				w := w.another(qrlogin.Config{Check: mode})
				c, err := w.Create(t.Context(), qrlogin.Request{ClientID: "web", UserCode: true, Facts: qrlogin.Facts{Network: row.browser}})
				want(t, row.name, err, nil)
				scan := qrlogin.Scan{QR: c.QRText, Phone: qrlogin.Facts{Network: row.phone}}
				if row.typed {
					scan.QR, scan.UserCode = "", c.UserCode
				}
				f, err := w.Scan(t.Context(), scan, alice)
				want(t, row.name, err, nil)
				if f.Check != check {
					t.Errorf("%s, mode %q: check %t, want %t (%+v)", row.name, mode, f.Check, check, f.Signals)
				}
			}
		})
	}
}

// What the scan says of the place is what the server saw at that moment.
func TestFactsOfThePlace(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		seen := func(browser, phone qrlogin.Facts) qrlogin.Signals {
			t.Helper()
			c := w.create(t, qrlogin.Request{Facts: browser})
			f, err := w.Scan(t.Context(), qrlogin.Scan{QR: c.QRText, Phone: phone}, alice)
			want(t, "scan", err, nil)
			return f.Signals
		}
		here, there := qrlogin.Facts{Network: home, Country: "NL"}, qrlogin.Facts{Network: office, Country: "DE"}
		if got := seen(there, here); !got.FirstTime || !got.OtherCountry || got.SameNetwork || got.Verdict() != qrlogin.Risk {
			t.Errorf("a first time abroad: %+v", got)
		}
		w.signedIn(t, office)
		if got := seen(there, here); got.FirstTime || !got.OtherCountry || !got.KnownNetwork || got.Verdict() != qrlogin.OK {
			t.Errorf("again abroad: %+v", got)
		}
		if got := seen(here, here); !got.FirstTime || got.OtherCountry || !got.SameNetwork || got.Verdict() != qrlogin.OK {
			t.Errorf("at home: %+v", got)
		}
		time.Sleep(90 * 24 * time.Hour)
		if got := seen(there, here); !got.FirstTime || got.KnownNetwork {
			t.Errorf("after 90 days: %+v", got)
		}
	})
}

// The login itself makes its network known.
func TestSecondLoginFromANetworkNeedsNoCheck(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c, _, code := w.awaited(t)
		_, err := w.Check(t.Context(), c.TicketID, c.DeviceCode, code)
		want(t, "check", err, nil)
		_, err = w.redeem(t, c)
		want(t, "redeem", err, nil)
		c = w.create(t, qrlogin.Request{Facts: qrlogin.Facts{Network: office}})
		if f := w.scan(t, c, alice); f.Check || !f.Signals.KnownNetwork || f.Signals.FirstTime {
			t.Errorf("alice again: %+v", f)
		}
		c = w.create(t, qrlogin.Request{Facts: qrlogin.Facts{Network: office}})
		if f := w.scan(t, c, bob); !f.Check || !f.Signals.FirstTime {
			t.Errorf("bob: %+v", f)
		}
	})
}

// reported has accounts report a login from a network, one after the other.
func (w *world) reported(t *testing.T, from netip.Prefix, accounts ...string) {
	t.Helper()
	for _, name := range accounts {
		by := auth.Identity{Provider: "demo", Subject: name, Name: name}
		c := w.create(t, qrlogin.Request{Facts: qrlogin.Facts{Network: from}})
		f := w.scan(t, c, by)
		for range 2 { // the answer was lost
			want(t, "report by "+name, w.Deny(t.Context(), c.TicketID, f.ConfirmToken, by, true), nil)
		}
	}
}

func TestReportsByThreeAccountsMakeHighUsageForAnHour(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		high := func(when string, wanted bool) {
			t.Helper()
			for _, instance := range []*world{w, w.another(qrlogin.Config{})} {
				if got, err := instance.Reported(t.Context(), office); err != nil || got != wanted {
					t.Errorf("%s: high usage %t, %v", when, got, err)
				}
			}
		}
		high("before", false)
		w.reported(t, office, "one", "one", "two", "one")
		high("one account counts once", false)
		time.Sleep(59 * time.Minute)
		w.reported(t, office, "three")
		high("three accounts within the hour", true)
		if got, err := w.Reported(t.Context(), home); err != nil || got {
			t.Errorf("another network: %t, %v", got, err)
		}

		c := w.create(t, qrlogin.Request{Facts: qrlogin.Facts{Network: office}})
		f, err := w.Scan(t.Context(), qrlogin.Scan{QR: c.QRText, Phone: qrlogin.Facts{Network: office}}, alice)
		if err != nil || !f.Check || !f.Signals.HighUsage || f.Signals.Verdict() != qrlogin.Risk {
			t.Fatalf("a scan meanwhile: %+v, %v", f, err)
		}
		answer, err := w.Confirm(t.Context(), c.TicketID, f.ConfirmToken, "", alice)
		want(t, "never a refusal: confirm", err, nil)
		_, err = w.Check(t.Context(), c.TicketID, c.DeviceCode, answer.CheckCode)
		want(t, "never a refusal: check", err, nil)

		time.Sleep(time.Hour - time.Nanosecond)
		high("an hour later, almost", true)
		w.reported(t, office, "four") // which keeps the record, not the high usage
		time.Sleep(time.Nanosecond)
		high("an hour later", false)
		w.reported(t, office, "five")
		high("two accounts, then", false)
	})
}

// T26: one account, or two, cannot make a network suspect, however often they
// report; nor can reports that an hour lies between.
func TestOneAccountCannotDiscreditANetwork(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		for i := range 60 {
			w.reported(t, office, fmt.Sprint("account ", i%2))
			time.Sleep(time.Minute)
		}
		for i := range 6 {
			w.reported(t, abroad, fmt.Sprint("account ", i))
			time.Sleep(30 * time.Minute)
		}
		for _, network := range []netip.Prefix{office, abroad} {
			if got, err := w.Reported(t.Context(), network); err != nil || got {
				t.Errorf("%s: %t, %v", network, got, err)
			}
		}
	})
}

// Who denies without a report, or reports a browser that is nowhere, says
// nothing of a network.
func TestDenialIsNoReport(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		for i := range 3 {
			by := auth.Identity{Provider: "demo", Subject: fmt.Sprint(i)}
			c := w.create(t, qrlogin.Request{Facts: qrlogin.Facts{Network: office}})
			want(t, "deny", w.Deny(t.Context(), c.TicketID, w.scan(t, c, by).ConfirmToken, by, false), nil)
			c, err := w.Create(t.Context(), qrlogin.Request{ClientID: "web"})
			want(t, "create", err, nil)
			want(t, "report", w.Deny(t.Context(), c.TicketID, w.scan(t, c, by).ConfirmToken, by, true), nil)
		}
		for _, network := range []netip.Prefix{office, home, {}} {
			if got, err := w.Reported(t.Context(), network); err != nil || got {
				t.Errorf("%s: %t, %v", network, got, err)
			}
		}
	})
}

// Whoever is reported must not prevent it by giving up, guessing or waiting.
func TestReportCountsHoweverTheTicketEnded(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		for name, ends := range map[string]struct {
			end  func(c qrlogin.Created)
			told error
		}{
			"alice": {func(c qrlogin.Created) { want(t, "cancel", w.Cancel(t.Context(), c.TicketID, c.DeviceCode), nil) }, qrlogin.ErrInvalidState},
			"bob":   {func(c qrlogin.Created) { time.Sleep(61 * time.Second) }, qrlogin.ErrTicketExpired},
			"carol": {func(c qrlogin.Created) {}, nil},
		} {
			by := auth.Identity{Provider: "demo", Subject: name, Name: name}
			if got, err := w.Reported(t.Context(), office); err != nil || got {
				t.Errorf("before %s: %v, %v", name, got, err)
			}
			c := w.create(t, qrlogin.Request{Facts: qrlogin.Facts{Network: office}})
			f := w.scan(t, c, by)
			ends.end(c)
			want(t, name+" with another's token", w.Deny(t.Context(), c.TicketID, "guess", by, true), qrlogin.ErrInvalidConfirmToken)
			want(t, name, w.Deny(t.Context(), c.TicketID, f.ConfirmToken, by, true), ends.told)
		}
		if got, err := w.Reported(t.Context(), office); err != nil || !got {
			t.Errorf("after three: %v, %v", got, err)
		}
	})
}

// A report also takes the network from those that the reporter uses.
func TestReportedNetworkIsNotKnownAnyMore(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.signedIn(t, office)
		w.reported(t, office, "alice")
		c := w.create(t, qrlogin.Request{Facts: qrlogin.Facts{Network: office}})
		if f := w.scan(t, c, alice); !f.Check || f.Signals.KnownNetwork {
			t.Errorf("alice: %+v", f)
		}
	})
}
