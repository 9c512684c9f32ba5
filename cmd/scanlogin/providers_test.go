package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const appSecret, otherAppSecret = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"

// providersFile says all there is to say of providers.
const providersFile = `
providers:
  wechat-mini: {app_id: wx1234567890abcdef, secret: ` + appSecret + `, api_url: https://api.weixin.qq.com/}
  wechat:
    site: {app_id: wx2234567890abcdef, secret: ` + otherAppSecret + `}
    in_app: {app_id: wx3234567890abcdef, secret: ` + appSecret + `}
    api_url: http://127.0.0.1:9999
    open_url: https://open.weixin.qq.com
  acme:
    issuer: https://id.acme.example
    jwks_url: https://keys.acme.example/jwks
    audience: [https://login.example, scanlogin]
    algorithms: [ES256, EdDSA]
    apps: [acme-ios, acme-android]
    require: {scopes: [qr-login], claims: {tenant: "1", staff: true}}
    claims: {subject: uid, name: display_name, picture: avatar}
    max_age: 12h
    id_tokens: true
  other:
    sessions: true
    issuer: https://other.example
    audience: scanlogin
    algorithms: RS256
    apps: app
    require: {claims: {amr: mfa}}
`

func TestWrongProviderIsOneLineThatNamesTheMember(t *testing.T) {
	const misplaced = "hunter2-hunter2-hunter2"
	missing := filepath.Join(t.TempDir(), "nothing")
	mini := func(members string) string { return "{wechat-mini: {" + members + "}}" }
	web := func(members string) string { return "{wechat: {" + members + "}}" }
	const app, other = "{app_id: wx1, secret: " + misplaced + "}", "{app_id: wx2, secret: " + misplaced + "}"
	const rest = "audience: a, algorithms: ES256, apps: a, require: {scopes: s}"
	issuer := func(members string) string { return "{acme: {" + members + "}}" }
	for name, row := range map[string]struct{ providers, names string }{
		"a list":              {"[wechat]", "providers"},
		"a word":              {misplaced, "providers"},
		"the demo":            {"{demo: {users: [alice]}}", "providers.demo"},
		"the same name twice": {"{acme: {" + rest + "}, acme: {" + rest + "}}", "providers: line 1"},
		"nothing":             {"{wechat-mini: }", "providers.wechat-mini"},
		"unknown member":      {mini("app_id: wx1, appsecret: " + misplaced), "providers.wechat-mini.appsecret"},
		"no app id":           {mini("secret: " + misplaced), "providers.wechat-mini.app_id"},
		"empty app id":        {mini("app_id: '', secret: " + misplaced), "providers.wechat-mini.app_id"},
		"app id with a colon": {mini("app_id: 'wx:" + misplaced + "', secret: a"), "providers.wechat-mini.app_id"},
		"no secret":           {mini("app_id: wx1"), "providers.wechat-mini.secret"},
		"empty secret":        {mini("app_id: wx1, secret: ''"), "providers.wechat-mini.secret"},
		"secret left out":     {mini("app_id: wx1, secret: "), "providers.wechat-mini.secret"},
		"secret with a blank": {mini("app_id: wx1, secret: '" + misplaced + " x'"), "providers.wechat-mini.secret"},
		"secret and file":     {mini("app_id: wx1, secret: " + misplaced + ", secret_file: " + missing), "providers.wechat-mini.secret_file"},
		"file is missing":     {mini("app_id: wx1, secret_file: " + missing), "providers.wechat-mini.secret_file"},
		"API in clear":        {mini("app_id: wx1, secret: " + misplaced + ", api_url: 'http://" + misplaced + ".example'"), "providers.wechat-mini.api_url"},
		"API with a path":     {mini("app_id: wx1, secret: " + misplaced + ", api_url: 'https://a.example/sns'"), "providers.wechat-mini.api_url"},
		"API with a name":     {mini("app_id: wx1, secret: " + misplaced + ", api_url: 'https://" + misplaced + "@a.example'"), "providers.wechat-mini.api_url"},
		"no app":              {web("open_url: https://open.weixin.qq.com"), "providers.wechat.site"},
		"secret of the form":  {web("secret: " + misplaced), "providers.wechat.secret"},
		"app is nothing":      {web("site: , in_app: " + app), "providers.wechat.site"},
		"app without secret":  {web("site: {app_id: wx1}"), "providers.wechat.site.secret"},
		"one app twice":       {web("site: " + app + ", in_app: " + app), "providers.wechat.in_app.app_id"},
		"open in clear":       {web("site: " + app + ", in_app: " + other + ", open_url: http://a.example"), "providers.wechat.open_url"},
		"name of an issuer":   {"{Acme: {issuer: 'https://a.example', " + rest + "}}", "Acme: name"},
		"no issuer":           {issuer(rest), "acme: issuer"},
		"our own":             {issuer("issuer: 'https://login.example', " + rest), "acme: issuer"},
		"issuer in clear":     {issuer("issuer: 'http://a.example', " + rest), "acme: issuer"},
		"two key sets":        {issuer("issuer: a, jwks_url: 'https://a.example', jwks_file: " + missing + ", " + rest), "acme: jwks_url and jwks_file"},
		"key file is missing": {issuer("issuer: a, jwks_file: " + missing + ", " + rest), "acme: jwks_file"},
		"no audience":         {issuer("issuer: 'https://a.example', algorithms: ES256, apps: a, require: {scopes: s}"), "acme: audience"},
		"no algorithm":        {issuer("issuer: 'https://a.example', audience: a, apps: a, require: {scopes: s}"), "acme: algorithms"},
		"symmetric":           {issuer("issuer: 'https://a.example', audience: a, algorithms: [" + misplaced + "], apps: a, require: {scopes: s}"), "acme: algorithms"},
		"no apps":             {issuer("issuer: 'https://a.example', audience: a, algorithms: ES256, require: {scopes: s}"), "acme: apps"},
		"nothing required":    {issuer("issuer: 'https://a.example', audience: a, algorithms: ES256, apps: a"), "acme: require"},
		"an empty scope":      {issuer("issuer: 'https://a.example', audience: a, algorithms: ES256, apps: a, require: {scopes: [s, '']}"), "acme: require.scopes"},
		"scopes in one word":  {issuer("issuer: 'https://a.example', audience: a, algorithms: ES256, apps: a, require: {scopes: openid s}"), "acme: require.scopes"},
		"age of a session":    {issuer("issuer: 'https://a.example', audience: a, algorithms: ES256, apps: a, require: {scopes: s}, max_age: 1h, sessions: true"), "acme: max_age and sessions"},
		"required is a word":  {issuer("require: " + misplaced), "providers.acme.require"},
		"required otherwise":  {issuer("require: {scope: s}"), "providers.acme.require.scope"},
		"claim of no value":   {issuer("require: {claims: {a: ''}}"), "providers.acme.require.claims"},
		"claims otherwise":    {issuer("claims: {sub: a}"), "providers.acme.claims.sub"},
		"age is a number":     {issuer("max_age: 1ms"), "providers.acme.max_age"},
		"two of one iss":      {"{a: {issuer: 'https://a.example', " + rest + "}, b: {issuer: 'https://a.example', " + rest + "}}", "providers.b.issuer"},
	} {
		t.Run(name, func(t *testing.T) {
			fileIsRefused(t, "providers: "+row.providers, row.names, "hunter2")
		})
	}
}

// All that can be said is read, printed without secrets, and read again.
func TestProvidersOfTheFile(t *testing.T) {
	good(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(otherAppSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	path := configFile(t, strings.ReplaceAll(providersFile, "secret: "+otherAppSecret, "secret_file: "+secret))
	if code, stdout, stderr := command(t, "config", "check", "--config", path); code != 0 {
		t.Fatalf("exit %d: %s%s", code, stdout, stderr)
	}
	code, printed, _ := command(t, "config", "print", "--config", path)
	if code != 0 || strings.Contains(printed, appSecret) || strings.Contains(printed, otherAppSecret) {
		t.Errorf("exit %d: %s", code, printed)
	}
	for _, want := range []string{"wx1234567890abcdef", "jwks_url: https://keys.acme.example/jwks", "staff: \"true\"", "max_age: 12h0m0s", "id_tokens: true", "sessions: true", "picture: avatar"} {
		if !strings.Contains(printed, want) {
			t.Errorf("%q is not printed: %s", want, printed)
		}
	}
	if code, again, stderr := command(t, "config", "print", "--config", configFile(t, printed)); code != 0 || again != printed || strings.Count(printed, "secret: (hidden)") != 4 {
		t.Errorf("exit %d: %s\n%s\nwas\n%s", code, stderr, again, printed)
	}
	if code, bare, _ := command(t, "config", "print", "--config", configFile(t, "providers:\n")); code != 0 || strings.Contains(bare, "providers") {
		t.Errorf("no providers: exit %d: %s", code, bare)
	}
	file, err := openFile([]string{"--config", path})
	if err != nil {
		t.Fatal(err)
	}
	c := &Config{PublicURL: "https://login.example"}
	if c.Providers, err = file.providers(); err != nil {
		t.Fatal(err)
	}
	if err := c.loadProviders(); err != nil || c.Providers.WeChat.Site.Secret != otherAppSecret {
		t.Errorf("%v", err)
	}
	want := []string{"api.weixin.qq.com", "127.0.0.1:9999", "keys.acme.example", "id.acme.example", "other.example"}
	if hosts := c.Providers.hosts(); !slices.Equal(slices.Sorted(slices.Values(hosts)), slices.Sorted(slices.Values(want))) {
		t.Errorf("calls may go to %q", hosts)
	}
	p, err := openProviders(c, nil, nil, nil)
	if err != nil || len(p.all) != 4 || len(p.run) != 4 || len(p.redirectors) != 1 || p.page != "" {
		t.Errorf("%v %v", err, p)
	}
}
