package web

import (
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"scanlogin/auth"
	"scanlogin/auth/outbound"
	"scanlogin/auth/wechat"
	"scanlogin/auth/wechat/wechattest"
)

const miniApp, siteApp, inAppApp = "wxmini", "wxsite", "wxinapp"

// weChats is a WeChat of the test's. It listens on a real port, so it has to be begun
// outside of a bubble: there, nothing that waits for the network lets time pass.
type weChats struct {
	*wechattest.Server
	url string
}

func newWeChat(t *testing.T) *weChats {
	there := wechattest.New(map[string]string{miniApp: "mini-secret", siteApp: "site-secret", inAppApp: "in-app-secret"})
	server := httptest.NewServer(there)
	t.Cleanup(server.Close)
	return &weChats{there, server.URL}
}

// addWeChat has the site's people sign in by a WeChat of the test's.
func (s *site) addWeChat(there *weChats, store wechat.Store, providers map[string]auth.Provider, log *slog.Logger) {
	config := wechat.Config{
		Mini: wechat.App{ID: miniApp, Secret: "mini-secret"}, Site: wechat.App{ID: siteApp, Secret: "site-secret"},
		InApp: wechat.App{ID: inAppApp, Secret: "in-app-secret"}, Callback: s.public + "/v1/signin/wechat/callback",
		API: there.url, Open: there.url, Store: store, Logger: log,
		Client: outbound.New(outbound.Config{Hosts: []string{strings.TrimPrefix(there.url, "http://")}, Logger: log}),
	}
	providers["wechat-mini"], providers["wechat"] = wechat.NewMini(config), wechat.NewWeb(config)
}

var zhang = wechattest.User{Account: "zhang", UnionID: "union-zhang", Name: "Zhang Wei", Picture: "https://thirdwx.qlogo.cn/z"}

// leave presses the page's button and gives WeChat's page that it leads to.
func (v *person) leave(page answer) (address string) {
	v.s.t.Helper()
	_, rest, _ := strings.Cut(page.raw, `href="`+signinPath)
	href, _, ok := strings.Cut(rest, `"`)
	if !ok {
		v.s.t.Fatalf("no way to a provider on: %.2000s", page.raw)
	}
	a := v.open(signinPath + strings.ReplaceAll(href, "&amp;", "&"))
	if a.status != 303 {
		v.s.t.Fatalf("%d %.300s", a.status, a.raw)
	}
	return a.header.Get("Location")
}

// visit opens WeChat's page and gives where that sends the browser back to.
func (v *person) visit(address string) string {
	v.s.t.Helper()
	r, err := http.NewRequest("GET", address, nil)
	if err != nil {
		v.s.t.Fatal(err)
	}
	a, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		v.s.t.Fatal(err)
	}
	a.Body.Close()
	return a.Header.Get("Location")
}

const asBrowser = "text/html,application/xhtml+xml,*/*;q=0.8"

// back opens an address as a browser does.
func (v *person) back(address string) answer {
	v.s.t.Helper()
	return v.s.sendWith(v.http, v.s.request("GET", v.path(address), nil, "Accept", asBrowser, "User-Agent", safariOnIPhone))
}

// follow is back for an answer that leads on to a page.
func (v *person) follow(address string) answer {
	v.s.t.Helper()
	a := v.back(address)
	if a.status != 303 {
		v.s.t.Fatalf("%d %.500s", a.status, a.raw)
	}
	return v.open(a.header.Get("Location"))
}

func TestSignInByRedirectLeadsBackToTheLogin(t *testing.T) {
	there := newWeChat(t)
	s := newSite(t, setup{wechat: there, noUsers: true})
	there.Visitor(&zhang)
	l := s.create(nil)
	v := newPerson(s)
	open := v.follow(v.visit(v.leave(v.open(l.qr))))
	pageIs(t, open, 200, "A login is waiting")
	if !strings.Contains(open.raw, "as Zhang Wei") {
		t.Error("the page does not say who is signed in")
	}
	pageIs(t, v.submit(v.submit(open, "/s/scan"), "/s/decide", "decision", "approve"), 200, "Approved")
	tokens := s.want(200, "", "POST", "/oauth/token", redemption(l))
	who := s.want(200, "", "GET", "/oauth/userinfo", nil, bearerOf(tokens.text("access_token"))...)
	if who.text("sub") != "wechat:union-zhang" || who.text("name") != zhang.Name || who.text("picture") != zhang.Picture {
		t.Errorf("%v", who.body)
	}
	devices := v.open(devicesPath)
	if !strings.Contains(devices.raw, "with WeChat") {
		t.Error("the device list does not say how the phone signed in")
	}
	// The same account from a mini-program: no second one.
	mini := s.want(200, "", "POST", "/v1/signin/wechat-mini", map[string]string{"credential": there.Code(miniApp, zhang)})
	who = s.want(200, "", "GET", "/oauth/userinfo", nil, bearerOf(mini.text("access_token"))...)
	if who.text("sub") != "wechat:union-zhang" {
		t.Errorf("by mini-program it is %q", who.text("sub"))
	}
}

// T42: a callback counts once, in the browser that was sent away, and in no other
// case is WeChat asked. F24: loading it again is one of them.
func TestCallbackThatIsNotThisBrowsersIsRefused(t *testing.T) {
	there := newWeChat(t)
	s := newSite(t, setup{wechat: there})
	there.Visitor(&zhang)
	alice, mallory, fresh := newPerson(s), newPerson(s), newPerson(s)
	page := alice.open("/s")
	older := alice.visit(alice.leave(page))
	hers := alice.visit(alice.leave(page))
	theirs := mallory.visit(mallory.leave(mallory.open("/s")))
	at := func(state, code string) string {
		return "/v1/signin/wechat/callback?" + url.Values{"state": {state}, "code": {code}}.Encode()
	}
	parsed, err := url.Parse(hers)
	if err != nil {
		t.Fatal(err)
	}
	state, code := parsed.Query().Get("state"), parsed.Query().Get("code")
	refused := func(what string, v *person, address string) {
		t.Helper()
		a := v.back(address)
		if a.status != 400 || heading(a) != "This sign-in cannot be finished" || strings.Contains(a.raw, state) || strings.Contains(a.raw, code) {
			t.Errorf("%s: %d %q", what, a.status, heading(a))
		}
		json := s.sendWith(v.http, s.request("GET", v.path(address), nil))
		if json.status != 400 || json.code() != "invalid_state" {
			t.Errorf("%s: %d %s", what, json.status, json.code())
		}
	}
	refused("another browser's", alice, theirs)
	refused("the attacker's, in a browser that never left", fresh, theirs)
	refused("an older one", alice, older)
	refused("no state", alice, "/v1/signin/wechat/callback?code="+code)
	refused("empty state", alice, at("", code))
	refused("made-up state", alice, at(strings.Repeat("a", len(state)), code))
	refused("shortened state", alice, at(state[:len(state)-2], code))
	if n := there.Calls(wechattest.AccessToken); n != 0 {
		t.Fatalf("WeChat was asked %d times", n)
	}
	// The fault of all these was the state: as it should be, it works.
	pageIs(t, alice.follow(hers), 200, "Type the code shown on the other device")
	refused("loaded again", alice, hers)
	refused("in the same browser, signed out", fresh, hers)
	if n := there.Calls(wechattest.AccessToken); n != 1 {
		t.Errorf("WeChat was asked %d times", n)
	}
	for _, path := range []string{"/v1/signin/demo", "/v1/signin/wechat-mini", "/v1/signin/nobody", "/v1/signin/demo/callback", "/v1/signin/wechat-mini/callback?state=" + state} {
		s.want(404, "not_found", "GET", path, nil)
	}
	s.want(404, "not_found", "POST", "/v1/signin/wechat", map[string]string{"credential": siteApp + ":" + there.Code(siteApp, zhang)})
	log := s.log.String()
	for _, secret := range append(there.Secrets(), state) {
		if strings.Contains(log, secret) {
			t.Errorf("%q is in the log", secret)
		}
	}
}

// A cookie that came along from before its state was spent is no second try.
func TestSpentStateStaysSpentWithAnOldCookie(t *testing.T) {
	there := newWeChat(t)
	s := newSite(t, setup{wechat: there})
	there.Visitor(&zhang)
	v := newPerson(s)
	address := v.visit(v.leave(v.open("/s")))
	old, site := newPerson(s), cookieOf(t, v)
	pageIs(t, v.follow(address), 200, "Type the code shown on the other device")
	at, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	jar, _ := cookiejar.New(nil) // never fails
	jar.SetCookies(at, []*http.Cookie{site})
	old.http.Jar = jar
	if a := old.back(address); a.status != 400 || there.Calls(wechattest.AccessToken) != 1 {
		t.Errorf("%d, WeChat was asked %d times", a.status, there.Calls(wechattest.AccessToken))
	}
}

// T43: people come back to a page of ours that people sign in for, or not at all.
func TestOpenRedirectAfterASignIn(t *testing.T) {
	there := newWeChat(t)
	s := newSite(t, setup{wechat: there})
	there.Visitor(&zhang)
	for _, to := range []string{
		"//evil.test", "/\\evil.test", "\\\\evil.test", "https:evil.test", "https://evil.test", "https://evil.test/s", "%2f%2fevil.test", "/%2f%2fevil.test",
		"//evil.test/s", "/s//evil.test", "/s/..//evil.test", "/s/../../evil", "/s/x/../../y", "/s/result/x", "/", "", "s", "/s/", "/s/x?proof=", "/s/x?proof=a&b=c", "/s/x#y",
		"/s?x=1", "/account", "/s/devices?x=1", "/s/devices/", "/S", "/s\t", "/s\n", "/s/x y", "javascript:alert(1)", s.public + "/s", "/s/\u2028", "/s/x\x00", "/s/" + strings.Repeat("a", 600),
	} {
		a := s.send("GET", "/v1/signin/wechat?"+url.Values{"return_to": {to}}.Encode(), nil)
		if a.status != 400 || a.code() != "invalid_return_to" || a.header.Get("Location") != "" {
			t.Errorf("%q: %d %s %s", to, a.status, a.code(), a.header.Get("Location"))
		}
	}
	s.want(400, "invalid_return_to", "GET", "/v1/signin/wechat?return_to=%2Fs&return_to=%2Fs", nil)
	for _, to := range []string{"/s", devicesPath, "/s/" + b64id, "/s/x?proof=y-_"} {
		v := newPerson(s)
		a := v.open("/v1/signin/wechat?" + url.Values{"return_to": {to}}.Encode())
		back := v.back(v.visit(a.header.Get("Location")))
		want, _, _ := strings.Cut(to, "?") // a proof that is none is dropped
		if back.status != 303 || back.header.Get("Location") != want {
			t.Errorf("%q leads back to %d %q", to, back.status, back.header.Get("Location"))
		}
	}
}

// B43: who says no at WeChat is back where they were, and told so.
func TestRefusalAtTheProviderLeadsBack(t *testing.T) {
	there := newWeChat(t) // without a visitor it refuses
	s := newSite(t, setup{wechat: there})
	l := s.create(nil)
	for _, link := range []string{l.qr, "/s", devicesPath} {
		v := newPerson(s)
		page := v.open(link)
		a := v.follow(v.visit(v.leave(page)))
		pageIs(t, a, 200, "Sign in")
		if !strings.Contains(a.raw, "You did not sign in there") || strings.Contains(page.raw, "You did not sign in there") {
			t.Errorf("%s: the page does not say what happened: %s", link, a.raw)
		}
		there.Visitor(&zhang) // and there is another way, or another try
		if again := v.follow(v.visit(v.leave(a))); again.status != 200 || heading(again) == "Sign in" {
			t.Errorf("%s: trying again: %d %q", link, again.status, heading(again))
		}
		there.Visitor(nil)
	}
	if n := there.Calls(wechattest.AccessToken); n != 3 {
		t.Errorf("WeChat was asked %d times", n)
	}
}

// B44, B45 and the table of errors: what WeChat or somebody in its place makes of
// a callback is a page in plain words, or a problem, each in one status.
func TestWhatProvidersAnswerIsSaidInWords(t *testing.T) {
	there := newWeChat(t)
	s := newSite(t, setup{wechat: there})
	there.Visitor(&zhang)
	for name, row := range map[string]struct {
		fault  http.HandlerFunc
		status int
		code   string
		said   string
	}{
		"code used":  {wechattest.Errcode(40163), 401, "invalid_credential", "That sign-in did not work"},
		"code wrong": {wechattest.ErrcodeText(40029), 401, "invalid_credential", "That sign-in did not work"},
		"blocked":    {wechattest.Errcode(40226), 403, "user_banned", "This account is on hold"},
		"quota":      {wechattest.Errcode(45011), 429, "rate_limited", "A short break"},
		"our secret": {wechattest.Errcode(40125), 500, "internal", "This did not work"},
		"HTML":       {wechattest.Page(200), 503, "provider_unavailable", "Signing in has to wait"},
		"HTML, 502":  {wechattest.Page(502), 503, "provider_unavailable", "Signing in has to wait"},
		"a reset":    {wechattest.Reset, 503, "provider_unavailable", "Signing in has to wait"},
	} {
		v := newPerson(s)
		there.Script(wechattest.AccessToken, row.fault)
		address := v.visit(v.leave(v.open("/s")))
		a := v.back(address)
		pageIs(t, a, row.status, row.said)
		if strings.Contains(a.raw, "code=") || strings.Contains(a.raw, "state=") {
			t.Errorf("%s: the page shows the address: %s", name, a.raw)
		}
		there.Script(wechattest.Code2Session, row.fault)
		mini := s.want(row.status, row.code, "POST", "/v1/signin/wechat-mini", map[string]string{"credential": there.Code(miniApp, zhang)})
		if after := mini.header.Get("Retry-After"); row.code == "rate_limited" && after != "60" {
			t.Errorf("%s: Retry-After %s", name, after)
		}
	}
	// B44: malformed ones ask nobody.
	v := newPerson(s)
	address := v.visit(v.leave(v.open("/s")))
	calls := there.Calls(wechattest.AccessToken)
	state := address[strings.Index(address, "state="):]
	for _, query := range []string{state + "&code=" + strings.Repeat("x", 513), state + "&code=a&code=b", state + "&" + state + "&code=a"} {
		a := s.sendWith(v.http, s.request("GET", "/v1/signin/wechat/callback?"+query, nil))
		if a.status != 400 || a.code() != "invalid_request" {
			t.Errorf("%.80s: %d %s", query, a.status, a.code())
		}
	}
	if there.Calls(wechattest.AccessToken) != calls {
		t.Error("WeChat was asked")
	}
	pageIs(t, v.follow(address), 200, "Type the code shown on the other device") // nothing was spent
}

// T45: what a client says of itself is not read, and WeChat's session_key is told
// to nobody.
func TestWeChatIdentityFromTheClientIsRefused(t *testing.T) {
	there := newWeChat(t)
	s := newSite(t, setup{wechat: there})
	for _, more := range []string{"openid", "unionid", "session_key", "sub"} {
		body := map[string]string{"credential": there.Code(miniApp, zhang), more: "o-victim"}
		s.want(400, "unknown_member", "POST", "/v1/signin/wechat-mini", body)
	}
	if n := there.Calls(wechattest.Code2Session); n != 0 {
		t.Errorf("WeChat was asked %d times", n)
	}
	a := s.want(200, "", "POST", "/v1/signin/wechat-mini", map[string]string{"credential": there.Code(miniApp, zhang)})
	for _, secret := range there.Secrets() {
		if strings.Contains(a.raw, secret) {
			t.Errorf("the answer holds %q: %s", secret, a.raw)
		}
	}
}

// The form of the demo takes the demo's credentials only, whatever it names.
func TestFormSignsInByItsOwnProviderOnly(t *testing.T) {
	there := newWeChat(t)
	s := newSite(t, setup{wechat: there})
	v := newPerson(s)
	a := v.submit(v.open("/s"), "/s/signin", "provider", "wechat-mini", "credential", there.Code(miniApp, zhang))
	if a.status != 401 || there.Calls(wechattest.Code2Session) != 0 {
		t.Errorf("%d, WeChat was asked %d times", a.status, there.Calls(wechattest.Code2Session))
	}
}

// The page offers what is configured, in both languages, and is as before without.
func TestSignInPageOffersProviders(t *testing.T) {
	for name, c := range map[string]setup{"both": {wechat: newWeChat(t)}, "WeChat": {wechat: newWeChat(t), noUsers: true}, "demo": {}} {
		s := newSite(t, c)
		for lang, words := range map[string]string{"en": "Continue with WeChat", "zh-CN": "使用微信继续"} {
			v := newPerson(s)
			v.lang = lang
			page := v.open("/s")
			if strings.Contains(page.raw, words) != (c.wechat != nil) || (form(page, "/s/signin") == nil) != c.noUsers {
				t.Errorf("%s, %s: %s", name, lang, page.raw)
			}
		}
	}
}

// Signing in elsewhere may take longer than the code on the screen lives, and no
// longer than five minutes (T42).
func TestSignInByRedirectTakesItsTime(t *testing.T) {
	there := newWeChat(t)
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, setup{wechat: there, direct: true})
		there.Visitor(&zhang)
		l := s.create(nil)
		v, late := newPerson(s), newPerson(s)
		address := v.visit(v.leave(v.open(l.qr)))
		expired := late.visit(late.leave(late.open("/s")))
		time.Sleep(100 * time.Second) // the QR text is long dead
		pageIs(t, newPerson(s).open(l.qr), 410, "This code has expired")
		pageIs(t, v.submit(v.follow(address), "/s/scan"), 200, "Sign in another device?")
		time.Sleep(200 * time.Second)
		if a := late.back(expired); a.status != 400 || heading(a) != "This sign-in cannot be finished" || there.Calls(wechattest.AccessToken) != 1 {
			t.Errorf("%d %q, WeChat was asked %d times", a.status, heading(a), there.Calls(wechattest.AccessToken))
		}
	})
}
