package web

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"scanlogin/hub"
	"scanlogin/qrlogin"
)

// createRequest is the body of POST /v1/tickets and, as a form, of
// POST /oauth/device_authorization (RFC 8628 section 3.1, RFC 7636 section 4.3).
type createRequest struct {
	ClientID            string `json:"client_id"`
	Scope               string `json:"scope"`
	CodeChallenge       string `json:"code_challenge"`
	CodeChallengeMethod string `json:"code_challenge_method"`
	UserCode            bool   `json:"user_code"`
}

// created is a new ticket as its browser gets it, once.
type created struct {
	snapshot
	DeviceCode      string `json:"device_code"`
	Interval        int64  `json:"interval"`
	UserCode        string `json:"user_code,omitzero"`
	VerificationURI string `json:"verification_uri,omitzero"`
}

func (s *Server) handleCreate(w http.ResponseWriter, r *http.Request) error {
	in, err := decodeCreate(w, r)
	if err != nil {
		return err
	}
	in.ClientID = cmp.Or(in.ClientID, "web")
	if err := s.mayName(r, s.config.Clients[in.ClientID]); err != nil {
		return err
	}
	return s.create(w, r, in, false, http.StatusCreated)
}

func (s *Server) handleDeviceAuthorization(w http.ResponseWriter, r *http.Request) error {
	form, err := decodeForm(w, r)
	if err != nil {
		return err
	}
	client, err := s.authenticateClient(r, form)
	if err != nil {
		return err
	}
	in := createForm(form)
	in.ClientID = client.ID
	return s.create(w, r, in, true, http.StatusOK)
}

// decodeCreate takes either kind of body.
func decodeCreate(w http.ResponseWriter, r *http.Request) (in createRequest, err error) {
	if media, _ := mediaType(r); media != formType {
		err = decodeJSON(w, r, &in) // which also refuses other types
		return in, err
	}
	form, err := decodeForm(w, r)
	if err != nil {
		return in, err
	}
	in = createForm(form)
	switch form.Get("user_code") {
	case "", "false":
	case "true":
		in.UserCode = true
	default:
		err = errInvalidRequest
	}
	return in, err
}

func createForm(form url.Values) createRequest {
	return createRequest{
		ClientID: form.Get("client_id"), Scope: form.Get("scope"),
		CodeChallenge: form.Get("code_challenge"), CodeChallengeMethod: form.Get("code_challenge_method"),
	}
}

func (s *Server) create(w http.ResponseWriter, r *http.Request, in createRequest, device bool, status int) error {
	if err := s.permitTicket(r); err != nil {
		return err
	}
	t, err := s.tickets.Create(r.Context(), qrlogin.Request{
		ClientID: in.ClientID, Scope: in.Scope, Challenge: in.CodeChallenge, ChallengeMethod: in.CodeChallengeMethod,
		UserCode: in.UserCode, Device: device, Facts: s.facts(r),
	})
	if device && errors.Is(err, qrlogin.ErrInvalidCodeChallenge) {
		return errInvalidRequest // what RFC 7636 section 4.4.1 calls it
	}
	if err != nil {
		return err
	}
	out := created{DeviceCode: t.DeviceCode, Interval: seconds(qrlogin.Interval), UserCode: t.UserCode}
	if out.snapshot, err = s.snapshot(t.View); err != nil {
		return err
	}
	if t.UserCode != "" {
		out.VerificationURI = s.config.PublicURL + "/s"
	}
	return s.ok(w, status, out)
}

// open reads the ticket in the path for the browser that holds its
// device_code.
func (s *Server) open(r *http.Request) (qrlogin.View, error) {
	code, err := bearer(r, errNoDeviceCode)
	if err != nil {
		return qrlogin.View{}, err
	}
	return s.tickets.Open(r.Context(), chi.URLParam(r, "ticket_id"), code)
}

// handleTicket answers at once, or (long poll) when the ticket is no longer
// at the seq that the browser knows.
func (s *Server) handleTicket(w http.ResponseWriter, r *http.Request) error {
	seq, wait, err := pollQuery(r.URL.Query())
	if err != nil {
		return err
	}
	look, cancel := bounded(r)
	defer cancel()
	v, err := s.open(look)
	if err != nil {
		return err
	}
	if wait > 0 && seq == v.Seq && !v.Status.Final() {
		return s.poll(w, r, s.topic(v), seq, wait)
	}
	out, err := s.snapshot(v)
	if err != nil {
		return err
	}
	return s.ok(w, http.StatusOK, out)
}

// pollQuery reads ?seq=&wait=. Without seq the answer comes at once.
func pollQuery(q url.Values) (seq uint64, wait time.Duration, err error) {
	if text := q.Get("wait"); text != "" {
		n, err := strconv.ParseUint(text, 10, 8)
		if err != nil || n > 25 {
			return 0, 0, errInvalidRequest
		}
		wait = time.Duration(n) * time.Second
	}
	text := q.Get("seq")
	if text == "" {
		return 0, 0, nil
	}
	if seq, err = strconv.ParseUint(text, 10, 53); err != nil {
		return 0, 0, errInvalidRequest
	}
	return seq, wait, nil
}

func (s *Server) poll(w http.ResponseWriter, r *http.Request, t hub.Topic, seq uint64, wait time.Duration) error {
	if s.closed.Load() {
		return errOverloaded
	}
	if err := endless(w, r); err != nil {
		return err
	}
	t.From = s.clientAddr(r)
	snap, err := s.hub.Wait(r.Context(), t, seq, wait)
	if err != nil {
		return err
	}
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerWithin))
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "application/json")
	w.Write(append(snap.Data, '\n'))
	return nil
}

func (s *Server) handleEvents(w http.ResponseWriter, r *http.Request) error {
	if s.closed.Load() {
		return errOverloaded
	}
	look, cancel := bounded(r)
	defer cancel()
	v, err := s.open(look)
	if err != nil {
		return err
	}
	if err := endless(w, r); err != nil {
		return err
	}
	t := s.topic(v)
	t.From = s.clientAddr(r)
	return s.hub.ServeSSE(w, r, t)
}

func (s *Server) handleSocket(w http.ResponseWriter, r *http.Request) error {
	return s.upgrade(w, r, s.ticket, s.openTicket(chi.URLParam(r, "ticket_id")))
}

// upgrade opens a socket; nothing is looked up before its `watch`.
func (s *Server) upgrade(w http.ResponseWriter, r *http.Request, wire *hub.Wire, open hub.Open) error {
	switch {
	case !s.allowed(r.Header.Get("Origin")):
		return errCrossOrigin // cross-site WebSocket hijacking
	case s.closed.Load():
		return errOverloaded
	}
	return s.hub.ServeWS(w, r, wire, s.clientAddr(r), open)
}

func (s *Server) handleCancel(w http.ResponseWriter, r *http.Request) error {
	code, err := bearer(r, errNoDeviceCode)
	if err != nil {
		return err
	}
	if err := s.tickets.Cancel(r.Context(), chi.URLParam(r, "ticket_id"), code); err != nil {
		return err
	}
	s.config.Metrics.move("canceled")
	return noContent(w)
}

// handleCheck is the browser sending the code that the phone shows.
func (s *Server) handleCheck(w http.ResponseWriter, r *http.Request) error {
	deviceCode, err := bearer(r, errNoDeviceCode)
	if err != nil {
		return err
	}
	var in struct {
		Code string `json:"code"`
	}
	if err := decodeJSON(w, r, &in); err != nil {
		return err
	}
	if len(in.Code) != 2 || strings.Trim(in.Code, "0123456789") != "" { // not a try
		return errInvalidRequest
	}
	v, err := s.tickets.Check(r.Context(), chi.URLParam(r, "ticket_id"), deviceCode, in.Code)
	if v.Status == qrlogin.Denied {
		s.tellDenial(r, v.TicketID, v.Reason)
	}
	if err != nil {
		return err
	}
	s.config.Metrics.move("confirmed")
	out, err := s.snapshot(v)
	if err != nil {
		return err
	}
	return s.ok(w, http.StatusOK, out)
}

func (s *Server) handleQR(render func(text string, scale int) ([]byte, error), contentType string) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		scale, err := scaleQuery(r.URL.Query())
		if err != nil {
			return err
		}
		v, err := s.open(r)
		switch {
		case err != nil:
			return err
		case v.Status == qrlogin.Expired:
			return qrlogin.ErrTicketExpired
		case v.QRText == "":
			return qrlogin.ErrInvalidState
		}
		body, err := render(v.QRText, scale)
		if err != nil {
			return err
		}
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Type", contentType)
		w.Write(body)
		return nil
	}
}

// scaleQuery reads ?scale=, pixels per module. Its bound is what keeps a
// picture from being made as large as a client likes.
func scaleQuery(q url.Values) (int, error) {
	if !q.Has("scale") {
		return 8, nil
	}
	n, err := strconv.Atoi(q.Get("scale"))
	if err != nil || n < 1 || n > 16 || strconv.Itoa(n) != q.Get("scale") {
		return 0, errInvalidSize
	}
	return n, nil
}
