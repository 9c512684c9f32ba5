package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

// monitor collects everything that a Redis is told, as MONITOR shows it.
func (r *redisServer) monitor(t *testing.T) *lines {
	t.Helper()
	c, err := net.Dial("unix", r.socket)
	if err != nil {
		t.Fatal(err)
	}
	var seen lines
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 64<<10)
		for {
			n, err := c.Read(buffer)
			seen.Write(buffer[:n])
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { c.Close(); <-done })
	fmt.Fprint(c, "MONITOR\r\n")
	eventually(t, 5*time.Second, "MONITOR runs", func() bool { return strings.Contains(seen.String(), "+OK") })
	return &seen
}

// disk is every byte that a Redis with an append-only file has written.
func (r *redisServer) disk(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(r.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		all.Write(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

// parsed is the configuration that these arguments and the environment give.
func parsed(t *testing.T, args ...string) *Config {
	t.Helper()
	var c cli
	file, err := openFile(args)
	if err != nil {
		t.Fatal(err)
	}
	parser, err := kong.New(&c, kong.DefaultEnvars("SCANLOGIN"), kong.Resolvers(file))
	if err != nil {
		t.Fatal(err)
	}
	if _, err = parser.Parse(args); err != nil {
		t.Fatal(err)
	}
	if c.Clients, err = file.clients(); err != nil {
		t.Fatal(err)
	}
	return &c.Config
}

// inside runs the whole program in this process with its log at debug level.
func inside(t *testing.T, c *Config) (url string, log *lines) {
	t.Helper()
	if err := c.prepare(); err != nil {
		t.Fatal(err)
	}
	public, admin, err := listen(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancelCause(context.Background())
	ended := make(chan error, 1)
	log = &lines{}
	go func() {
		ended <- serve(ctx, c, public, admin, slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	}()
	t.Cleanup(func() {
		stop(errInterrupted)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	url = "http://" + public.Addr().String()
	eventually(t, 10*time.Second, "the server is ready", func() bool { return status(url+"/readyz") == 200 })
	return url, log
}

// witness remembers what its requests showed the server and were shown.
type witness struct {
	*caller
	from    string
	secrets map[string]string // what it is -> text
}

func (w *witness) send(want int, method, path, token string, body any) answer {
	w.t.Helper()
	var reader *strings.Reader
	contentType := "application/json"
	switch b := body.(type) {
	case url.Values:
		reader, contentType = strings.NewReader(b.Encode()), "application/x-www-form-urlencoded"
	case nil:
		reader = strings.NewReader("")
	default:
		raw, _ := json.Marshal(b)
		reader = strings.NewReader(string(raw))
	}
	request, err := http.NewRequest(method, w.base+path, reader)
	if err != nil {
		w.t.Fatal(err)
	}
	request.Header.Set("Content-Type", contentType)
	request.Header.Set("X-Forwarded-For", w.from)
	request.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0.0.0 Safari/537.36 marked-by-the-test")
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	a, err := w.caller.send(request)
	if err != nil || a.status != want {
		w.t.Fatalf("%s %s: %v %d %s", method, path, err, a.status, a.raw)
	}
	for _, name := range []string{"access_token", "refresh_token", "device_code", "confirm_token", "user_code"} {
		if secret := a.text(name); secret != "" {
			if _, half, ok := strings.Cut(secret, "."); ok && name == "device_code" {
				secret = half // the other one is the ticket_id
			}
			w.secrets[fmt.Sprintf("%s of %s %s", name, method, path)] = secret
		}
	}
	return a
}

// found lists what of the secrets a text holds: as it is, its parts, and in the
// encodings that stores and logs are fond of.
func found(text string, secrets map[string]string) (names []string) {
	for name, secret := range secrets {
		parts := []string{secret}
		for _, part := range strings.Split(secret, ".") {
			if len(part) >= 20 {
				parts = append(parts, part, part[:20])
			}
		}
		for _, part := range parts {
			for _, shown := range []string{part, url.QueryEscape(part), hex.EncodeToString([]byte(part)), base64.StdEncoding.EncodeToString([]byte(part))} {
				if strings.Contains(text, shown) {
					names = append(names, name)
					break
				}
			}
		}
	}
	return names
}

// A whole life of an account, from sign-in to logout, by scan and by typed code,
// with a ban: what Redis saw and kept, and what was logged at debug level.
func TestRedisAndLogsHoldNoSecretNoNameNoAddress(t *testing.T) {
	redis := startRedis(t, "--appendonly", "yes", "--aof-use-rdb-preamble", "no", "--rdbcompression", "no", "--appendfsync", "always")
	seen := redis.monitor(t)
	const shop = "a back end's secret, made at random"
	good(t)
	t.Setenv("SCANLOGIN_CONFIG", configFile(t, "clients:\n  shop: { name: Shop, secret_sha256: "+fmt.Sprintf("%x", sha256.Sum256([]byte(shop)))+" }\n"))
	c := parsed(t, "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--drain=1s", "--redis-url="+redis.url(),
		"--demo-users=wilhelmina,bob", "--trusted-proxies=127.0.0.0/8")
	public, log := inside(t, c)
	w := &witness{caller: newCaller(t, public), from: "198.51.100.77", secrets: map[string]string{
		"the server's secret": c.Secret, "the back end's secret": shop, "User-Agent": "marked-by-the-test",
	}}

	phone := w.send(200, "POST", "/v1/signin/demo", "", map[string]string{"credential": "wilhelmina"}).text("access_token")
	w.send(401, "POST", "/v1/signin/demo", "", map[string]string{"credential": "a wrong credential"})
	w.secrets["a wrong credential"] = "a wrong credential"
	made := w.send(201, "POST", "/v1/tickets", "", map[string]any{"user_code": true})
	qr := made.text("verification_uri_complete")
	w.secrets["qr_token"] = qr[strings.LastIndex(qr, "/")+1:]
	scanned := w.send(200, "POST", "/v1/scan", phone, map[string]string{"qr": qr})
	id := made.text("ticket_id")
	w.send(200, "POST", "/v1/tickets/"+id+"/confirm", phone, map[string]string{"confirm_token": scanned.text("confirm_token")})
	first := w.send(200, "POST", "/oauth/token", "", redeemForm(login{deviceCode: made.text("device_code")}))
	second := w.send(200, "POST", "/oauth/token", "", refreshForm(first.text("refresh_token")))
	w.send(200, "GET", "/oauth/userinfo", second.text("access_token"), nil)
	w.send(200, "GET", "/v1/sessions", second.text("access_token"), nil)
	w.send(200, "POST", "/oauth/introspect", "", url.Values{"client_id": {"shop"}, "client_secret": {shop}, "token": {second.text("access_token")}})
	w.send(401, "POST", "/oauth/introspect", "", url.Values{"client_id": {"shop"}, "client_secret": {"a wrong client secret"}, "token": {"x"}})
	w.secrets["a wrong client secret"] = "a wrong client secret"
	device := w.send(200, "POST", "/oauth/device_authorization", "", url.Values{"client_id": {"device"}})
	typed := w.send(200, "POST", "/v1/scan", phone, map[string]string{"user_code": device.text("user_code")})
	w.send(200, "POST", "/v1/tickets/"+typed.text("ticket_id")+"/deny", phone, map[string]any{"confirm_token": typed.text("confirm_token"), "report": true})
	w.send(404, "POST", "/v1/scan", phone, map[string]string{"user_code": "BCDF-GHJK"})
	w.send(200, "POST", "/oauth/revoke", "", url.Values{"client_id": {"web"}, "token": {second.text("refresh_token")}})
	w.send(204, "DELETE", "/v1/sessions?others=true", phone, nil)

	told := map[string]string{ // not secrets, but nobody else's business
		"the name": "ilhelmina", "the user": "demo:", "the address": "198.51.100", "the ticket": id,
	}
	store := map[string]string{}
	for name, secret := range w.secrets {
		store[name] = secret
	}
	for name, text := range told {
		store[name] = text
	}
	if !strings.Contains(seen.String(), "EVALSHA") && !strings.Contains(seen.String(), "evalsha") {
		t.Fatal("MONITOR saw no command of ours")
	}
	if names := found(seen.String(), store); names != nil {
		t.Errorf("MONITOR shows: %q", names)
	}
	disk := redis.disk(t)
	if !strings.Contains(disk, "scanlogin:") {
		t.Fatal("the dump holds nothing of ours")
	}
	if names := found(disk, store); names != nil {
		t.Errorf("the dump shows: %q", names)
	}
	if text := log.String(); !strings.Contains(text, `"level":"INFO"`) || !strings.Contains(text, `"route":"/v1/scan"`) {
		t.Fatalf("no log: %s", text)
	}
	if names := found(log.String(), w.secrets); names != nil {
		t.Errorf("the log shows: %q", names)
	}
	if len(w.secrets) < 15 {
		t.Errorf("only %d secrets were seen", len(w.secrets))
	}
}
