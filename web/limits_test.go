package web

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"scanlogin/auth"
	"scanlogin/qrlogin"
	"scanlogin/qrlogin/backend"
)

// limited is a site behind a proxy, with limits of the test's own.
func limited(t *testing.T, bounds Limits) *site {
	return newSite(t, setup{
		direct: true, limits: true, bounds: bounds, proxies: []string{"192.0.2.0/24"},
		auth: auth.Config{AccessTTL: time.Hour}, tickets: qrlogin.Config{Check: qrlogin.CheckOff, TicketTTL: time.Hour, QRRotate: time.Hour},
	})
}

// refusals is what the metric says of a limit.
func (s *site) refusals(limit string) string {
	w := httptest.NewRecorder()
	s.admin.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	_, after, _ := strings.Cut(w.Body.String(), `scanlogin_limits_refused_total{limit="`+limit+`"} `)
	n, _, _ := strings.Cut(after, "\n")
	return n
}

// asks makes one request that a limit is about; who asks is a network or a user.
type asks func(s *site, who string) answer

func asksTicket(s *site, who string) answer {
	return s.send("POST", "/v1/tickets", nil, from(who)...)
}

func asksDevice(s *site, who string) answer {
	return s.send("POST", "/oauth/device_authorization", url.Values{"client_id": {"device"}}, from(who)...)
}

func asksScan(s *site, who string) answer {
	return s.send("POST", "/v1/scan", map[string]string{"qr": s.create(nil).qr}, bearerOf(s.phone(who))...)
}

func asksConfirm(s *site, who string) answer {
	phone, l := s.phone(who), s.create(nil)
	s.scan(&l, phone)
	return s.send("POST", l.path("/confirm"), map[string]string{"confirm_token": l.confirmToken}, bearerOf(phone)...)
}

func asksTokens(s *site, who string) answer {
	phone, l := s.phone("alice"), s.create(nil)
	s.scan(&l, phone)
	s.confirm(l, phone)
	return s.send("POST", "/oauth/token", redemption(l), from(who)...)
}

func asksRefresh(s *site, who string) answer {
	form := url.Values{"grant_type": {"refresh_token"}, "client_id": {"web"}, "refresh_token": {s.signedIn(s.phone("alice")).text("refresh_token")}}
	return s.send("POST", "/oauth/token", form, from(who)...)
}

func asksSignIn(s *site, who string) answer { return trySignIn(s, true, from(who)...) }

func asksAnything(s *site, who string) answer {
	return s.send("GET", "/openapi.yaml", nil, from(who)...)
}

// What a limit lets through, what it refuses, when it lets through again, and that
// others are not concerned. Three at once, then one in ten seconds.
func TestLimits(t *testing.T) {
	three := Rate{3, 30 * time.Second}
	networks := []string{"203.0.113.7", "203.0.113.200", "198.51.100.7"} // one, the same, another
	users := []string{"alice", "alice", "bob"}
	for _, row := range []struct {
		limit  string
		bounds Limits
		who    []string
		ask    asks
	}{
		{requestsPerNetwork, Limits{RequestsPerNetwork: three}, networks, asksAnything},
		{ticketsPerNetwork, Limits{TicketsPerNetwork: three}, networks, asksTicket},
		{ticketsPerNetwork, Limits{TicketsPerNetwork: three}, networks, asksDevice},
		{ticketsPerNetwork, Limits{TicketsPerNetwork: three}, []string{"2001:db8:0:1::1", "2001:db8:0:1:ffff::9", "2001:db8:0:2::1"}, asksTicket},
		{scansPerUser, Limits{ScansPerUser: three}, users, asksScan},
		{confirmsPerUser, Limits{ConfirmsPerUser: three}, users, asksConfirm},
		{tokensPerNetwork, Limits{TokensPerNetwork: three}, networks, asksTokens},
		{tokensPerNetwork, Limits{TokensPerNetwork: three}, networks, asksRefresh},
		{signinsPerNetwork, Limits{SigninsPerNetwork: three}, networks, asksSignIn},
	} {
		t.Run(row.limit, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := limited(t, row.bounds)
				ok := func(who string) {
					t.Helper()
					if a := row.ask(s, who); a.status/100 != 2 {
						t.Errorf("%s: %d %s", who, a.status, a.raw)
					}
				}
				for range 3 {
					ok(row.who[0])
				}
				slowed(t, row.ask(s, row.who[0]), "10")
				slowed(t, row.ask(s, row.who[1]), "10")
				for range 3 {
					ok(row.who[2])
				}
				time.Sleep(4 * time.Second)
				slowed(t, row.ask(s, row.who[1]), "6")
				time.Sleep(6 * time.Second)
				ok(row.who[1])
				slowed(t, row.ask(s, row.who[0]), "10")
				if n := s.refusals(row.limit); n != "4" {
					t.Errorf("%s refusals were counted", n)
				}
			})
		})
	}
}

// T25: whoever rents a server has a /64 of addresses, or a /48 of such networks.
func TestRotatingIPv6AddressesDoesNotHelp(t *testing.T) {
	for name, ask := range map[string]asks{"tickets": asksTicket, "requests": asksAnything} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := limited(t, Limits{TicketsPerNetwork: Rate{3, 30 * time.Second}, RequestsPerNetwork: Rate{30, 30 * time.Second}})
				most := map[string]int{"tickets": 3, "requests": 30}[name]
				through := func(address string, tries int) (n int) {
					for i := range tries {
						if a := ask(s, fmt.Sprintf(address, i+1)); a.status/100 == 2 {
							n++
						}
					}
					return n
				}
				if n := through("2001:db8:a:1::%x", 2*most); n != most {
					t.Errorf("from one /64: %d, not %d", n, most)
				}
				if n := through("2001:db8:d:1::%x", 100*most); n != most {
					t.Errorf("a flood from one /64: %d, not %d", n, most)
				}
				if n := through("2001:db8:d:2::%x", most); n != most {
					t.Errorf("its neighbour in the /48: %d, not %d", n, most)
				}
				if n := through("2001:db8:b:%x::1", 5*most); n != 4*most {
					t.Errorf("from one /48: %d, not %d", n, 4*most)
				}
				if n := through("2001:db8:c:%x::1", most); n != most {
					t.Errorf("from another /48: %d, not %d", n, most)
				}
			})
		})
	}
}

// T24: what a stranger writes into headers is nobody's address.
func TestSpoofedForwardedHeadersDoNotDodgeLimits(t *testing.T) {
	for name, proxies := range map[string][]string{"no proxy": nil, "behind one that says who": {"192.0.2.0/24"}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, setup{direct: true, limits: true, proxies: proxies, bounds: Limits{TicketsPerNetwork: Rate{3, time.Hour}}})
				refused := 0
				for i := range 10 {
					spoofed := fmt.Sprintf("198.51.%d.7", i)
					headers := []string{"X-Forwarded-For", spoofed, "X-Real-IP", spoofed, "True-Client-IP", spoofed, "Forwarded", "for=" + spoofed}
					if proxies != nil { // it adds whom it sees
						headers[1] += ", 203.0.113.7"
					}
					if a := s.send("POST", "/v1/tickets", nil, headers...); a.status == 429 {
						refused++
					}
				}
				if refused != 7 {
					t.Errorf("%d of 10 were refused, not 7", refused)
				}
			})
		})
	}
}

// Behind a proxy that is not trusted everybody has one address: what is per network
// would be everybody's, what is per user or per instance still holds.
func TestUnknownAddressesShareNoLimit(t *testing.T) {
	s := newSite(t, setup{
		direct: true, limits: true, publicURL: "https://login.example", tickets: qrlogin.Config{Check: qrlogin.CheckOff},
		bounds: Limits{
			RequestsPerNetwork: Rate{1, time.Hour}, TicketsPerNetwork: Rate{1, time.Hour}, TokensPerNetwork: Rate{1, time.Hour},
			SigninsPerNetwork: Rate{1, time.Hour}, SocketsPerNetwork: 1, ScansPerUser: Rate{3, time.Hour}, Sockets: 2,
		},
	})
	alice := s.phone("alice")
	for range 3 {
		s.signedIn(alice)
	}
	slowed(t, s.send("POST", "/v1/scan", map[string]string{"qr": s.create(nil).qr}, bearerOf(alice)...), "1200")
	for range 2 {
		l := s.create(nil)
		s.watch(l, l.deviceCode)
	}
	_, a := s.dial("/v1/tickets/"+b64id+"/ws", "Origin", s.public)
	if a.status != 503 || a.code() != "overloaded" {
		t.Errorf("the third socket: %d %s", a.status, a.raw)
	}
}

func TestLimitsCanBeTurnedOff(t *testing.T) {
	one := Rate{1, time.Hour}
	s := newSite(t, setup{direct: true, tickets: qrlogin.Config{Check: qrlogin.CheckOff}, bounds: Limits{
		RequestsInFlight: 1, RequestsPerNetwork: one, TicketsPerNetwork: one, ScansPerUser: one, ConfirmsPerUser: one,
		TokensPerNetwork: one, SigninsPerNetwork: one, Sockets: 1, SocketsPerNetwork: 1, SocketsPerSession: 1,
	}})
	for range 3 {
		s.signedIn(s.phone("alice"))
		l := s.create(nil)
		s.watch(l, l.deviceCode)
	}
}

// Contract 4: rate_limited is the last in the order of errors. And somebody without
// a token uses up nobody's permits.
func TestLimitsOfAUserComeLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := limited(t, Limits{ScansPerUser: Rate{2, time.Hour}, ConfirmsPerUser: Rate{2, time.Hour}})
		alice, bob := s.phone("alice"), s.phone("bob")
		taken, good, gone, scanned := s.create(nil), s.create(nil), s.create(nil), s.create(nil)
		s.scan(&taken, bob)
		s.want(204, "", "DELETE", gone.path(""), nil, bearerOf(gone.deviceCode)...)
		scan := func(status int, code, qr string, headers ...string) {
			t.Helper()
			s.want(status, code, "POST", "/v1/scan", map[string]string{"qr": qr}, headers...)
		}
		for range 5 {
			scan(401, "invalid_token", good.qr)
			scan(401, "invalid_token", good.qr, bearerOf("x.y.z")...)
		}
		s.scan(&scanned, alice)
		scan(404, "ticket_not_found", "nonsense", bearerOf(alice)...) // failing is not free
		scan(429, "rate_limited", good.qr, bearerOf(alice)...)
		scan(404, "ticket_not_found", "nonsense", bearerOf(alice)...)
		scan(409, "invalid_state", gone.qr, bearerOf(alice)...)
		scan(409, "already_scanned", taken.qr, bearerOf(alice)...)
		scan(401, "invalid_token", good.qr)
		if got := s.status(good); got != "pending" {
			t.Errorf("a refused scan left the ticket %s", got)
		}
		confirm := func(status int, code, path string, headers ...string) {
			t.Helper()
			s.want(status, code, "POST", path, map[string]string{"confirm_token": scanned.confirmToken}, headers...)
		}
		for range 2 {
			confirm(403, "not_scanner", taken.path("/confirm"), bearerOf(alice)...)
		}
		confirm(429, "rate_limited", scanned.path("/confirm"), bearerOf(alice)...)
		confirm(403, "not_scanner", taken.path("/confirm"), bearerOf(alice)...)
		confirm(409, "invalid_state", good.path("/confirm"), bearerOf(alice)...)
		confirm(404, "ticket_not_found", "/v1/tickets/"+b64id+"/confirm", bearerOf(alice)...)
		confirm(401, "invalid_token", scanned.path("/confirm"))
		s.want(403, "invalid_confirm_token", "POST", scanned.path("/confirm"), map[string]string{"confirm_token": "guess"}, bearerOf(alice)...)
		if got := s.status(scanned); got != "scanned" {
			t.Errorf("a refused confirm left the ticket %s", got)
		}
		// Saying no is never refused.
		confirm(200, "", scanned.path("/deny"), bearerOf(alice)...)
		confirm(409, "invalid_state", scanned.path("/confirm"), bearerOf(alice)...)
		time.Sleep(30 * time.Minute)
		s.scan(&good, alice)
	})
}

// A phone whose answers get lost may repeat its confirm as often as it likes.
func TestRepeatedConfirmIsNeverRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := limited(t, Limits{ConfirmsPerUser: Rate{2, time.Hour}})
		alice := s.phone("alice")
		first, second, third := s.create(nil), s.create(nil), s.create(nil)
		for _, l := range []*login{&first, &second, &third} {
			s.scan(l, alice)
		}
		s.confirm(first, alice)
		s.confirm(second, alice)
		for range 10 {
			s.confirm(first, alice)
		}
		s.want(429, "rate_limited", "POST", third.path("/confirm"), map[string]string{"confirm_token": third.confirmToken}, bearerOf(alice)...)
		s.want(200, "", "POST", "/oauth/token", redemption(first))
		s.confirm(first, alice)
	})
}

// A typed code is not looked at, whether it is right or wrong.
func TestLimitTellsNothingOfATypedCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := limited(t, Limits{ScansPerUser: Rate{1, time.Hour}})
		alice := s.phone("alice")
		l := s.create(map[string]any{"user_code": true})
		s.scan(&l, alice)
		slowed(t, tryCode(alice)(s, true), "3600")
		slowed(t, tryCode(alice)(s, false), "3600")
	})
}

// The limits, their names in the file and those in the metrics are the same.
func TestEveryLimitHasOneName(t *testing.T) {
	var named []string
	fields := reflect.TypeFor[Limits]()
	for i := range fields.NumField() {
		if name, _, _ := strings.Cut(fields.Field(i).Tag.Get("yaml"), ","); name != "-" {
			named = append(named, name)
		}
	}
	if !slices.Equal(slices.Sorted(slices.Values(named)), slices.Sorted(slices.Values(limitNames))) {
		t.Errorf("%v, but %v", named, limitNames)
	}
	v := reflect.ValueOf(Limits{}.WithDefaults())
	for i := range v.NumField() {
		if v.Type().Field(i).Name != "Off" && v.Field(i).IsZero() {
			t.Errorf("%s has no default", v.Type().Field(i).Name)
		}
	}
}

func TestRateAsText(t *testing.T) {
	for text, want := range map[string]Rate{
		"1500/10m": {1500, 10 * time.Minute}, "1/1s": {1, time.Second}, "20/10s": {20, 10 * time.Second},
		"5/1h": {5, time.Hour}, "5/1h30m": {5, 90 * time.Minute}, "1000000/24h": {1_000_000, 24 * time.Hour},
		"7/1m30s": {7, 90 * time.Second}, "7/1h0m30s": {7, time.Hour + 30*time.Second},
	} {
		var r Rate
		if err := r.UnmarshalText([]byte(text)); err != nil || r != want {
			t.Errorf("%s: %v %v", text, r, err)
		}
		if back, _ := r.MarshalText(); string(back) != text {
			t.Errorf("%s is written %s", text, back)
		}
	}
	for _, text := range []string{"", "5", "/", "5/", "/1m", "0/1m", "-1/1m", "1.5/1m", "5/1", "5/0s", "5/999ms", "5/25h", "1000001/1m", "5/1m/1m", " 5/1m", "5/-1m"} {
		if err := new(Rate).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is a rate", text)
		}
	}
}

// permits is a store that knows who took permits.
type permits struct {
	*backend.Memory
	taken []string
}

func (p *permits) Take(ctx context.Context, key string, every time.Duration, burst int) (time.Duration, error) {
	p.taken = append(p.taken, key)
	return p.Memory.Take(ctx, key, every, burst)
}

// DESIGN 6: at most three permits a login.
func TestWholeLoginTakesThreePermits(t *testing.T) {
	store := &permits{Memory: backend.NewMemory()}
	s := newSite(t, setup{direct: true, limits: true, store: store, tickets: qrlogin.Config{Check: qrlogin.CheckAlways}})
	alice := s.phone("alice")
	store.taken = nil
	l := s.create(nil)
	s.watch(l, l.deviceCode)
	s.scan(&l, alice)
	code := s.confirm(l, alice).text("check_code")
	s.want(200, "", "POST", l.path("/check"), map[string]string{"code": code}, bearerOf(l.deviceCode)...)
	tokens := s.want(200, "", "POST", "/oauth/token", redemption(l))
	if len(store.taken) != 3 {
		t.Errorf("a login took %q", store.taken)
	}
	store.taken = nil
	s.want(200, "", "POST", "/oauth/token", url.Values{"grant_type": {"refresh_token"}, "client_id": {"web"}, "refresh_token": {tokens.text("refresh_token")}})
	s.want(200, "", "GET", "/v1/sessions", nil, bearerOf(tokens.text("access_token"))...)
	if len(store.taken) != 1 {
		t.Errorf("a refresh took %q", store.taken)
	}
}

// On the pages a limit is said in words.
func TestLimitIsToldToPeopleInWords(t *testing.T) {
	s := limited(t, Limits{RequestsPerNetwork: Rate{1, time.Hour}})
	s.send("GET", "/s", nil, from("203.0.113.7")...)
	a := s.send("GET", "/s", nil, append(from("203.0.113.7"), "Accept", "text/html")...)
	if a.status != http.StatusTooManyRequests || !strings.Contains(a.raw, "<html") || a.header.Get("Retry-After") != "3600" {
		t.Errorf("%d %s", a.status, a.raw)
	}
	// A page of an allowed origin can read why, and when to come back.
	a = s.send("POST", "/v1/tickets", nil, append(from("203.0.113.7"), "Origin", s.public)...)
	if a.status != 429 || a.header.Get("Access-Control-Allow-Origin") != s.public {
		t.Errorf("%d %v", a.status, a.header)
	}
}
