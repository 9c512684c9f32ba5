package qrlogin

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"scanlogin/auth"
)

var (
	alice = auth.Identity{Provider: "demo", Subject: "alice", Name: "Alice"}
	bob   = auth.Identity{Provider: "demo", Subject: "bob", Name: "Bob"}
	noon  = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
)

const ttl = time.Minute

// pending is a ticket at noon, before its deadline.
func pending() *Ticket {
	return &Ticket{ID: random(idBytes), Status: Pending, CodeHash: hash("BCDFGHJK"), Created: noon.Add(-time.Second), Deadline: noon.Add(ttl)}
}

// scanned is one that alice scanned; her confirm token is "token".
func scanned(also ...func(*Ticket)) *Ticket {
	t := pending()
	t.Status, t.By, t.ConfirmHash = Scanned, alice, hash("token")
	for _, do := range also {
		do(t)
	}
	return t
}

// What may have become of a scanned ticket before noon.
var (
	device  = func(t *Ticket) { t.Device = true }
	checked = func(t *Ticket) { t.Check = true } // approving it takes a code
	blocked = func(t *Ticket) { t.Signals.Banned = true }
	twice   = func(t *Ticket) { t.Tries = maxTries - 1 } // the next wrong code is the last
	decided = func(t *Ticket) { t.Decided = noon.Add(-time.Second) }
	late    = func(t *Ticket) { t.Deadline = noon }
)

// is gives it a status that alice's confirm leads to.
func is(status Status) func(*Ticket) {
	return func(t *Ticket) {
		decided(t)
		if t.Status = status; status == Consumed {
			t.SID, t.Ended = "sid", noon.Add(-time.Second)
		}
	}
}

// over ends it without a session.
func over(status Status, reason string) func(*Ticket) {
	return func(t *Ticket) { t.Status, t.Reason, t.Ended = status, reason, noon.Add(-time.Second) }
}

type move func(t *Ticket) (refused, err error)

// plain is a move that is refused without a change only.
func plain(do func(t *Ticket) error) move {
	return func(t *Ticket) (error, error) { return nil, do(t) }
}

func scans(by auth.Identity, fresh bool) move {
	return plain(func(t *Ticket) error { return t.scan(by, hash("new"), fresh, ttl, noon) })
}

func confirms(by auth.Identity, token, code string) move {
	return func(t *Ticket) (error, error) { return t.confirm(by, token, code, ttl, noon) }
}

func denies(by auth.Identity, token string) move {
	return plain(func(t *Ticket) error { return t.deny(by, token, noon) })
}

func checks(code string) move {
	return func(t *Ticket) (error, error) { return t.check("07", code, noon) }
}

// The columns of the table: all moves, each by everybody who may try it.
var columns = [][]move{
	{scans(alice, true), scans(alice, false), scans(bob, true), scans(bob, false)},
	// Without a code, with the right one, with a wrong one; by a thief of the account, by another user.
	{confirms(alice, "token", ""), confirms(alice, "token", "BCDFGHJK"), confirms(alice, "token", "BCDFGHJL"), confirms(alice, "guess", "BCDFGHJK"), confirms(bob, "token", "BCDFGHJK")},
	{denies(alice, "token"), denies(alice, "guess"), denies(bob, "token")},
	// The browser: the right code, a wrong one.
	{checks("07"), checks("70")},
	{plain(func(t *Ticket) error { return t.cancel(noon) }), plain(func(t *Ticket) error { return t.redeem("new sid", noon) })},
}

// The words of the table that are not a status which the move leads to.
var refusals = map[string]error{
	"state": ErrInvalidState, "stale": ErrQRExpired, "taken": ErrAlreadyScanned, "late": ErrTicketExpired,
	"need": ErrCheckFailed, "bob": ErrNotScanner, "token": ErrInvalidConfirmToken,
	"wait": ErrAuthorizationPending, "refused": ErrAccessDenied, "over": ErrExpiredToken,
}

// And those of a refusal that changes the ticket: what it says, what it leads to.
var changes = map[string]struct {
	refused error
	status  Status
	reason  string
}{
	"wrong": {ErrCheckFailed, Scanned, ""}, "third": {ErrCheckFailed, Denied, CheckFailed}, "block": {ErrProximityBlocked, Denied, Blocked},
}

// Every ticket meets every move.
func TestEveryStatusMeetsEveryMove(t *testing.T) {
	const strangers = "token bob" // a wrong token, another user
	rows := []struct {
		ticket                                *Ticket
		name                                  string
		scan, confirm, deny, check, endOrTake string
	}{
		{pending(), "pending", "scanned stale scanned stale", "state state state state state", "state state state", "state state", "canceled wait"},
		{scanned(), "scanned", "scanned scanned taken stale", "confirmed confirmed confirmed " + strangers, "denied " + strangers, "state state", "canceled wait"},
		{scanned(checked), "scanned, check wanted", "scanned scanned taken stale", "scanned scanned scanned " + strangers, "denied " + strangers, "state state", "canceled wait"},
		{scanned(checked, decided), "check awaited", "state stale taken stale", "scanned scanned scanned " + strangers, "denied " + strangers, "confirmed wrong", "canceled wait"},
		{scanned(checked, decided, twice), "check awaited, two wrong", "state stale taken stale", "scanned scanned scanned " + strangers, "denied " + strangers, "confirmed third", "canceled wait"},
		{scanned(device), "device", "scanned scanned taken stale", "confirmed confirmed confirmed " + strangers, "denied " + strangers, "state state", "canceled wait"},
		{scanned(device, checked), "device, code wanted", "scanned scanned taken stale", "need confirmed wrong " + strangers, "denied " + strangers, "state state", "canceled wait"},
		{scanned(device, checked, twice), "device, two wrong", "scanned scanned taken stale", "need confirmed third " + strangers, "denied " + strangers, "state state", "canceled wait"},
		{scanned(blocked), "blocked", "scanned scanned taken stale", "block block block " + strangers, "denied " + strangers, "state state", "canceled wait"},
		{scanned(blocked, checked), "blocked, check wanted", "scanned scanned taken stale", "block block block " + strangers, "denied " + strangers, "state state", "canceled wait"},
		{scanned(blocked, checked, device), "blocked, code wanted", "scanned scanned taken stale", "block block block " + strangers, "denied " + strangers, "state state", "canceled wait"},
		{scanned(is(Confirmed)), "confirmed", "state stale taken stale", "confirmed confirmed confirmed " + strangers, "denied " + strangers, "state state", "canceled consumed"},
		{scanned(checked, is(Confirmed)), "confirmed by a check", "state stale taken stale", "confirmed confirmed confirmed " + strangers, "denied " + strangers, "confirmed state", "canceled consumed"},
		{scanned(device, checked, is(Confirmed)), "device, confirmed by its code", "state stale taken stale", "confirmed confirmed confirmed " + strangers, "denied " + strangers, "state state", "canceled consumed"},
		{scanned(is(Consumed)), "consumed", "state stale taken stale", "consumed consumed consumed " + strangers, "state " + strangers, "state state", "state consumed"},
		{scanned(checked, is(Consumed)), "consumed after a check", "state stale taken stale", "consumed consumed consumed " + strangers, "state " + strangers, "consumed state", "state consumed"},
		{scanned(over(Denied, ByUser)), "denied", "state stale state stale", "state state state " + strangers, "denied " + strangers, "state state", "state refused"},
		{scanned(checked, decided, over(Denied, ByUser)), "denied when the check was awaited", "state stale state stale", "state state state " + strangers, "denied " + strangers, "state state", "state refused"},
		{scanned(checked, decided, over(Denied, CheckFailed)), "denied by the check", "state stale state stale", "state state state " + strangers, "state " + strangers, "state state", "state refused"},
		{scanned(blocked, over(Denied, Blocked)), "denied by its verdict", "state stale state stale", "state state state " + strangers, "state " + strangers, "state state", "state refused"},
		{func() *Ticket { c := pending(); over(Canceled, "")(c); return c }(), "canceled when pending", "state stale state stale", "state state state state state", "state state state", "state state", "canceled refused"},
		{scanned(over(Canceled, "")), "canceled when scanned", "state stale state stale", "state state state " + strangers, "state " + strangers, "state state", "canceled refused"},
		{scanned(checked, decided, over(Canceled, "")), "canceled when the check was awaited", "state stale state stale", "state state state " + strangers, "state " + strangers, "state state", "canceled refused"},
		{func() *Ticket { c := pending(); late(c); return c }(), "expired when pending", "late late late late", "late late late late late", "late late late", "state state", "state over"},
		{scanned(late), "expired when scanned", "late late late late", "late late late " + strangers, "late " + strangers, "state state", "state over"},
		{scanned(blocked, late), "expired when blocked", "late late late late", "late late late " + strangers, "late " + strangers, "state state", "state over"},
		{scanned(checked, decided, late), "expired when the check was awaited", "late late late late", "expired expired expired " + strangers, "late " + strangers, "state state", "state over"},
		{scanned(is(Confirmed), late), "expired when confirmed", "late late late late", "expired expired expired " + strangers, "late " + strangers, "state state", "state over"},
	}
	for _, row := range rows {
		for i, text := range []string{row.scan, row.confirm, row.deny, row.check, row.endOrTake} {
			words := strings.Fields(text)
			if len(words) != len(columns[i]) {
				t.Fatalf("%s: %q does not say %d", row.name, text, len(columns[i]))
			}
			for j, word := range words {
				meets(t, row.name+", column "+string('1'+rune(i))+"."+string('1'+rune(j)), *row.ticket, columns[i][j], word)
			}
		}
	}
}

// meets makes one move with a copy of a ticket and holds what the table says.
func meets(t *testing.T, name string, ticket Ticket, make move, word string) {
	t.Helper()
	before := ticket
	refused, err := make(&ticket)
	changed := !reflect.DeepEqual(ticket, before)
	wanted, isError := refusals[word]
	change, isChange := changes[word]
	switch {
	case isError:
		if !errors.Is(err, wanted) || refused != nil || changed {
			t.Errorf("%s: %v and %v, changed %t; want %v and no change", name, err, refused, changed, wanted)
		}
	case isChange:
		if err != nil || !errors.Is(refused, change.refused) || ticket.Status != change.status || ticket.Reason != change.reason {
			t.Errorf("%s: %v and %v, %s %q, want %+v", name, err, refused, ticket.Status, ticket.Reason, change)
		}
		if wrong := errors.Is(refused, ErrCheckFailed); wrong != (ticket.Tries == before.Tries+1) || ticket.Deadline != before.Deadline || ticket.Decided != before.Decided {
			t.Errorf("%s: it cost %d tries or moved a date", name, ticket.Tries-before.Tries)
		}
	default:
		if err != nil || refused != nil || ticket.At(noon) != Status(word) {
			t.Errorf("%s: %v and %v, %s, want %s", name, err, refused, ticket.At(noon), word)
		}
	}
}
