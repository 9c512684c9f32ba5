package qrlogin_test

import (
	"context"
	"testing"
	"time"

	"scanlogin/auth"
	"scanlogin/qrlogin"
)

// awaySessions is a store of sessions that is away for a while.
type awaySessions struct {
	*auth.Service
	away bool
}

func (a *awaySessions) Issue(ctx context.Context, g auth.Grant) (auth.Tokens, error) {
	if a.away {
		return auth.Tokens{}, context.DeadlineExceeded
	}
	return a.Service.Issue(ctx, g)
}

// The store goes away between the two writes of a redemption, for longer than
// the grace: the browser keeps asking and loses nothing.
func TestOutageBetweenTheTwoWritesLosesNoLogin(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		sessions := &awaySessions{Service: w.auth}
		w.Service = qrlogin.New(w.store, sessions, qrlogin.Config{PublicURL: publicURL, Clients: auth.Clients(publicURL)})
		c := w.confirmed(t, qrlogin.Request{})
		sessions.away = true
		for range 5 {
			_, err := w.redeem(t, c)
			want(t, "while it is away", err, context.DeadlineExceeded)
			time.Sleep(5 * time.Second)
		}
		sessions.away = false
		first, err := w.redeem(t, c)
		want(t, "when it is back", err, nil)
		time.Sleep(9 * time.Second)
		again, err := w.redeem(t, c)
		want(t, "a lost answer after that", err, nil)
		if again.SID != first.SID || again.Refresh != first.Refresh {
			t.Error("another session")
		}
		_, err = w.auth.Verify(t.Context(), again.Access)
		want(t, "the session", err, nil)
		time.Sleep(time.Second)
		_, err = w.redeem(t, c)
		want(t, "after the grace", err, qrlogin.ErrInvalidGrant)
		_, err = w.auth.Verify(t.Context(), again.Access)
		want(t, "the session after a replay", err, auth.ErrInvalidToken)
	})
}

// A long grace lets the browser ask again; the ticket itself is unknown after
// its minute like any other.
func TestLongGraceKeepsNoTicketAlive(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		clients := auth.Clients(publicURL)
		sessions := auth.New(w.store, auth.Config{Issuer: publicURL, Clients: clients, Grace: time.Hour})
		w.Service = qrlogin.New(w.store, sessions, qrlogin.Config{PublicURL: publicURL, Clients: clients, Grace: time.Hour})
		c := w.confirmed(t, qrlogin.Request{})
		first, err := w.redeem(t, c)
		want(t, "redeem", err, nil)
		time.Sleep(60 * time.Second)
		_, err = w.Open(t.Context(), c.TicketID, c.DeviceCode)
		want(t, "open", err, qrlogin.ErrNotFound)
		want(t, "cancel", w.Cancel(t.Context(), c.TicketID, c.DeviceCode), qrlogin.ErrNotFound)
		time.Sleep(50 * time.Minute)
		again, err := w.redeem(t, c)
		want(t, "redeem again", err, nil)
		if again.Refresh != first.Refresh {
			t.Error("another session")
		}
	})
}
