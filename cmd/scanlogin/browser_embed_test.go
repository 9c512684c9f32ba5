package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// foreignPage is a page of another origin that embeds the component as the
// README says, dark, with its own logo and help, and keeps what it is told.
const foreignPage = `<!doctype html><html lang="zh-CN"><meta charset="utf-8"><title>shop</title>
<link rel="icon" href="data:,"><style>body { background: #111 } qr-login { --qr-login-accent: rgb(1, 2, 3) }</style>
<script type="module" src="%[1]s/qr-login.js"></script>
<qr-login client-id="web" lang="en" theme="dark"><b slot="logo">Shop</b><i slot="help">Ask us</i></qr-login>
<script>
  window.told = []; window.sameDocument = true;
  addEventListener("qr-login-state", (e) => told.push(e.detail.status));
  addEventListener("qr-login-success", (e) => { window.tokens = e.detail });
</script>`

// embed serves the foreign page on an origin that the server allows.
func embed(t *testing.T) (page string, s site) {
	t.Helper()
	var origin string
	shop := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, foreignPage, origin)
	}))
	page = "http://" + shop.Listener.Addr().String()
	s = startDemo(t, "127.0.0.1", "SCANLOGIN_ORIGINS="+page)
	origin = s.url
	shop.Start()
	t.Cleanup(shop.Close)
	return page, s
}

func TestComponentSignsInOnAForeignPage(t *testing.T) {
	t.Parallel()
	page, s := embed(t)
	desktop, phone := openDesktop(t), openPhone(t)
	desktop.open(page)
	phone.open(desktop.readQR())
	phone.signInOnPhone("alice")
	desktop.until(`state() === "scanned"`)
	look := eval[struct {
		Color, Accent, Logo, Help, Said string
	}](desktop, `(() => {
		const host = document.querySelector("qr-login");
		return {
			color: getComputedStyle(part(".message")).color, accent: getComputedStyle(part(".line i")).backgroundColor,
			logo: host.querySelector("[slot=logo]").checkVisibility() ? "shown" : "", help: host.querySelector("[slot=help]").checkVisibility() ? "shown" : "",
			said: said(".message"),
		};
	})()`)
	if look.Logo != "shown" || look.Help != "shown" || look.Accent != "rgb(1, 2, 3)" || look.Color != "rgb(238, 241, 245)" || !strings.HasPrefix(look.Said, "Scanned by") {
		t.Errorf("on the page: %+v", look)
	}
	phone.click("button[value=approve]")
	desktop.until(`window.tokens?.access_token && state() === "consumed"`)
	if told := eval[[]string](desktop, `told`); !slices.Equal(slices.Compact(told), []string{"pending", "scanned", "confirmed"}) {
		t.Errorf("told %v", told)
	}
	who := newCaller(t, s.url).do(200, "GET", "/oauth/userinfo", eval[string](desktop, `tokens.access_token`), nil)
	if who.text("sub") != "demo:alice" {
		t.Errorf("signed in: %v", who.body)
	}
	desktop.notReloaded()
	eval[bool](desktop, `(document.querySelector("qr-login").restart(), true)`)
	desktop.until(`state() === "pending"`)
}

// A page whose origin is not allowed gets nothing, and its developer is told.
func TestComponentOnAPageThatIsNotAllowed(t *testing.T) {
	t.Parallel()
	page, _ := embed(t)
	desktop := openDesktop(t).provoke().warned("SCANLOGIN_ORIGINS", "CORS policy")
	desktop.open(strings.Replace(page, "127.0.0.1", "login.test", 1))
	desktop.until(`state() === "offline"`)
	eventually(t, patience, "the developer is told why", func() bool {
		desktop.mu.Lock()
		defer desktop.mu.Unlock()
		return desktop.heard["SCANLOGIN_ORIGINS"]
	})
}

// The server refuses for longer than the page tries: it says so, in whole sentences,
// and goes on when the person says so. Its waits are short here.
func TestComponentGivesUpAndGoesOn(t *testing.T) {
	for _, row := range []struct {
		status              int
		code, state, en, zh string
	}{
		{http.StatusTooManyRequests, "rate_limited", "limited", "Too many tries from this network", "当前网络请求过多"},
		{http.StatusServiceUnavailable, "overloaded", "busy", "The service is busy", "服务繁忙"},
		{http.StatusBadGateway, "", "offline", "No connection", "网络已断开"},
		{http.StatusForbidden, "network_banned", "barred", "This network is on hold. Try another one", "此网络已暂停使用，请换用其他网络"},
	} {
		t.Run(row.state, func(t *testing.T) {
			t.Parallel()
			g, s := behindGate(t)
			desktop := openDesktop(t).provoke().before(shortWaits + seesNonsense)
			var asked atomic.Int32
			refuse := func(path string) {
				asked.Store(0)
				g.intercept(func(w http.ResponseWriter, r *http.Request) bool {
					if !strings.HasPrefix(r.URL.Path, path) {
						return false
					}
					asked.Add(1)
					w.Header().Set("Retry-After", "1")
					problem(w, row.status, row.code)
					return true
				})
			}
			givenUp := func() {
				t.Helper()
				for lang, sentence := range map[string]string{"zh-CN": row.zh, "en": row.en} {
					desktop.until(`find(".primary") && state() === ` + quoted(row.state))
					eval[bool](desktop, `(document.querySelector("qr-login").lang = `+quoted(lang)+`, true)`)
					desktop.until(`part(".message").textContent === ` + quoted(sentence) + ` && part(".live").textContent === ` + quoted(sentence))
				}
				if nonsense := eval[[]string](desktop, `nonsense`); len(nonsense) > 0 {
					t.Errorf("the page said %q", nonsense)
				}
			}
			refuse("/v1/tickets")
			desktop.open(s.url + "/")
			desktop.mark()
			givenUp()
			desktop.until(`part(":focus") === part(".primary")`)
			eventually(t, patience, "the page asks eleven times", func() bool { return asked.Load() == 11 })
			g.pass()
			desktop.click(".primary")
			desktop.until(`state() === "pending" && find("img") && !find(".primary")`)
			eventually(t, patience, "the page watches", func() bool { return s.sockets(t, "ws") == 1 })
			g.cut() // and while it watches
			refuse("/v1/tickets/")
			givenUp()
			g.pass()
			desktop.click(".primary")
			desktop.until(`state() === "pending" && find("img") && !find(".primary")`)
			desktop.notReloaded()
		})
	}
}

// shortWaits makes the waits between two tries short: they alone are no whole number.
const shortWaits = `{ const later = setTimeout; window.setTimeout = (f, ms, ...a) => later(f, ms % 1 ? 20 : ms, ...a); }`

// seesNonsense keeps what the component says that is no sentence for people.
const seesNonsense = `window.nonsense = []; {
	const attach = Element.prototype.attachShadow;
	Element.prototype.attachShadow = function (options) {
		const root = attach.call(this, options);
		new MutationObserver(() => {
			for (const { textContent } of root.querySelectorAll("h2, p, button")) {
				if (/NaN|undefined|null|Infinity|%s/.test(textContent)) nonsense.push(textContent);
			}
		}).observe(root, { subtree: true, childList: true, characterData: true });
		return root;
	};
}`
