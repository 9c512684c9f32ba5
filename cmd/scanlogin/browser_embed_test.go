package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
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
