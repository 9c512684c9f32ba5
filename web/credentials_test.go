package web

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"
)

// bearerRoute is a route that wants a bearer token.
type bearerRoute struct {
	method, path, body string
	none               string // the code word without a credential
}

func bearerRoutes(id string) []bearerRoute {
	return []bearerRoute{
		{"GET", "/v1/tickets/" + id, "", "invalid_device_code"},
		{"GET", "/v1/tickets/" + id + "/events", "", "invalid_device_code"},
		{"GET", "/v1/tickets/" + id + "/qr.png", "", "invalid_device_code"},
		{"GET", "/v1/tickets/" + id + "/qr.svg", "", "invalid_device_code"},
		{"DELETE", "/v1/tickets/" + id, "", "invalid_device_code"},
		{"POST", "/v1/tickets/" + id + "/check", `{"code":"07"}`, "invalid_device_code"},
		{"POST", "/v1/scan", `{"qr":"x"}`, "invalid_token"},
		{"POST", "/v1/tickets/" + id + "/confirm", `{"confirm_token":"x"}`, "invalid_token"},
		{"POST", "/v1/tickets/" + id + "/deny", `{"confirm_token":"x"}`, "invalid_token"},
		{"GET", "/v1/tickets/" + id + "/decision", "", "invalid_token"},
		{"GET", "/oauth/userinfo", "", "invalid_token"},
		{"GET", "/v1/sessions", "", "invalid_token"},
		{"DELETE", "/v1/sessions?others=true", "", "invalid_token"},
		{"DELETE", "/v1/sessions/" + b64id, "", "invalid_token"},
	}
}

// forPhones says that only a phone may call it.
func (r bearerRoute) forPhones() bool {
	return r.none == "invalid_token" && r.path != "/oauth/userinfo" && !strings.HasPrefix(r.path, "/v1/sessions")
}

// B14, B16: no credential is 401 without an error code (RFC 6750 section 3.1),
// a malformed one is 400, a wrong one 401 with it.
func TestMalformedAuthorizationIsRefused(t *testing.T) {
	s := newSite(t, setup{})
	l := s.create(nil)
	const plain, coded = `Bearer realm="scanlogin"`, `Bearer realm="scanlogin", error="invalid_token"`
	for _, route := range bearerRoutes(l.id) {
		wrong := route.none
		rows := []struct {
			name      string
			headers   []string
			status    int
			code      string
			challenge string
		}{
			{"none", nil, 401, route.none, plain},
			{"Basic", []string{"Authorization", "Basic d2ViOg=="}, 401, route.none, plain},
			{"other scheme", []string{"Authorization", "DPoP x"}, 401, route.none, plain},
			{"scheme alone", []string{"Authorization", "Bearer"}, 400, "invalid_request", ""},
			{"two words", []string{"Authorization", "Bearer a b"}, 400, "invalid_request", ""},
			{"comma", []string{"Authorization", "Bearer a, Bearer b"}, 400, "invalid_request", ""},
			{"two headers", []string{"Authorization", "Bearer a", "Authorization", "Bearer b"}, 400, "invalid_request", ""},
			{"wrong", []string{"Authorization", "Bearer abc"}, 401, wrong, coded},
			{"lower-case scheme", []string{"Authorization", "bearer abc"}, 401, wrong, coded},
			{"in a cookie", []string{"Cookie", "Authorization=Bearer abc; access_token=abc"}, 401, route.none, plain},
			{"not ASCII", []string{"Authorization", "Bearer \u00e4\u00f6"}, 401, wrong, coded},
		}
		for _, row := range rows {
			a := s.send(route.method, route.path, route.body, row.headers...)
			if a.status != row.status || a.code() != row.code || a.header.Get("WWW-Authenticate") != row.challenge {
				t.Errorf("%s %s: %s: %d %s %q, want %d %s %q", route.method, route.path, row.name,
					a.status, a.code(), a.header.Get("WWW-Authenticate"), row.status, row.code, row.challenge)
			}
		}
	}
}

// B16: RFC 9110 section 11.1, the scheme's case does not matter.
func TestLowerCaseBearerIsAccepted(t *testing.T) {
	s := newSite(t, setup{})
	l := s.create(nil)
	s.want(200, "", "GET", l.path(""), nil, "Authorization", "bEaReR  "+l.deviceCode)
	s.want(200, "", "GET", "/oauth/userinfo", nil, "Authorization", "bearer "+s.phone("alice"))
}

// T30: a token of a million dots is refused without being taken apart.
func TestTokenOfDotsIsRefusedAtOnce(t *testing.T) {
	s := newSite(t, setup{})
	for size, status := range map[int]int{12 << 10: http.StatusUnauthorized, 1 << 20: http.StatusRequestHeaderFieldsTooLarge} {
		begun := time.Now()
		r := s.request("POST", "/v1/scan", `{"qr":"x"}`, "Authorization", "Bearer "+strings.Repeat(".", size))
		response, err := s.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if took := time.Since(begun); response.StatusCode != status || took > 2*time.Second {
			t.Errorf("%d dots: %d after %s, want %d", size, response.StatusCode, took, status)
		}
	}
}

// B15: a browser that was signed in by scanning can't sign in others: no chain
// of logins. Nor can a phone token's bearer do the browser's moves.
func TestTokenOfABrowserCannotActAsAPhone(t *testing.T) {
	s := newSite(t, setup{})
	phone := s.phone("alice")
	web := s.signedIn(phone).text("access_token")
	l := s.create(nil)
	s.scan(&l, phone)
	for _, route := range bearerRoutes(l.id) {
		if route.forPhones() {
			s.want(403, "phone_token_required", route.method, route.path, route.body, bearerOf(web)...)
			// Before anything is said about the ticket or the body.
			s.want(403, "phone_token_required", route.method, strings.ReplaceAll(route.path, l.id, b64id), `{"x":`, bearerOf(web)...)
		}
		if route.none == "invalid_device_code" {
			s.want(401, "invalid_device_code", route.method, route.path, route.body, bearerOf(phone)...)
			s.want(401, "invalid_device_code", route.method, route.path, route.body, bearerOf(l.confirmToken)...)
		}
	}
	if got := s.status(l); got != "scanned" {
		t.Errorf("the ticket is %s", got)
	}
}

// T3: who has photographed the QR, or even knows the ticket's id, gets nothing
// from any door of the browser.
func TestPhotographOfTheQROpensNothing(t *testing.T) {
	s := newSite(t, setup{})
	l, other := s.create(nil), s.create(nil)
	token := l.qr[strings.LastIndex(l.qr, "/")+1:]
	_, secret, _ := strings.Cut(other.deviceCode, ".")
	for name, credential := range map[string]string{
		"qr text": l.qr, "qr_token": token, "ticket id": l.id, "id and dot": l.id + ".",
		"another ticket's code": other.deviceCode, "another ticket's secret": l.id + "." + secret,
		"id and qr_token": l.id + "." + token,
	} {
		for _, route := range bearerRoutes(l.id) {
			if route.none == "invalid_device_code" {
				if a := s.send(route.method, route.path, route.body, bearerOf(credential)...); a.status != 401 {
					t.Errorf("%s: %s %s: %d", name, route.method, route.path, a.status)
				}
			}
		}
		form := redemption(l)
		form.Set("device_code", credential)
		if a := s.send("POST", "/oauth/token", form); a.status != 400 || a.code() != "invalid_grant" && name != "another ticket's code" {
			t.Errorf("%s: token: %d %s", name, a.status, a.code())
		}
	}
	phone := s.phone("alice")
	s.scan(&l, phone)
	s.confirm(l, phone)
	s.want(200, "", "POST", "/oauth/token", redemption(l))
}

// T46, B37: a credential in a URL ends up in logs, histories and Referer
// headers. No kind of address takes one.
func TestTokenInURLIsRefused(t *testing.T) {
	s := newSite(t, setup{})
	l := s.create(nil)
	for _, path := range []string{
		l.path(""), l.path("/ws"), l.path("/events"), l.path("/qr.png"), l.path("/decision"), "/oauth/userinfo",
		"/", "/s", "/s/x", "/livez", "/readyz", "/qr-login.js", "/.well-known/jwks.json", "/nowhere",
	} {
		for _, name := range []string{"access_token", "token", "refresh_token", "device_code", "confirm_token"} {
			s.want(400, "token_in_url", "GET", path+"?"+name+"="+l.deviceCode, nil, bearerOf(l.deviceCode)...)
			s.want(400, "token_in_url", "GET", path+"?x=%zz&"+name, nil)
		}
	}
	for _, path := range []string{"/v1/tickets", "/v1/scan", "/oauth/token", "/s/scan", "/signout"} {
		s.want(400, "token_in_url", "POST", path+"?to%6ben=x", nil)
	}
	s.want(400, "token_in_url", "DELETE", l.path("?device_code="+l.deviceCode), nil)
	if strings.Contains(s.log.String(), l.deviceCode) {
		t.Error("the device_code is in the log")
	}
	if got := s.status(l); got != "pending" {
		t.Errorf("the ticket is %s", got)
	}
}

// T46, T47: no secret of a login, and nothing that a stranger chose, is in the
// log, and each request is one record.
func TestForgedLogLinesAndSecretsStayOutOfTheLog(t *testing.T) {
	s := newSite(t, setup{})
	phone := s.phone("alice")
	evil := "Mozilla\t{\"level\":\"info\",\"msg\":\"forged\"}"
	l := s.create(nil)
	s.scan(&l, phone)
	s.confirm(l, phone)
	tokens := s.want(200, "", "POST", "/oauth/token", redemption(l), "User-Agent", evil)
	s.want(404, "not_found", "GET", "/no%0a%7b%22msg%22:%22forged%22%7d", nil)
	log := s.log.String()
	for _, secret := range []string{l.deviceCode, l.confirmToken, phone, tokens.text("access_token"), tokens.text("refresh_token"), l.qr, "forged"} {
		if strings.Contains(log, secret) {
			t.Errorf("in the log: %.20s…", secret)
		}
	}
	for line := range strings.Lines(log) {
		if !strings.HasPrefix(line, `{"time":`) || !strings.HasSuffix(line, "}\n") {
			t.Errorf("not a record of ours: %q", line)
		}
	}
}

// T28, B29, B30, B32, B33: access tokens that were not signed here, or were
// changed after, open nothing.
func TestForgedAccessTokensAreRefused(t *testing.T) {
	s := newSite(t, setup{})
	good := s.phone("alice")
	parts := strings.Split(good, ".")
	var header map[string]any
	raw, err := base64.RawURLEncoding.DecodeString(parts[0])
	if err != nil || json.Unmarshal(raw, &header) != nil {
		t.Fatal(err)
	}
	var set struct{ Keys []struct{ X string } }
	if err := json.Unmarshal([]byte(s.want(200, "", "GET", "/.well-known/jwks.json", nil).raw), &set); err != nil {
		t.Fatal(err)
	}
	public, err := base64.RawURLEncoding.DecodeString(set.Keys[0].X)
	if err != nil {
		t.Fatal(err)
	}
	with := func(member string, value any) string {
		changed := maps.Clone(header)
		changed[member] = value
		raw, err := json.Marshal(changed)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(raw) + "." + parts[1]
	}
	confused := hmac.New(sha256.New, public)
	confused.Write([]byte(with("alg", "HS256")))
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	other := base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(claims), "demo:alice", "demo:bob", 1)))
	rows := map[string]string{
		"alg none": with("alg", "none") + ".", "alg None": with("alg", "None") + ".", "alg none, signed": with("alg", "none") + "." + parts[2],
		"HS256 with the public key": with("alg", "HS256") + "." + base64.RawURLEncoding.EncodeToString(confused.Sum(nil)),
		"RS256":                     with("alg", "RS256") + "." + parts[2],
		"typ JWT":                   with("typ", "JWT") + "." + parts[2],
		"kid is a path":             with("kid", "../../etc/passwd") + "." + parts[2],
		"jku":                       with("jku", s.url+"/.well-known/jwks.json") + "." + parts[2],
		"jwk":                       with("jwk", map[string]string{"kty": "OKP"}) + "." + parts[2],
		"crit":                      with("crit", []string{"x"}) + "." + parts[2],
		"other claims":              parts[0] + "." + other + "." + parts[2],
		"two parts":                 parts[0] + "." + parts[1],
		"four parts":                good + ".x",
		"no signature":              parts[0] + "." + parts[1] + ".",
		"padding":                   good + "=",
		"JSON serialization":        `{"payload":"` + parts[1] + `","signature":"` + parts[2] + `"}`,
		"quoted":                    `"` + good + `"`,
	}
	for name, token := range rows {
		for _, path := range []string{"/v1/tickets/" + b64id + "/decision", "/oauth/userinfo", "/v1/sessions"} {
			a := s.want(401, "invalid_token", "GET", path, nil, bearerOf(token)...)
			if got := a.header.Get("WWW-Authenticate"); got != `Bearer realm="scanlogin", error="invalid_token"` {
				t.Errorf("%s: %q", name, got)
			}
		}
	}
	s.want(200, "", "GET", "/oauth/userinfo", nil, bearerOf(good)...)
}
