package qrlogin

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"scanlogin/auth"
)

func TestDeadlines(t *testing.T) {
	for name, check := range map[string]bool{"no check": false, "with a check": true} {
		ticket := pending()
		ticket.Deadline = noon.Add(time.Second)
		ends := func(what string, at time.Time, refused, err error) {
			t.Helper()
			if refused != nil || err != nil || ticket.Deadline != at {
				t.Fatalf("%s, %s: %v, %v, deadline %s", name, what, refused, err, ticket.Deadline.Sub(noon))
			}
		}
		ends("first scan", noon.Add(ttl), nil, ticket.scan(alice, hash("token"), true, ttl, noon))
		ends("scanning again", noon.Add(ttl), nil, ticket.scan(alice, hash("token"), true, ttl, noon.Add(30*time.Second)))
		ticket.Check = check
		last := noon.Add(ttl - time.Nanosecond)
		refused, err := ticket.confirm(alice, "token", "", 5*time.Second, last)
		ends("confirm at the last moment", last.Add(5*time.Second), refused, err)
		refused, err = ticket.confirm(alice, "token", "", 5*time.Second, last.Add(time.Second))
		ends("confirm again", last.Add(5*time.Second), refused, err)
		if check {
			refused, err = ticket.check("07", "07", last.Add(4*time.Second))
			ends("check", last.Add(5*time.Second), refused, err)
		}
		if got := ticket.At(ticket.Deadline.Add(-time.Nanosecond)); got != Confirmed || ticket.Decided != last {
			t.Fatalf("%s, before its deadline: %s, decided %s", name, got, ticket.Decided.Sub(noon))
		}
		if got := ticket.At(ticket.Deadline); got != Expired {
			t.Fatalf("%s, at its deadline: %s", name, got)
		}
	}
}

// codes is what is typed: by the browser the check code, by the phone the
// device's user_code.
var codes = rapid.SampledFrom([]string{"07", "70", "BCDFGHJK", "BCDFGHJL", ""})

// typed is the last code that was sent, and through which move.
type typed struct{ check, confirm string }

// Whatever is done to a ticket in whatever order, these hold.
func TestTicketNeverBreaksItsPromises(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		now, ticket := noon, pending()
		ticket.Device = rapid.Bool().Draw(r, "device")
		mode := rapid.SampledFrom([]Mode{CheckOff, CheckRisk, CheckAlways}).Draw(r, "mode")
		who := map[string]auth.Identity{"alice": alice, "bob": bob}
		step := func(sent typed, do move) {
			before, was := *ticket, ticket.At(now)
			refused, err := do(ticket)
			promise(r, before, was, *ticket, ticket.At(now), refused, err)
			if was != Confirmed && ticket.At(now) == Confirmed {
				lettingIn(r, before, sent)
			}
		}
		name := rapid.SampledFrom([]string{"alice", "bob"})
		token := rapid.SampledFrom([]string{"one", "two", "three"})
		r.Repeat(map[string]func(*rapid.T){
			"time": func(r *rapid.T) { now = now.Add(rapid.Custom(duration).Draw(r, "passes")) },
			"scan": func(r *rapid.T) {
				seen := rapid.Custom(signals).Draw(r, "signals")
				step(typed{}, plain(func(t *Ticket) error {
					err := t.scan(who[name.Draw(r, "by")], hash(token.Draw(r, "token")), rapid.Bool().Draw(r, "fresh"), ttl, now)
					if err == nil {
						t.judge(seen, mode)
					}
					return err
				}))
			},
			"confirm": func(r *rapid.T) {
				code := codes.Draw(r, "code")
				step(typed{confirm: code}, func(t *Ticket) (error, error) {
					return t.confirm(who[name.Draw(r, "by")], token.Draw(r, "token"), code, ttl, now)
				})
			},
			"check": func(r *rapid.T) {
				code := codes.Draw(r, "code")
				step(typed{check: code}, func(t *Ticket) (error, error) { return t.check("07", code, now) })
			},
			"deny": func(r *rapid.T) {
				step(typed{}, plain(func(t *Ticket) error { return t.deny(who[name.Draw(r, "by")], token.Draw(r, "token"), now) }))
			},
			"cancel": func(r *rapid.T) { step(typed{}, plain(func(t *Ticket) error { return t.cancel(now) })) },
			"redeem": func(r *rapid.T) {
				step(typed{}, plain(func(t *Ticket) error { return t.redeem(random(4), now) }))
			},
		})
	})
}

// promise compares a ticket before and after a move.
func promise(r *rapid.T, before Ticket, was Status, after Ticket, is Status, refused, err error) {
	order := map[Status]int{Pending: 0, Scanned: 1, Confirmed: 2, Consumed: 3, Denied: 3, Canceled: 3, Expired: 3}
	same := reflect.DeepEqual(before, after)
	switch {
	case err != nil && !same:
		r.Fatalf("refused with %v, but changed", err)
	case was.Final() && !same:
		r.Fatalf("%s is final, but changed", was)
	case order[is] < order[was]:
		r.Fatalf("went back from %s to %s", was, is)
	case before.By != (auth.Identity{}) && after.By != before.By:
		r.Fatalf("bound to %s, then to %s", before.By.Sub(), after.By.Sub())
	case before.SID != "" && after.SID != before.SID:
		r.Fatal("one ticket, two sessions")
	case is == Consumed && (after.SID == "" || after.Decided.IsZero() || after.By == (auth.Identity{})):
		r.Fatal("consumed without a session, a decision or a person")
	case was == Scanned && is == Scanned && after.Decided.IsZero() && after.Deadline != before.Deadline:
		r.Fatal("scanning again moved the deadline")
	case !before.Decided.IsZero() && (after.Decided != before.Decided || after.Deadline != before.Deadline || after.Check != before.Check):
		r.Fatal("decided twice, or a deadline moved after the decision")
	case after.Tries < before.Tries || after.Tries > maxTries || (after.Tries == maxTries) != (is == Denied && after.Reason == CheckFailed):
		r.Fatalf("%d tries, then %d, and it is %s %q", before.Tries, after.Tries, is, after.Reason)
	case errors.Is(refused, ErrCheckFailed) != (after.Tries == before.Tries+1):
		r.Fatalf("%d tries, then %d, and the answer was %v", before.Tries, after.Tries, refused)
	case is == Denied && after.Reason == "":
		r.Fatal("denied without a reason")
	}
}

// lettingIn is what has to be true of a ticket that becomes confirmed.
func lettingIn(r *rapid.T, before Ticket, sent typed) {
	switch {
	case before.Signals.Banned:
		r.Fatal("a banned network was let in")
	case before.Check && !before.Device && (sent.check != "07" || before.Decided.IsZero()):
		r.Fatalf("let in without the check code: %+v", sent)
	case before.Check && before.Device && sent.confirm != "BCDFGHJK":
		r.Fatalf("let in without the device's code: %+v", sent)
	}
}

func duration(r *rapid.T) time.Duration {
	return time.Duration(rapid.Int64Range(0, int64(40*time.Second)).Draw(r, "ns"))
}

// signals are any, most of them without a ban, or little would be let in.
func signals(r *rapid.T) Signals {
	flag := func(name string) bool { return rapid.Bool().Draw(r, name) }
	return Signals{
		SameNetwork: flag("same"), KnownNetwork: flag("known"), OtherCountry: flag("other country"), FirstTime: flag("first time"),
		HighUsage: flag("high usage"), Typed: flag("typed"), Banned: rapid.IntRange(0, 9).Draw(r, "banned") == 0,
	}
}
