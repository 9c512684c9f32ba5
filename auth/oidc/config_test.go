package oidc_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"scanlogin/auth/oidc"
)

func TestConfigurationThatWouldLetTheWrongOnesIn(t *testing.T) {
	i := newIssuer(ed("1"))
	for field, wrong := range map[string][]func(*oidc.Config){
		"name": {
			func(c *oidc.Config) { c.Name = "" },
			func(c *oidc.Config) { c.Name = "acme:x" },
			func(c *oidc.Config) { c.Name = "Acme" },
			func(c *oidc.Config) { c.Name = strings.Repeat("a", 33) },
		},
		"issuer": {
			func(c *oidc.Config) { c.Issuer = "" },
			func(c *oidc.Config) { c.Issuer = "https://login.example" },
			func(c *oidc.Config) { c.Issuer = "https://LOGIN.example/" },
			func(c *oidc.Config) { c.Issuer, c.JWKSURL = "https://login.example", "https://acme.example/keys" },
			func(c *oidc.Config) { c.Issuer = "http://id.acme.example" },
			func(c *oidc.Config) { c.Issuer = "https://id.acme.example?p=1" },
			func(c *oidc.Config) { c.Issuer = "acme" },
		},
		"jwks_url": {
			func(c *oidc.Config) { c.JWKSURL = "http://id.acme.example/keys" },
			func(c *oidc.Config) { c.JWKSURL = "https://user:word@id.acme.example/keys" },
			func(c *oidc.Config) { c.JWKSURL, c.JWKSFile = "https://id.acme.example/keys", "keys.json" },
		},
		"jwks_file": {func(c *oidc.Config) { c.JWKSFile = filepath.Join(t.TempDir(), "none") }},
		"client":    {func(c *oidc.Config) { c.Client = nil }},
		"audience": {
			func(c *oidc.Config) { c.Audience = nil },
			func(c *oidc.Config) { c.Audience = []string{""} },
		},
		"algorithms": {
			func(c *oidc.Config) { c.Algorithms = nil },
			func(c *oidc.Config) { c.Algorithms = []string{"RS256", "HS256"} },
			func(c *oidc.Config) { c.Algorithms = []string{"none"} },
			func(c *oidc.Config) { c.Algorithms = []string{""} },
		},
		"apps":    {func(c *oidc.Config) { c.Apps = nil }, func(c *oidc.Config) { c.Apps = []string{""} }},
		"require": {func(c *oidc.Config) { c.Require = oidc.Require{} }},
		"require.scopes": {
			func(c *oidc.Config) { c.Require.Scopes = []string{"qr-login", ""} },
			func(c *oidc.Config) { c.Require.Scopes = []string{"openid qr-login"} },
			func(c *oidc.Config) { c.Require.Scopes = []string{"qr-login\t"} },
		},
		"max_age":              {func(c *oidc.Config) { c.MaxAge = -time.Second }},
		"max_age and sessions": {func(c *oidc.Config) { c.MaxAge, c.Sessions = time.Hour, true }},
	} {
		for n, change := range wrong {
			if _, err := oidc.New(i.config(change)); err == nil || !strings.Contains(err.Error(), ": "+field) {
				t.Errorf("%s, case %d: %v", field, n, err)
			}
		}
	}
}
