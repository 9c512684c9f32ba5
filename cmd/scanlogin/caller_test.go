package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// answer is what an API request came back with.
type answer struct {
	status int
	header http.Header
	body   map[string]any
	raw    string
	took   time.Duration
}

func (a answer) text(name string) string {
	s, _ := a.body[name].(string)
	return s
}

func (a answer) code() string {
	if code := a.text("code"); code != "" {
		return code
	}
	return a.text("error")
}

// caller sends API requests to one base URL.
type caller struct {
	t    testing.TB
	base string
	http *http.Client
}

func newCaller(t testing.TB, base string) *caller {
	transport := &http.Transport{MaxIdleConnsPerHost: 256}
	t.Cleanup(transport.CloseIdleConnections)
	return &caller{t: t, base: base, http: &http.Client{
		Timeout: 30 * time.Second, Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// try sends a request; body may be nil, url.Values (a form) or anything that
// is JSON.
func (c *caller) try(method, path, token string, body any) (answer, error) {
	var reader io.Reader
	var contentType string
	switch b := body.(type) {
	case nil:
	case url.Values:
		reader, contentType = strings.NewReader(b.Encode()), "application/x-www-form-urlencoded"
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			return answer{}, err
		}
		reader, contentType = bytes.NewReader(raw), "application/json"
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, reader)
	if err != nil {
		return answer{}, err
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	return c.send(request)
}

// send sends a request that was made by hand.
func (c *caller) send(request *http.Request) (answer, error) {
	begun := time.Now()
	response, err := c.http.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	a := answer{status: response.StatusCode, header: response.Header, raw: string(raw), took: time.Since(begun)}
	json.Unmarshal(raw, &a.body)
	return a, err
}

// do is try for requests that must be answered, with a status of want.
func (c *caller) do(want int, method, path, token string, body any) answer {
	c.t.Helper()
	a, err := c.try(method, path, token, body)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	if a.status != want {
		c.t.Fatalf("%s %s: status %d, want %d: %s", method, path, a.status, want, a.raw)
	}
	return a
}

// signIn makes a phone session and returns its access token.
func (c *caller) signIn(user string) string {
	c.t.Helper()
	return c.do(200, "POST", "/v1/signin/demo", "", map[string]string{"credential": user}).text("access_token")
}

// login is a ticket with both halves.
type login struct {
	id, deviceCode, qr, confirmToken string
}

func (c *caller) create() login {
	c.t.Helper()
	a := c.do(201, "POST", "/v1/tickets", "", nil)
	return login{id: a.text("ticket_id"), deviceCode: a.text("device_code"), qr: a.text("verification_uri_complete")}
}

func (c *caller) scan(l *login, phone string) {
	c.t.Helper()
	l.confirmToken = c.do(200, "POST", "/v1/scan", phone, map[string]string{"qr": l.qr}).text("confirm_token")
}

// confirm lets the browser in; where a check code is wanted, it is typed there.
func (c *caller) confirm(l login, phone string) {
	c.t.Helper()
	a := c.do(200, "POST", "/v1/tickets/"+l.id+"/confirm", phone, map[string]string{"confirm_token": l.confirmToken})
	if code := a.text("check_code"); code != "" {
		c.do(200, "POST", "/v1/tickets/"+l.id+"/check", l.deviceCode, map[string]string{"code": code})
	}
}

// redeemForm asks for the tokens of a ticket.
func redeemForm(l login) url.Values {
	return url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "client_id": {"web"}, "device_code": {l.deviceCode},
	}
}
