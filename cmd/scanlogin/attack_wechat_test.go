package main

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"scanlogin/auth/wechat/wechattest"
)

// traveller is a browser between the instances and WeChat: what one instance has
// begun comes back to the other.
type traveller struct {
	p      *pair
	cookie string
}

func (v *traveller) get(path string, query url.Values, headers ...string) answer {
	v.p.t.Helper()
	if v.cookie != "" {
		headers = append(headers, "Cookie", v.cookie)
	}
	a := v.p.turn().raw("GET", path+"?"+query.Encode(), "", headers...)
	for _, c := range (&http.Response{Header: a.header}).Cookies() {
		v.cookie = c.Name + "=" + c.Value
	}
	return a
}

// leave goes to WeChat and gives the state that comes back.
func (v *traveller) leave(returnTo string) (state string) {
	v.p.t.Helper()
	a := v.get("/v1/signin/wechat", url.Values{"return_to": {returnTo}})
	away, err := url.Parse(a.header.Get("Location"))
	if err != nil || a.status != 303 || len(away.Query().Get("state")) < 64 {
		v.p.t.Fatalf("%v %d %q %s", err, a.status, a.header.Get("Location"), a.raw)
	}
	return away.Query().Get("state")
}

const wechatCallback = "/v1/signin/wechat/callback"

// startWeChatPair is startPair with people who have WeChat.
func startWeChatPair(t *testing.T) (*pair, *weChats) {
	t.Helper()
	there := startWeChat(t)
	return startPair(t, there.env(t)), there
}

// T42, F24: a code reaches WeChat only with a fresh state, in the browser that it was
// made for, once, whichever instance it comes to.
func TestWeChatCallbackIsForgedOrRepeated(t *testing.T) {
	p, there := startWeChatPair(t)
	code := func() string { return there.Code(siteApp, zhang) }
	mallory, alice, fresh := &traveller{p: p}, &traveller{p: p}, &traveller{p: p}
	theirs, older := mallory.leave("/s"), alice.leave("/s")
	hers := alice.leave("/s")
	refused := func(what string, v *traveller, query url.Values) {
		t.Helper()
		for range 2 { // at either instance
			if a := v.get(wechatCallback, query); a.status != 400 || a.code() != "invalid_state" {
				t.Errorf("%s: %d %s", what, a.status, a.raw)
			}
		}
	}
	for what, state := range map[string]string{
		"another browser's": theirs, "replaced by a newer one": older, "made up": strings.Repeat("0", len(hers)), "empty": "", "cut": hers[:64],
		"in capitals": strings.ToUpper(hers), "somebody's session": "sid", "with NUL": hers + "\x00",
	} {
		refused(what, alice, url.Values{"state": {state}, "code": {code()}})
	}
	refused("absent", alice, url.Values{"code": {code()}})
	refused("the victim's browser never left", fresh, url.Values{"state": {theirs}, "code": {code()}})
	if n := there.Calls(wechattest.AccessToken); n != 0 {
		t.Fatalf("WeChat was asked %d times", n)
	}
	copied := *alice // a cookie from before
	good := url.Values{"state": {hers}, "code": {code()}}
	if a := alice.get(wechatCallback, good); a.status != 303 || a.header.Get("Location") != "/s" {
		t.Fatalf("%d %s", a.status, a.raw)
	}
	refused("repeated", alice, good)
	refused("repeated with the old cookie", &copied, good)
	refused("repeated with another code", &copied, url.Values{"state": {hers}, "code": {code()}})
	if n := there.Calls(wechattest.AccessToken); n != 1 {
		t.Errorf("WeChat was asked %d times", n)
	}
	// Racing copies at both instances: one is let in.
	racer := &traveller{p: p}
	query := url.Values{"state": {racer.leave("/s")}, "code": {code()}}.Encode()
	won := make(chan bool, 32)
	parallel(32, func(int) {
		if a := p.turn().raw("GET", wechatCallback+"?"+query, "", "Cookie", racer.cookie); a.status == 303 {
			won <- true
		}
	})
	if n := there.Calls(wechattest.AccessToken); len(won) != 1 || n != 2 {
		t.Errorf("%d of 32 were let in, WeChat was asked %d times in all", len(won), n)
	}
	// The API's door is not the browser's: who hands over a code by themselves could hand over another's.
	p.wants("posted", 404, "not_found", "POST", "/v1/signin/wechat", "", map[string]string{"credential": siteApp + ":" + code()})
}

// T43: people come back to our own pages.
func TestWeChatLoginLeadsToNoForeignPage(t *testing.T) {
	p, there := startWeChatPair(t)
	for _, to := range []string{"//evil.test", "/\\evil.test", "https:evil.test", "https://evil.test/s", "%2f%2fevil.test", "/s/../..//evil.test", "/s/x/..//evil.test", "/s\r\nLocation: //evil.test", "/account", ""} {
		query := url.Values{"return_to": {to}}.Encode()
		if a := p.both(to, 400, "invalid_return_to", "GET", "/v1/signin/wechat?"+query, ""); a.header.Get("Location") != "" {
			t.Errorf("%q leads to %s", to, a.header.Get("Location"))
		}
	}
	v := &traveller{p: p}
	query := url.Values{"state": {v.leave("/s/devices")}, "code": {there.Code(siteApp, zhang)}, "return_to": {"//evil.test"}}
	if a := v.get(wechatCallback, query); a.status != 303 || a.header.Get("Location") != "/s/devices" {
		t.Errorf("%d %s", a.status, a.header.Get("Location"))
	}
}

// T44: what fails between here and WeChat is told without the secret, which WeChat
// wants in the address. T45: who somebody is comes from WeChat alone.
func TestWeChatSecretsAndIdentitiesStayOnTheServer(t *testing.T) {
	p, there := startWeChatPair(t)
	var told strings.Builder
	for _, fault := range []http.HandlerFunc{wechattest.Reset, wechattest.Page(500), wechattest.Elsewhere("http://127.0.0.1:9"), wechattest.Errcode(40125)} {
		there.Script(wechattest.Code2Session, fault)
		a := p.turn().raw("POST", "/v1/signin/wechat-mini", asJSON(t, map[string]string{"credential": there.Code(miniApp, zhang)}))
		if a.status < 500 {
			t.Errorf("%d %s", a.status, a.raw)
		}
		told.WriteString(a.raw)
	}
	calls := there.Calls(wechattest.Code2Session)
	for _, name := range []string{"openid", "unionid", "session_key", "user", "sub"} {
		body := asJSON(t, map[string]string{"credential": there.Code(miniApp, zhang), name: "o-victim"})
		p.both(name, 400, "unknown_member", "POST", "/v1/signin/wechat-mini", body)
	}
	if there.Calls(wechattest.Code2Session) != calls {
		t.Error("WeChat was asked all the same")
	}
	a := p.turn().raw("POST", "/v1/signin/wechat-mini", asJSON(t, map[string]string{"credential": there.Code(miniApp, zhang)}))
	if a.status != 200 || strings.Contains(a.raw, "session_key") {
		t.Fatalf("%d %s", a.status, a.raw)
	}
	told.WriteString(a.raw)
	for _, s := range p.all {
		told.WriteString(s.output())
	}
	if !strings.Contains(told.String(), "WeChat sign-in is set up wrongly") {
		t.Error("the operator is not told of the wrong secret")
	}
	for _, secret := range there.Secrets() {
		if strings.Contains(told.String(), secret) {
			t.Errorf("%q is told: %s", secret, told.String())
		}
	}
}

// B43, B44, T46: callbacks that hold no code, too long a one, two, or a token.
func TestMalformedWeChatCallbacksAskNobody(t *testing.T) {
	p, there := startWeChatPair(t)
	v := &traveller{p: p}
	state := v.leave("/s/devices")
	if a := v.get(wechatCallback, url.Values{"state": {state}}); a.status != 303 || a.header.Get("Location") != "/s/devices?signin=canceled" {
		t.Errorf("refused at WeChat: %d %s", a.status, a.header.Get("Location"))
	}
	if a := v.get("/s/devices", url.Values{"signin": {"canceled"}}); !strings.Contains(a.raw, "You did not sign in there") {
		t.Errorf("the page says nothing of it: %s", a.raw)
	}
	for what, query := range map[string]url.Values{
		"long": {"state": {state}, "code": {strings.Repeat("c", 513)}}, "two codes": {"state": {state}, "code": {"a", "b"}}, "two states": {"state": {state, state}, "code": {"a"}},
	} {
		if a := v.get(wechatCallback, query); a.status != 400 || a.code() != "invalid_request" {
			t.Errorf("%s: %d %s", what, a.status, a.raw)
		}
	}
	for _, name := range []string{"access_token", "token", "refresh_token"} {
		for _, path := range []string{"/v1/signin/wechat", wechatCallback} {
			p.both(name, 400, "token_in_url", "GET", path+"?"+name+"=x&state="+state+"&code=a", "", "Cookie", v.cookie)
		}
	}
	if n := there.Calls(wechattest.AccessToken); n != 0 {
		t.Errorf("WeChat was asked %d times", n)
	}
	// After all that the state is as good as before.
	if a := v.get(wechatCallback, url.Values{"state": {state}, "code": {there.Code(siteApp, zhang)}}); a.status != 303 {
		t.Errorf("%d %s", a.status, a.raw)
	}
}

// B44, B45, F25: what WeChat answers, and what becomes of it; a slow one costs 4 s at
// most, and only "busy" is asked again.
func TestWhatWeChatAnswersIsToldRight(t *testing.T) {
	p, there := startWeChatPair(t)
	for what, row := range map[string]struct {
		fault  http.HandlerFunc
		status int
		code   string
		calls  int
	}{
		"code wrong":      {wechattest.Errcode(40029), 401, "invalid_credential", 1},
		"code used":       {wechattest.ErrcodeText(40163), 401, "invalid_credential", 1},
		"blocked by them": {wechattest.Errcode(40226), 403, "user_banned", 1},
		"quota":           {wechattest.Errcode(45011), 429, "rate_limited", 1},
		"busy":            {wechattest.Errcode(-1), 503, "provider_unavailable", 2},
		"our app id":      {wechattest.Errcode(40013), 500, "internal", 1},
		"unknown":         {wechattest.Errcode(99999), 503, "provider_unavailable", 1},
		"error page":      {wechattest.Page(200), 503, "provider_unavailable", 1},
		"too slow":        {wechattest.Slow(30 * time.Second), 503, "provider_unavailable", 1},
	} {
		there.Break(wechattest.Code2Session, row.fault)
		there.Break(wechattest.AccessToken, row.fault)
		before := there.Calls(wechattest.Code2Session)
		mini := p.turn().raw("POST", "/v1/signin/wechat-mini", asJSON(t, map[string]string{"credential": there.Code(miniApp, zhang)}))
		calls := there.Calls(wechattest.Code2Session) - before
		v := &traveller{p: p}
		web := v.get(wechatCallback, url.Values{"state": {v.leave("/s")}, "code": {there.Code(siteApp, zhang)}})
		for _, a := range []answer{mini, web} {
			if a.status != row.status || a.code() != row.code || calls != row.calls || a.took > 4*time.Second {
				t.Errorf("%s: %d %s after %s and %d calls", what, a.status, a.raw, a.took, calls)
			}
			if (a.status == 503 || a.status == 429) && a.header.Get("Retry-After") == "" || a.status == 429 && a.header.Get("Retry-After") != "60" {
				t.Errorf("%s: Retry-After %q", what, a.header.Get("Retry-After"))
			}
		}
		there.Break(wechattest.Code2Session, nil)
		there.Break(wechattest.AccessToken, nil)
	}
	late := func(w http.ResponseWriter, r *http.Request) { // slow, but in time
		<-time.After(1200 * time.Millisecond)
		there.ServeHTTP(w, r)
	}
	there.Script(wechattest.Code2Session, late)
	there.Script(wechattest.AccessToken, late)
	p.wants("late, mini-program", 200, "", "POST", "/v1/signin/wechat-mini", "", map[string]string{"credential": there.Code(miniApp, zhang)})
	v := &traveller{p: p}
	if a := v.get(wechatCallback, url.Values{"state": {v.leave("/s")}, "code": {there.Code(siteApp, zhang)}}); a.status != 303 {
		t.Errorf("late, website: %d %s", a.status, a.raw)
	}
}
