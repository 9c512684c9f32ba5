package qrlogin

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"scanlogin/auth"
	"scanlogin/qrlogin/backend"
)

var fuzzKey = bytes.Repeat([]byte{7}, 32)

const fuzzURL = "https://login.example"

// FuzzQRText reads what a camera saw, or somebody made up: only what qrToken makes
// is one, character for character, and a service that did not make it says 404.
func FuzzQRText(f *testing.F) {
	id := base64.RawURLEncoding.EncodeToString(fuzzKey[:idBytes])
	good := qrToken(fuzzKey, id, 3)
	for _, text := range []string{
		good, fuzzURL + qrPath + good, fuzzURL + qrPath + fuzzURL + qrPath + good, "https://evil.example/s/" + good, good + "\n", good[:42] + "=", good + "A",
		strings.ToLower(good), "", fuzzURL, fuzzURL + qrPath, strings.Repeat("A", 43), "javascript:alert(1)", "\xff" + good, "https://login.example/s/../s/" + good,
	} {
		f.Add(text)
	}
	store := backend.NewMemory()
	f.Cleanup(func() { store.Close() })
	clients := auth.Clients(fuzzURL)
	s := New(store, auth.New(store, auth.Config{Issuer: fuzzURL, Clients: clients}), Config{PublicURL: fuzzURL, Clients: clients})
	f.Fuzz(func(t *testing.T, text string) {
		if id, step, err := parseQRToken(fuzzKey, text); err == nil && qrToken(fuzzKey, id, step) != text {
			t.Fatalf("%q was taken for %q", text, qrToken(fuzzKey, id, step))
		} else if err != nil && (err != ErrNotFound || id != "") {
			t.Fatalf("%q: %q, %v", text, id, err)
		}
		if id, err := s.CheckQR(t.Context(), text); id != "" || !errors.Is(err, ErrNotFound) {
			t.Fatalf("%q: %q, %v", text, id, err)
		}
	})
}

// FuzzQRTokenRoundTrip makes a QR text of any ticket and step and changes one
// character.
func FuzzQRTokenRoundTrip(f *testing.F) {
	f.Add([]byte("0123456789abcdef"), uint32(0), uint8(0), byte('A'))
	f.Add(make([]byte, idBytes), ^uint32(0), uint8(42), byte('\n'))
	f.Fuzz(func(t *testing.T, raw []byte, step uint32, at uint8, with byte) {
		raw = append(raw, make([]byte, idBytes)...)[:idBytes]
		id := b64.EncodeToString(raw)
		text := qrToken(fuzzKey, id, step)
		if got, at, err := parseQRToken(fuzzKey, text); got != id || at != step || err != nil || !validID(id) {
			t.Fatalf("%s, %d came back as %s, %d, %v", id, step, got, at, err)
		}
		i := int(at) % len(text)
		forged := text[:i] + string([]byte{with}) + text[i+1:]
		if _, _, err := parseQRToken(fuzzKey, forged); forged != text && err == nil {
			t.Fatalf("%q was taken for %q", forged, text)
		}
	})
}

// FuzzUserCode reads what people type: what is taken is eight letters that were
// in the text in this order, and however they are written it stays that code.
func FuzzUserCode(f *testing.F) {
	for _, text := range []string{
		"BCDF-GHJK", "bcdfghjk", " b c d f — g h j k ", "ＢＣＤＦ－ＧＨＪＫ", "ｂｃｄｆｇｈｊｋ", "BCDFGHJ", "BCDFGHJKL", "ABCDEFGH", "", strings.Repeat("-", 65),
		"BCDF\u200bGHJK", "BCDF\tGHJK", "BCDF\nGHJK", "BCDF\x00GHJK", "\xffBCDFGHJK", "ſſſſſſſſ", "KKKKKKKK", "BCDF'; --GHJK",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		code, err := parseUserCode(text)
		if err != nil {
			if err != ErrNotFound || code != "" {
				t.Fatalf("%q: %q, %v", text, code, err)
			}
			return
		}
		if len(code) != userCodeLength || strings.Trim(code, letters) != "" {
			t.Fatalf("%q was taken for %q", text, code)
		}
		for _, again := range []string{code, FormatUserCode(code), strings.ToLower(code), strings.ToLower(FormatUserCode(code)), " " + code + "\t"} {
			if got, err := parseUserCode(again); got != code || err != nil {
				t.Fatalf("%q is %q, but %q is %q, %v", text, code, again, got, err)
			}
		}
	})
}

// FuzzDeviceCode reads what is presented as the browser's half: what is taken is
// put together again as it was.
func FuzzDeviceCode(f *testing.F) {
	id, secret := strings.Repeat("A", 22), strings.Repeat("B", 43)
	for _, code := range []string{id + "." + secret, id + secret, id + ".", "." + secret, id + "." + secret + ".", id[:21] + "B." + secret, id + "\n." + secret, "", "."} {
		f.Add(code, secret, "S256")
	}
	f.Add("", strings.Repeat("B", 42)+"A", "plain")
	f.Fuzz(func(t *testing.T, code, challenge, method string) {
		switch id, secret, err := ParseDeviceCode(code); {
		case err != nil:
			if id != "" || secret != "" || !errors.Is(err, ErrInvalidDeviceCode) {
				t.Fatalf("%q: %q, %q, %v", code, id, secret, err)
			}
		case id+"."+secret != code || !validID(id) || len(secret) != 43:
			t.Fatalf("%q was taken for %q and %q", code, id, secret)
		}
		if validChallenge(challenge, method) && challenge+method != "" {
			raw, err := base64.RawURLEncoding.DecodeString(challenge)
			if err != nil || len(raw) != 32 || method != "S256" || base64.RawURLEncoding.EncodeToString(raw) != challenge {
				t.Fatalf("%q by %q is taken for a challenge", challenge, method)
			}
		}
		if c := challengeOf(code); c != "" && !validChallenge(c, "S256") {
			t.Fatalf("%q has the challenge %q", code, c)
		}
	})
}

// FuzzTicketRecord reads a stored ticket as if an older or newer instance had
// written it: it is written the same way again, every reader has an answer, no
// move panics, and none leads out of a final status.
func FuzzTicketRecord(f *testing.F) {
	now := time.Date(2026, 11, 20, 13, 30, 0, 0, time.UTC)
	t0 := &Ticket{ID: strings.Repeat("A", 22), Status: Pending, ClientID: "web", SecretHash: hash("s"), Created: now.Add(-time.Second), Deadline: now.Add(time.Minute)}
	by := auth.Identity{Provider: "demo", Subject: "alice", Name: "Alice"}
	for _, step := range []func(){
		func() {}, func() { t0.scan(by, hash("c"), true, time.Minute, now) }, func() { t0.Check = true },
		func() { t0.confirm(by, "c", "", time.Minute, now) }, func() { t0.check("42", "41", now) }, func() { t0.check("42", "42", now) },
		func() { t0.redeem("sid", now) },
	} {
		step()
		value, err := json.Marshal(t0)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(value)
	}
	for _, text := range []string{`{"status":"denied","reason":"by_user"}`, `{"status":"canceled"}`, `{}`, `null`, `[]`, `{"status":"expired"}`, `{"status":"x","deadline":"9999-12-31T23:59:59Z"}`, `{"id":"a","status":"pending","created":"0001-01-01T00:00:00Z"}`, `{"tries":-9223372036854775808,"status":"scanned"}`} {
		f.Add([]byte(text))
	}
	s := New(nil, nil, Config{PublicURL: fuzzURL})
	s.key.Store(&fuzzKey)
	f.Fuzz(func(t *testing.T, value []byte) {
		ticket, err := decode(value)
		if err != nil {
			return
		}
		once, err := json.Marshal(ticket)
		if err != nil {
			return // a year beyond 9999 is read and not written
		}
		again, err := decode(once)
		if err != nil {
			t.Fatalf("%s: %v", once, err)
		}
		if twice, err := json.Marshal(again); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("written as %s, then as %s, %v", once, twice, err)
		}
		v, err := s.View(ticket.ID, once, 1, now)
		if err != nil || v.Status != again.At(now) || v.Status.Final() && (v.QRText != "" || !v.Next.IsZero()) || utf8.RuneCountInString(v.User) > 5 {
			t.Fatalf("%s is shown as %+v, %v", once, v, err)
		}
		makeMoves(t, once, by, now)
	})
}

// makeMoves makes each move on a ticket of unknown origin.
func makeMoves(t *testing.T, stored []byte, by auth.Identity, now time.Time) {
	for name, move := range map[string]func(*Ticket) error{
		"scan":    func(k *Ticket) error { return k.scan(by, hash("c"), true, time.Minute, now) },
		"confirm": func(k *Ticket) error { _, err := k.confirm(by, "c", "BCDFGHJK", time.Minute, now); return err },
		"check":   func(k *Ticket) error { _, err := k.check("42", "42", now); return err },
		"wrong":   func(k *Ticket) error { _, err := k.check("42", "41", now); return err },
		"deny":    func(k *Ticket) error { return k.deny(by, "c", now) },
		"cancel":  func(k *Ticket) error { return k.cancel(now) },
		"redeem":  func(k *Ticket) error { return k.redeem("sid", now) },
	} {
		k, err := decode(stored)
		if err != nil {
			t.Fatal(err)
		}
		before, reason, sid := k.At(now), k.Reason, k.SID
		err = move(k)
		after := k.At(now)
		if before.Final() && (after != before || k.Reason != reason || k.SID != sid) || err != nil && after != before {
			t.Fatalf("%s of %s: %s (%s, %s), %v", name, before, after, k.Reason, k.SID, err)
		}
		if after == Consumed && before != Consumed && (before != Confirmed || name != "redeem") || after == Confirmed && before != Confirmed && before != Scanned {
			t.Fatalf("%s leads from %s to %s", name, before, after)
		}
		k.proves("s", strings.Repeat("v", 43))
		k.forget(time.Second)
	}
}

// FuzzReports reads what was stored of reports: counting one more keeps it small
// and is written the same way again.
func FuzzReports(f *testing.F) {
	now := time.Date(2026, 11, 20, 13, 30, 0, 0, time.UTC)
	for _, text := range []string{`{"by":[{"sub":"demo:a","at":"2026-11-20T13:00:00Z"},{"sub":"demo:b","at":"2026-11-20T12:00:00Z"}]}`, `{}`, `null`, `{"by":null,"high":"2026-11-20T14:00:00Z"}`, `[]`} {
		f.Add([]byte(text), "demo:carol")
	}
	f.Fuzz(func(t *testing.T, value []byte, sub string) {
		r, err := decodeReports(value)
		if err != nil {
			return
		}
		sub = strings.ToValidUTF8(sub, "?") // as every user's is
		r.add(sub, now)
		r.add(sub, now)
		mine := 0
		for _, one := range r.By {
			if one.Sub == sub {
				mine++
			}
		}
		if mine != 1 || len(r.By) > reporters || len(r.By) == reporters && !r.High.After(now) {
			t.Fatalf("%d reports of one account among %d, high until %s", mine, len(r.By), r.High)
		}
		once, err := json.Marshal(r)
		if err != nil {
			return // a year beyond 9999 is read and not written
		}
		again, err := decodeReports(once)
		if err != nil {
			t.Fatalf("%s: %v", once, err)
		}
		if twice, err := json.Marshal(again); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("written as %s, then as %s, %v", once, twice, err)
		}
	})
}
