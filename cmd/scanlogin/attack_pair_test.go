package main

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// The attack tests run over the wire against two instances on one Redis. Whoever
// attacks asks them in turn: what one has refused, the other must not grant.

// pair is the two instances, and a caller of each.
type pair struct {
	t     *testing.T
	all   []*server
	redis *redisServer
	api   []*caller
	turns atomic.Int64
}

// startPair starts both without limits; extra settings come last and win.
func startPair(t *testing.T, extra ...string) *pair {
	t.Helper()
	p := &pair{t: t}
	p.all, p.redis = instances(t, 2, append([]string{"SCANLOGIN_LIMITS=off"}, extra...)...)
	for _, s := range p.all {
		p.api = append(p.api, newCaller(t, s.url))
	}
	return p
}

// publicURL is what startPair's instances take for their own name.
const publicURL = "http://login.example"

// turn is a caller of the instance whose turn it is.
func (p *pair) turn() *caller { return p.api[p.turns.Add(1)%2] }

// both sends a request to each instance and wants the same answer from both. It is a
// JSON body unless the headers, which come in pairs, say otherwise.
func (p *pair) both(what string, status int, code, method, path, body string, headers ...string) (a answer) {
	p.t.Helper()
	for i, api := range p.api {
		a = api.raw(method, path, body, headers...)
		if a.status != status || a.code() != code {
			p.t.Errorf("%s: instance %d: %s %.60s: %d %s, want %d %s", what, i, method, path, a.status, a.raw, status, code)
		}
	}
	return a
}

// raw sends a body as it is. A header that is there twice is sent twice.
func (c *caller) raw(method, path, body string, headers ...string) answer {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.base+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		switch name, value := headers[i], headers[i+1]; name {
		case "Host":
			r.Host = value
		case "Content-Type":
			r.Header.Set(name, value)
		default:
			r.Header.Add(name, value)
		}
	}
	a, err := c.send(r)
	if err != nil {
		c.t.Fatalf("%s %.80s: %v", method, path, err)
	}
	return a
}

// bearerOf is the header for a token.
func bearerOf(token string) []string { return []string{"Authorization", "Bearer " + token} }

const formKind = "application/x-www-form-urlencoded"

// snapshot is what the browser of a login sees; it changes nothing.
func (c *caller) snapshot(l login) answer {
	c.t.Helper()
	return c.do(200, "GET", "/v1/tickets/"+l.id, l.deviceCode, nil)
}

// untouched runs an attack and sees that the ticket is what it was before.
func (p *pair) untouched(l login, attack func()) {
	p.t.Helper()
	before := p.api[0].snapshot(l)
	attack()
	for i, api := range p.api {
		after := api.snapshot(l)
		if after.text("status") != before.text("status") || after.body["seq"] != before.body["seq"] {
			p.t.Errorf("instance %d: the ticket was %s %v and is %s %v", i, before.text("status"), before.body["seq"], after.text("status"), after.body["seq"])
		}
	}
}

// decision is a body for confirm and deny.
func (l login) decision() map[string]string {
	return map[string]string{"confirm_token": l.confirmToken}
}

// wants sends a request to the instance whose turn it is.
func (p *pair) wants(what string, status int, code, method, path, token string, body any) answer {
	p.t.Helper()
	a, err := p.turn().try(method, path, token, body)
	if err != nil || a.status != status || a.code() != code {
		p.t.Errorf("%s: %s %s: %d %s, %v; want %d %s", what, method, path, a.status, a.raw, err, status, code)
	}
	return a
}

// upgrade opens a WebSocket as a page of an origin does, and offers compression.
func (c *caller) upgrade(path, origin string) (*websocket.Conn, *http.Response, error) {
	c.t.Helper()
	header := http.Header{}
	if origin != "" {
		header.Set("Origin", origin)
	}
	dialer := websocket.Dialer{HandshakeTimeout: 5 * time.Second, Subprotocols: []string{"scanlogin.v1"}, EnableCompression: true}
	conn, response, err := dialer.Dial("ws"+strings.TrimPrefix(c.base, "http")+path, header)
	if conn != nil {
		c.t.Cleanup(func() { conn.Close() })
		conn.SetReadDeadline(time.Now().Add(15 * time.Second))
	}
	return conn, response, err
}

// asJSON is a value as a JSON body.
func asJSON(t testing.TB, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// socketEnd is how a ticket's socket ends for who shows this device_code.
func (p *pair) socketEnd(id, deviceCode string) int {
	p.t.Helper()
	conn, _, err := p.turn().upgrade("/v1/tickets/"+id+"/ws", publicURL)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := conn.WriteJSON(map[string]string{"type": "watch", "device_code": deviceCode}); err != nil {
		p.t.Fatal(err)
	}
	return ends(p.t, conn)
}

// chosen is a snapshot without what is random in it, which could say anything.
func (p *pair) chosen(snapshot string) string {
	p.t.Helper()
	var members map[string]any
	if err := json.Unmarshal([]byte(snapshot), &members); err != nil {
		p.t.Fatal(err)
	}
	for _, random := range []string{"ticket_id", "qr_image", "verification_uri_complete"} {
		delete(members, random)
	}
	return asJSON(p.t, members)
}

// bodyOf is a body that can be sent again.
func bodyOf(text string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }
}

// decoded is base64url without padding.
func decoded(t testing.TB, text string) []byte {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
