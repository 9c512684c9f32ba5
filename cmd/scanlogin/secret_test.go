package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
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
	if c.Callers, err = file.callers(); err != nil {
		t.Fatal(err)
	}
	if c.Providers, err = file.providers(); err != nil {
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

// witness remembers what its requests showed the server and were shown. They go to the
// instances in turn.
type witness struct {
	*caller
	bases   []string
	from    string
	sent    int
	cookies map[string]string
	form    url.Values        // hidden fields of the page before
	secrets map[string]string // what it is -> text
	private map[string]string // no secrets, but nobody else's business
}

var (
	field  = regexp.MustCompile(`<input type="hidden" name="([^"]+)" value="([^"]*)"`)
	digits = regexp.MustCompile(`<span>(\d)</span> <span>(\d)</span>`)
)

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
		reader = strings.NewReader(asJSON(w.t, b))
	}
	request, err := http.NewRequest(method, w.base+path, reader)
	if err != nil {
		w.t.Fatal(err)
	}
	request.Header.Set("Content-Type", contentType)
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	return w.pass(want, request)
}

// pass sends a request to the public URL to the instance whose turn it is.
func (w *witness) pass(want int, request *http.Request) answer {
	w.t.Helper()
	public := *request.URL
	w.sent++
	instance, err := url.Parse(w.bases[w.sent%len(w.bases)])
	if err != nil {
		w.t.Fatal(err)
	}
	request.Host, request.URL.Scheme, request.URL.Host = public.Host, instance.Scheme, instance.Host
	request.Header.Set("X-Forwarded-For", w.from)
	request.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0.0.0 Safari/537.36 marked-by-the-test")
	for name, value := range w.cookies {
		request.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	a, err := w.caller.send(request)
	if err != nil || a.status != want {
		w.t.Fatalf("%s %s: %v %d %s", request.Method, public.Path, err, a.status, a.raw)
	}
	w.note(request.Method+" "+public.Path, a)
	return a
}

// note remembers the secrets of an answer.
func (w *witness) note(what string, a answer) {
	for _, name := range []string{"access_token", "refresh_token", "device_code", "confirm_token", "user_code"} {
		if secret := a.text(name); secret != "" {
			if _, half, ok := strings.Cut(secret, "."); ok && name == "device_code" {
				secret = half // the other one is the ticket_id
			}
			w.secrets[name+" of "+what] = secret
		}
	}
	if id := a.text("ticket_id"); id != "" {
		w.private["ticket_id of "+what] = id
	}
	if qr := a.text("verification_uri_complete"); qr != "" {
		w.secrets["qr_token of "+what] = qr[len(qr)-16:] // its MAC; it begins with the ticket_id
	}
	code := a.text("check_code")
	if shown := digits.FindStringSubmatch(a.raw); shown != nil {
		code = shown[1] + shown[2]
	}
	if code != "" { // two digits are anywhere: as a value, they are not
		for i, written := range []string{`:"` + code + `"`, `\"` + code + `\"`, "code=" + code, "code " + code} {
			w.secrets[fmt.Sprintf("check code of %s, %d", what, i)] = written
		}
	}
	for _, cookie := range (&http.Response{Header: a.header}).Cookies() {
		w.cookies[cookie.Name] = cookie.Value
		w.secrets["cookie "+cookie.Name+" of "+what] = cookie.Value
	}
	if fields := field.FindAllStringSubmatch(a.raw, -1); fields != nil {
		w.form = url.Values{}
		for _, match := range fields {
			name, value := match[1], match[2]
			w.form.Set(name, value)
			if value != "" && slices.Contains([]string{"csrf", "proof", "confirm_token"}, name) {
				w.secrets[name+" of "+what] = value
			}
		}
	}
}

// post sends the form of the page before, and goes where that leads.
func (w *witness) post(path, name, value string) answer {
	w.t.Helper()
	w.form.Set(name, value)
	return w.send(200, "GET", w.send(303, "POST", path, "", w.form).header.Get("Location"), "", nil)
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

// byAPI is a life of an account: by scan, by typed code, and its end.
func (w *witness) byAPI(shop string) {
	w.t.Helper()
	phone := w.send(200, "POST", "/v1/signin/demo", "", map[string]string{"credential": "wilhelmina"}).text("access_token")
	w.send(401, "POST", "/v1/signin/demo", "", map[string]string{"credential": "a wrong credential"})
	w.secrets["a wrong credential"] = "a wrong credential"
	made := w.send(201, "POST", "/v1/tickets", "", map[string]any{"user_code": true})
	scanned := w.send(200, "POST", "/v1/scan", phone, map[string]string{"qr": made.text("verification_uri_complete")})
	id, device := made.text("ticket_id"), made.text("device_code")
	code := w.send(200, "POST", "/v1/tickets/"+id+"/confirm", phone, map[string]string{"confirm_token": scanned.text("confirm_token")}).text("check_code")
	w.send(200, "POST", "/v1/tickets/"+id+"/check", device, map[string]string{"code": code})
	first := w.send(200, "POST", "/oauth/token", "", redeemForm(login{deviceCode: device}))
	second := w.send(200, "POST", "/oauth/token", "", refreshForm(first.text("refresh_token")))
	w.send(200, "GET", "/oauth/userinfo", second.text("access_token"), nil)
	w.send(200, "GET", "/v1/sessions", second.text("access_token"), nil)
	w.send(200, "POST", "/oauth/introspect", "", url.Values{"client_id": {"shop"}, "client_secret": {shop}, "token": {second.text("access_token")}})
	w.send(401, "POST", "/oauth/introspect", "", url.Values{"client_id": {"shop"}, "client_secret": {"a wrong client secret"}, "token": {"x"}})
	w.secrets["a wrong client secret"] = "a wrong client secret"
	other := w.send(200, "POST", "/oauth/device_authorization", "", url.Values{"client_id": {"device"}})
	typed := w.send(200, "POST", "/v1/scan", phone, map[string]string{"user_code": other.text("user_code")})
	w.send(200, "POST", "/v1/tickets/"+typed.text("ticket_id")+"/deny", phone, map[string]any{"confirm_token": typed.text("confirm_token"), "report": true})
	w.send(404, "POST", "/v1/scan", phone, map[string]string{"user_code": "BCDF-GHJK"})
	w.send(200, "POST", "/oauth/revoke", "", url.Values{"client_id": {"web"}, "token": {second.text("refresh_token")}})
	w.send(204, "DELETE", "/v1/sessions?others=true", phone, nil)
}

// byPages is a login on the phone pages and the pages that stay signed in.
func (w *witness) byPages() {
	w.t.Helper()
	w.send(200, "GET", "/", "", nil)
	made := w.send(201, "POST", "/v1/tickets", "", nil)
	qr, device := made.text("verification_uri_complete"), made.text("device_code")
	w.send(200, "GET", qr[strings.LastIndex(qr, "/s/"):], "", nil)
	w.post("/s/signin", "credential", "wilhelmina")
	w.send(200, "POST", "/s/scan", "", w.form)
	result := w.post("/s/decide", "decision", "approve")
	code := strings.Join(digits.FindStringSubmatch(result.raw)[1:], "")
	w.send(200, "POST", "/v1/tickets/"+made.text("ticket_id")+"/check", device, map[string]string{"code": code})
	tokens := w.send(200, "POST", "/oauth/token", "", redeemForm(login{deviceCode: device}))
	w.send(204, "POST", "/session", "", map[string]string{"access_token": tokens.text("access_token")})
	w.send(200, "POST", "/session/token", "", nil)
	w.send(200, "GET", "/s/devices", "", nil)
	w.send(200, "GET", "/account", "", nil)
	w.post("/signout", "", "")
}

// bySignature has a back end ask, once more, and with a wrong signature.
func (w *witness) bySignature() {
	w.t.Helper()
	for _, secret := range []string{oldKey, till} {
		request := w.signed("shop-1", secret, "end-sessions", `{"user":"demo:wilhelmina"}`)
		w.secrets["a nonce signed with "+secret] = request.Header.Get("X-Nonce")
		w.secrets["a signature with "+secret] = request.Header.Get("X-Signature")
		again := request.Clone(w.t.Context())
		again.Body, _ = request.GetBody()
		w.pass(map[string]int{oldKey: 200, till: 401}[secret], request)
		w.pass(401, again)
	}
}

// T37, T46: a whole life of an account over two instances, by the API, by the pages and
// by a back end: what Redis saw and kept, and what was logged at debug level.
func TestRedisAndLogsHoldNoSecretNoNameNoAddress(t *testing.T) {
	redis := startRedis(t, "--appendonly", "yes", "--aof-use-rdb-preamble", "no", "--rdbcompression", "no", "--appendfsync", "always")
	seen := redis.monitor(t)
	const shop = "a back end's secret, made at random"
	good(t)
	t.Setenv("SCANLOGIN_CONFIG", configFile(t, "clients:\n  shop: { name: Shop, secret_sha256: "+fmt.Sprintf("%x", sha256.Sum256([]byte(shop)))+" }\n"+callersFile))
	w := &witness{
		caller: newCaller(t, "https://login.example"), from: "198.51.100.77", cookies: map[string]string{},
		secrets: map[string]string{"the server's secret": testSecret, "the back end's secret": shop, "a caller's": oldKey, "its next": newKey, "another caller's": till, "User-Agent": "marked-by-the-test"},
		private: map[string]string{"the name": "ilhelmina", "the user": "demo:", "the address": "198.51.100"},
	}
	var logs []*lines
	for range 2 {
		base, log := inside(t, parsed(t, "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--drain=1s", "--redis-url="+redis.url(),
			"--demo-users=wilhelmina,bob", "--trusted-proxies=127.0.0.0/8", "--check-code=always"))
		w.bases, logs = append(w.bases, base), append(logs, log)
	}
	w.byAPI(shop)
	w.byPages()
	w.bySignature()

	for _, kind := range []string{"access_token", "refresh_token", "device_code", "confirm_token", "user_code", "qr_token", "check code", "cookie __Host-scanlogin-phone", "cookie __Host-scanlogin-web", "csrf", "proof"} {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(w.secrets)), func(name string) bool { return strings.HasPrefix(name, kind+" of ") }) {
			t.Errorf("no %s was seen", kind)
		}
	}
	store := maps.Clone(w.secrets)
	maps.Copy(store, w.private)
	if !strings.Contains(strings.ToUpper(seen.String()), "EVALSHA") {
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
	for i, log := range logs {
		if text := log.String(); !strings.Contains(text, `"level":"INFO"`) || !strings.Contains(text, `"route":"/s/`) {
			t.Fatalf("instance %d has no log: %s", i, text)
		}
		if names := found(log.String(), w.secrets); names != nil {
			t.Errorf("instance %d logs: %q", i, names)
		}
	}
}
