package qrlogin

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"scanlogin/auth"
)

var (
	alice = auth.Identity{Provider: "demo", Subject: "alice", Name: "Alice"}
	bob   = auth.Identity{Provider: "demo", Subject: "bob", Name: "Bob"}
	noon  = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
)

const ttl = time.Minute

// at makes a ticket that stands in a status at noon, scanned by alice with
// the confirm token "token" where somebody scanned.
func at(status Status, scanned bool) *Ticket {
	t := &Ticket{ID: random(idBytes), Status: Pending, Created: noon.Add(-time.Second), Deadline: noon.Add(ttl)}
	if scanned {
		t.Status, t.By, t.ConfirmHash = Scanned, alice, hash("token")
	}
	switch status {
	case Expired:
		t.Deadline = noon
	case Confirmed:
		t.Status = Confirmed
	case Consumed:
		t.Status, t.SID, t.Ended = Consumed, "sid", noon.Add(-time.Second)
	case Denied:
		t.Status, t.Reason, t.Ended = Denied, ByUser, noon.Add(-time.Second)
	case Canceled:
		t.Status, t.Ended = Canceled, noon.Add(-time.Second)
	}
	return t
}

// expiredConfirmed is a ticket that alice confirmed and nobody redeemed.
func expiredConfirmed() *Ticket {
	t := at(Confirmed, true)
	t.Deadline = noon
	return t
}

type move func(t *Ticket) error

var moves = map[string]move{
	"scan by alice":        func(t *Ticket) error { return t.scan(alice, hash("new"), true, ttl, noon) },
	"stale scan by alice":  func(t *Ticket) error { return t.scan(alice, hash("new"), false, ttl, noon) },
	"scan by bob":          func(t *Ticket) error { return t.scan(bob, hash("new"), true, ttl, noon) },
	"stale scan by bob":    func(t *Ticket) error { return t.scan(bob, hash("new"), false, ttl, noon) },
	"confirm by alice":     func(t *Ticket) error { return t.confirm(alice, "token", ttl, noon) },
	"confirm, wrong token": func(t *Ticket) error { return t.confirm(alice, "guess", ttl, noon) },
	"confirm by bob":       func(t *Ticket) error { return t.confirm(bob, "token", ttl, noon) },
	"deny by alice":        func(t *Ticket) error { return t.deny(alice, "token", noon) },
	"deny, wrong token":    func(t *Ticket) error { return t.deny(alice, "guess", noon) },
	"deny by bob":          func(t *Ticket) error { return t.deny(bob, "token", noon) },
	"cancel":               func(t *Ticket) error { return t.cancel(noon) },
	"redeem":               func(t *Ticket) error { return t.redeem("new sid", noon) },
}

// Every status meets every move. What is missing in a row is refused with
// the row's own answer.
func TestEveryStatusMeetsEveryMove(t *testing.T) {
	type outcome struct {
		status Status
		err    error
	}
	ok := func(s Status) outcome { return outcome{status: s} }
	no := func(err error) outcome { return outcome{err: err} }
	rows := map[string]struct {
		ticket *Ticket
		want   map[string]outcome
	}{
		"pending": {at(Pending, false), map[string]outcome{
			"scan by alice": ok(Scanned), "stale scan by alice": no(ErrQRExpired),
			"scan by bob": ok(Scanned), "stale scan by bob": no(ErrQRExpired),
			"confirm by alice": no(ErrInvalidState), "confirm, wrong token": no(ErrInvalidState), "confirm by bob": no(ErrInvalidState),
			"deny by alice": no(ErrInvalidState), "deny, wrong token": no(ErrInvalidState), "deny by bob": no(ErrInvalidState),
			"cancel": ok(Canceled), "redeem": no(ErrAuthorizationPending),
		}},
		"scanned": {at(Scanned, true), map[string]outcome{
			"scan by alice": ok(Scanned), "stale scan by alice": ok(Scanned),
			"scan by bob": no(ErrAlreadyScanned), "stale scan by bob": no(ErrQRExpired),
			"confirm by alice": ok(Confirmed), "confirm, wrong token": no(ErrInvalidConfirmToken), "confirm by bob": no(ErrNotScanner),
			"deny by alice": ok(Denied), "deny, wrong token": no(ErrInvalidConfirmToken), "deny by bob": no(ErrNotScanner),
			"cancel": ok(Canceled), "redeem": no(ErrAuthorizationPending),
		}},
		"confirmed": {at(Confirmed, true), map[string]outcome{
			"scan by alice": no(ErrInvalidState), "stale scan by alice": no(ErrQRExpired),
			"scan by bob": no(ErrAlreadyScanned), "stale scan by bob": no(ErrQRExpired),
			"confirm by alice": ok(Confirmed), "confirm, wrong token": no(ErrInvalidConfirmToken), "confirm by bob": no(ErrNotScanner),
			"deny by alice": ok(Denied), "deny, wrong token": no(ErrInvalidConfirmToken), "deny by bob": no(ErrNotScanner),
			"cancel": ok(Canceled), "redeem": ok(Consumed),
		}},
		"consumed": {at(Consumed, true), map[string]outcome{
			"scan by alice": no(ErrInvalidState), "stale scan by alice": no(ErrQRExpired),
			"scan by bob": no(ErrAlreadyScanned), "stale scan by bob": no(ErrQRExpired),
			"confirm by alice": ok(Consumed), "confirm, wrong token": no(ErrInvalidConfirmToken), "confirm by bob": no(ErrNotScanner),
			"deny by alice": no(ErrInvalidState), "deny, wrong token": no(ErrInvalidConfirmToken), "deny by bob": no(ErrNotScanner),
			"cancel": no(ErrInvalidState), "redeem": ok(Consumed),
		}},
		"denied": {at(Denied, true), map[string]outcome{
			"scan by alice": no(ErrInvalidState), "stale scan by alice": no(ErrQRExpired),
			"scan by bob": no(ErrInvalidState), "stale scan by bob": no(ErrQRExpired),
			"confirm by alice": no(ErrInvalidState), "confirm, wrong token": no(ErrInvalidConfirmToken), "confirm by bob": no(ErrNotScanner),
			"deny by alice": ok(Denied), "deny, wrong token": no(ErrInvalidConfirmToken), "deny by bob": no(ErrNotScanner),
			"cancel": no(ErrInvalidState), "redeem": no(ErrAccessDenied),
		}},
		"canceled when pending": {at(Canceled, false), map[string]outcome{
			"scan by alice": no(ErrInvalidState), "stale scan by alice": no(ErrQRExpired),
			"scan by bob": no(ErrInvalidState), "stale scan by bob": no(ErrQRExpired),
			"confirm by alice": no(ErrInvalidState), "confirm, wrong token": no(ErrInvalidState), "confirm by bob": no(ErrInvalidState),
			"deny by alice": no(ErrInvalidState), "deny, wrong token": no(ErrInvalidState), "deny by bob": no(ErrInvalidState),
			"cancel": ok(Canceled), "redeem": no(ErrAccessDenied),
		}},
		"canceled when scanned": {at(Canceled, true), map[string]outcome{
			"scan by alice": no(ErrInvalidState), "stale scan by alice": no(ErrQRExpired),
			"scan by bob": no(ErrInvalidState), "stale scan by bob": no(ErrQRExpired),
			"confirm by alice": no(ErrInvalidState), "confirm, wrong token": no(ErrInvalidConfirmToken), "confirm by bob": no(ErrNotScanner),
			"deny by alice": no(ErrInvalidState), "deny, wrong token": no(ErrInvalidConfirmToken), "deny by bob": no(ErrNotScanner),
			"cancel": ok(Canceled), "redeem": no(ErrAccessDenied),
		}},
		"expired when pending": {at(Expired, false), map[string]outcome{
			"scan by alice": no(ErrTicketExpired), "stale scan by alice": no(ErrTicketExpired),
			"scan by bob": no(ErrTicketExpired), "stale scan by bob": no(ErrTicketExpired),
			"confirm by alice": no(ErrTicketExpired), "confirm, wrong token": no(ErrTicketExpired), "confirm by bob": no(ErrTicketExpired),
			"deny by alice": no(ErrTicketExpired), "deny, wrong token": no(ErrTicketExpired), "deny by bob": no(ErrTicketExpired),
			"cancel": no(ErrInvalidState), "redeem": no(ErrExpiredToken),
		}},
		"expired when confirmed": {expiredConfirmed(), map[string]outcome{
			"scan by alice": no(ErrTicketExpired), "stale scan by alice": no(ErrTicketExpired),
			"scan by bob": no(ErrTicketExpired), "stale scan by bob": no(ErrTicketExpired),
			"confirm by alice": ok(Expired), "confirm, wrong token": no(ErrInvalidConfirmToken), "confirm by bob": no(ErrNotScanner),
			"deny by alice": no(ErrTicketExpired), "deny, wrong token": no(ErrInvalidConfirmToken), "deny by bob": no(ErrNotScanner),
			"cancel": no(ErrInvalidState), "redeem": no(ErrExpiredToken),
		}},
		"expired when scanned": {at(Expired, true), map[string]outcome{
			"scan by alice": no(ErrTicketExpired), "stale scan by alice": no(ErrTicketExpired),
			"scan by bob": no(ErrTicketExpired), "stale scan by bob": no(ErrTicketExpired),
			"confirm by alice": no(ErrTicketExpired), "confirm, wrong token": no(ErrInvalidConfirmToken), "confirm by bob": no(ErrNotScanner),
			"deny by alice": no(ErrTicketExpired), "deny, wrong token": no(ErrInvalidConfirmToken), "deny by bob": no(ErrNotScanner),
			"cancel": no(ErrInvalidState), "redeem": no(ErrExpiredToken),
		}},
	}
	for name, row := range rows {
		if len(row.want) != len(moves) {
			t.Errorf("%s: %d moves of %d", name, len(row.want), len(moves))
		}
		for by, want := range row.want {
			ticket := *row.ticket
			err := moves[by](&ticket)
			if !errors.Is(err, want.err) || want.err == nil && err != nil {
				t.Errorf("%s, %s: error %v, want %v", name, by, err, want.err)
			}
			if err != nil && !reflect.DeepEqual(ticket, *row.ticket) {
				t.Errorf("%s, %s: a refused move changed the ticket", name, by)
			}
			if err == nil && ticket.At(noon) != want.status {
				t.Errorf("%s, %s: %s, want %s", name, by, ticket.At(noon), want.status)
			}
		}
	}
}

func TestDeadlines(t *testing.T) {
	ticket := at(Pending, false)
	ticket.Deadline = noon.Add(time.Second)
	if err := ticket.scan(alice, hash("token"), true, ttl, noon); err != nil || ticket.Deadline != noon.Add(ttl) {
		t.Fatalf("first scan: %v, deadline %s", err, ticket.Deadline.Sub(noon))
	}
	if err := ticket.scan(alice, hash("token"), true, ttl, noon.Add(30*time.Second)); err != nil || ticket.Deadline != noon.Add(ttl) {
		t.Fatalf("scanning again moved the deadline: %v, %s", err, ticket.Deadline.Sub(noon))
	}
	late := noon.Add(ttl - time.Nanosecond)
	if err := ticket.confirm(alice, "token", 5*time.Second, late); err != nil || ticket.Deadline != late.Add(5*time.Second) {
		t.Fatalf("confirm at the last moment: %v, %s", err, ticket.Deadline.Sub(noon))
	}
	if got := ticket.At(ticket.Deadline); got != Expired {
		t.Fatalf("at its deadline: %s", got)
	}
	if got := ticket.At(ticket.Deadline.Add(-time.Nanosecond)); got != Confirmed {
		t.Fatalf("before its deadline: %s", got)
	}
}

// Whatever is done to a ticket in whatever order, these hold.
func TestTicketNeverBreaksItsPromises(t *testing.T) {
	order := map[Status]int{Pending: 0, Scanned: 1, Confirmed: 2, Consumed: 3, Denied: 3, Canceled: 3, Expired: 3}
	rapid.Check(t, func(r *rapid.T) {
		now := noon
		ticket := &Ticket{Status: Pending, Created: now, Deadline: now.Add(ttl)}
		who := map[string]auth.Identity{"alice": alice, "bob": bob}
		step := func(do func() error) {
			before := *ticket
			was := ticket.At(now)
			err := do()
			is := ticket.At(now)
			switch {
			case err != nil && !reflect.DeepEqual(before, *ticket):
				r.Fatalf("refused with %v, but changed", err)
			case was.Final() && !reflect.DeepEqual(before, *ticket):
				r.Fatalf("%s is final, but changed", was)
			case order[is] < order[was]:
				r.Fatalf("went back from %s to %s", was, is)
			case before.By != (auth.Identity{}) && ticket.By != before.By:
				r.Fatalf("bound to %s, then to %s", before.By.Sub(), ticket.By.Sub())
			case before.SID != "" && ticket.SID != before.SID:
				r.Fatal("one ticket, two sessions")
			case is == Consumed && (ticket.SID == "" || ticket.Decided.IsZero() || ticket.By == (auth.Identity{})):
				r.Fatal("consumed without a session, a decision or a person")
			case was == Scanned && is == Scanned && ticket.Deadline != before.Deadline:
				r.Fatal("scanning again moved the deadline")
			}
		}
		name := rapid.SampledFrom([]string{"alice", "bob"})
		token := rapid.SampledFrom([]string{"one", "two", "three"})
		r.Repeat(map[string]func(*rapid.T){
			"time": func(r *rapid.T) { now = now.Add(rapid.Custom(duration).Draw(r, "passes")) },
			"scan": func(r *rapid.T) {
				step(func() error {
					return ticket.scan(who[name.Draw(r, "by")], hash(token.Draw(r, "token")), rapid.Bool().Draw(r, "fresh"), ttl, now)
				})
			},
			"confirm": func(r *rapid.T) {
				step(func() error { return ticket.confirm(who[name.Draw(r, "by")], token.Draw(r, "token"), ttl, now) })
			},
			"deny": func(r *rapid.T) {
				step(func() error { return ticket.deny(who[name.Draw(r, "by")], token.Draw(r, "token"), now) })
			},
			"cancel": func(r *rapid.T) { step(func() error { return ticket.cancel(now) }) },
			"redeem": func(r *rapid.T) { step(func() error { return ticket.redeem(random(4), now) }) },
		})
	})
}

func duration(r *rapid.T) time.Duration {
	return time.Duration(rapid.Int64Range(0, int64(40*time.Second)).Draw(r, "ns"))
}

func TestQRTextRotates(t *testing.T) {
	const rotate = 30 * time.Second
	ticket := &Ticket{Created: noon}
	for _, row := range []struct {
		at   time.Duration
		step uint32
	}{{0, 0}, {rotate - 1, 0}, {rotate, 1}, {10 * rotate, 10}, {-time.Second, 0}} {
		if got := ticket.step(rotate, noon.Add(row.at)); got != row.step {
			t.Errorf("step after %s = %d, want %d", row.at, got, row.step)
		}
	}
	for _, row := range []struct {
		at   time.Duration // since the face was first shown
		good bool
	}{{-qrEarly - 1, false}, {-qrEarly, true}, {0, true}, {rotate, true}, {rotate + qrLate - 1, true}, {rotate + qrLate, false}} {
		if got := ticket.good(3, rotate, noon.Add(3*rotate+row.at)); got != row.good {
			t.Errorf("good %s after the face was shown = %t", row.at, got)
		}
	}
	device := &Ticket{Created: noon, Device: true}
	if device.step(rotate, noon.Add(time.Hour)) != 0 || !device.good(0, rotate, noon.Add(time.Hour)) {
		t.Error("a device client's QR text changed")
	}
}

func TestForgedQRTextIsUnknown(t *testing.T) {
	key, id := []byte("key"), random(idBytes)
	token := qrToken(key, id, 7)
	if got, step, err := parseQRToken(key, token); got != id || step != 7 || err != nil {
		t.Fatalf("own token: %s %d %v", got, step, err)
	}
	for i := range token {
		forged := []byte(token)
		forged[i] ^= 1
		if _, _, err := parseQRToken(key, string(forged)); !errors.Is(err, ErrNotFound) {
			t.Errorf("changed at %d: %v", i, err)
		}
	}
	for _, forged := range []string{"", id, token + "A", token[1:], token + "=", " " + token, token + "\n", token[:5] + "\r\n" + token[5:], qrToken([]byte("other"), id, 7)} {
		if _, _, err := parseQRToken(key, forged); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %v", forged, err)
		}
	}
}

func TestUserCodeAsPeopleTypeIt(t *testing.T) {
	for _, typed := range []string{"BCDF-GHJK", "bcdfghjk", " bcdf ghjk ", "BCDF–GHJK", "b.c.d.f.g.h.j.k", "BCDF/GHJK", "BCDF,GHJK", "BCDF\u2011GHJK", "BCDF\u00a0GHJK", "BCDF－GHJK", "ＢＣＤＦｇｈｊｋ", "BCDF\u200bGHJK"} {
		if code, err := parseUserCode(typed); code != "BCDFGHJK" || err != nil {
			t.Errorf("%q: %q, %v", typed, code, err)
		}
	}
	for _, typed := range []string{"", "BCDF", "BCDF-GHJA", "BCDF-GHJKL", "BCDF-GHJ1", "BCDFGHJÉ", "ВCDFGHJK", "BCDFGHJK\x00"} {
		if code, err := parseUserCode(typed); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %q, %v", typed, code, err)
		}
	}
	for range 1000 {
		code := newUserCode()
		if got, err := parseUserCode(FormatUserCode(code)); got != code || err != nil {
			t.Fatalf("own code %q: %q, %v", code, got, err)
		}
	}
}

func TestNamesAreMasked(t *testing.T) {
	for name, want := range map[string]string{"": "***", "A": "A***", "Bob": "B***", "Anne": "A***e", "Alice": "A***e", "张三": "张***", "欧阳娜娜": "欧***娜"} {
		if got := mask(name); got != want {
			t.Errorf("mask(%q) = %q, want %q", name, got, want)
		}
	}
}
