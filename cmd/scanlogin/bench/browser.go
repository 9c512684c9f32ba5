package bench

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/url"
	"time"
)

// Snapshot is what a browser is told of its ticket (CONTRACT 3.2), as far as a
// login needs it.
type Snapshot struct {
	Type      string `json:"type"`
	TicketID  string `json:"ticket_id"`
	Seq       uint64 `json:"seq"`
	Status    string `json:"status"`
	ExpiresIn int64  `json:"expires_in"` // seconds
	QR        string `json:"verification_uri_complete"`
}

// over says whether nothing comes after it: the watch ends with it.
func (s Snapshot) over() bool {
	switch s.Status {
	case "confirmed", "consumed", "denied", "canceled", "expired":
		return true
	}
	return false
}

// Browser is the device that wants to be signed in (CONTRACT 3). It has one ticket,
// and is for one goroutine, but Check and Redeem may be called beside Next.
type Browser struct {
	Person
	id, code, verifier string
	origin             string        // the public URL, which an instance wants in a handshake
	interval           time.Duration // between two polls for the tokens (RFC 8628)
	newest             *uint64       // the highest seq of the ticket so far; a copy of the browser shares it
	watch              watch
}

// watch is one of the three doors.
type watch interface {
	// next is the next snapshot, if it comes until then.
	next(until time.Time) (Snapshot, error)
	close()
}

// errForeign is what must never be: a browser is told of another one's ticket.
var errForeign = errors.New("bench: a snapshot of another ticket")

// errBack is a snapshot that is older than one before it.
var errBack = errors.New("bench: seq went back")

// Create takes a ticket, with PKCE (RFC 7636).
func (b *Browser) Create(ctx context.Context) (Snapshot, error) {
	b.Close()
	b.verifier = rand.Text() + rand.Text()
	challenge := sha256.Sum256([]byte(b.verifier))
	var ticket struct {
		Snapshot
		DeviceCode string `json:"device_code"`
		Interval   int64  `json:"interval"` // seconds
	}
	err := b.call(ctx, http.MethodPost, "/v1/tickets", "", map[string]string{
		"code_challenge": base64.RawURLEncoding.EncodeToString(challenge[:]), "code_challenge_method": "S256",
	}, &ticket)
	if err != nil {
		return Snapshot{}, err
	}
	public, err := url.Parse(ticket.QR)
	if err != nil {
		return Snapshot{}, err
	}
	b.id, b.code, b.origin = ticket.TicketID, ticket.DeviceCode, public.Scheme+"://"+public.Host
	b.interval, b.newest = time.Duration(ticket.Interval)*time.Second, new(ticket.Seq)
	return ticket.Snapshot, nil
}

// Watch opens one of the doors and waits for the first snapshot.
func (b *Browser) Watch(ctx context.Context, by Transport) (first Snapshot, err error) {
	b.Close()
	switch by {
	case SSE:
		b.watch, err = b.openStream(ctx)
	case Poll:
		b.watch = b.openPolls()
	default:
		b.watch, err = b.openSocket(ctx)
	}
	if err != nil {
		b.watch = nil
		return Snapshot{}, err
	}
	return b.Next(patience)
}

// Next is the next snapshot, if it comes in time.
func (b *Browser) Next(within time.Duration) (Snapshot, error) {
	if b.watch == nil {
		return Snapshot{}, io.EOF
	}
	snapshot, err := b.watch.next(time.Now().Add(within))
	switch {
	case err != nil:
	case snapshot.TicketID != b.id:
		err = errForeign
	case snapshot.Seq < *b.newest:
		err = errBack
	default:
		*b.newest = snapshot.Seq
	}
	return snapshot, err
}

// Check sends the code that the phone shows.
func (b *Browser) Check(ctx context.Context, code string) error {
	return b.call(ctx, http.MethodPost, "/v1/tickets/"+b.id+"/check", b.code, map[string]string{"code": code}, nil)
}

// Redeem asks for the tokens.
func (b *Browser) Redeem(ctx context.Context) (tokens Tokens, err error) {
	err = b.call(ctx, http.MethodPost, "/oauth/token", "", url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "client_id": {"web"},
		"device_code": {b.code}, "code_verifier": {b.verifier},
	}, &tokens)
	if err == nil {
		err = tokens.open()
	}
	return tokens, err
}

// Close ends the watch. A ticket that is left alone expires.
func (b *Browser) Close() {
	if b.watch != nil {
		b.watch.close()
		b.watch = nil
	}
}
