package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

func refreshForm(token string) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "client_id": {"web"}, "refresh_token": {token}}
}

// Every setting reaches the part that it is for.
func TestSettingsReachTheirParts(t *testing.T) {
	redis := startRedis(t)
	public := "https://login.example"
	s := startServer(t, serveEnv(public, "SCANLOGIN_REDIS_URL="+redis.url(), "SCANLOGIN_REDIS_PREFIX=mine:",
		"SCANLOGIN_TICKET_TTL=50s", "SCANLOGIN_CONFIRM_TTL=40s", "SCANLOGIN_REDEEM_TTL=30s", "SCANLOGIN_QR_ROTATE=20s",
		"SCANLOGIN_ACCESS_TTL=45s", "SCANLOGIN_HEARTBEAT=1s", "SCANLOGIN_TRUSTED_PROXIES=127.0.0.0/8",
		"SCANLOGIN_ORIGINS=https://shop.example", "SCANLOGIN_REFRESH_GRACE=1s", "SCANLOGIN_REFRESH_IDLE=3s")).ready(t)
	api := newCaller(t, s.url)
	number := func(a answer, name string) float64 { n, _ := a.body[name].(float64); return n }

	phone := api.do(200, "POST", "/v1/signin/demo", "", map[string]string{"credential": "alice"})
	if number(phone, "expires_in") > 3 { // no token outlives its session
		t.Errorf("refresh_idle: a token for %v s", phone.body["expires_in"])
	}
	token := phone.text("access_token")

	request, _ := http.NewRequest("POST", s.url+"/v1/tickets", nil)
	request.Header.Set("X-Forwarded-For", "198.51.100.7")
	request.Header.Set("Origin", "https://shop.example")
	made, err := api.send(request)
	if err != nil || made.status != 201 || made.header.Get("Access-Control-Allow-Origin") != "https://shop.example" {
		t.Fatalf("origins: %v %d %s", err, made.status, made.raw)
	}
	if number(made, "expires_in") != 50 || number(made, "rotates_in") != 20 || !strings.HasPrefix(made.text("verification_uri_complete"), public+"/s/") {
		t.Errorf("ticket_ttl, qr_rotate, public_url: %s", made.raw)
	}
	l := login{id: made.text("ticket_id"), deviceCode: made.text("device_code"), qr: made.text("verification_uri_complete")}
	found := api.do(200, "POST", "/v1/scan", token, map[string]string{"qr": l.qr})
	if facts, _ := found.body["facts"].(map[string]any); number(found, "expires_in") != 40 || facts["ip"] != "198.51.100.0/24" {
		t.Errorf("confirm_ttl, trusted_proxies: %s", found.raw)
	}
	l.confirmToken = found.text("confirm_token")
	api.confirm(l, token)
	if a := api.do(200, "GET", "/v1/tickets/"+l.id, l.deviceCode, nil); number(a, "expires_in") != 30 {
		t.Errorf("redeem_ttl: %s", a.raw)
	}
	first := api.do(200, "POST", "/oauth/token", "", redeemForm(l))
	second := api.do(200, "POST", "/oauth/token", "", refreshForm(first.text("refresh_token")))
	eventually(t, 5*time.Second, "refresh_grace ends", func() bool {
		a, err := api.try("POST", "/oauth/token", "", refreshForm(first.text("refresh_token")))
		return err == nil && a.code() == "invalid_grant"
	})
	eventually(t, 6*time.Second, "refresh_idle ends the session", func() bool {
		a, err := api.try("POST", "/oauth/token", "", refreshForm(second.text("refresh_token")))
		return err == nil && a.code() == "invalid_grant"
	})
	heartbeat(t, s.url, public, api.create())
	for _, key := range redis.keys(t) {
		if !strings.HasPrefix(key, "mine:") {
			t.Errorf("redis_prefix: there is a key %q", key)
		}
	}
}

// heartbeat waits for the ping that heartbeat=1s promises.
func heartbeat(t *testing.T, base, origin string, l login) {
	t.Helper()
	w, err := watch(base, origin, l)
	if err != nil {
		t.Fatal(err)
	}
	defer w.conn.Close()
	pings := make(chan struct{}, 1)
	w.conn.SetPingHandler(func(string) error {
		select {
		case pings <- struct{}{}:
		default:
		}
		return nil
	})
	go w.until("never", 5*time.Second)
	select {
	case <-pings:
	case <-time.After(3 * time.Second):
		t.Error("heartbeat: no ping")
	}
}

// keys are the names in the store.
func (r *redisServer) keys(t *testing.T) (keys []string) {
	t.Helper()
	c, err := net.Dial("unix", r.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	c.Write([]byte("KEYS *\r\nPING\r\n"))
	lines := bufio.NewScanner(c)
	for lines.Scan() && lines.Text() != "+PONG" {
		if line := lines.Text(); !strings.HasPrefix(line, "*") && !strings.HasPrefix(line, "$") {
			keys = append(keys, line)
		}
	}
	if len(keys) == 0 {
		t.Fatal("no keys")
	}
	return keys
}

// The secret changes: an instance with the new one and the one before works
// on what the other instances made, and they on what it makes.
func TestSecretChangesUnderRunningInstances(t *testing.T) {
	redis := startRedis(t)
	env := serveEnv("http://login.example", "SCANLOGIN_REDIS_URL="+redis.url())
	old := newCaller(t, startServer(t, env).ready(t).url)
	phone, l := old.signIn("alice"), old.create()
	const next = "another secret of the tests, long enough"
	changed := newCaller(t, startServer(t, append(env, "SCANLOGIN_SECRET="+next, "SCANLOGIN_SECRET_PREVIOUS="+testSecret)).ready(t).url)
	changed.scan(&l, phone)
	old.confirm(l, phone)
	tokens := changed.do(200, "POST", "/oauth/token", "", redeemForm(l))
	old.do(200, "GET", "/oauth/userinfo", tokens.text("access_token"), nil)
	wrong := startServer(t, append(env, "SCANLOGIN_SECRET="+strings.Repeat("wrong", 8)))
	eventually(t, 5*time.Second, "a wrong secret is told", func() bool {
		return status(wrong.url+"/readyz") == 503 && strings.Contains(wrong.output(), "does not open the root key")
	})
}

// A ticket that runs out is told so on every transport, like any other change.
func TestExpiryIsAnnounced(t *testing.T) {
	t.Parallel()
	s := startServer(t, serveEnv("http://login.example", "SCANLOGIN_TICKET_TTL=1s")).ready(t)
	api := newCaller(t, s.url)
	l := api.create()
	w, err := watch(s.url, "http://login.example", l)
	if err != nil {
		t.Fatal(err)
	}
	defer w.conn.Close()
	if f, err := w.until("expired", 3*time.Second); err != nil {
		t.Errorf("socket: %v %v", f, err)
	}
	l = api.create()
	if a := api.do(200, "GET", "/v1/tickets/"+l.id+"/events", l.deviceCode, nil); !strings.Contains(a.raw, `"status":"expired"`) || a.took > 3*time.Second {
		t.Errorf("events after %s: %s", a.took, a.raw)
	}
	l = api.create()
	seq := api.do(200, "GET", "/v1/tickets/"+l.id, l.deviceCode, nil).body["seq"].(float64)
	a := api.do(200, "GET", "/v1/tickets/"+l.id+fmt.Sprintf("?wait=25&seq=%.0f", seq), l.deviceCode, nil)
	if a.text("status") != "expired" || a.took > 3*time.Second || a.body["seq"].(float64) <= seq {
		t.Errorf("long poll after %s: %s", a.took, a.raw)
	}
}
