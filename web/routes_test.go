package web

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"
)

// B38, T50: each address takes its methods and says which; nobody gets TRACE.
func TestWrongMethodsAreRefused(t *testing.T) {
	s := newSite(t, setup{})
	allowed := map[string][]string{}
	chi.Walk(s.handler.(chi.Routes), func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		path := strings.NewReplacer("{ticket_id}", b64id, "{qr_token}", "x", "{provider}", "demo", "{session_id}", "x").Replace(route)
		allowed[path] = append(allowed[path], method)
		return nil
	})
	// /s/{qr_token} also matches the forms' addresses.
	for _, path := range []string{"/s/scan", "/s/decide", "/s/signin", "/s/signout"} {
		allowed[path] = append(allowed[path], "GET", "HEAD")
	}
	for path, methods := range allowed {
		want := []string{}
		for _, method := range []string{"GET", "HEAD", "POST", "DELETE"} {
			if slices.Contains(methods, method) {
				want = append(want, method)
			}
		}
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get"} {
			if slices.Contains(want, method) || method == "CONNECT" && s.server != nil {
				continue // CONNECT has no path
			}
			a := s.send(method, path, nil)
			if a.status != 405 || a.header.Get("Allow") != strings.Join(want, ", ") || method != "HEAD" && a.code() != "method_not_allowed" {
				t.Errorf("%s %s: %d, Allow %q, want %q", method, path, a.status, a.header.Get("Allow"), want)
			}
		}
	}
	s.want(404, "not_found", "PUT", "/nowhere", nil)
	s.want(404, "not_found", "PROPFIND", "/nowhere", nil)
	if a := s.send("POST", "/v1/tickets/a%2fb", nil); a.status != 405 || a.header.Get("Allow") != "GET, DELETE" {
		t.Errorf("an encoded slash: %d, Allow %q", a.status, a.header.Get("Allow"))
	}
}

// HEAD is GET without the body (RFC 9110 section 9.3.2), where it is offered.
func TestHeadIsGetWithoutTheBody(t *testing.T) {
	s := newSite(t, setup{})
	for _, path := range []string{"/livez", "/version", "/qr-login.js", "/.well-known/jwks.json", "/"} {
		get, head := s.send("GET", path, nil), s.send("HEAD", path, nil)
		if head.status != 200 || head.raw != "" || head.header.Get("Content-Type") != get.header.Get("Content-Type") {
			t.Errorf("HEAD %s: %d %q", path, head.status, head.raw)
		}
	}
}

// B39: an address that is not exactly one of ours is 404, without redirect.
func TestOpenRedirectByOddPaths(t *testing.T) {
	s := newSite(t, setup{})
	l := s.create(nil)
	for _, path := range []string{
		"/v1/tickets/", "//v1/tickets", "/v1//tickets", "/v1/tickets//", l.path("/"), l.path("//ws"), "/v1/", "/v1", "/oauth", "/oauth/", "/oauth/token/",
		"//evil.test/", "//evil.test/%2e%2e", "/%5cevil.test/", "/%2f%2fevil.test", "/s/", "/s//", "//s", "/s/x/", "/s/result/", "/s/result/" + b64id + "/",
		"/livez/", "/./livez", "/v1/../livez", "/v1/%2e%2e/livez", "/LIVEZ", "/V1/tickets", "/qr-login.js/", "/assets/app.css", "/templates/index.html",
		"/.well-known/", "/.well-known/openid-configuration", "/.git/config", "/app.css%00", "/index.html", "/favicon.ico",
	} {
		for _, method := range []string{"GET", "POST"} {
			if a := s.send(method, path, nil); a.status != 404 || a.header.Get("Location") != "" {
				t.Errorf("%s %s: %d %s", method, path, a.status, a.header.Get("Location"))
			}
		}
	}
}

// A person whose link was cut off reads words, a program reads JSON.
func TestUnknownAddressIsSaidInWords(t *testing.T) {
	s := newSite(t, setup{})
	const browser = "text/html,application/xhtml+xml,*/*;q=0.8"
	for _, path := range []string{"/s/", "/nowhere", "/s/result/"} {
		pageIs(t, s.send("GET", path, nil, "Accept", browser), 404, "There is nothing at this address")
		s.want(404, "not_found", "GET", path, nil)
	}
	s.want(404, "not_found", "GET", "/v1/nowhere", nil, "Accept", browser)
	s.want(404, "not_found", "GET", "/oauth/nowhere", nil, "Accept", browser)
}

// T50: what is for operators is not on the public port.
func TestOperatorsToolsAreNotPublic(t *testing.T) {
	s := newSite(t, setup{})
	for _, path := range []string{"/metrics", "/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/cmdline", "/debug/vars", "/admin", "/v1/metrics"} {
		s.want(404, "not_found", "GET", path, nil)
	}
}

// B40: the request id is the server's own, whatever a client says.
func TestRequestIDOfTheClientIsIgnored(t *testing.T) {
	s := newSite(t, setup{})
	seen := map[string]bool{}
	for _, id := range []string{"mine", strings.Repeat("x", 5<<10), `"}{"msg":"forged"`, "0123456789abcdef"} {
		a := s.want(404, "not_found", "GET", "/nowhere", nil, "X-Request-Id", id)
		got := a.header.Get("X-Request-Id")
		if got == id || seen[got] || strings.Contains(a.raw, id) || len(a.header.Values("X-Request-Id")) != 1 {
			t.Errorf("X-Request-Id %.40q gave %q", id, got)
		}
		seen[got] = true
	}
	if strings.Contains(s.log.String(), "forged") {
		t.Error("the client's id is in the log")
	}
}

// Contract 3.5: what other sites embed and what verifies our tokens may be
// loaded from anywhere and kept for five minutes.
func TestPublicFilesMayBeLoadedAndKept(t *testing.T) {
	s := newSite(t, setup{})
	for path, kind := range map[string]string{
		"/qr-login.js":                            "text/javascript; charset=utf-8",
		"/.well-known/jwks.json":                  "application/jwk-set+json",
		"/.well-known/oauth-authorization-server": "application/json",
		"/openapi.yaml":                           "application/yaml",
		"/app.css":                                "text/css; charset=utf-8",
	} {
		a := s.want(200, "", "GET", path, nil, "Origin", "https://any.test")
		tag := a.header.Get("ETag")
		for name, want := range map[string]string{
			"Content-Type": kind, "Access-Control-Allow-Origin": "*", "Cross-Origin-Resource-Policy": "cross-origin", "Cache-Control": "public, max-age=300",
		} {
			if got := a.header.Get(name); got != want {
				t.Errorf("%s: %s: %q, want %q", path, name, got, want)
			}
		}
		for _, match := range []string{tag, "W/" + tag, `"x", ` + tag, "*"} {
			same := s.send("GET", path, nil, "If-None-Match", match)
			if same.status != 304 || same.raw != "" || same.header.Get("ETag") != tag || same.header.Get("Access-Control-Allow-Origin") != "*" {
				t.Errorf("%s, If-None-Match %s: %d", path, match, same.status)
			}
		}
		if other := s.send("GET", path, nil, "If-None-Match", `"x"`); other.status != 200 || other.raw != a.raw {
			t.Errorf("%s, another tag: %d", path, other.status)
		}
	}
}

// HSTS is for https alone; judge compares every answer of every test.
func TestStrictTransportOnlyWithHTTPS(t *testing.T) {
	for _, public := range []string{"https://login.example", "http://login.example"} {
		s := newSite(t, setup{publicURL: public, direct: true})
		for _, path := range []string{"/", "/livez", "/nowhere", "/s"} {
			s.send("GET", path, nil)
		}
	}
}
