package bench

import "sync"

// ledger keeps what became of every login.
type ledger struct {
	mu     sync.Mutex
	logins Logins
	sids   map[string]bool // of every session that was given, one for each ticket
}

// newLedger starts an empty one.
func newLedger() *ledger { return &ledger{sids: map[string]bool{}} }

// failed is for a login that ended in a clear answer before the phone had its
// confirmation.
func (l *ledger) failed() { l.count(&l.logins.Failed) }

// lost is for one whose phone was told that it is confirmed, and whose browser got
// nothing, also when it asked again.
func (l *ledger) lost() { l.count(&l.logins.Lost) }

func (l *ledger) count(n *int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	*n++
}

// given is for a ticket's tokens, for each time they were asked for; sub is who
// confirmed. What is wrong with them comes back in a word, empty: nothing.
func (l *ledger) given(sub string, answers ...Tokens) (wrong string) {
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
