package main

import (
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"scanlogin/auth"
)

func configFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// someHash is the SHA-256 of "client secret".
const someHash = "e934524395ab8aa265a88f10538ab034b8196fb8d369e6fe3d519ed16bde4030"

func TestWrongClientIsOneLineThatNamesTheMember(t *testing.T) {
	const misplaced = "hunter2-in-the-wrong-place"
	for name, row := range map[string]struct{ clients, names string }{
		"no map":                   {"[shop]", "clients"},
		"a word":                   {"shop", "clients"},
		"empty id":                 {"{'': {name: Shop}}", "client id"},
		"id with an umlaut":        {"{schöp: {name: Shop}}", "client id"},
		"id with a line break":     {`{"a\nb": {name: Shop}}`, "client id"},
		"id too long":              {"{" + strings.Repeat("a", 65) + ": {name: Shop}}", "client id"},
		"the same id twice":        {"{shop: {name: Shop}, shop: {name: Other}}", "clients: line 1"},
		"the same member twice":    {"{shop: {name: Shop, name: Other}}", "clients.shop: line 1"},
		"client is nothing":        {"{shop: }", "clients.shop"},
		"client is a word":         {"{shop: Shop}", "clients.shop"},
		"client is a list":         {"{shop: [name]}", "clients.shop"},
		"unknown member":           {"{shop: {name: Shop, acess_ttl: 5m}}", "clients.shop.acess_ttl"},
		"a secret in clear":        {"{shop: {name: Shop, secret: " + misplaced + "}}", "clients.shop.secret"},
		"no name":                  {"{shop: {kind: app}}", "clients.shop.name"},
		"empty name":               {"{shop: {name: ' '}}", "clients.shop.name"},
		"name is nothing":          {"{web: {name: }}", "clients.web.name"},
		"name is a list":           {"{shop: {name: [Shop]}}", "clients.shop.name"},
		"name too long":            {"{shop: {name: " + strings.Repeat("ö", 65) + "}}", "clients.shop.name"},
		"name that turns around":   {`{shop: {name: "a\u202eb"}}`, "clients.shop.name"},
		"name with a line break":   {`{shop: {name: "a\nb"}}`, "clients.shop.name"},
		"unknown kind":             {"{shop: {name: Shop, kind: tv}}", "clients.shop.kind"},
		"secret that is no hash":   {"{shop: {name: Shop, secret_sha256: " + misplaced + "}}", "clients.shop.secret_sha256"},
		"secret list of no hashes": {"{shop: {name: Shop, secret_sha256: [" + misplaced + "]}}", "clients.shop.secret_sha256"},
		"hash too short":           {"{shop: {name: Shop, secret_sha256: " + someHash[2:] + "}}", "clients.shop.secret_sha256"},
		"hash with a letter g":     {"{shop: {name: Shop, secret_sha256: g" + someHash[1:] + "}}", "clients.shop.secret_sha256"},
		"hash of nothing":          {"{shop: {name: Shop, secret_sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855}}", "clients.shop.secret_sha256"},
		"three hashes":             {"{shop: {name: Shop, secret_sha256: [" + someHash + ", " + someHash + ", " + someHash + "]}}", "clients.shop.secret_sha256"},
		"no hashes":                {"{shop: {name: Shop, secret_sha256: []}}", "clients.shop.secret_sha256"},
		"hash left out":            {"{shop: {name: Shop, secret_sha256: }}", "clients.shop.secret_sha256"},
		"hash is a map":            {"{shop: {name: Shop, secret_sha256: {a: " + misplaced + "}}}", "clients.shop.secret_sha256"},
		"device flow is a word":    {"{shop: {name: Shop, device_flow: 'maybe'}}", "clients.shop.device_flow"},
		"device flow is nothing":   {"{shop: {name: Shop, device_flow: }}", "clients.shop.device_flow"},
		"origin with a path":       {"{shop: {name: Shop, origins: [https://shop.example, https://shop.example/x]}}", "clients.shop.origins"},
		"origin is any":            {"{shop: {name: Shop, origins: '*'}}", "clients.shop.origins"},
		"origins are a map":        {"{shop: {name: Shop, origins: {a: b}}}", "clients.shop.origins"},
		"empty audience":           {"{shop: {name: Shop, audience: ''}}", "clients.shop.audience"},
		"audience with a blank":    {"{shop: {name: Shop, audience: a b}}", "clients.shop.audience"},
		"audience is no URI":       {"{shop: {name: Shop, audience: ':a'}}", "clients.shop.audience"},
		"audience too long":        {"{shop: {name: Shop, audience: " + strings.Repeat("a", 256) + "}}", "clients.shop.audience"},
		"audiences are two":        {"{shop: {name: Shop, audience: [a, b]}}", "clients.shop.audience"},
		"no scopes":                {"{shop: {name: Shop, scopes: []}}", "clients.shop.scopes"},
		"too much scope":           {"{shop: {name: Shop, scopes: [" + strings.Repeat("s", 257) + "]}}", "clients.shop.scopes"},
		"empty scope":              {"{shop: {name: Shop, scopes: ['']}}", "clients.shop.scopes"},
		"two scopes in one word":   {"{shop: {name: Shop, scopes: [openid profile]}}", "clients.shop.scopes"},
		"scope with a quote":       {`{shop: {name: Shop, scopes: ['a"']}}`, "clients.shop.scopes"},
		"scope with a backslash":   {`{shop: {name: Shop, scopes: ['a\']}}`, "clients.shop.scopes"},
		"scope with an umlaut":     {"{shop: {name: Shop, scopes: [ö]}}", "clients.shop.scopes"},
		"scope of the phone":       {"{shop: {name: Shop, scopes: [openid, phone]}}", "clients.shop.scopes"},
		"duration without unit":    {"{shop: {name: Shop, access_ttl: 300}}", "clients.shop.access_ttl"},
		"duration is a word":       {"{shop: {name: Shop, access_ttl: long}}", "clients.shop.access_ttl"},
		"duration of nothing":      {"{shop: {name: Shop, access_ttl: }}", "clients.shop.access_ttl"},
		"access too short":         {"{shop: {name: Shop, access_ttl: 999ms}}", "clients.shop.access_ttl"},
		"zero refresh":             {"{shop: {name: Shop, refresh_ttl: 0s}}", "clients.shop.refresh_ttl"},
		"idle too long":            {"{shop: {name: Shop, refresh_idle: 87601h}}", "clients.shop.refresh_idle"},
		"no sessions":              {"{shop: {name: Shop, max_sessions: 0}}", "clients.shop.max_sessions"},
		"negative sessions":        {"{shop: {name: Shop, max_sessions: -1}}", "clients.shop.max_sessions"},
		"too many sessions":        {"{shop: {name: Shop, max_sessions: 33}}", "clients.shop.max_sessions"},
		"half a session":           {"{shop: {name: Shop, max_sessions: 3.5}}", "clients.shop.max_sessions"},
		"sessions in hexadecimal":  {"{shop: {name: Shop, max_sessions: 0x10}}", "clients.shop.max_sessions"},
		"sessions are a word":      {"{shop: {name: Shop, max_sessions: few}}", "clients.shop.max_sessions"},
		"unknown policy":           {"{shop: {name: Shop, on_limit: end_newest}}", "clients.shop.on_limit"},
		"more scope for the phone": {"{phone: {scopes: [openid]}}", "clients.phone.scopes"},
		"a secret for the phone":   {"{phone: {secret_sha256: " + someHash + "}}", "clients.phone.secret_sha256"},
		"device flow of the phone": {"{phone: {device_flow: true}}", "clients.phone.device_flow"},
		"the phone's audience":     {"{phone: {audience: https://api.example}}", "clients.phone.audience"},
	} {
		t.Run(name, func(t *testing.T) {
			fileIsRefused(t, "clients: "+row.clients, row.names, misplaced)
		})
	}
}

// fileIsRefused says that one line names what is wrong with the file, and no secret in
// it, whether it is checked or served.
func fileIsRefused(t *testing.T, file, names, secret string) {
	t.Helper()
	good(t)
	path := configFile(t, file)
	for _, verb := range [][]string{{"config", "check"}, {"serve"}} {
		code, _, stderr := command(t, append(verb, "--config", path)...)
		if code != 2 || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, names) {
			t.Fatalf("%s: exit %d: %q", verb, code, stderr) // a good one would be served
		}
		if strings.Contains(stderr, secret) {
			t.Errorf("%s: a secret is in the error: %s", verb, stderr)
		}
	}
}

// fullFile says all there is to say of a client, by aliases and merges too.
var fullFile = `
access_ttl: &short 5m
clients:
  shop:
    name: Shop Düsseldorf 🛒
    kind: app
    secret_sha256: [` + someHash + `, ` + strings.ToUpper(someHash) + `]
    device_flow: true
    origins: [https://SHOP.example:443/, http://localhost:3000]
    audience: https://api.shop.example
    scopes: [openid, orders:read]
    access_ttl: *short
    refresh_ttl: 24h
    refresh_idle: 2h
    max_sessions: 010
    on_limit: refuse
  'my till': &till {name: 5, origins: http://till.example}
  'other till': {<<: *till, secret_sha256: "` + someHash + `"}
  web: {name: Example, max_sessions: 1}
  device: {device_flow: false}
  phone: {name: Telephone, access_ttl: 1h, refresh_ttl: 2h, refresh_idle: 3h, max_sessions: 2, on_limit: refuse}
`

func TestClientsOfTheFileGoOverTheBuiltInOnes(t *testing.T) {
	var file map[string]yaml.Node
	if err := yaml.Unmarshal([]byte(fullFile), &file); err != nil {
		t.Fatal(err)
	}
	node := file["clients"]
	read, err := readClients(&node)
	if err != nil {
		t.Fatal(err)
	}
	c := Config{PublicURL: "https://login.example", Clients: read}
	hash, err := hex.DecodeString(someHash)
	if err != nil {
		t.Fatal(err)
	}
	some := []string{"openid", "profile"}
	want := map[string]auth.Client{
		"shop": {
			ID: "shop", Name: "Shop Düsseldorf 🛒", Kind: "app", DeviceFlow: true, Scopes: []string{"openid", "orders:read"},
			Audience: "https://api.shop.example", SecretHashes: [][]byte{hash, hash},
			Origins: []string{"https://shop.example", "http://localhost:3000"}, AccessTTL: 5 * time.Minute,
			RefreshTTL: 24 * time.Hour, RefreshIdle: 2 * time.Hour, MaxSessions: 10, OnLimit: auth.Refuse,
		},
		"my till":    {ID: "my till", Name: "5", Kind: "web", Scopes: some, Origins: []string{"http://till.example"}},
		"other till": {ID: "other till", Name: "5", Kind: "web", Scopes: some, Origins: []string{"http://till.example"}, SecretHashes: [][]byte{hash}},
		"web":        {ID: "web", Name: "Example", Kind: "web", Scopes: some, MaxSessions: 1},
		"device":     {ID: "device", Name: "Device", Kind: "device", Scopes: some},
		"phone": {
			ID: "phone", Name: "Telephone", Kind: "app", Scopes: []string{"phone"}, AccessTTL: time.Hour,
			RefreshTTL: 2 * time.Hour, RefreshIdle: 3 * time.Hour, MaxSessions: 2, OnLimit: auth.Refuse,
		},
	}
	got := c.clients()
	for id := range want {
		if !reflect.DeepEqual(got[id], want[id]) {
			t.Errorf("%s:\n%+v, want\n%+v", id, got[id], want[id])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d clients", len(got))
	}
	// Each instance merges for itself: one must not see what another one appended.
	if again := c.clients(); !reflect.DeepEqual(got, again) {
		t.Errorf("merged again: %+v", again)
	}
}

func TestPrintedConfigurationIsAFileAgain(t *testing.T) {
	good(t)
	content := fullFile +
		"signing_alg: ES256\nlimits: off\ntrusted_proxies: [10.0.0.0/8]\norigins: [https://a.example, https://b.example]\n"
	code, first, stderr := command(t, "config", "print", "--config", configFile(t, content))
	if code != 0 {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	for _, want := range []string{someHash, "signing_alg: ES256", "access_ttl: 5m0s", "device_flow: false", "https://shop.example"} {
		if !strings.Contains(first, want) {
			t.Errorf("no %q in\n%s", want, first)
		}
	}
	for _, unsaid := range []string{`audience: ""`, "max_sessions: 0", "scopes: []", "refresh_idle: 0s"} {
		if strings.Contains(first, unsaid) {
			t.Errorf("%q is printed, nobody said it", unsaid)
		}
	}
	again := configFile(t, first)
	if code, second, stderr := command(t, "config", "print", "--config", again); code != 0 || second != first {
		t.Errorf("exit %d: %s\n%s\nwas\n%s", code, stderr, second, first)
	}
	if code, _, stderr := command(t, "config", "check", "--config", again); code != 0 {
		t.Errorf("check: exit %d: %s", code, stderr)
	}
	if code, bare, _ := command(t, "config", "print", "--config", configFile(t, "clients:\n")); code != 0 || strings.Contains(bare, "clients") {
		t.Errorf("no clients: exit %d: %s", code, bare)
	}
}

// Clients are a part of the file, not a setting with three names.
func TestClientsAreInTheFileOnly(t *testing.T) {
	good(t)
	if code, _, stderr := command(t, "config", "check", "--clients=a"); code != 2 || !strings.Contains(stderr, "clients") {
		t.Errorf("flag: exit %d: %s", code, stderr)
	}
	t.Setenv("SCANLOGIN_CLIENTS", "{}")
	if code, _, stderr := command(t, "config", "check"); code != 2 || !strings.Contains(stderr, "SCANLOGIN_CLIENTS") {
		t.Errorf("environment: exit %d: %s", code, stderr)
	}
}

// Every member of a client in the file reaches the part that it is for.
func TestClientsOfTheFileReachTheirParts(t *testing.T) {
	const public, audience = "https://login.example", "https://api.shop.example"
	s := startServer(t, serveEnv(public, "SCANLOGIN_CONFIG="+configFile(t, `
signing_alg: ES256
clients:
  shop:
    name: The Shop
    kind: app
    secret_sha256: `+someHash+`
    device_flow: true
    origins: https://shop.example
    audience: `+audience+`
    scopes: [openid, orders:read]
    access_ttl: 45s
    refresh_idle: 1h
    max_sessions: 1
    on_limit: refuse
  device: {device_flow: false}
`))).ready(t)
	api := newCaller(t, s.url)
	phone := api.signIn("alice")
	if a := api.do(400, "POST", "/oauth/device_authorization", "", url.Values{"client_id": {"device"}}); a.code() != "unauthorized_client" {
		t.Errorf("device_flow: false: %s", a.raw)
	}
	as := func(form url.Values) url.Values {
		form.Set("client_id", "shop")
		form.Set("client_secret", "client secret")
		return form
	}
	begin := func() login {
		a := api.do(200, "POST", "/oauth/device_authorization", "", as(url.Values{}))
		l := login{id: a.text("ticket_id"), deviceCode: a.text("device_code")}
		found := api.do(200, "POST", "/v1/scan", phone, map[string]string{"user_code": a.text("user_code")})
		client, _ := found.body["client"].(map[string]any)
		if client["id"] != "shop" || client["name"] != "The Shop" || client["kind"] != "app" {
			t.Errorf("id, name, kind: %s", found.raw)
		}
		l.confirmToken = found.text("confirm_token")
		return l
	}

	l := begin()
	api.confirm(l, phone)
	stranger := redeemForm(l)
	stranger.Set("client_id", "shop")
	if a := api.do(401, "POST", "/oauth/token", "", stranger); a.code() != "invalid_client" {
		t.Errorf("secret_sha256: without the secret: %s", a.raw)
	}
	a := api.do(200, "POST", "/oauth/token", "", as(redeemForm(l)))
	if a.body["expires_in"] != 45.0 || a.text("scope") != "openid orders:read" {
		t.Errorf("access_ttl, scopes: %s", a.raw)
	}
	parts := strings.Split(a.text("access_token"), ".")
	header, _ := base64.RawURLEncoding.DecodeString(parts[0])
	claims, _ := base64.RawURLEncoding.DecodeString(parts[1])
	if !strings.Contains(string(header), `"ES256"`) || !strings.Contains(string(claims), `"`+audience+`"`) {
		t.Errorf("signing_alg, audience: %s %s", header, claims)
	}
	second := begin()
	if a := api.do(403, "POST", "/v1/tickets/"+second.id+"/confirm", phone, map[string]string{"confirm_token": second.confirmToken}); a.code() != "session_limit" {
		t.Errorf("max_sessions, on_limit: %s", a.raw)
	}

	request, _ := http.NewRequest("POST", s.url+"/oauth/token", strings.NewReader(as(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {a.text("refresh_token")}}).Encode()))
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Origin", "https://shop.example")
	if a, err := api.send(request); err != nil || a.status != 200 || a.header.Get("Access-Control-Allow-Origin") != "https://shop.example" {
		t.Errorf("origins: %v %d %s", err, a.status, a.raw)
	}
}

// limits=off is for load tests: nobody is slowed down.
func TestLimitsAreOnUnlessTurnedOff(t *testing.T) {
	for limits, want := range map[string]bool{"on": true, "off": false} {
		api := newCaller(t, startServer(t, serveEnv("http://login.example", "SCANLOGIN_LIMITS="+limits)).ready(t).url)
		slowed := false
		for range 100 {
			a, err := api.try("POST", "/v1/signin/demo", "", map[string]string{"credential": "mallory"})
			if err != nil {
				t.Fatal(err)
			}
			slowed = slowed || a.status == 429
		}
		if slowed != want {
			t.Errorf("limits=%s: slowed down: %t", limits, slowed)
		}
	}
}
