package bench

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

// patience is how long anybody waits for one answer. A server answers within 1 s
// also when its store is away (CONTRACT 2), so this is a machine that has too much
// to do, or a lost answer.
const patience = 5 * time.Second

// NewClient is how everybody in one process reaches the servers: connections are
// kept, as those of a reverse proxy are.
func NewClient() *http.Client {
	return &http.Client{Transport: &http.Transport{
		Proxy: nil, MaxIdleConnsPerHost: 4096, DisableCompression: true,
		IdleConnTimeout: 60 * time.Second, // less than the server's, so that it never closes one that is just being used
		ReadBufferSize:  2048, WriteBufferSize: 1024,
	}}
}

// Person is who sends requests: to one instance, from one address.
type Person struct {
	HTTP    *http.Client
	Server  string     // URL of the instance
	Address netip.Addr // sent as X-Forwarded-For; a server that does not trust loopback ignores it
}

// Address is one of 16 million addresses in 65,536 networks (/24, what limits count
// by); neighbours in i are in different networks.
func Address(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), byte(1 + i>>16%254)})
}

// Refusal is an answer that says no.
type Refusal struct {
	Status int
	Code   string // of the contract; "" when the body had none
}

func (r *Refusal) Error() string { return fmt.Sprintf("bench: status %d, %s", r.Status, codeOf(r)) }

// call makes a request and reads its JSON answer (nil: none is wanted). Form values
// are sent as a form, anything else as JSON. A *Refusal is the server's own no.
func (p Person) call(ctx context.Context, method, path, bearer string, body, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	request, err := p.request(ctx, method, path, bearer, body)
	if err != nil {
		return err
	}
	response, err := p.HTTP.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	return read(response, answer)
}

// read takes the answer of a request, or what it was refused with.
func read(response *http.Response, answer any) error {
	content, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return err
	}
	if response.StatusCode >= 400 {
		no := struct{ Code, Error string }{}
		json.Unmarshal(content, &no) // a proxy's answer has no code
		return &Refusal{Status: response.StatusCode, Code: no.Code + no.Error}
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(content, answer)
}

func (p Person) request(ctx context.Context, method, path, bearer string, body any) (*http.Request, error) {
	var reader io.Reader
	kind := "application/json"
	switch body := body.(type) {
	case nil:
	case url.Values:
		reader, kind = strings.NewReader(body.Encode()), "application/x-www-form-urlencoded"
	default:
		content, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		reader = strings.NewReader(string(content))
	}
	request, err := http.NewRequestWithContext(ctx, method, p.Server+path, reader)
	if err != nil {
		return nil, err
	}
	if body != nil {
		request.Header.Set("Content-Type", kind)
	}
	if bearer != "" {
		request.Header.Set("Authorization", "Bearer "+bearer)
	}
	request.Header.Set("X-Forwarded-For", p.Address.String())
	return request, nil
}

// Tokens is a token answer (CONTRACT 6) with what its access token says.
type Tokens struct {
	Access    string `json:"access_token"`
	Refresh   string `json:"refresh_token"`
	ExpiresIn int64  `json:"expires_in"` // seconds
	Sub       string `json:"-"`
	Sid       string `json:"-"`
}

// open reads sub and sid. The signature is not checked: who gave the token is known.
func (t *Tokens) open() error {
	_, rest, _ := strings.Cut(t.Access, ".")
	payload, _, signed := strings.Cut(rest, ".")
	content, err := base64.RawURLEncoding.DecodeString(payload)
	claims := struct{ Sub, Sid string }{}
	if err == nil {
		err = json.Unmarshal(content, &claims)
	}
	if err != nil || !signed || claims.Sub == "" || claims.Sid == "" {
		return errors.New("bench: the access token is no JWT with sub and sid")
	}
	t.Sub, t.Sid = claims.Sub, claims.Sid
	return nil
}

// codeOf is an error in a word: the contract's code, the close code of a socket, or
// what happened to the connection.
func codeOf(err error) string {
	var network net.Error
	if no, ok := errors.AsType[*Refusal](err); ok {
		if no.Code == "" {
			return fmt.Sprint(no.Status)
		}
		return no.Code
	}
	if closed, ok := errors.AsType[*websocket.CloseError](err); ok {
		return fmt.Sprint(closed.Code)
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return "timeout"
	case errors.As(err, &network), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, websocket.ErrBadHandshake):
		return "connection"
	case errors.Is(err, errForeign):
		return "foreign_ticket"
	case errors.Is(err, errBack):
		return "seq went back"
	}
	return "unreadable"
}
