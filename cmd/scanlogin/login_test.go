package main

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/oauth2"
)

// claim reads one claim of a token that the server itself just gave us.
func claim(t testing.TB, token, name string) any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("not a JWT: %q", token)
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	claims := map[string]any{}
	if err := json.Unmarshal(raw, &claims); err != nil {
		t.Fatal(err)
	}
	return claims[name]
}

// Both halves of 64 requests race for one ticket on two instances.
func TestParallelRedemptionsAreOneSession(t *testing.T) {
	c := startCluster(t, 2)
	phone := newCaller(t, c.url)
	token := phone.signIn("alice")
	l := phone.create()
	phone.scan(&l, token)
	phone.confirm(l, token)

	answers := make([]answer, 64)
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for i := range answers {
		caller := newCaller(t, c.instances[i%2].url)
		wg.Go(func() {
			<-begin
			a, err := caller.try("POST", "/oauth/token", "", redeemForm(l))
			if err != nil {
				t.Error(err)
			}
			answers[i] = a
		})
	}
	close(begin)
	wg.Wait()
	if t.Failed() {
		return
	}
	sid, refresh := claim(t, answers[0].text("access_token"), "sid"), answers[0].text("refresh_token")
	for i, a := range answers {
		if a.status != 200 {
			t.Fatalf("request %d: %d %s", i, a.status, a.raw)
		}
		if got := claim(t, a.text("access_token"), "sid"); got != sid || a.text("refresh_token") != refresh {
			t.Fatalf("request %d: another session", i)
		}
	}
	for i, a := range answers {
		who := newCaller(t, c.instances[(i+1)%2].url).do(200, "GET", "/oauth/userinfo", a.text("access_token"), nil)
		if who.text("sub") != "demo:alice" {
			t.Fatalf("sub = %q", who.text("sub"))
		}
	}
	next := phone.do(200, "POST", "/oauth/token", "", url.Values{"grant_type": {"refresh_token"}, "client_id": {"web"}, "refresh_token": {refresh}})
	if claim(t, next.text("access_token"), "sid") != sid {
		t.Fatal("the refreshed session is another one")
	}
}

// A photograph of the QR holds qr_token and ticket_id; no door opens to it.
func TestPhotographOfTheQROpensNothing(t *testing.T) {
	c := startCluster(t, 2)
	api := newCaller(t, c.url)
	token := api.signIn("alice")
	l := api.create()
	qrToken := l.qr[strings.LastIndex(l.qr, "/")+1:]
	guesses := []string{l.id, qrToken, l.id + "." + qrToken, l.id + "." + strings.Repeat("A", 43)}
	attack := func(when string) {
		t.Helper()
		for _, guess := range guesses {
			for _, path := range []string{"/v1/tickets/" + l.id, "/v1/tickets/" + l.id + "/events", "/v1/tickets/" + l.id + "/qr.png", "/v1/tickets/" + l.id + "/qr.svg"} {
				if a := api.do(401, "GET", path, guess, nil); a.code() != "invalid_device_code" {
					t.Errorf("%s: GET %s: %s", when, path, a.raw)
				}
			}
			api.do(401, "DELETE", "/v1/tickets/"+l.id, guess, nil)
			stolen := l
			stolen.deviceCode = guess
			if a := api.do(400, "POST", "/oauth/token", "", redeemForm(stolen)); a.code() != "invalid_grant" {
				t.Errorf("%s: token: %s", when, a.raw)
			}
			if code := closeCode(t, c.url, l.id, guess); code != 4401 {
				t.Errorf("%s: socket closed with %d", when, code)
			}
			// The phone's half is not in the picture either.
			if a, _ := api.try("POST", "/v1/tickets/"+l.id+"/confirm", token, map[string]string{"confirm_token": guess}); a.status < 400 {
				t.Errorf("%s: confirmed with %q", when, guess)
			}
		}
	}
	attack("pending")
	api.scan(&l, token)
	attack("scanned")
	api.confirm(l, token)
	attack("confirmed")
	if a := api.do(200, "POST", "/oauth/token", "", redeemForm(l)); a.text("access_token") == "" {
		t.Fatal("the browser itself got nothing")
	}
	attack("consumed")
}

// The RFC 8628 door, opened by a client library that nobody here wrote.
func TestStandardClientSignsIn(t *testing.T) {
	c := startCluster(t, 2)
	api := newCaller(t, c.url)
	phone := api.signIn("alice")
	config := oauth2.Config{ClientID: "device", Scopes: []string{"profile"}, Endpoint: oauth2.Endpoint{
		DeviceAuthURL: c.url + "/oauth/device_authorization", TokenURL: c.url + "/oauth/token",
	}}
	for name, test := range map[string]struct{ pkce, typed bool }{
		"qr": {}, "qr with PKCE": {pkce: true}, "typed code": {typed: true}, "typed code with PKCE": {pkce: true, typed: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var ask, redeem []oauth2.AuthCodeOption
			if test.pkce {
				verifier := oauth2.GenerateVerifier()
				ask, redeem = append(ask, oauth2.S256ChallengeOption(verifier)), append(redeem, oauth2.VerifierOption(verifier))
			}
			device, err := config.DeviceAuth(t.Context(), ask...)
			if err != nil {
				t.Fatal(err)
			}
			if device.VerificationURI != c.url+"/s" || device.Interval != 5 || time.Until(device.Expiry) < 290*time.Second {
				t.Errorf("device authorization: %+v", device)
			}
			proof := map[string]string{"qr": device.VerificationURIComplete}
			if test.typed {
				proof = map[string]string{"user_code": strings.ToLower(strings.ReplaceAll(device.UserCode, "-", " "))}
			}
			found := api.do(200, "POST", "/v1/scan", phone, proof)
			api.do(200, "POST", "/v1/tickets/"+found.text("ticket_id")+"/confirm", phone, map[string]string{"confirm_token": found.text("confirm_token")})
			token, err := config.DeviceAccessToken(t.Context(), device, redeem...)
			if err != nil {
				t.Fatal(err)
			}
			if sub := claim(t, token.AccessToken, "sub"); sub != "demo:alice" {
				t.Errorf("sub = %v", sub)
			}
			first := token.RefreshToken
			token.Expiry = time.Now().Add(-time.Minute)
			next, err := config.TokenSource(t.Context(), token).Token()
			if err != nil {
				t.Fatal(err)
			}
			if next.RefreshToken == first || next.RefreshToken == "" {
				t.Error("the refresh token did not rotate")
			}
			api.do(200, "GET", "/oauth/userinfo", next.AccessToken, nil)
		})
	}
}
