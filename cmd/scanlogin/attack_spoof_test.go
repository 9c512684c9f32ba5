package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"image/png"
	"net/http"
	"strings"
	"testing"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"
)

// T10: a request that says we are evil.test gets our own address in everything that
// people are sent to, and in the picture itself.
func TestHostHeaderInjectionIsIgnored(t *testing.T) {
	p := startPair(t)
	evil := []string{"Host", "evil.test", "X-Forwarded-Host", "evil.test", "X-Forwarded-Proto", "https", "Forwarded", "host=evil.test", "X-Original-URL", "https://evil.test/"}
	for i, api := range p.api {
		a := api.raw("POST", "/v1/tickets", `{"user_code":true}`, evil...)
		if !strings.HasPrefix(a.text("verification_uri_complete"), publicURL+"/s/") || a.text("verification_uri") != publicURL+"/s" {
			t.Errorf("instance %d: %s", i, a.raw)
		}
		raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(a.text("qr_image"), "data:image/png;base64,"))
		if err != nil {
			t.Fatal(err)
		}
		picture, err := png.Decode(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		bitmap, err := gozxing.NewBinaryBitmapFromImage(picture)
		if err != nil {
			t.Fatal(err)
		}
		text, err := qrcode.NewQRCodeReader().Decode(bitmap, map[gozxing.DecodeHintType]any{gozxing.DecodeHintType_PURE_BARCODE: true})
		if err != nil || text.GetText() != a.text("verification_uri_complete") {
			t.Errorf("instance %d: the picture says %v, %v", i, text, err)
		}
		for _, path := range []string{"/", "/s", "/account", "/.well-known/oauth-authorization-server", "/nowhere"} {
			if a := api.raw("GET", path, "", evil...); strings.Contains(a.raw, "evil.test") || strings.Contains(fmt.Sprint(a.header), "evil.test") {
				t.Errorf("%s speaks of evil.test: %v", path, a.header)
			}
		}
	}
}

var foreignOrigins = []string{
	"https://evil.test", "null", "http://login.example.evil.test", "https://login.example", "http://login.example:8080", "http://LOGIN.example",
	"http://login.example/", "http://evil.test/http://login.example", "http://sub.login.example", "file://",
}

// T15: a foreign page opens no socket, of a ticket or of a session.
func TestCrossSiteWebSocketHijackingIsRefused(t *testing.T) {
	p := startPair(t)
	l := p.turn().create()
	for _, path := range []string{"/v1/tickets/" + l.id + "/ws", "/v1/sessions/current/ws"} {
		for _, api := range p.api {
			for _, origin := range append(foreignOrigins, "") {
				if _, response, err := api.upgrade(path, origin); err == nil || response == nil || response.StatusCode != 403 {
					t.Errorf("%s for %q: %v", path, origin, response)
				}
			}
			conn, response, err := api.upgrade(path, publicURL)
			if err != nil {
				t.Fatal(err)
			}
			conn.Close()
			if extensions := response.Header.Get("Sec-WebSocket-Extensions"); extensions != "" { // T19
				t.Errorf("agreed to %s", extensions)
			}
		}
	}
}

// T16, T17, B28: a foreign page changes nothing and reads nothing, whatever it brings
// along.
func TestCrossSiteRequestsAreRefused(t *testing.T) {
	p := startPair(t)
	phone := p.turn().signIn("alice")
	k := p.turn().login(phone)
	l := p.turn().create()
	cookies := []string{"Cookie", "scanlogin-phone=x; scanlogin-web=x"}
	p.untouched(l, func() {
		for _, origin := range foreignOrigins {
			for _, headers := range [][]string{{"Origin", origin}, {"Origin", origin, "Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}} {
				headers = append(headers, cookies...)
				for path, body := range map[string]string{
					"/v1/tickets": `{}`, "/v1/scan": asJSON(t, map[string]string{"qr": l.qr}), "/v1/signin/demo": `{"credential":"alice"}`, "/session": `{}`,
				} {
					p.both(origin, 403, "cross_origin", "POST", path, body, append(headers, bearerOf(phone)...)...)
				}
				for path, form := range map[string]string{"/oauth/token": refreshForm(k.refresh).Encode(), "/oauth/revoke": "client_id=web&token=" + k.refresh, "/s/signin": "credential=alice", "/signout": ""} {
					p.both(origin, 403, "cross_origin", "POST", path, form, append(headers, "Content-Type", formKind)...)
				}
				p.both(origin, 403, "cross_origin", "DELETE", "/v1/tickets/"+l.id, "", append(headers, bearerOf(l.deviceCode)...)...)
			}
			for _, method := range []string{"GET", "OPTIONS"} {
				for _, api := range p.api {
					a := api.raw(method, "/v1/tickets/"+l.id, "", append(bearerOf(l.deviceCode), "Origin", origin, "Access-Control-Request-Method", "GET")...)
					if allowed := a.header.Get("Access-Control-Allow-Origin") + a.header.Get("Access-Control-Allow-Credentials"); allowed != "" {
						t.Errorf("%s for %s is allowed %s", method, origin, allowed)
					}
				}
			}
		}
		// What a form of a foreign page can send where no browser says whose it is.
		p.both("text/plain", 415, "unsupported_media_type", "POST", "/v1/tickets", `{}`, "Content-Type", "text/plain")
	})
	for _, api := range p.api {
		api.alive(k.access)
	}
	p.turn().refresh(k.refresh)
}

// T24: who is no proxy of ours may say what they like of where they come from: they
// are counted, and shown, where their connection comes from.
func TestSpoofedForwardedHeadersCountForNothing(t *testing.T) {
	p := startPair(t, "SCANLOGIN_LIMITS=on", "SCANLOGIN_TRUSTED_PROXIES=192.0.2.0/24", "SCANLOGIN_CONFIG="+configFile(t, "limits: {tickets_per_network: 5/1h}"))
	phone := p.turn().signIn("alice")
	count := map[int]int{}
	for i := range 12 {
		forged := fmt.Sprintf("203.0.%d.7", i)
		a := p.turn().raw("POST", "/v1/tickets", "", "X-Forwarded-For", forged, "X-Forwarded-For", forged+", 192.0.2.1", "X-Real-IP", forged, "True-Client-IP", forged, "CF-Connecting-IP", forged, "Forwarded", "for="+forged)
		if count[a.status]++; a.status == 201 {
			seen := p.turn().do(200, "POST", "/v1/scan", phone, map[string]string{"qr": a.text("verification_uri_complete")})
			if strings.Contains(seen.raw, "203.0.") {
				t.Errorf("the phone is shown %s", seen.raw)
			}
		}
	}
	if count[201] != 5 || count[429] != 7 {
		t.Errorf("answers by status: %v", count)
	}
}

// T25: an IPv6 customer has more addresses than anybody can count; the network is
// counted, on all instances together.
func TestRotatingIPv6AddressesAreOneNetwork(t *testing.T) {
	p := startPair(t, "SCANLOGIN_LIMITS=on", "SCANLOGIN_CONFIG="+configFile(t, "limits: {tickets_per_network: 5/1h}"))
	count := map[int]int{}
	for i := range 100 {
		a, err := p.turn().within(fmt.Sprintf("2001:db8:1:1:%x::%x", i, i)).try("POST", "/v1/tickets", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		count[a.status]++
	}
	if count[201] != 5 || count[429] != 95 {
		t.Errorf("answers by status: %v", count)
	}
	// What was refused costs the neighbours nothing, in the same /48 or elsewhere.
	p.turn().within("2001:db8:1:2::1").create()
	p.turn().within("2001:db8:2:1::1").create()
}

// T46, B37: a credential in a URL is refused, wherever it is sent and whether it is
// good or not, and neither log has it.
func TestTokenInURLIsRefusedAndNotLogged(t *testing.T) {
	p := startPair(t)
	phone := p.turn().signIn("alice")
	l := p.turn().create()
	p.untouched(l, func() {
		for _, path := range []string{"/v1/tickets/" + l.id, "/v1/tickets/" + l.id + "/ws", "/v1/tickets/" + l.id + "/events", "/v1/sessions", "/oauth/userinfo", "/", "/s", "/livez"} {
			for _, name := range []string{"access_token", "token", "refresh_token", "device_code", "confirm_token"} {
				p.both(name, 400, "token_in_url", "GET", path+"?"+name+"="+l.deviceCode, "", bearerOf(l.deviceCode)...)
			}
		}
		p.both("a scan", 400, "token_in_url", "POST", "/v1/scan?access_token="+phone, asJSON(t, map[string]string{"qr": l.qr}))
	})
	for i, s := range p.all {
		for _, secret := range []string{l.deviceCode, phone, l.qr} {
			if strings.Contains(s.output(), secret) {
				t.Errorf("instance %d logs %.20s…", i, secret)
			}
		}
	}
}

// T47, B40: what a request says of itself begins no line in a log, and does not
// become the id of one.
func TestForgedLogLinesStayOut(t *testing.T) {
	p := startPair(t)
	forged := "{\"level\":\"INFO\",\"msg\":\"forged-by-the-test\"}"
	for _, api := range p.api {
		for _, id := range []string{forged, strings.Repeat("x", 5<<10), "mine"} {
			a := api.raw("POST", "/v1/scan", "{}", "User-Agent", "x\t"+forged, "X-Request-Id", id, "Referer", forged)
			if got := a.header.Values("X-Request-Id"); len(got) != 1 || got[0] == id || strings.Contains(a.raw, id) {
				t.Errorf("the id of a request is %v", got)
			}
		}
		api.raw("GET", "/no%0a"+"%7b%22msg%22:%22forged-by-the-test%22%7d", "")
		api.raw("POST", "/v1/signin/demo", asJSON(t, map[string]string{"credential": "\n" + forged}))
	}
	for i, s := range p.all {
		for line := range strings.Lines(s.output()) {
			var record struct{ Time string }
			if json.Unmarshal([]byte(line), &record) != nil || record.Time == "" || strings.Contains(line, "forged-by-the-test") {
				t.Errorf("instance %d logs %s", i, line)
			}
		}
	}
}

// T50, B38, B39: what is for operators is not on the public port; methods and
// addresses that are not ours get no more than that.
func TestPublicPortHasNothingButTheContract(t *testing.T) {
	p := startPair(t)
	for _, path := range []string{
		"/metrics", "/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/cmdline", "/debug/vars", "/admin/bans", "/bans", "/keys/rotate", "/v1/admin/bans", "/.git/config", "/.env",
		"/v1/tickets/", "//v1//tickets", "//evil.test/", "/%5cevil.test/", "/%2f%2fevil.test", "/s/", "/oauth/token/", "/v1/../metrics",
	} {
		if a := p.both("not ours", 404, "not_found", "GET", path, ""); a.header.Get("Location") != "" {
			t.Errorf("%s leads to %s", path, a.header.Get("Location"))
		}
	}
	for _, row := range [][3]string{
		{"PUT", "/v1/tickets", "POST"}, {"TRACE", "/v1/tickets", "POST"}, {"TRACE", "/", "GET, HEAD"}, {"GET", "/oauth/token", "POST"}, {"DELETE", "/v1/scan", "POST"},
	} {
		if a := p.both("method", 405, "method_not_allowed", row[0], row[1], ""); a.header.Get("Allow") != row[2] {
			t.Errorf("%s %s: Allow %q", row[0], row[1], a.header.Get("Allow"))
		}
	}
	for _, s := range p.all {
		admin := newCaller(t, s.admin)
		for _, path := range []string{"/admin/bans", "/admin/bans/lift", "/admin/keys/rotate"} {
			if a, err := admin.try("POST", path, strings.Repeat("A", 43), nil); err != nil || a.status != http.StatusUnauthorized {
				t.Errorf("%s without the admin token: %d %v", path, a.status, err)
			}
		}
	}
}
