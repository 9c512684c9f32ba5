package bench

import "sync"

// ledger keeps what became of every login.
type ledger struct {
	mu     sync.Mutex
	logins Logins
	sids   map[string]bool // of every session that was given, one for each ticket
}

// newLedger starts an empty one. Ledgers that follow each other in one run share what
// sessions there were.
func newLedger(sids map[string]bool) *ledger { return &ledger{sids: sids} }

// failed is for a login that ended in a clear answer before the phone had its
// confirmation.
func (l *ledger) failed() { l.count(&l.logins.Failed, 1) }

// lost is for one whose phone was told that it is confirmed, and whose browser got
// nothing, also when it asked again.
func (l *ledger) lost() { l.count(&l.logins.Lost, 1) }

// misgiven is for one whose browser was told of a ticket that is not its own.
func (l *ledger) misgiven() { l.count(&l.logins.Misgiven, 1) }

// unbegun is for so many that were due and had to be left out.
func (l *ledger) unbegun(n int) { l.count(&l.logins.Unbegun, n) }

func (l *ledger) count(what *int, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	*what += n
}

// given is for a ticket's tokens, for each time they were asked for; sub is who
// confirmed, knew whether a frame had told the browser. What is wrong comes back in a
// word, empty: nothing.
func (l *ledger) given(sub string, knew bool, answers ...Tokens) (wrong string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := answers[0]
	doubled := l.sids[first.Sid]
	l.sids[first.Sid] = true
	misgiven := false
	for _, t := range answers {
		misgiven = misgiven || t.Sub != sub
		doubled = doubled || t.Sid != first.Sid || t.Refresh != first.Refresh
		l.sids[t.Sid] = true
	}
	switch {
	case misgiven:
		l.logins.Misgiven++
		return "misgiven"
	case doubled:
		l.logins.Doubled++
		return "doubled"
	case !knew:
		l.logins.Untold++
		return "untold"
	}
	l.logins.Done++
	return ""
}

// sum is all of it.
func (l *ledger) sum() Logins {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.logins
}
