package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"scanlogin/cmd/scanlogin/bench"
)

// device is a browser's part of RFC 8628: it polls, at the interval that the
// server names.
type device struct {
	client   *http.Client
	url      string
	QR       string `json:"verification_uri_complete"`
	Code     string `json:"device_code"`
	Interval int    `json:"interval"` // seconds
}

// viaPolling is the mean time from confirm to tokens, in milliseconds, of n
// logins at once whose devices poll; their people confirm at any moment of the
// interval.
func viaPolling(ctx context.Context, url string, n int) (float64, error) {
	client := bench.NewClient()
	defer client.CloseIdleConnections()
	logins := make(chan outcome)
	for i := range n {
		phone := &bench.Phone{Person: bench.Person{HTTP: client, Server: url, Address: bench.Address(i)}, Account: account(i % phones)}
		go func() {
			took, err := (&device{client: client, url: url}).login(ctx, phone)
			logins <- outcome{took, err}
		}()
	}
	var sum time.Duration
	var failed error
	for range n {
		one := <-logins
		sum += one.took
		failed = errors.Join(failed, one.err)
	}
	return sum.Seconds() * 1000 / float64(n), failed
}

// outcome is how long something took.
type outcome struct {
	took time.Duration
	err  error
}

func (d *device) login(ctx context.Context, phone *bench.Phone) (time.Duration, error) {
	if err := d.post(ctx, "/oauth/device_authorization", url.Values{"client_id": {"device"}}, d); err != nil {
		return 0, err
	}
	interval := time.Duration(d.Interval) * time.Second
	start := time.Now()
	polled := make(chan outcome, 1)
	go func() {
		err := d.poll(ctx, interval)
		polled <- outcome{time.Since(start), err}
	}()
	err := phone.SignIn(ctx)
	var scanned bench.Scanned
	if err == nil {
		scanned, err = phone.Scan(ctx, d.QR)
	}
	select {
	case <-time.After(rand.N(interval)):
	case <-ctx.Done():
	}
	confirm := time.Since(start)
	if err == nil {
		_, err = phone.Confirm(ctx, scanned)
	}
	tokens := <-polled
	return tokens.took - confirm, errors.Join(err, tokens.err)
}

// poll asks until there are tokens, for four intervals at the most.
func (d *device) poll(ctx context.Context, interval time.Duration) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	err := errPending
	for i := 0; i < 4 && errors.Is(err, errPending); i++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		err = d.post(ctx, "/oauth/token", url.Values{
			"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "client_id": {"device"}, "device_code": {d.Code},
		}, &struct{}{})
	}
	return err
}

var errPending = errors.New("authorization_pending")

func (d *device) post(ctx context.Context, path string, form url.Values, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, d.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := d.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK {
		return json.NewDecoder(response.Body).Decode(answer)
	}
	var refusal struct{ Error string }
	if err := json.NewDecoder(response.Body).Decode(&refusal); err == nil && refusal.Error == errPending.Error() {
		return errPending
	}
	return fmt.Errorf("%s: %d %s", path, response.StatusCode, refusal.Error)
}
