package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chromedp/chromedp/kb"
)

// A desktop and a phone that are not in the same network: a proxy that is
// trusted tells their addresses.
const (
	atDesktop = "203.0.113.9"
	atHome    = "198.51.100.7"
	proxied   = "SCANLOGIN_TRUSTED_PROXIES=127.0.0.0/8"
)

// apart are the two of a login, on the site's page and anywhere.
func apart(t *testing.T, s site, lang string) (desktop, phone *tab) {
	t.Helper()
	desktop, phone = newTab(t, desktopDevice, lang).at(atDesktop), newTab(t, phoneDevice, lang).at(atHome)
	desktop.open(s.url + "/")
	desktop.mark()
	return desktop, phone
}

// readDigits is what the person with the phone sees.
func (b *tab) readDigits() string {
	b.t.Helper()
	b.until(`document.querySelector("main")?.dataset.status === "check"`)
	return strings.ReplaceAll(eval[string](b, `find(".digits").textContent`), " ", "")
}

// notThe is a code that is not the right one.
func notThe(code string) string {
	if code == "00" {
		return "11"
	}
	return "00"
}

// A whole login across networks, by keyboard alone at the desktop, with one slip.
func TestBrowserTypesTheCheckCode(t *testing.T) {
	onBoth(t, func(t *testing.T, s site) {
		for lang, w := range map[string][4]string{
			"en":    {"A new place for this account", "Type the two digits your phone shows", "Those digits did not match. Tries left: 2", "Signed in on Chrome, Windows"},
			"zh-CN": {"此账号首次在该地点登录", "输入手机上显示的两位数字", "数字不一致，剩余次数：2", "已在 Chrome（Windows）登录"},
		} {
			t.Run(lang, func(t *testing.T) {
				user := map[string]string{"en": "alice", "zh-CN": "bob"}[lang] // no place is new twice
				desktop, phone := apart(t, s, lang)
				desktop.provoke() // a wrong code is a 403
				eval[bool](desktop, `(window.told = [], addEventListener("qr-login-state", (e) => told.push(e.detail)), true)`)
				phone.open(desktop.readQR())
				phone.signInOnPhone(user)
				phone.untilSaid(".verdict", w[0])
				phone.click("button[value=approve]")
				code := phone.readDigits()
				phone.mark()
				desktop.untilSaid(".message", w[1])
				desktop.until(`part(":focus")?.inputMode === "numeric"`)
				desktop.typeText(notThe(code))
				desktop.untilSaid(".small", w[2])
				desktop.until(`part(".live").textContent === said(".small")`)
				desktop.until(`part(":focus") === part("input") && part(":focus").value === ""`)
				desktop.typeText(code)
				desktop.signedIn(strings.ToUpper(user[:1]) + user[1:])
				phone.untilSaid("h1", w[3])
				desktop.notReloaded()
				phone.notReloaded()
				if !eval[bool](desktop, `told.some(({ check }) => check?.tries_left === 3) && told.some(({ check }) => check?.tries_left === 2)`) {
					t.Error("qr-login-state does not carry the check")
				}
			})
		}
	}, proxied)
}

// Without scripts the phone's page looks again by itself.
func TestCheckCodeOnAPhoneWithoutScripts(t *testing.T) {
	t.Parallel()
	s := startDemo(t, "127.0.0.1", proxied)
	desktop, phone := apart(t, s, "en")
	phone.withoutScripts().open(desktop.readQR())
	phone.signInOnPhone("alice")
	phone.click("button[value=approve]")
	code := phone.readDigits()
	phone.reload()
	if again := phone.readDigits(); again != code {
		t.Errorf("loaded again it shows %s, not %s", again, code)
	}
	desktop.until(`state() === "check"`)
	desktop.typeText(code)
	desktop.signedIn("Alice")
	phone.untilSaid("h1", "Signed in on Chrome, Windows")
}

// Whoever guesses at the desktop gets three tries, and both sides are told.
func TestGuessedCheckCodeEndsTheLogin(t *testing.T) {
	t.Parallel()
	s := startDemo(t, "127.0.0.1", proxied)
	desktop, phone := apart(t, s, "en")
	desktop.provoke()
	phone.open(desktop.readQR())
	phone.signInOnPhone("alice")
	phone.click("button[value=approve]")
	wrong := notThe(phone.readDigits())
	desktop.until(`state() === "check"`)
	for _, left := range []string{"2", "1"} {
		desktop.typeText(wrong)
		desktop.untilSaid(".small", "Tries left: "+left)
		desktop.until(fmt.Sprintf(`part(".live").textContent.endsWith(%q)`, left)) // each is said
	}
	desktop.typeText(wrong)
	desktop.untilSaid(".message", "The digits did not match")
	phone.untilSaid("h1", "The code did not match")
	desktop.click(".primary") // and from the start
	phone.open(desktop.readQR())
	phone.reachQuestion()
	phone.click("button[value=approve]")
	code := phone.readDigits()
	desktop.until(`state() === "check"`)
	desktop.typeText(code)
	desktop.signedIn("Alice")
	desktop.notReloaded()
}

// The boxes take what people do: letters, a slip, both digits at once; a reload
// goes on, and so does who gives up.
func TestCheckBoxesTakeWhatPeopleDo(t *testing.T) {
	t.Parallel()
	s := startDemo(t, "127.0.0.1", proxied)
	desktop, phone := apart(t, s, "en")
	phone.open(desktop.readQR())
	phone.signInOnPhone("alice")
	phone.click("button[value=approve]")
	code := phone.readDigits()
	boxes := func(want string) {
		t.Helper()
		desktop.until(fmt.Sprintf(`[...part(".digits").children].map((box) => box.value || "_").join("") === %q`, want))
	}
	desktop.until(`state() === "check"`)
	desktop.typeText("x-")
	boxes("__")
	desktop.typeText(code[:1])
	boxes(code[:1] + "_")
	desktop.typeText(kb.Backspace) // from the empty second box
	boxes("__")
	desktop.until(`part(":focus") === part("input")`)
	desktop.typeText(code[:1])
	desktop.reload()
	desktop.until(`state() === "check"`)
	desktop.mark()
	boxes("__")
	desktop.typeText(code[:1])
	desktop.click("input") // and typing takes the place of what was there
	desktop.typeText(code[:1])
	boxes(code[:1] + "_")
	eval[bool](desktop, fmt.Sprintf(`(() => {
		const data = new DataTransfer();
		data.setData("text", " %s ");
		return part("input:last-child").dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, cancelable: true, bubbles: true })), true;
	})()`, code[:1]+" "+code[1:]))
	desktop.signedIn("Alice")
	desktop.notReloaded()
}

// "Not me" on the phone and "Cancel" at the desktop both end it.
func TestCheckIsGivenUpOnEitherSide(t *testing.T) {
	t.Parallel()
	s := startDemo(t, "127.0.0.1", proxied)
	desktop, phone := apart(t, s, "en")
	phone.open(desktop.readQR())
	phone.signInOnPhone("alice")
	phone.click("button[value=approve]")
	phone.readDigits()
	phone.click("button[value=report]")
	phone.untilSaid("h1", "Login declined")
	desktop.untilSaid(".message", "Declined on the phone")
	if n := s.answers("/s/decide", "303"); n != 2 {
		t.Errorf("%d decisions", n)
	}
	desktop.click(".primary")
	phone.open(desktop.readQR())
	phone.reachQuestion()
	phone.click("button[value=approve]")
	phone.readDigits()
	desktop.until(`state() === "check"`)
	desktop.click(".quiet")
	phone.untilSaid("h1", "Canceled on the other device")
	desktop.until(`state() === "pending"`)
	desktop.notReloaded()
}

// newCallerAt sends its requests from another address of this machine.
func newCallerAt(t *testing.T, base, addr string) *caller {
	t.Helper()
	c := newCaller(t, base)
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(addr)}}
	c.http.Transport.(*http.Transport).DialContext = func(ctx context.Context, _, to string) (net.Conn, error) {
		return dialer.DialContext(ctx, "tcp", to)
	}
	return c
}

// approveWithCheck is a phone in another network; it gives the digits that it shows.
func approveWithCheck(t *testing.T, s site, desktop *tab, user string) string {
	t.Helper()
	phone := newCallerAt(t, s.instances[0].url, "127.0.0.2")
	token := phone.signIn(user)
	l := login{qr: desktop.readQR()}
	a := phone.do(200, "POST", "/v1/scan", token, map[string]string{"qr": l.qr})
	a = phone.do(200, "POST", "/v1/tickets/"+a.text("ticket_id")+"/confirm", token, map[string]string{"confirm_token": a.text("confirm_token")})
	if a.text("check_code") == "" {
		t.Fatalf("no check code: %s", a.raw)
	}
	return a.text("check_code")
}

// Over every transport, and also where the answers get lost on the way.
func TestCheckCodeSurvivesTheNetwork(t *testing.T) {
	over := func(suffixes ...string) func(*http.Request) bool {
		return func(r *http.Request) bool {
			for _, suffix := range suffixes {
				if strings.HasSuffix(r.URL.Path, suffix) {
					return true
				}
			}
			return false
		}
	}
	for name, refused := range map[string]func(*http.Request) bool{"WebSocket": over(), "SSE": over("/ws"), "long poll": over("/ws", "/events")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, s := behindGate(t)
			lose := loseChecks(t, g, s, refused)
			desktop := openLogin(t, s).provoke()
			code := approveWithCheck(t, s, desktop, "alice")
			desktop.until(`state() === "check"`)
			lose(answers)
			desktop.typeText(notThe(code))
			desktop.untilSaid(".small", "Those digits did not match. Tries left: 2")
			lose(answers)
			desktop.typeText(notThe(code))
			desktop.untilSaid(".small", "Those digits did not match. Tries left: 1") // counted once, each of them
			lose(requests)
			desktop.typeText(code)
			desktop.signedIn("Alice")
			desktop.notReloaded()
		})
	}
}

// What gets lost of the next check.
const (
	requests = "requests"
	answers  = "answers"
)

// loseChecks refuses some requests, and loses the next check when told to. It
// answers as a gateway does: a browser sends a request again by itself when its
// connection ends.
func loseChecks(t *testing.T, g *gate, s site, refused func(*http.Request) bool) (next func(what string)) {
	t.Helper()
	to, err := url.Parse(s.instances[0].url)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(to) },
		ModifyResponse: func(*http.Response) error { return io.ErrUnexpectedEOF },
		ErrorHandler:   func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	var lost atomic.Pointer[string]
	g.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if refused(r) {
			w.WriteHeader(http.StatusForbidden) // not in our words
			return true
		}
		if !strings.HasSuffix(r.URL.Path, "/check") {
			return false
		}
		switch what := lost.Swap(nil); {
		case what == nil:
			return false
		case *what == answers:
			proxy.ServeHTTP(w, r)
		default:
			w.WriteHeader(http.StatusBadGateway)
		}
		return true
	})
	return func(what string) { lost.Store(&what) }
}

// A device shows its code; the phone's page asks for it, and Enter approves.
func TestPhoneTypesTheDevicesCode(t *testing.T) {
	t.Parallel()
	s := startDemo(t, "127.0.0.1", proxied)
	device := newCaller(t, s.url)
	device.http.Transport = from{device.http.Transport, atDesktop}
	phone := openPhone(t).at(atHome)
	made := device.do(200, "POST", "/oauth/device_authorization", "", url.Values{"client_id": {"device"}})
	phone.open(made.text("verification_uri_complete"))
	phone.signInOnPhone("alice")
	phone.until(`document.activeElement.value === "deny"`) // still the safe answer
	phone.click("button[value=approve]")                   // needs the code
	phone.until(`document.activeElement.id === "user_code"`)
	phone.typeText("bbbb bbbb" + kb.Enter)
	phone.untilSaid("[role=alert]", "Tries left: 2")
	phone.until(`document.activeElement.id === "user_code"`)
	phone.reload()
	phone.untilSaid("[role=alert]", "Tries left: 2")
	phone.typeText(strings.ToLower(made.text("user_code")) + kb.Enter)
	phone.untilSaid("h1", "Approved")
	device.do(200, "POST", "/oauth/token", "", url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "client_id": {"device"}, "device_code": {made.text("device_code")},
	})
	phone.untilSaid("h1", "Signed in on the other device")
}

// from lets requests come through the trusted proxy from an address.
type from struct {
	http.RoundTripper
	addr string
}

func (f from) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Header.Set("X-Forwarded-For", f.addr)
	return f.RoundTripper.RoundTrip(r)
}
