package main

import (
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"
)

// longName is as long as a name can get, without a place to break.
var longName = strings.Repeat("alexandria", 7)[:64]

// by lets API requests come from a device.
type by struct {
	http.RoundTripper
	userAgent string
}

func (d by) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Header.Set("User-Agent", d.userAgent)
	return d.RoundTripper.RoundTrip(r)
}

// from is a caller on a device.
func (c *caller) from(userAgent string) *caller {
	other := newCaller(c.t, c.base)
	other.http.Transport = by{c.http.Transport, userAgent}
	return other
}

// signInDevice makes one more session of the account, from a device.
func (c *caller) signInDevice(userAgent, phone string) {
	c.t.Helper()
	device := c.from(userAgent)
	l := device.create()
	c.scan(&l, phone)
	c.confirm(l, phone)
	device.do(200, "POST", "/oauth/token", "", redeemForm(l))
}

const (
	edgeOnMac     = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0"
	samsungPhone  = "Mozilla/5.0 (Linux; Android 14; SM-S928B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/26.0 Chrome/122.0.0.0 Mobile Safari/537.36"
	safariOnPhone = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1"
	unknownDevice = "made-by-nobody/1.0"
)

// The device list and what a page says when its session has ended.
func TestScreensOfTheDeviceList(t *testing.T) {
	for _, lang := range pageLanguages {
		t.Run(lang, func(t *testing.T) {
			t.Parallel()
			s := startDemo(t, "127.0.0.1", "SCANLOGIN_DEMO_USERS=alice,"+longName)
			api, wide := newCaller(t, s.url), openAlbum(t, 1280, 640, 390, 320)
			desktop := newTab(t, desktopDevice, lang)
			shoot := func(page, state, en, zh string) {
				t.Helper()
				wide.shoot(desktop, page, state, say(en, zh))
			}
			desktop.open(s.url + "/account")
			shoot("account", "signin", "Scan with your phone to sign in", "用手机扫码登录")
			phone := api.from(safariOnPhone).signIn("alice")
			api.signIn("alice") // from nothing that is known
			api.signInDevice(edgeOnMac, phone)
			api.signInDevice(unknownDevice, phone)
			desktop.openList(s, api, phone)
			desktop.untilListed(5)
			shoot("account", "list", "This device", "当前设备")
			api.signInDevice(samsungPhone, phone)
			shoot("account", "new", "Not you?", "不是您？")
			desktop.press(kb.Tab, "summary")
			desktop.typeText(kb.Enter)
			shoot("account", "confirm", "Phones stay signed in.", "手机除外")
			desktop.open(s.url + "/")
			desktop.until(`find("#account")`)
			eventually(t, patience, "the page follows its session", func() bool { return s.sockets(t, "ws") == 1 })
			api.signInDevice(samsungPhone, phone)
			shoot("login", "news", "New sign-in: Samsung Browser, Android", "新登录：Samsung Browser, Android")
			api.from(safariOnPhone).signIn("alice")
			desktop.until(`document.querySelectorAll("#news button").length === 2`)
			desktop.provoke().click("#news button") // a phone's
			shoot("login", "news-phone", "Only a phone can end this", "只能在手机上结束")
			desktop.click("#news button")
			shoot("login", "news-ended", "Ended", "已结束")
			api.do(204, "DELETE", "/v1/sessions?others=true", phone, nil)
			shoot("login", "ended", "Another of your devices ended this login.", "您的另一台设备结束了此登录。")

			long := api.signIn(longName)
			desktop.openList(s, api, long)
			shoot("account", "long-name", "This device", "当前设备")
			api.do(204, "DELETE", "/v1/sessions?others=true", long, nil)
			shoot("account", "ended", "You are signed out", "您已退出登录")
			theLongest(t, s, lang)
		})
	}
}

// theLongest: the pages that show a name, on a phone.
func theLongest(t *testing.T, s site, lang string) {
	t.Helper()
	small := openAlbum(t, 390, 320)
	phone := newTab(t, phoneDevice, lang)
	api := newCaller(t, s.url).from(desktopDevice.userAgent)
	api.signInDevice(desktopDevice.userAgent, api.from(safariOnPhone).signIn(longName))
	phone.open(s.url + "/s/devices")
	phone.click(`button[value="` + longName + `"]`)
	phone.until(`find("#devices")`)
	small.shoot(phone, "devices", "list", say("with a demo account", "用演示账号登录"))
	phone.open(s.url + "/s")
	small.shoot(phone, "code", "long-name", say("Your devices", "您的设备"))
}

// Whoever runs the service keeps somebody out: calm words, and what to do.
func TestScreensOfABan(t *testing.T) {
	port := freePort(t)
	admin := "SCANLOGIN_ADMIN_LISTEN=127.0.0.1:" + freePort(t)
	secret := "SCANLOGIN_SECRET=" + testSecret
	url := "http://127.0.0.1:" + port
	startServer(t, []string{"SCANLOGIN_LOG=json", "SCANLOGIN_LISTEN=127.0.0.1:" + port, "SCANLOGIN_PUBLIC_URL=" + url, admin, secret}, "demo")
	ban := exec.Command(program, "ban", "add", "demo:alice")
	ban.Env = append(os.Environ(), admin, secret)
	if out, err := ban.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, lang := range pageLanguages {
		phone := newTab(t, phoneDevice, lang).provoke()
		phone.open(url + "/s")
		phone.click("button[value=alice]")
		openAlbum(t, 390, 320).shoot(phone, "message", "banned", say("This account is on hold", "此账号已暂停使用"))
	}
}
