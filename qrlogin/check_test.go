package qrlogin_test

import (
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"scanlogin/auth"
	"scanlogin/qrlogin"
)

// Other places than home.
var (
	office = netip.MustParsePrefix("198.51.100.1/32")
	abroad = netip.MustParsePrefix("2001:db8::/64")
)

// far is a login whose browser is at the office: alice's phone is at home.
func (w *world) far(t *testing.T) (qrlogin.Created, qrlogin.Found) {
	t.Helper()
	c := w.create(t, qrlogin.Request{Facts: qrlogin.Facts{Network: office}})
	f := w.scan(t, c, alice)
	if !f.Check || f.UserCode {
		t.Fatalf("no check is wanted: %+v", f)
	}
	return c, f
}

// awaited is one that alice approved: the check is still to come.
func (w *world) awaited(t *testing.T) (qrlogin.Created, qrlogin.Found, string) {
	t.Helper()
	c, f := w.far(t)
	answer, err := w.Confirm(t.Context(), f.TicketID, f.ConfirmToken, "", alice)
	if err != nil || answer.Status != qrlogin.Scanned {
		t.Fatalf("confirm: %+v, %v", answer, err)
	}
	return c, f, answer.CheckCode
}

func (w *world) view(t *testing.T, c qrlogin.Created) qrlogin.View {
	t.Helper()
	v, err := w.Open(t.Context(), c.TicketID, c.DeviceCode)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// other is a code that is not this one.
func other(code string) string {
	if code == "00" {
		return "01"
	}
	return "00"
}

func TestCheckCodeIsTheSameOnEveryInstance(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		there, all := w.another(qrlogin.Config{}), map[string]bool{}
		for range 40 {
			_, f, code := w.awaited(t)
			answer, err := there.Confirm(t.Context(), f.TicketID, f.ConfirmToken, "", alice)
			if err != nil || answer.CheckCode != code || !regexp.MustCompile(`^[0-9]{2}$`).MatchString(code) {
				t.Fatalf("here %q, there %+v, %v", code, answer, err)
			}
			all[code] = true
		}
		if len(all) < 10 {
			t.Errorf("40 tickets have %d codes", len(all))
		}
	})
}

func TestLoginWithACheck(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c, f := w.far(t)
		_, err := w.Check(t.Context(), c.TicketID, c.DeviceCode, "07")
		want(t, "check before the decision", err, qrlogin.ErrInvalidState)
		if v := w.view(t, c); v.TriesLeft != 0 || v.Seq != f.Seq {
			t.Errorf("scanned: %+v", v)
		}
		answer, err := w.Confirm(t.Context(), c.TicketID, f.ConfirmToken, "", alice)
		want(t, "confirm", err, nil)
		v := w.view(t, c)
		if v.Status != qrlogin.Scanned || v.TriesLeft != 3 || v.User != "A***e" || v.Seq <= f.Seq || v.ExpiresIn != time.Minute {
			t.Errorf("awaited: %+v", v)
		}
		_, err = w.redeem(t, c)
		want(t, "redeem before the check", err, qrlogin.ErrAuthorizationPending)
		for left := 2; left > 0; left-- {
			time.Sleep(10 * time.Second)
			_, err = w.Check(t.Context(), c.TicketID, c.DeviceCode, other(answer.CheckCode))
			want(t, "wrong", err, qrlogin.ErrCheckFailed)
			if after := w.view(t, c); after.TriesLeft != left || after.Status != qrlogin.Scanned || after.Seq <= v.Seq {
				t.Errorf("%d left: %+v", left, after)
			}
		}
		for _, wrong := range []string{"", c.DeviceCode + "x", strings.Repeat("A", 22) + c.DeviceCode[22:], f.ConfirmToken} {
			_, err = w.Check(t.Context(), c.TicketID, wrong, answer.CheckCode)
			want(t, "another browser", err, qrlogin.ErrInvalidDeviceCode)
		}
		time.Sleep(40*time.Second - time.Nanosecond)
		for range 2 {
			v, err = w.Check(t.Context(), c.TicketID, c.DeviceCode, answer.CheckCode)
			want(t, "the right one at the last moment, and again", err, nil)
			if v.Status != qrlogin.Confirmed || v.TriesLeft != 0 || v.ExpiresIn != time.Nanosecond {
				t.Errorf("checked: %+v", v)
			}
		}
		_, err = w.Check(t.Context(), c.TicketID, c.DeviceCode, other(answer.CheckCode))
		want(t, "a wrong one afterwards", err, qrlogin.ErrInvalidState)
		_, err = w.redeem(t, c)
		want(t, "redeem", err, nil)
		_, err = w.Check(t.Context(), c.TicketID, c.DeviceCode, answer.CheckCode)
		want(t, "the right one after the login", err, nil)
	})
}

func TestCheckComesTooLate(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c, _, code := w.awaited(t)
		time.Sleep(time.Minute)
		_, err := w.Check(t.Context(), c.TicketID, c.DeviceCode, code)
		want(t, "check", err, qrlogin.ErrInvalidState)
		if v := w.view(t, c); v.Status != qrlogin.Expired || v.TriesLeft != 0 {
			t.Errorf("%+v", v)
		}
		_, err = w.redeem(t, c)
		want(t, "redeem", err, qrlogin.ErrExpiredToken)
	})
}

// The phone asks again because an answer was lost: it hears the same, whatever
// has become of the ticket meanwhile.
func TestConfirmWhoseAnswerWasLostIsRepeated(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c, f, code := w.awaited(t)
		first := qrlogin.Answer{Status: qrlogin.Scanned, CheckCode: code}
		again := func(when string) {
			t.Helper()
			seq := w.view(t, c).Seq
			answer, err := w.another(qrlogin.Config{}).Confirm(t.Context(), c.TicketID, f.ConfirmToken, "", alice)
			if err != nil || answer != first || w.view(t, c).Seq != seq {
				t.Errorf("%s: %+v, %v", when, answer, err)
			}
		}
		again("at once")
		time.Sleep(time.Minute)
		again("after its end")
		want(t, "deny after its end", w.Deny(t.Context(), c.TicketID, f.ConfirmToken, alice, false), qrlogin.ErrTicketExpired)

		c, f, first.CheckCode = w.awaited(t)
		_, err := w.Check(t.Context(), c.TicketID, c.DeviceCode, first.CheckCode)
		want(t, "check", err, nil)
		again("after the check")
		_, err = w.redeem(t, c)
		want(t, "redeem", err, nil)
		again("after the login")
	})
}

// "Not me" while the digits are on the phone.
func TestDenialWhileTheCheckIsAwaited(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c, f, code := w.awaited(t)
		want(t, "deny", w.Deny(t.Context(), c.TicketID, f.ConfirmToken, alice, true), nil)
		_, err := w.Check(t.Context(), c.TicketID, c.DeviceCode, code)
		want(t, "check", err, qrlogin.ErrInvalidState)
		if v := w.view(t, c); v.Status != qrlogin.Denied || v.Reason != qrlogin.ByUser || v.TriesLeft != 0 {
			t.Errorf("%+v", v)
		}
	})
}

// Twenty guesses at once on two instances: three count, and that was it.
func TestRacingGuessesOfTheCheckCodeCountThree(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		there := w.another(qrlogin.Config{})
		c, f, code := w.awaited(t)
		errs := make([]error, 20)
		var all sync.WaitGroup
		for i := range errs {
			all.Go(func() {
				_, errs[i] = []*world{w, there}[i%2].Check(t.Context(), c.TicketID, c.DeviceCode, other(code))
			})
		}
		all.Wait()
		count := map[error]int{}
		for _, err := range errs {
			count[err]++
		}
		if count[qrlogin.ErrCheckFailed] != 3 || count[qrlogin.ErrInvalidState] != 17 {
			t.Errorf("answers %v", count)
		}
		if v := w.view(t, c); v.Status != qrlogin.Denied || v.Reason != qrlogin.CheckFailed || v.User != "" {
			t.Errorf("%+v", v)
		}
		_, err := there.Check(t.Context(), c.TicketID, c.DeviceCode, code)
		want(t, "the right one afterwards", err, qrlogin.ErrInvalidState)
		_, err = w.Confirm(t.Context(), c.TicketID, f.ConfirmToken, "", alice)
		want(t, "confirm afterwards", err, qrlogin.ErrInvalidState)
		_, err = w.redeem(t, c)
		want(t, "redeem", err, qrlogin.ErrAccessDenied)
	})
}

func TestDeviceClientTypesOnThePhone(t *testing.T) {
	for name, row := range map[string]struct {
		mode     qrlogin.Mode
		from     netip.Prefix
		typed    bool // the code, to scan
		required bool
	}{
		"near":               {qrlogin.CheckRisk, home, false, false},
		"near, typed":        {qrlogin.CheckRisk, home, true, false},
		"near, always":       {qrlogin.CheckAlways, home, false, true},
		"near, typed always": {qrlogin.CheckAlways, home, true, false},
		"far":                {qrlogin.CheckRisk, office, false, true},
		"far, typed":         {qrlogin.CheckRisk, office, true, false},
		"far, never":         {qrlogin.CheckOff, office, false, false},
		"far, typed, never":  {qrlogin.CheckOff, office, true, false},
		"place is not known": {qrlogin.CheckRisk, netip.Prefix{}, false, true},
	} {
		inWorld(t, func(t *testing.T, w *world) {
			w = w.another(qrlogin.Config{Check: row.mode})
			c, err := w.Create(t.Context(), qrlogin.Request{ClientID: "device", Device: true, Facts: qrlogin.Facts{Network: row.from}})
			want(t, name, err, nil)
			scan := qrlogin.Scan{QR: c.QRText, Phone: qrlogin.Facts{Network: home}}
			if row.typed {
				scan.QR, scan.UserCode = "", c.UserCode
			}
			f, err := w.Scan(t.Context(), scan, alice)
			want(t, name, err, nil)
			if f.UserCode != row.required || f.Check {
				t.Errorf("%s: user code %t, check %t", name, f.UserCode, f.Check)
			}
			code := ""
			if row.required {
				for _, wrong := range []string{"", "BCDF"} {
					_, err = w.Confirm(t.Context(), c.TicketID, f.ConfirmToken, wrong, alice)
					want(t, name+", wrong", err, qrlogin.ErrCheckFailed)
				}
				code = strings.ToLower(c.UserCode) // as people type it
			}
			for range 2 {
				answer, err := w.Confirm(t.Context(), c.TicketID, f.ConfirmToken, code, alice)
				if err != nil || answer != (qrlogin.Answer{Status: qrlogin.Confirmed}) {
					t.Errorf("%s: %+v, %v", name, answer, err)
				}
			}
			_, err = w.Redeem(t.Context(), qrlogin.Redemption{DeviceCode: c.DeviceCode, ClientID: "device"})
			want(t, name+", redeem", err, nil)
		})
	}
}

// Scanning again does not give new tries.
func TestGuessingTheDevicesCodeEndsTheLogin(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.create(t, qrlogin.Request{ClientID: "device", Device: true, Facts: qrlogin.Facts{Network: office}})
		for range 3 {
			f := w.scan(t, c, alice)
			_, err := w.Confirm(t.Context(), c.TicketID, f.ConfirmToken, "BCDF-GHJK", alice)
			want(t, "wrong", err, qrlogin.ErrCheckFailed)
		}
		if v := w.view(t, c); v.Status != qrlogin.Denied || v.Reason != qrlogin.CheckFailed {
			t.Errorf("%+v", v)
		}
		_, err := w.Redeem(t.Context(), qrlogin.Redemption{DeviceCode: c.DeviceCode, ClientID: "device"})
		want(t, "redeem", err, qrlogin.ErrAccessDenied)
	})
}

// A network that is banned between the ticket and the decision lets nobody in;
// until the confirm the person may still say so themselves.
func TestBannedNetworkIsNotLetIn(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		first, second := w.create(t, qrlogin.Request{Facts: qrlogin.Facts{Network: office}}), w.create(t, qrlogin.Request{Facts: qrlogin.Facts{Network: office}})
		want(t, "ban", w.auth.Ban(t.Context(), auth.Ban{Network: netip.MustParsePrefix("198.51.100.0/24")}), nil)
		f := w.scan(t, first, alice)
		if f.Signals.Verdict() != qrlogin.Block {
			t.Errorf("signals %+v", f.Signals)
		}
		_, err := w.Confirm(t.Context(), first.TicketID, f.ConfirmToken, "", alice)
		want(t, "confirm", err, qrlogin.ErrProximityBlocked)
		if v := w.view(t, first); v.Status != qrlogin.Denied || v.Reason != qrlogin.Blocked {
			t.Errorf("%+v", v)
		}
		_, err = w.redeem(t, first)
		want(t, "redeem", err, qrlogin.ErrAccessDenied)
		f = w.scan(t, second, alice)
		want(t, "deny", w.Deny(t.Context(), second.TicketID, f.ConfirmToken, alice, true), nil)
		if v := w.view(t, second); v.Reason != qrlogin.ByUser {
			t.Errorf("%+v", v)
		}
	})
}
