package qrlogin

import (
	"net/netip"
	"reflect"
	"testing"
)

// allSignals calls with every combination of them.
func allSignals(with func(Signals)) {
	fields := reflect.TypeFor[Signals]().NumField()
	for bits := range 1 << fields {
		var s Signals
		v := reflect.ValueOf(&s).Elem()
		for i := range fields {
			v.Field(i).SetBool(bits>>i&1 == 1)
		}
		with(s)
	}
}

// rule says of some combinations what must come out; the first one that
// speaks of a combination counts.
type rule[T any] struct {
	name string
	of   func(Signals) bool
	want T
}

func anything(Signals) bool { return true }

// holds walks through all combinations and finds each rule used.
func holds[T comparable](t *testing.T, rules []rule[T], got func(Signals) T) {
	t.Helper()
	used := map[string]bool{}
	allSignals(func(s Signals) {
		for _, r := range rules {
			if r.of(s) {
				used[r.name] = true
				if got := got(s); got != r.want {
					t.Errorf("%s: %v, want %v for %+v", r.name, got, r.want, s)
				}
				return
			}
		}
	})
	if len(used) != len(rules) {
		t.Errorf("rules in use: %v", used)
	}
}

func TestVerdictOfEveryCombination(t *testing.T) {
	holds(t, []rule[Verdict]{
		{"a ban outweighs everything", func(s Signals) bool { return s.Banned }, Block},
		{"reports outweigh nearness", func(s Signals) bool { return s.HighUsage }, Risk},
		{"abroad and never seen", func(s Signals) bool { return s.OtherCountry && s.FirstTime }, Risk},
		{"near the phone", func(s Signals) bool { return s.SameNetwork }, OK},
		{"a place of this account, also while travelling", func(s Signals) bool { return s.KnownNetwork }, OK},
		{"new, or not known at all", anything, Notice},
	}, Signals.Verdict)
}

// A single signal, or none, from the contract's words.
func TestVerdictOfOneSignal(t *testing.T) {
	for want, all := range map[Verdict][]Signals{
		OK:     {{SameNetwork: true}, {KnownNetwork: true}},
		Notice: {{}, {Compared: true}, {FirstTime: true}, {OtherCountry: true}, {Typed: true}},
		Risk:   {{HighUsage: true}},
		Block:  {{Banned: true}},
	} {
		for _, s := range all {
			if got := s.Verdict(); got != want {
				t.Errorf("%+v: %s, want %s", s, got, want)
			}
		}
	}
}

func TestCheckIsWantedByEveryCombination(t *testing.T) {
	holds(t, []rule[bool]{{"off", anything, false}}, CheckOff.wants)
	holds(t, []rule[bool]{{"always", anything, true}}, CheckAlways.wants)
	holds(t, []rule[bool]{
		{"a typed code, wherever", func(s Signals) bool { return s.Typed }, true},
		{"high usage, wherever", func(s Signals) bool { return s.HighUsage }, true},
		{"near the phone", func(s Signals) bool { return s.SameNetwork }, false},
		{"a place of this account", func(s Signals) bool { return s.KnownNetwork }, false},
		{"elsewhere, or not known where", anything, true},
	}, CheckRisk.wants)
}

// The code that was typed for the scan is not asked for again; nothing else
// lets a device off.
func TestDeviceIsAskedForItsCodeOnce(t *testing.T) {
	for _, mode := range []Mode{CheckOff, CheckRisk, CheckAlways} {
		allSignals(func(s Signals) {
			browser, device := Ticket{}, Ticket{Device: true}
			browser.judge(s, mode)
			device.judge(s, mode)
			if browser.codeWanted() || device.checkWanted() || browser.Signals != s {
				t.Fatalf("%s: the codes are mixed up for %+v", mode, s)
			}
			if want := browser.checkWanted() && !s.Typed; device.codeWanted() != want {
				t.Fatalf("%s: code wanted %t for %+v", mode, !want, s)
			}
		})
	}
}

func TestWhatTheTwoPlacesSay(t *testing.T) {
	in := func(network, country string) Facts {
		f := Facts{Country: country}
		if network != "" {
			f.Network = netip.MustParsePrefix(network)
		}
		return f
	}
	const home, office = "192.0.2.1/32", "198.51.100.1/32"
	rows := []struct {
		name           string
		browser, phone Facts
		known          bool
		want           Signals
	}{
		{"nothing is known", in("", ""), in("", ""), false, Signals{}},
		{"one room", in(home, "NL"), in(home, "NL"), false, Signals{Compared: true, SameNetwork: true, FirstTime: true}},
		{"one room, known", in(home, "NL"), in(home, "NL"), true, Signals{Compared: true, SameNetwork: true, KnownNetwork: true}},
		{"one /64", in("2001:db8::/64", ""), in("2001:db8::/64", ""), false, Signals{Compared: true, SameNetwork: true, FirstTime: true}},
		{"the next /64", in("2001:db8::/64", ""), in("2001:db8:0:1::/64", ""), false, Signals{Compared: true, FirstTime: true}},
		{"two networks", in(home, "NL"), in(office, "NL"), false, Signals{Compared: true, FirstTime: true}},
		{"two countries", in(home, "NL"), in(office, "DE"), false, Signals{Compared: true, FirstTime: true, OtherCountry: true}},
		{"two countries, known", in(home, "NL"), in(office, "DE"), true, Signals{Compared: true, KnownNetwork: true, OtherCountry: true}},
		{"one country not known", in(home, ""), in(office, "DE"), false, Signals{Compared: true, FirstTime: true}},
		{"the other not known", in(home, "NL"), in(office, ""), false, Signals{Compared: true, FirstTime: true}},
		{"no phone", in(home, "NL"), in("", ""), false, Signals{FirstTime: true}},
		{"no browser", in("", ""), in(home, "NL"), false, Signals{}},
	}
	for _, row := range rows {
		if got := (Signals{KnownNetwork: row.known}).compare(row.browser, row.phone); got != row.want {
			t.Errorf("%s: %+v, want %+v", row.name, got, row.want)
		}
	}
	heard := Signals{HighUsage: true, Typed: true, Banned: true}
	if got := heard.compare(Facts{}, Facts{}); got != heard {
		t.Errorf("what else was heard is lost: %+v", got)
	}
}
