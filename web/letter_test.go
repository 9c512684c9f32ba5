package web

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Keys of two callers: shop may do everything and is changing its key, till may
// only ask for outcomes.
func callerKeys() map[string]CallerKey {
	return map[string]CallerKey{
		"shop-1": {Caller: "shop", Secret: []byte("the old secret of the shop, 32 bytes"), Actions: Actions},
		"shop-2": {Caller: "shop", Secret: []byte("the new secret of the shop, 32 bytes"), Actions: Actions},
		"till-1": {Caller: "till", Secret: []byte("the secret of the till, 32 bytes too"), Actions: []Action{ActionTicket}},
	}
}

// letter is a request as its caller wants it. What is signed may differ from
// what is sent: see post and raw.
type letter struct {
	key, secret           string
	method, target, host  string
	timestamp, nonce, mac string
	body                  string
}

// letter is one that is good.
func (s *site) letter(action Action, body string) letter {
	return letter{
		key: "shop-1", secret: string(callerKeys()["shop-1"].Secret), method: "POST", target: "/v1/server/" + string(action),
		host: strings.SplitN(s.public, "://", 2)[1], timestamp: unix(0), nonce: rand.Text(), body: body,
	}
}

// unix is a timestamp so many seconds from now.
func unix(seconds int64) string { return strconv.FormatInt(time.Now().Unix()+seconds, 10) }

// signed has the letter signed, by the book and not by the code under test.
func (l letter) signed() letter {
	path, query, _ := strings.Cut(l.target, "?")
	h := hmac.New(sha256.New, []byte(l.secret))
	fmt.Fprintf(h, "v1\n%s\n%s\n%s\n%s\n%s\n%s\n%x", l.method, path, query, l.host, l.timestamp, l.nonce, sha256.Sum256([]byte(l.body)))
	l.mac = hex.EncodeToString(h.Sum(nil))
	return l
}

func (l letter) headers() []string {
	return []string{"X-Key-Id", l.key, "X-Timestamp", l.timestamp, "X-Nonce", l.nonce, "X-Signature", l.mac}
}

// post sends a letter as it is.
func (s *site) post(l letter, headers ...string) answer {
	s.t.Helper()
	return s.send(l.method, l.target, l.body, append(l.headers(), headers...)...)
}

// wantPost is post for an answer that must have this status and code.
func (s *site) wantPost(status int, code string, l letter, headers ...string) answer {
	s.t.Helper()
	a := s.post(l, headers...)
	if a.status != status || a.code() != code {
		s.t.Errorf("%s %.60s as %s: %d %q, want %d %q: %.300s", l.method, l.target, l.key, a.status, a.code(), status, code, a.raw)
	}
	return a
}

// spent says whether a letter's nonce is in the store.
func (s *site) spent(l letter) bool {
	s.t.Helper()
	_, rev, err := s.store.Load(s.t.Context(), nonceKey(signature{keyID: l.key, nonce: l.nonce}))
	if err != nil {
		s.t.Fatal(err)
	}
	return rev != 0
}

const banOfMallory = `{"user":"demo:mallory","reason":"fraud"}`
