package web

import (
	"crypto/rand"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-chi/chi/v5"

	"scanlogin/auth"
	"scanlogin/qrlogin"
)

// The phone pages work without scripts: each form posts to the next page.
// Nothing is scanned by opening a page, because cameras, mail filters and
// link previews open them too.

type signinPage struct {
	page
	QR, UserCode, Proof, Provider string
	DemoUsers                     []string
	Error                         string
}

type openPage struct {
	page
	QR, Proof, Account string
	Auto               bool // a script may post the form at once
}

type codePage struct {
	page
	Account, Error string
}

type decidePage struct {
	page
	TicketID, ConfirmToken, Account string
	ClientName                      string
	Browser, OS, IP, Age            string
	UserCodeRequired                bool
}

type resultPage struct {
	page
	Status, Browser, OS string
	Waiting             bool
}

type messagePage struct {
	page
	Heading, Text, Next string
}

// phoneVisit reads the visit of a phone page; its cookie is set when it is
// new or its language changed, so that the forms have something to bind to.
func (s *Server) phoneVisit(w http.ResponseWriter, r *http.Request) (v visit, who auth.Principal, err error) {
	v, isNew, err := s.visit(r, phoneCookie)
	if err != nil {
		return v, who, err
	}
	if _, chosen := pickLanguage(r, &v); isNew || chosen {
		if err := s.remember(w, r, phoneCookie, v); err != nil {
			return v, who, err
		}
	}
	who, err = s.who(r.Context(), v)
	return v, who, err
}

// phoneForm reads a posted form and checks that it came from our own page in
// this browser.
func (s *Server) phoneForm(w http.ResponseWriter, r *http.Request) (form url.Values, v visit, who auth.Principal, err error) {
	if form, err = decodeForm(w, r); err != nil {
		return
	}
	if v, who, err = s.phoneVisit(w, r); err != nil {
		return
	}
	good, err := s.checkMAC(r.Context(), "csrf", v.Nonce, form.Get("csrf"))
	if err == nil && !good {
		err = errCrossOrigin
	}
	return form, v, who, err
}

func (s *Server) phonePage(r *http.Request, v *visit, title string) (page, error) {
	p := s.newPage(r, v, title)
	csrf, err := s.csrf(r.Context(), *v)
	p.CSRF = csrf
	return p, err
}

// proof says that this browser opened a QR text while it was good, so that
// signing in may take longer than the text lives.
func (s *Server) proof(r *http.Request, v visit, qr string) (string, error) {
	return s.mac(r.Context(), "proof", v.Nonce+" "+qr)
}

func (s *Server) proven(r *http.Request, v visit, qr, proof string) (bool, error) {
	if proof == "" {
		return false, nil
	}
	return s.checkMAC(r.Context(), "proof", v.Nonce+" "+qr, proof)
}

// handleOpenPage is what a camera opens.
func (s *Server) handleOpenPage(w http.ResponseWriter, r *http.Request) {
	v, who, err := s.phoneVisit(w, r)
	if err != nil {
		s.failPage(w, r, &v, err)
		return
	}
	qr, proof := chi.URLParam(r, "qr_token"), r.URL.Query().Get("proof")
	proven, err := s.proven(r, v, qr, proof)
	if err == nil && !proven {
		if err = s.tickets.CheckQR(r.Context(), qr); err == nil {
			proof, err = s.proof(r, v, qr)
		}
	}
	if err != nil {
		s.failPage(w, r, &v, err)
		return
	}
	if who.SID == "" {
		s.signinPage(w, r, v, http.StatusOK, signinPage{QR: qr, Proof: proof})
		return
	}
	p, err := s.phonePage(r, &v, "open.title")
	if err != nil {
		s.failPage(w, r, &v, err)
		return
	}
	// A camera app or our own sign-in page brought the person here, not a
	// link on somebody else's page.
	site := r.Header.Get("Sec-Fetch-Site")
	s.render(w, r, http.StatusOK, "open", openPage{
		page: p, QR: qr, Proof: proof, Account: who.Name, Auto: site == "none" || site == "same-origin",
	})
}

// handleCodePage is for who cannot scan.
func (s *Server) handleCodePage(w http.ResponseWriter, r *http.Request) {
	v, who, err := s.phoneVisit(w, r)
	if err != nil {
		s.failPage(w, r, &v, err)
		return
	}
	if who.SID == "" {
		s.signinPage(w, r, v, http.StatusOK, signinPage{})
		return
	}
	s.codePage(w, r, v, who, http.StatusOK, "")
}

func (s *Server) codePage(w http.ResponseWriter, r *http.Request, v visit, who auth.Principal, status int, wrong string) {
	p, err := s.phonePage(r, &v, "code.title")
	if err != nil {
		s.failPage(w, r, &v, err)
		return
	}
	p.Path = "/s"
	s.render(w, r, status, "code", codePage{page: p, Account: who.Name, Error: wrong})
}

func (s *Server) signinPage(w http.ResponseWriter, r *http.Request, v visit, status int, data signinPage) {
	p, err := s.phonePage(r, &v, "signin.title")
	if err != nil {
		s.failPage(w, r, &v, err)
		return
	}
	p.Path = openPath(data.QR)
	data.page, data.Provider, data.DemoUsers = p, s.config.Provider, s.config.DemoUsers
	s.render(w, r, status, "signin", data)
}

// openPath is the page of a QR text, or the page for typing a code.
func openPath(qr string) string {
	if qr == "" {
		return "/s"
	}
	return "/s/" + url.PathEscape(qr)
}

// handleSignInPage signs the phone in and goes on to where it came from. The
// visit gets a new nonce, and what it had proven is proven anew.
func (s *Server) handleSignInPage(w http.ResponseWriter, r *http.Request) {
	form, v, _, err := s.phoneForm(w, r)
	if err != nil {
		s.failPage(w, r, &v, err)
		return
	}
	qr := form.Get("qr")
	proven, err := s.proven(r, v, qr, form.Get("proof"))
	if err != nil {
		s.failPage(w, r, &v, err)
		return
	}
	tokens, err := s.auth.SignIn(r.Context(), form.Get("provider"), form.Get("credential"), s.device(r))
	if err != nil {
		if explain(err).code != "invalid_credential" {
			s.failPage(w, r, &v, err)
			return
		}
		s.signinPage(w, r, v, http.StatusUnauthorized, signinPage{QR: qr, Proof: form.Get("proof"), Error: "signin.wrong"})
		return
	}
	v.Sub, v.SID, v.Nonce = tokens.Sub, tokens.SID, rand.Text()
	if err := s.remember(w, r, phoneCookie, v); err != nil {
		s.failPage(w, r, &v, err)
		return
	}
	next := openPath(qr)
	if proven {
		proof, err := s.proof(r, v, qr)
		if err != nil {
			s.failPage(w, r, &v, err)
			return
		}
		next += "?proof=" + proof
	}
	http.Redirect(w, r, next, http.StatusSeeOther)
}

func (s *Server) handlePhoneSignOut(w http.ResponseWriter, r *http.Request) {
	form, v, _, err := s.phoneForm(w, r)
	if err != nil {
		s.failPage(w, r, &v, err)
		return
	}
	next := openPath(form.Get("qr"))
	if proof := form.Get("proof"); proof != "" {
		next += "?proof=" + url.QueryEscape(proof)
	}
	s.signOut(w, r, phoneCookie, next)
}

// handleScanPage scans and shows what is asking. Posting the form again (a
// reload) gives the same page.
func (s *Server) handleScanPage(w http.ResponseWriter, r *http.Request) {
	form, v, who, err := s.phoneForm(w, r)
	if err != nil {
		s.failPage(w, r, &v, err)
		return
	}
	scan := qrlogin.Scan{QR: form.Get("qr"), UserCode: strings.TrimSpace(form.Get("user_code")), Reload: true}
	if who.SID == "" {
		s.signinPage(w, r, v, http.StatusOK, signinPage{QR: scan.QR, Proof: form.Get("proof")})
		return
	}
	if scan.Proven, err = s.proven(r, v, scan.QR, form.Get("proof")); err != nil {
		s.failPage(w, r, &v, err)
		return
	}
	if scan.QR != "" {
		scan.UserCode = ""
	} else if scan.UserCode == "" {
		s.codePage(w, r, v, who, http.StatusBadRequest, "code.missing")
		return
	}
	found, err := s.tickets.Scan(r.Context(), scan, who.Identity())
	if scan.UserCode != "" && explain(err) == explain(qrlogin.ErrNotFound) && err != nil {
		s.codePage(w, r, v, who, http.StatusNotFound, "code.unknown")
		return
	}
	if err != nil {
		s.failPage(w, r, &v, err)
		return
	}
	s.config.Metrics.move("scanned")
	s.decidePage(w, r, v, who, scan.QR, found)
}

func (s *Server) decidePage(w http.ResponseWriter, r *http.Request, v visit, who auth.Principal, qr string, found qrlogin.Found) {
	p, err := s.phonePage(r, &v, "decide.title")
	if err != nil {
		s.failPage(w, r, &v, err)
		return
	}
	p.Path = openPath(qr)
	data := decidePage{
		page: p, TicketID: found.TicketID, ConfirmToken: found.ConfirmToken, Account: who.Name,
		ClientName: found.Client.Name, Browser: found.Facts.Browser, OS: found.Facts.OS, IP: found.Facts.IP,
	}
	if minutes := int(found.Age.Minutes()); minutes > 0 {
		data.Age = p.T("decide.minutes_ago", minutes)
	} else {
		data.Age = p.T("decide.seconds_ago", int(found.Age.Seconds()))
	}
	s.render(w, r, http.StatusOK, "decide", data)
}

// handleDecidePage decides; the result is a page of its own, to be reloaded.
func (s *Server) handleDecidePage(w http.ResponseWriter, r *http.Request) {
	form, v, who, err := s.phoneForm(w, r)
	if err == nil && who.SID == "" {
		s.signinPage(w, r, v, http.StatusOK, signinPage{})
		return
	}
	id, token := form.Get("ticket_id"), form.Get("confirm_token")
	if err == nil {
		switch form.Get("decision") {
		case "approve":
			if err = s.tickets.Confirm(r.Context(), id, token, who.Identity()); err == nil {
				s.config.Metrics.move("confirmed")
			}
		case "deny", "report":
			if err = s.tickets.Deny(r.Context(), id, token, who.Identity()); err == nil {
				s.config.Metrics.move("denied")
			}
		default:
			err = errInvalidRequest
		}
	}
	if err != nil {
		s.failPage(w, r, &v, err)
		return
	}
	http.Redirect(w, r, "/s/result/"+url.PathEscape(id), http.StatusSeeOther)
}

func (s *Server) handleResultPage(w http.ResponseWriter, r *http.Request) {
	v, who, err := s.phoneVisit(w, r)
	if err == nil && who.SID == "" {
		s.signinPage(w, r, v, http.StatusOK, signinPage{})
		return
	}
	var d qrlogin.Decision
	if err == nil {
		d, err = s.tickets.Decision(r.Context(), chi.URLParam(r, "ticket_id"), who.Identity())
	}
	var p page
	if err == nil {
		p, err = s.phonePage(r, &v, "result.title")
	}
	if err != nil {
		s.failPage(w, r, &v, err)
		return
	}
	s.render(w, r, http.StatusOK, "result", resultPage{
		page: p, Status: string(d.Status), Browser: d.Facts.Browser, OS: d.Facts.OS,
		Waiting: d.Status == qrlogin.Scanned || d.Status == qrlogin.Confirmed,
	})
}

// failPage says in plain words what happened and what to do next. The words
// of a code are under message.<code>.* in the catalogue.
func (s *Server) failPage(w http.ResponseWriter, r *http.Request, v *visit, err error) {
	f := explain(err)
	if f == errInternal {
		s.log.Error("page failed", "request_id", requestID(r), "error", err)
	}
	p := s.newPage(r, v, "message.title")
	key := "message." + f.code
	if _, ok := p.words[key+".heading"]; !ok {
		key = "message.internal"
	}
	if strings.HasPrefix(r.URL.Path, "/s/") && r.Method == http.MethodPost {
		p.Path = "/s"
	}
	s.render(w, r, f.status, "message", messagePage{page: p, Heading: key + ".heading", Text: key + ".text", Next: key + ".next"})
}
