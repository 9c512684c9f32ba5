package web

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"scanlogin/auth"
)

func hashed(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

// shop is a confidential client with two secrets, as while one is changed.
var shop = auth.Client{
	ID: "shop", Name: "Shop", Kind: "web", Scopes: []string{"openid", "orders"}, DeviceFlow: true, Audience: "https://api.shop.example",
	SecretHashes: [][]byte{hashed("right"), hashed("newer")}, Origins: []string{"https://shop.example"},
}

// bank is another one, with an origin of its own.
var bank = auth.Client{
	ID: "bank", Name: "Bank", Kind: "web", Scopes: []string{"openid"}, DeviceFlow: true,
	SecretHashes: [][]byte{hashed("bank")}, Origins: []string{"https://bank.example"},
}

func (s *site) basic(id, secret string) []string {
	r := s.request("GET", "/", nil)
	r.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
	return []string{"Authorization", r.Header.Get("Authorization")}
}

// aboutToken is the form of a client's revocation or introspection.
func aboutToken(client, secret, token string) url.Values {
	form := url.Values{"client_id": {client}, "token": {token}}
	if secret != "" {
		form.Set("client_secret", secret)
	}
	return form
}

// confidential goes through a login of a client that has a secret.
func (s *site) confidential(phone string, c auth.Client, secret string) answer {
	s.t.Helper()
	l := s.create(map[string]string{"client_id": c.ID}) // the browser's side: no secret there
	s.scan(&l, phone)
	s.confirm(l, phone)
	form := redemption(l)
	form.Set("client_id", c.ID)
	s.want(401, "invalid_client", "POST", "/oauth/token", form)
	form.Set("client_secret", secret)
	return s.want(200, "", "POST", "/oauth/token", form)
}

// Whatever is wrong with a client, the answer is the same, byte for byte.
func TestClientsCannotBeProbed(t *testing.T) {
	s := newSite(t, setup{clients: []auth.Client{shop, bank}})
	grant := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"x"}, "token": {"x"}}
	with := func(id, secret string) url.Values {
		form := url.Values{}
		for name, values := range grant {
			form[name] = values
		}
		if id != "" {
			form.Set("client_id", id)
		}
		if secret != "" {
			form.Set("client_secret", secret)
		}
		return form
	}
	type row struct {
		form  url.Values
		basic []string
	}
	rows := map[string]row{
		"wrong secret": {with("shop", "wrong"), nil}, "unknown client": {with("nobody", "wrong"), nil},
		"no secret": {with("shop", ""), nil}, "unknown, no secret": {with("nobody", ""), nil}, "no client": {with("", ""), nil},
		"another's secret": {with("shop", "bank"), nil}, "the hash": {with("shop", hex.EncodeToString(hashed("right"))), nil},
		"public with a secret": {with("web", "right"), nil}, "other case": {with("shop", "Right"), nil},
		"Basic, wrong": {with("", ""), s.basic("shop", "wrong")}, "Basic, unknown": {with("", ""), s.basic("nobody", "wrong")},
		"Basic, broken": {with("shop", "right"), []string{"Authorization", "Basic !!!"}},
		"Basic, empty":  {with("", ""), s.basic("shop", "")}, "Basic, public with a secret": {with("", ""), s.basic("web", "x")},
	}
	for _, path := range []string{"/oauth/token", "/oauth/revoke", "/oauth/introspect", "/oauth/device_authorization"} {
		var bodies []string
		for name, row := range rows {
			a := s.want(401, "invalid_client", "POST", path, row.form, row.basic...)
			if !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Basic ") {
				t.Errorf("%s: %s: %v", path, name, a.header)
			}
			bodies = append(bodies, a.raw)
		}
		slices.Sort(bodies)
		if len(slices.Compact(bodies)) != 1 {
			t.Errorf("%s tells them apart: %q", path, slices.Compact(bodies))
		}
	}
	for _, secret := range []string{"right", "newer"} {
		s.want(400, "invalid_grant", "POST", "/oauth/token", with("shop", secret))
		s.want(400, "invalid_grant", "POST", "/oauth/token", grant, s.basic("shop", secret)...)
	}
	s.want(400, "invalid_request", "POST", "/oauth/token", with("shop", "right"), s.basic("shop", "right")...)
	// A public client proves nothing and so may not look into tokens.
	s.want(401, "invalid_client", "POST", "/oauth/introspect", aboutToken("web", "", "x"))
}

func TestConfidentialClientLogsIn(t *testing.T) {
	s := newSite(t, setup{clients: []auth.Client{shop}})
	phone := s.phone("alice")
	tokens := s.confidential(phone, shop, "newer")
	stolen := refresh(tokens)
	stolen.Set("client_id", "shop")
	s.want(401, "invalid_client", "POST", "/oauth/token", stolen) // the token alone is not enough
	stolen.Del("client_id")
	next := s.want(200, "", "POST", "/oauth/token", stolen, s.basic("shop", "right")...)
	s.want(200, "", "GET", "/oauth/userinfo", nil, bearerOf(next.text("access_token"))...)
	device := url.Values{"client_id": {"shop"}}
	s.want(401, "invalid_client", "POST", "/oauth/device_authorization", device)
	device.Set("client_secret", "right")
	s.want(200, "", "POST", "/oauth/device_authorization", device)
}

// RFC 7009.
func TestRevocation(t *testing.T) {
	s := newSite(t, setup{clients: []auth.Client{shop, bank}})
	phone := s.phone("alice")
	alive := func(access string) bool {
		return s.send("GET", "/oauth/userinfo", nil, bearerOf(access)...).status == 200
	}
	for _, member := range []string{"access_token", "refresh_token"} {
		for _, hint := range []string{"", "access_token", "refresh_token", "nonsense"} {
			tokens := s.signedIn(phone)
			for name, other := range map[string]url.Values{
				"public": aboutToken("other", "", tokens.text(member)), "confidential": aboutToken("bank", "bank", tokens.text(member)),
			} {
				if a := s.want(400, "invalid_grant", "POST", "/oauth/revoke", other); a.status == 200 || !alive(tokens.text("access_token")) {
					t.Errorf("%s of another client (%s): %d", member, name, a.status)
				}
			}
			form := aboutToken("web", "", tokens.text(member))
			if hint != "" {
				form.Set("token_type_hint", hint)
			}
			for range 2 { // the second stands for nothing any more
				if a := s.want(200, "", "POST", "/oauth/revoke", form); a.raw != "" {
					t.Errorf("revoked: %q", a.raw)
				}
			}
			if alive(tokens.text("access_token")) {
				t.Errorf("%s with hint %q: still alive", member, hint)
			}
			s.want(400, "invalid_grant", "POST", "/oauth/token", refresh(tokens))
		}
	}
	for _, token := range []string{"x", "sl_rt_AAAA", strings.Repeat(".", 4000), "a.b.c"} {
		s.want(200, "", "POST", "/oauth/revoke", aboutToken("web", "", token))
	}
	s.want(400, "invalid_request", "POST", "/oauth/revoke", url.Values{"client_id": {"web"}})
	s.want(400, "invalid_request", "POST", "/oauth/revoke", "client_id=web&token=a&token=b", "Content-Type", formType)
	s.want(401, "invalid_client", "POST", "/oauth/revoke", aboutToken("shop", "wrong", "x"))
	s.want(400, "token_in_url", "POST", "/oauth/revoke?token=x", url.Values{"client_id": {"web"}})
}

// RFC 7662.
func TestIntrospection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, setup{direct: true, clients: []auth.Client{shop, bank}})
		begun := float64(time.Now().Unix())
		phone := s.phone("alice")
		tokens := s.confidential(phone, shop, "right")
		ask := func(c, secret, token string) map[string]any {
			t.Helper()
			return s.want(200, "", "POST", "/oauth/introspect", aboutToken(c, secret, token)).body
		}
		want := func(got map[string]any, members map[string]any) {
			t.Helper()
			for name, value := range members {
				if got[name] != value {
					t.Errorf("%s: %v, want %v", name, got[name], value)
				}
			}
			if amr, _ := got["amr"].([]any); len(amr) != 1 || amr[0] != "qr" {
				t.Errorf("amr: %v", got["amr"])
			}
		}
		sid := s.currentOf(tokens.text("access_token"))
		access := map[string]any{
			"active": true, "scope": "openid orders", "client_id": "shop", "token_type": "Bearer", "iat": begun, "nbf": begun, "exp": begun + 600,
			"sub": "demo:alice", "aud": "https://api.shop.example", "iss": s.public, "sid": sid, "auth_time": begun,
		}
		// A resource server asks about what it was shown, whoever's it is.
		for _, c := range []struct{ id, secret string }{{"shop", "right"}, {"shop", "newer"}, {"bank", "bank"}} {
			got := ask(c.id, c.secret, tokens.text("access_token"))
			want(got, access)
			if id, _ := got["jti"].(string); len(id) < 16 || len(got) != 14 {
				t.Errorf("%v", got)
			}
		}
		got := ask("shop", "right", tokens.text("refresh_token"))
		want(got, map[string]any{"active": true, "scope": "openid orders", "client_id": "shop", "sub": "demo:alice", "iss": s.public, "sid": sid,
			"iat": begun, "exp": begun + 7*24*3600, "auth_time": begun, "token_type": nil, "aud": nil, "jti": nil, "nbf": nil})
		dead := func(c, secret, token string) {
			t.Helper()
			if got := ask(c, secret, token); len(got) != 1 || got["active"] != false {
				t.Errorf("%v", got)
			}
		}
		dead("bank", "bank", tokens.text("refresh_token"))
		for _, token := range []string{"x", "a.b.c", "sl_rt_AAAA", tokens.text("access_token") + "x", strings.Repeat(".", 4000)} {
			dead("shop", "right", token)
		}
		time.Sleep(11 * time.Minute)
		dead("shop", "right", tokens.text("access_token"))
		fresh := s.want(200, "", "POST", "/oauth/token", url.Values{
			"grant_type": {"refresh_token"}, "refresh_token": {tokens.text("refresh_token")}}, s.basic("shop", "right")...)
		dead("shop", "right", tokens.text("refresh_token")) // spent
		if err := s.auth.Ban(t.Context(), auth.Ban{User: "demo:alice"}); err != nil {
			t.Fatal(err)
		}
		dead("shop", "right", fresh.text("access_token"))
		dead("shop", "right", fresh.text("refresh_token"))
		s.want(400, "invalid_request", "POST", "/oauth/introspect", url.Values{"client_id": {"shop"}, "client_secret": {"right"}})
	})
}

// RFC 8414: what there is is said, as the clients are configured.
func TestMetadataKnowsTheClients(t *testing.T) {
	s := newSite(t, setup{clients: []auth.Client{shop}})
	a := s.want(200, "", "GET", "/.well-known/oauth-authorization-server", nil)
	for member, want := range map[string]any{
		"revocation_endpoint": s.public + "/oauth/revoke", "introspection_endpoint": s.public + "/oauth/introspect",
		"scopes_supported":                              []string{"openid", "orders", "phone", "profile"},
		"token_endpoint_auth_methods_supported":         []string{"none", "client_secret_basic", "client_secret_post"},
		"revocation_endpoint_auth_methods_supported":    []string{"none", "client_secret_basic", "client_secret_post"},
		"introspection_endpoint_auth_methods_supported": []string{"client_secret_basic", "client_secret_post"},
	} {
		got := a.body[member]
		if list, ok := got.([]any); ok {
			var texts []string
			for _, one := range list {
				texts = append(texts, one.(string))
			}
			if !slices.Equal(texts, want.([]string)) {
				t.Errorf("%s: %v, want %v", member, texts, want)
			}
		} else if got != want {
			t.Errorf("%s: %v, want %v", member, got, want)
		}
	}
}

// T16, T17: a page of one client's origin may call the API, and open sockets,
// but not in the name of another client.
func TestPageOfOneClientCannotNameAnother(t *testing.T) {
	const public, friend = "https://login.example", "https://friend.example"
	s := newSite(t, setup{publicURL: public, origins: []string{friend}, clients: []auth.Client{shop, bank}})
	secrets := map[string]string{"shop": "right", "bank": "bank", "web": ""}
	for origin, may := range map[string][]string{
		"https://shop.example": {"shop"}, "https://bank.example": {"bank"}, public: {"shop", "bank", "web"}, friend: {"shop", "bank", "web"},
		"": {"shop", "bank", "web"}, "https://evil.test": nil,
	} {
		site := "cross-site"
		if origin == public || origin == "" {
			site = ""
		}
		for client, secret := range secrets {
			form := aboutToken(client, secret, "x")
			form.Set("grant_type", "refresh_token")
			form.Set("refresh_token", "x")
			for path, body := range map[string]any{
				"/v1/tickets": map[string]string{"client_id": client}, "/oauth/device_authorization": form, "/oauth/token": form, "/oauth/revoke": form, "/oauth/introspect": form,
			} {
				a := s.send("POST", path, body, "Origin", origin, "Sec-Fetch-Site", site)
				if refused := a.code() == "cross_origin"; refused == slices.Contains(may, client) || refused && a.status != 403 {
					t.Errorf("%s from %q as %s: %d %s", path, origin, client, a.status, a.code())
				}
				if cors := a.header.Get("Access-Control-Allow-Origin"); (cors == origin) != (may != nil) {
					t.Errorf("%s from %q: CORS %q", path, origin, cors)
				}
			}
		}
		a := s.send("POST", "/v1/signin/demo", map[string]string{"credential": "alice"}, "Origin", origin, "Sec-Fetch-Site", site)
		if own := len(may) == 3; (a.status == 200) != own || !own && a.code() != "cross_origin" {
			t.Errorf("a phone signs in from %q: %d %s", origin, a.status, a.code())
		}
		if origin == "" {
			continue
		}
		for _, path := range []string{"/v1/tickets/" + b64id + "/ws", sessionSocket} {
			if _, a := s.dial(path, "Origin", origin); (a.status == 101) != (may != nil) {
				t.Errorf("socket from %q: %d", origin, a.status)
			}
		}
		if a := s.send("DELETE", "/v1/sessions", nil, "Origin", origin, "Sec-Fetch-Site", site); (a.status == 401) != (may != nil) {
			t.Errorf("sessions from %q: %d %s", origin, a.status, a.code())
		}
	}
	// Who has no secret learns nothing of a client from the answer.
	known := s.want(403, "cross_origin", "POST", "/oauth/token", url.Values{"grant_type": {"x"}, "client_id": {"bank"}}, "Origin", "https://shop.example")
	unknown := s.want(403, "cross_origin", "POST", "/oauth/token", url.Values{"grant_type": {"x"}, "client_id": {"nobody"}}, "Origin", "https://shop.example")
	if known.raw != unknown.raw {
		t.Errorf("told apart: %s %s", known.raw, unknown.raw)
	}
}
