package main

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
)

// Every page in every state, in both languages, at each width, light and
// dark: looked over by the test, and kept as pictures for people.

var pageLanguages = []string{"en", "zh-CN"}

func TestScreensOfTheLogin(t *testing.T) {
	for _, lang := range pageLanguages {
		t.Run(lang, func(t *testing.T) {
			t.Parallel()
			var s site
			g := startGate(t, func() string { return s.instances[0].url })
			s = startDemo(t, "127.0.0.1", "SCANLOGIN_PUBLIC_URL="+g.url)
			s.url = g.url
			w := &loginWalk{t: t, album: openAlbum(t, 1280, 390), gate: g, api: newCaller(t, s.instances[0].url)}
			w.phone = w.api.signIn("alice")
			w.desktop = newTab(t, desktopDevice, lang).provoke()
			w.desktop.canSkipTime()
			w.ways()
			w.endings()
			w.troubles()
			w.checkCode(s)
			w.withoutScripts(lang)
		})
	}
}

// canSkipTime gives a page a clock that skipTime sets forward.
func (b *tab) canSkipTime() {
	b.t.Helper()
	call(b, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: `{
		const now = performance.now.bind(performance);
		let ahead = 0;
		performance.now = () => now() + ahead;
		window.skipTime = (ms) => { ahead += ms; };
	}`})
}

// loginWalk leads the desktop page through its states.
type loginWalk struct {
	t       *testing.T
	album   album
	gate    *gate
	api     *caller
	phone   string // a phone token
	desktop *tab
}

func (w *loginWalk) shoot(state, en, zh string) {
	w.t.Helper()
	w.album.shoot(w.desktop, "login", state, say(en, zh))
}

// scan is what the phone does with the code that is shown.
func (w *loginWalk) scan() login {
	w.t.Helper()
	l := login{qr: w.desktop.readQR()}
	a := w.api.do(200, "POST", "/v1/scan", w.phone, map[string]string{"qr": l.qr})
	l.id, l.confirmToken = a.text("ticket_id"), a.text("confirm_token")
	return l
}

// end ends the ticket that is shown, as another tab of the browser could.
func (w *loginWalk) end() {
	w.t.Helper()
	stored := eval[string](w.desktop, `Object.values(sessionStorage)[0]`)
	var kept struct {
		DeviceCode string `json:"device_code"`
	}
	if err := json.Unmarshal([]byte(stored), &kept); err != nil {
		w.t.Fatal(err)
	}
	id, _, _ := strings.Cut(kept.DeviceCode, ".")
	w.api.do(204, "DELETE", "/v1/tickets/"+id, kept.DeviceCode, nil)
}

func (w *loginWalk) restart() {
	w.t.Helper()
	eval[bool](w.desktop, `(document.querySelector("qr-login").restart(), true)`)
}

// ways are the states on the way to the end.
func (w *loginWalk) ways() {
	w.t.Helper()
	release := w.gate.hold("/v1/tickets")
	w.desktop.open(w.gate.url + "/")
	w.shoot("loading", "Getting a code…", "正在获取二维码…")
	release()
	w.shoot("pending", "Scan with your phone to sign in", "用手机扫码登录")
	if !slices.ContainsFunc(w.desktop.controls(), func(c control) bool { return c.role == "image" && c.name != "" }) {
		w.t.Errorf("the QR has no name: %v", w.desktop.controls())
	}
	w.desktop.click(".quiet")
	w.shoot("typed", "Type this code on your phone", "在手机上输入此代码")
	w.desktop.click(".quiet")
	w.scan()
	w.shoot("scanned", "Scanned by A***e. Confirm on your phone", "A***e 已扫码，请在手机上确认")
	w.desktop.click(".quiet")
	w.desktop.until(`state() === "pending"`)
	eval[bool](w.desktop, `document.querySelector("qr-login").toggleAttribute("confirm-user", true)`)
	w.api.confirm(w.scan(), w.phone)
	w.shoot("question", "Continue as A***e?", "以 A***e 的身份继续？")
	release = w.gate.hold("/oauth/token")
	w.desktop.click(".primary")
	w.shoot("confirmed", "Signing you in…", "正在登录…")
	release()
	w.desktop.signedIn("Alice")
	w.shoot("signed-in", "Signed in as Alice", "已登录")
	w.desktop.click("#signout button")
	w.desktop.until(`state() === "pending"`)
	eval[bool](w.desktop, `!document.querySelector("qr-login").toggleAttribute("confirm-user", false)`)
}

// endings are the ends that are not a sign-in.
func (w *loginWalk) endings() {
	w.t.Helper()
	l := w.scan()
	w.api.do(200, "POST", "/v1/tickets/"+l.id+"/deny", w.phone, map[string]string{"confirm_token": l.confirmToken})
	w.shoot("denied", "Declined on the phone", "已在手机上拒绝")
	w.desktop.click(".primary")
	w.desktop.until(`state() === "pending"`)
	w.end()
	w.shoot("renewed", "New code", "已更新二维码")
	eval[bool](w.desktop, `(skipTime(5 * 60 * 1000), true)`)
	w.end()
	w.shoot("paused", "This code is asleep", "二维码已休眠")
	w.desktop.click(".primary")
	w.desktop.until(`state() === "pending"`)
}

// troubles are the network's and the server's.
func (w *loginWalk) troubles() {
	w.t.Helper()
	w.gate.cut()
	w.shoot("offline", "No connection", "网络已断开")
	w.gate.pass()
	w.desktop.click(".primary")
	w.desktop.until(`state() === "pending"`)
	for _, trouble := range []struct {
		status        int
		state, en, zh string
	}{
		{http.StatusServiceUnavailable, "busy", "The service is busy", "服务繁忙"},
		{http.StatusTooManyRequests, "limited", "Too many tries from this network", "当前网络请求过多"},
		{http.StatusBadRequest, "failed", "The login could not be finished", "未能完成登录"},
	} {
		w.gate.answer(trouble.status, "/v1/tickets")
		w.restart()
		w.shoot(trouble.state, trouble.en, trouble.zh)
	}
	w.gate.pass()
}

// checkCode is what a phone in another network leads to.
func (w *loginWalk) checkCode(site site) {
	w.t.Helper()
	w.restart()
	wrong := notThe(approveWithCheck(w.t, site, w.desktop, "bob"))
	w.shoot("check", "Type the two digits your phone shows", "输入手机上显示的两位数字")
	w.desktop.typeText(wrong)
	w.shoot("check-again", "Those digits did not match. Tries left: 2", "数字不一致，剩余次数：2")
	w.desktop.typeText(wrong)
	w.desktop.until(`part(".live").textContent.endsWith("1")`)
	w.desktop.typeText(wrong)
	w.shoot("check-failed", "The digits did not match", "数字不一致")
	w.desktop.click(".primary")
	w.desktop.until(`state() === "pending"`)
}

func (w *loginWalk) withoutScripts(lang string) {
	w.t.Helper()
	w.desktop = newTab(w.t, desktopDevice, lang).withoutScripts()
	w.desktop.open(w.gate.url + "/")
	w.shoot("noscript", "Showing a QR code needs JavaScript", "显示二维码需要 JavaScript")
}

func TestScreensOfThePhone(t *testing.T) {
	for _, lang := range pageLanguages {
		t.Run(lang, func(t *testing.T) {
			t.Parallel()
			s := startDemo(t, "127.0.0.1", "SCANLOGIN_QR_ROTATE=1s", "SCANLOGIN_REDEEM_TTL=15s")
			w := &phoneWalk{t: t, album: openAlbum(t, 390, 320, 1280), api: newCaller(t, s.url)}
			w.api.http.Transport = asDesktop{w.api.http.Transport}
			w.token = w.api.signIn("alice")
			stale, unredeemed := w.api.create(), w.api.create()
			w.api.scan(&unredeemed, w.token)
			w.api.confirm(unredeemed, w.token)
			w.phone = newTab(t, phoneDevice, lang).provoke()
			w.approves()
			w.declines()
			w.comesTooLate()
			w.types()

			eventually(t, patience, "the code on a photograph is too old", func() bool { return status(stale.qr) == 410 })
			w.phone.open(stale.qr)
			w.shoot("message", "code-expired", "Scan the new code on the other device", "请扫描新的二维码")
			w.phone.open(s.url + "/s/result/" + unredeemed.id)
			w.phone.within(2*patience, `document.querySelector("main").dataset.status === "expired"`)
			w.shoot("result", "expired", "This login timed out", "此次登录已超时")
		})
	}
}

// asDesktop lets API requests come from the desktop's browser, whose name the
// phone is shown.
type asDesktop struct{ http.RoundTripper }

func (d asDesktop) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Header.Set("User-Agent", desktopDevice.userAgent)
	return d.RoundTripper.RoundTrip(r)
}

// phoneWalk leads the phone through its pages.
type phoneWalk struct {
	t     *testing.T
	album album
	api   *caller
	token string // alice's, of the API
	phone *tab
}

func (w *phoneWalk) shoot(page, state, en, zh string) {
	w.t.Helper()
	w.album.shoot(w.phone, page, state, say(en, zh))
}

// ask opens a new ticket's QR text and goes as far as the question.
func (w *phoneWalk) ask() login {
	w.t.Helper()
	l := w.api.create()
	w.phone.open(l.qr)
	w.phone.reachQuestion()
	return l
}

func (w *phoneWalk) approves() {
	w.t.Helper()
	l := w.api.create()
	w.phone.open(l.qr)
	w.shoot("signin", "demo", "Sign in to confirm a login on another device", "登录后即可确认另一台设备的登录")
	eval[string](w.phone, `(find("button[value=alice]").value = "nobody")`)
	w.phone.click("button[value=nobody]")
	w.shoot("signin", "wrong", "That sign-in did not work", "未能登录")
	// With scripts this page only passes by.
	w.phone.withoutScripts()
	w.phone.click("button[value=alice]")
	w.shoot("open", "waiting", "A login is waiting", "有一个登录请求")
	w.phone.reachQuestion()
	call(w.phone, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{})
	w.phone.stepwise = false
	w.decides()
	w.phone.click("button[value=approve]")
	w.shoot("result", "approved", "Approved", "已批准")
	w.api.do(200, "POST", "/oauth/token", "", redeemForm(l))
	w.shoot("result", "signed-in", "Signed in on Chrome, Windows", "已在 Chrome（Windows）登录")
}

// decides looks at the question: the safe answer has the focus, and no answer
// is made bigger than the other.
func (w *phoneWalk) decides() {
	w.t.Helper()
	w.phone.until(`document.activeElement?.value === "deny"`)
	sizes := eval[[]float64](w.phone, `["deny", "approve"].flatMap((value) => {
		const { width, height } = find("button[value=" + value + "]").getBoundingClientRect();
		return [width, height];
	})`)
	if sizes[0] != sizes[2] || sizes[1] != sizes[3] {
		w.t.Errorf("Decline and Approve differ in size: %v", sizes)
	}
	if !slices.ContainsFunc(w.phone.controls(), func(c control) bool { return c.role == "button" && c.focused && c.name != "" }) {
		w.t.Errorf("no button has the focus: %v", w.phone.controls())
	}
	w.shoot("decide", "question", "Only approve if you opened this page yourself. We never send QR codes.", "仅当二维码是您自己打开的才批准。我们从不发送二维码。")
}

func (w *phoneWalk) declines() {
	w.t.Helper()
	w.ask()
	w.phone.click("button[value=deny]")
	w.shoot("result", "declined", "Login declined", "已拒绝登录")
}

// comesTooLate meets logins that are over or somebody else's.
func (w *phoneWalk) comesTooLate() {
	w.t.Helper()
	l := w.ask()
	w.phone.click("button[value=approve]")
	w.phone.until(`document.querySelector("main").dataset.status === "confirmed"`)
	w.api.do(204, "DELETE", "/v1/tickets/"+l.id, l.deviceCode, nil)
	w.shoot("result", "canceled", "Canceled on the other device", "已在另一台设备上取消")

	l = w.ask()
	w.api.do(204, "DELETE", "/v1/tickets/"+l.id, l.deviceCode, nil)
	w.phone.click("button[value=approve]")
	w.shoot("message", "ended", "This login has ended", "此次登录已结束")

	l = w.api.create()
	w.api.scan(&l, w.api.signIn("bob"))
	w.phone.open(l.qr)
	w.shoot("message", "taken", "Somebody else scanned it first", "已被他人扫描")

	w.phone.open(w.api.base + "/s/" + strings.Repeat("A", 43))
	w.shoot("message", "unknown", "No login is waiting here", "这里没有等待中的登录")
}

func (w *phoneWalk) types() {
	w.t.Helper()
	w.phone.open(w.api.base + "/")
	w.shoot("login", "phone", "You are on the phone already", "您正在使用手机")
	w.phone.click(".quiet")
	w.shoot("login", "phone-qr", "Scan with your phone to sign in", "用手机扫码登录")
	w.phone.open(w.api.base + "/s")
	w.shoot("code", "empty", "Type the code shown on the other device", "输入另一台设备上显示的代码")
	w.phone.click("#user_code")
	w.phone.typeText("BBBBBBBB\r")
	w.shoot("code", "unknown", "No login is waiting under this code", "没有与此代码对应的登录请求")
}

// A phone that is signed in meets a server whose store is gone.
func TestScreensWithoutTheStore(t *testing.T) {
	redis := startRedis(t)
	port := freePort(t)
	url := "http://127.0.0.1:" + port
	startServer(t, serveEnv(url, "SCANLOGIN_LISTEN=127.0.0.1:"+port, "SCANLOGIN_REDIS_URL="+redis.url())).ready(t)
	var phones []*tab
	for _, lang := range pageLanguages {
		phone := newTab(t, phoneDevice, lang).provoke()
		phone.open(url + "/s")
		phone.click("button[value=alice]")
		phone.until(`find("#user_code")`)
		phones = append(phones, phone)
	}
	redis.kill()
	for _, phone := range phones {
		phone.open(url + "/s")
		openAlbum(t, 390, 320, 1280).shoot(phone, "message", "busy", say("The service is busy", "服务繁忙"))
	}
}
