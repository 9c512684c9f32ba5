package web

import (
	"net/http"

	"github.com/go-chi/chi/v5"

	"scanlogin/auth"
	"scanlogin/qrlogin"
)

type scanRequest struct {
	QR       string `json:"qr"`
	UserCode string `json:"user_code"`
}

// scanned is a ticket as the phone sees it (contract section 4).
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

type factsWire struct {
	Browser    string `json:"browser,omitzero"`
	OS         string `json:"os,omitzero"`
	IP         string `json:"ip,omitzero"`
	AgeSeconds int64  `json:"age_seconds"`
}

func (s *Server) handleScan(w http.ResponseWriter, r *http.Request) {
	by, err := s.phone(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	var in scanRequest
	if err := decodeJSON(w, r, &in); err != nil {
		s.fail(w, r, err)
		return
	}
	if (in.QR == "") == (in.UserCode == "") {
		s.fail(w, r, errInvalidRequest)
		return
	}
	found, err := s.tickets.Scan(r.Context(), qrlogin.Scan{QR: in.QR, UserCode: in.UserCode}, by)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.config.Metrics.move("scanned")
	s.ok(w, http.StatusOK, scanned{
		TicketID: found.TicketID, Seq: found.Seq, Status: string(found.Status), ConfirmToken: found.ConfirmToken,
		ExpiresIn: seconds(found.ExpiresIn),
		Client:    clientWire{found.Client.ID, found.Client.Name, found.Client.Kind},
		Facts: factsWire{
			Browser: found.Facts.Browser, OS: found.Facts.OS, IP: found.Facts.IP,
			AgeSeconds: int64(found.Age.Seconds()),
		},
	})
}

type statusWire struct {
	Status string `json:"status"`
}

func (s *Server) handleConfirm(w http.ResponseWriter, r *http.Request) {
	var in struct {
		ConfirmToken string `json:"confirm_token"`
		UserCode     string `json:"user_code"`
	}
	by, err := s.decide(w, r, &in, &in.ConfirmToken)
	if err == nil {
		err = s.tickets.Confirm(r.Context(), chi.URLParam(r, "ticket_id"), in.ConfirmToken, by)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.config.Metrics.move("confirmed")
	s.ok(w, http.StatusOK, statusWire{string(qrlogin.Confirmed)})
}

func (s *Server) handleDeny(w http.ResponseWriter, r *http.Request) {
	var in struct {
		ConfirmToken string `json:"confirm_token"`
		Report       bool   `json:"report"`
	}
	by, err := s.decide(w, r, &in, &in.ConfirmToken)
	if err == nil {
		err = s.tickets.Deny(r.Context(), chi.URLParam(r, "ticket_id"), in.ConfirmToken, by)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.config.Metrics.move("denied")
	s.ok(w, http.StatusOK, statusWire{string(qrlogin.Denied)})
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
func (s *Server) handleDecision(w http.ResponseWriter, r *http.Request) {
	by, err := s.phone(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	seq, wait, err := pollQuery(r.URL.Query())
	if err != nil {
		s.fail(w, r, err)
		return
	}
	id := chi.URLParam(r, "ticket_id")
	d, err := s.tickets.Decision(r.Context(), id, by)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if wait > 0 && seq == d.Seq && !d.Status.Final() {
		s.poll(w, r, s.decisionTopic(id), seq, wait)
		return
	}
	s.ok(w, http.StatusOK, decision{d.Seq, string(d.Status)})
}

// handleSignIn makes a phone session (contract section 7).
func (s *Server) handleSignIn(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Credential string `json:"credential"`
	}
	if err := decodeJSON(w, r, &in); err != nil {
		s.fail(w, r, err)
		return
	}
	if in.Credential == "" {
		s.fail(w, r, errInvalidRequest)
		return
	}
	tokens, err := s.auth.SignIn(r.Context(), chi.URLParam(r, "provider"), in.Credential, s.device(r))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.ok(w, http.StatusOK, tokenAnswer(tokens))
}

// device is the asking device in parsed words, for the session it gets.
func (s *Server) device(r *http.Request) auth.Device {
	f := s.facts(r)
	return auth.Device{Browser: f.Browser, OS: f.OS}
}
