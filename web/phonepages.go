package web

import (
	"cmp"
	"errors"
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
	QR, Proof string
	Next      string // the page to come back to, if it is no login: devicesPath
	Ways      []way
	DemoUsers []string
	Error     string
	Canceled  bool // at the provider's
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
	Browser, OS, Age                string
	Where                           []string // the browser is, the most telling first
	Verdict                         string
	Concerns                        []string // why the verdict is not ok
	UserCode                        bool     // Approve takes the code that the device shows
	Wrong                           bool     // it was wrong before
	TriesLeft                       int
}

type resultPage struct {
	page
	Status, Reason, Browser, OS string
	Digits                      []string // of the check code, to be typed in the browser
	TicketID, ConfirmToken      string   // to deny it all the same; no token: not from here
	Waiting                     bool
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
	return err == nil && (d.Status != qrlogin.Scanned || d.CheckCode != "") && d.Status != qrlogin.Expired
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
	here := cmp.Or(data.Next, openPath(data.QR, data.Proof))
	data.page = s.newPage(r, v, "signin.title", here)
	data.DemoUsers, data.Ways = s.config.DemoUsers, s.ways(data.page, here)
	data.Canceled = r.URL.Query().Get("signin") == "canceled"
	return s.render(w, status, "signin", data)
}

// handleSignInPage signs the phone in and goes on to where it came from.
func (s *Server) handleSignInPage(w http.ResponseWriter, r *http.Request, v *visitor) error {
	qr, proof := v.form.Get("qr"), v.form.Get("proof")
	proven, err := s.proven(r, v, qr, proof)
	if err != nil {
		return err
	}
	tokens, err := s.signIn(r, func(from auth.Origin) (auth.Tokens, error) {
		return s.auth.SignIn(r.Context(), s.config.Provider, v.form.Get("credential"), from)
	})
	if errors.Is(err, auth.ErrInvalidCredential) {
		return s.signinPage(w, r, v, http.StatusUnauthorized, signinPage{QR: qr, Proof: proof, Next: next(v), Error: "signin.wrong"})
	}
	if err != nil {
		return err
	}
	return s.settle(w, r, v, tokens, next(v), qr, proven)
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
	return s.decidePage(w, r, v, openPath(scan.QR, v.form.Get("proof")), found)
}

// handleDecidePage decides; the result is a page of its own, to be reloaded.
func (s *Server) handleDecidePage(w http.ResponseWriter, r *http.Request, v *visitor) error {
	if !v.signedIn() {
		return s.signinPage(w, r, v, http.StatusOK, signinPage{})
	}
	id, token, by := v.form.Get("ticket_id"), v.form.Get("confirm_token"), v.who.Identity()
	switch v.form.Get("decision") {
	case "approve":
		if err := s.approve(w, r, v, id, token); err != nil {
			return err
		}
	case "deny", "report":
		err := s.deny(r, id, token, by, v.form.Get("decision") == "report")
		if err != nil && !(errors.Is(err, qrlogin.ErrInvalidState) && s.answered(r, v, id)) {
			return err // but how it ended is told by the page of the result
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

// approve confirms. A code that was wrong and a login that is blocked are for
// the page of the result to tell: loading that again costs no try.
func (s *Server) approve(w http.ResponseWriter, r *http.Request, v *visitor, id, token string) error {
	answer, err := s.confirm(r, id, token, v.form.Get("user_code"), v.who.Identity())
	told := errors.Is(err, qrlogin.ErrCheckFailed) || errors.Is(err, qrlogin.ErrProximityBlocked)
	if err != nil && !told || answer.Status == qrlogin.Confirmed {
		return err
	}
	v.Ticket, v.Confirm = id, token
	return s.remember(w, r, phoneCookie, v.visit)
}

// handleResultPage tells how the login stands, and asks again what is not decided.
func (s *Server) handleResultPage(w http.ResponseWriter, r *http.Request, v *visitor) error {
	if !v.signedIn() {
		return s.signinPage(w, r, v, http.StatusOK, signinPage{})
	}
	d, err := s.tickets.Decision(r.Context(), chi.URLParam(r, "ticket_id"), v.who.Identity())
	if err != nil {
		return err
	}
	d.ConfirmToken = v.confirmToken(d.TicketID)
	if d.Status == qrlogin.Scanned && d.CheckCode == "" && d.ConfirmToken != "" {
		return s.decidePage(w, r, v, r.URL.Path, d.Found)
	}
	p := resultPage{
		page: s.newPage(r, v, "result.title", r.URL.Path), Status: string(d.Status), Reason: d.Reason,
		Browser: d.Facts.Browser, OS: d.Facts.OS, TicketID: d.TicketID, ConfirmToken: d.ConfirmToken,
		Waiting: d.Status == qrlogin.Scanned || d.Status == qrlogin.Confirmed,
	}
	if d.CheckCode != "" {
		p.Status, p.Digits = "check", strings.Split(d.CheckCode, "")
	}
	return s.render(w, http.StatusOK, "result", p)
}

// confirmToken is the visitor's half of a login that is not over; empty: none.
func (v *visitor) confirmToken(ticketID string) string {
	if v.Ticket != ticketID {
		return ""
	}
	return v.Confirm
}
