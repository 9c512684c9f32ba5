package main

import (
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
)

// writePlaces writes a database of the two places of these tests.
func writePlaces(t *testing.T) (path string) {
	t.Helper()
	tree, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: "GeoLite2-City", RecordSize: 24, IncludeReservedNetworks: true})
	if err != nil {
		t.Fatal(err)
	}
	for network, place := range map[string][2]string{atDesktop + "/24": {"NL", "Delft"}, atHome + "/24": {"DE", "Bonn"}} {
		_, where, err := net.ParseCIDR(network)
		if err != nil {
			t.Fatal(err)
		}
		err = tree.Insert(where, mmdbtype.Map{
			"country": mmdbtype.Map{"iso_code": mmdbtype.String(place[0])},
			"city":    mmdbtype.Map{"names": mmdbtype.Map{"en": mmdbtype.String(place[1])}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "places.mmdb"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := tree.WriteTo(file); err != nil {
		t.Fatal(err)
	}
	return file.Name()
}

// What the phone says of a login that is not next door, the check code, and a
// browser that can't be let in.
func TestScreensOfACheckedLogin(t *testing.T) {
	for _, lang := range pageLanguages {
		t.Run(lang, func(t *testing.T) {
			t.Parallel()
			port, secret, admin := freePort(t), "SCANLOGIN_SECRET="+testSecret, "SCANLOGIN_ADMIN_LISTEN=127.0.0.1:"+freePort(t)
			base := "http://127.0.0.1:" + port
			startServer(t, serveEnv(base, "SCANLOGIN_LISTEN=127.0.0.1:"+port, admin, secret, proxied, "SCANLOGIN_GEOIP_DB="+writePlaces(t))).ready(t)
			w := &phoneWalk{t: t, album: openAlbum(t, 390, 320, 1280), api: newCaller(t, base), phone: newTab(t, phoneDevice, lang).at(atHome)}
			w.from(atDesktop)
			w.checked()
			w.asksForTheDevicesCode()
			w.reported()
			w.from("192.0.2.44") // nobody knows where that is
			w.ask()
			w.shoot("decide", "notice", "A new place for this account", "此账号首次在该地点登录")
			w.from(atDesktop)
			l := w.api.create()
			ban := exec.Command(program, "ban", "add", atDesktop)
			ban.Env = append(os.Environ(), admin, secret)
			if out, err := ban.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			w.phone.open(l.qr)
			w.shoot("decide", "block", "Logins from that network are blocked here", "来自该网络的登录已被禁止")
			if eval[bool](w.phone, `Boolean(find("button[value=approve]"))`) {
				t.Error("a blocked login can be approved")
			}
			eval[string](w.phone, `(find("button[value=deny]").value = "approve")`) // as nobody should
			w.phone.click(".ink")
			w.shoot("result", "blocked", "Stopped to protect your account", "为保护您的账号，已阻止此次登录")
		})
	}
}

// from moves the browser that asks to another address.
func (w *phoneWalk) from(addr string) {
	w.api = newCaller(w.t, w.api.base)
	w.api.http.Transport = from{asDesktop{w.api.http.Transport}, addr}
}

// checked comes from another country, and three wrong codes follow.
func (w *phoneWalk) checked() {
	w.t.Helper()
	l := w.api.create()
	w.phone.open(l.qr)
	w.phone.signInOnPhone("alice")
	w.shoot("decide", "risk", "The other device is in another country than this phone.", "另一台设备与此手机不在同一个国家或地区。")
	w.phone.click("button[value=approve]")
	w.shoot("check", "digits", "Type this on the other device", "在另一台设备上输入")
	wrong := notThe(w.phone.readDigits())
	for range 3 {
		w.api.do(403, "POST", "/v1/tickets/"+l.id+"/check", l.deviceCode, map[string]string{"code": wrong})
	}
	w.shoot("result", "check-failed", "The code did not match", "代码不一致")
}

// asksForTheDevicesCode is a program without a browser of its own.
func (w *phoneWalk) asksForTheDevicesCode() {
	w.t.Helper()
	a := w.api.do(200, "POST", "/oauth/device_authorization", "", url.Values{"client_id": {"device"}})
	w.phone.open(a.text("verification_uri_complete"))
	w.phone.reachQuestion()
	w.shoot("decide", "user-code", "Approving takes the code that it shows", "批准前请输入该设备显示的代码")
	w.phone.click("#user_code")
	w.phone.typeText("BBBBBBBB\r")
	w.shoot("decide", "user-code-wrong", "That code did not match.", "代码不一致")
}

// reported is the network of which three accounts have said so, and a code that
// somebody reads out.
func (w *phoneWalk) reported() {
	w.t.Helper()
	for _, user := range []string{"alice", "bob", "carol"} {
		token, l := w.api.signIn(user), w.api.create()
		w.api.scan(&l, token)
		w.api.do(200, "POST", "/v1/tickets/"+l.id+"/deny", token, map[string]any{"confirm_token": l.confirmToken, "report": true})
	}
	a := w.api.do(201, "POST", "/v1/tickets", "", map[string]any{"user_code": true})
	w.phone.open(w.api.base + "/s")
	w.phone.click("#user_code")
	w.phone.typeText(a.text("user_code") + "\r")
	w.phone.until(`find(".verdict")`)
	w.shoot("decide", "reported", "Somebody who reads you a code may want to sign in as you.", "向您念代码的人，可能想登录您的账号。")
}
