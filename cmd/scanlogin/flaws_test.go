package main

import (
	"encoding/json"
	"fmt"
	"math/bits"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// The six flaws that "Demystifying the (In)Security of QR Code-based Login" (USENIX
// Security 2025) found in 43 % of the sites it tried, as six attacks on two
// instances. What the paper calls session_id is our device_code, and its qr_id our
// qr_token and ticket_id.

// F1, authorization hijacking: the login is collected by a session that did not begin
// it, because nothing binds the one to the other.
func TestFlaw1UnboundSessionID(t *testing.T) {
	p := startPair(t)
	phone := p.turn().signIn("alice")
	victim, attacker := p.turn().create(), p.turn().create()
	_, own, _ := strings.Cut(attacker.deviceCode, ".")
	qrToken := victim.qr[strings.LastIndex(victim.qr, "/")+1:]
	guesses := []string{victim.id, qrToken, victim.id + "." + own, victim.id + "." + qrToken, attacker.deviceCode, victim.id + "." + strings.Repeat("A", 43)}
	attack := func(when string) {
		t.Helper()
		p.untouched(victim, func() {
			for _, guess := range guesses {
				for _, door := range []string{"", "/events", "/qr.png", "/qr.svg"} {
					p.both(when, 401, "invalid_device_code", "GET", "/v1/tickets/"+victim.id+door, "", bearerOf(guess)...)
				}
				p.both(when, 401, "invalid_device_code", "DELETE", "/v1/tickets/"+victim.id, "", bearerOf(guess)...)
				p.both(when, 401, "invalid_device_code", "POST", "/v1/tickets/"+victim.id+"/check", `{"code":"42"}`, bearerOf(guess)...)
				if guess != attacker.deviceCode { // a ticket of its own, which nobody approves
					p.wants(when, 400, "invalid_grant", "POST", "/oauth/token", "", redeemForm(login{deviceCode: guess}))
				}
				if code := p.socketEnd(victim.id, guess); code != 4401 {
					t.Errorf("%s: the socket was closed with %d", when, code)
				}
			}
		})
	}
	attack("pending")
	p.turn().scan(&victim, phone)
	attack("scanned")
	p.turn().confirm(victim, phone)
	attack("confirmed")
	k := p.turn().tokens(p.wants("the browser that began", 200, "", "POST", "/oauth/token", "", redeemForm(victim)))
	for _, guess := range guesses {
		if a, err := p.turn().try("POST", "/oauth/token", "", redeemForm(login{deviceCode: guess})); err != nil || a.status == 200 {
			t.Errorf("collected once more: %d %v", a.status, err)
		}
	}
	p.turn().alive(k.access)
}

// F2, double login: one QR code signs in two browsers, or two people.
func TestFlaw2ReusableQRCode(t *testing.T) {
	p := startPair(t, "SCANLOGIN_REFRESH_GRACE=1s")
	alice, bob := p.turn().signIn("alice"), p.turn().signIn("bob")
	l := p.turn().create()
	p.turn().scan(&l, alice)
	first := l
	p.turn().confirm(l, alice)
	sids := map[any]bool{}
	var mu sync.Mutex
	parallel(100, func(i int) { // a race is one login
		a, err := p.api[i%2].try("POST", "/oauth/token", "", redeemForm(l))
		if err != nil || a.status != 200 {
			t.Errorf("%v %d %s", err, a.status, a.raw)
			return
		}
		sid := claim(t, a.text("access_token"), "sid")
		mu.Lock()
		defer mu.Unlock()
		sids[sid] = true
	})
	if len(sids) != 1 {
		t.Fatalf("one QR code is %d sessions", len(sids))
	}
	begun := time.Now()
	for user, want := range map[string]string{alice: "invalid_state", bob: "already_scanned"} {
		p.both("scanned again", 409, want, "POST", "/v1/scan", asJSON(t, map[string]string{"qr": l.qr}), bearerOf(user)...)
	}
	p.both("by another phone", 403, "not_scanner", "POST", "/v1/tickets/"+l.id+"/confirm", asJSON(t, first.decision()), bearerOf(bob)...)
	eventually(t, 5*time.Second, "the grace is over", func() bool { return time.Since(begun) > 1500*time.Millisecond })
	p.both("replayed", 400, "invalid_grant", "POST", "/oauth/token", redeemForm(l).Encode(), "Content-Type", formKind)
	for sid := range sids {
		if a := p.turn().do(200, "GET", "/v1/sessions", alice, nil); strings.Contains(a.raw, fmt.Sprint(sid)) {
			t.Error("the session outlived the replay")
		}
	}
}

// F3, brute-force login: ids that can be guessed. Every bit of the random parts of
// 300 tickets from both instances is as often set as not, and none repeats.
func TestFlaw3PredictableQRID(t *testing.T) {
	p := startPair(t)
	const n = 300
	made := make([]login, n)
	parallel(n, func(i int) { made[i] = p.api[i%2].create() })
	parts := map[string]func(login) string{
		"ticket_id":   func(l login) string { return l.id },
		"device_code": func(l login) string { return l.deviceCode[len(l.id)+1:] },
		"qr_token":    func(l login) string { return l.qr[strings.LastIndex(l.qr, "/")+1:] },
	}
	for name, part := range parts {
		seen := map[string]bool{}
		var ones [512]int
		length := 0
		for _, l := range made {
			text := part(l)
			if seen[text] {
				t.Errorf("%s repeats", name)
			}
			seen[text] = true
			raw := decoded(t, text)
			if name == "qr_token" { // ticket_id, step (0 at first), MAC of 96 bits
				raw = raw[len(raw)-12:]
			}
			length = len(raw)
			for i, b := range raw {
				for bit := range 8 {
					ones[8*i+bit] += bits.OnesCount8(b >> bit & 1)
				}
			}
		}
		if length < 12 || name == "ticket_id" && length < 16 || name == "device_code" && length < 32 {
			t.Errorf("%s has %d random bytes", name, length)
		}
		for i, count := range ones[:8*length] {
			if count < n/2-55 || count > n/2+55 { // more than 6 standard deviations
				t.Errorf("%s: bit %d is set in %d of %d", name, i, count, n)
			}
		}
	}
	// A MAC of its own: that of another ticket, or another step, opens nothing.
	phone := p.turn().signIn("alice")
	one, two := parts["qr_token"](made[0]), parts["qr_token"](made[1])
	for i := range one {
		if mixed := one[:i] + two[i:]; mixed != one && mixed != two {
			p.wants("mixed", 404, "ticket_not_found", "POST", "/v1/scan", phone, map[string]string{"qr": mixed})
		}
	}
}

// F4: the client chooses the id, and with it a victim's browser that shows it.
func TestFlaw4ClientControllableQRID(t *testing.T) {
	p := startPair(t)
	phone := p.turn().signIn("alice")
	chosen := strings.Repeat("A", 22)
	for _, name := range []string{"ticket_id", "device_code", "qr_token", "qr", "verification_uri_complete", "id", "sid", "seq", "status", "redirect_uri"} {
		p.both(name, 400, "unknown_member", "POST", "/v1/tickets", asJSON(t, map[string]string{name: chosen}))
		form := url.Values{"client_id": {"device"}, name: {chosen}}
		if a := p.both(name, 200, "", "POST", "/oauth/device_authorization", form.Encode(), "Content-Type", formKind); strings.Contains(a.raw, chosen) {
			t.Errorf("%s is taken: %s", name, a.raw)
		}
	}
	for _, headers := range [][]string{{"X-Ticket-Id", chosen}, {"Cookie", "ticket_id=" + chosen}, {"Idempotency-Key", chosen}} {
		if a := p.both(headers[0], 201, "", "POST", "/v1/tickets?ticket_id="+chosen, `{}`, headers...); strings.Contains(a.raw, chosen) {
			t.Errorf("%s is taken: %s", headers[0], a.raw)
		}
	}
	p.both("chosen", 404, "ticket_not_found", "GET", "/v1/tickets/"+chosen, "", bearerOf(chosen+"."+strings.Repeat("A", 43))...)
	p.both("chosen", 404, "ticket_not_found", "POST", "/v1/scan", asJSON(t, map[string]string{"qr": chosen}), bearerOf(phone)...)
}

// F5, universal account takeover: the confirm believes who it is told that it comes
// from.
func TestFlaw5InvalidTokenValidation(t *testing.T) {
	p := startPair(t, "SCANLOGIN_ACCESS_TTL=2s")
	alice, bob := p.turn().signIn("alice"), p.turn().signIn("bob")
	l := p.turn().create()
	p.turn().scan(&l, alice)
	confirm := "/v1/tickets/" + l.id + "/confirm"
	parts, foreign := strings.Split(alice, "."), strings.Split(bob, ".")
	p.untouched(l, func() {
		p.both("another user's", 403, "not_scanner", "POST", confirm, asJSON(t, l.decision()), bearerOf(bob)...)
		for name, token := range map[string]string{
			"none": "x", "alice's claims, bob's signature": parts[0] + "." + parts[1] + "." + foreign[2], "bob's claims, alice's signature": parts[0] + "." + foreign[1] + "." + parts[2],
			"unsigned": parts[0] + "." + parts[1] + ".", "the confirm_token": l.confirmToken, "the device_code": l.deviceCode,
		} {
			p.both(name, 401, "invalid_token", "POST", confirm, asJSON(t, l.decision()), bearerOf(token)...)
		}
		for _, member := range []string{"user", "user_id", "sub", "phone"} {
			body := l.decision()
			body[member] = "demo:alice"
			p.both(member, 400, "unknown_member", "POST", confirm, asJSON(t, body), bearerOf(bob)...)
			p.both(member, 400, "unknown_member", "POST", "/v1/scan", asJSON(t, map[string]string{"qr": l.qr, member: "demo:alice"}), bearerOf(bob)...)
		}
		for _, headers := range [][]string{{"X-User", "demo:alice"}, {"X-Forwarded-User", "demo:alice"}, {"Cookie", "user=demo:alice"}} {
			p.both(headers[0], 401, "invalid_token", "POST", confirm, asJSON(t, l.decision()), headers...)
		}
		p.both("no half of the phone", 400, "invalid_request", "POST", confirm, `{}`, bearerOf(alice)...)
		p.both("made up", 403, "invalid_confirm_token", "POST", confirm, `{"confirm_token":"x"}`, bearerOf(alice)...)
	})
	eventually(t, 10*time.Second, "alice's token expires", func() bool {
		a, err := p.turn().try("GET", "/oauth/userinfo", alice, nil)
		return err == nil && a.status == 401
	})
	p.untouched(l, func() {
		p.both("expired", 401, "invalid_token", "POST", confirm, asJSON(t, l.decision()), bearerOf(alice)...)
		ended := p.turn().signIn("alice")
		p.turn().do(204, "DELETE", "/v1/sessions/"+claim(t, ended, "sid").(string), ended, nil)
		p.both("signed out", 401, "invalid_token", "POST", confirm, asJSON(t, l.decision()), bearerOf(ended)...)
	})
	p.wants("nobody is signed in", 400, "authorization_pending", "POST", "/oauth/token", "", redeemForm(l))
}

// F6, privacy abuse: the pages, the answers and the logs tell who scans, where they
// are, or what opens the login.
func TestFlaw6SensitiveDataLeakage(t *testing.T) {
	p := startPair(t, "SCANLOGIN_GEOIP_DB="+writePlaces(t))
	browser, alice := p.api[0].within(atDesktop), p.api[1].within(atHome)
	phone := alice.signIn("alice")
	l := browser.create()
	shown := []string{browser.snapshot(l).raw}
	a := alice.do(200, "POST", "/v1/scan", phone, map[string]string{"qr": l.qr})
	l.confirmToken = a.text("confirm_token")
	for _, secret := range []string{l.deviceCode, atDesktop, anyChrome} {
		if strings.Contains(a.raw, secret) {
			t.Errorf("the phone is told %s: %s", secret, a.raw)
		}
	}
	shown = append(shown, browser.snapshot(l).raw)
	alice.confirm(l, phone)
	shown = append(shown, browser.snapshot(l).raw)
	tokens := browser.do(200, "POST", "/oauth/token", "", redeemForm(l))
	shown = append(shown, browser.snapshot(l).raw)
	for _, text := range shown {
		text = p.chosen(text)
		for _, private := range []string{"lice", "demo:", atHome, "DE", "Bonn", l.confirmToken, phone, tokens.text("access_token")} {
			if strings.Contains(text, private) {
				t.Errorf("the browser's snapshot tells %q: %s", private, text)
			}
		}
	}
	var claims map[string]any
	json.Unmarshal(decoded(t, strings.Split(tokens.text("access_token"), ".")[1]), &claims)
	for name := range claims {
		if !strings.Contains(" iss aud sub client_id sid jti iat nbf exp auth_time scope amr ", " "+name+" ") {
			t.Errorf("an access token carries %s", name)
		}
	}
	if strings.Contains(l.qr, "lice") || strings.Contains(l.qr, l.deviceCode[len(l.id)+1:]) {
		t.Errorf("the QR tells %s", l.qr)
	}
	for i, s := range p.all {
		for _, secret := range []string{l.deviceCode[len(l.id)+1:], l.confirmToken, phone, tokens.text("access_token"), tokens.text("refresh_token"), l.qr[strings.LastIndex(l.qr, "/")+1:], testSecret} {
			if strings.Contains(s.output(), secret) {
				t.Errorf("instance %d logs %.12s…", i, secret)
			}
		}
	}
}
