package web

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"scanlogin/auth"
)

// Signing in at a provider's own pages: the browser is sent there and comes back
// with a code. The cookie of the phone pages says that it is the same browser.

// signinDeadline is for a whole sign-in; what of it asks the store has less.
const signinDeadline = 5 * time.Second

// maxCode bounds a provider's code, in bytes.
const maxCode = 512

// maxReturnTo bounds what a cookie has to carry, in bytes.
const maxReturnTo = 512

var errReturnTo = newFailure(400, "invalid_return_to", "return_to must be a page of this server that people sign in for.")

// signinPath begins the addresses at which people come and go to providers.
const signinPath = "/v1/signin/"

func (s *Server) signinRoutes(r chi.Router) {
	r.Use(patient)
	r.Post("/signin/{provider}", s.api(s.handleSignIn))
	r.Get("/signin/{provider}", s.visited(phoneCookie, s.handleRedirect, s.tellVisitor))
	r.Get("/signin/{provider}/callback", s.visited(phoneCookie, s.handleReturn, s.tellVisitor))
}

// patient is deadline for what has to wait for a provider.
func patient(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), signinDeadline)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// signIn signs in the device that asks: enter is one try at it.
func (s *Server) signIn(r *http.Request, enter func(auth.Origin) (auth.Tokens, error)) (tokens auth.Tokens, err error) {
	err = s.limitSignIns(r, func() error {
		return s.guess(r, credentials, "", func() error {
			tokens, err = enter(s.facts(r).Origin())
			return err
		})
	})
	return tokens, err
}

// handleSignIn makes a phone session.
func (s *Server) handleSignIn(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Credential string `json:"credential"`
	}
	if err := decodeJSON(w, r, &in); err != nil {
		return err
	}
	if in.Credential == "" {
		return errInvalidRequest
	}
	if err := s.mayName(r, s.config.Clients[auth.Phone]); err != nil {
		return err
	}
	tokens, err := s.signIn(r, func(from auth.Origin) (auth.Tokens, error) {
		return s.auth.SignIn(r.Context(), chi.URLParam(r, "provider"), in.Credential, from)
	})
	if err != nil {
		return err
	}
	return s.ok(w, http.StatusOK, tokenAnswer(tokens))
}

// redirector is the provider that a request is about.
func (s *Server) redirector(r *http.Request) (string, error) {
	provider := chi.URLParam(r, "provider")
	if !slices.Contains(s.config.Redirectors, provider) {
		return "", auth.ErrUnknownProvider
	}
	return provider, nil
}

// stateHash is what the cookie keeps of a state.
func stateHash(state string) string {
	sum := sha256.Sum256([]byte(state))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// handleRedirect sends the browser to a provider. Nothing is stored: anybody may
// have others open this address. The cookie keeps the last state only, so of two
// sign-ins that are begun the newer one counts.
func (s *Server) handleRedirect(w http.ResponseWriter, r *http.Request, v *visitor) error {
	provider, err := s.redirector(r)
	if err != nil {
		return err
	}
	back, err := wantedBack(r.URL.Query()["return_to"])
	if err != nil {
		return err
	}
	state, err := s.auth.NewState(r.Context(), provider)
	if err != nil {
		return err
	}
	away, err := s.auth.Redirect(provider, state, r.UserAgent())
	if err != nil {
		return err
	}
	v.State, v.Back = stateHash(state), back
	if err := s.remember(w, r, phoneCookie, v.visit); err != nil {
		return err
	}
	return seeOther(w, away)
}

// handleReturn is where the provider sends the browser back to.
func (s *Server) handleReturn(w http.ResponseWriter, r *http.Request, v *visitor) error {
	v.once = true
	provider, err := s.redirector(r)
	if err != nil {
		return err
	}
	query := r.URL.Query()
	state, code := query.Get("state"), query.Get("code")
	switch {
	case len(query["state"]) > 1, len(query["code"]) > 1, len(code) > maxCode:
		return errInvalidRequest
	case !hmac.Equal([]byte(stateHash(state)), []byte(v.State)):
		return auth.ErrInvalidState
	case code == "": // the person said no, there
		return seeOther(w, canceled(v.Back))
	}
	next, qr, proof, _ := readPage(v.Back)
	proven, err := s.proven(r, v, qr, proof)
	if err != nil {
		return err
	}
	tokens, err := s.signIn(r, func(from auth.Origin) (auth.Tokens, error) {
		return s.auth.Return(r.Context(), provider, state, code, r.UserAgent(), from)
	})
	if err != nil {
		return err
	}
	return s.settle(w, r, v, tokens, next, qr, proven)
}

// settle keeps the visitor signed in and goes on to what they signed in for. The
// visit gets a new nonce, and what it had proven is proven anew.
func (s *Server) settle(w http.ResponseWriter, r *http.Request, v *visitor, tokens auth.Tokens, next, qr string, proven bool) (err error) {
	v.Sub, v.SID, v.Nonce, v.State, v.Back = tokens.Sub, tokens.SID, rand.Text(), "", ""
	if err := s.remember(w, r, phoneCookie, v.visit); err != nil {
		return err
	}
	proof := ""
	if proven {
		if proof, err = s.proof(r, v, qr); err != nil {
			return err
		}
	}
	return seeOther(w, cmp.Or(next, openPath(qr, proof)))
}

// wantedBack is the page to come back to, the one for typing a code if none is
// named.
func wantedBack(named []string) (string, error) {
	if len(named) == 0 {
		return openPath("", ""), nil
	}
	if _, _, _, ok := readPage(named[0]); !ok || len(named) > 1 || len(named[0]) > maxReturnTo {
		return "", errReturnTo
	}
	return named[0], nil
}

// readPage takes the address of a page to pieces that people sign in for. It must
// be written as we write it, to the letter, and be no dot segment: so there is
// nothing that a browser could read in another way.
func readPage(path string) (next, qr, proof string, ok bool) {
	if path == devicesPath {
		return path, "", "", true
	}
	u, err := url.Parse(path)
	if err != nil {
		return "", "", "", false
	}
	qr, _ = strings.CutPrefix(u.Path, "/s/")
	if qr == u.Path {
		qr = ""
	}
	proof = u.Query().Get("proof")
	return "", qr, proof, qr != "." && qr != ".." && openPath(qr, proof) == path
}

// canceled is a page's address with the news that the person changed their mind.
func canceled(path string) string {
	if strings.Contains(path, "?") {
		return path + "&signin=canceled"
	}
	return path + "?signin=canceled"
}

// way is a provider that the sign-in page offers to be sent to.
type way struct{ Name, Href string }

// ways are all of them, with the page to come back to.
func (s *Server) ways(p page, back string) (ways []way) {
	for _, provider := range s.config.Redirectors {
		href := signinPath + provider + "?" + url.Values{"return_to": {back}}.Encode()
		ways = append(ways, way{p.provider(provider), href})
	}
	return ways
}

// provider is what people call one.
func (p page) provider(name string) string {
	return cmp.Or(p.words["provider."+name], name)
}
