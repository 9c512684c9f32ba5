package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// sign signs a request of a caller, whose body is given too; the URL is the
// server's public one. It is the example of the README.
func sign(r *http.Request, keyID, secret string, body []byte) {
	timestamp, nonce := fmt.Sprint(time.Now().Unix()), rand.Text()
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "v1\n%s\n%s\n%s\n%s\n%s\n%s\n%x",
		r.Method, r.URL.EscapedPath(), r.URL.RawQuery, r.URL.Host, timestamp, nonce, sha256.Sum256(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Key-Id", keyID)
	r.Header.Set("X-Timestamp", timestamp)
	r.Header.Set("X-Nonce", nonce)
	r.Header.Set("X-Signature", hex.EncodeToString(mac.Sum(nil)))
}

const (
	oldKey = "the old secret of the shop, 32 bytes"
	newKey = "bmV3IHNlY3JldCBvZiB0aGUgc2hvcCwgYnkgb3BlbnNzbA=="
	till   = "the secret of the till, 32 bytes too"
)

// callersFile has two callers; shop is changing its key.
const callersFile = `
callers:
  shop:
    actions: [end-sessions, ban, lift, ticket]
    keys:
      - {id: shop-1, secret: "` + oldKey + `"}
      - {id: shop-2, secret: ` + newKey + `}
  till:
    actions: ticket
    keys: [{id: till-1, secret: "` + till + `"}]
`

// signed is a request to the public URL of base, to be sent to it.
func (c *caller) signed(keyID, secret, action, body string) *http.Request {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, c.base+"/v1/server/"+action, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	sign(r, keyID, secret, []byte(body))
	return r
}

// at is the same request once more, sent to one instance behind the public URL.
func (c *caller) at(s *server, r *http.Request) answer {
	c.t.Helper()
	again := r.Clone(c.t.Context())
	again.URL.Host, again.Host = strings.TrimPrefix(s.url, "http://"), r.URL.Host
	body, err := r.GetBody()
	if err != nil {
		c.t.Fatal(err)
	}
	again.Body = body
	a, err := c.send(again)
	if err != nil {
		c.t.Fatal(err)
	}
	return a
}

func (c *caller) ask(want int, keyID, secret, action, body string) answer {
	c.t.Helper()
	a, err := c.send(c.signed(keyID, secret, action, body))
	if err != nil || a.status != want {
		c.t.Errorf("%s as %s: %d %s, %v; want %d", action, keyID, a.status, a.raw, err, want)
	}
	return a
}

// T40, T41: over the wire, with memory and with two instances on one Redis.
func TestSignedRequests(t *testing.T) {
	config := "SCANLOGIN_CONFIG=" + configFile(t, callersFile)
	t.Run("redis", func(t *testing.T) {
		c := startCluster(t, 2, config, "SCANLOGIN_CHECK_CODE=off")
		signedRequests(t, c.url, c.instances...)
	})
	t.Run("memory", func(t *testing.T) {
		port := freePort(t)
		url := "http://127.0.0.1:" + port
		s := startServer(t, serveEnv(url, config, "SCANLOGIN_LISTEN=127.0.0.1:"+port, "SCANLOGIN_CHECK_CODE=off")).ready(t)
		signedRequests(t, url, s, s)
	})
}

func signedRequests(t *testing.T, url string, instances ...*server) {
	api := newCaller(t, url)
	phone := api.signIn("alice")
	l := api.create()
	api.scan(&l, phone)
	api.confirm(l, phone)
	tokens := api.do(200, "POST", "/oauth/token", "", redeemForm(l))

	a := api.ask(200, "till-1", till, "ticket", `{"ticket_id":"`+l.id+`"}`)
	if sid := claim(t, tokens.text("access_token"), "sid"); a.text("status") != "consumed" || a.text("user") != "demo:alice" || a.text("sid") != sid {
		t.Errorf("outcome: %s", a.raw)
	}
	for _, action := range []string{"end-sessions", "ban", "lift"} {
		if a := api.ask(401, "till-1", till, action, `{"user":"demo:alice"}`); a.code() != "bad_signature" {
			t.Errorf("%s: %s", action, a.raw)
		}
	}
	// Of 50 copies over both instances one is done, and none afterwards.
	once := api.signed("shop-1", oldKey, "end-sessions", `{"user":"demo:alice"}`)
	var done atomic.Int32
	parallel(50, func(i int) {
		switch a := api.at(instances[i%2], once); {
		case a.status == 200:
			done.Add(1)
			if a.body["ended"] != 2.0 {
				t.Errorf("ended: %s", a.raw)
			}
		case a.code() != "bad_signature":
			t.Errorf("%d %s", a.status, a.raw)
		}
	})
	if done.Load() != 1 {
		t.Errorf("%d of 50 copies were done", done.Load())
	}
	for _, s := range instances {
		if a := api.at(s, once); a.code() != "bad_signature" {
			t.Errorf("replayed: %d %s", a.status, a.raw)
		}
		direct := newCaller(t, s.url)
		direct.do(401, "GET", "/v1/sessions", phone, nil)
		direct.do(401, "GET", "/v1/sessions", tokens.text("access_token"), nil)
	}
	// A wrong signature spends nothing.
	wrong := api.signed("shop-2", newKey, "ban", `{"user":"demo:bob","reason":"fraud"}`)
	right := wrong.Header.Get("X-Signature")
	wrong.Header.Set("X-Signature", strings.Repeat("0", 64))
	if a := api.at(instances[0], wrong); a.code() != "bad_signature" {
		t.Errorf("wrong signature: %d %s", a.status, a.raw)
	}
	wrong.Header.Set("X-Signature", right)
	if a := api.at(instances[1], wrong); a.status != 204 {
		t.Errorf("right signature: %d %s", a.status, a.raw)
	}
	if a, err := api.try("POST", "/v1/signin/demo", "", map[string]string{"credential": "bob"}); err != nil || a.status == 200 {
		t.Errorf("a banned user signs in: %d %s, %v", a.status, a.raw, err)
	}
	api.ask(204, "shop-1", oldKey, "lift", `{"user":"demo:bob"}`)
	api.signIn("bob")
	api.ask(401, "shop-3", newKey, "lift", `{"user":"demo:bob"}`)
	for i, s := range instances {
		for _, secret := range []string{oldKey, newKey, till} {
			if strings.Contains(s.output(), secret) {
				t.Errorf("instance %d logs a secret", i)
			}
		}
	}
}

// T41: a key that was taken out of the file opens nothing any more.
func TestRemovedKeyOfACaller(t *testing.T) {
	redis := startRedis(t)
	port := freePort(t)
	url := "http://127.0.0.1:" + port
	run := func(content string) *server {
		return startServer(t, serveEnv(url, "SCANLOGIN_LISTEN=127.0.0.1:"+port, "SCANLOGIN_REDIS_URL="+redis.url(), "SCANLOGIN_CONFIG="+configFile(t, content))).ready(t)
	}
	api := newCaller(t, url)
	before := run(callersFile)
	api.ask(200, "shop-1", oldKey, "end-sessions", `{"user":"demo:alice"}`)
	before.kill()
	run(strings.ReplaceAll(callersFile, `- {id: shop-1, secret: "`+oldKey+`"}`, ""))
	api.ask(401, "shop-1", oldKey, "end-sessions", `{"user":"demo:alice"}`)
	api.ask(200, "shop-2", newKey, "end-sessions", `{"user":"demo:alice"}`)
}

// F13: a nonce that cannot be looked up is never taken for a new one.
func TestSignedRequestWithoutANonceStore(t *testing.T) {
	c := startCluster(t, 2, "SCANLOGIN_CONFIG="+configFile(t, callersFile))
	api := newCaller(t, c.url)
	spent := api.signed("shop-1", oldKey, "end-sessions", `{"user":"demo:alice"}`)
	if a := api.at(c.instances[0], spent); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.raw)
	}
	c.redis.signal(syscall.SIGSTOP)
	for _, s := range c.instances {
		for _, r := range []*http.Request{spent, api.signed("shop-2", newKey, "end-sessions", `{"user":"demo:alice"}`)} {
			if a := api.at(s, r); a.status != 503 || a.code() != "store_unavailable" || a.took > time.Second {
				t.Errorf("%d %s after %s", a.status, a.raw, a.took)
			}
		}
	}
	c.redis.signal(syscall.SIGCONT)
	for _, s := range c.instances {
		s.ready(t)
		if a := api.at(s, spent); a.code() != "bad_signature" {
			t.Errorf("replayed: %d %s", a.status, a.raw)
		}
		if a := api.at(s, api.signed("shop-2", newKey, "end-sessions", `{"user":"demo:alice"}`)); a.status != 200 {
			t.Errorf("afterwards: %d %s", a.status, a.raw)
		}
	}
}

// The caller in shell that the README shows, as it is run by people.
func TestCallerInShell(t *testing.T) {
	s := startCluster(t, 1, "SCANLOGIN_CONFIG="+configFile(t, callersFile))
	newCaller(t, s.url).signIn("alice")
	run := func(secret string, args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), "bash", append([]string{"testdata/signed.sh"}, args...)...)
		cmd.Env = append(os.Environ(), "SCANLOGIN_URL="+s.url, "KEY_ID=shop-2", "KEY_SECRET="+secret)
		var out, problems bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, io.MultiWriter(&problems, t.Output())
		err := cmd.Run()
		return out.String(), err
	}
	for _, want := range []string{`{"ended":1}`, `{"ended":0}`} {
		if out, err := run(newKey, "end-sessions", `{"user":"demo:alice"}`); err != nil || strings.TrimSpace(out) != want {
			t.Errorf("%q, %v; want %s", out, err, want)
		}
	}
	if out, err := run(newKey, "ban", `{"user":"demo:mälory","reason":"1 + 1 = 'two' \\ %s"}`); err != nil || out != "" {
		t.Errorf("%q, %v", out, err)
	}
	if out, err := run(oldKey, "ban", `{"user":"demo:alice"}`); err == nil || !strings.Contains(out, "bad_signature") {
		t.Errorf("%q, %v", out, err)
	}
}

// What the README shows is what the tests run.
func TestReadmeShowsWhatTheTestsRun(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for path, from := range map[string]string{"signed_test.go": "func sign(", "testdata/signed.sh": "path=", "testdata/phone.sh": "ask()"} {
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, body, _ := strings.Cut(string(source), "\n"+from)
		if strings.HasSuffix(path, ".go") {
			body, _, _ = strings.Cut(body, "\n}\n")
		}
		if body == "" || !strings.Contains(string(readme), from+body) {
			t.Errorf("the README does not show %s as it is", path)
		}
	}
}
