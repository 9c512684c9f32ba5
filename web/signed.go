package web

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// clocksDiffer is how far a caller's clock may be from ours, in seconds.
	clocksDiffer = 300
	// nonceLife outlives every timestamp that a nonce was accepted with, also
	// on an instance whose clock is behind.
	nonceLife = (2*clocksDiffer + 60) * time.Second
)

// CallerKey is a key of a back end that signs its requests to /v1/server.
type CallerKey struct {
	Caller  string   // whose key it is, for the log
	Secret  []byte   // of HMAC-SHA256; 32 bytes or more
	Actions []Action // that it may ask for
}

// LogValue keeps the secret out of logs.
func (k CallerKey) LogValue() slog.Value { return slog.StringValue(k.Caller) }

// signature is what the headers of a signed request say.
type signature struct {
	keyID     string
	timestamp string // Unix seconds
	nonce     string
	mac       string // 64 lower-case hexadecimal digits
}

// What each header looks like. None of them can hold a line break, so that no
// two requests have one string to sign.
var (
	keyIDShape     = regexp.MustCompile(`^[A-Za-z0-9._~-]{1,64}$`)
	timestampShape = regexp.MustCompile(`^[0-9]{1,12}$`)
	nonceShape     = regexp.MustCompile(`^[A-Za-z0-9_-]{16,64}$`)
	macShape       = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// ValidKeyID says whether X-Key-Id can be this one.
func ValidKeyID(id string) bool { return keyIDShape.MatchString(id) }

// readSignature wants each header once and in its shape.
func readSignature(h http.Header) (sig signature, ok bool) {
	for _, field := range []struct {
		name  string
		shape *regexp.Regexp
		into  *string
	}{
		{"X-Key-Id", keyIDShape, &sig.keyID},
		{"X-Timestamp", timestampShape, &sig.timestamp},
		{"X-Nonce", nonceShape, &sig.nonce},
		{"X-Signature", macShape, &sig.mac},
	} {
		values := h.Values(field.name)
		if len(values) != 1 || !field.shape.MatchString(values[0]) {
			return signature{}, false
		}
		*field.into = values[0]
	}
	return sig, true
}

// stringToSign is what the caller signed: bytes as they were sent, nothing that
// could be normalised in two ways. host is the public URL's and not that of the
// Host header, which proxies rewrite: it names the server that is meant, so that
// what was signed for one is worth nothing at another.
func stringToSign(r *http.Request, host string, sig signature, body []byte) string {
	path, query, _ := strings.Cut(r.RequestURI, "?")
	sum := sha256.Sum256(body)
	return strings.Join([]string{
		"v1", r.Method, path, query, host, sig.timestamp, sig.nonce, hex.EncodeToString(sum[:]),
	}, "\n")
}

// signs says in constant time whether the key made this signature.
func (k CallerKey) signs(text, mac string) bool {
	h := hmac.New(sha256.New, k.Secret)
	h.Write([]byte(text))
	return hmac.Equal([]byte(hex.EncodeToString(h.Sum(nil))), []byte(mac))
}

// timely says whether a timestamp is close enough to now.
func (sig signature) timely(now time.Time) bool {
	at, err := strconv.ParseInt(sig.timestamp, 10, 64)
	apart := now.Unix() - at
	return err == nil && -clocksDiffer <= apart && apart <= clocksDiffer
}

// signed lets a request through that a caller signed with a key for this action
// and that nobody has sent before. The nonce is spent last: who cannot sign
// writes nothing into the store. A store that cannot say whether it was spent
// is 503, and the nonce of such a request may be gone; the next try needs a new
// one.
func (s *Server) signed(action Action, next handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		sig, ok := readSignature(r.Header)
		if !ok {
			return s.signatureRefused(r, sig, "its headers")
		}
		body, err := readBody(w, r)
		if err != nil {
			return err // the same for everybody: nothing was looked at yet
		}
		key := s.config.CallerKeys[sig.keyID]
		if why := s.doubt(r, action, key, sig, body); why != "" {
			return s.signatureRefused(r, sig, why)
		}
		_, err = s.config.Store.Create(r.Context(), nonceKey(sig), []byte{1}, nonceLife)
		switch {
		case errors.Is(err, fs.ErrExist):
			return s.signatureRefused(r, sig, "its nonce, which is spent")
		case err != nil:
			return fmt.Errorf("web: nonce: %w", err)
		}
		s.log.LogAttrs(r.Context(), slog.LevelInfo, "signed request", slog.String("request_id", requestID(r)),
			slog.Any("caller", key), slog.String("key_id", sig.keyID), slog.String("action", string(action)))
		r.Body = io.NopCloser(bytes.NewReader(body))
		return next(w, r)
	}
}

// nonceKey is the record of a spent nonce. Each key has nonces of its own: a
// caller cannot spend those of another.
func nonceKey(sig signature) string { return "nonce:" + sig.keyID + ":" + sig.nonce }

// doubt says what is wrong with a signed request, empty: nothing. The signature
// is computed whatever else is wrong, with no secret for a key that nobody has:
// time must not tell which keys there are and what they are for.
func (s *Server) doubt(r *http.Request, action Action, key CallerKey, sig signature, body []byte) string {
	good := key.signs(stringToSign(r, s.host, sig, body), sig.mac)
	switch {
	case len(key.Secret) == 0:
		return "its key, which is not known"
	case !good:
		return "its signature"
	case !slices.Contains(key.Actions, action):
		return "its key, which is not for this action"
	case !sig.timely(time.Now()):
		return "its time: the clocks differ by more than 300 s, or it was sent late"
	}
	return ""
}

// signatureRefused tells the operator what the answer does not tell.
func (s *Server) signatureRefused(r *http.Request, sig signature, why string) error {
	s.log.LogAttrs(r.Context(), slog.LevelWarn, "signed request refused for "+why,
		slog.String("request_id", requestID(r)), slog.String("key_id", sig.keyID))
	return errBadSignature
}
