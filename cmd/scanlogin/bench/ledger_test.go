package bench

import "testing"

// The ledger sees each way in which a server can break its word, from made-up answers.
func TestLedgerFindsWrong(t *testing.T) {
	alice := func(sid, refresh string) Tokens { return Tokens{Sub: "demo:alice", Sid: sid, Refresh: refresh} }
	bob := Tokens{Sub: "demo:bob", Sid: "b", Refresh: "rb"}
	for name, row := range map[string]struct {
		given [][]Tokens // all were confirmed by alice
		want  Logins
	}{
		"each its own":                      {[][]Tokens{{alice("1", "r1")}, {alice("2", "r2")}}, Logins{Done: 2}},
		"asked twice, answered alike":       {[][]Tokens{{alice("1", "r1"), alice("1", "r1")}}, Logins{Done: 1}},
		"one session for two tickets":       {[][]Tokens{{alice("1", "r1")}, {alice("1", "r1")}}, Logins{Done: 1, Doubled: 1}},
		"two sessions for one ticket":       {[][]Tokens{{alice("1", "r1"), alice("2", "r1")}}, Logins{Doubled: 1}},
		"two refresh tokens for one ticket": {[][]Tokens{{alice("1", "r1"), alice("1", "r2")}}, Logins{Doubled: 1}},
		"the second session comes again":    {[][]Tokens{{alice("1", "r1"), alice("2", "r2")}, {alice("2", "r2")}}, Logins{Doubled: 2}},
		"somebody else's":                   {[][]Tokens{{bob}}, Logins{Misgiven: 1}},
		"somebody else's, the second time":  {[][]Tokens{{alice("1", "r1"), bob}}, Logins{Misgiven: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLedger(map[string]bool{})
			for _, answers := range row.given {
				l.given("demo:alice", true, answers...)
			}
			if got := l.sum(); got != row.want || got.Wrong() != (row.want.Lost+row.want.Doubled+row.want.Misgiven > 0) {
				t.Errorf("%+v, want %+v", got, row.want)
			}
		})
	}
}

func TestConfirmedLoginThatNobodyWasToldOf(t *testing.T) {
	l := newLedger(map[string]bool{})
	wrong := l.given("demo:alice", false, Tokens{Sub: "demo:alice", Sid: "1"})
	if wrong != "untold" || l.sum() != (Logins{Untold: 1}) || !l.sum().Wrong() {
		t.Errorf("%q %+v", wrong, l.sum())
	}
}

// Warm-up, run and the rest have ledgers of their own, and no session twice.
func TestSessionOfAnEarlierLedger(t *testing.T) {
	sids := map[string]bool{}
	tokens := Tokens{Sub: "demo:alice", Sid: "1"}
	newLedger(sids).given("demo:alice", true, tokens)
	if l := newLedger(sids); l.given("demo:alice", true, tokens) != "doubled" {
		t.Errorf("%+v", l.sum())
	}
}

func TestFailedIsForgivableAndLostIsNot(t *testing.T) {
	l := newLedger(map[string]bool{})
	if l.failed(); l.sum().Wrong() {
		t.Error("a login that was refused is no broken word")
	}
	if l.lost(); !l.sum().Wrong() || l.sum() != (Logins{Failed: 1, Lost: 1}) {
		t.Errorf("%+v", l.sum())
	}
}
