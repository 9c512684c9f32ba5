package web

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// person is somebody with a browser on the phone pages, scripts off: links
// are followed and forms are sent as the HTML says.
type person struct {
	s    *site
	http *http.Client
	lang string // Accept-Language
}

func newPerson(s *site) *person { return &person{s: s, http: s.browser()} }

// open follows a link.
func (v *person) open(link string) answer {
	v.s.t.Helper()
	r := v.s.request("GET", v.path(link), nil, "Accept-Language", v.lang, "User-Agent", safariOnIPhone)
	return v.s.sendWith(v.http, r)
}

// path is where a link leads at the test's address.
func (v *person) path(link string) string { return strings.TrimPrefix(link, v.s.public) }

// send posts a form and follows where it leads.
func (v *person) send(path string, form url.Values, headers ...string) answer {
	v.s.t.Helper()
	headers = append([]string{"Accept-Language", v.lang, "User-Agent", safariOnIPhone}, headers...)
	a := v.s.sendWith(v.http, v.s.request("POST", path, form, headers...))
	if a.status == http.StatusSeeOther {
		return v.open(a.header.Get("Location"))
	}
	return a
}

var (
	formTag  = regexp.MustCompile(`(?s)<form[^>]*action="([^"]*)".*?</form>`)
	inputTag = regexp.MustCompile(`<input[^>]*type="hidden"[^>]*name="([^"]*)"[^>]*value="([^"]*)"`)
)

// form is the page's form for an address, with its hidden fields.
func form(page answer, action string) url.Values {
	for _, match := range formTag.FindAllStringSubmatch(page.raw, -1) {
		if match[1] != action {
			continue
		}
		fields := url.Values{}
		for _, input := range inputTag.FindAllStringSubmatch(match[0], -1) {
			fields.Set(input[1], html.UnescapeString(input[2]))
		}
		return fields
	}
	return nil
}

// submit sends the page's form for an address, with fields filled in and a
// button pressed.
func (v *person) submit(page answer, action string, fields ...string) answer {
	v.s.t.Helper()
	values := form(page, action)
	if values == nil {
		v.s.t.Fatalf("no form for %s on: %.2000s", action, page.raw)
	}
	for i := 0; i < len(fields); i += 2 {
		values.Set(fields[i], fields[i+1])
	}
	return v.send(action, values)
}

// signIn signs in on the page for typing a code.
func (v *person) signIn(user string) answer {
	v.s.t.Helper()
	return v.submit(v.open("/s"), "/s/signin", "credential", user)
}

// scan opens a QR text and goes on to what is asking.
func (v *person) scan(l login) answer {
	v.s.t.Helper()
	return v.submit(v.open(l.qr), "/s/scan")
}

// heading is what the page says in its first line.
func heading(page answer) string {
	_, rest, _ := strings.Cut(page.raw, "<h1")
	_, rest, _ = strings.Cut(rest, ">")
	text, _, _ := strings.Cut(rest, "</h1>")
	return html.UnescapeString(text)
}
