package web

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Whatever is sent, a request is let through only with the signature that its
// own bytes have by the book, by a key for the action, in time, and once; and
// then it is.
func FuzzSignedRequest(f *testing.F) {
	const nonce = "0123456789abcdef"
	f.Add(true, "shop-1", "POST", "/v1/server/ban", int64(0), "", nonce, "", []byte(banOfMallory))
	f.Add(true, "till-1", "POST", "/v1/server/ban", int64(0), "", nonce, "", []byte(banOfMallory))
	f.Add(true, "shop-2", "PUT", "/v1/server/b%61n?a=%20&a=+", int64(-299), "", nonce+"_-", "", []byte{0xef, 0xbb, 0xbf})
	f.Add(true, "shop-1", "POST", "/v1/server/ban?", int64(302), "", nonce, "", []byte("{}"))
	f.Add(true, "shop-1", "POST", "http://login.example/v1/server/ban", int64(0), "", nonce+"2", "", []byte{})
	f.Add(false, "shop-1", "POST", "/v1/server/ban", int64(0), "1763629384000", nonce, strings.Repeat("0", 64), []byte("{}"))
	f.Add(false, "", "POST", "/v1/server/ban", int64(0), "-1", "", strings.Repeat("A", 64), bytes.Repeat([]byte("a"), 8<<10+1))
	s, keys := newSite(f, setup{publicURL: "https://login.example", direct: true, callers: callerKeys()}), callerKeys()
	f.Fuzz(func(t *testing.T, sign bool, key, method, target string, drift int64, timestamp, nonce, mac string, body []byte) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(method + " " + target + " HTTP/1.1\r\nHost: login.example\r\n\r\n")))
		if err != nil {
			return // the server would not have either
		}
		if timestamp == "" {
			timestamp = strconv.FormatInt(time.Now().Unix()+drift, 10)
		}
		l := letter{
			key: key, secret: string(keys[key].Secret), method: r.Method, target: r.RequestURI, host: "login.example",
			timestamp: timestamp, nonce: nonce, mac: mac, body: string(body),
		}
		if sign {
			l = l.signed()
		}
		_, spent, err := s.store.Load(t.Context(), nonceKey(signature{keyID: l.key, nonce: l.nonce}))
		if err != nil {
			t.Fatal(err)
		}
		good := spent == 0 && l.mac == l.signed().mac && slices.Contains(keys[key].Actions, ActionBan) && len(body) <= 8<<10 &&
			len(nonce) >= 16 && len(nonce) <= 64 && only(nonce, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-") &&
			len(timestamp) <= 12 && only(timestamp, "0123456789")
		at, _ := strconv.ParseInt(l.timestamp, 10, 64)
		apart := time.Now().Unix() - at
		late := apart < -301 || apart > 301
		if edge := !late && (apart < -299 || apart > 299); edge {
			return // the next second decides
		}
		if once := s.reaches(t, r, l); once != (good && !late) {
			t.Errorf("let through: %v: %+v", once, l)
		}
		if s.reaches(t, r, l) {
			t.Errorf("let through again: %+v", l)
		}
	})
}

func only(text, letters string) bool { return strings.Trim(text, letters) == "" }

// reaches says whether a letter gets as far as its action, with its own body.
func (s *site) reaches(t *testing.T, r *http.Request, l letter) (reached bool) {
	again := r.Clone(t.Context())
	again.Header = http.Header{"X-Key-Id": {l.key}, "X-Timestamp": {l.timestamp}, "X-Nonce": {l.nonce}, "X-Signature": {l.mac}}
	again.Body = io.NopCloser(strings.NewReader(l.body))
	err := s.web.signed(ActionBan, func(w http.ResponseWriter, r *http.Request) error {
		reached = true
		if body, err := readBody(w, r); err != nil || string(body) != l.body {
			t.Errorf("another body reached the action: %q, %v", body, err)
		}
		return nil
	})(httptest.NewRecorder(), again)
	if f := explain(err); !reached && f != errBadSignature && f != errBodyTooLarge {
		t.Errorf("refused with %v", err)
	}
	return reached
}
