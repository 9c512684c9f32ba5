package qrlogin

// Signals are what speaks for a login or against it, beside what the person
// sees. A place that nobody can tell is not held against anybody, but it does
// not help either.
type Signals struct {
	Compared     bool `json:"compared,omitempty"`      // both networks are known
	SameNetwork  bool `json:"same_network,omitempty"`  // browser and phone
	KnownNetwork bool `json:"known_network,omitempty"` // the browser's is one that this account uses
	FirstTime    bool `json:"first_time,omitempty"`    // the browser's is new for this account
	OtherCountry bool `json:"other_country,omitempty"` // browser and phone are in two, both known
	HighUsage    bool `json:"high_usage,omitempty"`    // several accounts reported the browser's network of late
	Typed        bool `json:"typed,omitempty"`         // the user_code was typed: nobody needs to be near the screen
	Banned       bool `json:"banned,omitempty"`        // the browser's network is
}

// Verdict is what becomes of the signals, for the person and for the rules.
type Verdict string

const (
	OK     Verdict = "ok"
	Notice Verdict = "notice" // worth a second look
	Risk   Verdict = "risk"   // looks like somebody else's screen
	Block  Verdict = "block"  // may be denied only
)

// Verdict weighs the signals. Only a ban blocks. Distance does not: phones are on
// mobile networks, and people travel. Reports do not: three accounts could shut a
// network out.
func (s Signals) Verdict() Verdict {
	switch {
	case s.Banned:
		return Block
	case s.HighUsage, s.OtherCountry && s.FirstTime:
		return Risk
	case s.SameNetwork, s.KnownNetwork:
		return OK
	}
	return Notice
}

// Mode is when a login takes a typed code.
type Mode string

const (
	CheckOff    Mode = "off"
	CheckRisk   Mode = "risk"
	CheckAlways Mode = "always"
)

// wants says whether approving such a login takes a typed code.
func (m Mode) wants(s Signals) bool {
	switch m {
	case CheckOff:
		return false
	case CheckAlways:
		return true
	}
	return s.HighUsage || s.Typed || !s.SameNetwork && !s.KnownNetwork
}

// compare sets what follows from the two sides.
func (s Signals) compare(browser, phone Facts) Signals {
	s.Compared = browser.Network.IsValid() && phone.Network.IsValid()
	s.SameNetwork = s.Compared && browser.Network == phone.Network
	s.FirstTime = browser.Network.IsValid() && !s.KnownNetwork
	s.OtherCountry = browser.Country != "" && phone.Country != "" && browser.Country != phone.Country
	return s
}
