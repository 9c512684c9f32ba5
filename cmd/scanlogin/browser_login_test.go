package main

import (
	"strings"
	"testing"
)

// site is a running product that a browser can open.
type site struct {
	url       string
	instances []*server
}

func startDemo(t *testing.T, host string, env ...string) site {
	t.Helper()
	port := freePort(t)
	url := "http://" + host + ":" + port
	s := startServer(t, append([]string{
		"SCANLOGIN_LISTEN=127.0.0.1:" + port, "SCANLOGIN_ADMIN_LISTEN=127.0.0.1:0", "SCANLOGIN_PUBLIC_URL=" + url, "SCANLOGIN_LOG=json",
	}, env...), "demo")
	return site{url: url, instances: []*server{s}}
}

// answers counts the requests that a route has answered, by the request log.
func (s site) answers(route, status string) int {
	n := 0
	for _, instance := range s.instances {
		for line := range strings.Lines(instance.output()) {
			if strings.Contains(line, `"route":"`+route+`"`) && strings.Contains(line, `"status":`+status) {
				n++
			}
		}
	}
	return n
}

// onBoth runs a journey on the demo and on two instances that share a Redis
// behind HAProxy.
func onBoth(t *testing.T, journey func(t *testing.T, s site), env ...string) {
	t.Run("demo", func(t *testing.T) {
		t.Parallel()
		journey(t, startDemo(t, "127.0.0.1", env...))
	})
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		c := startCluster(t, 2, env...)
		journey(t, site{url: c.url, instances: c.instances})
	})
}

// openLogin opens the page that wants somebody to sign in, and marks it, so
// that a reload would show.
func openLogin(t *testing.T, s site) *tab {
	t.Helper()
	desktop := openDesktop(t)
	desktop.open(s.url + "/")
	desktop.mark()
	return desktop
}

func (b *tab) mark() { eval[bool](b, `(window.sameDocument = true)`) }

// notReloaded is the proof that the page told its news by itself.
func (b *tab) notReloaded() {
	b.t.Helper()
	if !eval[bool](b, `window.sameDocument === true`) {
		b.t.Error("the page was loaded again")
	}
}

// signInOnPhone is what a person does after the camera has opened the link,
// up to the question.
func (b *tab) signInOnPhone(user string) {
	b.t.Helper()
	b.click(`button[value="` + user + `"]`)
	b.reachQuestion()
}

// reachQuestion waits for the question, with a press on Continue where the
// page between does not lead on by itself.
func (b *tab) reachQuestion() {
	b.t.Helper()
	if b.stepwise {
		b.click("form[action='/s/scan'] button")
	}
	b.until(`find("button[value=approve]")`)
}

// signedIn waits until the desktop page says who is signed in.
func (b *tab) signedIn(name string) {
	b.t.Helper()
	b.until(`find("#account") && said("#account-name") === "` + name + `"`)
}

func TestBrowserSignsInByScanning(t *testing.T) {
	onBoth(t, func(t *testing.T, s site) {
		for name, scripts := range map[string]bool{"scripts on the phone": true, "no scripts on the phone": false} {
			t.Run(name, func(t *testing.T) {
				desktop, phone := openLogin(t, s), openPhone(t)
				if !scripts {
					phone.withoutScripts()
				}
				phone.open(desktop.readQR())
				phone.signInOnPhone("alice")
				desktop.until(`state() === "scanned" && said(".message").includes("A***e")`)
				if facts := eval[string](phone, `said(".facts")`); !strings.Contains(facts, "Chrome on Windows") {
					t.Errorf("facts: %q", facts)
				}
				phone.click("button[value=approve]")
				desktop.signedIn("Alice")
				phone.untilSaid("h1", "Signed in on Chrome, Windows")
				desktop.notReloaded()
				signsOut(t, desktop)
			})
		}
	})
}

// signsOut: a reload keeps the person signed in; signing out ends that and
// shows a new code.
func signsOut(t *testing.T, desktop *tab) {
	t.Helper()
	desktop.reload()
	desktop.signedIn("Alice")
	desktop.mark()
	desktop.click("#signout button")
	desktop.until(`state() === "pending" && find("img")`)
	desktop.notReloaded()
	desktop.reload()
	desktop.until(`state() === "pending" && !find("#account")`)
}

// A plain http address in a local network is no secure context: no
// crypto.subtle, so no PKCE.
func TestBrowserSignsInWithoutASecureContext(t *testing.T) {
	t.Parallel()
	s := startDemo(t, "login.test")
	desktop, phone := openLogin(t, s), openPhone(t)
	if eval[bool](desktop, `isSecureContext`) {
		t.Fatal("the test does not show what it is for")
	}
	phone.open(desktop.readQR())
	phone.signInOnPhone("bob")
	phone.click("button[value=approve]")
	desktop.signedIn("Bob")
	desktop.notReloaded()
}

func TestBrowserSignsInByTypedCode(t *testing.T) {
	onBoth(t, func(t *testing.T, s site) {
		desktop, phone := openLogin(t, s), openPhone(t).provoke()
		desktop.until(`state() === "pending" && find("img")`)
		desktop.click(".quiet")
		desktop.until(`said("output").length === 9`)
		code := eval[string](desktop, `said("output")`)
		phone.open("http://" + eval[string](desktop, `said(".typed a")`))
		phone.click(`button[value="alice"]`)
		phone.until(`document.activeElement.id === "user_code"`)
		phone.typeText("BBBB BBBB\r")
		phone.untilSaid("[role=alert]", "No login is waiting under this code")
		phone.until(`document.activeElement.id === "user_code"`)
		phone.typeText(strings.ToLower(strings.ReplaceAll(code, "-", " ")) + "\r")
		phone.reachQuestion()
		phone.click("button[value=approve]")
		digits := phone.readDigits() // a code can be read out to anybody
		desktop.until(`state() === "check"`)
		desktop.typeText(digits)
		desktop.signedIn("Alice")
		desktop.notReloaded()
	})
}

func TestBrowserIsDeclinedAndTriesAgain(t *testing.T) {
	onBoth(t, func(t *testing.T, s site) {
		desktop, phone := openLogin(t, s), openPhone(t)
		phone.open(desktop.readQR())
		phone.signInOnPhone("alice")
		phone.until(`document.activeElement.value === "deny"`)
		phone.typeText("\r") // the focus is on Decline
		phone.untilSaid("h1", "Login declined")
		desktop.untilSaid(".message", "Declined on the phone")
		desktop.click(".primary")
		phone.open(desktop.readQR())
		phone.reachQuestion()
		phone.click("button[value=approve]")
		desktop.signedIn("Alice")
		desktop.notReloaded()
	})
}

// Whoever sits at the desktop sees a name that is not theirs.
func TestBrowserCancelsAStrangersScan(t *testing.T) {
	onBoth(t, func(t *testing.T, s site) {
		desktop, phone := openLogin(t, s), openPhone(t).provoke()
		first := desktop.readQR()
		phone.open(first)
		phone.signInOnPhone("bob")
		desktop.until(`state() === "scanned"`)
		desktop.untilSaid(".quiet", "Not you? Cancel")
		desktop.click(".quiet")
		if second := desktop.readQR(); second == first {
			t.Error("the canceled code is shown again")
		}
		phone.click("button[value=approve]")
		phone.untilSaid("h1", "This login has ended")
		desktop.notReloaded()
	})
}

func TestBrowserRenewsAnExpiredCode(t *testing.T) {
	onBoth(t, func(t *testing.T, s site) {
		desktop := openLogin(t, s)
		first := desktop.readQR()
		image := eval[string](desktop, `part("img").src`)
		desktop.until(`said(".small") === "New code"`)
		desktop.until(`state() === "pending" && find("img") && part("img").src !== "` + image + `"`)
		if second := desktop.readQR(); second == first {
			t.Error("the same code again")
		}
		desktop.notReloaded()
	}, "SCANLOGIN_TICKET_TTL=3s")
}

// A reload between scan and approval takes up the same ticket; so does one
// before the scan.
func TestBrowserReloadResumesTheTicket(t *testing.T) {
	onBoth(t, func(t *testing.T, s site) {
		desktop, phone := openLogin(t, s), openPhone(t)
		first := desktop.readQR()
		desktop.reload()
		desktop.until(`state() === "pending" && find("img")`)
		phone.open(first)
		phone.signInOnPhone("alice")
		desktop.until(`state() === "scanned"`)
		desktop.reload()
		desktop.until(`state() === "scanned" && said(".message").includes("A***e")`)
		desktop.mark()
		phone.click("button[value=approve]")
		desktop.signedIn("Alice")
		desktop.notReloaded()
		if made := s.answers("/v1/tickets", "201"); made != 1 {
			t.Errorf("%d tickets were made", made)
		}
	})
}

// confirm-user asks the person at the desktop, too.
func TestBrowserAsksBeforeItRedeems(t *testing.T) {
	onBoth(t, func(t *testing.T, s site) {
		desktop, phone := openLogin(t, s), openPhone(t)
		eval[bool](desktop, `document.querySelector("qr-login").toggleAttribute("confirm-user", true)`)
		phone.open(desktop.readQR())
		phone.signInOnPhone("alice")
		phone.click("button[value=approve]")
		desktop.untilSaid(".message", "Continue as A***e?")
		phone.untilSaid("h1", "Approved")
		if n := s.answers("/oauth/token", "200"); n != 0 {
			t.Errorf("redeemed %d times before the answer", n)
		}
		desktop.click(".primary")
		desktop.signedIn("Alice")
		phone.untilSaid("h1", "Signed in on Chrome, Windows")
	})
}
