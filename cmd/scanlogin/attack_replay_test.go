package main

import (
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// T5: whoever guesses the id of a ticket is told the same, in the same bytes and with the
// same headers but for date and request id, for what is no id and for what nobody made; ids show no pattern.
func TestGuessedIDsTellNothing(t *testing.T) {
	p := startPair(t)
	phone := p.turn().signIn("alice")
	said := func(a answer) string {
		for _, name := range []string{"Date", "X-Request-Id"} {
			if a.header.Get(name) == "" {
				t.Errorf("an answer without %s", name)
			}
			a.header.Del(name)
		}
		return fmt.Sprint(a.status, a.header, strings.ReplaceAll(a.raw, a.text("request_id"), "")) // which sorts the headers
	}
	const chars = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	var mu sync.Mutex
	answers := map[string]int{}
	parallel(200, func(i int) {
		id := strings.Repeat("A", 20) + string(chars[i%64]) + string(chars[16*(i/64)])
		switch i % 10 {
		case 8:
			id = strings.Repeat("%2e%2e%2f", i)
		case 9:
			id = id[:i%20+1]
		}
		a, err := p.turn().try("GET", "/v1/tickets/"+id+"/decision", phone, nil)
		if err != nil {
			t.Error(err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		answers[said(a)]++
	})
	if len(answers) != 1 {
		t.Errorf("guesses are told %d things: %v", len(answers), answers)
	}
	seen, first, last := map[string]bool{}, map[string]int{}, map[string]int{}
	parallel(400, func(int) {
		l := p.turn().create()
		mu.Lock()
		defer mu.Unlock()
		if len(l.id) != 22 || seen[l.id] {
			t.Errorf("an id that is short or was there: %q", l.id)
		}
		seen[l.id] = true
		first[l.id[:1]]++
		last[l.id[10:11]]++
	})
	for _, count := range []map[string]int{first, last} {
		for char, n := range count {
			if n > 40 { // 6 are expected
				t.Errorf("%q is in its place %d times of 400", char, n)
			}
		}
	}
}

// T5, T26: typed codes are short, so that guesses are counted: for the account that
// makes them, on all instances. Others go on.
func TestGuessingTypedCodesIsStopped(t *testing.T) {
	p := startPair(t, "SCANLOGIN_LIMITS=on")
	alice, bob := p.turn().signIn("alice"), p.turn().signIn("bob")
	count := map[int]int{}
	for i := range 16 {
		a, err := p.turn().try("POST", "/v1/scan", alice, map[string]string{"user_code": "BCDF-GHJ" + string("BCDFGHJKLMNPQRST"[i])})
		if err != nil {
			t.Fatal(err)
		}
		count[a.status]++
	}
	if count[404] != 10 || count[429] != 6 {
		t.Errorf("answers to 16 guesses: %v", count)
	}
	device := p.turn().do(200, "POST", "/oauth/device_authorization", "", url.Values{"client_id": {"device"}})
	p.wants("somebody else", 200, "", "POST", "/v1/scan", bob, map[string]string{"user_code": device.text("user_code")})
}

// T6: a ticket that was used is used. The same proofs that come back after the grace
// are somebody else's: they end the session. Wrong proofs end nothing. A photograph
// of the QR opens nothing at any time.
func TestReplayAfterTheGraceEndsTheSession(t *testing.T) {
	p := startPair(t, "SCANLOGIN_REFRESH_GRACE=1s")
	phone := p.turn().signIn("alice")
	challenged := p.turn().do(201, "POST", "/v1/tickets", "", map[string]string{
		"code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", "code_challenge_method": "S256", // RFC 7636 appendix B
	})
	l := login{id: challenged.text("ticket_id"), deviceCode: challenged.text("device_code"), qr: challenged.text("verification_uri_complete")}
	p.turn().scan(&l, phone)
	p.turn().confirm(l, phone)
	right, wrong := redeemForm(l), redeemForm(l)
	right.Set("code_verifier", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
	wrong.Set("code_verifier", strings.Repeat("A", 43))
	k := p.turn().tokens(p.wants("the browser", 200, "", "POST", "/oauth/token", "", right))
	begun := time.Now()
	attack := func() {
		t.Helper()
		for name, form := range map[string]url.Values{"no verifier": redeemForm(l), "wrong verifier": wrong} {
			p.wants(name, 400, "invalid_grant", "POST", "/oauth/token", "", form)
		}
		for _, user := range []string{"alice", "bob"} {
			want := map[string]string{"alice": "invalid_state", "bob": "already_scanned"}[user]
			p.wants("scanned again", 409, want, "POST", "/v1/scan", p.turn().signIn(user), map[string]string{"qr": l.qr})
		}
		for _, api := range p.api {
			api.alive(k.access)
		}
	}
	attack()
	eventually(t, 5*time.Second, "the grace is over", func() bool { return time.Since(begun) > 1500*time.Millisecond })
	attack()
	p.wants("replayed", 400, "invalid_grant", "POST", "/oauth/token", "", right)
	for _, api := range p.api {
		api.dead(k)
	}
}

// T7: forty phones scan one code at the same moment on two instances: one has it,
// and the browser hears of that one.
func TestScanRaceHasOneWinner(t *testing.T) {
	p := startPair(t)
	phones := signInCrowd(p.api[0])
	l := p.turn().create()
	answers := make([]answer, crowd)
	begin := make(chan struct{})
	var racers sync.WaitGroup
	for i := range crowd {
		racers.Go(func() {
			<-begin
			a, err := p.api[i%2].try("POST", "/v1/scan", phones[person(i)], map[string]string{"qr": l.qr})
			if err != nil {
				t.Error(err)
			}
			answers[i] = a
		})
	}
	close(begin)
	racers.Wait()
	winner, won := 0, 0
	for i, a := range answers {
		switch {
		case a.status == 200:
			winner, won = i, won+1
		case a.status != 409 || a.code() != "already_scanned":
			t.Errorf("%s: %d %s", person(i), a.status, a.raw)
		}
	}
	if won != 1 {
		t.Fatalf("%d phones scanned one code", won)
	}
	l.confirmToken = answers[winner].text("confirm_token")
	p.turn().confirm(l, phones[person(winner)])
	if a := p.wants("the browser", 200, "", "POST", "/oauth/token", "", redeemForm(l)); claim(t, a.text("access_token"), "sub") != "demo:"+person(winner) {
		t.Error("another one than the winner is signed in")
	}
}

// T8, B18, B19, B23, B25: no step can be left out, taken by somebody else or with the
// half of another ticket, and after a decision there is no other.
func TestSkippedAndStolenSteps(t *testing.T) {
	p := startPair(t)
	alice, bob := p.turn().signIn("alice"), p.turn().signIn("bob")
	l, other := p.turn().create(), p.turn().create()
	p.turn().scan(&other, alice)
	made := map[string]string{"confirm_token": strings.Repeat("A", 43)}
	move := func(what string, status int, code, move, by string, body any) {
		t.Helper()
		p.untouched(l, func() { p.wants(what, status, code, "POST", "/v1/tickets/"+l.id+"/"+move, by, body) })
	}
	redeem := func(what, code string, form url.Values) {
		t.Helper()
		p.untouched(l, func() { p.wants(what, 400, code, "POST", "/oauth/token", "", form) })
	}
	mixed := redeemForm(other)
	mixed.Set("device_code", l.id+other.deviceCode[strings.Index(other.deviceCode, "."):])

	move("confirm before scan", 409, "invalid_state", "confirm", alice, made)
	move("deny before scan", 409, "invalid_state", "deny", alice, made)
	redeem("tokens before scan", "authorization_pending", redeemForm(l))
	p.turn().scan(&l, alice)
	old := l
	p.turn().scan(&l, alice) // B18
	move("a stranger with the right token", 403, "not_scanner", "confirm", bob, l.decision())
	move("the wrong token", 403, "invalid_confirm_token", "confirm", alice, made)
	move("the token before", 403, "invalid_confirm_token", "confirm", alice, old.decision())
	move("the token of another ticket", 403, "invalid_confirm_token", "confirm", alice, other.decision())
	move("no token", 400, "invalid_request", "confirm", alice, map[string]string{})
	move("the browser's half", 403, "invalid_confirm_token", "confirm", alice, map[string]string{"confirm_token": l.deviceCode})
	p.untouched(l, func() {
		p.wants("another's scan", 409, "already_scanned", "POST", "/v1/scan", bob, map[string]string{"qr": l.qr}) // B19
	})
	redeem("tokens before confirm", "authorization_pending", redeemForm(l))
	redeem("another ticket's secret", "invalid_grant", mixed)
	p.turn().confirm(l, alice)
	redeem("another ticket's secret", "invalid_grant", mixed)
	foreign := redeemForm(l)
	foreign.Set("client_id", "device")
	redeem("another client", "invalid_grant", foreign)
	p.wants("deny after confirm", 200, "", "POST", "/v1/tickets/"+l.id+"/deny", alice, l.decision())
	move("confirm after deny", 409, "invalid_state", "confirm", alice, l.decision())
	redeem("denied", "access_denied", redeemForm(l))
}

// B13: past its deadline a ticket is over for everybody, at the same second on both
// instances.
func TestExpiredTicketOpensNothing(t *testing.T) {
	p := startPair(t, "SCANLOGIN_TICKET_TTL=1s", "SCANLOGIN_CONFIRM_TTL=1s", "SCANLOGIN_REDEEM_TTL=1s")
	alice := p.turn().signIn("alice")
	fresh, scanned, confirmed := p.turn().create(), p.turn().create(), p.turn().create()
	p.turn().scan(&scanned, alice)
	p.turn().scan(&confirmed, alice)
	p.turn().confirm(confirmed, alice)
	for _, l := range []login{fresh, scanned, confirmed} {
		eventually(t, 5*time.Second, "the ticket expires", func() bool { return p.turn().snapshot(l).text("status") == "expired" })
		p.wants("expired", 400, "expired_token", "POST", "/oauth/token", "", redeemForm(l))
	}
	p.wants("scan", 410, "ticket_expired", "POST", "/v1/scan", alice, map[string]string{"qr": fresh.qr})
	p.wants("confirm", 410, "ticket_expired", "POST", "/v1/tickets/"+scanned.id+"/confirm", alice, scanned.decision())
	p.wants("deny", 410, "ticket_expired", "POST", "/v1/tickets/"+scanned.id+"/deny", alice, scanned.decision())
}

// T2, T3: a picture of the QR is worth nothing 10 s after its turn, on both instances, by
// the API and on the pages; within them it is still good. Then the newest face opens it.
func TestPhotographOfAnOldFaceIsExpired(t *testing.T) {
	t.Parallel()
	p := startPair(t, "SCANLOGIN_QR_ROTATE=2s")
	alice := p.turn().signIn("alice")
	l, late := p.turn().create(), p.turn().create()
	eventually(t, 10*time.Second, "the QR has another face", func() bool {
		return p.turn().snapshot(late).text("verification_uri_complete") != late.qr
	})
	p.turn().scan(&late, alice)
	page := strings.TrimPrefix(l.qr, publicURL)
	p.both("in time", 200, "", "GET", page, "")
	eventually(t, 20*time.Second, "the face is over", func() bool {
		a, err := p.turn().try("GET", page, "", nil)
		return err == nil && a.status == 410
	})
	eventually(t, time.Second, "on the other instance too", func() bool {
		a, err := p.turn().try("GET", page, "", nil)
		b, err2 := p.turn().try("GET", page, "", nil)
		return err == nil && err2 == nil && a.status == 410 && b.status == 410
	})
	p.untouched(l, func() {
		p.both("an old face", 410, "qr_expired", "POST", "/v1/scan", asJSON(t, map[string]string{"qr": l.qr}), bearerOf(alice)...)
	})
	l.qr = p.turn().snapshot(l).text("verification_uri_complete")
	p.turn().scan(&l, alice)
	p.turn().confirm(l, alice)
	p.wants("the browser", 200, "", "POST", "/oauth/token", "", redeemForm(l))
}
