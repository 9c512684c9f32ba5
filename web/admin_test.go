package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// operate makes a request to the admin listener.
func (s *site) operate(method, path, token, body string) answer {
	s.t.Helper()
	r := httptest.NewRequestWithContext(s.t.Context(), method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	s.admin.ServeHTTP(w, r)
	a := answer{status: w.Code, header: w.Header(), raw: w.Body.String()}
	json.Unmarshal([]byte(a.raw), &a.body)
	if w.Header().Get("Content-Type") == "application/problem+json" && (a.text("request_id") == "" || a.text("type") != "urn:scanlogin:"+a.code()) {
		s.t.Errorf("%s %s: %s", method, path, a.raw)
	}
	return a
}

func (s *site) wantOperate(status int, code, method, path, body string) answer {
	s.t.Helper()
	a := s.operate(method, path, adminToken, body)
	if a.status != status || a.code() != code {
		s.t.Errorf("%s %s %.100s: %d %q, want %d %q", method, path, body, a.status, a.raw, status, code)
	}
	return a
}

// Who cannot show a token gets nothing but metrics and profiles, and does not
// even learn which calls there are.
func TestAdminCallsWithoutTheToken(t *testing.T) {
	s := newSite(t, setup{direct: true})
	paths := [][2]string{
		{"POST", "/admin/keys/rotate"}, {"GET", "/admin/bans"}, {"POST", "/admin/bans"}, {"POST", "/admin/bans/lift"},
		{"GET", "/admin/nothing"}, {"DELETE", "/admin/bans"}, {"GET", "/admin/"},
	}
	phone := s.phone("alice")
	for _, path := range paths {
		for _, token := range []string{"", "x", adminToken[1:], adminToken + "0", strings.ToUpper(adminToken), phone} {
			a := s.operate(path[0], path[1], token, `{"user":"demo:alice"}`)
			if a.status != 401 || a.code() != "invalid_token" || a.header.Get("WWW-Authenticate") == "" || a.header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s %s with %.10q: %d %s", path[0], path[1], token, a.status, a.raw)
			}
		}
	}
	s.web.config.AdminTokens = nil
	for _, token := range []string{"", "x", adminToken} {
		if a := s.operate("GET", "/admin/bans", token, ""); a.status != 401 {
			t.Errorf("no tokens configured: %d", a.status)
		}
	}
	if a := s.operate("GET", "/metrics", "", ""); a.status != 200 || !strings.Contains(a.raw, "scanlogin_build_info") {
		t.Errorf("metrics: %d", a.status)
	}
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/goroutine"} {
		if a := s.operate("GET", path, "", ""); a.status != 200 {
			t.Errorf("%s: %d", path, a.status)
		}
	}
	s.want(200, "", "GET", "/v1/sessions", nil, bearerOf(phone)...) // nobody was banned
	// None of it is on the public port.
	for _, path := range paths {
		s.want(404, "not_found", path[0], path[1], nil, bearerOf(adminToken)...)
	}
}

func TestAdminBans(t *testing.T) {
	s := newSite(t, setup{direct: true})
	phone := s.phone("alice")
	if a := s.wantOperate(200, "", "GET", "/admin/bans", ""); a.raw != `{"bans":[]}`+"\n" {
		t.Errorf("no bans: %s", a.raw)
	}
	begun := time.Now().UTC().Truncate(time.Second)
	s.wantOperate(204, "", "POST", "/admin/bans", `{"user":"demo:alice","reason":"spam"}`)
	s.wantOperate(204, "", "POST", "/admin/bans", `{"network":"203.0.113.77/24","reason":"","for_seconds":3600}`)
	s.want(403, "user_banned", "GET", "/v1/sessions", nil, bearerOf(phone)...)
	var list struct {
		Bans []struct {
			User, Network, Reason *string
			Since, Until          *time.Time
		}
	}
	raw := s.wantOperate(200, "", "GET", "/admin/bans", "").raw
	if err := json.Unmarshal([]byte(raw), &list); err != nil || len(list.Bans) != 2 {
		t.Fatalf("%s: %v", raw, err)
	}
	user, network := list.Bans[0], list.Bans[1]
	if *user.User != "demo:alice" || user.Network != nil || *user.Reason != "spam" || user.Until != nil || user.Since.Before(begun) {
		t.Errorf("user: %s", raw)
	}
	if network.User != nil || *network.Network != "203.0.113.0/24" || *network.Reason != "" || network.Until.Sub(*network.Since).Round(2*time.Second) != time.Hour {
		t.Errorf("network: %s", raw)
	}
	s.wantOperate(204, "", "POST", "/admin/bans", `{"user":"demo:alice","reason":"again"}`) // replaces
	if raw := s.wantOperate(200, "", "GET", "/admin/bans", "").raw; strings.Count(raw, `"since"`) != 2 || !strings.Contains(raw, "again") || strings.Contains(raw, "spam") {
		t.Errorf("banned again: %s", raw)
	}
	s.wantOperate(204, "", "POST", "/admin/bans/lift", `{"network":"203.0.113.0/24"}`)
	s.wantOperate(204, "", "POST", "/admin/bans/lift", `{"user":"demo:alice"}`)
	for _, body := range []string{`{"user":"demo:alice"}`, `{"network":"203.0.113.0/24"}`, `{"network":"203.0.113.0/25"}`} {
		s.wantOperate(404, "not_found", "POST", "/admin/bans/lift", body)
	}
	s.phone("alice")
}

func TestAdminRefusesBadBans(t *testing.T) {
	s := newSite(t, setup{direct: true})
	for body, code := range map[string]string{
		``: "invalid_request", `{}`: "invalid_request", `{"user":"alice"}`: "invalid_request", `{"user":":alice"}`: "invalid_request", `{"user":"demo:"}`: "invalid_request",
		`{"user":"demo:alice","network":"203.0.113.0/24"}`: "invalid_request", `{"network":"203.0.113.7"}`: "invalid_request", `{"network":"everything"}`: "invalid_request",
		`{"network":"203.0.113.0/33"}`: "invalid_request", `{"network":"fe80::1%eth0/64"}`: "invalid_request", `{"user":"demo:a\u0007"}`: "invalid_request",
		`{"user":"demo:` + strings.Repeat("a", 300) + `"}`:                  "invalid_request",
		`{"user":"demo:alice","reason":"` + strings.Repeat("a", 201) + `"}`: "invalid_request",
		`{"user":"demo:alice","for_seconds":0}`:                             "invalid_request",
		`{"user":"demo:alice","for_seconds":-1}`:                            "invalid_request",
		`{"user":"demo:alice","for_seconds":9300000000}`:                    "invalid_request",
		`{"user":"demo:alice","for_seconds":1e3}`:                           "invalid_request",
		`{"user":"demo:alice","for_seconds":"60"}`:                          "invalid_request",
		`{"user":"demo:alice","for":60}`:                                    "unknown_member",
		`{"user":"demo:alice","user":"demo:bob"}`:                           "invalid_json",
		`{"user":"demo:alice"`:                                              "invalid_json",
		`{"user":"demo:\u0000"}`:                                            "invalid_string",
	} {
		s.wantOperate(400, code, "POST", "/admin/bans", body)
	}
	s.wantOperate(413, "body_too_large", "POST", "/admin/bans", `{"reason":"`+strings.Repeat("a", 9000)+`"}`)
	s.wantOperate(405, "method_not_allowed", "DELETE", "/admin/bans", "")
	s.wantOperate(404, "not_found", "GET", "/admin/nothing", "")
	s.wantOperate(400, "unknown_member", "POST", "/admin/keys/rotate", `{"now":true}`)
	if raw := s.wantOperate(200, "", "GET", "/admin/bans", "").raw; raw != `{"bans":[]}`+"\n" {
		t.Errorf("something was banned: %s", raw)
	}
	s.wantOperate(204, "", "POST", "/admin/bans", `{"user":"demo:alice","reason":"`+strings.Repeat("a", 200)+`"}`)

	// Behind an undeclared proxy a network cannot be banned, a user can.
	blind := newSite(t, setup{direct: true, publicURL: "https://login.example"})
	blind.wantOperate(409, "networks_unknown", "POST", "/admin/bans", `{"network":"203.0.113.0/24"}`)
	blind.wantOperate(204, "", "POST", "/admin/bans", `{"user":"demo:alice"}`)
	blind.wantOperate(404, "not_found", "POST", "/admin/bans/lift", `{"network":"203.0.113.0/24"}`)
}

func TestAdminBansAreBounded(t *testing.T) {
	s := newSite(t, setup{direct: true})
	for i := range 1000 {
		s.wantOperate(204, "", "POST", "/admin/bans", fmt.Sprintf(`{"network":"10.%d.%d.0/24"}`, i/250, i%250))
	}
	s.wantOperate(409, "too_many_bans", "POST", "/admin/bans", `{"network":"203.0.113.0/24"}`)
	s.wantOperate(204, "", "POST", "/admin/bans", `{"network":"10.0.0.0/24","reason":"again"}`)
}

func TestAdminRotatesKeys(t *testing.T) {
	s := newSite(t, setup{direct: true})
	phone := s.phone("alice")
	for range 2 {
		a := s.wantOperate(200, "", "POST", "/admin/keys/rotate", "{}")
		at, err := time.Parse(time.RFC3339, a.text("signs_from"))
		if err != nil || len(a.body) != 1 || time.Until(at) > time.Hour {
			t.Errorf("%s: %v", a.raw, err)
		}
	}
	s.want(200, "", "GET", "/v1/sessions", nil, bearerOf(phone)...)
	if a := s.operate("POST", "/admin/keys/rotate", otherAdminToken, ""); a.status != 200 {
		t.Errorf("by the other token: %d %s", a.status, a.raw)
	}
}

func TestAdminCallsWithoutTheStore(t *testing.T) {
	s := newSite(t, setup{direct: true})
	s.phone("alice")
	s.store.Close()
	for _, call := range [][3]string{
		{"POST", "/admin/keys/rotate", ""}, {"GET", "/admin/bans", ""}, {"POST", "/admin/bans", `{"user":"demo:alice"}`}, {"POST", "/admin/bans/lift", `{"network":"203.0.113.0/24"}`},
	} {
		if a := s.wantOperate(http.StatusServiceUnavailable, "store_unavailable", call[0], call[1], call[2]); a.header.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", call[1])
		}
	}
	if !strings.Contains(s.log.String(), `"route":"/admin/bans/lift","status":503`) {
		t.Error("admin calls are not in the log")
	}
}
