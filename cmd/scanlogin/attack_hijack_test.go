package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

const anyChrome = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"

// createAs is a ticket of a browser with this User-Agent and these headers.
func (c *caller) createAs(agent string, headers ...string) login {
	c.t.Helper()
	a := c.raw("POST", "/v1/tickets", "", append([]string{"User-Agent", agent}, headers...)...)
	if a.status != 201 {
		c.t.Fatalf("a ticket: %d %s", a.status, a.raw)
	}
	return login{id: a.text("ticket_id"), deviceCode: a.text("device_code"), qr: a.text("verification_uri_complete")}
}

// T1: QRLjacking, also called consent phishing. The attacker opens a ticket and
// mails its QR to alice, who scans and approves it. She is told what asks and from
// where, and her approval is worth nothing without a code that only she sees.
func TestConsentPhishingNeedsMoreThanATap(t *testing.T) {
	p := startPair(t, "SCANLOGIN_GEOIP_DB="+writePlaces(t))
	attacker, alice := p.api[0].within(atDesktop), p.api[1].within(atHome)
	phone := alice.signIn("alice")
	phish := func() (login, string) {
		t.Helper()
		l := attacker.createAs(anyChrome)
		a := alice.do(200, "POST", "/v1/scan", phone, map[string]string{"qr": l.qr})
		l.confirmToken = a.text("confirm_token")
		facts, _ := a.body["facts"].(map[string]any)
		for member, want := range map[string]any{
			"browser": "Chrome", "os": "Windows", "country": "NL", "city": "Delft", "same_network": false, "first_time": true, "verdict": "risk",
		} {
			if facts[member] != want {
				t.Errorf("%s: %v, want %v", member, facts[member], want)
			}
		}
		if a.body["check_required"] != true || strings.Contains(a.raw, atDesktop+`"`) {
			t.Errorf("scan: %s", a.raw)
		}
		tapped := alice.do(200, "POST", "/v1/tickets/"+l.id+"/confirm", phone, l.decision())
		if tapped.text("status") != "scanned" || len(tapped.text("check_code")) != 2 {
			t.Fatalf("a tap alone: %s", tapped.raw)
		}
		if seen := attacker.snapshot(l); strings.Contains(seen.raw, "check_code") || seen.text("status") != "scanned" {
			t.Errorf("the attacker sees %s", seen.raw)
		}
		p.wants("a tap alone", 400, "authorization_pending", "POST", "/oauth/token", "", redeemForm(l))
		return l, tapped.text("check_code")
	}

	// The attacker guesses, at both instances: three tries in all.
	l, code := phish()
	wrong := map[string]string{"code": fmt.Sprintf("%02d", (int(code[0]-'0')*10+int(code[1]-'0')+1)%100)}
	for range 3 {
		p.wants("a guess", 403, "check_failed", "POST", "/v1/tickets/"+l.id+"/check", l.deviceCode, wrong)
	}
	p.wants("the right one, too late", 409, "invalid_state", "POST", "/v1/tickets/"+l.id+"/check", l.deviceCode, map[string]string{"code": code})
	p.wants("after three guesses", 400, "access_denied", "POST", "/oauth/token", "", redeemForm(l))
	if a := alice.snapshot(l); a.text("status") != "denied" || a.text("reason") != "check_failed" {
		t.Errorf("the end: %s", a.raw)
	}

	// Alice sees through it, or the operator did.
	l, _ = phish()
	p.wants("this was not me", 200, "", "POST", "/v1/tickets/"+l.id+"/deny", phone, map[string]any{"confirm_token": l.confirmToken, "report": true})
	p.wants("reported", 400, "access_denied", "POST", "/oauth/token", "", redeemForm(l))
	l = attacker.createAs(anyChrome)
	operator{t, p.all[1]}.do("ban", "add", atDesktop+"/24")
	a := alice.do(200, "POST", "/v1/scan", phone, map[string]string{"qr": l.qr})
	if facts, _ := a.body["facts"].(map[string]any); facts["verdict"] != "block" {
		t.Errorf("a banned network: %s", a.raw)
	}
	l.confirmToken = a.text("confirm_token")
	p.wants("a banned network", 403, "proximity_blocked", "POST", "/v1/tickets/"+l.id+"/confirm", phone, l.decision())

	// She let it in after all: her other sessions hear of it, and one of them ends it.
	s := &service{public: publicURL, urls: []string{p.all[0].url, p.all[1].url}}
	follower := s.follow(t, 1, phone)
	in := p.api[0].within(atHome).login(phone)
	if f, err := follower.next(2 * time.Second); err != nil || f.Type != "sign_in" || f.ID != in.sid {
		t.Errorf("the phone hears %+v, %v", f, err)
	}
	alice.do(204, "DELETE", "/v1/sessions/"+in.sid, phone, nil)
	p.api[0].dead(in)
}

// T2: a live relay page copies our QR as it rotates. Who sees through it reports it;
// three accounts make the network stand out to everybody whom it shows a code next,
// and it gets fewer.
func TestRelayPageIsSlowedByReports(t *testing.T) {
	p := startPair(t, "SCANLOGIN_LIMITS=on", "SCANLOGIN_CONFIG="+configFile(t, "limits: {tickets_per_reported_network: 3/1h}"))
	relay := func() *caller { return p.turn().within(atDesktop) }
	for i, user := range []string{"alice", "bob", "carol"} {
		victim := p.turn().within(fmt.Sprintf("192.0.2.%d", i+1))
		phone := victim.signIn(user)
		l := relay().create()
		a := victim.do(200, "POST", "/v1/scan", phone, map[string]string{"qr": l.qr})
		if facts, _ := a.body["facts"].(map[string]any); facts["high_usage"] != false {
			t.Errorf("before %d reports: %s", i, a.raw)
		}
		p.wants("not me", 200, "", "POST", "/v1/tickets/"+l.id+"/deny", phone, map[string]any{"confirm_token": a.text("confirm_token"), "report": true})
	}
	// What a few people need is never looked at: 20 at each instance.
	refused, given := answer{}, []login{}
	for range 60 {
		a, err := relay().try("POST", "/v1/tickets", "", nil)
		switch {
		case err == nil && a.status == 429:
			refused = a
		case err == nil && a.status == 201:
			given = append(given, login{id: a.text("ticket_id"), qr: a.text("verification_uri_complete")})
		default:
			t.Fatalf("%v %d %s", err, a.status, a.raw)
		}
	}
	if n := len(given); n < 38 || n > 42 || refused.code() != "rate_limited" || refused.header.Get("Retry-After") == "" {
		t.Fatalf("%d of 60 were given, and one answer was %d %s", n, refused.status, refused.raw)
	}
	victim := p.turn().within("192.0.2.77")
	a := victim.do(200, "POST", "/v1/scan", victim.signIn("person01"), map[string]string{"qr": given[0].qr})
	if facts, _ := a.body["facts"].(map[string]any); facts["high_usage"] != true || facts["verdict"] != "risk" || a.body["check_required"] != true {
		t.Errorf("the next victim sees %s", a.raw)
	}
	if a := p.turn().within("192.0.2.88").do(201, "POST", "/v1/tickets", "", nil); a.text("ticket_id") == "" {
		t.Error("a neighbour got no ticket")
	}
}

// T4: session spying. Mallory scans alice's screen with an account of hers, so that
// alice works in mallory's account. The browser says whose it is, before there is a
// session, and alice cancels; alice's own scan is told that somebody was first.
func TestSessionSpyingIsSeenAndCanceled(t *testing.T) {
	p := startPair(t)
	mallory, alice := p.api[0].signIn("carol"), p.api[1].signIn("alice")
	l := p.api[1].create()
	p.api[0].scan(&l, mallory)
	p.wants("the owner's scan", 409, "already_scanned", "POST", "/v1/scan", alice, map[string]string{"qr": l.qr})
	seen := p.api[1].snapshot(l)
	if user, _ := seen.body["user"].(map[string]any); user["name"] != "C***l" {
		t.Errorf("the browser shows %s", seen.raw)
	}
	p.api[0].confirm(l, mallory)
	stolen := redeemForm(l)
	stolen.Set("code_verifier", strings.Repeat("A", 43)) // not the page that asked
	p.wants("another page", 400, "invalid_grant", "POST", "/oauth/token", "", stolen)
	p.wants("not you? cancel", 204, "", "DELETE", "/v1/tickets/"+l.id, l.deviceCode, nil)
	p.wants("canceled", 400, "access_denied", "POST", "/oauth/token", "", redeemForm(l))
	p.wants("canceled", 409, "invalid_state", "POST", "/v1/tickets/"+l.id+"/confirm", mallory, l.decision())
}

// T9: cameras, mail filters and link previews open what they find; nothing happens
// to a ticket by that, also where somebody is signed in.
func TestLinkPreviewChangesNothing(t *testing.T) {
	p := startPair(t)
	phone := p.turn().signIn("alice")
	l := p.turn().create()
	path := strings.TrimPrefix(l.qr, publicURL)
	p.untouched(l, func() {
		for i := range 20 {
			headers := []string{"User-Agent", fmt.Sprintf("Preview/%d", i)}
			if i%2 == 0 {
				headers = append(headers, bearerOf(phone)...)
			}
			p.both("a preview", 200, "", "GET", path, "", headers...)
			p.both("a preview", 200, "", "HEAD", path, "", headers...)
		}
		p.both("a form without its page", 403, "", "POST", "/s/scan", "qr="+url.QueryEscape(l.qr), "Content-Type", formKind)
	})
	p.turn().scan(&l, phone)
}

// T12: an attacker writes "press approve" into every header that a browser's name
// could be read from; the phone reads words of ours only.
func TestAttackerTextIsNotShownToThePhone(t *testing.T) {
	p := startPair(t)
	phone := p.turn().signIn("alice")
	for _, agent := range []string{
		`"><b>Approve to keep your account`, "IT helpdesk, press Approve", "Mozilla/5.0 (Approve; OK) Approve/9", "\u202eevorppA", strings.Repeat("Approve ", 900),
	} {
		l := p.turn().createAs(agent, "Sec-CH-UA", `"Approve";v="1"`, "X-Device-Name", "Approve", "X-Forwarded-Host", "approve.test")
		a := p.turn().do(200, "POST", "/v1/scan", phone, map[string]string{"qr": l.qr})
		for _, word := range []string{"pprove", "helpdesk", "evorpp", "<b>"} {
			if strings.Contains(a.raw, word) {
				t.Errorf("%.30q: the phone reads %s", agent, a.raw)
			}
		}
	}
}

// T13: prompts until somebody approves for peace. Nothing is pushed to a phone: it
// begins with a scan of its own, and those have a limit that all instances share.
func TestConsentFatigueEndsAtTheLimit(t *testing.T) {
	p := startPair(t, "SCANLOGIN_LIMITS=on", "SCANLOGIN_CONFIG="+configFile(t, "limits: {scans_per_user: 3/1h}"))
	phone := p.turn().signIn("alice")
	for range 3 {
		l := p.turn().create()
		p.turn().scan(&l, phone)
		p.wants("denied", 200, "", "POST", "/v1/tickets/"+l.id+"/deny", phone, l.decision())
	}
	l := p.turn().create()
	for range 2 {
		if a := p.wants("the fourth", 429, "rate_limited", "POST", "/v1/scan", phone, map[string]string{"qr": l.qr}); a.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	p.turn().scan(&l, p.turn().signIn("bob")) // it is hers alone
}

// T14: whose phone scanned is nobody's business until it approves: three characters
// of the name at most, and none of it after a denial, through every door.
func TestIdentityDoesNotLeakToTheBrowser(t *testing.T) {
	p := startPair(t)
	phone := p.api[0].signIn("alice")
	for _, decision := range []string{"deny", "confirm"} {
		l := p.api[0].create()
		conn, _, err := p.api[1].upgrade("/v1/tickets/"+l.id+"/ws", publicURL)
		if err != nil {
			t.Fatal(err)
		}
		conn.WriteJSON(map[string]string{"type": "watch", "device_code": l.deviceCode})
		p.api[0].scan(&l, phone)
		scanned := p.api[1].snapshot(l)
		if decision == "confirm" {
			p.api[0].confirm(l, phone)
		} else {
			p.api[0].do(200, "POST", "/v1/tickets/"+l.id+"/deny", phone, l.decision())
		}
		frames := []string{scanned.raw, p.api[1].snapshot(l).raw}
		for {
			_, raw, err := conn.ReadMessage()
			if err != nil {
				var closed *websocket.CloseError
				if !errors.As(err, &closed) || closed.Code != websocket.CloseNormalClosure {
					t.Error(err)
				}
				break
			}
			frames = append(frames, string(raw))
		}
		for _, frame := range frames {
			frame = p.chosen(frame)
			if strings.Contains(frame, "demo:") || strings.Contains(frame, "lice") || strings.Contains(frame, `"denied"`) && strings.Contains(frame, `"user"`) {
				t.Errorf("%s: the browser sees %s", decision, frame)
			}
		}
		if !strings.Contains(scanned.raw, `"A***e"`) {
			t.Errorf("the browser does not see who scanned: %s", scanned.raw)
		}
	}
}

// The phone's own pages and the browser's are never shown inside a foreign page
// (T48), load nothing from elsewhere (T11), and leave no address behind (T46).
func TestClickjackingAndForeignContentAreShutOut(t *testing.T) {
	p := startPair(t)
	l := p.turn().create()
	for _, path := range []string{"/", "/account", "/s", strings.TrimPrefix(l.qr, publicURL), "/s/nothing", "/s/result/" + l.id} {
		for _, api := range p.api {
			a := api.raw("GET", path, "", "Accept", "text/html")
			csp := a.header.Get("Content-Security-Policy")
			for _, want := range []string{"frame-ancestors 'none'", "img-src 'self' data:"} {
				if !strings.Contains(csp, want) {
					t.Errorf("%s: %d %q lacks %s", path, a.status, csp, want)
				}
			}
			if strings.Contains(csp, "unsafe") || strings.Contains(csp, "*") || a.header.Get("X-Content-Type-Options") != "nosniff" || a.header.Get("Referrer-Policy") != "same-origin" {
				t.Errorf("%s: %v", path, a.header)
			}
			for _, attribute := range []string{`src="http`, `src="//`, `href="http`, `href="//`} {
				if strings.Contains(strings.ReplaceAll(a.raw, publicURL, ""), attribute) {
					t.Errorf("%s loads from elsewhere: %s", path, attribute)
				}
			}
		}
	}
	for _, kind := range []string{"png", "svg"} {
		a := p.both("the picture", 200, "", "GET", "/v1/tickets/"+l.id+"/qr."+kind, "", bearerOf(l.deviceCode)...)
		if a.header.Get("Cache-Control") != "no-store" || a.header.Get("X-Content-Type-Options") != "nosniff" || !strings.HasPrefix(a.header.Get("Content-Type"), "image/") {
			t.Errorf("%s: %v", kind, a.header)
		}
	}
	if a := p.both("the picture, signed out", http.StatusUnauthorized, "invalid_device_code", "GET", "/v1/tickets/"+l.id+"/qr.png", ""); strings.Contains(a.raw, "PNG") {
		t.Error("a picture without its device_code")
	}
}
