package web

import (
	"encoding/json"
	"maps"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"scanlogin/auth"
)

// wantDenials holds the metrics against the denials so far, by reason.
func (s *site) wantDenials(want map[string]int) {
	s.t.Helper()
	w := httptest.NewRecorder()
	s.admin.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	sum := 0
	for reason, n := range want {
		sum += n
		if line := `scanlogin_tickets_denied_total{reason="` + reason + `"} ` + strconv.Itoa(n) + "\n"; !strings.Contains(w.Body.String(), line) {
			s.t.Errorf("the metrics do not say %s", line)
		}
	}
	if n := strings.Count(w.Body.String(), "\nscanlogin_tickets_denied_total{"); n != len(want) {
		s.t.Errorf("%d reasons, not %d", n, len(want))
	}
	if line := `scanlogin_ticket_moves_total{to="denied"} ` + strconv.Itoa(sum) + "\n"; sum > 0 && !strings.Contains(w.Body.String(), line) {
		s.t.Errorf("the metrics do not say %s", line)
	}
}

// Whoever operates this sees every login that was refused and why, once: guessed
// codes and banned networks are attacks.
func TestDenialsAreCountedAndLogged(t *testing.T) {
	s := newTown(t)
	alice := s.phoneAt(atHome, "alice")
	want := map[string]int{"by_user": 0, "check_failed": 0, "blocked": 0, "reported": 0}
	s.wantDenials(want)
	reasons := map[string]string{}
	denied := func(l login, reason string) {
		t.Helper()
		reasons[l.id] = reason
		want[reason]++
		s.wantDenials(want)
	}
	decide := func(status int, word string, l login, move string, more map[string]any) {
		t.Helper()
		body := map[string]any{"confirm_token": l.confirmToken}
		maps.Copy(body, more)
		s.want(status, word, "POST", l.path(move), body, bearerOf(alice)...)
	}

	guessed, code := s.awaited(alice)
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			s.send("POST", guessed.path("/check"), map[string]string{"code": otherThan(code)}, bearerOf(guessed.deviceCode)...)
		})
	}
	all.Wait()
	denied(guessed, "check_failed")

	a := s.want(200, "", "POST", "/oauth/device_authorization", url.Values{"client_id": {"device"}}, from(atDesktop)...)
	device := login{id: a.text("ticket_id"), deviceCode: a.text("device_code"), qr: a.text("verification_uri_complete")}
	s.scanAt(atHome, &device, alice)
	for range 3 {
		s.wantDenials(want)
		decide(403, "check_failed", device, "/confirm", map[string]any{"user_code": "BCDF-GHJK"})
	}
	denied(device, "check_failed")

	declined, reported, blocked, in := s.createAt(atDesktop), s.createAt(atDesktop), s.createAt(atDesktop), s.createAt(atHome)
	s.scanAt(atHome, &declined, alice)
	decide(200, "", declined, "/deny", nil)
	denied(declined, "by_user")
	s.scanAt(atHome, &reported, alice)
	decide(200, "", reported, "/deny", map[string]any{"report": true})
	denied(reported, "reported")

	s.scanAt(atHome, &in, alice)
	s.confirm(in, alice)
	s.want(200, "", "POST", "/oauth/token", redemption(in))
	decide(409, "invalid_state", in, "/deny", map[string]any{"report": true}) // too late
	s.wantDenials(want)

	if err := s.auth.Ban(t.Context(), auth.Ban{Network: netip.MustParsePrefix(atDesktop + "/32")}); err != nil {
		t.Fatal(err)
	}
	s.scanAt(atHome, &blocked, alice)
	decide(403, "proximity_blocked", blocked, "/confirm", nil)
	denied(blocked, "blocked")
	decide(409, "invalid_state", blocked, "/confirm", nil)
	s.wantDenials(want)

	logged := map[string]string{}
	for line := range strings.Lines(s.log.String()) {
		var said map[string]string
		if json.Unmarshal([]byte(line), &said); said["msg"] != "ticket denied" {
			continue
		}
		if names := slices.Sorted(maps.Keys(said)); strings.Join(names, " ") != "level msg reason request_id ticket_id time" || said["level"] != "INFO" || logged[said["ticket_id"]] != "" {
			t.Errorf("logged %s", line)
		}
		logged[said["ticket_id"]] = said["reason"]
	}
	if !maps.Equal(logged, reasons) {
		t.Errorf("logged %v, want %v", logged, reasons)
	}
}
