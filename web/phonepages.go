package web

import (
	"cmp"
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"scanlogin/auth"
	"scanlogin/qrlogin"
)

// The phone pages work without scripts: each form posts to the next page.
// Nothing is scanned by opening a page, because cameras, mail filters and
// link previews open them too.

type signinPage struct {
	page
	QR, Proof, Provider string
	Next                string // the page to come back to, if it is no login: devicesPath
	DemoUsers           []string
	Error               string
}

type openPage struct {
	page
	QR, Proof, Account string
	Auto               bool // a script may post the form at once
}

type codePage struct {
	page
	Account, Typed, Error string
}

type decidePage struct {
	page
	TicketID, ConfirmToken, Account string
	ClientName                      string
	Browser, OS, IP, Age            string
}

type resultPage struct {
	page
	Status, Browser, OS string
	Waiting             bool
}

// proof says that this browser opened a QR text while it was good, so that
// signing in may take longer than the text lives.
func (s *Server) proof(r *http.Request, v *visitor, qr string) (string, error) {
	return s.mac(r.Context(), "proof", v.Nonce+" "+qr)
}

func (s *Server) proven(r *http.Request, v *visitor, qr, proof string) (bool, error) {
	if proof == "" {
		return false, nil
	}
	return s.checkMAC(r.Context(), "proof", v.Nonce+" "+qr, proof)
}

// openPath is the page of a QR text, or the page for typing a code.
func openPath(qr, proof string) string {
	switch {
	case qr == "":
		return "/s"
	case proof == "":
		return "/s/" + url.PathEscape(qr)
	}
	return "/s/" + url.PathEscape(qr) + "?proof=" + url.QueryEscape(proof)
}

// handleOpenPage is what a camera opens. Who has answered this login already
// gets to see how it ended.
func (s *Server) handleOpenPage(w http.ResponseWriter, r *http.Request, v *visitor) error {
	qr, proof := chi.URLParam(r, "qr_token"), r.URL.Query().Get("proof")
	proven, err := s.proven(r, v, qr, proof)
	if err != nil {
		return err
	}
	ticketID, err := s.tickets.CheckQR(r.Context(), qr)
	if v.signedIn() && s.answered(r, v, ticketID) {
		return seeOther(w, "/s/result/"+ticketID)
	}
	if err == nil && !proven {
		proof, err = s.proof(r, v, qr)
	}
	if err != nil && !(proven && errors.Is(err, qrlogin.ErrQRExpired)) {
		return err
	}
	if !v.signedIn() {
		return s.signinPage(w, r, v, http.StatusOK, signinPage{QR: qr, Proof: proof})
	}
	return s.render(w, http.StatusOK, "open", openPage{
		page: s.newPage(r, v, "open.title", openPath(qr, proof)), QR: qr, Proof: proof, Account: v.who.Name, Auto: byPerson(r),
	})
}

// answered says that this person has approved or declined the ticket.
func (s *Server) answered(r *http.Request, v *visitor, ticketID string) bool {
	d, err := s.tickets.Decision(r.Context(), ticketID, v.who.Identity())
	return err == nil && d.Status != qrlogin.Scanned && d.Status != qrlogin.Expired
}

// byPerson says that a camera app or a page of ours opened this one, not a link
// on somebody else's page. Browsers leave Sec-Fetch-Site out on plain http.
func byPerson(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "none", "same-origin":
		return true
	case "":
		from, err := url.Parse(r.Referer())
		return err == nil && (from.Host == "" || from.Host == r.Host)
	}
	return false
}

// handleCodePage is for who cannot scan.
func (s *Server) handleCodePage(w http.ResponseWriter, r *http.Request, v *visitor) error {
	if !v.signedIn() {
		return s.signinPage(w, r, v, http.StatusOK, signinPage{})
	}
	return s.codePage(w, r, v, http.StatusOK, codePage{})
}

func (s *Server) codePage(w http.ResponseWriter, r *http.Request, v *visitor, status int, data codePage) error {
	data.page, data.Account = s.newPage(r, v, "code.title", "/s"), v.who.Name
	return s.render(w, status, "code", data)
}

func (s *Server) signinPage(w http.ResponseWriter, r *http.Request, v *visitor, status int, data signinPage) error {
	data.page = s.newPage(r, v, "signin.title", cmp.Or(data.Next, openPath(data.QR, data.Proof)))
	data.Provider, data.DemoUsers = s.config.Provider, s.config.DemoUsers
	return s.render(w, status, "signin", data)
}

// handleSignInPage signs the phone in and goes on to where it came from. The
// visit gets a new nonce, and what it had proven is proven anew.
func (s *Server) handleSignInPage(w http.ResponseWriter, r *http.Request, v *visitor) error {
	qr, proof := v.form.Get("qr"), v.form.Get("proof")
	proven, err := s.proven(r, v, qr, proof)
	if err != nil {
		return err
	}
	tokens, err := s.signIn(r, v.form.Get("provider"), v.form.Get("credential"))
	if errors.Is(err, auth.ErrInvalidCredential) {
		return s.signinPage(w, r, v, http.StatusUnauthorized, signinPage{QR: qr, Proof: proof, Next: next(v), Error: "signin.wrong"})
	}
	if err != nil {
		return err
	}
	v.Sub, v.SID, v.Nonce = tokens.Sub, tokens.SID, rand.Text()
	if err := s.remember(w, r, phoneCookie, v.visit); err != nil {
		return err
	}
	proof = ""
	if proven {
		if proof, err = s.proof(r, v, qr); err != nil {
			return err
		}
	}
	return seeOther(w, wanted(v, proof))
}

// next is the page to come back to, if it is one that there is.
func next(v *visitor) string {
	if v.form.Get("next") == devicesPath {
		return devicesPath
	}
	return ""
}

// wanted is the page that somebody signs in for.
func wanted(v *visitor, proof string) string {
	return cmp.Or(next(v), openPath(v.form.Get("qr"), proof))
}

func (s *Server) handlePhoneSignOut(w http.ResponseWriter, r *http.Request, v *visitor) error {
	return s.signOut(w, r, v, openPath(v.form.Get("qr"), v.form.Get("proof")))
}

// handleScanPage scans and shows what is asking. Posting the form again (a
// reload) gives the same page.
func (s *Server) handleScanPage(w http.ResponseWriter, r *http.Request, v *visitor) (err error) {
	scan := qrlogin.Scan{QR: v.form.Get("qr"), Reload: true}
	if !v.signedIn() {
		return s.signinPage(w, r, v, http.StatusOK, signinPage{QR: scan.QR, Proof: v.form.Get("proof")})
	}
	typed := strings.TrimSpace(v.form.Get("user_code"))
	switch {
	case scan.QR != "":
		scan.Proven, err = s.proven(r, v, scan.QR, v.form.Get("proof"))
	case typed != "":
		scan.UserCode = typed
	default:
		return s.codePage(w, r, v, http.StatusBadRequest, codePage{Error: "code.missing"})
	}
	if err != nil {
		return err
	}
	found, err := s.scan(r, scan, v.who.Identity())
	if errors.Is(err, qrlogin.ErrInvalidState) && s.answered(r, v, found.TicketID) {
		return seeOther(w, "/s/result/"+found.TicketID) // the form of an answered question again
	}
	if scan.UserCode != "" && errors.Is(err, qrlogin.ErrNotFound) {
		return s.codePage(w, r, v, http.StatusNotFound, codePage{Typed: typed, Error: "code.unknown"})
	}
	if err != nil {
		return err
	}
	s.config.Metrics.move("scanned")
	return s.decidePage(w, r, v, scan.QR, found)
}

func (s *Server) decidePage(w http.ResponseWriter, r *http.Request, v *visitor, qr string, found qrlogin.Found) error {
	p := s.newPage(r, v, "decide.title", openPath(qr, v.form.Get("proof")))
	age := p.T("decide.just_now")
	if found.Age >= time.Minute {
		age = p.T("decide.minutes_ago", int(found.Age.Minutes()))
	} else if found.Age >= time.Second {
		age = p.T("decide.seconds_ago", int(found.Age.Seconds()))
	}
	return s.render(w, http.StatusOK, "decide", decidePage{
		page: p, TicketID: found.TicketID, ConfirmToken: found.ConfirmToken, Account: v.who.Name,
		ClientName: found.Client.Name, Browser: found.Facts.Browser, OS: found.Facts.OS, IP: found.Facts.IP, Age: age,
	})
}

// handleDecidePage decides; the result is a page of its own, to be reloaded.
func (s *Server) handleDecidePage(w http.ResponseWriter, r *http.Request, v *visitor) error {
	if !v.signedIn() {
		return s.signinPage(w, r, v, http.StatusOK, signinPage{})
	}
	id, token, by := v.form.Get("ticket_id"), v.form.Get("confirm_token"), v.who.Identity()
	switch v.form.Get("decision") {
	case "approve":
		if err := s.tickets.Confirm(r.Context(), id, token, by); err != nil {
			return err
		}
		s.config.Metrics.move("confirmed")
	case "deny", "report":
		if err := s.deny(r, id, token, by, v.form.Get("decision") == "report"); err != nil {
			return err
		}
	case "switch":
		// The ticket is bound to this account: the other one scans a new code.
		if err := s.deny(r, id, token, by, false); err != nil {
			return err
		}
		return s.signOut(w, r, v, "/s")
	default:
		return errInvalidRequest
	}
	return seeOther(w, "/s/result/"+url.PathEscape(id))
}

func (s *Server) handleResultPage(w http.ResponseWriter, r *http.Request, v *visitor) error {
	if !v.signedIn() {
		return s.signinPage(w, r, v, http.StatusOK, signinPage{})
	}
	d, err := s.tickets.Decision(r.Context(), chi.URLParam(r, "ticket_id"), v.who.Identity())
	if err != nil {
		return err
	}
	return s.render(w, http.StatusOK, "result", resultPage{
		page: s.newPage(r, v, "result.title", r.URL.Path), Status: string(d.Status),
		Browser: d.Facts.Browser, OS: d.Facts.OS,
		Waiting: d.Status == qrlogin.Scanned || d.Status == qrlogin.Confirmed,
	})
}
