package web

import (
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"scanlogin/qrlogin"
)

// via lets requests come through the trusted proxy from an address.
type via struct {
	http.RoundTripper
	addr string
}

func (f via) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("X-Forwarded-For", f.addr)
	return f.RoundTripper.RoundTrip(r)
}

const atDesktop, atHome = "203.0.113.9", "198.51.100.7"

// newTown is a site whose visitors have addresses.
func newTown(t testing.TB) *site { return newSite(t, setup{proxies: []string{"127.0.0.0/8"}}) }

// personAt is somebody in a network, signed in on the phone pages.
func personAt(s *site, addr, user string) *person {
	s.t.Helper()
	v := newPerson(s)
	v.http.Transport = via{http.DefaultTransport, addr}
	v.signIn(user)
	return v
}

// createAt is a ticket of a browser in a network.
func (s *site) createAt(addr string) login {
	s.t.Helper()
	a := s.want(201, "", "POST", "/v1/tickets", nil, "User-Agent", chromeOnWindows, "X-Forwarded-For", addr)
	return login{id: a.text("ticket_id"), deviceCode: a.text("device_code"), qr: a.text("verification_uri_complete")}
}

// sendCheck is the browser sending what the person typed.
func (s *site) sendCheck(status int, code string, l login, digits string) answer {
	s.t.Helper()
	return s.want(status, code, "POST", l.path("/check"), map[string]string{"code": digits}, bearerOf(l.deviceCode)...)
}

var digitsTag = regexp.MustCompile(`<p class="digits"><span>(\d)</span> <span>(\d)</span></p>`)

// digits are the two that the page shows; empty: none.
func digits(page answer) string {
	return strings.Join(append(digitsTag.FindStringSubmatch(page.raw), "", "", "")[1:3], "")
}

// otherThan is a code that is not the right one.
func otherThan(code string) string {
	if code == "00" {
		return "11"
	}
	return "00"
}

// Without scripts: approve, read the digits, and see the end when they were typed.
func TestPhonePageShowsTheCheckCode(t *testing.T) {
	s := newTown(t)
	l, v := s.createAt(atDesktop), personAt(s, atHome, "alice")
	open := v.open(l.qr)
	decide := v.submit(open, "/s/scan")
	pageIs(t, decide, 200, "Sign in another device?")
	for _, words := range []string{"Network 203.0.113.0/24", "Not this phone’s network", `class="verdict notice"`, "A new place for this account"} {
		if !strings.Contains(decide.raw, words) {
			t.Errorf("the question does not say %q: %s", words, decide.raw)
		}
	}
	if early := v.open("/s/result/" + l.id); digits(early) != "" {
		t.Errorf("digits before anybody approved: %s", early.raw)
	}
	check := v.submit(decide, "/s/decide", "decision", "approve")
	pageIs(t, check, 200, "Type this on the other device")
	code := digits(check)
	if code == "" || !strings.Contains(check.raw, `http-equiv="refresh"`) {
		t.Fatalf("no digits, or the page does not look again by itself: %s", check.raw)
	}
	again := v.open(v.open(l.qr).header.Get("Location"))
	for where, page := range map[string]answer{
		"loaded again": v.open("/s/result/" + l.id), "approved again": v.submit(decide, "/s/decide", "decision", "approve"),
		"scanned again": v.submit(open, "/s/scan"), "the link again": again,
	} {
		if heading(page) != "Type this on the other device" || digits(page) != code || form(page, "/s/decide") == nil {
			t.Errorf("%s: %d %q, digits %q, were %q", where, page.status, heading(page), digits(page), code)
		}
	}
	other, bob := personAt(s, atHome, "alice"), personAt(s, atHome, "bob")
	if page := other.open("/s/result/" + l.id); digits(page) != code || form(page, "/s/decide") != nil {
		t.Errorf("another phone of the account: %s", page.raw)
	}
	pageIs(t, bob.open("/s/result/"+l.id), 403, "Somebody else scanned it first")
	s.sendCheck(403, "check_failed", l, otherThan(code))
	if page := v.open("/s/result/" + l.id); digits(page) != code {
		t.Errorf("after a wrong try: %s", page.raw)
	}
	s.sendCheck(200, "", l, code)
	pageIs(t, v.open("/s/result/"+l.id), 200, "Approved")
	s.want(200, "", "POST", "/oauth/token", redemption(l))
	pageIs(t, v.open("/s/result/"+l.id), 200, "Signed in on Chrome, Windows")
	// Too late to deny: the report counts, and the page says how it stands.
	pageIs(t, v.submit(check, "/s/decide", "decision", "report"), 200, "Signed in on Chrome, Windows")
	if !strings.Contains(s.log.String(), "login reported by its scanner") {
		t.Error("a late report is not told to the operator")
	}
}

// Somebody approved, and then saw that it is not their screen.
func TestNotMeOnTheCheckPageDeniesAndReports(t *testing.T) {
	s := newTown(t)
	l, v := s.createAt(atDesktop), personAt(s, atHome, "alice")
	check := v.submit(v.scan(l), "/s/decide", "decision", "approve")
	code := digits(check)
	pageIs(t, v.submit(v.open("/s/result/"+l.id), "/s/decide", "decision", "report"), 200, "Login declined")
	s.sendCheck(409, "invalid_state", l, code)
	if s.status(l) != "denied" || !strings.Contains(s.log.String(), "login reported by its scanner") {
		t.Errorf("the ticket is %s; log: %s", s.status(l), s.log)
	}
}

// The phone is told in words of its own why it was not let in.
func TestThirdWrongCheckCodeIsToldOnThePhone(t *testing.T) {
	s := newTown(t)
	l, v := s.createAt(atDesktop), personAt(s, atHome, "alice")
	wrong := otherThan(digits(v.submit(v.scan(l), "/s/decide", "decision", "approve")))
	for range 3 {
		s.sendCheck(403, "check_failed", l, wrong)
	}
	pageIs(t, v.open("/s/result/"+l.id), 200, "The code did not match")
}

// A device client shows its code; the phone's page asks for it. Loading the page
// again costs no try, and a third wrong code is the last.
func TestPhonePageTakesTheDevicesCode(t *testing.T) {
	s := newTown(t)
	v := personAt(s, atHome, "alice")
	start := func() (l login, decide answer) {
		a := s.want(200, "", "POST", "/oauth/device_authorization", url.Values{"client_id": {"device"}}, "X-Forwarded-For", atDesktop)
		l = login{id: a.text("ticket_id"), deviceCode: a.text("device_code"), qr: a.text("verification_uri_complete"), userCode: a.text("user_code")}
		decide = v.scan(l)
		pageIs(t, decide, 200, "Sign in another device?")
		return l, decide
	}
	l, decide := start()
	if !strings.Contains(decide.raw, "Code on the other device") {
		t.Fatalf("no field for the code: %s", decide.raw)
	}
	for left := 2; left > 0; left-- {
		wrong := v.submit(decide, "/s/decide", "decision", "approve", "user_code", "BBBB-BBBB")
		for range 3 {
			pageIs(t, wrong, 200, "Sign in another device?")
			if words := "Tries left: " + string(rune('0'+left)); !strings.Contains(wrong.raw, words) {
				t.Errorf("the page does not say %q: %s", words, wrong.raw)
			}
			decide, wrong = wrong, v.open("/s/result/"+l.id)
		}
	}
	last := v.submit(decide, "/s/decide", "decision", "approve", "user_code", "BBBB-BBBB")
	pageIs(t, last, 200, "The code did not match")
	pageIs(t, v.submit(decide, "/s/decide", "decision", "approve", "user_code", l.userCode), 409, "This login has ended")

	l, decide = start()
	decide = v.submit(decide, "/s/decide", "decision", "approve", "user_code", "BBBB-BBBB")
	right := strings.ToLower(strings.Replace(l.userCode, "-", " ", 1))
	pageIs(t, v.submit(decide, "/s/decide", "decision", "approve", "user_code", right), 200, "Approved")

	l, decide = start()
	pageIs(t, v.submit(decide, "/s/decide", "decision", "deny"), 200, "Login declined")
	pageIs(t, v.submit(v.open("/s"), "/s/scan", "user_code", l.userCode), 200, "Login declined") // and not asked again
}

// A browser in a banned network can't be let in, not by a forged form either.
func TestBlockedLoginCanOnlyBeDeclined(t *testing.T) {
	s := newTown(t)
	l, second, v := s.createAt(atDesktop), s.createAt(atDesktop), personAt(s, atHome, "alice")
	s.ban(network("203.0.113.0/24"))
	eventually(t, "the ban is known", func() bool {
		banned, err := s.auth.NetworkBanned(t.Context(), netip.MustParseAddr(atDesktop))
		return err == nil && banned
	})
	decide := v.scan(l)
	pageIs(t, decide, 200, "Sign in another device?")
	if strings.Contains(decide.raw, `value="approve"`) || !strings.Contains(decide.raw, "Logins from that network are blocked here") {
		t.Errorf("the question: %s", decide.raw)
	}
	pageIs(t, v.submit(decide, "/s/decide", "decision", "approve"), 200, "Stopped to protect your account")
	pageIs(t, v.submit(v.scan(second), "/s/decide", "decision", "deny"), 200, "Login declined")
}

// Every verdict but ok says why, in words that there are; ok says nothing.
func TestVerdictIsSaidInWords(t *testing.T) {
	words := loadPages().words
	var seen qrlogin.Signals
	each := reflect.ValueOf(&seen).Elem()
	said := map[string]bool{}
	for n := range 1 << each.NumField() {
		for i := range each.NumField() {
			each.Field(i).SetBool(n>>i&1 == 1)
		}
		if seen.FirstTime && seen.KnownNetwork {
			continue // cannot be
		}
		got := concerns(seen)
		if verdict := seen.Verdict(); (len(got) == 0) != (verdict == qrlogin.OK) || verdict == qrlogin.Block && !slices.Equal(got, []string{"banned"}) {
			t.Errorf("%+v: %s says %q", seen, verdict, got)
		}
		for _, word := range got {
			said[word] = true
			for _, lang := range languages {
				if words[lang]["decide.concern."+word] == "" {
					t.Errorf("%s: no words for %s", lang, word)
				}
			}
		}
	}
	if len(said) != 6 {
		t.Errorf("said in all: %v", said)
	}
}

// Where the browser is, as far as is known, in the reader's language.
func TestPlaceInWords(t *testing.T) {
	all := loadPages().words
	for _, row := range []struct {
		lang  string
		facts qrlogin.Facts
		seen  qrlogin.Signals
		want  string
	}{
		{"en", qrlogin.Facts{Country: "NL", City: "Delft", IP: "203.0.113.0/24"}, qrlogin.Signals{Compared: true}, "Delft, Netherlands; Network 203.0.113.0/24; Not this phone’s network"},
		{"zh-CN", qrlogin.Facts{Country: "NL", City: "Delft"}, qrlogin.Signals{Compared: true, SameNetwork: true}, "荷兰 Delft; 与此手机在同一网络"},
		{"en", qrlogin.Facts{Country: "NL"}, qrlogin.Signals{}, "Netherlands"},
		{"en", qrlogin.Facts{City: "Delft", IP: "2001:db8::/48"}, qrlogin.Signals{}, "Network 2001:db8::/48"},
		{"en", qrlogin.Facts{Country: "?!"}, qrlogin.Signals{}, "?!"},
		{"en", qrlogin.Facts{}, qrlogin.Signals{}, ""},
	} {
		p := page{Lang: row.lang, words: all[row.lang]}
		if got := strings.Join(p.where(qrlogin.Found{Facts: row.facts, Signals: row.seen}), "; "); got != row.want {
			t.Errorf("%s %+v: %q, want %q", row.lang, row.facts, got, row.want)
		}
	}
}
