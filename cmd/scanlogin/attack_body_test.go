package main

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// B1-B8, T22: whatever is wrong with a body has one clear answer, on every route
// that takes one and on both instances, and changes nothing.
func TestMalformedBodiesChangeNothing(t *testing.T) {
	p := startPair(t)
	phone := p.turn().signIn("alice")
	l := p.turn().create()
	p.turn().scan(&l, phone)
	routes := map[string]string{ // path -> a member it knows
		"/v1/tickets": "client_id", "/v1/signin/demo": "credential", "/v1/scan": "qr",
		"/v1/tickets/" + l.id + "/confirm": "confirm_token", "/v1/tickets/" + l.id + "/deny": "confirm_token",
	}
	rows := []struct{ name, body, code string }{
		{"null", `null`, "invalid_json"}, {"an array", `[]`, "invalid_json"}, {"a string", `"x"`, "invalid_json"}, {"cut", `{"$":`, "invalid_json"},
		{"a second value", `{}{}`, "invalid_json"}, {"text after it", `{} x`, "invalid_json"}, {"a mark before it", "\ufeff{}", "invalid_json"},
		{"a member twice", `{"$":"a","$":"b"}`, "invalid_json"}, {"a member twice, inside", `{"x":{"y":1,"y":2}}`, "invalid_json"},
		{"an unknown member", `{"is_admin":true}`, "unknown_member"}, {"a member in capitals", `{"QR":"x"}`, "unknown_member"},
		{"NUL", "{\"$\":\"a\x00\"}", "invalid_string"}, {"NUL escaped", `{"$":"a\u0000"}`, "invalid_string"}, {"bad UTF-8", "{\"$\":\"\xff\xfe\"}", "invalid_string"},
		{"half a character", `{"$":"\ud800"}`, "invalid_string"}, {"a number", `{"$":1}`, "invalid_request"}, {"an object", `{"$":{"$":"x"}}`, "invalid_request"},
		{"deep", `{"$":` + strings.Repeat("[", 4000) + strings.Repeat("]", 4000) + `}`, "invalid_request"},
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	w.Write(bytes.Repeat([]byte(" "), 10<<20))
	w.Close()
	p.untouched(l, func() {
		for path, member := range routes {
			for _, row := range rows {
				p.both(row.name, 400, row.code, "POST", path, strings.ReplaceAll(row.body, "$", member), bearerOf(phone)...)
			}
			p.both("8193 bytes", 413, "body_too_large", "POST", path, "{}"+strings.Repeat(" ", 8191), bearerOf(phone)...)
			p.both("a bomb", 415, "unsupported_media_type", "POST", path, packed.String()[:4<<10], append(bearerOf(phone), "Content-Encoding", "gzip")...)
			for _, kind := range []string{"text/plain", "application/json; charset=gbk", "multipart/form-data; boundary=x", "application/xml"} {
				p.both(kind, 415, "unsupported_media_type", "POST", path, `{"`+member+`":"x"}`, append(bearerOf(phone), "Content-Type", kind)...)
			}
			for i, api := range p.api { // in chunks, without a length
				r, err := http.NewRequestWithContext(t.Context(), "POST", api.base+path, io.MultiReader(strings.NewReader("{}"), strings.NewReader(strings.Repeat(" ", 9000))))
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Content-Type", "application/json")
				r.Header.Set("Authorization", "Bearer "+phone)
				if a, err := api.send(r); err != nil || a.status != 413 {
					t.Errorf("%s at instance %d: a giant in chunks: %d %v", path, i, a.status, err)
				}
			}
		}
	})
	for name, form := range map[string]string{
		"repeated": "client_id=device&client_id=device", "bad percent": "client_id=device&x=%zz", "semicolon": "client_id=device;x=1", "NUL": "client_id=device%00", "bad UTF-8": "client_id=device&x=%ff",
	} {
		p.both(name, 400, "invalid_request", "POST", "/oauth/device_authorization", form, "Content-Type", formKind)
	}
	p.both("JSON for a form", 415, "unsupported_media_type", "POST", "/oauth/token", `{}`)
	if a := p.both("a problem", 400, "invalid_json", "POST", "/v1/tickets", "["); a.header.Get("Content-Type") != "application/problem+json" || a.header.Get("Cache-Control") != "no-store" || a.header.Get("X-Request-Id") == "" {
		t.Errorf("an error's headers: %v", a.header)
	}
	p.turn().confirm(l, phone)
}

// B9, B10, B24: PKCE is S256 in its shape, or none; it is not given up on the way.
func TestWeakPKCEIsRefused(t *testing.T) {
	p := startPair(t)
	const good = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
	for _, row := range [][2]string{
		{good, ""}, {good, "plain"}, {good, "s256"}, {"", "S256"}, {good[:42], "S256"}, {good + "A", "S256"}, {strings.Repeat("A", 129), "S256"}, {good[:42] + "=", "S256"}, {good[:42] + "+", "S256"},
	} {
		p.both(row[0]+" "+row[1], 400, "invalid_code_challenge", "POST", "/v1/tickets", asJSON(t, map[string]string{"code_challenge": row[0], "code_challenge_method": row[1]}))
	}
	for name, body := range map[string]string{"unknown client": `{"client_id":"nobody"}`, "no such scope": `{"scope":"admin"}`, "the phone's scope": `{"scope":"phone"}`} {
		status, code := 400, "invalid_scope"
		if name == "unknown client" {
			status, code = 401, "invalid_client"
		}
		p.both(name, status, code, "POST", "/v1/tickets", body)
	}
	p.both("a web client at the device's door", 400, "unauthorized_client", "POST", "/oauth/device_authorization", "client_id=web", "Content-Type", formKind)
}

// B11, B12: ids and QR texts that cannot be, or that nobody made, are the same 404,
// whatever is done with them.
func TestMalformedIDsAreUnknownIDs(t *testing.T) {
	p := startPair(t)
	phone := p.turn().signIn("alice")
	l := p.turn().create()
	token := l.qr[strings.LastIndex(l.qr, "/")+1:]
	said := map[string]bool{}
	note := func(a answer) { said[strings.ReplaceAll(a.raw, a.text("request_id"), "")] = true }
	p.untouched(l, func() {
		for _, id := range []string{
			strings.Repeat("A", 22), "x", strings.Repeat("A", 21), strings.Repeat("A", 10<<10), "..%2f..%2fetc%2fpasswd", "%00", "%E2%80%AE", "%ff%fe", l.id + "=", l.id + ".x", url.PathEscape(l.deviceCode), "ticket:" + l.id, "*",
		} {
			note(p.both(id, 404, "ticket_not_found", "GET", "/v1/tickets/"+id, "", bearerOf(l.deviceCode)...))
			note(p.both(id, 404, "ticket_not_found", "DELETE", "/v1/tickets/"+id, "", bearerOf(l.deviceCode)...))
			note(p.both(id, 404, "ticket_not_found", "POST", "/v1/tickets/"+id+"/confirm", `{"confirm_token":"x"}`, bearerOf(phone)...))
		}
		for _, text := range []string{"x", token[:42], token + "A", token + "=", " " + token, "https://evil.test/s/" + token, publicURL + "/x/" + token, l.id, strings.Repeat("A", 8000), "\u202e" + token} {
			note(p.both(text, 404, "ticket_not_found", "POST", "/v1/scan", asJSON(t, map[string]string{"qr": text}), bearerOf(phone)...))
		}
		for _, code := range []string{"BCDF-GHJA", "BCDFGHJ", "12345678", strings.Repeat("B", 8000), "ЖЖЖЖЖЖЖЖ"} {
			note(p.both(code, 404, "ticket_not_found", "POST", "/v1/scan", asJSON(t, map[string]string{"user_code": code}), bearerOf(phone)...))
		}
		p.both("both", 400, "invalid_request", "POST", "/v1/scan", asJSON(t, map[string]string{"qr": l.qr, "user_code": "BCDF-GHJK"}), bearerOf(phone)...)
		p.both("neither", 400, "invalid_request", "POST", "/v1/scan", `{}`, bearerOf(phone)...)
	})
	if len(said) != 1 {
		t.Errorf("unknown tickets are told %d things: %v", len(said), said)
	}
}

// B14, B16, B17: no credential, a malformed one, a banned one.
func TestMalformedAuthorizationOpensNothing(t *testing.T) {
	p := startPair(t)
	phone := p.turn().signIn("alice")
	l := p.turn().create()
	p.untouched(l, func() {
		body := asJSON(t, map[string]string{"qr": l.qr})
		if a := p.both("none", 401, "invalid_token", "POST", "/v1/scan", body); a.header.Get("WWW-Authenticate") != `Bearer realm="scanlogin"` {
			t.Errorf("challenge %q", a.header.Get("WWW-Authenticate"))
		}
		if a := p.both("wrong", 401, "invalid_token", "POST", "/v1/scan", body, bearerOf("x")...); a.header.Get("WWW-Authenticate") != `Bearer realm="scanlogin", error="invalid_token"` {
			t.Errorf("challenge %q", a.header.Get("WWW-Authenticate"))
		}
		p.both("two words", 400, "invalid_request", "POST", "/v1/scan", body, bearerOf("a b")...)
		p.both("two headers", 400, "invalid_request", "POST", "/v1/scan", body, append(bearerOf(phone), bearerOf(phone)...)...)
		p.both("Basic", 401, "invalid_token", "POST", "/v1/scan", body, "Authorization", "Basic d2ViOg==")
		p.both("a cookie", 401, "invalid_token", "POST", "/v1/scan", body, "Cookie", "access_token="+phone)
	})
	p.both("lower case", 200, "", "GET", "/oauth/userinfo", "", "Authorization", "bearer "+phone)
	operator{t, p.all[0]}.do("ban", "add", "demo:alice")
	// Her sessions ended with that; that it is a ban is heard a moment later.
	eventually(t, time.Second, "both instances say why", func() bool {
		return !slices.ContainsFunc(p.api, func(api *caller) bool {
			a := api.raw("POST", "/v1/scan", asJSON(t, map[string]string{"qr": l.qr}), bearerOf(phone)...)
			if a.status == 200 {
				t.Error("a banned user scans")
			}
			return a.code() != "user_banned"
		})
	})
	p.both("banned", 403, "user_banned", "POST", "/v1/scan", asJSON(t, map[string]string{"qr": l.qr}), bearerOf(phone)...)
}

// B21, B22: a check code is two digits; what cannot be one costs no try, three wrong
// ones end the login, and asking again changes nothing.
func TestMalformedCheckCodesCostNoTry(t *testing.T) {
	p := startPair(t, "SCANLOGIN_CHECK_CODE=always")
	phone := p.turn().signIn("alice")
	l := p.turn().create()
	p.turn().scan(&l, phone)
	code := p.turn().do(200, "POST", "/v1/tickets/"+l.id+"/confirm", phone, l.decision()).text("check_code")
	check := "/v1/tickets/" + l.id + "/check"
	p.untouched(l, func() {
		for _, body := range []string{`{"code":"7"}`, `{"code":7}`, `{"code":"007"}`, `{"code":"٤٢"}`, `{"code":"4 2"}`, `{"code":""}`, `{}`, `{"code":["42"]}`} {
			p.both(body, 400, "invalid_request", "POST", check, body, bearerOf(l.deviceCode)...)
		}
		p.both("the phone's token", 401, "invalid_device_code", "POST", check, `{"code":"`+code+`"}`, bearerOf(phone)...)
	})
	p.wants("after all of that", 200, "", "POST", check, l.deviceCode, map[string]string{"code": code})
}

// B46: sessions of others are unknown, to be looked at or ended. B48: a refusal for
// being too many tells when, and nothing of the counting.
func TestForeignSessionsAndRefusalsTellNothing(t *testing.T) {
	p := startPair(t, "SCANLOGIN_LIMITS=on", "SCANLOGIN_CONFIG="+configFile(t, "limits: {tickets_per_network: 2/1h}"))
	alice, bob := p.turn().signIn("alice"), p.turn().signIn("bob")
	k := p.turn().login(bob)
	for _, id := range []string{k.sid, "nobody", strings.Repeat("A", 5000), "..%2f" + k.sid} {
		p.both("another's session", 404, "not_found", "DELETE", "/v1/sessions/"+id, "", bearerOf(alice)...)
	}
	if a := p.turn().do(200, "GET", "/v1/sessions", alice, nil); strings.Contains(a.raw, k.sid) {
		t.Errorf("alice sees bob's session: %s", a.raw)
	}
	p.turn().alive(k.access)
	from := []string{"X-Forwarded-For", "203.0.113.7"}
	p.both("the first two", 201, "", "POST", "/v1/tickets", "", from...)
	a := p.both("two more", 429, "rate_limited", "POST", "/v1/tickets", "", from...)
	if a.header.Get("Retry-After") == "" || a.header.Get("Cache-Control") != "no-store" || a.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%v", a.header)
	}
	for name := range a.header {
		if strings.HasPrefix(name, "X-Ratelimit") || strings.HasPrefix(name, "Ratelimit") {
			t.Errorf("a refusal tells %s", name)
		}
	}
}
