package web

import (
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// sameBut compares two problems, their request ids aside.
func sameBut(a, b answer) bool {
	return strings.ReplaceAll(a.raw, a.text("request_id"), "") == strings.ReplaceAll(b.raw, b.text("request_id"), "")
}

// T5, B11, B12: an id that cannot be one and an id that nobody made are the
// same answer, and the former never reaches the store.
func TestGuessedTicketIDsAreAllTheSame404(t *testing.T) {
	s := newSite(t, setup{})
	phone := s.phone("alice")
	l := s.create(nil)
	ids := []string{
		b64id[1:], b64id + "A", "x", ".", "..%2f..%2fetc%2fpasswd", "%2e%2e", "%00", "a%20b", "%E2%80%AE%E4%B8%AD", "%ff%fe",
		strings.Repeat("A", 10<<10), l.id + "=", l.id + "%2f", l.id + ".x", url.PathEscape(l.deviceCode), b64id[:21] + "B", "ticket:" + l.id, "*", "%7B%7D",
	}
	for _, route := range bearerRoutes("ID") {
		if !strings.Contains(route.path, "ID") {
			continue
		}
		token := l.deviceCode
		if route.none == "invalid_token" {
			token = phone
		}
		unknown := s.want(404, "ticket_not_found", route.method, strings.ReplaceAll(route.path, "ID", b64id), route.body, bearerOf(token)...)
		for _, id := range ids {
			before := s.store.calls.Load()
			a := s.send(route.method, strings.ReplaceAll(route.path, "ID", id), route.body, bearerOf(token)...)
			if a.status != 404 || !sameBut(a, unknown) || len(a.header) != len(unknown.header) {
				t.Errorf("%s %s with %.40q: %d %s, want what an unknown id gets", route.method, route.path, id, a.status, a.raw)
			}
			asked := s.store.calls.Load() - before
			if route.none == "invalid_token" {
				asked-- // for the phone's session
			}
			if asked != 0 {
				t.Errorf("%s %s with %.40q: %d calls of the store", route.method, route.path, id, asked)
			}
		}
	}
	if got := s.status(l); got != "pending" {
		t.Errorf("the ticket is %s", got)
	}
}

// B11: what a phone presents is judged the same way.
func TestForgedQRTextsAreAllTheSame404(t *testing.T) {
	s := newSite(t, setup{})
	phone := s.phone("alice")
	l := s.create(map[string]any{"user_code": true})
	token := l.qr[strings.LastIndex(l.qr, "/")+1:]
	flipped := []byte(token)
	flipped[len(flipped)-1] ^= 3
	unknown := s.want(404, "ticket_not_found", "POST", "/v1/scan", map[string]string{"qr": "x"}, bearerOf(phone)...)
	for _, body := range []map[string]string{
		{"qr": string(flipped)}, {"qr": token[:42]}, {"qr": token + "A"}, {"qr": token + "="}, {"qr": " " + token},
		{"qr": "https://evil.test/s/" + token}, {"qr": s.url + "/x/" + token}, {"qr": s.url + "/s/s/" + token}, {"qr": l.id},
		{"qr": strings.Repeat("A", 8000)}, {"qr": "\u202e" + token},
		{"user_code": "BCDF-GHJA"}, {"user_code": "BCDFGHJ"}, {"user_code": strings.Repeat("B", 8000)}, {"user_code": "ЖЖЖЖЖЖЖЖ"}, {"user_code": "12345678"},
	} {
		if a := s.send("POST", "/v1/scan", body, bearerOf(phone)...); a.status != 404 || !sameBut(a, unknown) {
			t.Errorf("%.60v: %d %s", body, a.status, a.raw)
		}
	}
	s.want(400, "invalid_request", "POST", "/v1/scan", map[string]string{"qr": l.qr, "user_code": l.userCode}, bearerOf(phone)...)
	s.want(400, "invalid_request", "POST", "/v1/scan", map[string]string{}, bearerOf(phone)...)
	s.want(200, "", "POST", "/v1/scan", map[string]string{"qr": token}, bearerOf(phone)...)
}

// A typed code may be written in any way a person writes it, and is dead from
// the first scan.
func TestTypedCodeIsDeadAfterTheFirstScan(t *testing.T) {
	s := newSite(t, setup{})
	alice, bob := s.phone("alice"), s.phone("bob")
	l := s.create(map[string]any{"user_code": true})
	typed := map[string]string{"user_code": " " + strings.ToLower(strings.ReplaceAll(l.userCode, "-", " ")) + "."}
	s.want(200, "", "POST", "/v1/scan", typed, bearerOf(alice)...)
	s.want(404, "ticket_not_found", "POST", "/v1/scan", typed, bearerOf(alice)...)
	s.want(404, "ticket_not_found", "POST", "/v1/scan", typed, bearerOf(bob)...)
}

// ticketIn goes as far as a state; the scanner's is the phone token.
func (s *site) ticketIn(state, scanner string) login {
	s.t.Helper()
	l := s.create(nil)
	if state == "pending" {
		return l
	}
	s.scan(&l, scanner)
	switch state {
	case "confirmed":
		s.confirm(l, scanner)
	case "consumed":
		s.confirm(l, scanner)
		s.want(200, "", "POST", "/oauth/token", redemption(l))
	case "denied":
		s.want(200, "", "POST", l.path("/deny"), map[string]string{"confirm_token": l.confirmToken}, bearerOf(scanner)...)
	case "canceled":
		s.want(204, "", "DELETE", l.path(""), nil, bearerOf(l.deviceCode)...)
	}
	return l
}

// moves are the phone's, in the order of their errors: alice has scanned.
var moves = []struct{ state, move, by, token, want string }{
	{"pending", "/confirm", "alice", "wrong", "409 invalid_state"},
	{"pending", "/deny", "alice", "wrong", "409 invalid_state"},
	{"pending", "/decision", "alice", "", "409 invalid_state"},
	{"scanned", "/confirm", "bob", "right", "403 not_scanner"},
	{"scanned", "/deny", "bob", "right", "403 not_scanner"},
	{"scanned", "/decision", "bob", "", "403 not_scanner"},
	{"scanned", "/confirm", "alice", "wrong", "403 invalid_confirm_token"},
	{"scanned", "/deny", "alice", "wrong", "403 invalid_confirm_token"},
	{"scanned", "scan", "alice", "", "200"},
	{"scanned", "scan", "bob", "", "409 already_scanned"},
	{"scanned", "/decision", "alice", "", "200"},
	{"confirmed", "/confirm", "alice", "right", "200"},
	{"confirmed", "/confirm", "alice", "wrong", "403 invalid_confirm_token"},
	{"confirmed", "/confirm", "bob", "right", "403 not_scanner"},
	{"confirmed", "/deny", "alice", "right", "200"},
	{"confirmed", "scan", "alice", "", "409 invalid_state"},
	{"confirmed", "scan", "bob", "", "409 already_scanned"},
	{"consumed", "/confirm", "alice", "right", "200"},
	{"consumed", "/confirm", "bob", "right", "403 not_scanner"},
	{"consumed", "/deny", "alice", "right", "409 invalid_state"},
	{"consumed", "scan", "alice", "", "409 invalid_state"},
	{"consumed", "scan", "bob", "", "409 already_scanned"},
	{"denied", "/deny", "alice", "right", "200"},
	{"denied", "/deny", "alice", "wrong", "403 invalid_confirm_token"},
	{"denied", "/confirm", "alice", "right", "409 invalid_state"},
	{"denied", "/confirm", "bob", "right", "403 not_scanner"},
	{"denied", "scan", "alice", "", "409 invalid_state"},
	{"denied", "scan", "bob", "", "409 invalid_state"},
	{"canceled", "/confirm", "alice", "right", "409 invalid_state"},
	{"canceled", "/deny", "alice", "right", "409 invalid_state"},
	{"canceled", "scan", "alice", "", "409 invalid_state"},
	{"canceled", "/decision", "alice", "", "200"},
}

// For each state of a ticket, each move by each asker has one answer, and a
// refused one changes nothing.
func TestOrderOfErrors(t *testing.T) {
	s := newSite(t, setup{})
	phones := map[string]string{"alice": s.phone("alice"), "bob": s.phone("bob")}
	for _, row := range moves {
		l, by := s.ticketIn(row.state, phones["alice"]), bearerOf(phones[row.by])
		before := s.want(200, "", "GET", l.path(""), nil, bearerOf(l.deviceCode)...)
		token := map[string]string{"confirm_token": "wrong"}
		if row.token == "right" {
			token["confirm_token"] = l.confirmToken
		}
		var a answer
		switch row.move {
		case "scan":
			a = s.send("POST", "/v1/scan", map[string]string{"qr": l.qr}, by...)
		case "/decision":
			a = s.send("GET", l.path("/decision"), nil, by...)
		default:
			a = s.send("POST", l.path(row.move), token, by...)
		}
		if got := strings.TrimSpace(strconv.Itoa(a.status) + " " + a.code()); got != row.want {
			t.Errorf("%s, %s by %s with %s token: %s, want %s", row.state, row.move, row.by, row.token, got, row.want)
		}
		after := s.want(200, "", "GET", l.path(""), nil, bearerOf(l.deviceCode)...)
		if a.status != 200 && (after.text("status") != before.text("status") || after.seq() != before.seq()) {
			t.Errorf("%s, %s: refused, and yet %s became %s", row.state, row.move, before.raw, after.raw)
		}
	}
}

func atoi(t *testing.T, text string) (n int) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// B18: scanning again gives a new confirm_token, and the old one is dead.
func TestOldConfirmTokenIsDeadAfterScanningAgain(t *testing.T) {
	s := newSite(t, setup{})
	alice := s.phone("alice")
	l := s.create(nil)
	s.scan(&l, alice)
	old := l
	again := s.scan(&l, alice)
	if old.confirmToken == l.confirmToken || again.text("status") != "scanned" {
		t.Errorf("scanned again: %s", again.raw)
	}
	s.want(403, "invalid_confirm_token", "POST", l.path("/confirm"), map[string]string{"confirm_token": old.confirmToken}, bearerOf(alice)...)
	s.confirm(l, alice)
}

// DELETE: 204, again 204; after another end 409.
func TestCancelTwiceAndTooLate(t *testing.T) {
	s := newSite(t, setup{})
	alice := s.phone("alice")
	l := s.create(nil)
	s.want(204, "", "DELETE", l.path(""), nil, bearerOf(l.deviceCode)...)
	s.want(204, "", "DELETE", l.path(""), nil, bearerOf(l.deviceCode)...)
	s.want(409, "invalid_state", "POST", "/v1/scan", map[string]string{"qr": l.qr}, bearerOf(alice)...)
	l = s.create(nil)
	s.scan(&l, alice)
	s.want(200, "", "POST", l.path("/deny"), map[string]any{"confirm_token": l.confirmToken, "report": true}, bearerOf(alice)...)
	s.want(409, "invalid_state", "DELETE", l.path(""), nil, bearerOf(l.deviceCode)...)
	if a := s.want(200, "", "GET", l.path(""), nil, bearerOf(l.deviceCode)...); a.text("reason") != "by_user" || a.body["user"] != nil {
		t.Errorf("T14: after a denial: %s", a.raw)
	}
}

// B13: past its deadline a ticket is expired, whoever looks; 60 s later it is
// unknown.
func TestExpiredTicketThenUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, setup{direct: true})
		alice := s.phone("alice")
		fresh, seen := s.create(map[string]any{"user_code": true}), s.create(nil)
		time.Sleep(35 * time.Second)
		s.want(200, "", "GET", fresh.path(""), nil, bearerOf(fresh.deviceCode)...)
		s.want(200, "", "POST", "/v1/scan", map[string]string{"qr": seen.qr}, bearerOf(alice)...) // 10 s of grace
		time.Sleep(6 * time.Second)
		s.want(410, "qr_expired", "POST", "/v1/scan", map[string]string{"qr": fresh.qr}, bearerOf(alice)...)
		s.scan(&seen, alice) // the scanner may again
		time.Sleep(55 * time.Second)
		s.want(410, "ticket_expired", "POST", seen.path("/confirm"), map[string]string{"confirm_token": seen.confirmToken}, bearerOf(alice)...)
		s.want(410, "ticket_expired", "POST", seen.path("/deny"), map[string]string{"confirm_token": seen.confirmToken}, bearerOf(alice)...)
		s.want(403, "invalid_confirm_token", "POST", seen.path("/confirm"), map[string]string{"confirm_token": "x"}, bearerOf(alice)...)
		time.Sleep(85 * time.Second)

		s.want(410, "ticket_expired", "POST", "/v1/scan", map[string]string{"qr": fresh.qr}, bearerOf(alice)...)
		s.want(410, "ticket_expired", "GET", fresh.path("/qr.png"), nil, bearerOf(fresh.deviceCode)...)
		s.want(400, "expired_token", "POST", "/oauth/token", redemption(fresh))
		s.want(409, "invalid_state", "DELETE", fresh.path(""), nil, bearerOf(fresh.deviceCode)...)
		if got := s.status(fresh); got != "expired" {
			t.Errorf("status %s", got)
		}
		time.Sleep(61 * time.Second)
		for _, l := range []login{fresh, seen} {
			s.want(404, "ticket_not_found", "GET", l.path(""), nil, bearerOf(l.deviceCode)...)
			s.want(404, "ticket_not_found", "POST", "/v1/scan", map[string]string{"qr": l.qr}, bearerOf(alice)...)
			s.want(404, "ticket_not_found", "POST", l.path("/confirm"), map[string]string{"confirm_token": "x"}, bearerOf(alice)...)
			s.want(400, "invalid_grant", "POST", "/oauth/token", redemption(l))
		}
	})
}

// Long poll: at once without seq or with an old one, else at the change or
// after wait.
func TestLongPollWaitsForTheChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, setup{direct: true})
		alice := s.phone("alice")
		l := s.create(nil)
		first := s.want(200, "", "GET", l.path(""), nil, bearerOf(l.deviceCode)...)
		ask := l.path("?wait=20&seq=" + number(first.seq()))
		begun := time.Now()
		if a := s.want(200, "", "GET", ask, nil, bearerOf(l.deviceCode)...); a.seq() != first.seq() || time.Since(begun) != 20*time.Second {
			t.Errorf("nothing happened: %s after %s", a.raw, time.Since(begun))
		}
		go func(l login) {
			time.Sleep(3 * time.Second)
			s.scan(&l, alice)
		}(l)
		begun = time.Now()
		if a := s.want(200, "", "GET", ask, nil, bearerOf(l.deviceCode)...); a.text("status") != "scanned" || a.seq() <= first.seq() || time.Since(begun) != 3*time.Second {
			t.Errorf("scanned: %s after %s", a.raw, time.Since(begun))
		}
		decided := s.want(200, "", "GET", l.path("/decision"), nil, bearerOf(alice)...)
		go func() {
			time.Sleep(2 * time.Second)
			s.want(204, "", "DELETE", l.path(""), nil, bearerOf(l.deviceCode)...)
		}()
		if a := s.want(200, "", "GET", l.path("/decision?wait=25&seq="+number(decided.seq())), nil, bearerOf(alice)...); a.text("status") != "canceled" {
			t.Errorf("decision: %s", a.raw)
		}
		for _, query := range []string{"?wait=26", "?wait=-1", "?wait=1.5", "?wait=x", "?seq=-1", "?seq=x", "?seq=9007199254740993", "?seq=1e3"} {
			s.want(400, "invalid_request", "GET", l.path(query), nil, bearerOf(l.deviceCode)...)
			s.want(400, "invalid_request", "GET", l.path("/decision"+query), nil, bearerOf(alice)...)
		}
	})
}

func number(f float64) string {
	raw, _ := json.Marshal(uint64(f)) // a number always encodes
	return string(raw)
}

// B9, B10: PKCE is S256 of the right shape, or absent.
func TestWeakCodeChallengesAreRefused(t *testing.T) {
	s := newSite(t, setup{})
	const good = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM" // RFC 7636 appendix B
	const verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	for _, row := range []struct{ challenge, method string }{
		{good, ""}, {good, "plain"}, {good, "s256"}, {good, "S512"}, {"", "S256"}, {"", "plain"},
		{good[:42], "S256"}, {good + "A", "S256"}, {strings.Repeat("A", 129), "S256"}, {good[:42] + "=", "S256"},
		{good[:42] + "+", "S256"}, {good[:42] + "N", "S256"}, {good[:41] + "中", "S256"}, {verifier, "plain"},
	} {
		body := map[string]string{"code_challenge": row.challenge, "code_challenge_method": row.method}
		s.want(400, "invalid_code_challenge", "POST", "/v1/tickets", body)
		if row.challenge != "" && row.method != "" {
			form := url.Values{"client_id": {"device"}, "code_challenge": {row.challenge}, "code_challenge_method": {row.method}}
			s.want(400, "invalid_request", "POST", "/oauth/device_authorization", form)
		}
	}
	alice := s.phone("alice")
	l := s.create(map[string]string{"code_challenge": good, "code_challenge_method": "S256"})
	s.scan(&l, alice)
	s.confirm(l, alice)
	var refusals []string
	for _, wrong := range []string{"", verifier[:42], verifier + "x", good, strings.ToLower(verifier), strings.Repeat("A", 200)} {
		form := redemption(l)
		form.Set("code_verifier", wrong)
		refusals = append(refusals, s.want(400, "invalid_grant", "POST", "/oauth/token", form).raw)
	}
	if len(slices.Compact(refusals)) != 1 {
		t.Errorf("B24: answers tell them apart: %q", refusals)
	}
	form := redemption(l)
	form.Set("code_verifier", verifier)
	s.want(200, "", "POST", "/oauth/token", form)
}
