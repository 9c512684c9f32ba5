package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// good is the least that serve needs.
func good(t *testing.T) {
	t.Helper()
	t.Setenv("SCANLOGIN_PUBLIC_URL", "https://login.example")
	t.Setenv("SCANLOGIN_SECRET", testSecret)
}

func command(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = run(t.Context(), args, &out, &err)
	return code, out.String(), err.String()
}

func TestWrongConfigurationIsOneLineThatNamesTheField(t *testing.T) {
	file := func(content string) string {
		path := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, row := range map[string]struct {
		env   map[string]string
		args  []string
		names string
	}{
		"unknown environment name": {env: map[string]string{"SCANLOGIN_TICKET_TLL": "5s"}, names: "SCANLOGIN_TICKET_TLL"},
		"unknown flag":             {args: []string{"--ticket-tll=5s"}, names: "--ticket-tll"},
		"unknown file key":         {args: []string{"--config", file("ticket_tll: 5s")}, names: "ticket_tll"},
		"file that is no YAML":     {args: []string{"--config", file("a: [")}, names: "config"},
		"a map in a list":          {args: []string{"--config", file("origins: [{a: b}]")}, names: "origins"},
		"a map where a word is":    {args: []string{"--config", file("listen: {a: b}")}, names: "listen"},
		"no such file":             {args: []string{"--config", "/does/not/exist"}, names: "config"},
		"duration without unit":    {args: []string{"--ticket-ttl=5"}, names: "ticket-ttl"},
		"duration too short":       {args: []string{"--heartbeat=999ms"}, names: "heartbeat"},
		"zero duration":            {env: map[string]string{"SCANLOGIN_DRAIN": "0s"}, names: "drain"},
		"no public URL":            {env: map[string]string{"SCANLOGIN_PUBLIC_URL": ""}, names: "public_url"},
		"public URL with a path":   {args: []string{"--public-url=https://login.example/app"}, names: "public_url"},
		"public URL with a query":  {args: []string{"--public-url=https://login.example?a=b"}, names: "public_url"},
		"public URL of ftp":        {args: []string{"--public-url=ftp://login.example"}, names: "public_url"},
		"public URL with a user":   {args: []string{"--public-url=https://me@login.example"}, names: "public_url"},
		"origin with a path":       {args: []string{"--origins=https://a.example,https://b.example/x"}, names: "origins"},
		"no secret":                {env: map[string]string{"SCANLOGIN_SECRET": ""}, names: "secret"},
		"short secret":             {env: map[string]string{"SCANLOGIN_SECRET": "short"}, names: "secret"},
		"short previous secret":    {env: map[string]string{"SCANLOGIN_SECRET_PREVIOUS": "short"}, names: "secret_previous"},
		"secret and its file":      {env: map[string]string{"SCANLOGIN_SECRET_FILE": file(testSecret)}, names: "secret_file"},
		"secret file is missing":   {env: map[string]string{"SCANLOGIN_SECRET": "", "SCANLOGIN_SECRET_FILE": "/does/not/exist"}, names: "secret_file"},
		"Redis URL of http":        {args: []string{"--redis-url=http://localhost"}, names: "redis_url"},
		"listen without a port":    {args: []string{"--listen=localhost"}, names: "listen"},
		"listen on no port":        {args: []string{"--listen=:99999"}, names: "listen"},
		"listen on a word":         {args: []string{"--listen=127.0.0.1:abc"}, names: "listen"},
		"listen on no address":     {args: []string{"--listen=1.2.3.4.5:80"}, names: "listen"},
		"admin on a word":          {args: []string{"--admin-listen=:abc"}, names: "admin_listen"},
		"public URL, no such port": {args: []string{"--public-url=http://x:99999"}, names: "public_url"},
		"public URL, empty port":   {args: []string{"--public-url=http://x:"}, names: "public_url"},
		"public URL, empty query":  {args: []string{"--public-url=http://x?"}, names: "public_url"},
		"public URL with a star":   {args: []string{"--public-url=http://*.x"}, names: "public_url"},
		"a second YAML document":   {args: []string{"--config", file("ticket_ttl: 5s\n---\nfoo: 1\n")}, names: "config"},
		"duration too long":        {args: []string{"--refresh-grace=2562047h"}, names: "refresh_grace"},
		"proxies that are no CIDR": {args: []string{"--trusted-proxies=10.0.0.1"}, names: "trusted-proxies"},
		"demo users in production": {args: []string{"--env=production", "--demo-users=alice"}, names: "demo_users"},
		"unknown environment":      {args: []string{"--env=staging"}, names: "env"},
		"check code sometimes":     {args: []string{"--check-code=sometimes"}, names: "check-code"},
		"places in no file":        {args: []string{"--geoip-db=/nowhere/city.mmdb"}, names: "scanlogin: geoip_db: /nowhere/city.mmdb: no such file or directory\n"},
		"places in a directory":    {args: []string{"--geoip-db=/"}, names: "scanlogin: geoip_db: /: not a regular file\n"},
		"places in a device":       {args: []string{"--geoip-db=/dev/null"}, names: "scanlogin: geoip_db: /dev/null: not a regular file\n"},
		"places in a text":         {args: []string{"--geoip-db=cli_test.go"}, names: "scanlogin: geoip_db: cli_test.go: not a database in MaxMind's format, or a damaged one\n"},
		"limits by halves":         {args: []string{"--limits=some"}, names: `limits: "some" is neither on nor off`},
		"signing with a secret":    {args: []string{"--signing-alg=HS256"}, names: "signing-alg"},
		"unknown log format":       {args: []string{"--log=xml"}, names: "log"},
	} {
		t.Run(name, func(t *testing.T) {
			good(t)
			for key, value := range row.env {
				t.Setenv(key, value)
			}
			code, _, stderr := command(t, append([]string{"config", "check"}, row.args...)...)
			if code != 2 || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, row.names) {
				t.Errorf("exit %d: %q", code, stderr)
			}
			if strings.Contains(stderr, testSecret) {
				t.Error("the secret is in the error")
			}
			if code, _, _ = command(t, append([]string{"serve"}, row.args...)...); code != 2 {
				t.Errorf("serve: exit %d", code)
			}
		})
	}
}

func TestEverySettingHasOneNameInThreePlaces(t *testing.T) {
	good(t)
	path := filepath.Join(t.TempDir(), "c.yaml")
	content := "ticket_ttl: &t 11s\ndrain: *t\nredis_prefix: 010\nconfirm_ttl: 12s\nredeem_ttl: 13s\norigins: [https://a.example, 'https://B.example:443/']\ntrusted_proxies:\n  - 10.0.0.0/8\n"
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SCANLOGIN_CONFIG", path)
	t.Setenv("SCANLOGIN_CONFIRM_TTL", "22s")
	t.Setenv("SCANLOGIN_REDEEM_TTL", "23s")
	t.Setenv("SCANLOGIN_SERVICE_HOST", "10.1.2.3") // Kubernetes
	t.Setenv("SCANLOGIN_PORT", "tcp://10.1.2.3:8080")
	t.Setenv("SCANLOGIN_PORT_8080_TCP", "tcp://10.1.2.3:8080")
	code, stdout, stderr := command(t, "config", "print", "--redeem-ttl=33s")
	if code != 0 {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	for _, want := range []string{"ticket_ttl: 11s", "drain: 11s", "010", "confirm_ttl: 22s", "redeem_ttl: 33s", "qr_rotate: 30s", "- 10.0.0.0/8", "secret: (hidden)"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
	if strings.Contains(stdout, testSecret) {
		t.Error("the secret is printed")
	}
	if code, stdout, stderr = command(t, "config", "check"); code != 0 || !strings.Contains(stdout, "good") {
		t.Errorf("check: exit %d: %s%s", code, stdout, stderr)
	}
}

func TestSecretsComeFromFilesToo(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"secret": testSecret + "\n", "redis": "redis://user:hunter2@localhost:6379/0\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("SCANLOGIN_PUBLIC_URL", "https://login.example")
	t.Setenv("SCANLOGIN_SECRET_FILE", filepath.Join(dir, "secret"))
	t.Setenv("SCANLOGIN_REDIS_URL_FILE", filepath.Join(dir, "redis"))
	if code, _, stderr := command(t, "config", "check"); code != 0 {
		t.Errorf("exit %d: %s", code, stderr)
	}
	code, stdout, stderr := command(t, "config", "print")
	if code != 0 || strings.Contains(stdout, "hunter2") || !strings.Contains(stdout, "localhost:6379") {
		t.Errorf("exit %d: %s%s", code, stdout, stderr)
	}
	t.Setenv("SCANLOGIN_REDIS_URL_FILE", "")
	for _, url := range []string{"redis+sentinel://me:hunter2:main@a:1,b:2/0", "redis://me:hunt%er2@a"} { // the second can't be parsed
		code, stdout, _ = command(t, "config", "print", "--redis-url", url)
		if code != 0 || strings.Contains(stdout, "hunt") {
			t.Errorf("%s: exit %d: %s", url, code, stdout)
		}
	}
}

func TestHealthcheckAsksTheRunningServer(t *testing.T) {
	s := startServer(t, serveEnv("http://localhost:1")).ready(t)
	port := s.url[strings.LastIndex(s.url, ":"):]
	if code, _, stderr := command(t, "healthcheck", "--listen="+port); code != 0 {
		t.Errorf("of a healthy server: exit %d: %s", code, stderr)
	}
	if code, _, stderr := command(t, "healthcheck", "--listen="+strings.TrimPrefix(s.url, "http://")); code != 0 {
		t.Errorf("by its whole address: exit %d: %s", code, stderr)
	}
	s.kill()
	if code, _, stderr := command(t, "healthcheck", "--listen="+port); code != 1 || !strings.Contains(stderr, "not ready") {
		t.Errorf("of a dead server: exit %d: %s", code, stderr)
	}
}

func TestTakenPortIsToldAtOnce(t *testing.T) {
	s := startServer(t, serveEnv("http://localhost:1"))
	good(t)
	code, _, stderr := command(t, "serve", "--listen="+strings.TrimPrefix(s.url, "http://"), "--admin-listen=127.0.0.1:0")
	if code != 1 || !strings.Contains(stderr, "listen") || strings.Count(stderr, "\n") != 1 {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

func TestVersion(t *testing.T) {
	if code, stdout, _ := command(t, "version"); code != 0 || !strings.HasPrefix(stdout, "scanlogin ") {
		t.Errorf("exit %d: %s", code, stdout)
	}
	if code, stdout, _ := command(t, "--help"); code != 0 || !strings.Contains(stdout, "healthcheck") {
		t.Errorf("help: exit %d: %s", code, stdout)
	}
}

func TestDemoTakesAPublicURLAsServeDoes(t *testing.T) {
	s := startServer(t, []string{
		"SCANLOGIN_LISTEN=127.0.0.1:0", "SCANLOGIN_ADMIN_LISTEN=127.0.0.1:0", "SCANLOGIN_LOG=json", "SCANLOGIN_PUBLIC_URL=http://LOCALHOST:80/",
	}, "demo")
	if l := newCaller(t, s.url).create(); !strings.HasPrefix(l.qr, "http://localhost/s/") {
		t.Errorf("the QR shows %s", l.qr)
	}
	if said := s.output(); !strings.Contains(said, "alice or bob") || !strings.Contains(said, "http://localhost") {
		t.Errorf("the banner: %s", said)
	}
}
