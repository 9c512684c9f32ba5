package web

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// jsonRoute is a route that takes a JSON body, with a string member it knows.
type jsonRoute struct {
	path, member string
	token        string
	empty        int // status of an empty body
}

func jsonRoutes(s *site) []jsonRoute {
	phone := s.phone("alice")
	return []jsonRoute{
		{"/v1/tickets", "client_id", "", 201},
		{"/v1/signin/demo", "credential", "", 400},
		{"/v1/scan", "qr", phone, 400},
		{"/v1/tickets/" + b64id + "/confirm", "confirm_token", phone, 400},
		{"/v1/tickets/" + b64id + "/deny", "confirm_token", phone, 400},
		{"/session", "access_token", "", 400},
	}
}

// post sends a body as it is; headers win over the usual ones.
func (r jsonRoute) post(s *site, body string, headers ...string) answer {
	s.t.Helper()
	if r.token != "" {
		headers = append(headers, bearerOf(r.token)...)
	}
	return s.send("POST", r.path, body, headers...)
}

// B1-B5, B8, T22: whatever is wrong with a JSON body has one answer, on every
// route that takes one.
func TestMalformedJSONIsRefused(t *testing.T) {
	s := newSite(t, setup{})
	rows := []struct{ name, body, code string }{
		{"null", `null`, "invalid_json"},
		{"array", `[]`, "invalid_json"},
		{"string", `"x"`, "invalid_json"},
		{"number", `1`, "invalid_json"},
		{"cut", `{"$":`, "invalid_json"},
		{"cut in a string", `{"$":"x`, "invalid_json"},
		{"second value", `{}{}`, "invalid_json"},
		{"second value after space", "{}\n\n[]", "invalid_json"},
		{"text after it", `{} x`, "invalid_json"},
		{"comma after the last", `{"$":"x",}`, "invalid_json"},
		{"comment", `{/**/}`, "invalid_json"},
		{"single quotes", `{'$':'x'}`, "invalid_json"},
		{"byte order mark", "\uFEFF{}", "invalid_json"},
		{"duplicate member", `{"$":"a","$":"b"}`, "invalid_json"},
		{"duplicate, spelled differently", `{"$":"a","\u0024x":1,"$x":2}`, "invalid_json"},
		{"duplicate inside", `{"x":{"y":1,"y":2}}`, "invalid_json"},
		{"line break in a string", "{\"$\":\"a\nb\"}", "invalid_json"},
		{"unknown member", `{"isAdmin":true}`, "unknown_member"},
		{"other case", `{"` + "CLIENT_ID" + `":"x"}`, "unknown_member"},
		{"NUL", "{\"$\":\"a\x00\"}", "invalid_string"},
		{"NUL outside a string", "{}\x00", "invalid_string"},
		{"NUL escaped", `{"$":"a\u0000"}`, "invalid_string"},
		{"NUL in a name", `{"a\u0000":1}`, "invalid_string"},
		{"bad UTF-8", "{\"$\":\"\xff\xfe\"}", "invalid_string"},
		{"overlong UTF-8", "{\"$\":\"\xc0\xaf\"}", "invalid_string"},
		{"cut UTF-8", "{\"$\":\"\xe4\xb8\"}", "invalid_string"},
		{"lone surrogate", `{"$":"\ud800"}`, "invalid_string"},
		{"surrogates the wrong way", `{"$":"\udc00\ud800"}`, "invalid_string"},
		{"number for a string", `{"$":1}`, "invalid_request"},
		{"huge number", `{"$":1e999999}`, "invalid_request"},
		{"boolean for a string", `{"$":true}`, "invalid_request"},
		{"array for a string", `{"$":["x"]}`, "invalid_request"},
		{"object for a string", `{"$":{"x":"y"}}`, "invalid_request"},
		{"deep nesting", `{"$":` + strings.Repeat("[", 4000) + strings.Repeat("]", 4000) + `}`, "invalid_request"},
		{"deep and cut", `{"$":` + strings.Repeat(`{"x":`, 1600), "invalid_json"},
	}
	for _, route := range jsonRoutes(s) {
		for _, row := range rows {
			// The member's name in place of $; \u0024 spells the dollar of $x.
			body := strings.ReplaceAll(row.body, `"$"`, `"`+route.member+`"`)
			if a := route.post(s, body); a.status != 400 || a.code() != row.code {
				t.Errorf("%s: %s: %d %s, want 400 %s", route.path, row.name, a.status, a.code(), row.code)
			}
		}
	}
}

// No body, an empty object and null members are all the same: nothing given.
func TestEmptyBodyAndEmptyObjectAreTheSame(t *testing.T) {
	s := newSite(t, setup{})
	for _, route := range jsonRoutes(s) {
		for name, body := range map[string]string{
			"nothing": "", "blank": " \n", "empty object": "{}", "null member": `{"` + route.member + `":null}`, "empty member": `{"` + route.member + `":""}`,
		} {
			a := route.post(s, body)
			if route.path == "/session" {
				if a.status != 401 || a.code() != "invalid_token" { // a token that opens nothing
					t.Errorf("%s: %s: %d %s", route.path, name, a.status, a.code())
				}
				continue
			}
			if a.status != route.empty || a.status == 400 && a.code() != "invalid_request" {
				t.Errorf("%s: %s: %d %s", route.path, name, a.status, a.code())
			}
		}
		if a := route.post(s, "", "Content-Type", ""); a.status == 415 {
			t.Errorf("%s: no body and no type: 415", route.path)
		}
	}
}

// unsized hides a body's length, so that it is sent in chunks.
type unsized struct{ io.Reader }

// B5, T22: 8192 bytes are a body, 8193 are none, told or not how many come.
func TestGiantBodyIsRefused(t *testing.T) {
	s := newSite(t, setup{})
	send := func(path, kind, token, body string, chunked bool) answer {
		r := s.request("POST", path, body, "Content-Type", kind)
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		if chunked {
			r.Body, r.ContentLength = io.NopCloser(unsized{strings.NewReader(body)}), -1
		}
		return s.sendWith(s.client, r)
	}
	for _, chunked := range []bool{false, true} {
		for _, route := range jsonRoutes(s) {
			for size, want := range map[int]bool{8192: false, 8193: true, 1 << 20: true} {
				a := send(route.path, "application/json", route.token, "{}"+strings.Repeat(" ", size-2), chunked)
				if got := a.status == 413; got != want || got && a.code() != "body_too_large" {
					t.Errorf("%s, %d bytes, chunked %t: %d %s", route.path, size, chunked, a.status, a.code())
				}
			}
		}
		for _, path := range []string{"/oauth/token", "/oauth/device_authorization", "/v1/tickets"} {
			for size, want := range map[int]bool{8192: false, 8193: true, 1 << 20: true} {
				a := send(path, formType, "", "x="+strings.Repeat("a", size-2), chunked)
				if got := a.status == 413; got != want || got && a.code() != "body_too_large" {
					t.Errorf("%s, %d bytes, chunked %t: %d %s", path, size, chunked, a.status, a.code())
				}
			}
		}
	}
}

// B6, B7, T16, T19: only the media type that a route takes, in UTF-8 and not
// compressed. text/plain is what a foreign page's form can send.
func TestForeignMediaTypesAreRefused(t *testing.T) {
	s := newSite(t, setup{})
	bad := [][]string{
		{"Content-Type", ""},
		{"Content-Type", "text/plain"},
		{"Content-Type", "text/plain; charset=application/json"},
		{"Content-Type", "multipart/form-data; boundary=x"},
		{"Content-Type", "application/xml"},
		{"Content-Type", "application/jsonp"},
		{"Content-Type", "application/json; charset=gbk"},
		{"Content-Type", "application/json; charset="},
		{"Content-Type", "application/json; charset=utf-16"},
		{"Content-Type", "application/json, text/plain"},
		{"Content-Type", ";"},
		{"Content-Encoding", "gzip"},
		{"Content-Encoding", "br"},
		{"Content-Encoding", "gzip, identity"},
	}
	good := [][]string{
		{"Content-Type", "application/json"},
		{"Content-Type", "Application/JSON"},
		{"Content-Type", `application/json; charset="UTF-8"`},
		{"Content-Type", "application/json;charset=Utf-8"},
		{"Content-Encoding", "identity"},
	}
	for _, route := range jsonRoutes(s) {
		for _, header := range bad {
			if a := route.post(s, `{"`+route.member+`":"x"}`, header...); a.status != 415 || a.code() != "unsupported_media_type" {
				t.Errorf("%s %v: %d %s", route.path, header, a.status, a.code())
			}
		}
		for _, header := range good {
			if a := route.post(s, `{"`+route.member+`":"x"}`, header...); a.status == 415 {
				t.Errorf("%s %v: 415", route.path, header)
			}
		}
	}
}

// RFC 6749 section 3.2: forms only, unknown parameters ignored, a repeated one
// refused, an empty one the same as none.
func TestMalformedFormsAreRefused(t *testing.T) {
	s := newSite(t, setup{})
	device, token := "/oauth/device_authorization", "/oauth/token"
	rows := []struct {
		name, path, body, kind string
		status                 int
		code                   string
	}{
		{"good", device, "client_id=device", formType, 200, ""},
		{"charset", device, "client_id=device", formType + "; charset=UTF-8", 200, ""},
		{"unknown ignored", device, "client_id=device&x=1&user_code=maybe&__proto__=1", formType, 200, ""},
		{"empty is absent", device, "client_id=device&scope=&code_challenge=&code_challenge_method=", formType, 200, ""},
		{"repeated", device, "client_id=device&client_id=device", formType, 400, "invalid_request"},
		{"repeated, one empty", device, "client_id=device&client_id=", formType, 400, "invalid_request"},
		{"repeated, spelled differently", device, "client_id=device&client%5Fid=web", formType, 400, "invalid_request"},
		{"bad percent", device, "client_id=device&x=%zz", formType, 400, "invalid_request"},
		{"cut percent", device, "client_id=device&x=%4", formType, 400, "invalid_request"},
		{"semicolon", device, "client_id=device;x=1", formType, 400, "invalid_request"},
		{"NUL", device, "client_id=device%00", formType, 400, "invalid_request"},
		{"bad UTF-8", device, "client_id=device&x=%ff", formType, 400, "invalid_request"},
		{"JSON", device, `{"client_id":"device"}`, "application/json", 415, "unsupported_media_type"},
		{"no type", device, "client_id=device", "", 415, "unsupported_media_type"},
		{"charset gbk", device, "client_id=device", formType + "; charset=gbk", 415, "unsupported_media_type"},
		{"multipart", device, "client_id=device", "multipart/form-data; boundary=x", 415, "unsupported_media_type"},
		{"nothing", device, "", "", 401, "invalid_client"},

		{"nothing", token, "", "", 400, "invalid_request"},
		{"no grant_type", token, "client_id=web", formType, 400, "invalid_request"},
		{"empty grant_type", token, "client_id=web&grant_type=", formType, 400, "invalid_request"},
		{"unknown grant_type", token, "client_id=web&grant_type=password&username=a&password=b", formType, 400, "unsupported_grant_type"},
		{"repeated grant_type", token, "client_id=web&grant_type=refresh_token&grant_type=refresh_token", formType, 400, "invalid_request"},
		{"no device_code", token, "client_id=web&grant_type=" + deviceCodeGrant, formType, 400, "invalid_request"},
		{"no refresh_token", token, "client_id=web&grant_type=refresh_token", formType, 400, "invalid_request"},
		{"JSON", token, `{"grant_type":"refresh_token"}`, "application/json", 415, "unsupported_media_type"},
		{"in the query", token + "?grant_type=refresh_token&client_id=web", "", "", 400, "invalid_request"},

		{"ticket by form", "/v1/tickets", "client_id=web&user_code=true", formType, 201, ""},
		{"ticket by form, repeated", "/v1/tickets", "client_id=web&client_id=web", formType, 400, "invalid_request"},
		{"ticket by form, user_code", "/v1/tickets", "user_code=1", formType, 400, "invalid_request"},
	}
	for _, row := range rows {
		a := s.send("POST", row.path, row.body, "Content-Type", row.kind)
		if a.status != row.status || a.code() != row.code {
			t.Errorf("%s %s: %d %q, want %d %q", row.path, row.name, a.status, a.code(), row.status, row.code)
		}
	}
	gzip := s.send("POST", token, "x", "Content-Type", formType, "Content-Encoding", "gzip")
	if gzip.status != http.StatusUnsupportedMediaType {
		t.Errorf("gzip: %d", gzip.status)
	}
}

// The pages' forms are as strict, and answer with a page.
func TestMalformedPageFormsAreRefused(t *testing.T) {
	s := newSite(t, setup{})
	v := newPerson(s)
	good := form(v.open("/s"), "/s/signin").Encode()
	for _, path := range []string{"/s/signin", "/s/signout", "/s/scan", "/s/decide"} {
		for name, row := range map[string]struct {
			body, kind string
			status     int
		}{
			"repeated":    {good + "&csrf=x", formType, 400},
			"bad percent": {good + "&x=%zz", formType, 400},
			"NUL":         {good + "&x=%00", formType, 400},
			"bad UTF-8":   {good + "&x=%ff", formType, 400},
			"JSON":        {"{}", "application/json", 415},
			"multipart":   {good, "multipart/form-data; boundary=x", 415},
			"no type":     {good, "", 415},
			"too large":   {good + "&x=" + strings.Repeat("a", 8192), formType, 413},
			"nothing":     {"", "", 403}, // no CSRF value
		} {
			r := s.request("POST", path, row.body, "Content-Type", row.kind)
			a := s.sendWith(v.http, r)
			if a.status != row.status || !strings.HasPrefix(a.header.Get("Content-Type"), "text/html") {
				t.Errorf("%s, %s: %d %s", path, name, a.status, a.header.Get("Content-Type"))
			}
		}
	}
}
