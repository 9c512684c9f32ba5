package web

import (
	"errors"
	"log/slog"
	"net/http"

	"github.com/go-chi/chi/v5"

	"scanlogin/auth"
	"scanlogin/qrlogin"
)

type scanRequest struct {
	QR       string `json:"qr"`
	UserCode string `json:"user_code"`
}

// scanned is a ticket as the phone sees it.
type scanned struct {
	TicketID         string     `json:"ticket_id"`
	Seq              uint64     `json:"seq"`
	Status           string     `json:"status"`
	ConfirmToken     string     `json:"confirm_token"`
	ExpiresIn        int64      `json:"expires_in"`
	CheckRequired    bool       `json:"check_required"`
	UserCodeRequired bool       `json:"user_code_required"`
	Client           clientWire `json:"client"`
	Facts            factsWire  `json:"facts"`
}

type clientWire struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Kind string `json:"kind"`
}

// factsWire is what the phone may know of the browser; what is not known is
// absent.
type factsWire struct {
	Browser     string `json:"browser,omitzero"`
	OS          string `json:"os,omitzero"`
	IP          string `json:"ip,omitzero"`
	Country     string `json:"country,omitzero"`
	City        string `json:"city,omitzero"`
	SameNetwork *bool  `json:"same_network,omitzero"`
	FirstTime   bool   `json:"first_time"`
	HighUsage   bool   `json:"high_usage"`
	AgeSeconds  int64  `json:"age_seconds"`
	Verdict     string `json:"verdict"`
}

func wireFacts(found qrlogin.Found) factsWire {
	f, seen := found.Facts, found.Signals
	out := factsWire{
		Browser: f.Browser, OS: f.OS, IP: f.IP, Country: f.Country, City: f.City,
		FirstTime: seen.FirstTime, HighUsage: seen.HighUsage,
		AgeSeconds: int64(found.Age.Seconds()), Verdict: string(seen.Verdict()),
	}
	if seen.Compared {
		out.SameNetwork = &seen.SameNetwork
	}
	return out
}

// asking is who asks, by their access token.
func (s *Server) asking(r *http.Request) (auth.Principal, error) {
	token, err := bearer(r, errNoCredential)
	if err != nil {
		return auth.Principal{}, err
	}
	return s.auth.Verify(r.Context(), token)
}

// phone is who asks, when it is a phone that signed in itself.
func (s *Server) phone(r *http.Request) (auth.Identity, error) {
	p, err := s.asking(r)
	if err != nil {
		return auth.Identity{}, err
	}
	if !p.HasScope(auth.Phone) {
		return auth.Identity{}, errPhoneToken
	}
	return p.Identity(), nil
}

func (s *Server) handleScan(w http.ResponseWriter, r *http.Request) error {
	by, err := s.phone(r)
	if err != nil {
		return err
	}
	var in scanRequest
	if err := decodeJSON(w, r, &in); err != nil {
		return err
	}
	if (in.QR == "") == (in.UserCode == "") {
		return errInvalidRequest
	}
	found, err := s.scan(r, qrlogin.Scan{QR: in.QR, UserCode: in.UserCode}, by)
	if err != nil {
		return err
	}
	s.config.Metrics.move("scanned")
	return s.ok(w, http.StatusOK, scanned{
		TicketID: found.TicketID, Seq: found.Seq, Status: string(found.Status), ConfirmToken: found.ConfirmToken,
		ExpiresIn: seconds(found.ExpiresIn), CheckRequired: found.Check, UserCodeRequired: found.UserCode,
		Client: clientWire{found.Client.ID, found.Client.Name, found.Client.Kind}, Facts: wireFacts(found),
	})
}

// scan is the scan of the page or the app that asks. A code that is typed could
// be guessed.
func (s *Server) scan(r *http.Request, what qrlogin.Scan, by auth.Identity) (found qrlogin.Found, err error) {
	what.Phone = s.facts(r)
	try := func() error {
		if err := s.permitScan(r.Context(), what, by); err != nil {
			return err
		}
		found, err = s.tickets.Scan(r.Context(), what, by)
		return err
	}
	if what.UserCode == "" {
		err = try()
	} else {
		err = s.guessCode(r, by.Sub(), try)
	}
	return found, err
}

// statusWire is how a ticket stands after the phone's decision. CheckCode is for
// the phone to show and the person to type in the browser.
type statusWire struct {
	Status    string `json:"status"`
	CheckCode string `json:"check_code,omitzero"`
}

func (s *Server) handleConfirm(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		ConfirmToken string `json:"confirm_token"`
		UserCode     string `json:"user_code"`
	}
	by, err := s.decide(w, r, &in, &in.ConfirmToken)
	if err != nil {
		return err
	}
	answer, err := s.confirm(r, chi.URLParam(r, "ticket_id"), in.ConfirmToken, in.UserCode, by)
	if err != nil {
		return err
	}
	return s.ok(w, http.StatusOK, statusWire{string(answer.Status), answer.CheckCode})
}

func (s *Server) handleDeny(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		ConfirmToken string `json:"confirm_token"`
		Report       bool   `json:"report"`
	}
	by, err := s.decide(w, r, &in, &in.ConfirmToken)
	if err != nil {
		return err
	}
	if err := s.deny(r, chi.URLParam(r, "ticket_id"), in.ConfirmToken, by, in.Report); err != nil {
		return err
	}
	return s.ok(w, http.StatusOK, statusWire{Status: string(qrlogin.Denied)})
}

// confirm lets the browser in, or has the phone show the check code.
func (s *Server) confirm(r *http.Request, ticketID, confirmToken, userCode string, by auth.Identity) (qrlogin.Answer, error) {
	if err := s.permitConfirm(r.Context(), ticketID, confirmToken, by); err != nil {
		return qrlogin.Answer{}, err
	}
	answer, err := s.tickets.Confirm(r.Context(), ticketID, confirmToken, userCode, by)
	switch answer.Status {
	case qrlogin.Confirmed:
		s.config.Metrics.move("confirmed")
	case qrlogin.Denied:
		s.tellDenial(r, ticketID, answer.Reason)
	}
	return answer, err
}

// deny refuses the browser. A report is somebody whose account is being
// phished: the operator has to see it.
func (s *Server) deny(r *http.Request, ticketID, confirmToken string, by auth.Identity, report bool) error {
	err := s.tickets.Deny(r.Context(), ticketID, confirmToken, by, report)
	late := errors.Is(err, qrlogin.ErrInvalidState) || errors.Is(err, qrlogin.ErrTicketExpired)
	if report && (err == nil || late) {
		s.config.Metrics.move(reported)
		s.log.LogAttrs(r.Context(), slog.LevelWarn, "login reported by its scanner", slog.String("request_id", requestID(r)),
			slog.String("ticket_id", ticketID), slog.String("sub", by.Sub()), slog.Bool("late", late))
	}
	if err == nil {
		reason := qrlogin.ByUser
		if report {
			reason = reported
		}
		s.tellDenial(r, ticketID, reason)
	}
	return err
}

// tellDenial tells the operator of a login that was refused, by a person or by us.
func (s *Server) tellDenial(r *http.Request, ticketID, reason string) {
	s.config.Metrics.deny(reason)
	s.log.LogAttrs(r.Context(), slog.LevelInfo, "ticket denied", slog.String("request_id", requestID(r)),
		slog.String("ticket_id", ticketID), slog.String("reason", reason))
}

// decide reads what both decisions need: the phone and its half.
func (s *Server) decide(w http.ResponseWriter, r *http.Request, in any, token *string) (auth.Identity, error) {
	by, err := s.phone(r)
	if err != nil {
		return by, err
	}
	if err := decodeJSON(w, r, in); err != nil {
		return by, err
	}
	if *token == "" {
		return by, errInvalidRequest
	}
	return by, nil
}

// handleDecision lets the phone see the end.
func (s *Server) handleDecision(w http.ResponseWriter, r *http.Request) error {
	look, cancel := bounded(r)
	defer cancel()
	by, err := s.phone(look)
	if err != nil {
		return err
	}
	seq, wait, err := pollQuery(r.URL.Query())
	if err != nil {
		return err
	}
	id := chi.URLParam(r, "ticket_id")
	d, err := s.tickets.Decision(look.Context(), id, by)
	if err != nil {
		return err
	}
	if wait > 0 && seq == d.Seq && !d.Status.Final() {
		return s.poll(w, r, s.decisionTopic(id), seq, wait)
	}
	return s.ok(w, http.StatusOK, decision{d.Seq, string(d.Status)})
}
