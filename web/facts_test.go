package web

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const (
	chromeOnWindows = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"
	safariOnIPhone  = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1"
)

func factsOf(a answer) map[string]any {
	facts, _ := a.body["facts"].(map[string]any)
	return facts
}

// T12: what the phone is shown of the browser are words of ours; nothing that
// an attacker writes into a header reaches the person who decides.
func TestAttackerTextNeverReachesThePhone(t *testing.T) {
	s := newSite(t, setup{})
	alice := s.phone("alice")
	pages := newPerson(s)
	pages.signIn("alice")
	for _, agent := range []string{
		`"><b>Approve to keep your account`, "Approve/1.0", "IT helpdesk, press approve", "Approve\tnow", "\u202eevorppA", "Mozilla/5.0 (Approve; press OK) Approve/9",
		"Mozilla/5.0 (X11; Approve x86_64) Approve/1.0 (KHTML) Approve/2", strings.Repeat("Approve ", 1500), "<script>Approve()</script>", "curl/8 Approve", "Approve Chrome", "Chrome-Approve/1",
	} {
		made := s.want(201, "", "POST", "/v1/tickets", nil, "User-Agent", agent, "Sec-CH-UA", `"Approve";v="1"`, "Sec-CH-UA-Platform", `"Approve"`, "X-Device-Name", "Approve")
		l := login{id: made.text("ticket_id"), deviceCode: made.text("device_code"), qr: made.text("verification_uri_complete")}
		seen := s.scan(&l, alice)
		page := pages.scan(l)
		for where, text := range map[string]string{"scan": seen.raw, "page": stripped(page.raw)} {
			for _, word := range []string{"pprove", "helpdesk", "evorpp", "<b>", "curl"} {
				if strings.Contains(text, word) {
					t.Errorf("%.40q: %s shows %q: %s", agent, where, word, text)
				}
			}
		}
	}
	made := s.want(201, "", "POST", "/v1/tickets", nil, "User-Agent", chromeOnWindows)
	l := login{qr: made.text("verification_uri_complete")}
	if facts := factsOf(s.scan(&l, alice)); facts["browser"] != "Chrome" || facts["os"] != "Windows" {
		t.Errorf("facts %v", facts)
	}
}

// stripped is a page without its own word for the button.
func stripped(page string) string {
	page = strings.ReplaceAll(page, "Only approve if", "")
	page = strings.ReplaceAll(page, ">Approve</button>", "")
	return strings.ReplaceAll(page, `value="approve"`, "")
}

// T24: X-Forwarded-For counts only from a trusted peer, read from the right.
func TestForgedForwardedForChangesNothing(t *testing.T) {
	const proxy, stranger = "10.0.0.1:1234", "198.51.100.7:1234"
	rows := []struct {
		peer string
		xff  []string
		want string
	}{
		{stranger, nil, "198.51.100.0/24"},
		{stranger, []string{"1.2.3.4"}, "198.51.100.0/24"},
		{stranger, []string{"1.2.3.4, 10.0.0.1"}, "198.51.100.0/24"},
		{proxy, []string{"203.0.113.9"}, "203.0.113.0/24"},
		{proxy, []string{"1.2.3.4, 203.0.113.9"}, "203.0.113.0/24"},
		{proxy, []string{"1.2.3.4", "203.0.113.9"}, "203.0.113.0/24"},
		{proxy, []string{"1.2.3.4, 203.0.113.9, 10.0.0.2"}, "203.0.113.0/24"},
		{proxy, []string{"1.2.3.4, 203.0.113.9", "10.0.0.2,10.0.0.3"}, "203.0.113.0/24"},
		{proxy, []string{"garbage, 203.0.113.9"}, "203.0.113.0/24"},
		{proxy, []string{" 203.0.113.9 "}, "203.0.113.0/24"},
		{proxy, []string{"::ffff:203.0.113.9"}, "203.0.113.0/24"},
		{proxy, []string{"2001:db8:aa:bb:cc::1"}, "2001:db8:aa::/48"},
		{proxy, []string{"fe80::1%eth0"}, "fe80::/48"},
		{proxy, []string{"203.0.113.9, garbage"}, ""},
		{proxy, []string{"203.0.113.9:443"}, "203.0.113.0/24"}, // as some proxies write it
		{proxy, []string{"[2001:db8:2::5]:443"}, "2001:db8:2::/48"},
		{proxy, []string{"203.0.113.9:x"}, ""},
		{proxy, []string{"203.0.113.9,"}, ""},
		{proxy, []string{"unknown"}, ""},
		{proxy, []string{""}, ""},
		{proxy, nil, ""},
		{proxy, []string{"127.0.0.1"}, "127.0.0.0/24"},
		{"[2001:db8:1::5]:99", []string{"203.0.113.9"}, "203.0.113.0/24"},
		{"[2001:db8:2::5]:99", []string{"203.0.113.9"}, "2001:db8:2::/48"},
		{"[::ffff:10.0.0.1]:99", []string{"203.0.113.9"}, "203.0.113.0/24"},
		{"nonsense", []string{"203.0.113.9"}, ""},
	}
	s := newSite(t, setup{publicURL: "https://login.example", proxies: []string{"10.0.0.0/8", "2001:db8:1::/48"}, direct: true})
	for _, row := range rows {
		r := httptest.NewRequest("POST", "/v1/tickets", nil)
		r.RemoteAddr = row.peer
		for _, value := range row.xff {
			r.Header.Add("X-Forwarded-For", value)
		}
		for _, name := range []string{"X-Real-IP", "True-Client-IP", "CF-Connecting-IP", "X-Client-IP"} {
			r.Header.Set(name, "1.2.3.4")
		}
		r.Header.Set("Forwarded", "for=1.2.3.4")
		if got := s.web.facts(r).IP; got != row.want {
			t.Errorf("from %s, X-Forwarded-For %q: %q, want %q", row.peer, row.xff, got, row.want)
		}
	}
}

// Behind a proxy that nobody declared, every browser has the proxy's address:
// better none than that one.
func TestAddressOfAnUndeclaredProxyIsNotShown(t *testing.T) {
	for public, want := range map[string]any{"https://login.example": nil, "http://login.example": "127.0.0.0/24"} {
		s := newSite(t, setup{publicURL: public})
		made := s.want(201, "", "POST", "/v1/tickets", nil, "X-Forwarded-For", "203.0.113.9")
		l := login{qr: made.text("verification_uri_complete")}
		if got := factsOf(s.scan(&l, s.phone("alice")))["ip"]; got != want {
			t.Errorf("%s: ip %v, want %v", public, got, want)
		}
	}
}

// The trusted proxy through the real stack.
func TestTrustedProxyTellsTheAddress(t *testing.T) {
	s := newSite(t, setup{publicURL: "https://login.example", proxies: []string{"127.0.0.0/8"}})
	made := s.want(201, "", "POST", "/v1/tickets", nil, "X-Forwarded-For", "1.2.3.4, 203.0.113.9")
	l := login{qr: made.text("verification_uri_complete")}
	if got := factsOf(s.scan(&l, s.phone("alice")))["ip"]; got != "203.0.113.0/24" {
		t.Errorf("ip %v", got)
	}
	if got := maskAddr(netip.Addr{}); got != "" {
		t.Errorf("no address is shown as %q", got)
	}
	if r, _ := http.NewRequest("GET", "/", nil); s.web.clientAddr(r).IsValid() {
		t.Error("a request without a peer has an address")
	}
}

// What is not known is absent, and nothing else is there.
func TestFactsMemberByMember(t *testing.T) {
	const known = "age_seconds browser first_time high_usage ip os same_network verdict"
	rows := []struct {
		name           string
		setup          setup
		browser, phone string // X-Forwarded-For
		members        string
		same           any
		first          bool
		verdict        string
		check          bool
	}{
		{"plain http", setup{}, "", "", known, true, false, "ok", false},
		{"https and nobody trusted", setup{publicURL: "https://login.example"}, atDesktop, atHome, "age_seconds browser first_time high_usage os verdict", nil, false, "notice", true},
		{"two networks", setup{proxies: []string{"127.0.0.0/8"}}, atDesktop, atHome, known, false, true, "notice", true},
		{"one network", setup{proxies: []string{"127.0.0.0/8"}}, atHome, atHome, known, true, false, "ok", false},
		{"neighbours of one /24", setup{proxies: []string{"127.0.0.0/8"}}, "203.0.113.9", "203.0.113.10", known, false, true, "notice", true},
		{"one IPv6 /64", setup{proxies: []string{"127.0.0.0/8"}}, "2001:db8:1:2:aaaa::1", "2001:db8:1:2:bbbb::2", known, true, false, "ok", false},
		{"one IPv6 /48", setup{proxies: []string{"127.0.0.0/8"}}, "2001:db8:1:2::1", "2001:db8:1:3::1", known, false, true, "notice", true},
		{"an IPv4 address in IPv6", setup{proxies: []string{"127.0.0.0/8"}}, "::ffff:203.0.113.9", "203.0.113.9", known, true, false, "ok", false},
		{"the phone is nowhere", setup{proxies: []string{"127.0.0.0/8"}}, atDesktop, "unknown", "age_seconds browser first_time high_usage ip os verdict", nil, true, "notice", true},
		{"the browser is nowhere", setup{proxies: []string{"127.0.0.0/8"}}, "unknown", atHome, "age_seconds browser first_time high_usage os verdict", nil, false, "notice", true},
	}
	for _, row := range rows {
		s := newSite(t, row.setup)
		phone, l := s.phoneAt(row.phone, "alice"), s.createAt(row.browser)
		a := s.scanAt(row.phone, &l, phone)
		if got := members(a.body); got != "check_required client confirm_token expires_in facts seq status ticket_id user_code_required" {
			t.Errorf("%s: %s", row.name, got)
		}
		facts := factsOf(a)
		if got := members(facts); got != row.members {
			t.Errorf("%s: facts %s, want %s", row.name, got, row.members)
		}
		if facts["same_network"] != row.same || facts["first_time"] != row.first || facts["verdict"] != row.verdict || a.body["check_required"] != row.check {
			t.Errorf("%s: %s", row.name, a.raw)
		}
	}
}

// A phone that the server sees in another country than the browser.
func TestFactsNameThePlace(t *testing.T) {
	s := newSite(t, setup{proxies: []string{"127.0.0.0/8"}, geo: openGeo(t, geoFile(t))})
	const delft, germany, tokyo = "203.0.113.9", "198.51.100.1", "2001:db8:1::1"
	phone := s.phoneAt(germany, "alice")
	l := s.createAt(delft)
	a := s.scanAt(germany, &l, phone)
	if facts := factsOf(a); facts["country"] != "NL" || facts["city"] != "Delft" || facts["verdict"] != "risk" || a.body["check_required"] != true {
		t.Errorf("first time, abroad: %s", a.raw)
	}
	s.sendCheck(200, "", l, s.confirm(l, phone).text("check_code"))
	s.want(200, "", "POST", "/oauth/token", redemption(l))
	l = s.createAt(delft)
	if a = s.scanAt(germany, &l, phone); factsOf(a)["first_time"] != false || factsOf(a)["verdict"] != "ok" || a.body["check_required"] != false {
		t.Errorf("again: %s", a.raw)
	}
	l = s.createAt(germany)
	if a = s.scanAt(tokyo, &l, s.phoneAt(tokyo, "bob")); factsOf(a)["country"] != "DE" || factsOf(a)["city"] != nil {
		t.Errorf("no city: %s", a.raw)
	}
	sessions := s.want(200, "", "GET", "/v1/sessions", nil, bearerOf(phone)...)
	for _, where := range []string{`"place":"Delft, NL"`, `"place":"DE"`} {
		if !strings.Contains(sessions.raw, where) {
			t.Errorf("no session with %s: %s", where, sessions.raw)
		}
	}
}

func TestFactsTellTheAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, setup{direct: true})
		alice, l := s.phone("alice"), s.create(nil)
		time.Sleep(4*time.Second + 999*time.Millisecond)
		if a := s.scan(&l, alice); factsOf(a)["age_seconds"] != 4.0 {
			t.Errorf("%s", a.raw)
		}
	})
}
