package qrlogin_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"scanlogin/auth"
	"scanlogin/qrlogin"
	"scanlogin/qrlogin/backend"
)

const publicURL = "https://login.example"

var (
	alice = auth.Identity{Provider: "demo", Subject: "alice", Name: "Alice"}
	bob   = auth.Identity{Provider: "demo", Subject: "bob", Name: "Bob"}
)

// home is where browser and phone are unless a test says otherwise.
var home = netip.MustParsePrefix("192.0.2.1/32")

// world is the login on the embedded store, in virtual time.
type world struct {
	*qrlogin.Service
	store *backend.Memory
	auth  *auth.Service
}

func inWorld(t *testing.T, test func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) {
		store := backend.NewMemory()
		defer store.Close()
		clients := auth.Clients(publicURL)
		sessions := auth.New(store, auth.Config{Issuer: publicURL, Clients: clients})
		test(t, &world{qrlogin.New(store, sessions, qrlogin.Config{PublicURL: publicURL, Clients: clients}), store, sessions})
	})
}

// another is a second instance on the same store, with settings of its own.
func (w *world) another(c qrlogin.Config) *world {
	c.PublicURL, c.Clients = publicURL, auth.Clients(publicURL)
	sessions := auth.New(w.store, auth.Config{Issuer: publicURL, Clients: c.Clients})
	return &world{qrlogin.New(w.store, sessions, c), w.store, sessions}
}

func (w *world) create(t *testing.T, r qrlogin.Request) qrlogin.Created {
	t.Helper()
	if r.ClientID == "" {
		r.ClientID = "web"
	}
	if !r.Facts.Network.IsValid() {
		r.Facts.Network = home
	}
	c, err := w.Create(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (w *world) scan(t *testing.T, c qrlogin.Created, by auth.Identity) qrlogin.Found {
	t.Helper()
	f, err := w.Scan(t.Context(), qrlogin.Scan{QR: c.QRText, Phone: qrlogin.Facts{Network: home}}, by)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// confirm is alice's, where no code is wanted.
func (w *world) confirm(t *testing.T, ticketID, confirmToken string) error {
	t.Helper()
	answer, err := w.Confirm(t.Context(), ticketID, confirmToken, "", alice)
	if err == nil && answer != (qrlogin.Answer{Status: qrlogin.Confirmed}) {
		t.Errorf("confirm: %+v", answer)
	}
	return err
}

// confirmed is a ticket that alice confirmed.
func (w *world) confirmed(t *testing.T, r qrlogin.Request) qrlogin.Created {
	t.Helper()
	c := w.create(t, r)
	f := w.scan(t, c, alice)
	if err := w.confirm(t, f.TicketID, f.ConfirmToken); err != nil {
		t.Fatal(err)
	}
	return c
}

func (w *world) redeem(t *testing.T, c qrlogin.Created) (auth.Tokens, error) {
	return w.Redeem(t.Context(), qrlogin.Redemption{DeviceCode: c.DeviceCode, ClientID: "web"})
}

func (w *world) status(t *testing.T, c qrlogin.Created) qrlogin.Status {
	t.Helper()
	v, err := w.Open(t.Context(), c.TicketID, c.DeviceCode)
	if err != nil {
		t.Fatal(err)
	}
	return v.Status
}

func want(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) || want == nil && got != nil {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestLoginFromCreateToTokens(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.create(t, qrlogin.Request{Facts: qrlogin.Facts{Browser: "Firefox", OS: "Linux", IP: "203.0.113.0/24"}})
		if c.Status != qrlogin.Pending || c.ExpiresIn != 180*time.Second || c.RotatesIn != 30*time.Second || !strings.HasPrefix(c.QRText, publicURL+"/s/") {
			t.Errorf("created %+v", c.View)
		}
		if strings.Contains(c.QRText, c.DeviceCode[len(c.TicketID)+1:]) {
			t.Error("the QR shows the browser's secret")
		}
		_, err := w.redeem(t, c)
		want(t, "redeem while pending", err, qrlogin.ErrAuthorizationPending)

		time.Sleep(7 * time.Second)
		f := w.scan(t, c, alice)
		if f.Status != qrlogin.Scanned || f.Age != 7*time.Second || f.Facts.Browser != "Firefox" || f.Client.Name != "login.example" || f.Seq <= c.Seq {
			t.Errorf("found %+v", f)
		}
		v, _ := w.Open(t.Context(), c.TicketID, c.DeviceCode)
		if v.User != "A***e" || v.QRText != "" || v.RotatesIn != 0 || v.ExpiresIn != 60*time.Second || v.Seq != f.Seq {
			t.Errorf("scanned view %+v", v)
		}
		want(t, "confirm", w.confirm(t, c.TicketID, f.ConfirmToken), nil)
		tokens, err := w.redeem(t, c)
		want(t, "redeem", err, nil)
		p, err := w.auth.Verify(t.Context(), tokens.Access)
		want(t, "verify", err, nil)
		if p.Sub != "demo:alice" || p.AMR[0] != "qr" || p.SID != tokens.SID {
			t.Errorf("principal %+v", p)
		}
		want(t, "confirm again", w.confirm(t, c.TicketID, f.ConfirmToken), nil)
	})
}

// A lost answer may be asked for again; later the same proofs are a theft.
func TestLateReplayEndsTheSession(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.confirmed(t, qrlogin.Request{})
		first, err := w.redeem(t, c)
		want(t, "redeem", err, nil)
		time.Sleep(10*time.Second - time.Millisecond)
		again, err := w.redeem(t, c)
		want(t, "redeem within the grace", err, nil)
		if again.SID != first.SID || again.Refresh != first.Refresh {
			t.Error("within the grace: another session")
		}
		_, err = w.Redeem(t.Context(), qrlogin.Redemption{DeviceCode: c.DeviceCode, ClientID: "device"})
		want(t, "another client", err, qrlogin.ErrInvalidGrant)
		time.Sleep(time.Millisecond)
		_, err = w.Redeem(t.Context(), qrlogin.Redemption{DeviceCode: c.DeviceCode, ClientID: "web", Verifier: strings.Repeat("v", 43)})
		want(t, "wrong proofs after the grace", err, qrlogin.ErrInvalidGrant)
		_, err = w.auth.Verify(t.Context(), again.Access)
		want(t, "wrong proofs change nothing", err, nil)
		_, err = w.redeem(t, c)
		want(t, "redeem after the grace", err, qrlogin.ErrInvalidGrant)
		_, err = w.auth.Verify(t.Context(), again.Access)
		want(t, "the session after a replay", err, auth.ErrInvalidToken)
	})
}

func TestStolenDeviceCodeNeedsTheVerifier(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		// RFC 7636 appendix B.
		const verifier, challenge = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
		c := w.confirmed(t, qrlogin.Request{Challenge: challenge, ChallengeMethod: "S256"})
		for _, guess := range []string{"", challenge, strings.Repeat("a", 43), verifier + "x", strings.Repeat("a", 200)} {
			_, err := w.Redeem(t.Context(), qrlogin.Redemption{DeviceCode: c.DeviceCode, ClientID: "web", Verifier: guess})
			want(t, "guess "+guess, err, qrlogin.ErrInvalidGrant)
		}
		_, err := w.Redeem(t.Context(), qrlogin.Redemption{DeviceCode: c.DeviceCode, ClientID: "web", Verifier: verifier})
		want(t, "the verifier", err, nil)
	})
}

func TestTicketIsForgottenAMinuteAfterItsEnd(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.create(t, qrlogin.Request{})
		time.Sleep(180*time.Second - time.Nanosecond)
		if got := w.status(t, c); got != qrlogin.Pending {
			t.Errorf("just before its deadline: %s", got)
		}
		time.Sleep(time.Nanosecond)
		v, err := w.Open(t.Context(), c.TicketID, c.DeviceCode)
		if err != nil || v.Status != qrlogin.Expired || v.Seq <= c.Seq || v.ExpiresIn != 0 || !v.Next.IsZero() {
			t.Errorf("at its deadline: %+v, %v", v, err)
		}
		_, err = w.Scan(t.Context(), qrlogin.Scan{QR: c.QRText}, alice)
		want(t, "scan of an expired ticket", err, qrlogin.ErrTicketExpired)
		time.Sleep(60 * time.Second)
		_, err = w.Open(t.Context(), c.TicketID, c.DeviceCode)
		want(t, "a minute later", err, qrlogin.ErrNotFound)
		_, err = w.redeem(t, c)
		want(t, "redeem a minute later", err, qrlogin.ErrInvalidGrant)
	})
}

func TestOldQRTextIsRefusedToStrangersOnly(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.create(t, qrlogin.Request{})
		time.Sleep(40*time.Second - time.Nanosecond)
		id, err := w.CheckQR(t.Context(), c.QRText)
		want(t, "check at the last moment", err, nil)
		if id != c.TicketID {
			t.Errorf("belongs to %q", id)
		}
		time.Sleep(time.Nanosecond)
		_, err = w.CheckQR(t.Context(), c.QRText)
		want(t, "check", err, qrlogin.ErrQRExpired)
		_, err = w.Scan(t.Context(), qrlogin.Scan{QR: c.QRText}, alice)
		want(t, "old text", err, qrlogin.ErrQRExpired)
		v, _ := w.Open(t.Context(), c.TicketID, c.DeviceCode)
		if v.QRText == c.QRText || v.Seq != c.Seq {
			t.Error("no new face, or a new face counted as a change")
		}
		_, err = w.Scan(t.Context(), qrlogin.Scan{QR: c.QRText, Proven: true}, alice)
		want(t, "old text opened in time", err, nil)
		time.Sleep(30 * time.Second)
		_, err = w.Scan(t.Context(), qrlogin.Scan{QR: c.QRText}, alice)
		want(t, "the scanner again", err, nil)
		_, err = w.Scan(t.Context(), qrlogin.Scan{QR: v.QRText, Proven: true}, bob)
		want(t, "somebody else", err, qrlogin.ErrAlreadyScanned)
	})
}

func TestScanningAgainKillsTheOldConfirmToken(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.create(t, qrlogin.Request{})
		old, live := w.scan(t, c, alice), w.scan(t, c, alice)
		if live.Seq <= old.Seq || live.ConfirmToken == old.ConfirmToken {
			t.Error("the second scan changed nothing")
		}
		want(t, "old token", w.confirm(t, c.TicketID, old.ConfirmToken), qrlogin.ErrInvalidConfirmToken)
		want(t, "live token", w.Deny(t.Context(), c.TicketID, live.ConfirmToken, alice, false), nil)
		want(t, "again", w.Deny(t.Context(), c.TicketID, live.ConfirmToken, alice, false), nil)
		want(t, "confirm after deny", w.confirm(t, c.TicketID, live.ConfirmToken), qrlogin.ErrInvalidState)
		v, _ := w.Open(t.Context(), c.TicketID, c.DeviceCode)
		if v.Status != qrlogin.Denied || v.Reason != qrlogin.ByUser || v.User != "" {
			t.Errorf("denied view %+v", v)
		}
	})
}

func TestUserCodeIsDeadFromTheFirstScan(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.create(t, qrlogin.Request{UserCode: true})
		typed := strings.ToLower(c.UserCode)
		_, err := w.Scan(t.Context(), qrlogin.Scan{UserCode: typed}, alice)
		want(t, "first", err, nil)
		for _, by := range []auth.Identity{alice, bob} {
			_, err = w.Scan(t.Context(), qrlogin.Scan{UserCode: typed}, by)
			want(t, "again", err, qrlogin.ErrNotFound)
		}
		_, err = w.Scan(t.Context(), qrlogin.Scan{UserCode: typed, Reload: true}, alice)
		want(t, "the scanner's page again", err, nil)
		_, err = w.Scan(t.Context(), qrlogin.Scan{UserCode: typed, Reload: true}, bob)
		want(t, "somebody else's page", err, qrlogin.ErrNotFound)
	})
}

func TestDeviceClientHearsOfAllDeadlinesAtOnce(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.create(t, qrlogin.Request{ClientID: "device", Device: true})
		if c.ExpiresIn != 300*time.Second || c.RotatesIn != 0 || c.UserCode == "" {
			t.Errorf("created %+v", c)
		}
		time.Sleep(179 * time.Second)
		w.scan(t, c, alice) // the text of the beginning
		v, _ := w.Open(t.Context(), c.TicketID, c.DeviceCode)
		if v.ExpiresIn != 120*time.Second {
			t.Errorf("scanned: expires in %s", v.ExpiresIn)
		}
		_, err := w.Create(t.Context(), qrlogin.Request{ClientID: "web", Device: true})
		want(t, "web", err, qrlogin.ErrUnauthorizedClient)
	})
}

func TestPollingAtTheIntervalIsNeverTooFast(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.create(t, qrlogin.Request{})
		for range 2 { // two polls per interval are always allowed
			_, err := w.redeem(t, c)
			want(t, "first polls", err, qrlogin.ErrAuthorizationPending)
		}
		for range 5 {
			_, err := w.redeem(t, c)
			want(t, "hammering", err, qrlogin.ErrSlowDown)
		}
		for range 10 {
			time.Sleep(qrlogin.Interval)
			_, err := w.redeem(t, c)
			want(t, "at the interval", err, qrlogin.ErrAuthorizationPending)
		}
	})
}

func TestSlowDownNeverWithholdsADecision(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.create(t, qrlogin.Request{})
		for range 5 {
			w.redeem(t, c)
		}
		f := w.scan(t, c, alice)
		want(t, "confirm", w.confirm(t, c.TicketID, f.ConfirmToken), nil)
		_, err := w.redeem(t, c)
		want(t, "redeem", err, nil)
	})
}

func TestScopes(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		for scope, wanted := range map[string]error{"": nil, "profile": nil, "phone": auth.ErrInvalidScope, "profile phone": auth.ErrInvalidScope, "admin": auth.ErrInvalidScope} {
			_, err := w.Create(t.Context(), qrlogin.Request{ClientID: "web", Scope: scope})
			want(t, "scope "+scope, err, wanted)
		}
		_, err := w.Create(t.Context(), qrlogin.Request{ClientID: "phone"})
		want(t, "the phone's own client", err, qrlogin.ErrUnauthorizedClient)
		_, err = w.Create(t.Context(), qrlogin.Request{ClientID: "nobody"})
		want(t, "unknown client", err, qrlogin.ErrInvalidClient)
	})
}

// What can't be a ticket id costs the store nothing.
func TestMalformedIDsNeverReachTheStore(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.create(t, qrlogin.Request{}) // the key is known from now on
		w.store.Close()                // every look-up would fail
		for _, id := range []string{"", "x", "../../etc/passwd", strings.Repeat("A", 21), strings.Repeat("A", 23), strings.Repeat("A", 10_000), strings.Repeat("é", 11), strings.Repeat("=", 22)} {
			ctx := context.Background()
			_, err := w.Open(ctx, id, "code")
			want(t, "open "+id, err, qrlogin.ErrNotFound)
			want(t, "cancel "+id, w.Cancel(ctx, id, "code"), qrlogin.ErrNotFound)
			_, err = w.Check(ctx, id, "code", "07")
			want(t, "check "+id, err, qrlogin.ErrNotFound)
			_, err = w.Confirm(ctx, id, "token", "", alice)
			want(t, "confirm "+id, err, qrlogin.ErrNotFound)
			_, err = w.Scan(ctx, qrlogin.Scan{QR: id}, alice)
			want(t, "scan "+id, err, qrlogin.ErrNotFound)
			_, err = w.Redeem(ctx, qrlogin.Redemption{DeviceCode: id, ClientID: "web"})
			want(t, "redeem "+id, err, qrlogin.ErrInvalidGrant)
		}
	})
}
