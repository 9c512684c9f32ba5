package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"path"
	"strconv"
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
	shared := template.Must(template.ParseFS(sources, "templates/layout.html", "templates/icons.html"))
	for _, name := range []string{"index", "signin", "open", "code", "decide", "result", "message"} {
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
	Lang, Dir, Title, Path string
	CSRF, RequestID        string
	words                  map[string]string
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

// language of a visit: chosen by ?lang=, chosen earlier, or the browser's.
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

// newPage fills in what all pages share.
func (s *Server) newPage(r *http.Request, v *visit, title string) page {
	lang, _ := pickLanguage(r, v)
	p := page{Lang: lang, Dir: "ltr", Path: r.URL.Path, RequestID: requestID(r), words: s.pages.words[lang]}
	p.Title = p.T(title)
	return p
}

// render writes a whole page or none.
func (s *Server) render(w http.ResponseWriter, r *http.Request, status int, name string, data any) {
	var b bytes.Buffer
	if err := s.pages.templates[name].ExecuteTemplate(&b, "layout", data); err != nil {
		s.log.LogAttrs(r.Context(), slog.LevelError, "page failed", slog.String("request_id", requestID(r)), slog.Any("error", err))
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Vary", "Accept-Language, Cookie")
	h.Set("Content-Security-Policy", s.csp())
	if status == http.StatusServiceUnavailable {
		h.Set("Retry-After", strconv.Itoa(retryAfter))
	}
	w.WriteHeader(status)
	w.Write(b.Bytes())
}

// csp allows this server's own files and sockets, and nothing inline.
func (s *Server) csp() string {
	socket := "ws" + strings.TrimPrefix(s.config.PublicURL, "http")
	return "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self' " + socket +
		"; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
}

// public serves what any origin may load and keep for five minutes.
func (s *Server) public(w http.ResponseWriter, r *http.Request, contentType string, body []byte) {
	sum := sha256.Sum256(body)
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	h.Set("Cache-Control", "public, max-age=300")
	h.Set("Content-Type", contentType)
	h.Set("ETag", `"`+base64.RawURLEncoding.EncodeToString(sum[:12])+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

func contentTypeOf(name string) string {
	switch path.Ext(name) {
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	}
	return "application/octet-stream"
}

func (s *Server) pageRoutes(r chi.Router) {
	get(r, "/", s.handleIndex)
	r.Post("/session", s.handleSession)
	r.Post("/signout", s.handleSignOut)
	get(r, "/s", s.handleCodePage)
	get(r, "/s/{qr_token}", s.handleOpenPage)
	r.Post("/s/signin", s.handleSignInPage)
	r.Post("/s/signout", s.handlePhoneSignOut)
	r.Post("/s/scan", s.handleScanPage)
	r.Post("/s/decide", s.handleDecidePage)
	get(r, "/s/result/{ticket_id}", s.handleResultPage)
}

// indexPage is the demo relying page.
type indexPage struct {
	page
	SignedIn           bool
	Name, Sub, Picture string
}

func (s *Server) handleIndex(w http.ResponseWriter, r *http.Request) {
	v, _, err := s.visit(r, webCookie)
	if err == nil {
		_, chosen := pickLanguage(r, &v)
		if chosen {
			err = s.remember(w, r, webCookie, v)
		}
	}
	p := indexPage{page: s.newPage(r, &v, "index.title")}
	if err == nil {
		who, whoErr := s.who(r.Context(), v)
		p.SignedIn, p.Name, p.Sub, p.Picture, err = who.SID != "", who.Name, who.Sub, who.Picture, whoErr
	}
	if err != nil {
		s.failPage(w, r, &v, err)
		return
	}
	s.render(w, r, http.StatusOK, "index", p)
}

// handleSession keeps the demo page signed in: the page shows its access
// token once and gets a cookie for that session.
func (s *Server) handleSession(w http.ResponseWriter, r *http.Request) {
	var in struct {
		AccessToken string `json:"access_token"`
	}
	err := decodeJSON(w, r, &in)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	who, err := s.auth.Verify(r.Context(), in.AccessToken)
	if err == nil && who.ClientID != "web" {
		err = auth.ErrInvalidToken
	}
	var v visit
	if err == nil {
		v, _, err = s.visit(r, webCookie)
	}
	if err == nil {
		v.Sub, v.SID = who.Sub, who.SID
		err = s.remember(w, r, webCookie, v)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	noContent(w)
}

func (s *Server) handleSignOut(w http.ResponseWriter, r *http.Request) {
	s.signOut(w, r, webCookie, "/")
}

// signOut ends the page's session; the cookie stays, signed out, with the
// chosen language.
func (s *Server) signOut(w http.ResponseWriter, r *http.Request, c cookie, next string) {
	v, _, err := s.visit(r, c)
	if err == nil && v.SID != "" {
		err = s.auth.End(r.Context(), v.Sub, v.SID)
	}
	if err == nil {
		err = s.remember(w, r, c, visit{Lang: v.Lang, Nonce: v.Nonce})
	}
	if err != nil {
		s.failPage(w, r, &v, err)
		return
	}
	http.Redirect(w, r, next, http.StatusSeeOther)
}

// csrf is the value that a visit's forms carry.
func (s *Server) csrf(ctx context.Context, v visit) (string, error) {
	return s.mac(ctx, "csrf", v.Nonce)
}
