package main

import (
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"
)

// startSteered is two instances on one Redis under one public URL, which leads
// each tab to the instance that it was opened for: see desktopOn.
func startSteered(t *testing.T) site {
	t.Helper()
	redis := startRedis(t)
	s := site{}
	g := startGate(t, func() string { return s.instances[0].url })
	s.url = g.url
	var ways []http.Handler
	for range 2 {
		instance := startServer(t, serveEnv(g.url, "SCANLOGIN_REDIS_URL="+redis.url())).ready(t)
		to, err := url.Parse(instance.url)
		if err != nil {
			t.Fatal(err)
		}
		s.instances = append(s.instances, instance)
		ways = append(ways, &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host
		}})
	}
	g.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		n := 0
		if r.UserAgent() == steered(1).userAgent {
			n = 1
		}
		ways[n].ServeHTTP(w, r)
		return true
	})
	return s
}

// steered is a desktop whose requests all go to one instance.
func steered(n int) device {
	d := desktopDevice
	d.userAgent = strings.Replace(d.userAgent, "x64", fmt.Sprintf("x64; %d", n), 1)
	return d
}

func desktopOn(t *testing.T, n int) *tab {
	t.Helper()
	return newTab(t, steered(n), "en")
}

// approve is what a phone does with the code that a page shows.
func (c *caller) approve(b *tab, phone string) {
	c.t.Helper()
	l := login{qr: b.readQR()}
	a := c.do(200, "POST", "/v1/scan", phone, map[string]string{"qr": l.qr})
	l.id, l.confirmToken = a.text("ticket_id"), a.text("confirm_token")
	c.confirm(l, phone)
}

// openList opens the device list and signs in there.
func (b *tab) openList(s site, api *caller, phone string) {
	b.t.Helper()
	b.open(s.url + "/account")
	api.approve(b, phone)
	b.until(`find("#devices")`)
	b.mark()
}

// devices are the rows of the list, as a person reads them.
func (b *tab) devices() []string {
	b.t.Helper()
	return eval[[]string](b, `[...document.querySelectorAll("#devices li:not(.gone)")].map((row) => row.innerText)`)
}

// untilListed waits until the list has n rows.
func (b *tab) untilListed(n int) {
	b.t.Helper()
	b.until(fmt.Sprintf(`document.querySelectorAll("#devices li").length === %d`, n))
}

// rowOf is the row of the other desktop that can be ended.
const rowOf = `#devices li:not(.current):not(.new):has(button)`

// Two desktops of one person on two instances; the second ends the first, and
// a third list and a new sign-in show what goes on without a reload.
func TestDeviceListEndsAnotherDevice(t *testing.T) {
	s := startSteered(t)
	api := newCaller(t, s.url)
	phone := api.signIn("alice")
	first, second, third := desktopOn(t, 0), desktopOn(t, 1), desktopOn(t, 0)
	first.open(s.url + "/")
	first.mark()
	api.approve(first, phone)
	first.signedIn("Alice")
	second.openList(s, api, phone)
	second.untilListed(3) // and the phone
	first.untilSaid("#news", "New sign-in: Chrome, Windows")

	third.openList(s, api, phone)
	second.untilListed(4)
	if rows := second.devices(); !strings.Contains(rows[0], "Not you? End") || strings.Contains(strings.Join(rows[1:], ""), "Not you?") {
		t.Errorf("after a sign-in: %q", rows)
	}
	if said := eval[string](second, `document.querySelector(".live").textContent`); said != "New sign-in: Chrome, Windows" {
		t.Errorf("said %q", said)
	}

	eval[bool](first, `(new MutationObserver(() => { window.ended ??= Date.now(); })
		.observe(document.getElementById("signed-out"), { attributeFilter: ["hidden"] }), true)`)
	eval[bool](second, `(addEventListener("submit", () => { window.asked = Date.now(); }), true)`)
	second.click(rowOf + " button")
	first.untilSaid("#signed-out", "Another of your devices ended this login.")
	first.until(`document.activeElement === find("#signed-out a")`)
	took := time.Duration(eval[float64](first, `ended`)-eval[float64](second, `asked`)) * time.Millisecond
	t.Logf("the first page said so %s after the press", took)
	if took > time.Second {
		t.Errorf("it took %s", took)
	}
	second.untilListed(3)
	third.untilListed(3)
	for _, b := range []*tab{first, second, third} {
		b.notReloaded()
	}
	first.click("#signed-out a")
	first.until(`state() === "pending" && find("img")`)
	second.click(".current button") // signs out
	second.until(`state() === "pending" && find("img")`)
	third.untilListed(2)
}

const keepsToken = `addEventListener("qr-login-success", (e) => { window.token = e.detail.access_token; })`

// hears keeps what a page's sockets are told.
const hears = `{
	const Plain = WebSocket;
	window.WebSocket = class extends Plain {
		constructor(...at) {
			super(...at);
			this.addEventListener("message", ({ data }) => (window.heard ??= []).push(data));
		}
	};
}`

// The page that a person has open tells of a new sign-in, and ends it with one
// press; where that fails it says so, and the next press may help.
func TestNewSignInIsEndedWithOnePress(t *testing.T) {
	t.Parallel()
	var s site
	g := startGate(t, func() string { return s.instances[0].url })
	s = site{url: g.url, instances: []*server{startServer(t, serveEnv(g.url, "SCANLOGIN_ACCESS_TTL=3s")).ready(t)}}
	api := newCaller(t, s.url)
	mine, stranger := openDesktop(t).provoke().before(hears).before(keepsToken), openLogin(t, s)
	mine.open(s.url + "/")
	mine.mark()
	api.approve(mine, api.signIn("alice")) // its token is as short-lived
	mine.signedIn("Alice")
	mine.until(`window.heard?.some((message) => message.includes('"active"'))`)
	api.approve(stranger, api.signIn("alice"))
	stranger.signedIn("Alice")
	mine.untilSaid("#news", "New sign-in: Chrome, Windows")
	mine.until(`document.querySelectorAll("#news button").length === 2`) // the phone's, and the desktop's on top
	g.intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodDelete {
			panic(http.ErrAbortHandler)
		}
		return false
	})
	mine.click("#news button")
	mine.untilSaid("#news", "That did not work. Try again in a moment.")
	g.pass()
	eventually(t, patience, "the page's token has run out", func() bool {
		a, err := api.try("GET", "/oauth/userinfo", eval[string](mine, `token`), nil)
		return err == nil && a.status == 401
	})
	mine.click("#news button")
	stranger.untilSaid("#signed-out", "Another of your devices ended this login.")
	mine.untilSaid("#news", "Ended")
	mine.until(`document.activeElement === find("#news p")`)
	mine.click("#news button")
	mine.untilSaid("#news", "Only a phone can end this")
	if n := s.answers("/v1/sessions/{session_id}", "204"); n != 1 {
		t.Errorf("%d sessions were ended", n)
	}
	mine.notReloaded()
}

// press types a key until something has the focus.
func (b *tab) press(key, css string) {
	b.t.Helper()
	for range 30 {
		if eval[bool](b, fmt.Sprintf(`Boolean(document.activeElement?.matches(%q))`, css)) {
			return
		}
		b.typeText(key)
	}
	b.t.Fatalf("30 times %q do not lead to %s", key, css)
}

// Without scripts, and with nothing but a keyboard.
func TestDeviceListEndsAllOthersWithoutScripts(t *testing.T) {
	t.Parallel()
	s := startDemo(t, "127.0.0.1")
	api := newCaller(t, s.url)
	phone := api.signIn("alice")
	desktop, other := openDesktop(t), openLogin(t, s)
	desktop.openList(s, api, phone)
	api.approve(other, phone)
	other.signedIn("Alice")
	desktop.withoutScripts().reload()
	desktop.untilListed(3)
	desktop.press(kb.Tab, "summary")
	desktop.typeText(kb.Enter)
	desktop.until(`find("#others form")`)
	desktop.press(kb.Tab, "#others button")
	desktop.typeText(kb.Enter)
	desktop.untilListed(2) // the phone's row stays
	other.untilSaid("#signed-out", "Another of your devices ended this login.")
	if eval[bool](desktop, `Boolean(find("#others"))`) {
		t.Error("there are no others, and they can be ended")
	}
	desktop.press(kb.Tab, ".current button")
	desktop.typeText(kb.Enter)
	desktop.until(`find("noscript") || document.querySelector("qr-login")`)
}

// With scripts and a keyboard: the focus goes on to the next row.
func TestDeviceListKeepsTheFocus(t *testing.T) {
	t.Parallel()
	s := startDemo(t, "127.0.0.1")
	api := newCaller(t, s.url)
	phone := api.signIn("alice")
	desktop, other := openDesktop(t), openLogin(t, s)
	desktop.openList(s, api, phone)
	api.approve(other, phone)
	other.signedIn("Alice")
	desktop.untilListed(3)
	desktop.press(kb.Tab, ".new button")
	l := api.create() // one more, while the focus is in the list
	api.scan(&l, phone)
	api.confirm(l, phone)
	api.do(200, "POST", "/oauth/token", "", redeemForm(l))
	desktop.untilListed(4)
	desktop.until(`document.activeElement.matches("li:nth-child(2) button")`)
	desktop.typeText(kb.Enter)
	other.untilSaid("#signed-out h1", "You are signed out")
	desktop.untilListed(3)
	desktop.until(`document.activeElement.matches(".current button")`)
	desktop.notReloaded()
}

// The instance that holds the page's session socket is killed: the page is back
// on the other one, and still learns of the end of its session.
func TestSessionSocketSurvivesItsInstance(t *testing.T) {
	c := startCluster(t, 2)
	s := site{url: c.url, instances: c.instances}
	api := newCaller(t, c.url)
	phone := api.signIn("alice")
	desktop := openLogin(t, s).provoke()
	api.approve(desktop, phone)
	desktop.signedIn("Alice")
	eventually(t, patience, "the login's socket is gone", func() bool { return s.answers("/v1/sessions/current/ws", "101") == 1 })
	dead := s.holder(t)
	dead.kill()
	for i, instance := range s.instances {
		if instance == dead {
			s.instances = append(s.instances[:i:i], s.instances[i+1:]...)
		}
	}
	eventually(t, patience, "the page is back", func() bool { return s.sockets(t, "ws") == 1 })
	api.do(204, "DELETE", "/v1/sessions?others=true", phone, nil)
	desktop.untilSaid("#signed-out", "Another of your devices ended this login.")
	desktop.notReloaded()
}

// A token that has run out since is replaced when the socket is lost, and the
// page is back.
func TestSessionSocketComesBackWithANewToken(t *testing.T) {
	t.Parallel()
	var s site
	g := startGate(t, func() string { return s.instances[0].url })
	s = site{url: g.url, instances: []*server{startServer(t, serveEnv(g.url, "SCANLOGIN_ACCESS_TTL=3s")).ready(t)}}
	api := newCaller(t, s.url)
	desktop := openDesktop(t).provoke().before(keepsToken)
	desktop.open(s.url + "/")
	desktop.mark()
	api.approve(desktop, api.signIn("alice"))
	desktop.signedIn("Alice")
	token := eval[string](desktop, `token`)
	eventually(t, patience, "the page follows its session", func() bool { return s.answers("/v1/sessions/current/ws", "101") == 1 })
	eventually(t, patience, "its token has run out", func() bool {
		a, err := api.try("GET", "/oauth/userinfo", token, nil)
		return err == nil && a.status == 401
	})
	g.cut()
	g.pass()
	eventually(t, patience, "the page has a new token", func() bool { return s.answers("/session/token", "200") == 1 })
	eventually(t, patience, "the page is back", func() bool { return s.sockets(t, "ws") == 1 })
	api.do(204, "DELETE", "/v1/sessions?others=true", api.signIn("alice"), nil)
	desktop.untilSaid("#signed-out", "Another of your devices ended this login.")
	desktop.notReloaded()
}

// Where no socket gets through, the page hears of the end when it asks for its
// next token.
func TestEndIsToldWithoutASocket(t *testing.T) {
	t.Parallel()
	g, s := behindGate(t)
	g.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		return strings.HasPrefix(r.URL.Path, "/v1/sessions") && refuseWebSocket(w, r)
	})
	api := newCaller(t, s.instances[0].url)
	phone := api.signIn("alice")
	desktop := openLogin(t, s).provoke()
	api.approve(desktop, phone)
	desktop.signedIn("Alice")
	eventually(t, patience, "the page has tried again", func() bool { return s.answers("/session/token", "200") == 1 })
	api.do(204, "DELETE", "/v1/sessions?others=true", phone, nil)
	desktop.untilSaid("#signed-out", "This login has ended.")
	desktop.notReloaded()
}

// The phone's list has no socket, and is kept true all the same.
func TestPhoneListEndsADesktop(t *testing.T) {
	t.Parallel()
	s := startDemo(t, "127.0.0.1")
	api := newCaller(t, s.url)
	desktop, phone := openLogin(t, s), openPhone(t)
	phone.open(s.url + "/s/devices")
	phone.click(`button[value="alice"]`)
	phone.untilListed(1)
	phone.mark()
	app := api.signIn("alice")
	api.approve(desktop, app)
	desktop.signedIn("Alice")
	phone.untilListed(3)
	if rows := phone.devices(); !strings.HasPrefix(rows[0], "Chrome, Windows") || !strings.Contains(rows[0], "Not you? End") {
		t.Errorf("the phone's list: %q", rows)
	}
	phone.click("li:first-child button")
	desktop.untilSaid("#signed-out", "Another of your devices ended this login.")
	phone.untilListed(2)
	api.do(204, "DELETE", "/v1/sessions?others=true", app, nil)
	phone.untilSaid("#signed-out h1", "You are signed out")
	phone.notReloaded()
	phone.click("#signed-out a")
	phone.click(`button[value="bob"]`)
	phone.untilListed(1)
}
