package web

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pageIs checks a page's status and first line.
func pageIs(t testing.TB, a answer, status int, first string) {
	t.Helper()
	if a.status != status || heading(a) != first {
		t.Errorf("%d %q, want %d %q: %.300s", a.status, heading(a), status, first, a.raw)
	}
}

// The whole way without scripts: camera, sign in, open, scan, approve, end.
func TestPhonePagesWorkWithoutScripts(t *testing.T) {
	s := newSite(t, setup{})
	l := login{}
	made := s.want(201, "", "POST", "/v1/tickets", nil, "User-Agent", chromeOnWindows)
	l.id, l.deviceCode, l.qr = made.text("ticket_id"), made.text("device_code"), made.text("verification_uri_complete")
	v := newPerson(s)
	signin := v.open(l.qr)
	pageIs(t, signin, 200, "Sign in")
	open := v.submit(signin, "/s/signin", "credential", "alice")
	pageIs(t, open, 200, "A login is waiting")
	if s.status(l) != "pending" {
		t.Error("signing in has scanned")
	}
	decide := v.submit(open, "/s/scan")
	pageIs(t, decide, 200, "Sign in another device?")
	for _, fact := range []string{"Chrome on Windows", "As Alice", "Network 127.0.0.0/24"} {
		if !strings.Contains(decide.raw, fact) {
			t.Errorf("the page does not say %q", fact)
		}
	}
	waiting := v.submit(decide, "/s/decide", "decision", "approve")
	pageIs(t, waiting, 200, "Approved")
	if !strings.Contains(waiting.raw, `http-equiv="refresh"`) {
		t.Error("the page does not look again by itself")
	}
	s.want(200, "", "POST", "/oauth/token", redemption(l))
	done := v.open("/s/result/" + l.id)
	pageIs(t, done, 200, "Signed in on Chrome, Windows")
	if strings.Contains(done.raw, "refresh") {
		t.Error("the last page still looks again")
	}
	out := v.submit(v.open(s.create(nil).qr), "/s/signout")
	pageIs(t, out, 200, "Sign in")
}

func TestPhonePagesDenyAndTypedCode(t *testing.T) {
	s := newSite(t, setup{})
	l := s.create(map[string]any{"user_code": true})
	v := newPerson(s)
	code := v.signIn("alice")
	pageIs(t, code, 200, "Type the code shown on the other device")
	pageIs(t, v.submit(code, "/s/scan", "user_code", ""), 400, "Type the code shown on the other device")
	pageIs(t, v.submit(code, "/s/scan", "user_code", "BCDF-GHJK"), 404, "Type the code shown on the other device")
	pageIs(t, v.submit(code, "/s/scan", "user_code", "<script>"), 404, "Type the code shown on the other device")
	typed := " " + strings.ToLower(l.userCode)
	decide := v.submit(code, "/s/scan", "user_code", typed)
	pageIs(t, decide, 200, "Sign in another device?")
	pageIs(t, v.submit(code, "/s/scan", "user_code", typed), 200, "Sign in another device?") // reloaded
	pageIs(t, v.submit(decide, "/s/decide", "decision", "deny"), 403, "This login was opened again")
	decide = v.submit(code, "/s/scan", "user_code", typed)
	pageIs(t, v.submit(decide, "/s/decide", "decision", "later"), 400, "A part of the form was missing")
	pageIs(t, v.submit(decide, "/s/decide", "decision", "report"), 200, "Login declined")
	pageIs(t, v.submit(decide, "/s/decide", "decision", "deny"), 200, "Login declined") // reloaded
	pageIs(t, v.submit(decide, "/s/decide", "decision", "approve"), 409, "This login has ended")
	if s.status(l) != "denied" {
		t.Errorf("the ticket is %s", s.status(l))
	}
}

// Reloading the answer to a form gives the same page, and changes nothing that
// a person would notice.
func TestReloadingAFormsAnswerGivesTheSamePage(t *testing.T) {
	s := newSite(t, setup{})
	l := s.create(nil)
	v := newPerson(s)
	signin := v.open(l.qr)
	wrong := v.submit(signin, "/s/signin", "credential", "mallory")
	pageIs(t, wrong, 401, "Sign in")
	pageIs(t, v.submit(signin, "/s/signin", "credential", "mallory"), 401, "Sign in")
	open := v.submit(wrong, "/s/signin", "credential", "alice")
	pageIs(t, open, 200, "A login is waiting")
	for range 3 {
		pageIs(t, v.submit(open, "/s/scan"), 200, "Sign in another device?")
	}
	decide := v.submit(open, "/s/scan")
	for range 3 {
		pageIs(t, v.submit(decide, "/s/decide", "decision", "approve"), 200, "Approved")
	}
	s.want(200, "", "POST", "/oauth/token", redemption(l))
	pageIs(t, v.submit(decide, "/s/decide", "decision", "approve"), 200, "Signed in on the other device")
}

// T9: cameras, mail filters and link previews open links; a login is not taken
// by that, with or without somebody signed in.
func TestLinkPreviewNeverScans(t *testing.T) {
	s := newSite(t, setup{})
	l := s.create(nil)
	seq := s.want(200, "", "GET", l.path(""), nil, bearerOf(l.deviceCode)...).seq()
	stranger, alice := newPerson(s), newPerson(s)
	alice.signIn("alice")
	phone := s.phone("alice")
	for range 20 {
		pageIs(t, stranger.open(l.qr), 200, "Sign in")
		pageIs(t, alice.open(l.qr), 200, "A login is waiting")
		for _, path := range []string{"/s/scan", "/s/decide", "/s/signin"} { // forms' addresses are no QR texts
			if a := alice.open(path + "?qr=" + url.QueryEscape(l.qr)); a.status != 404 {
				t.Errorf("GET %s: %d", path, a.status)
			}
		}
		s.sendWith(alice.http, s.request("HEAD", strings.TrimPrefix(l.qr, s.public), nil))
		s.send("GET", strings.TrimPrefix(l.qr, s.public), nil, bearerOf(phone)...)
	}
	after := s.want(200, "", "GET", l.path(""), nil, bearerOf(l.deviceCode)...)
	if after.text("status") != "pending" || after.seq() != seq {
		t.Errorf("after 60 looks: %s", after.raw)
	}
}

// A form counts only from our own page in the same browser.
func TestForgedFormsAreRefused(t *testing.T) {
	s := newSite(t, setup{})
	l := s.create(nil)
	alice, bob, fresh := newPerson(s), newPerson(s), newPerson(s)
	signin := alice.open("/s")
	alice.signIn("alice")
	bob.signIn("bob")
	open := alice.open(l.qr)
	theirs := form(bob.open(l.qr), "/s/scan")
	for _, action := range []string{"/s/scan", "/s/signin", "/s/signout", "/s/decide"} {
		fields := url.Values{"qr": {l.qr}, "provider": {"demo"}, "credential": {"bob"}, "ticket_id": {l.id}, "decision": {"approve"}}
		for name, csrf := range map[string]string{
			"missing": "", "made up": "x", "another browser's": theirs.Get("csrf"), "of before the sign-in": form(signin, "/s/signin").Get("csrf"),
			"the cookie itself": cookieOf(t, alice).Value,
		} {
			fields.Set("csrf", csrf)
			if a := alice.send(action, fields); a.status != 403 || heading(a) != "This page was open too long" {
				t.Errorf("%s, CSRF value %s: %d %q", action, name, a.status, heading(a))
			}
		}
		good := form(open, "/s/scan")
		for name := range fields {
			if name != "csrf" {
				good.Set(name, fields.Get(name))
			}
		}
		if a := fresh.send(action, good); a.status != 403 { // who has no cookie
			t.Errorf("%s by a browser without a cookie: %d", action, a.status)
		}
		if a := alice.send(action, good, "Sec-Fetch-Site", "cross-site"); a.status != 403 || a.code() != "cross_origin" {
			t.Errorf("%s by another site: %d", action, a.status)
		}
	}
	pageIs(t, alice.open("/s"), 200, "Type the code shown on the other device") // still signed in, as alice
	if s.status(l) != "pending" {
		t.Errorf("the ticket is %s", s.status(l))
	}
	if a := alice.send("/s/scan", nil, "Content-Type", "text/plain"); a.status != 403 && a.status != 415 {
		t.Errorf("text/plain: %d", a.status)
	}
}

// cookieOf is the person's phone cookie.
func cookieOf(t testing.TB, v *person) *http.Cookie {
	t.Helper()
	address, err := url.Parse(v.s.url)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range v.http.Jar.Cookies(address) {
		if strings.HasSuffix(c.Name, "scanlogin-phone") {
			return c
		}
	}
	t.Fatal("no cookie")
	return nil
}

// Contract section 4: the cookie's name and attributes.
func TestPhoneCookieAttributes(t *testing.T) {
	for public, want := range map[string]string{
		"https://login.example": "__Host-scanlogin-phone",
		"http://login.example":  "scanlogin-phone",
	} {
		s := newSite(t, setup{publicURL: public})
		signin := s.send("GET", "/s", nil)
		var cookies []*http.Cookie
		add := func(a answer) {
			cookies = append(cookies, (&http.Response{Header: a.header}).Cookies()...)
		}
		add(signin)
		if len(cookies) != 1 {
			t.Fatalf("%s: %v", public, signin.header)
		}
		fields := form(signin, "/s/signin")
		fields.Set("credential", "alice")
		add(s.send("POST", "/s/signin", fields, "Cookie", cookies[0].Name+"="+cookies[0].Value))
		if len(cookies) != 2 {
			t.Fatalf("%s: signing in set no cookie", public)
		}
		for _, c := range cookies {
			if c.Name != want || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" ||
				c.Secure != strings.HasPrefix(public, "https:") || c.MaxAge != 30*24*3600 {
				t.Errorf("%s: %+v", public, c)
			}
		}
		if cookies[0].Value == cookies[1].Value {
			t.Error("the visit is the same after signing in (session fixation)")
		}
	}
}

// A cookie that we did not sign, or signed for another kind of page, is
// nobody's.
func TestForgedCookieIsSignedOut(t *testing.T) {
	s := newSite(t, setup{})
	v := newPerson(s)
	v.signIn("alice")
	c := cookieOf(t, v)
	payload, mac, _ := strings.Cut(c.Value, ".")
	other := newPerson(s)
	other.signIn("bob")
	theirs, _, _ := strings.Cut(cookieOf(t, other).Value, ".")
	for name, value := range map[string]string{
		"good": c.Value, "no MAC": payload, "empty MAC": payload + ".", "cut MAC": c.Value[:len(c.Value)-1], "another's payload": theirs + "." + mac,
		"nothing": "", "dot": ".", "garbage": "eyJzdWIiOiJkZW1vOmFsaWNlIn0.x", "long": strings.Repeat("A", 4000),
	} {
		want := "Sign in"
		if name == "good" {
			want = "Type the code shown on the other device"
		}
		if a := s.send("GET", "/s", nil, "Cookie", c.Name+"="+value); heading(a) != want {
			t.Errorf("%s: %q", name, heading(a))
		}
	}
	// A phone's cookie does not sign the desktop page in, and the API takes none.
	if a := s.send("GET", "/", nil, "Cookie", "scanlogin-web="+c.Value); !strings.Contains(a.raw, `id="account" class="center" hidden`) {
		t.Error("a phone's cookie signs the desktop page in")
	}
	s.want(401, "invalid_token", "POST", "/v1/scan", map[string]string{"qr": "x"}, "Cookie", c.Name+"="+c.Value)
	s.want(401, "invalid_token", "GET", "/oauth/userinfo", nil, "Cookie", c.Name+"="+c.Value)
	// The cookie of a session that has ended.
	open := v.open(s.create(nil).qr)
	v.submit(open, "/s/signout")
	if a := s.send("GET", "/s", nil, "Cookie", c.Name+"="+c.Value); heading(a) != "Sign in" {
		t.Errorf("after signing out the old cookie shows %q", heading(a))
	}
}

// A page opened in time carries proof of it, for this browser and this QR text
// alone.
func TestStolenProofOpensNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, setup{direct: true})
		l, other := s.create(nil), s.create(nil)
		v, thief := newPerson(s), newPerson(s)
		signin := v.open(l.qr)
		early := thief.open(l.qr)
		time.Sleep(100 * time.Second) // the QR text is long dead
		pageIs(t, newPerson(s).open(l.qr), 410, "This code has expired")

		proof := form(signin, "/s/signin").Get("proof")
		stolen := newPerson(s)
		stolen.signIn("bob")
		pageIs(t, stolen.open(l.qr+"?proof="+proof), 410, "This code has expired")
		fields := form(stolen.open("/s"), "/s/scan")
		fields.Set("qr", l.qr)
		fields.Set("proof", proof)
		pageIs(t, stolen.send("/s/scan", fields), 410, "This code has expired")
		swapped := form(early, "/s/signin")
		swapped.Set("proof", proof)
		swapped.Set("credential", "bob")
		pageIs(t, thief.send("/s/signin", swapped), 410, "This code has expired")

		pageIs(t, v.submit(signin, "/s/signin", "credential", "alice", "qr", strings.TrimPrefix(other.qr, s.public+"/s/")), 410, "This code has expired")
		v = newPerson(s) // from the start, in time
		l = s.create(nil)
		signin = v.open(l.qr)
		time.Sleep(100 * time.Second)
		open := v.submit(signin, "/s/signin", "credential", "alice")
		pageIs(t, open, 200, "A login is waiting")
		time.Sleep(20 * time.Second)
		pageIs(t, v.submit(open, "/s/scan"), 200, "Sign in another device?")
	})
}

// What cannot be done is said in plain words, with the status of the API.
func TestPhonePagesSayWhatHappened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, setup{direct: true})
		alice, bob := newPerson(s), newPerson(s)
		alice.signIn("alice")
		bob.signIn("bob")
		l := s.create(nil)
		theirs := bob.open(l.qr)
		decide := alice.scan(l)
		pageIs(t, bob.submit(theirs, "/s/scan"), 409, "Somebody else scanned it first")
		pageIs(t, bob.open("/s/result/"+l.id), 403, "Somebody else scanned it first")
		pageIs(t, bob.open("/s/result/"+b64id), 404, "No login is waiting here")
		pageIs(t, bob.open("/s/"+b64id), 404, "No login is waiting here")
		pageIs(t, newPerson(s).open("/s/result/"+l.id), 200, "Sign in")
		s.want(204, "", "DELETE", l.path(""), nil, bearerOf(l.deviceCode)...)
		pageIs(t, alice.submit(decide, "/s/decide", "decision", "approve"), 409, "This login has ended")
		pageIs(t, alice.open("/s/result/"+l.id), 200, "Canceled on the other device")

		l = s.create(nil)
		open := alice.open(l.qr)
		decide = alice.submit(open, "/s/scan")
		time.Sleep(61 * time.Second)
		pageIs(t, alice.submit(decide, "/s/decide", "decision", "approve"), 410, "This login timed out")
		pageIs(t, alice.open("/s/result/"+l.id), 200, "This login timed out")
		time.Sleep(60 * time.Second)
		pageIs(t, alice.submit(open, "/s/scan"), 404, "No login is waiting here")
	})
}

// A server without a provider for its pages says so instead of showing nothing.
func TestSignInPageWithoutAProvider(t *testing.T) {
	s := newSite(t, setup{noUsers: true})
	if a := newPerson(s).open("/s"); a.status != 200 || !strings.Contains(a.raw, "Signing in here is not set up") {
		t.Errorf("%d %s", a.status, a.raw)
	}
}

// Who has answered a login and opens its link again (back, a second scan)
// gets to see how it ended; everybody else is told as before.
func TestAnsweredLoginLeadsToItsEnd(t *testing.T) {
	s := newSite(t, setup{})
	for answer, end := range map[string]string{"approve": "Approved", "deny": "Login declined"} {
		l := s.create(nil)
		alice, bob := newPerson(s), newPerson(s)
		alice.signIn("alice")
		bob.signIn("bob")
		open := alice.open(l.qr)
		alice.submit(alice.submit(open, "/s/scan"), "/s/decide", "decision", answer)
		pageIs(t, alice.submit(open, "/s/scan"), 200, end) // the question loaded again
		link := alice.open(l.qr)
		if link.status != 303 {
			t.Fatalf("%s: %d", answer, link.status)
		}
		pageIs(t, alice.open(link.header.Get("Location")), 200, end)
		if answer == "approve" {
			pageIs(t, bob.open(l.qr), 200, "A login is waiting")
		} else {
			pageIs(t, bob.open(l.qr), 409, "This login has ended")
		}
	}
}

// The wrong account is noticed on the page that asks; changing it must be
// possible there.
func TestAccountCanBeSwitchedWhereItIsShown(t *testing.T) {
	s := newSite(t, setup{})
	l := s.create(nil)
	v := newPerson(s)
	v.signIn("alice")
	pageIs(t, v.submit(v.scan(l), "/s/decide", "decision", "switch"), 200, "Sign in")
	if s.status(l) != "denied" {
		t.Error("the browser goes on waiting for the first account")
	}
	pageIs(t, v.submit(v.signIn("bob"), "/s/signout"), 200, "Sign in")
}

// A report is for the operator: it is in the log, without a name.
func TestReportIsInTheLog(t *testing.T) {
	s := newSite(t, setup{})
	l, phone := s.create(nil), s.phone("alice")
	s.scan(&l, phone)
	body := map[string]any{"confirm_token": l.confirmToken, "report": true}
	s.want(200, "", "POST", l.path("/deny"), body, bearerOf(phone)...)
	if said := s.log.String(); !strings.Contains(said, "login reported") || !strings.Contains(said, l.id) || strings.Contains(said, "Alice") {
		t.Error("no report in the log, or one that names the person")
	}
}
