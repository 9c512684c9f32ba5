package web

import (
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Who the client is: RFC 6749 sections 2.3 and 5.2.
func TestClientAuthentication(t *testing.T) {
	s := newSite(t, setup{})
	basic := func(userinfo string) string { // base64 by net/http
		r := s.request("GET", "/", nil)
		id, secret, _ := strings.Cut(userinfo, ":")
		r.SetBasicAuth(id, secret)
		return r.Header.Get("Authorization")
	}
	grant := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"x"}}
	with := func(pairs ...string) url.Values {
		form := url.Values{}
		for name, values := range grant {
			form[name] = values
		}
		for i := 0; i < len(pairs); i += 2 {
			form.Set(pairs[i], pairs[i+1])
		}
		return form
	}
	rows := []struct {
		name, basic string
		form        url.Values
		status      int
		code        string
	}{
		{"unknown", "", with("client_id", "nobody"), 401, "invalid_client"},
		{"none", "", with(), 401, "invalid_client"},
		{"other case", "", with("client_id", "WEB"), 401, "invalid_client"},
		{"public with a secret", "", with("client_id", "web", "client_secret", "x"), 401, "invalid_client"},
		{"Basic, unknown", basic("nobody:"), with(), 401, "invalid_client"},
		{"Basic with a secret", basic("web:x"), with(), 401, "invalid_client"},
		{"Basic, empty secret", basic("web:"), with(), 400, "invalid_grant"},
		{"Basic, same client_id", basic("web:"), with("client_id", "web"), 400, "invalid_grant"},
		{"Basic, other client_id", basic("web:"), with("client_id", "other"), 400, "invalid_request"},
		{"Basic and a body secret", basic("web:"), with("client_secret", "x"), 400, "invalid_request"},
		{"Basic, bad escape", basic("web%zz:"), with(), 400, "invalid_request"},
		{"body", "", with("client_id", "web"), 400, "invalid_grant"},
	}
	for _, row := range rows {
		var headers []string
		if row.basic != "" {
			headers = []string{"Authorization", row.basic}
		}
		a := s.want(row.status, row.code, "POST", "/oauth/token", row.form, headers...)
		if challenge := a.header.Get("WWW-Authenticate"); (a.status == 401) != strings.HasPrefix(challenge, "Basic ") {
			t.Errorf("%s: WWW-Authenticate %q", row.name, challenge)
		}
	}
	device := func(client string) url.Values { return url.Values{"client_id": {client}} }
	s.want(400, "unauthorized_client", "POST", "/oauth/device_authorization", device("web"))
	s.want(400, "unauthorized_client", "POST", "/oauth/device_authorization", device("phone"))
	s.want(401, "invalid_client", "POST", "/oauth/device_authorization", device("nobody"))
	s.want(200, "", "POST", "/oauth/device_authorization", nil, "Authorization", basic("device:"))
	if a := s.want(401, "invalid_client", "POST", "/v1/tickets", map[string]string{"client_id": "nobody"}); strings.Contains(a.header.Get("WWW-Authenticate"), "Basic") {
		t.Error("a page's own request makes the browser ask for a password")
	}
	s.want(400, "unauthorized_client", "POST", "/v1/tickets", map[string]string{"client_id": "phone"})
}

// Nobody gets the scope that may scan and confirm by asking for it.
func TestScopeEscalationIsRefused(t *testing.T) {
	s := newSite(t, setup{})
	for _, scope := range []string{"phone", "openid phone", "openid admin", "Openid", "openid,profile", "*"} {
		s.want(400, "invalid_scope", "POST", "/v1/tickets", map[string]string{"scope": scope})
		s.want(400, "invalid_scope", "POST", "/oauth/device_authorization", url.Values{"client_id": {"device"}, "scope": {scope}})
	}
	s.want(400, "invalid_scope", "POST", "/v1/tickets", map[string]string{"client_id": "other", "scope": "profile"})
	alice := s.phone("alice")
	l := s.create(map[string]string{"scope": "openid"})
	s.scan(&l, alice)
	s.confirm(l, alice)
	tokens := s.want(200, "", "POST", "/oauth/token", redemption(l))
	if tokens.text("scope") != "openid" {
		t.Errorf("scope %q", tokens.text("scope"))
	}
	for _, scope := range []string{"openid profile", "profile", "phone"} {
		form := refresh(tokens)
		form.Set("scope", scope)
		s.want(400, "invalid_scope", "POST", "/oauth/token", form)
	}
	s.want(200, "", "POST", "/oauth/token", refresh(tokens)) // nothing was spent
}

func refresh(tokens answer) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "client_id": {"web"}, "refresh_token": {tokens.text("refresh_token")}}
}

// RFC 8628 section 3.5, in the order of a login.
func TestGrantAnswersInEveryState(t *testing.T) {
	s := newSite(t, setup{})
	alice := s.phone("alice")
	l := s.create(nil)
	s.want(400, "authorization_pending", "POST", "/oauth/token", redemption(l))
	s.scan(&l, alice)
	s.want(400, "authorization_pending", "POST", "/oauth/token", redemption(l))
	s.confirm(l, alice)
	first := s.want(200, "", "POST", "/oauth/token", redemption(l))
	again := s.want(200, "", "POST", "/oauth/token", redemption(l))
	if first.text("refresh_token") != again.text("refresh_token") {
		t.Error("a lost answer came back different")
	}
	denied, canceled := s.create(nil), s.create(nil)
	s.scan(&denied, alice)
	s.want(200, "", "POST", denied.path("/deny"), map[string]string{"confirm_token": denied.confirmToken}, bearerOf(alice)...)
	s.want(204, "", "DELETE", canceled.path(""), nil, bearerOf(canceled.deviceCode)...)
	s.want(400, "access_denied", "POST", "/oauth/token", redemption(denied))
	s.want(400, "access_denied", "POST", "/oauth/token", redemption(canceled))
}

// B24, B25: whatever proof is wrong, the answer is the same, byte for byte, and
// the login is not harmed by it.
func TestWrongProofsAreAllTheSameInvalidGrant(t *testing.T) {
	s := newSite(t, setup{})
	alice := s.phone("alice")
	l, other := s.create(nil), s.create(map[string]string{"client_id": "other"})
	s.scan(&l, alice)
	s.confirm(l, alice)
	_, secret, _ := strings.Cut(other.deviceCode, ".")
	var refusals []string
	for _, change := range [][2]string{
		{"device_code", b64id + "." + secret}, {"device_code", l.id + "." + secret}, {"device_code", l.deviceCode + "A"},
		{"device_code", l.deviceCode[:len(l.deviceCode)-1]}, {"device_code", "x"}, {"device_code", strings.Repeat(".", 4000)},
		{"device_code", strings.ToUpper(l.deviceCode)}, {"device_code", l.confirmToken}, {"device_code", other.deviceCode},
		{"client_id", "other"}, {"client_id", "device"}, {"client_id", "phone"}, {"code_verifier", strings.Repeat("A", 43)},
	} {
		form := redemption(l)
		form.Set(change[0], change[1])
		refusals = append(refusals, s.want(400, "invalid_grant", "POST", "/oauth/token", form).raw)
	}
	if len(slices.Compact(refusals)) != 1 {
		t.Errorf("answers tell them apart: %q", refusals)
	}
	s.want(200, "", "POST", "/oauth/token", redemption(l))
}

// RFC 8628 section 3.5: who keeps to the interval is never told to slow down,
// who does not is, and only in the place of authorization_pending.
func TestSlowDownNeverHitsHonestPolling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, setup{direct: true})
		alice := s.phone("alice")
		honest := s.create(nil)
		for range 12 {
			s.want(400, "authorization_pending", "POST", "/oauth/token", redemption(honest))
			s.want(400, "authorization_pending", "POST", "/oauth/token", redemption(honest))
			time.Sleep(qrloginInterval)
		}
		hasty, slowed := s.create(nil), 0
		for range 20 {
			if a := s.send("POST", "/oauth/token", redemption(hasty)); a.code() == "slow_down" {
				slowed++
			}
		}
		if slowed != 18 {
			t.Errorf("%d of 20 polls at once were slowed down, want 18", slowed)
		}
		wrong := redemption(hasty)
		wrong.Set("client_id", "other")
		s.want(400, "invalid_grant", "POST", "/oauth/token", wrong)
		s.scan(&hasty, alice)
		s.want(400, "slow_down", "POST", "/oauth/token", redemption(hasty))
		s.confirm(hasty, alice)
		s.want(200, "", "POST", "/oauth/token", redemption(hasty))
	})
}

// qrloginInterval is what tickets tell their browsers.
const qrloginInterval = 5 * time.Second

// T6, T7: racing and repeated redemptions are one session; after the grace
// they end it.
func TestReplayedRedemptionEndsTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, setup{direct: true})
		alice := s.phone("alice")
		l := s.create(nil)
		s.scan(&l, alice)
		s.confirm(l, alice)
		var mu sync.Mutex
		var got []string
		var racers sync.WaitGroup
		for range 50 {
			racers.Go(func() {
				a := s.want(200, "", "POST", "/oauth/token", redemption(l))
				mu.Lock()
				defer mu.Unlock()
				got = append(got, a.text("refresh_token"))
			})
		}
		racers.Wait()
		if len(slices.Compact(got)) != 1 {
			t.Errorf("50 racing redemptions gave %d sessions", len(slices.Compact(got)))
		}
		access := s.want(200, "", "POST", "/oauth/token", redemption(l)).text("access_token")
		s.want(200, "", "GET", "/oauth/userinfo", nil, bearerOf(access)...)
		time.Sleep(11 * time.Second)
		wrong := redemption(l)
		wrong.Set("code_verifier", strings.Repeat("A", 43))
		s.want(400, "invalid_grant", "POST", "/oauth/token", wrong)
		s.want(200, "", "GET", "/oauth/userinfo", nil, bearerOf(access)...) // a thief without the proofs ends nothing
		s.want(400, "invalid_grant", "POST", "/oauth/token", redemption(l))
		s.want(401, "invalid_token", "GET", "/oauth/userinfo", nil, bearerOf(access)...)
	})
}

// B27: made-up refresh tokens, and real ones in the wrong hands, get one answer
// and end nothing.
func TestForgedRefreshTokensEndNothing(t *testing.T) {
	s := newSite(t, setup{})
	tokens := s.signedIn(s.phone("alice"))
	real := tokens.text("refresh_token")
	flipped := []byte(real)
	flipped[len(flipped)/2] ^= 1
	var refusals []string
	for _, forged := range []string{
		"x", "sl_rt_", "sl_rt_AAAA", real[:len(real)-1], real + "A", strings.ToUpper(real), "Bearer " + real, string(flipped),
		strings.TrimPrefix(real, "sl_rt_"), tokens.text("access_token"), strings.Repeat("A", 4000), real + "\n",
	} {
		form := refresh(tokens)
		form.Set("refresh_token", forged)
		refusals = append(refusals, s.want(400, "invalid_grant", "POST", "/oauth/token", form).raw)
	}
	stolen := refresh(tokens)
	stolen.Set("client_id", "other")
	refusals = append(refusals, s.want(400, "invalid_grant", "POST", "/oauth/token", stolen).raw)
	if len(slices.Compact(refusals)) != 1 {
		t.Errorf("answers tell them apart: %q", refusals)
	}
	giant := refresh(tokens)
	giant.Set("refresh_token", strings.Repeat("A", 1<<20))
	s.want(413, "body_too_large", "POST", "/oauth/token", giant)
	empty := refresh(tokens)
	empty.Set("refresh_token", "")
	s.want(400, "invalid_request", "POST", "/oauth/token", empty)

	next := s.want(200, "", "POST", "/oauth/token", refresh(tokens))
	if next.text("refresh_token") == real {
		t.Error("the refresh token did not rotate")
	}
	s.want(200, "", "GET", "/oauth/userinfo", nil, bearerOf(next.text("access_token"))...)
}

// Wrong credentials and unknown users are the same answer (T27).
func TestSignInDoesNotTellWhoExists(t *testing.T) {
	s := newSite(t, setup{})
	unknown := s.want(401, "invalid_credential", "POST", "/v1/signin/demo", map[string]string{"credential": "mallory"})
	for _, credential := range []string{"Alice", "alice ", "alic", "demo:alice", "' OR 1=1 --", strings.Repeat("a", 4000)} {
		if a := s.want(401, "invalid_credential", "POST", "/v1/signin/demo", map[string]string{"credential": credential}); !sameBut(a, unknown) {
			t.Errorf("%q: %s", credential, a.raw)
		}
	}
	for _, provider := range []string{"wechat", "DEMO", "..%2fdemo", "demo%00"} {
		s.want(404, "not_found", "POST", "/v1/signin/"+provider, map[string]string{"credential": "alice"})
	}
}

// The device door: one QR text for the whole life, expires_in over all three
// deadlines, a code to type.
func TestDeviceAuthorizationAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, setup{direct: true})
		a := s.want(200, "", "POST", "/oauth/device_authorization", url.Values{"client_id": {"device"}})
		if a.body["rotates_in"] != nil || a.body["expires_in"] != float64(300) || a.text("verification_uri") != s.public+"/s" ||
			a.body["interval"] != float64(5) || a.text("user_code") == "" || !strings.HasPrefix(a.text("verification_uri_complete"), s.public+"/s/") {
			t.Errorf("device authorization: %s", a.raw)
		}
		time.Sleep(170 * time.Second) // its first QR text is still good
		s.want(200, "", "POST", "/v1/scan", map[string]string{"qr": a.text("verification_uri_complete")}, bearerOf(s.phone("alice"))...)
		web := s.want(201, "", "POST", "/v1/tickets", nil)
		if web.body["rotates_in"] != float64(30) || web.body["expires_in"] != float64(180) || web.body["user_code"] != nil || web.body["verification_uri"] != nil {
			t.Errorf("ticket: %s", web.raw)
		}
	})
}
