package web

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-json-experiment/json"

	"scanlogin/auth"
)

// visit is what a page's cookie says: who is signed in there, if anybody, and
// a nonce that forms and proofs are bound to. The cookie is signed, not
// secret: it names a session, which the store may have ended.
type visit struct {
	Sub   string `json:"sub,omitzero"`
	SID   string `json:"sid,omitzero"`
	Lang  string `json:"lang,omitzero"` // chosen by the person
	Nonce string `json:"nonce"`
	// The last login that was approved here and is not over with that, and its
	// confirm_token: its page can be loaded again and can still deny it.
	Ticket  string `json:"ticket,omitzero"`
	Confirm string `json:"confirm,omitzero"`
	// The last sign-in that began at a provider's: the hash of its state, and the
	// page to come back to.
	State string `json:"state,omitzero"`
	Back  string `json:"back,omitzero"`
}

// cookie is the kind of page a visit belongs to; the kinds never mix.
type cookie string

const (
	phoneCookie cookie = "scanlogin-phone"
	webCookie   cookie = "scanlogin-web"
)

func (s *Server) cookieName(c cookie) string {
	if s.secure() {
		return "__Host-" + string(c)
	}
	return string(c)
}

func (s *Server) secure() bool { return strings.HasPrefix(s.config.PublicURL, "https:") }

// mac signs text for one purpose.
func (s *Server) mac(ctx context.Context, purpose, text string) (string, error) {
	key, err := s.config.Derive(ctx, purpose)
	if err != nil {
		return "", err
	}
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)), nil
}

func (s *Server) checkMAC(ctx context.Context, purpose, text, mac string) (bool, error) {
	want, err := s.mac(ctx, purpose, text)
	return err == nil && hmac.Equal([]byte(want), []byte(mac)), err
}

// visit reads the cookie; a missing or forged one is a new, signed-out visit.
func (s *Server) visit(r *http.Request, c cookie) (v visit, isNew bool, err error) {
	fresh := visit{Nonce: rand.Text()}
	got, err := r.Cookie(s.cookieName(c))
	if err != nil {
		return fresh, true, nil
	}
	payload, mac, _ := strings.Cut(got.Value, ".")
	good, err := s.checkMAC(r.Context(), string(c), payload, mac)
	if err != nil || !good {
		return fresh, true, err
	}
	raw, err := base64.RawURLEncoding.DecodeString(payload)
	if err == nil {
		err = json.Unmarshal(raw, &v)
	}
	if err != nil {
		return fresh, true, nil
	}
	return v, false, nil
}

// remember sets the cookie.
func (s *Server) remember(w http.ResponseWriter, r *http.Request, c cookie, v visit) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	payload := base64.RawURLEncoding.EncodeToString(raw)
	mac, err := s.mac(r.Context(), string(c), payload)
	if err != nil {
		return err
	}
	http.SetCookie(w, &http.Cookie{
		Name: s.cookieName(c), Value: payload + "." + mac, Path: "/", HttpOnly: true,
		Secure: s.secure(), SameSite: http.SameSiteLaxMode, MaxAge: int(s.config.SessionTTL.Seconds()),
	})
	return nil
}

// who is the person signed in on this page; the zero Principal: nobody, the
// session has ended, or the person is banned. A form is somebody doing
// something, so that the session counts as used; a GET changes nothing.
func (s *Server) who(r *http.Request, v visit) (p auth.Principal, err error) {
	switch {
	case v.SID == "":
		return auth.Principal{}, nil
	case r.Method == http.MethodPost:
		p, err = s.auth.Use(r.Context(), v.Sub, v.SID)
	default:
		p, err = s.auth.Session(r.Context(), v.Sub, v.SID)
	}
	if errors.Is(err, auth.ErrSessionEnded) || errors.Is(err, auth.ErrBanned) {
		return auth.Principal{}, nil
	}
	return p, err
}

// visitor is who has a page open.
type visitor struct {
	visit
	cookie cookie
	who    auth.Principal // zero: signed out
	csrf   string         // what this visitor's forms carry
	form   url.Values     // of a POST, which came from a form of ours
	once   bool           // this address cannot be opened again, and is not to be shown
}

func (v *visitor) signedIn() bool { return v.who.SID != "" }

// pageHandler answers a visitor, or says why it can't; then nothing was written.
type pageHandler func(http.ResponseWriter, *http.Request, *visitor) error

// page gives a handler its visitor, and answers its error in words.
func (s *Server) page(c cookie, h pageHandler) http.HandlerFunc { return s.visited(c, h, s.failPage) }

func (s *Server) visited(c cookie, h pageHandler, fail func(http.ResponseWriter, *http.Request, *visitor, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v := &visitor{cookie: c}
		look, cancel := bounded(r)
		err := s.meet(w, look, v)
		cancel()
		if err == nil {
			err = h(w, r, v)
		}
		if err != nil {
			fail(w, r, v, err)
		}
	}
}

// meet reads the visitor's cookie, which is set when it is new or its
// language changed, so that forms have something to bind to; a form that does
// not come from a page of ours in this browser is refused.
func (s *Server) meet(w http.ResponseWriter, r *http.Request, v *visitor) (err error) {
	var isNew bool
	if v.visit, isNew, err = s.visit(r, v.cookie); err != nil {
		return err
	}
	if _, chosen := pickLanguage(r, &v.visit); isNew || chosen {
		if err = s.remember(w, r, v.cookie, v.visit); err != nil {
			return err
		}
	}
	if v.csrf, err = s.mac(r.Context(), "csrf", v.Nonce); err != nil {
		return err
	}
	if r.Method == http.MethodPost {
		if v.form, err = decodeForm(w, r); err != nil {
			return err
		}
		if !hmac.Equal([]byte(v.csrf), []byte(v.form.Get("csrf"))) {
			return errCrossOrigin
		}
	}
	v.who, err = s.who(r, v.visit)
	return err
}
