package main

import (
	"net/url"
	"os"
	"strings"
	"testing"

	"scanlogin/auth/wechat/wechattest"
)

// A phone in a real browser goes to WeChat and comes back to its login; on the way are
// all states of the page that offers it.
func TestBrowserSignsInWithWeChat(t *testing.T) {
	there := startWeChat(t)
	c := startCluster(t, 2, "SCANLOGIN_DEMO_USERS=", there.env(t))
	pictures := openAlbum(t, 390, 320, 1280)
	for _, lang := range pageLanguages {
		there.Visitor(nil)
		phone := newTab(t, phoneDevice, lang).provoke()
		phone.open(newCaller(t, c.url).create().qr)
		pictures.shoot(phone, "signin", "wechat", say("Continue with WeChat", "使用微信继续"))
		phone.click("a.button")
		pictures.shoot(phone, "signin", "wechat-canceled", say("You did not sign in there", "您没有在那里登录"))
		there.Visitor(&zhang)
		there.Script(wechattest.AccessToken, wechattest.Errcode(40163), wechattest.Reset)
		phone.click("a.button")
		pictures.shoot(phone, "message", "signin-wrong", say("That sign-in did not work", "未能登录"))
		phone.click("a.button") // back to the login's page
		phone.click("a.button")
		pictures.shoot(phone, "message", "signin-busy", say("Signing in has to wait", "登录需要稍候"))
		phone.click("a.button")
		phone.click("a.button")
		phone.untilSaid("main", say("A login is waiting", "有一个登录请求")[lang])
		phone.click("form[action='/s/scan'] button") // who comes from elsewhere is not led on by a script
		phone.reachQuestion()
		phone.open(c.url + "/v1/signin/wechat/callback?state=x&code=y")
		pictures.shoot(phone, "message", "signin-again", say("This sign-in cannot be finished", "无法完成此次登录"))
	}
}

func TestSignInPageOffersTheDemoBesides(t *testing.T) {
	there := startWeChat(t)
	c := startCluster(t, 1, "SCANLOGIN_DEMO_USERS=alice,bob", there.env(t))
	for _, lang := range pageLanguages {
		phone := newTab(t, phoneDevice, lang)
		phone.open(c.url + "/s")
		openAlbum(t, 390, 320).shoot(phone, "signin", "wechat-and-demo", say("Continue with WeChat", "使用微信继续"))
	}
}

// The mini-program of the README runs, in a browser that has what WeChat's has.
func TestMiniProgramOfTheReadme(t *testing.T) {
	there := startWeChat(t)
	c := startCluster(t, 2, there.env(t))
	api := newCaller(t, c.url)
	source, err := os.ReadFile("testdata/mini-program.js")
	if err != nil {
		t.Fatal(err)
	}
	program := strings.ReplaceAll(string(source), "https://login.example.com", c.url)
	phone := openPhone(t).provoke() // it is refused twice before it renews
	phone.open(c.url + "/s")
	readme, err := os.ReadFile("../../README.md")
	if _, shown, _ := strings.Cut(string(source), "\n\n"); err != nil || !strings.Contains(string(readme), shown) {
		t.Errorf("the README does not show it as it is: %v", err)
	}
	for round, answer := range []bool{true, false, true, false} {
		end := map[bool]string{true: "confirmed", false: "denied"}[answer]
		switch round {
		case 2: // the access token is over
			eval[bool](phone, `(window.kept.tokens.access_token = "x", true)`)
		case 3: // and the session too
			eval[bool](phone, `(window.kept.tokens = { access_token: "x", refresh_token: "x" }, true)`)
		}
		signIns := there.Calls(wechattest.Code2Session)
		l := api.create()
		eval[bool](phone, `((async () => {
			const said = [], kept = window.kept ??= {};
			const wx = {
				login: async () => ({ code: `+asJSON(t, there.Code(miniApp, zhang))+` }),
				scanCode: async () => ({ result: `+asJSON(t, l.qr)+` }),
				showModal: async ({ title, content }) => { said.push(title + "|" + content); return { confirm: `+asJSON(t, answer)+` }; },
				getStorageSync: (key) => kept[key] ?? "",
				setStorageSync: (key, value) => { kept[key] = value; },
				request: ({ url, method, data, header, success, fail }) => fetch(url, {
					method, body: header?.["Content-Type"] ? new URLSearchParams(data) : JSON.stringify(data), headers: { "Content-Type": "application/json", ...header },
				}).then(async (r) => success({ statusCode: r.status, data: await r.json() })).catch(fail),
			};
			`+program+`
			return JSON.stringify([await approveLogin(), ...said]);
		})().then((told) => { window.told = told; }, (problem) => { window.told = "failed: " + JSON.stringify(problem); }), window.told = "", true)`)
		phone.until("window.told")
		told := eval[string](phone, "window.told")
		if n := there.Calls(wechattest.Code2Session) - signIns; (n == 1) != (round == 0 || round == 3) {
			t.Errorf("round %d: %d sign-ins", round, n)
		}
		if status := api.do(200, "GET", "/v1/tickets/"+l.id, l.deviceCode, nil).text("status"); !strings.Contains(told, "Sign in to ") || (status != end && status != "scanned") || status == "scanned" && !answer {
			t.Errorf("%s: the ticket is %s", told, status)
		}
		if answer && strings.Count(told, "|") == 2 == strings.Contains(told, `["confirmed"`) {
			t.Errorf("the check code is not shown: %s", told)
		}
	}
}

// T43: a browser would read a dot segment as another page.
func TestDotSegmentIsNoPageToComeBackTo(t *testing.T) {
	p, _ := startWeChatPair(t)
	for _, to := range []string{"/s/.", "/s/..", "/s/..?proof=x", "/s/%2e%2e"} {
		query := url.Values{"return_to": {to}}.Encode()
		p.both(to, 400, "invalid_return_to", "GET", "/v1/signin/wechat?"+query, "")
	}
}
