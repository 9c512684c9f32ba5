package web

import (
	"bufio"
	"encoding/json"
	"maps"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"scanlogin/auth"
	"scanlogin/qrlogin"
)

// with is a request from an address with a bearer token.
func with(address, token string) []string { return append(from(address), bearerOf(token)...) }

// phoneAt signs a user in on a phone in a network.
func (s *site) phoneAt(addr, user string) string {
	s.t.Helper()
	return s.want(200, "", "POST", "/v1/signin/demo", map[string]string{"credential": user}, from(addr)...).text("access_token")
}

// scanAt is a scan by a phone in a network.
func (s *site) scanAt(addr string, l *login, phone string) answer {
	s.t.Helper()
	a := s.want(200, "", "POST", "/v1/scan", map[string]string{"qr": l.qr}, with(addr, phone)...)
	l.confirmToken = a.text("confirm_token")
	return a
}

// awaited is a login that its phone approved and whose check code is awaited.
func (s *site) awaited(phone string) (l login, code string) {
	s.t.Helper()
	l = s.createAt(atDesktop)
	if a := s.scanAt(atHome, &l, phone); a.body["check_required"] != true || a.body["user_code_required"] != false {
		s.t.Errorf("scan: %s", a.raw)
	}
	return l, s.confirm(l, phone).text("check_code")
}

func (s *site) snapshotOf(l login) answer {
	s.t.Helper()
	return s.want(200, "", "GET", l.path(""), nil, bearerOf(l.deviceCode)...)
}

// members are the names in an answer, or in a part of it.
func members(body map[string]any) string {
	return strings.Join(slices.Sorted(maps.Keys(body)), " ")
}

// The whole login, member by member.
func TestLoginWithACheckCode(t *testing.T) {
	s := newTown(t)
	alice := s.phoneAt(atHome, "alice")
	l, code := s.awaited(alice)
	again := s.confirm(l, alice)
	if !regexp.MustCompile(`^[0-9]{2}$`).MatchString(code) || again.raw != `{"status":"scanned","check_code":"`+code+`"}`+"\n" {
		t.Fatalf("confirm: code %q, then %s", code, again.raw)
	}
	a := s.snapshotOf(l)
	if members(a.body) != "check expires_in seq status ticket_id type user" || a.text("status") != "scanned" || !strings.Contains(a.raw, `"check":{"tries_left":3}`) {
		t.Errorf("awaited: %s", a.raw)
	}
	s.want(400, "authorization_pending", "POST", "/oauth/token", redemption(l))
	wrong := s.sendCheck(403, "check_failed", l, otherThan(code))
	if strings.Contains(wrong.text("title")+wrong.text("detail"), code) { // two digits are in most request ids
		t.Errorf("the refusal tells the code: %s", wrong.raw)
	}
	if a = s.snapshotOf(l); !strings.Contains(a.raw, `"check":{"tries_left":2}`) {
		t.Errorf("after a wrong one: %s", a.raw)
	}
	for range 2 {
		if a = s.sendCheck(200, "", l, code); members(a.body) != "expires_in seq status ticket_id type user" || a.text("status") != "confirmed" {
			t.Errorf("checked: %s", a.raw)
		}
	}
	if again = s.confirm(l, alice); again.text("check_code") != code {
		t.Errorf("confirm after the check: %s", again.raw)
	}
	s.want(200, "", "POST", "/oauth/token", redemption(l))
	if again = s.confirm(l, alice); again.text("check_code") != code || again.text("status") != "scanned" {
		t.Errorf("confirm after the login: %s", again.raw)
	}
	s.sendCheck(409, "invalid_state", l, otherThan(code))
	s.sendCheck(200, "", l, code)
	for _, secret := range []string{l.deviceCode[23:], l.confirmToken, `"` + code + `"`} {
		if strings.Contains(s.log.String(), secret) {
			t.Errorf("the log has %q", secret)
		}
	}
}

// The snapshot that asks for the code is the same through all three doors.
func TestCheckIsAskedForOnEveryTransport(t *testing.T) {
	s := newTown(t)
	l, code := s.awaited(s.phoneAt(atHome, "alice"))
	polled := s.snapshotOf(l)
	polls := make(chan answer, 1)
	go func() {
		polls <- s.want(200, "", "GET", l.path("?wait=20&seq="+number(polled.seq())), nil, bearerOf(l.deviceCode)...)
	}()
	socket := s.watch(l, l.deviceCode)
	frameOf(t, socket) // hello
	response, err := s.client.Do(s.request("GET", l.path("/events"), nil, bearerOf(l.deviceCode)...))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	events := bufio.NewScanner(response.Body)
	event := func() (a answer) {
		for events.Scan() {
			if data, ok := strings.CutPrefix(events.Text(), "data: "); ok {
				json.Unmarshal([]byte(data), &a.body)
				return a
			}
		}
		t.Fatal("the stream ended")
		return a
	}
	same := func(when string, pushed, streamed answer) {
		t.Helper()
		for door, a := range map[string]answer{"socket": pushed, "events": streamed} {
			delete(a.body, "expires_in")
			delete(polled.body, "expires_in")
			if got, want := asJSON(t, a.body), asJSON(t, polled.body); got != want {
				t.Errorf("%s, %s: %s, want %s", when, door, got, want)
			}
		}
	}
	same("awaited", frameOf(t, socket), event())
	s.sendCheck(403, "check_failed", l, otherThan(code))
	if polled = <-polls; !strings.Contains(polled.raw, `"check":{"tries_left":2}`) {
		t.Errorf("long poll: %s", polled.raw)
	}
	same("one wrong", frameOf(t, socket), event())
	polled = s.sendCheck(200, "", l, code)
	same("checked", frameOf(t, socket), event())
	if end, _ := closed(t, socket); end != 1000 {
		t.Errorf("after the check the socket closes with %d", end)
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// What is no code is refused and is no try.
func TestMalformedCheckCodesCostNoTry(t *testing.T) {
	s := newTown(t)
	l, code := s.awaited(s.phoneAt(atHome, "alice"))
	before := s.snapshotOf(l)
	for body, word := range map[string]string{
		`{"code":7}`: "invalid_request", `{"code":42}`: "invalid_request", `{"code":"7"}`: "invalid_request", `{"code":"007"}`: "invalid_request",
		`{"code":"٠٧"}`: "invalid_request", "{\"code\":\"\uff10\uff17\"}": "invalid_request", `{"code":"٧"}`: "invalid_request", `{"code":"+7"}`: "invalid_request",
		`{"code":" 7"}`: "invalid_request", `{"code":"7\n"}`: "invalid_request", `{"code":"0x"}`: "invalid_request", `{"code":""}`: "invalid_request",
		`{"code":null}`: "invalid_request", `{"code":["0","7"]}`: "invalid_request", `{}`: "invalid_request", ``: "invalid_request",
		`7`: "invalid_json", `"07"`: "invalid_json", `[]`: "invalid_json", `{"code":"07"`: "invalid_json", `{"code":"07","code":"07"}`: "invalid_json",
		`{"code":"07"}{"code":"07"}`: "invalid_json", `{"Code":"07"}`: "unknown_member", `{"code":"07","device_code":"x"}`: "unknown_member",
		`{"code":"7\u0000"}`: "invalid_string",
	} {
		s.want(400, word, "POST", l.path("/check"), body, bearerOf(l.deviceCode)...)
	}
	s.want(413, "body_too_large", "POST", l.path("/check"), `{"code":"`+strings.Repeat("7", 9<<10)+`"}`, bearerOf(l.deviceCode)...)
	s.want(415, "unsupported_media_type", "POST", l.path("/check"), url.Values{"code": {code}}, bearerOf(l.deviceCode)...)
	s.want(403, "cross_origin", "POST", l.path("/check"), map[string]string{"code": code}, append(bearerOf(l.deviceCode), "Origin", "https://evil.test")...)
	for _, other := range []string{s.createAt(atDesktop).deviceCode, l.deviceCode[:23] + strings.Repeat("A", 43), l.confirmToken} {
		s.want(401, "invalid_device_code", "POST", l.path("/check"), map[string]string{"code": code}, bearerOf(other)...)
	}
	if after := s.snapshotOf(l); after.seq() != before.seq() || !strings.Contains(after.raw, `"tries_left":3`) {
		t.Errorf("something was counted: %s", after.raw)
	}
	s.sendCheck(200, "", l, code)
}

// RFC 10027 section 6.1.16: two digits are a hundred codes; three tries of them,
// raced or not, are all.
func TestGuessingTheCheckCodeEndsAfterThree(t *testing.T) {
	s := newTown(t)
	alice := s.phoneAt(atHome, "alice")
	l, code := s.awaited(alice)
	words := make([]string, 20)
	var all sync.WaitGroup
	for i := range words {
		all.Go(func() {
			a := s.send("POST", l.path("/check"), map[string]string{"code": otherThan(code)}, bearerOf(l.deviceCode)...)
			words[i] = strconv.Itoa(a.status) + " " + a.code()
		})
	}
	all.Wait()
	count := map[string]int{}
	for _, word := range words {
		count[word]++
	}
	if count["403 check_failed"] != 3 || count["409 invalid_state"] != 17 {
		t.Errorf("answers %v", count)
	}
	s.sendCheck(409, "invalid_state", l, code)
	s.want(409, "invalid_state", "POST", l.path("/confirm"), map[string]string{"confirm_token": l.confirmToken}, bearerOf(alice)...)
	if a := s.snapshotOf(l); members(a.body) != "expires_in reason seq status ticket_id type" || a.text("status") != "denied" || a.text("reason") != "check_failed" {
		t.Errorf("denied: %s", a.raw)
	}
	s.want(400, "access_denied", "POST", "/oauth/token", redemption(l))
}

// A code is awaited after the confirm and until the end, and never otherwise.
func TestCheckInEveryState(t *testing.T) {
	s := newSite(t, setup{})
	alice := s.phone("alice")
	for _, state := range []string{"pending", "scanned", "confirmed", "consumed", "denied", "canceled"} {
		l := s.ticketIn(state, alice)
		before := s.snapshotOf(l)
		s.sendCheck(409, "invalid_state", l, "07")
		if after := s.snapshotOf(l); after.seq() != before.seq() || before.body["check"] != nil {
			t.Errorf("%s: %s became %s", state, before.raw, after.raw)
		}
	}
}

// A device shows its code and has no keyboard: the person types it on the phone.
func TestDeviceCodeIsTypedOnThePhone(t *testing.T) {
	s := newTown(t)
	alice := s.phoneAt(atHome, "alice")
	device := func() (l login) {
		a := s.want(200, "", "POST", "/oauth/device_authorization", url.Values{"client_id": {"device"}}, from(atDesktop)...)
		return login{id: a.text("ticket_id"), deviceCode: a.text("device_code"), qr: a.text("verification_uri_complete"), userCode: a.text("user_code")}
	}
	confirm := func(status int, word string, l login, code string) answer {
		t.Helper()
		return s.want(status, word, "POST", l.path("/confirm"), map[string]string{"confirm_token": l.confirmToken, "user_code": code}, bearerOf(alice)...)
	}
	l := device()
	if a := s.scanAt(atHome, &l, alice); a.body["user_code_required"] != true || a.body["check_required"] != false || strings.Contains(a.raw, l.userCode) {
		t.Errorf("scan: %s", a.raw)
	}
	s.want(403, "check_failed", "POST", l.path("/confirm"), map[string]string{"confirm_token": l.confirmToken}, bearerOf(alice)...)
	confirm(403, "check_failed", l, "BCDF-GHJK")
	if a := confirm(200, "", l, strings.ToLower(l.userCode)); a.raw != `{"status":"confirmed"}`+"\n" {
		t.Errorf("confirm: %s", a.raw)
	}
	confirm(200, "", l, "") // a repeat
	if a := s.snapshotOf(l); a.body["check"] != nil {
		t.Errorf("a device is asked: %s", a.raw)
	}

	l = device()
	s.scanAt(atHome, &l, alice)
	for range 3 {
		confirm(403, "check_failed", l, "BCDF-GHJK")
	}
	confirm(409, "invalid_state", l, l.userCode)
	if a := s.snapshotOf(l); a.text("status") != "denied" || a.text("reason") != "check_failed" {
		t.Errorf("after three: %s", a.raw)
	}

	l = device()
	a := s.want(200, "", "POST", "/v1/scan", map[string]string{"user_code": l.userCode}, with(atHome, alice)...)
	if a.body["user_code_required"] != false || a.body["check_required"] != false {
		t.Errorf("the code was typed already: %s", a.raw)
	}
	l.confirmToken = a.text("confirm_token")
	s.confirm(l, alice)
}

// T1, T2: whose network is banned is not let in, whatever the phone says.
func TestBannedNetworkIsBlocked(t *testing.T) {
	s := newTown(t)
	alice := s.phoneAt(atHome, "alice")
	approved, refused := s.createAt(atDesktop), s.createAt(atDesktop)
	if err := s.auth.Ban(t.Context(), auth.Ban{Network: netip.MustParsePrefix(atDesktop + "/32"), Reason: "kit"}); err != nil {
		t.Fatal(err)
	}
	if a := s.scanAt(atHome, &approved, alice); factsOf(a)["verdict"] != "block" {
		t.Errorf("scan: %s", a.raw)
	}
	a := s.want(403, "proximity_blocked", "POST", approved.path("/confirm"), map[string]string{"confirm_token": approved.confirmToken}, bearerOf(alice)...)
	if strings.Contains(a.raw, "kit") {
		t.Errorf("the phone hears the reason: %s", a.raw)
	}
	s.want(409, "invalid_state", "POST", approved.path("/confirm"), map[string]string{"confirm_token": approved.confirmToken}, bearerOf(alice)...)
	if a := s.snapshotOf(approved); a.text("status") != "denied" || a.text("reason") != "blocked" {
		t.Errorf("blocked: %s", a.raw)
	}
	s.want(400, "access_denied", "POST", "/oauth/token", redemption(approved))
	s.scanAt(atHome, &refused, alice)
	s.want(200, "", "POST", refused.path("/deny"), map[string]any{"confirm_token": refused.confirmToken, "report": true}, bearerOf(alice)...)
}

// T2: a network from which several people were phished is asked for more, and
// never shut out.
func TestReportedNetworkNeedsACheck(t *testing.T) {
	s := newSite(t, setup{proxies: []string{"127.0.0.0/8"}, more: []string{"carol", "dave"}})
	for _, user := range []string{"alice", "bob", "bob", "carol"} {
		phone, l := s.phoneAt(atHome, user), s.createAt(atDesktop)
		if a := s.scanAt(atHome, &l, phone); factsOf(a)["high_usage"] != false || factsOf(a)["verdict"] != "notice" {
			t.Errorf("%s: %s", user, a.raw)
		}
		s.want(200, "", "POST", l.path("/deny"), map[string]any{"confirm_token": l.confirmToken, "report": true}, with(atHome, phone)...)
	}
	dave, l := s.phoneAt(atDesktop, "dave"), s.createAt(atDesktop)
	a := s.scanAt(atDesktop, &l, dave)
	if facts := factsOf(a); facts["high_usage"] != true || facts["verdict"] != "risk" || facts["same_network"] != true || a.body["check_required"] != true {
		t.Errorf("after three reports: %s", a.raw)
	}
	s.sendCheck(200, "", l, s.confirm(l, dave).text("check_code"))
	s.want(200, "", "POST", "/oauth/token", redemption(l))
}

// Off and always are what they say.
func TestCheckCodeModes(t *testing.T) {
	for mode, wanted := range map[qrlogin.Mode]bool{qrlogin.CheckOff: false, qrlogin.CheckAlways: true} {
		s := newSite(t, setup{proxies: []string{"127.0.0.0/8"}, tickets: qrlogin.Config{Check: mode}})
		alice := s.phoneAt(atHome, "alice")
		for _, addr := range []string{atHome, atDesktop} {
			made := s.want(201, "", "POST", "/v1/tickets", map[string]any{"user_code": true}, from(addr)...)
			l := login{id: made.text("ticket_id"), userCode: made.text("user_code")}
			a := s.want(200, "", "POST", "/v1/scan", map[string]string{"user_code": l.userCode}, with(atHome, alice)...)
			l.confirmToken = a.text("confirm_token")
			if got := s.confirm(l, alice).body["check_code"] != nil; got != wanted || a.body["check_required"] != wanted {
				t.Errorf("%s, browser at %s: code %t, %s", mode, addr, got, a.raw)
			}
		}
	}
}
