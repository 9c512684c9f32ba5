package qrlogin

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"math/big"
	"strings"
	"time"
	"unicode"
)

const (
	idBytes     = 16 // ticket id: 128 random bits
	secretBytes = 32 // device secret, confirm token: 256 random bits
	macBytes    = 12 // qr_token: 96-bit MAC

	qrEarly = 5 * time.Second  // clocks of two instances may differ by this much
	qrLate  = 10 * time.Second // a QR text that was just replaced is still good
)

var b64 = base64.RawURLEncoding.Strict()

// unb64 refuses padding, stray bits and, which the library skips, line
// breaks: one value, one spelling.
func unb64(text string) ([]byte, error) {
	if strings.ContainsAny(text, "\r\n") {
		return nil, ErrNotFound
	}
	return b64.DecodeString(text)
}

func random(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails (crypto/rand)
	return b64.EncodeToString(b)
}

// validID spares the store a look-up for what can't be a ticket id.
func validID(id string) bool {
	b, err := unb64(id)
	return err == nil && len(b) == idBytes
}

// ParseDeviceCode splits `<ticket_id>.<256 random bits>`.
func ParseDeviceCode(code string) (ticketID, secret string, err error) {
	ticketID, secret, ok := strings.Cut(code, ".")
	if !ok || !validID(ticketID) || len(secret) != b64.EncodedLen(secretBytes) {
		return "", "", ErrInvalidDeviceCode
	}
	return ticketID, secret, nil
}

// challengeOf is RFC 7636 section 4.2, S256. A verifier of a length that
// section 4.1 forbids has no challenge.
func challengeOf(verifier string) string {
	if len(verifier) < 43 || len(verifier) > 128 {
		return ""
	}
	return b64.EncodeToString(hash(verifier))
}

func validChallenge(challenge, method string) bool {
	if challenge == "" && method == "" {
		return true
	}
	b, err := unb64(challenge)
	return method == "S256" && err == nil && len(b) == sha256.Size
}

// qrToken is what the QR shows of a ticket at one step of its rotation:
// id (16 bytes), step (4), MAC (12). It needs no store: whoever holds the key
// makes and checks it.
func qrToken(key []byte, ticketID string, step uint32) string {
	b, _ := b64.DecodeString(ticketID)
	b = binary.BigEndian.AppendUint32(b, step)
	return b64.EncodeToString(append(b, qrMAC(key, b)...))
}

func parseQRToken(key []byte, token string) (ticketID string, step uint32, err error) {
	b, err := unb64(token)
	if err != nil || len(b) != idBytes+4+macBytes || !hmac.Equal(b[idBytes+4:], qrMAC(key, b[:idBytes+4])) {
		return "", 0, ErrNotFound
	}
	return b64.EncodeToString(b[:idBytes]), binary.BigEndian.Uint32(b[idBytes:]), nil
}

func qrMAC(key, b []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(b)
	return mac.Sum(nil)[:macBytes]
}

// step is the number of the QR's face at a moment. A device client shows one
// face for the ticket's whole life.
func (t *Ticket) step(rotate time.Duration, now time.Time) uint32 {
	if t.Device || now.Before(t.Created) {
		return 0
	}
	return uint32(now.Sub(t.Created) / rotate)
}

// good says whether the face of a step may be scanned at a moment.
func (t *Ticket) good(step uint32, rotate time.Duration, now time.Time) bool {
	if t.Device {
		return true
	}
	age := now.Sub(t.Created.Add(time.Duration(step) * rotate))
	return -qrEarly <= age && age < rotate+qrLate
}

// letters of a user_code: base 20 of RFC 8628 section 6.1, without vowels.
const letters = "BCDFGHJKLMNPQRSTVWXZ"

const userCodeLength = 8

func newUserCode() string {
	code := make([]byte, userCodeLength)
	for i := range code {
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(letters))))
		if err != nil {
			panic(err) // crypto/rand never fails
		}
		code[i] = letters[n.Int64()]
	}
	return string(code)
}

// FormatUserCode writes a code as people read it: BCDF-GHJK.
func FormatUserCode(code string) string { return code[:4] + "-" + code[4:] }

// parseUserCode undoes what people and keyboards do to a code: case, width and
// punctuation do not matter (RFC 8628 section 6.1).
func parseUserCode(text string) (string, error) {
	if len(text) > 64 {
		return "", ErrNotFound
	}
	code := strings.Map(func(r rune) rune {
		switch {
		case unicode.In(r, unicode.P, unicode.S, unicode.Z, unicode.Cf) || r == '\t':
			return -1
		case r >= 'Ａ' && r <= 'ｚ': // full width
			r += 'A' - 'Ａ'
		}
		return unicode.ToUpper(r)
	}, text)
	if len(code) != userCodeLength || strings.Trim(code, letters) != "" {
		return "", ErrNotFound
	}
	return code, nil
}

// qrKey is the MAC key of QR texts, the same on every instance.
func (s *Service) qrKey(ctx context.Context) ([]byte, error) {
	if key := s.key.Load(); key != nil {
		return *key, nil
	}
	key, err := s.store.Derive(ctx, "qr")
	if err != nil {
		return nil, err
	}
	s.key.Store(&key)
	return key, nil
}
