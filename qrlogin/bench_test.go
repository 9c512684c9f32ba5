package qrlogin

import (
	"net/netip"
	"strconv"
	"testing"
	"time"

	"scanlogin/auth"
	"scanlogin/qrlogin/backend"
)

// BenchmarkMove is each rule on a value: what an Update runs between load and swap.
func BenchmarkMove(b *testing.B) {
	for _, m := range []struct {
		name string
		from *Ticket
		do   func(t *Ticket) error
	}{
		{"scan", pending(), func(t *Ticket) error { return t.scan(alice, t.CodeHash, true, ttl, noon) }},
		{"confirm", scanned(), func(t *Ticket) error { _, err := t.confirm(alice, "token", "", ttl, noon); return err }},
		{"deny", scanned(), func(t *Ticket) error { return t.deny(alice, "token", noon) }},
		{"check", scanned(checked, decided), func(t *Ticket) error { _, err := t.check("07", "07", noon); return err }},
		{"cancel", pending(), func(t *Ticket) error { return t.cancel(noon) }},
		{"redeem", scanned(is(Confirmed)), func(t *Ticket) error { return t.redeem("sid", noon) }},
	} {
		b.Run("move="+m.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				t := *m.from
				if err := m.do(&t); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// login is both rooms on the embedded store.
type login struct {
	*Service
	store *backend.Memory
}

func newLogin(b *testing.B) *login {
	const publicURL = "https://login.example"
	store, clients := backend.NewMemory(), auth.Clients(publicURL)
	b.Cleanup(func() { store.Close() })
	users := auth.New(store, auth.Config{Issuer: publicURL, Clients: clients})
	return &login{New(store, users, Config{PublicURL: publicURL, Clients: clients}), store}
}

// facts are a browser's and a phone's on one network, so that no code is asked for.
var facts = Facts{Browser: "Chrome", OS: "Windows", IP: "203.0.113.0/24", Network: netip.MustParsePrefix("203.0.113.7/32")}

// whole goes from create to tokens.
func (l *login) whole(b *testing.B, by auth.Identity) {
	ctx := b.Context()
	made, err := l.Create(ctx, Request{ClientID: "web", Facts: facts})
	must(b, err)
	_, err = l.Open(ctx, made.TicketID, made.DeviceCode)
	must(b, err)
	found, err := l.Scan(ctx, Scan{QR: made.QRText, Phone: facts}, by)
	must(b, err)
	_, err = l.Confirm(ctx, made.TicketID, found.ConfirmToken, "", by)
	must(b, err)
	_, err = l.Redeem(ctx, Redemption{DeviceCode: made.DeviceCode, ClientID: "web"})
	must(b, err)
}

// BenchmarkLogin is a whole login without HTTP and QR: create, open, scan, confirm and
// redeem, one signature included. Each is somebody else's.
func BenchmarkLogin(b *testing.B) {
	l := newLogin(b)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		l.whole(b, auth.Identity{Provider: "demo", Subject: strconv.Itoa(i), Name: "Alice"})
	}
}

// BenchmarkView is a stored record becoming what the browser may see of it.
func BenchmarkView(b *testing.B) {
	l := newLogin(b)
	made, err := l.Create(b.Context(), Request{ClientID: "web", Facts: facts})
	must(b, err)
	value, rev, err := l.store.Load(b.Context(), TicketKey(made.TicketID))
	must(b, err)
	b.ReportAllocs()
	for b.Loop() {
		_, err := l.View(made.TicketID, value, rev, time.Now())
		must(b, err)
	}
}

func must(b *testing.B, err error) {
	if err != nil {
		b.Helper()
		b.Fatal(err)
	}
}
