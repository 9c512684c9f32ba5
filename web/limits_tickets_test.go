package web

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"scanlogin/auth"
	"scanlogin/qrlogin"
)

// A network that several accounts reported gets fewer tickets for an hour, but never
// none; its neighbours get as many as ever.
func TestReportedNetworkGetsFewerTickets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := limited(t, Limits{TicketsPerReportedNetwork: Rate{3, 30 * time.Minute}})
		own := ownNetwork(netip.MustParseAddr("203.0.113.7"))
		report := func(user string) {
			l := login{}
			a := asksTicket(s, "203.0.113.7")
			l.id, l.qr = a.text("ticket_id"), a.text("verification_uri_complete")
			phone := s.phone(user)
			s.scan(&l, phone)
			s.want(200, "", "POST", l.path("/deny"), map[string]any{"confirm_token": l.confirmToken, "report": true}, bearerOf(phone)...)
		}
		report("alice")
		report("bob")
		// Three accounts are needed, and there are two: the third report is made by hand.
		l := login{}
		a := asksTicket(s, "203.0.113.7")
		l.id, l.qr = a.text("ticket_id"), a.text("verification_uri_complete")
		carol := auth.Identity{Provider: "demo", Subject: "carol", Name: "carol"}
		found, err := s.web.tickets.Scan(t.Context(), qrlogin.Scan{QR: l.qr}, carol)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.web.tickets.Deny(t.Context(), l.id, found.ConfirmToken, carol, true); err != nil {
			t.Fatal(err)
		}
		if yes, err := s.web.tickets.Reported(t.Context(), own); !yes || err != nil {
			t.Fatal("not reported", err)
		}
		through := 3
		for asksTicket(s, "203.0.113.7").status == 201 {
			through++
		}
		if want := busy.Burst + 3; through != want {
			t.Errorf("%d tickets, want %d", through, want)
		}
		slowed(t, asksTicket(s, "203.0.113.7"), "600")
		for range 50 {
			if a := asksTicket(s, "203.0.113.8"); a.status != 201 {
				t.Fatalf("the neighbour: %d %s", a.status, a.raw)
			}
		}
		time.Sleep(10 * time.Minute)
		if a := asksTicket(s, "203.0.113.7"); a.status != 201 {
			t.Errorf("after the wait: %d", a.status)
		}
		time.Sleep(time.Hour)
		for range 50 {
			if a := asksTicket(s, "203.0.113.7"); a.status != 201 {
				t.Fatalf("after an hour: %d %s", a.status, a.raw)
			}
		}
	})
}

// A flood from very many networks is refused at the door before it fills the store,
// also where nobody's address is known.
func TestTicketsOfOneInstanceAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := limited(t, Limits{Tickets: Rate{3, 3 * time.Minute}})
		for i := range 3 {
			if a := asksTicket(s, fmt.Sprintf("203.0.%d.7", i)); a.status != 201 {
				t.Fatal(a.status, a.body)
			}
		}
		a := asksTicket(s, "198.51.100.7")
		if a.status != 503 || a.text("code") != "overloaded" || a.header.Get("Retry-After") == "" {
			t.Errorf("%d %v", a.status, a.body)
		}
		if n := s.refusals("tickets"); n != "1" {
			t.Errorf("counted %s times", n)
		}
		time.Sleep(time.Minute)
		if a := asksTicket(s, "198.51.100.7"); a.status != 201 {
			t.Errorf("a minute later: %d %v", a.status, a.body)
		}
	})
}

// What is asked without waiting for the phone is paid for by ticket: an office full
// of polling devices must not use up what its logins need.
func TestPollingDevicesDoNotUseUpTheirOffice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := limited(t, Limits{TokensPerNetwork: Rate{2, time.Hour}})
		office, alice := from("203.0.113.7"), s.phone("alice")
		l := s.create(nil)
		for range 10 {
			s.want(400, "authorization_pending", "POST", "/oauth/token", redemption(l), office...)
			time.Sleep(qrlogin.Interval)
		}
		s.scan(&l, alice)
		s.want(400, "authorization_pending", "POST", "/oauth/token", redemption(l), office...)
		s.confirm(l, alice)
		s.want(200, "", "POST", "/oauth/token", redemption(l), office...)
		wrong := redemption(l)
		wrong.Set("device_code", b64id+"."+strings.Repeat("A", 43))
		s.want(400, "invalid_grant", "POST", "/oauth/token", wrong, office...)
		wrong.Set("client_id", "nobody")
		s.want(401, "invalid_client", "POST", "/oauth/token", wrong, office...)
	})
}
