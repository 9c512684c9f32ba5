package bench

import (
	"context"
	"net/http"
	"time"
)

// Phone is the device that is signed in already and decides (CONTRACT 4).
type Phone struct {
	Person
	Account string // a demo user
	token   string
	renew   time.Time // half of the token's life
}

// Scanned is what scanning gives.
type Scanned struct {
	TicketID     string `json:"ticket_id"`
	ConfirmToken string `json:"confirm_token"`
}

// Sub is who the phone is, as tokens say it.
func (p *Phone) Sub() string { return "demo:" + p.Account }

// SignIn makes a phone session, unless there is one with a token that is still good
// for a while.
func (p *Phone) SignIn(ctx context.Context) error {
	if time.Now().Before(p.renew) {
		return nil
	}
	var tokens Tokens
	err := p.call(ctx, http.MethodPost, "/v1/signin/demo", "", map[string]string{"credential": p.Account}, &tokens)
	if err == nil {
		p.token, p.renew = tokens.Access, time.Now().Add(time.Duration(tokens.ExpiresIn)*time.Second/2)
	}
	return err
}

// Scan shows the server what the camera saw.
func (p *Phone) Scan(ctx context.Context, qr string) (scanned Scanned, err error) {
	err = p.call(ctx, http.MethodPost, "/v1/scan", p.token, map[string]string{"qr": qr}, &scanned)
	return scanned, err
}

// Confirm lets the browser in, or gives the check code that the browser has to send
// first.
func (p *Phone) Confirm(ctx context.Context, scanned Scanned) (checkCode string, err error) {
	var answer struct {
		CheckCode string `json:"check_code"`
	}
	body := map[string]string{"confirm_token": scanned.ConfirmToken}
	err = p.call(ctx, http.MethodPost, "/v1/tickets/"+scanned.TicketID+"/confirm", p.token, body, &answer)
	return answer.CheckCode, err
}
