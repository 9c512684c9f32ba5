package main

import (
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"scanlogin/auth/outbound"
	"scanlogin/auth/wechat"
	"scanlogin/auth/wechat/wechattest"
	"scanlogin/qrlogin/backend"
)

const miniApp, siteApp, inAppApp = "wxmini", "wxsite", "wxinapp"

// weChats is a WeChat of the test's, which instances find by its file.
type weChats struct {
	*wechattest.Server
	url string
}

func startWeChat(t *testing.T) *weChats {
	t.Helper()
	there := wechattest.New(map[string]string{miniApp: appSecret, siteApp: otherAppSecret, inAppApp: "0f1e2d3c4b5a69788796a5b4c3d2e1f0"})
	server := httptest.NewServer(there)
	t.Cleanup(server.Close)
	return &weChats{there, server.URL}
}

// file is the part of the configuration that makes it a provider.
func (w *weChats) file() string {
	return fmt.Sprintf(`
  wechat-mini: {app_id: %s, secret: %s, api_url: "%s"}
  wechat:
    site: {app_id: %s, secret: %s}
    in_app: {app_id: %s, secret: 0f1e2d3c4b5a69788796a5b4c3d2e1f0}
    api_url: %[3]s
    open_url: %[3]s
`, miniApp, appSecret, w.url, siteApp, otherAppSecret, inAppApp)
}

func (w *weChats) env(t *testing.T) string {
	return "SCANLOGIN_CONFIG=" + configFile(t, "providers:\n"+w.file())
}

var zhang = wechattest.User{Account: "zhang", UnionID: "union-zhang", Name: "Zhang Wei", Picture: "https://thirdwx.qlogo.cn/z"}

// surfer is somebody with a browser that has cookies and goes where it is sent.
type surfer struct {
	t         *testing.T
	base      string
	userAgent string
	http      *http.Client
}

func newSurfer(t *testing.T, base string) *surfer {
	jar, _ := cookiejar.New(nil) // never fails
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &surfer{t, base, phoneDevice.userAgent, &http.Client{Jar: jar, Transport: transport, Timeout: 30 * time.Second}}
}

// open gives the page, and the address at which it was found in the end.
func (s *surfer) open(address string) (page, at string, status int) {
	s.t.Helper()
	return s.send("GET", address, "")
}

func (s *surfer) send(method, address, form string) (page, at string, status int) {
	s.t.Helper()
	r, err := http.NewRequest(method, address, strings.NewReader(form))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html")
	r.Header.Set("User-Agent", s.userAgent)
	if form != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	answer, err := s.http.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(raw), answer.Request.URL.String(), answer.StatusCode
}

var (
	button = regexp.MustCompile(`href="(/v1/signin/[^"]+)"`)
	forms  = regexp.MustCompile(`(?s)<form[^>]*action="([^"]*)".*?</form>`)
)

// way is where the page's button to a provider leads.
func (s *surfer) way(page string) string {
	s.t.Helper()
	found := button.FindStringSubmatch(page)
	if found == nil {
		s.t.Fatalf("no way to a provider on: %s", page)
	}
	return s.base + html.UnescapeString(found[1])
}

// submit sends the page's form for an address with one field more.
func (s *surfer) submit(page, action, name, value string) (next string) {
	s.t.Helper()
	for _, form := range forms.FindAllStringSubmatch(page, -1) {
		if form[1] != action {
			continue
		}
		fields := url.Values{name: {value}}
		for _, hidden := range field.FindAllStringSubmatch(form[0], -1) {
			fields.Set(hidden[1], html.UnescapeString(hidden[2]))
		}
		next, _, status := s.send("POST", s.base+action, fields.Encode())
		if status != 200 {
			s.t.Fatalf("%s: %d %s", action, status, next)
		}
		return next
	}
	s.t.Fatalf("no form for %s on: %s", action, page)
	return ""
}

// WeChat in all three forms over two instances: the same account each time, for
// one login from the scan to userinfo.
func TestWeChatSignsInInAllThreeForms(t *testing.T) {
	there := startWeChat(t)
	there.Visitor(&zhang)
	c := startCluster(t, 2, there.env(t))
	api := newCaller(t, c.url)
	collect := func(form string, l login) {
		t.Helper()
		tokens := api.do(200, "POST", "/oauth/token", "", redeemForm(l))
		who := api.do(200, "GET", "/oauth/userinfo", tokens.text("access_token"), nil)
		if sub := claim(t, tokens.text("access_token"), "sub"); sub != "wechat:union-zhang" || who.text("sub") != sub || who.text("name") != zhang.Name || who.text("picture") != zhang.Picture {
			t.Errorf("%s: sub %v, %s", form, sub, who.raw)
		}
	}
	for form, agent := range map[string]string{"website": phoneDevice.userAgent, "in-app": phoneDevice.userAgent + " MicroMessenger/8.0.50"} {
		l := api.create()
		s := newSurfer(t, c.url)
		s.userAgent = agent
		signin, _, _ := s.open(l.qr)
		page, at, _ := s.open(s.way(signin))
		if !strings.HasPrefix(at, c.url+"/s/") || !strings.Contains(page, "as Zhang Wei") {
			t.Fatalf("%s: at %s: %s", form, at, page)
		}
		result := s.submit(s.submit(page, "/s/scan", "", ""), "/s/decide", "decision", "approve")
		if shown := digits.FindStringSubmatch(result); shown != nil {
			api.do(200, "POST", "/v1/tickets/"+l.id+"/check", l.deviceCode, map[string]string{"code": shown[1] + shown[2]})
		}
		collect(form, l)
	}
	pages := []int{there.Calls(wechattest.SitePage), there.Calls(wechattest.InAppPage)}
	if !slices.Equal(pages, []int{1, 1}) {
		t.Errorf("WeChat's pages were opened %v times", pages)
	}
	phone := api.do(200, "POST", "/v1/signin/wechat-mini", "", map[string]string{"credential": there.Code(miniApp, zhang)}).text("access_token")
	l := api.create()
	api.scan(&l, phone)
	api.confirm(l, phone)
	collect("mini-program", l) // with the name that the website was told
	if n := there.Calls(wechattest.UserInfo); n != 1 {
		t.Errorf("WeChat was asked for the profile %d times", n)
	}
}

// However many instances and whatever else shares their store need the app's own
// token at once, WeChat is asked once.
func TestAppTokenIsFetchedOnceForAllInstances(t *testing.T) {
	there := startWeChat(t)
	there.Break(wechattest.StableToken, wechattest.Errcode(-1)) // nobody has one yet
	redis := startRedis(t)
	env := serveEnv(publicURL, "SCANLOGIN_REDIS_URL="+redis.url(), "SCANLOGIN_CONFIG="+configFile(t, "providers:\n  wechat-mini: {app_id: "+miniApp+", secret: "+appSecret+", api_url: \""+there.url+"\"}\n"))
	for range 2 {
		startServer(t, env).ready(t)
	}
	eventually(t, patience, "an instance has asked", func() bool { return there.Calls(wechattest.StableToken) >= 2 }) // and once more
	before := there.Calls(wechattest.StableToken)
	there.Break(wechattest.StableToken, nil)
	var tokens sync.Map
	var all sync.WaitGroup
	for range 10 {
		store, err := backend.OpenRedis(backend.RedisConfig{URL: redis.url(), Prefix: "scanlogin:", Secret: []byte(testSecret)})
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		out := outbound.New(outbound.Config{Hosts: []string{strings.TrimPrefix(there.url, "http://")}})
		app := wechat.App{ID: miniApp, Secret: appSecret}
		for range 10 { // each with a client of its own would be an instance's worth
			token := wechat.NewAppToken(wechat.Config{API: there.url, Client: out, Store: store}, app)
			all.Go(func() {
				value, err := token.Token(t.Context())
				if err != nil {
					t.Error(err)
				}
				tokens.Store(value, true)
			})
		}
	}
	all.Wait()
	different := 0
	tokens.Range(func(any, any) bool { different++; return true })
	if calls := there.Calls(wechattest.StableToken) - before; calls != 1 || different != 1 {
		t.Errorf("%d calls gave %d tokens", calls, different)
	}
}

// T37, T44, T46: what two instances log at debug level and what Redis is told hold
// nothing that opens anything at WeChat or here.
func TestWeChatSecretsStayOutOfLogsAndRedis(t *testing.T) {
	there := startWeChat(t)
	there.Visitor(&zhang)
	acme := startIDP(t)
	redis := startRedis(t)
	seen := redis.monitor(t)
	good(t)
	t.Setenv("SCANLOGIN_CONFIG", configFile(t, "providers:\n"+there.file()+acme.file()))
	var bases []string
	var logs []*lines
	port := freePort(t)
	t.Setenv("SCANLOGIN_PUBLIC_URL", "http://127.0.0.1:"+port)
	for _, listen := range []string{"127.0.0.1:" + port, "127.0.0.1:0"} {
		base, log := inside(t, parsed(t, "--listen="+listen, "--admin-listen=127.0.0.1:0", "--drain=1s", "--limits=off", "--redis-url="+redis.url()))
		bases, logs = append(bases, base), append(logs, log)
	}
	secrets := map[string]string{"a token of the app's": acme.token("ada", nil)}
	s := newSurfer(t, bases[0])
	page, _, _ := s.open(bases[0] + "/s")
	_, at, _ := s.open(s.way(page))
	for i := range 6 { // what WeChat repeats of a question, it has the secret in
		fault := []http.HandlerFunc{wechattest.Page(500), wechattest.Reset, wechattest.Errcode(40125), wechattest.ErrcodeText(40029), wechattest.Elsewhere(acme.url), wechattest.Huge}[i]
		there.Script(wechattest.Code2Session, fault)
		there.Script(wechattest.AccessToken, fault)
		there.Script(wechattest.UserInfo, fault)
		api := newCaller(t, bases[i%2])
		if a, err := api.try("POST", "/v1/signin/wechat-mini", "", map[string]string{"credential": there.Code(miniApp, zhang)}); err != nil || a.status < 400 {
			t.Errorf("fault %d: %v %d", i, err, a.status)
		}
		if _, err := api.try("POST", "/v1/scan", secrets["a token of the app's"], map[string]string{"qr": "x"}); err != nil {
			t.Error(err)
		}
		s.open(s.way(page))
	}
	for i, base := range bases {
		api := newCaller(t, base)
		eventually(t, patience, "signing in works again", func() bool {
			a, err := api.try("POST", "/v1/signin/wechat-mini", "", map[string]string{"credential": there.Code(miniApp, zhang)})
			return err == nil && a.status == 200
		})
		if !strings.Contains(logs[i].String(), "an upstream failed") {
			t.Errorf("instance %d has not logged the faults", i)
		}
	}
	for i, secret := range there.Secrets() {
		secrets[fmt.Sprintf("secret %d of WeChat's", i)] = secret
	}
	if parsed, err := url.Parse(at); err != nil || len(secrets) < 20 {
		t.Fatalf("%v, %d secrets", err, len(secrets))
	} else if state := parsed.Query().Get("state"); state != "" {
		secrets["state"] = state
	}
	if !strings.Contains(strings.ToUpper(seen.String()), "EVALSHA") {
		t.Fatal("MONITOR saw no command of ours")
	}
	if names := found(seen.String(), secrets); names != nil {
		t.Errorf("MONITOR shows: %q", names)
	}
	for i, log := range logs {
		if names := found(log.String(), secrets); names != nil {
			t.Errorf("instance %d logs: %q", i, names)
		}
	}
}
