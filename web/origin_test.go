package web

import (
	"net/url"
	"strings"
	"testing"
)

// T16: a page of another origin can't make a browser change anything here.
func TestCrossSiteRequestForgery(t *testing.T) {
	const public, friend = "https://login.example", "https://shop.example:8443"
	s := newSite(t, setup{publicURL: public, origins: []string{friend}})
	rows := []struct {
		site, origin string
		good         bool
	}{
		{"", "", true}, // no browser
		{"same-origin", "", true},
		{"same-origin", public, true},
		{"none", "", true},
		{"", public, true},
		{"cross-site", friend, true},
		{"same-site", friend, true},
		{"", friend, true},
		{"cross-site", "", false},
		{"same-site", "", false},
		{"cross-site", "https://evil.test", false},
		{"same-site", "https://evil.login.example", false},
		{"cross-site", "null", false},
		{"Same-Origin", "https://evil.test", false},
		{"", "https://evil.test", false},
		{"", "null", false},
		{"", "http://login.example", false},
		{"", "https://login.example:444", false},
		{"", "https://login.example.evil.test", false},
		{"", "https://login.example/", false},
		{"", "https://LOGIN.example", false},
		{"", "https://shop.example", false},
		{"", public + ", " + friend, false},
	}
	routes := [][2]string{
		{"POST", "/v1/tickets"}, {"POST", "/v1/scan"}, {"POST", "/v1/tickets/" + b64id + "/confirm"}, {"POST", "/v1/tickets/" + b64id + "/deny"},
		{"POST", "/v1/signin/demo"}, {"DELETE", "/v1/tickets/" + b64id}, {"POST", "/oauth/token"}, {"POST", "/oauth/device_authorization"},
		{"POST", "/oauth/revoke"}, {"POST", "/oauth/introspect"}, {"DELETE", "/v1/sessions"}, {"DELETE", "/v1/sessions/x"},
		{"POST", "/session"}, {"POST", "/signout"}, {"POST", "/s/signin"}, {"POST", "/s/signout"}, {"POST", "/s/scan"}, {"POST", "/s/decide"},
		{"PUT", "/v1/tickets"}, {"POST", "/nowhere"},
	}
	for _, row := range rows {
		for _, route := range routes {
			var headers []string
			if row.site != "" {
				headers = append(headers, "Sec-Fetch-Site", row.site)
			}
			if row.origin != "" {
				headers = append(headers, "Origin", row.origin)
			}
			a := s.send(route[0], route[1], nil, headers...)
			if refused := a.code() == "cross_origin"; refused == row.good || refused && a.status != 403 {
				t.Errorf("%s %s, Sec-Fetch-Site %q, Origin %q: %d %s", route[0], route[1], row.site, row.origin, a.status, a.code())
			}
		}
		// Reading is not changing.
		if a := s.send("GET", "/livez", nil, "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.test"); a.status != 200 {
			t.Errorf("GET: %d", a.status)
		}
	}
}

// T17: CORS for exactly the allowed origins, on the API alone, and never with
// credentials (judge sees to that everywhere).
func TestForeignOriginsGetNoCORS(t *testing.T) {
	const public, friend = "https://login.example", "https://shop.example:8443"
	s := newSite(t, setup{publicURL: public, origins: []string{friend}})
	l := s.create(nil)
	corsHeaders := func(a answer) (names []string) {
		for name := range a.header {
			if strings.HasPrefix(name, "Access-Control-") {
				names = append(names, name)
			}
		}
		return names
	}
	paths := []string{"/v1/tickets", l.path(""), "/v1/scan", "/v1/sessions", "/oauth/token", "/oauth/userinfo"}
	for _, path := range paths {
		for _, origin := range []string{friend, public} {
			a := s.want(204, "", "OPTIONS", path, nil, "Origin", origin, "Access-Control-Request-Method", "POST")
			for name, want := range map[string]string{
				"Access-Control-Allow-Origin": origin, "Access-Control-Allow-Methods": "GET, POST, DELETE",
				"Access-Control-Allow-Headers": "Authorization, Content-Type", "Access-Control-Max-Age": "7200",
				"Access-Control-Expose-Headers": "Retry-After, X-Request-Id", "Vary": "Origin",
			} {
				if got := strings.Join(a.header.Values(name), "|"); got != want {
					t.Errorf("preflight %s by %s: %s: %q, want %q", path, origin, name, got, want)
				}
			}
		}
		for _, origin := range []string{"https://evil.test", "null", "", "https://shop.example", "http://shop.example:8443", friend + ".evil.test", "https://evil.test/" + friend, "*"} {
			a := s.want(405, "method_not_allowed", "OPTIONS", path, nil, "Origin", origin, "Access-Control-Request-Method", "POST")
			if names := corsHeaders(a); names != nil || a.header.Get("Vary") != "Origin" {
				t.Errorf("preflight %s by %q: %v, Vary %q", path, origin, names, a.header.Get("Vary"))
			}
		}
	}
	// The answers themselves, errors too.
	for _, bearer := range []string{l.deviceCode, "wrong"} {
		a := s.send("GET", l.path(""), nil, "Origin", friend, "Authorization", "Bearer "+bearer)
		if a.header.Get("Access-Control-Allow-Origin") != friend || a.header.Get("Vary") != "Origin" || !strings.Contains(a.header.Get("Access-Control-Expose-Headers"), "X-Request-Id") {
			t.Errorf("%d to a friend: %v", a.status, a.header)
		}
		if a := s.send("GET", l.path(""), nil, "Origin", "https://evil.test", "Authorization", "Bearer "+bearer); corsHeaders(a) != nil || a.header.Get("Vary") != "Origin" {
			t.Errorf("%d to a stranger: %v", a.status, a.header)
		}
	}
	// Pages that show consent, probes and own files that are no module.
	for _, path := range []string{"/", "/s", "/s/x", "/livez", "/readyz"} {
		if a := s.send("GET", path, nil, "Origin", friend); corsHeaders(a) != nil {
			t.Errorf("%s: %v", path, corsHeaders(a))
		}
		if a := s.send("OPTIONS", path, nil, "Origin", friend); a.status != 405 || corsHeaders(a) != nil {
			t.Errorf("OPTIONS %s: %d %v", path, a.status, corsHeaders(a))
		}
	}
}

// T10: nothing that we send people to is built from what a request says our
// name is.
func TestHostHeaderInjection(t *testing.T) {
	const public = "https://login.example"
	s := newSite(t, setup{publicURL: public, proxies: []string{"127.0.0.0/8"}})
	evil := []string{"Host", "evil.test", "X-Forwarded-Host", "evil.test", "X-Forwarded-Proto", "http", "Forwarded", "host=evil.test", "X-Original-URL", "https://evil.test/"}
	made := s.want(201, "", "POST", "/v1/tickets", map[string]any{"user_code": true}, evil...)
	device := s.want(200, "", "POST", "/oauth/device_authorization", url.Values{"client_id": {"device"}}, evil...)
	for _, a := range []answer{made, device} {
		if !strings.HasPrefix(a.text("verification_uri_complete"), public+"/s/") || a.text("verification_uri") != public+"/s" {
			t.Errorf("links: %s", a.raw)
		}
		if text := decodeQR(t, dataURL(t, a.text("qr_image"))); text != a.text("verification_uri_complete") {
			t.Errorf("the QR says %s", text)
		}
	}
	metadata := s.want(200, "", "GET", "/.well-known/oauth-authorization-server", nil, evil...)
	if metadata.text("issuer") != public || strings.Count(metadata.raw, public) != 7 {
		t.Errorf("metadata: %s", metadata.raw)
	}
	for _, path := range []string{"/", "/s", "/s/x", "/.well-known/jwks.json", "/nowhere", "/qr-login.js"} {
		a := s.send("GET", path, nil, evil...)
		if strings.Contains(a.raw, "evil.test") || strings.Contains(a.header.Get("Location")+a.header.Get("Content-Security-Policy"), "evil.test") {
			t.Errorf("%s speaks of evil.test: %v", path, a.header)
		}
	}
}
