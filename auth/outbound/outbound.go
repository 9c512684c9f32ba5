package outbound

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

var (
	// ErrUnavailable is an upstream that gave no answer that is of use.
	ErrUnavailable = errors.New("outbound: no useful answer")
	// ErrAgain is Judge's word for an answer which says that nothing was done:
	// the same call may be made again. It is an ErrUnavailable too.
	ErrAgain = fmt.Errorf("%w, but it may be asked again", ErrUnavailable)
	// ErrNotAllowed is an address that this client does not go to.
	ErrNotAllowed = errors.New("outbound: address is not allowed")
)

// places is how many calls of one upstream may be under way at once.
const places = 64

// Config of a Client; the zero value of a field is the default named there.
type Config struct {
	// Hosts are where calls may go: "host" (port 443) or "host:port".
	Hosts   []string
	Timeout time.Duration // of a call with its repeat: 3 seconds
	Most    int64         // of a body, in bytes: 64 KB
	Observe func(name string, d time.Duration, err error)
	Logger  *slog.Logger // none
}

// Client makes calls. Its methods may be called from many goroutines.
type Client struct {
	config Config
	hosts  map[string]bool
	http   *http.Client

	mu        sync.Mutex
	upstreams map[string]*upstream
}

// New makes a client.
func New(c Config) *Client {
	c.Timeout = cmp.Or(c.Timeout, 3*time.Second)
	c.Most = cmp.Or(c.Most, 64<<10)
	if c.Observe == nil {
		c.Observe = func(string, time.Duration, error) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	client := &Client{
		config: c,
		hosts:  map[string]bool{},
		http: &http.Client{
			Transport: &http.Transport{
				Proxy:                  nil, // not the environment's: see doc.go
				DialContext:            (&net.Dialer{}).DialContext,
				DisableKeepAlives:      true, // net/http repeats calls on kept connections
				TLSClientConfig:        &tls.Config{ClientSessionCache: tls.NewLRUClientSessionCache(0)},
				MaxResponseHeaderBytes: 16 << 10,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		upstreams: map[string]*upstream{},
	}
	for _, host := range c.Hosts {
		if u, err := url.Parse("https://" + host); err == nil { // what cannot be read allows nothing
			client.hosts[endpoint(u)] = true
		}
	}
	return client
}

// Call is one question to an upstream.
type Call struct {
	Name string // of the upstream, one of a few: for its breaker, metrics and logs
	URL  string
	JSON []byte // what is posted; nil: a GET
	// Judge says what a body tells of the upstream, not of whoever signs in: nil
	// for an answer, ErrUnavailable for none, ErrAgain. nil: all are answers. It
	// may be called twice; the last body is the one that Do gives.
	Judge func(body []byte) error
}

// Get is Do of a plain GET.
func (c *Client) Get(ctx context.Context, name, url string) ([]byte, error) {
	return c.Do(ctx, Call{Name: name, URL: url})
}

// Do makes a call and gives the body of the answer, which had status 200.
// ErrUnavailable for whatever else became of it, ErrNotAllowed before it was
// made, and the context's own error when the caller has left.
func (c *Client) Do(ctx context.Context, call Call) (body []byte, err error) {
	u, err := url.Parse(call.URL)
	if err != nil { // its text is the address
		return nil, fmt.Errorf("%w: %s: it cannot be read", ErrNotAllowed, call.Name)
	}
	if err := c.allowed(u); err != nil {
		return nil, err
	}
	began := time.Now()
	defer func() { c.config.Observe(call.Name, time.Since(began), err) }()
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	return c.upstream(call.Name).do(ctx, func() ([]byte, error) {
		body, err := c.try(ctx, call, u)
		if err == nil && call.Judge != nil {
			err = call.Judge(body)
		}
		if err != nil {
			err = fmt.Errorf("%s%s: %w", u.Host, u.Path, err)
		}
		return body, err
	})
}

// allowed refuses what is not on the list, and anything in clear that leaves
// this machine.
func (c *Client) allowed(u *url.URL) error {
	switch {
	case !c.hosts[endpoint(u)]:
		return fmt.Errorf("%w: %s is not one of the hosts", ErrNotAllowed, u.Host)
	case u.User != nil:
		return fmt.Errorf("%w: %s with a user name", ErrNotAllowed, u.Host)
	case u.Scheme != "https" && !(u.Scheme == "http" && loopback(u.Hostname())):
		return fmt.Errorf("%w: %s is not asked by https", ErrNotAllowed, u.Host)
	}
	return nil
}

// endpoint is host and port.
func endpoint(u *url.URL) string {
	standard := "443"
	if u.Scheme == "http" {
		standard = "80"
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), cmp.Or(u.Port(), standard))
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// try makes the call once.
func (c *Client) try(ctx context.Context, call Call, u *url.URL) ([]byte, error) {
	method := http.MethodGet
	if call.JSON != nil {
		method = http.MethodPost
	}
	r, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(call.JSON))
	if err != nil { // its text may hold the address
		return nil, fmt.Errorf("%w: the address cannot be asked", ErrUnavailable)
	}
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "scanlogin")
	if call.JSON != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return nil, plain(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%w: status %d", ErrUnavailable, answer.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, c.config.Most+1))
	switch {
	case err != nil:
		return nil, plain(err)
	case int64(len(body)) > c.config.Most:
		return nil, fmt.Errorf("%w: more than %d bytes", ErrUnavailable, c.config.Most)
	}
	return body, nil
}

// plain is a failed call in words that hold no address beyond host and port,
// and nothing that the upstream sent.
func plain(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) { // prints the whole URL
		err = wrapped.Err
	}
	var timeout net.Error
	var network *net.OpError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("%w: none in time", ErrUnavailable)
	case errors.As(err, &network):
		return fmt.Errorf("%w: %s", ErrUnavailable, network)
	case errors.As(err, &certificate):
		return fmt.Errorf("%w: %s", ErrUnavailable, certificate)
	}
	return fmt.Errorf("%w: the connection broke", ErrUnavailable)
}
