package web

import (
	"html"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"scanlogin/auth"
	"scanlogin/qrlogin/backend"
)

// atDesk is somebody whose desktop browser is signed in on the demo page.
func atDesk(s *site, phone string) *person {
	s.t.Helper()
	made := s.want(201, "", "POST", "/v1/tickets", nil, "User-Agent", chromeOnWindows)
	l := login{id: made.text("ticket_id"), deviceCode: made.text("device_code"), qr: made.text("verification_uri_complete")}
	s.scan(&l, phone)
	s.confirm(l, phone)
	token := s.want(200, "", "POST", "/oauth/token", redemption(l)).text("access_token")
	v := newPerson(s)
	if a := s.sendWith(v.http, s.request("POST", "/session", map[string]string{"access_token": token})); a.status != 204 {
		s.t.Fatalf("%d %s", a.status, a.raw)
	}
	return v
}

// row is a device as the list shows it.
type row struct {
	id, text string // text: without tags and line breaks
	end      url.Values
}

var (
	rowTag  = regexp.MustCompile(`(?s)<li id="device-([^"]*)".*?</li>`)
	anyTag  = regexp.MustCompile(`<[^>]*>|\s+`)
	manyGap = regexp.MustCompile(` +`)
)

func rows(page answer) (found []row) {
	for _, match := range rowTag.FindAllStringSubmatch(page.raw, -1) {
		text := html.UnescapeString(manyGap.ReplaceAllString(anyTag.ReplaceAllString(match[0], " "), " "))
		one := row{id: match[1], text: strings.TrimSpace(text)}
		for _, action := range []string{accountPath + "/end", devicesPath + "/end"} {
			if f := form(answer{raw: match[0]}, action); f != nil {
				one.end = f
			}
		}
		found = append(found, one)
	}
	return found
}

// listed is the list of the person's devices.
func (v *person) listed(path string) []row {
	v.s.t.Helper()
	page := v.open(path)
	found := rows(page)
	if page.status != 200 || len(found) == 0 {
		v.s.t.Fatalf("%s: %d %q", path, page.status, heading(page))
	}
	return found
}

func texts(rows []row) (all []string) {
	for _, one := range rows {
		all = append(all, one.text)
	}
	return all
}

// What the list says, in both languages and as time goes by.
func TestDeviceListSaysWhatAndWhen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, setup{direct: true})
		phone := s.phone("alice")
		v := atDesk(s, phone)
		time.Sleep(26 * time.Hour)
		other := atDesk(s, s.phone("alice"))
		time.Sleep(5*time.Minute + time.Second)
		want := []string{
			"Chrome, Windows Network 192.0.2.0/24 Signed in 5 minutes ago by QR code Last used 5 minutes ago End",
			"Unknown device Network 192.0.2.0/24 Signed in 5 minutes ago with a demo account Last used 5 minutes ago Only a phone can end this",
			"Chrome, Windows This device Network 192.0.2.0/24 Signed in 1 day ago by QR code Last used 1 day ago Sign out",
			"Unknown device Network 192.0.2.0/24 Signed in 1 day ago with a demo account Last used 1 day ago Only a phone can end this",
		}
		for range 2 { // looking changes nothing
			got := texts(v.listed(accountPath))
			for i := range got {
				got[i] = strings.Replace(got[i], "Not you? ", "", 1) // shown by a script
			}
			if !slices.Equal(got, want) {
				t.Errorf("%q", got)
			}
		}
		v.submit(v.open("/account?lang=zh-CN"), "/account/end", "id", v.listed(accountPath)[0].id)
		if got := texts(v.listed(accountPath)); len(got) != 3 || got[1] != "Chrome（Windows） 当前设备 网络 192.0.2.0/24 1 天前 扫码登录 最近使用： 刚刚 退出登录" {
			t.Errorf("%q", got) // ending something is using this one
		}
		if page := other.open(accountPath); !strings.Contains(page.raw, "<qr-login") {
			t.Errorf("the ended desktop: %s", page.raw)
		}
	})
}

func TestAgoInWords(t *testing.T) {
	p := page{words: loadPages().words["en"]}
	for d, want := range map[time.Duration]string{
		-time.Second: "just now", 0: "just now", 59 * time.Second: "just now", time.Minute: "1 minute ago", 119 * time.Second: "1 minute ago",
		59 * time.Minute: "59 minutes ago", time.Hour: "1 hour ago", 23 * time.Hour: "23 hours ago", 24 * time.Hour: "1 day ago", 400 * 24 * time.Hour: "400 days ago",
	} {
		if got := p.ago(d); got != want {
			t.Errorf("%s: %q", d, got)
		}
	}
}

// The form of a row ends that session; sent again it says that there is
// nothing left to do. The own one is signing out.
func TestDeviceListEndsOne(t *testing.T) {
	s := newSite(t, setup{})
	phone := s.phone("alice")
	v, other := atDesk(s, phone), atDesk(s, phone)
	all := v.listed(accountPath)
	if a := s.sendWith(v.http, s.request("POST", "/account/end", all[0].end)); a.status != 303 || a.header.Get("Location") != accountPath {
		t.Errorf("%d %v", a.status, a.header)
	}
	if left := v.listed(accountPath); len(left) != 2 || left[0].id == all[0].id {
		t.Errorf("left: %q", texts(left))
	}
	if page := other.open("/"); !strings.Contains(page.raw, `id="account" class="center" hidden`) {
		t.Error("the ended desktop is still signed in")
	}
	again := v.send("/account/end", all[0].end)
	pageIs(t, again, 404, "That device is signed out")
	if !strings.Contains(again.raw, `href="/account"`) || strings.Contains(again.raw, `href="/s"`) {
		t.Errorf("no way back to the list: %s", again.raw)
	}
	a := s.sendWith(v.http, s.request("POST", "/account/end", all[1].end))
	if a.status != 303 || a.header.Get("Set-Cookie") == "" || !strings.Contains(v.open(accountPath).raw, "<qr-login") {
		t.Errorf("after ending the own session: %d %v", a.status, a.header)
	}
	if a := s.sendWith(v.http, s.request("POST", "/account/end", all[1].end)); a.status != 303 {
		t.Errorf("signed out already: %d", a.status)
	}
	if live, err := s.auth.Sessions(t.Context(), "demo:alice"); err != nil || len(live) != 1 || live[0].ClientID != auth.Phone {
		t.Errorf("alive: %v %v", live, err)
	}
}

// A browser ends all other browsers and no phone; a phone ends everything.
func TestDeviceListEndsAllOthers(t *testing.T) {
	s := newSite(t, setup{})
	phone := s.phone("alice")
	v, handheld := atDesk(s, phone), newPerson(s)
	atDesk(s, phone)
	handheld.submit(handheld.open(devicesPath), "/s/signin", "credential", "alice")
	page := v.open(accountPath)
	if !strings.Contains(page.raw, "Phones stay signed in.") {
		t.Error("not said that phones stay")
	}
	if after := v.submit(page, "/account/end-others"); len(rows(after)) != 3 || !strings.Contains(after.raw, `id="others" hidden`) {
		t.Errorf("after a browser: %q", texts(rows(after)))
	}
	page = handheld.open(devicesPath)
	if got := rows(page); len(got) != 3 || !strings.HasPrefix(got[0].text, "Safari, iOS This device") {
		t.Errorf("the phone's list: %q", texts(got))
	}
	for _, one := range rows(page) {
		if one.end == nil {
			t.Errorf("a phone can't end %q", one.text)
		}
	}
	if after := handheld.submit(page, "/s/devices/end-others"); len(rows(after)) != 1 {
		t.Errorf("after a phone: %q", texts(rows(after)))
	}
	if !strings.Contains(v.open(accountPath).raw, "<qr-login") {
		t.Error("the desktop is still signed in")
	}
}

// Another user's session, a made-up one, and a phone's from a browser.
func TestStolenSessionIDEndsNothing(t *testing.T) {
	s := newSite(t, setup{})
	alice, bob := s.phone("alice"), s.phone("bob")
	v, victim := atDesk(s, alice), atDesk(s, bob)
	mine, theirs := v.listed(accountPath), victim.listed(accountPath)
	end := func(id string) answer {
		fields := url.Values{"csrf": mine[0].end["csrf"], "id": {id}}
		return v.send("/account/end", fields)
	}
	for _, id := range []string{theirs[0].id, theirs[1].id, "", "x", strings.Repeat("A", 4000), "demo:bob"} {
		pageIs(t, end(id), 404, "That device is signed out")
	}
	pageIs(t, end(mine[1].id), 403, "Only a phone can end this")
	if len(v.listed(accountPath)) != 2 || len(victim.listed(accountPath)) != 2 {
		t.Error("something was ended")
	}
}

// As TestForgedFormsAreRefused, for the forms of the list.
func TestForgedFormsEndNothing(t *testing.T) {
	s := newSite(t, setup{})
	phone := s.phone("alice")
	v, other := atDesk(s, phone), newPerson(s)
	other.signIn("alice")
	victim := v.listed(accountPath)[0]
	theirs := other.listed(devicesPath)[0]
	for _, action := range []string{"/account/end", "/account/end-others"} {
		for name, csrf := range map[string]string{"missing": "", "made up": "x", "of the phone's list": theirs.end.Get("csrf")} {
			fields := url.Values{"id": {victim.id}, "csrf": {csrf}}
			if a := v.send(action, fields); a.status != 403 || heading(a) != "This page was open too long" || !strings.Contains(a.raw, "Open your devices again.") {
				t.Errorf("%s, CSRF value %s: %d %q", action, name, a.status, heading(a))
			}
		}
		if a := newPerson(s).send(action, victim.end); a.status != 403 {
			t.Errorf("%s by a browser without a cookie: %d", action, a.status)
		}
		if a := v.send(action, victim.end, "Sec-Fetch-Site", "cross-site"); a.status != 403 || a.code() != "cross_origin" {
			t.Errorf("%s by another site: %d", action, a.status)
		}
		if a := v.open(action); a.status != 405 {
			t.Errorf("GET %s: %d", action, a.status)
		}
	}
	if len(v.listed(accountPath)) != 3 {
		t.Error("something was ended")
	}
	// A phone's cookie opens no desktop's list, nor the other way round.
	c := cookieOf(t, other)
	if a := s.send("GET", accountPath, nil, "Cookie", "scanlogin-web="+c.Value); len(rows(a)) != 0 {
		t.Error("a phone's cookie opens the desktop's list")
	}
}

// Signed out, each list is the way to sign in, and comes back to itself.
func TestDeviceListSignedOut(t *testing.T) {
	s := newSite(t, setup{})
	v := newPerson(s)
	if page := v.open(accountPath); page.status != 200 || !strings.Contains(page.raw, "<qr-login") || !strings.Contains(page.raw, `src="/account.js"`) {
		t.Errorf("%d %s", page.status, page.raw)
	}
	signin := v.open(devicesPath)
	pageIs(t, signin, 200, "Sign in")
	pageIs(t, v.open(devicesPath+"?lang=zh-CN"), 200, "登录")
	v.open(devicesPath + "?lang=en")
	wrong := v.submit(signin, "/s/signin", "credential", "mallory")
	pageIs(t, wrong, 401, "Sign in")
	pageIs(t, v.submit(wrong, "/s/signin", "credential", "alice"), 200, "Your devices")
	for _, next := range []string{"https://evil.test/", "//evil.test", "/account", "/s/devices/../../x", "/s/devices?x"} {
		v := newPerson(s)
		fields := form(v.open(devicesPath), "/s/signin")
		fields.Set("next", next)
		fields.Set("credential", "alice")
		r := s.request("POST", "/s/signin", fields)
		if a := s.sendWith(v.http, r); a.header.Get("Location") != "/s" {
			t.Errorf("signing in leads to %q", a.header.Get("Location"))
		}
	}
}

// Contract section 2: a store that does not answer is 503, in words.
func TestDeviceListWithoutTheStore(t *testing.T) {
	store, err := backend.OpenRedis(backend.RedisConfig{URL: "redis://" + mute(t) + "/0", Secret: []byte(strings.Repeat("s", 32))})
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, setup{store: store})
	for _, path := range []string{accountPath, devicesPath} {
		begun := time.Now()
		a := s.send("GET", path, nil, "Accept", "text/html")
		pageIs(t, a, 503, "The service is busy")
		if took := time.Since(begun); took > 1300*time.Millisecond {
			t.Errorf("%s: after %s", path, took)
		}
	}
	s.want(503, "store_unavailable", "POST", "/session/token", nil, "Cookie", "scanlogin-web=e30.x")
}

// The cookie gets the page a token of its session, while that lives, and
// nobody else.
func TestPageTokenIsForThePageAlone(t *testing.T) {
	s := newSite(t, setup{origins: []string{"https://shop.test"}})
	phone := s.phone("alice")
	v := atDesk(s, phone)
	ask := func(headers ...string) answer {
		return s.sendWith(v.http, s.request("POST", "/session/token", nil, headers...))
	}
	a := ask("Sec-Fetch-Site", "same-origin", "Origin", s.public)
	if a.status != 200 || a.body["expires_in"] != float64(600) {
		t.Fatalf("%d %s", a.status, a.raw)
	}
	token := a.text("access_token")
	s.want(200, "", "GET", "/oauth/userinfo", nil, bearerOf(token)...)
	s.want(403, "phone_token_required", "POST", "/v1/scan", map[string]string{"qr": "x"}, bearerOf(token)...)
	for _, headers := range [][]string{
		{"Origin", "https://evil.test"}, {"Origin", "null"}, {"Origin", "https://shop.test"}, // no page of ours
		{"Sec-Fetch-Site", "same-site"}, {"Sec-Fetch-Site", "cross-site", "Origin", "https://shop.test"}, {"Sec-Fetch-Site", "none"},
	} {
		if a := ask(headers...); a.status != 403 || a.code() != "cross_origin" || a.text("access_token") != "" {
			t.Errorf("%v: %d %s", headers, a.status, a.raw)
		}
	}
	handheld := newPerson(s)
	handheld.signIn("alice")
	s.want(401, "invalid_token", "POST", "/session/token", nil)
	s.want(401, "invalid_token", "POST", "/session/token", nil, "Cookie", "scanlogin-web="+cookieOf(t, handheld).Value)
	if a := s.sendWith(handheld.http, s.request("POST", "/session/token", nil)); a.status != 401 {
		t.Errorf("with a phone's cookie: %d", a.status)
	}
	s.want(204, "", "DELETE", "/v1/sessions?others=true", nil, bearerOf(phone)...)
	if a := ask(); a.status != 401 || a.code() != "invalid_token" {
		t.Errorf("after its end: %d %s", a.status, a.raw)
	}
}

// A form is somebody doing something: a session that is used does not end for
// being idle, one that is only looked at does.
func TestFormsKeepASessionAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, setup{direct: true, auth: auth.Config{RefreshIdle: time.Hour}})
		used, seen := newPerson(s), newPerson(s)
		code := used.signIn("alice")
		seen.signIn("alice")
		for range 3 {
			time.Sleep(25 * time.Minute)
			used.submit(code, "/s/scan", "user_code", "BCDF-GHJK")
			seen.open("/s")
		}
		pageIs(t, used.open("/s"), 200, "Type the code shown on the other device")
		pageIs(t, seen.open("/s"), 200, "Sign in")
	})
}

// The words for the end are on the page, for the script.
func TestPagesCarryTheWordsForTheEnd(t *testing.T) {
	s := newSite(t, setup{})
	v := atDesk(s, s.phone("alice"))
	for _, path := range []string{"/", accountPath} {
		page := v.open(path)
		for _, want := range []string{
			`data-revoked="Another of your devices ended this login."`, `data-banned="This account cannot be used at the moment."`, `data-plain="This login has ended."`,
		} {
			if !strings.Contains(page.raw, want) {
				t.Errorf("%s lacks %s", path, want)
			}
		}
		if bad := external.FindString(page.raw); bad != "" {
			t.Errorf("%s holds %q", path, bad)
		}
	}
}
