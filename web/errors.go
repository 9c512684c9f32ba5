package web

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"scanlogin/auth"
	"scanlogin/hub"
	"scanlogin/qrlogin"
)

// failure is an answer that is not a success: its status, its code word (see
// openapi.yaml) and a sentence for people.
type failure struct {
	status int
	code   string
	detail string
	after  time.Duration // when trying again may help; 0: retryAfter
}

func newFailure(status int, code, detail string) *failure {
	return &failure{status: status, code: code, detail: detail}
}

func (f *failure) Error() string { return "web: " + f.code }

// setRetryAfter tells who is sent away for a while when to come back.
func (f *failure) setRetryAfter(h http.Header) {
	if f.status == http.StatusTooManyRequests || f.status == http.StatusServiceUnavailable {
		h.Set("Retry-After", strconv.FormatInt(cmp.Or(seconds(f.after), retryAfter), 10))
	}
}

// What web itself finds wrong with a request.
var (
	errInvalidJSON       = newFailure(400, "invalid_json", "The body must be one JSON object without duplicate members.")
	errUnknownMember     = newFailure(400, "unknown_member", "The body has a member that this request does not know.")
	errInvalidString     = newFailure(400, "invalid_string", "A string holds NUL or is not UTF-8.")
	errInvalidRequest    = newFailure(400, "invalid_request", "A part of the request is missing or malformed.")
	errHandshake         = newFailure(400, "invalid_request", "This address takes a WebSocket handshake (RFC 6455 section 4.2.1).")
	errTokenInURL        = newFailure(400, "token_in_url", "Credentials do not belong in a URL: use the Authorization header or the body.")
	errInvalidSize       = newFailure(400, "invalid_size", "scale must be a whole number from 1 to 16.")
	errUnsupportedGrant  = newFailure(400, "unsupported_grant_type", "This grant_type is not supported.")
	errNoCredential      = newFailure(401, "invalid_token", "This needs a bearer token.")
	errNoDeviceCode      = newFailure(401, "invalid_device_code", "This needs the device_code as a bearer token.")
	errBadSignature      = newFailure(401, "bad_signature", "The request is not signed by a key that may ask for this, not recent, or not new.")
	errPhoneToken        = newFailure(403, "phone_token_required", "Only a phone that signed in itself may do this.")
	errNetworkBanned     = newFailure(403, "network_banned", "Nothing is served to this network at the moment.")
	errCrossOrigin       = newFailure(403, "cross_origin", "This origin may not call this server.")
	errNotFound          = newFailure(404, "not_found", "There is nothing at this address.")
	errMethod            = newFailure(405, "method_not_allowed", "This address does not know this method; Allow lists those it knows.")
	errNetworksUnknown   = newFailure(409, "networks_unknown", "Every browser has the proxy's address here: declare it with trusted_proxies to ban networks.")
	errBodyTooLarge      = newFailure(413, "body_too_large", "The body is larger than 8 KiB.")
	errMediaType         = newFailure(415, "unsupported_media_type", "The body's Content-Type or Content-Encoding is not one that this address takes.")
	errRateLimited       = newFailure(429, "rate_limited", "Too much of this came from here; Retry-After says when the next one is looked at.")
	errInternal          = newFailure(500, "internal", "Something went wrong on our side. The request id finds it in the log.")
	errStoreUnavailable  = newFailure(503, "store_unavailable", "The store does not answer. Nothing was lost; try again.")
	errOverloaded        = newFailure(503, "overloaded", "This instance takes no new connections now; try again.")
	errClientCredentials = newFailure(401, "invalid_client", "The client is unknown or its credentials are wrong.")
)

// table turns the errors of the other rooms into answers; it is the only
// place that does. Unknown errors are 500, and their text stays in the log.
var table = []struct {
	err error
	*failure
}{
	{qrlogin.ErrNotFound, newFailure(404, "ticket_not_found", "There is no such ticket.")},
	{qrlogin.ErrInvalidState, newFailure(409, "invalid_state", "The ticket is past this move, or not there yet.")},
	{qrlogin.ErrNotScanner, newFailure(403, "not_scanner", "Another user scanned this ticket.")},
	{qrlogin.ErrInvalidConfirmToken, newFailure(403, "invalid_confirm_token", "The confirm_token is not the live one of this ticket.")},
	{qrlogin.ErrCheckFailed, newFailure(403, "check_failed", "This is not the code.")},
	{qrlogin.ErrProximityBlocked, newFailure(403, "proximity_blocked", "This login comes from a network that may not be let in.")},
	{qrlogin.ErrTicketExpired, newFailure(410, "ticket_expired", "The ticket has expired; start again.")},
	{qrlogin.ErrQRExpired, newFailure(410, "qr_expired", "This QR code was replaced; scan the one on the screen now.")},
	{qrlogin.ErrAlreadyScanned, newFailure(409, "already_scanned", "Another user scanned this ticket first.")},
	{qrlogin.ErrInvalidDeviceCode, newFailure(401, "invalid_device_code", "The device_code is not this ticket's.")},
	{qrlogin.ErrInvalidClient, errClientCredentials},
	{qrlogin.ErrUnauthorizedClient, newFailure(400, "unauthorized_client", "The client may not use this way of asking.")},
	{qrlogin.ErrInvalidCodeChallenge, newFailure(400, "invalid_code_challenge", "code_challenge must be base64url of a SHA-256, with code_challenge_method=S256.")},
	{qrlogin.ErrAuthorizationPending, newFailure(400, "authorization_pending", "The phone has not decided yet.")},
	{qrlogin.ErrSlowDown, newFailure(400, "slow_down", "Poll at the interval you were told.")},
	{qrlogin.ErrAccessDenied, newFailure(400, "access_denied", "The login was refused.")},
	{qrlogin.ErrExpiredToken, newFailure(400, "expired_token", "The login took too long; start again.")},
	{qrlogin.ErrInvalidGrant, newFailure(400, "invalid_grant", "The grant is unknown, used, or not this client's.")},
	{auth.ErrInvalidGrant, newFailure(400, "invalid_grant", "The grant is unknown, used, or not this client's.")},
	{auth.ErrInvalidScope, newFailure(400, "invalid_scope", "This scope is more than the client, or the grant, may have.")},
	{auth.ErrInvalidToken, newFailure(401, "invalid_token", "The access token is not valid.")},
	{auth.ErrInvalidCredential, newFailure(401, "invalid_credential", "The credential was not accepted.")},
	{auth.ErrInvalidState, newFailure(400, "invalid_state", "This sign-in was finished already, took too long, or began in another browser; start again.")},
	{auth.ErrProviderBusy, newFailure(503, "provider_unavailable", "Who is asked to sign people in does not answer; try again.")},
	{auth.ErrProviderQuota, &failure{429, "rate_limited", "Who is asked to sign people in wants fewer questions; Retry-After says when to try again.", time.Minute}},
	{auth.ErrProviderBlocked, newFailure(403, "user_banned", "This account cannot be used at the moment.")},
	{auth.ErrUnknownProvider, newFailure(404, "not_found", "There is no such provider.")},
	{auth.ErrBanned, newFailure(403, "user_banned", "This account cannot be used at the moment.")},
	{auth.ErrSessionLimit, newFailure(403, "session_limit", "This account is signed in as often as it may be; end another session first.")},
	{auth.ErrSessionEnded, newFailure(401, "invalid_token", "The session has ended.")},
	{auth.ErrUnknownSession, newFailure(404, "not_found", "There is no such session.")},
	{auth.ErrPhoneOnly, errPhoneToken},
	{auth.ErrInvalidUser, newFailure(400, "invalid_request", "A user is <provider>:<subject>, as in a token's sub.")},
	{auth.ErrInvalidBan, newFailure(400, "invalid_request", "There is nobody and no network like that to ban, or the reason is too long.")},
	{auth.ErrUnknownBan, newFailure(404, "not_found", "There is no such ban.")},
	{auth.ErrTooManyBans, newFailure(409, "too_many_bans", "There are as many bans as can be; lift some, or ban a larger network.")},
	{hub.ErrClosed, errOverloaded},
	{hub.ErrFull, errOverloaded},
	{hub.ErrCrowded, rateLimited(socketWait)},
}

// explain finds the answer to an error.
func explain(err error) *failure {
	var own *failure
	var evicted *hub.Refusal
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &evicted): // who waited when their network was banned
		return errNetworkBanned
	}
	for i := range table {
		if errors.Is(err, table[i].err) {
			return table[i].failure
		}
	}
	if unavailable(err) {
		return errStoreUnavailable
	}
	return errInternal
}

// unavailable recognises a store that could not answer in time.
func unavailable(err error) bool {
	if errors.Is(err, context.Canceled) {
		return false // who asked has left
	}
	var u interface{ Unavailable() bool }
	return errors.As(err, &u) && u.Unavailable() || errors.Is(err, context.DeadlineExceeded)
}

// problem is RFC 9457; oauthError is RFC 6749 section 5.2.
type problem struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail"`
	Code      string `json:"code"`
	RequestID string `json:"request_id"`
}

type oauthError struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

// handler answers a request or says why it can't; then nothing was written.
type handler func(w http.ResponseWriter, r *http.Request) error

// api answers a handler's error as the API does.
func (s *Server) api(h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			s.fail(w, r, err)
		}
	}
}

// fail answers an API request with an error.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	if left(w, r) {
		return
	}
	writeFailure(w, r, s.explainAndLog(r, err))
}

// explainAndLog is explain for errors that somebody should look at.
func (s *Server) explainAndLog(r *http.Request, err error) *failure {
	f := explain(err)
	switch f {
	case errInternal:
		s.log.LogAttrs(r.Context(), slog.LevelError, "request failed", slog.String("request_id", requestID(r)), slog.Any("error", err))
	case errStoreUnavailable:
		s.log.LogAttrs(r.Context(), slog.LevelWarn, "store unavailable", slog.String("request_id", requestID(r)), slog.Any("error", err))
	}
	return f
}

// HandshakeError answers what is no WebSocket handshake, as hub.Config wants.
func HandshakeError(w http.ResponseWriter, r *http.Request, status int, _ error) {
	if status == http.StatusBadRequest {
		writeFailure(w, r, errHandshake)
	} else {
		writeFailure(w, r, errInternal)
	}
}

func writeFailure(w http.ResponseWriter, r *http.Request, f *failure) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	f.setRetryAfter(h)
	if f.status == 401 {
		h.Set("WWW-Authenticate", challenge(r, f))
	}
	if strings.HasPrefix(r.URL.Path, "/oauth/") {
		writeJSON(w, f.status, "application/json", oauthError{f.code, f.detail})
		return
	}
	writeJSON(w, f.status, "application/problem+json", problem{
		Type: "urn:scanlogin:" + f.code, Title: http.StatusText(f.status), Status: f.status,
		Detail: f.detail, Code: f.code, RequestID: requestID(r),
	})
}

// left says that the client is no longer there to be answered.
func left(w http.ResponseWriter, r *http.Request) bool {
	gone := errors.Is(r.Context().Err(), context.Canceled)
	if gone {
		w.WriteHeader(statusLeft)
	}
	return gone
}

// statusLeft is for our log and metrics: the client left before its answer,
// which is nobody's fault.
const statusLeft = 499

// retryAfter is what a client is told to wait, in seconds, when this server
// or its store is away: long enough not to hammer, short enough to feel quick.
const retryAfter = 2

// challenge is RFC 6750 section 3: no error code for who showed no credential.
// Basic is offered only where it is taken, because browsers ask for a password
// when a page's own request meets it.
func challenge(r *http.Request, f *failure) string {
	switch {
	case f == errBadSignature:
		return `HMAC-SHA256 realm="scanlogin"`
	case f.code == "invalid_client" && strings.HasPrefix(r.URL.Path, "/oauth/"):
		return `Basic realm="scanlogin"`
	case f == errNoCredential || f == errNoDeviceCode || r.Header.Get("Authorization") == "":
		return `Bearer realm="scanlogin"`
	}
	return `Bearer realm="scanlogin", error="invalid_token"`
}

func writeJSON(w http.ResponseWriter, status int, contentType string, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // our own types always encode
	}
	h := w.Header()
	h.Set("Content-Type", contentType)
	if h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "no-store")
	}
	w.WriteHeader(status)
	w.Write(append(body, '\n'))
}

func noContent(w http.ResponseWriter) error {
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) ok(w http.ResponseWriter, status int, v any) error {
	writeJSON(w, status, "application/json", v)
	return nil
}
