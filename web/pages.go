package web

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-json-experiment/json"
	"golang.org/x/text/language"

	"scanlogin/auth"
)

//go:embed assets
var assets embed.FS

//go:embed templates locales
var sources embed.FS

// modules are the files of the <qr-login> component.
var modules = []string{
	"/qr-login.js", "/qr-login/api.js", "/qr-login/channels.js", "/qr-login/icons.js", "/qr-login/login.js",
	"/qr-login/retry.js", "/qr-login/style.js", "/qr-login/view.js", "/qr-login/watch.js", "/qr-login/words.js",
}

// languages the pages speak; the first is for everybody else.
var languages = []string{"en", "zh-CN"}

var matcher = language.NewMatcher([]language.Tag{language.English, language.SimplifiedChinese})

// pages are the parsed templates and the words of each language.
type pages struct {
	templates map[string]*template.Template
	words     map[string]map[string]string
}

func loadPages() *pages {
	p := &pages{templates: map[string]*template.Template{}, words: map[string]map[string]string{}}
	shared := template.Must(template.ParseFS(sources, "templates/layout.html", "templates/icons.html", "templates/signedout.html", "templates/decides.html"))
	for _, name := range []string{"index", "account", "signin", "open", "code", "decide", "result", "message"} {
		p.templates[name] = template.Must(template.Must(shared.Clone()).ParseFS(sources, "templates/"+name+".html"))
	}
	for _, lang := range languages {
		raw, err := sources.ReadFile("locales/" + lang + ".json")
		if err != nil {
			panic(err)
		}
		words := map[string]string{}
		if err := json.Unmarshal(raw, &words); err != nil {
			panic(err)
		}
		p.words[lang] = words
	}
	return p
}

// page is what every template gets. T gives the words for a key.
type page struct {
	Lang, Title string
	Here        string // this page's address; empty: it can't be opened again by one
	CSRF        string
	words       map[string]string
}

// T is the text of a key in the page's language, with arguments put in.
func (p page) T(key string, args ...any) string {
	text, ok := p.words[key]
	if !ok {
		return key
	}
	if len(args) == 0 {
		return text
	}
	return fmt.Sprintf(text, args...)
}

// Ends are why a session may have ended (contract section 5); signed_out.<why>
// has the words.
func (page) Ends() []auth.Reason {
	return []auth.Reason{auth.Replaced, auth.Logout, auth.Revoked, auth.Reuse, auth.Expired, auth.Banned}
}

// InLanguage is the address of this page in another language.
func (p page) InLanguage(lang string) string {
	here, err := url.Parse(p.Here)
	if err != nil {
		return "?lang=" + lang
	}
	query := here.Query()
	query.Set("lang", lang)
	here.RawQuery = query.Encode()
	return here.String()
}

// pickLanguage is chosen by ?lang=, chosen earlier, or the browser's.
func pickLanguage(r *http.Request, v *visit) (lang string, chosen bool) {
	if asked := r.URL.Query().Get("lang"); asked != "" {
		_, i, confidence := matcher.Match(language.Make(asked))
		if confidence > language.No {
			chosen = v.Lang != languages[i]
			v.Lang = languages[i]
		}
	}
	if v.Lang != "" {
		return v.Lang, chosen
	}
	_, i := language.MatchStrings(matcher, r.Header.Get("Accept-Language"))
	return languages[i], false
}

// newPage fills in what all pages share; here is the page's own address.
func (s *Server) newPage(r *http.Request, v *visitor, title, here string) page {
	lang, _ := pickLanguage(r, &v.visit)
	p := page{Lang: lang, Here: here, CSRF: v.csrf, words: s.pages.words[lang]}
	p.Title = p.T(title)
	return p
}

// render writes a whole page or none.
func (s *Server) render(w http.ResponseWriter, status int, name string, data any) error {
	var b bytes.Buffer
	if err := s.pages.templates[name].ExecuteTemplate(&b, "layout", data); err != nil {
		return fmt.Errorf("web: page %s: %w", name, err)
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Vary", "Accept-Language, Cookie")
	h.Set("Content-Security-Policy", s.csp())
	w.WriteHeader(status)
	w.Write(b.Bytes())
	return nil
}

// seeOther leads on to another page, by GET.
func seeOther(w http.ResponseWriter, path string) error {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Location", path)
	w.WriteHeader(http.StatusSeeOther)
	return nil
}

// csp allows this server's own files and sockets, and nothing inline.
func (s *Server) csp() string {
	socket := "ws" + strings.TrimPrefix(s.config.PublicURL, "http")
	return "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self' " + socket +
		"; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
}

// public serves what any origin may load and keep for five minutes.
func (s *Server) public(w http.ResponseWriter, r *http.Request, contentType string, body []byte) error {
	sum := sha256.Sum256(body)
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	h.Set("Cache-Control", "public, max-age=300")
	h.Set("Content-Type", contentType)
	h.Set("ETag", `"`+base64.RawURLEncoding.EncodeToString(sum[:12])+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
	return nil
}

func contentTypeOf(name string) string {
	switch path.Ext(name) {
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	}
	return "application/octet-stream"
}

// messagePage says in plain words what happened and what to do next.
type messagePage struct {
	page
	Heading, Text, Next string
	Again               string // where trying again may help; empty: it won't
	Back, BackWord      string // where to go on
	RequestID           string
}

// wayBack is the page that a request belongs to, and the word for it.
func wayBack(path string, v *visitor) (page, word string) {
	switch {
	case strings.HasPrefix(path, accountPath):
		return accountPath, "account.title"
	case strings.HasPrefix(path, devicesPath):
		return devicesPath, "account.title"
	case path == "/s/signin":
		return wanted(v, v.form.Get("proof")), "message.back"
	case strings.HasPrefix(path, signinPath):
		return cmp.Or(v.Back, "/s"), "signed_out.again"
	case path == "/" || path == "/signout":
		return "/", "message.back"
	}
	return "/s", "message.type_code"
}

// failPage answers a person's request with an error. The words of a code are
// under message.<code>.* in the catalogue.
func (s *Server) failPage(w http.ResponseWriter, r *http.Request, v *visitor, err error) {
	if left(w, r) {
		return
	}
	f := s.explainAndLog(r, err)
	here := ""
	if r.Method == http.MethodGet && f != errNotFound && !v.once { // an address of ours, not //somebody.else
		here = r.URL.RequestURI()
	}
	p := s.newPage(r, v, "message.title", here)
	key := "message." + f.code
	if special := "message.signin." + f.code; strings.HasPrefix(r.URL.Path, signinPath) && p.words[special+".heading"] != "" {
		key = special
	}
	if _, ok := p.words[key+".heading"]; !ok {
		key = "message.internal"
		if f.status < 500 {
			key = "message.invalid_request"
		}
	}
	m := messagePage{page: p, Heading: key + ".heading", Text: key + ".text", Next: key + ".next", RequestID: requestID(r)}
	if f != errNetworkBanned { // nothing of ours is open to it
		m.Back, m.BackWord = wayBack(r.URL.Path, v)
	}
	if _, other := p.words[m.Next+"_devices"]; other && m.BackWord == "account.title" {
		m.Next += "_devices"
	}
	if f.status >= 500 {
		m.Again = here
	}
	f.setRetryAfter(w.Header())
	err = s.render(w, f.status, "message", m)
	if err != nil {
		s.fail(w, r, err)
	}
}

func (s *Server) pageRoutes(r chi.Router) {
	get(r, "/", s.page(webCookie, s.handleIndex))
	r.Post("/session", s.api(s.handleSession))
	r.Post("/session/token", s.api(s.handleSessionToken))
	r.Post("/signout", s.page(webCookie, s.handleSignOut))
	s.listRoutes(r, webCookie)
	s.listRoutes(r, phoneCookie)
	get(r, "/s", s.page(phoneCookie, s.handleCodePage))
	get(r, "/s/{qr_token}", s.page(phoneCookie, s.handleOpenPage))
	r.Post("/s/signin", s.page(phoneCookie, s.handleSignInPage))
	r.Post("/s/signout", s.page(phoneCookie, s.handlePhoneSignOut))
	r.Post("/s/scan", s.page(phoneCookie, s.handleScanPage))
	r.Post("/s/decide", s.page(phoneCookie, s.handleDecidePage))
	get(r, "/s/result/{ticket_id}", s.page(phoneCookie, s.handleResultPage))
}

// indexPage is the demo relying page.
type indexPage struct {
	page
	SignedIn           bool
	Name, Sub, Picture string
	Modules            []string // of the component, to be fetched at once
}

func (s *Server) handleIndex(w http.ResponseWriter, r *http.Request, v *visitor) error {
	title := "index.title"
	if v.signedIn() {
		title = "index.title_signed_in"
	}
	return s.render(w, http.StatusOK, "index", indexPage{
		page: s.newPage(r, v, title, "/"), SignedIn: v.signedIn(),
		Name: v.who.Name, Sub: v.who.Sub, Picture: v.who.Picture, Modules: modules,
	})
}

// handleSession keeps the demo page signed in: the page shows its access
// token once and gets a cookie for that session.
func (s *Server) handleSession(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		AccessToken string `json:"access_token"`
	}
	if err := decodeJSON(w, r, &in); err != nil {
		return err
	}
	who, err := s.auth.Verify(r.Context(), in.AccessToken)
	if err != nil {
		return err
	}
	if who.ClientID != "web" {
		return auth.ErrInvalidToken
	}
	v, _, err := s.visit(r, webCookie)
	if err != nil {
		return err
	}
	v.Sub, v.SID = who.Sub, who.SID // the nonce stays: the form to sign out is on the page already
	if err := s.remember(w, r, webCookie, v); err != nil {
		return err
	}
	return noContent(w)
}

func (s *Server) handleSignOut(w http.ResponseWriter, r *http.Request, v *visitor) error {
	return s.signOut(w, r, v, "/")
}

// signOut ends the page's session; the cookie stays, signed out, with the
// chosen language.
func (s *Server) signOut(w http.ResponseWriter, r *http.Request, v *visitor, next string) error {
	if v.signedIn() {
		if err := s.auth.End(r.Context(), v.who, v.SID); err != nil && !errors.Is(err, auth.ErrSessionEnded) {
			return err
		}
	}
	if err := s.remember(w, r, v.cookie, visit{Lang: v.Lang, Nonce: v.Nonce}); err != nil {
		return err
	}
	return seeOther(w, next)
}
