package main

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// providers is what the file says of who knows the people. A name that is not one
// of WeChat's forms is an issuer's.
type providers struct {
	Mini    *miniProgram      `yaml:"wechat-mini,omitempty"`
	WeChat  *weChat           `yaml:"wechat,omitempty"`
	Issuers map[string]issuer `yaml:",inline"`
}

// weChatApp is one app that is registered with WeChat.
type weChatApp struct {
	ID         string `yaml:"app_id"`
	Secret     hidden `yaml:"secret,omitempty"`
	SecretFile string `yaml:"-"`
}

type miniProgram struct {
	weChatApp `yaml:",inline"`
	API       string `yaml:"api_url,omitempty"`
}

type weChat struct {
	Site  *weChatApp `yaml:"site,omitempty"`   // for ordinary browsers
	InApp *weChatApp `yaml:"in_app,omitempty"` // for WeChat's own
	API   string     `yaml:"api_url,omitempty"`
	Open  string     `yaml:"open_url,omitempty"`
}

// issuer signs tokens that are phone tokens here; auth/oidc has the meaning of
// each member, and checks them.
type issuer struct {
	Issuer     string        `yaml:"issuer"`
	JWKSURL    string        `yaml:"jwks_url,omitempty"`
	JWKSFile   string        `yaml:"jwks_file,omitempty"`
	Audience   list          `yaml:"audience"`
	Algorithms list          `yaml:"algorithms"`
	Apps       list          `yaml:"apps"`
	Require    required      `yaml:"require"`
	Claims     claimNames    `yaml:"claims,omitempty"`
	MaxAge     time.Duration `yaml:"max_age,omitempty"`
	IDTokens   bool          `yaml:"id_tokens,omitempty"`
	Sessions   bool          `yaml:"sessions,omitempty"`
}

type required struct {
	Scopes list              `yaml:"scopes,omitempty"`
	Claims map[string]string `yaml:"claims,omitempty"`
}

type claimNames struct {
	Subject string `yaml:"subject,omitempty"`
	Name    string `yaml:"name,omitempty"`
	Picture string `yaml:"picture,omitempty"`
}

// What a member of the file has to be.
const (
	oneValue  = "one value"
	someList  = "one value or a list of values"
	someFile  = "the name of a file"
	someMap   = "a map of members"
	someClaim = "the name of a claim"
)

// readProviders turns the part of the file into providers, or says in one line
// which member of which one is wrong.
func readProviders(node *yaml.Node) (p providers, err error) {
	var entries map[string]yaml.Node
	if err := decode("providers", node, &entries, "a map by name"); err != nil {
		return p, err
	}
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		entry, path := entries[name], "providers."+name
		switch name {
		case "demo":
			err = fmt.Errorf("%s: the demo's users are set by demo_users; another name is needed", path)
		case "wechat-mini":
			p.Mini, err = readMini(path, &entry)
		case "wechat":
			p.WeChat, err = readWeChat(path, &entry)
		default:
			if p.Issuers == nil {
				p.Issuers = map[string]issuer{}
			}
			p.Issuers[name], err = readIssuer(path, &entry)
		}
		if err != nil {
			return providers{}, err
		}
	}
	return p, nil
}

func readMini(path string, node *yaml.Node) (*miniProgram, error) {
	m := &miniProgram{}
	known := m.members()
	known["api_url"] = member{&m.API, "a URL"}
	if err := readMembers(path, node, known); err != nil {
		return nil, err
	}
	return m, cmp.Or(m.check(path), checkBase(path+".api_url", &m.API))
}

func readWeChat(path string, node *yaml.Node) (*weChat, error) {
	w := &weChat{}
	var site, inApp yaml.Node
	if err := readMembers(path, node, map[string]member{
		"site": {&site, someMap}, "in_app": {&inApp, someMap}, "api_url": {&w.API, "a URL"}, "open_url": {&w.Open, "a URL"},
	}); err != nil {
		return nil, err
	}
	for _, one := range []struct {
		name string
		node *yaml.Node
		app  **weChatApp
	}{{"site", &site, &w.Site}, {"in_app", &inApp, &w.InApp}} {
		if one.node.IsZero() {
			continue
		}
		*one.app = &weChatApp{}
		at := path + "." + one.name
		if err := readMembers(at, one.node, (*one.app).members()); err != nil {
			return nil, err
		}
		if err := (*one.app).check(at); err != nil {
			return nil, err
		}
	}
	switch {
	case w.Site == nil && w.InApp == nil:
		return nil, fmt.Errorf("%s.site: required, or in_app", path)
	case w.Site != nil && w.InApp != nil && w.Site.ID == w.InApp.ID:
		return nil, fmt.Errorf("%s.in_app.app_id: site has the same; they are two apps at WeChat", path)
	}
	return w, cmp.Or(checkBase(path+".api_url", &w.API), checkBase(path+".open_url", &w.Open))
}

func (a *weChatApp) members() map[string]member {
	return map[string]member{
		"app_id": {&a.ID, oneValue}, "secret": {&a.Secret, oneValue}, "secret_file": {&a.SecretFile, someFile},
	}
}

var weChatID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// check names no value: somebody may have put the secret there.
func (a *weChatApp) check(path string) error {
	switch {
	case !weChatID.MatchString(a.ID):
		return fmt.Errorf("%s.app_id: required, 1 to 64 of A-Z a-z 0-9 _ -, as WeChat's console shows it", path)
	case a.Secret == "" && a.SecretFile == "":
		return fmt.Errorf("%s.secret: required, or secret_file", path)
	}
	return nil
}

func readIssuer(path string, node *yaml.Node) (i issuer, err error) {
	var require, claims yaml.Node
	err = readMembers(path, node, map[string]member{
		"issuer": {&i.Issuer, oneValue}, "jwks_url": {&i.JWKSURL, "a URL"}, "jwks_file": {&i.JWKSFile, someFile},
		"audience": {&i.Audience, someList}, "algorithms": {&i.Algorithms, someList}, "apps": {&i.Apps, someList},
		"require": {&require, someMap}, "claims": {&claims, someMap},
		"max_age": {&i.MaxAge, "a duration, for example 12h,"}, "id_tokens": {&i.IDTokens, "true or false"},
		"sessions": {&i.Sessions, "true or false"},
	})
	if err != nil {
		return i, err
	}
	if !require.IsZero() {
		if err := readMembers(path+".require", &require, map[string]member{
			"scopes": {&i.Require.Scopes, someList}, "claims": {&i.Require.Claims, "a map of claims to their values"},
		}); err != nil {
			return i, err
		}
	}
	for name, value := range i.Require.Claims {
		if name == "" || value == "" {
			return i, fmt.Errorf("%s.require.claims: each claim needs a name and a value", path)
		}
	}
	if !claims.IsZero() {
		if err := readMembers(path+".claims", &claims, map[string]member{
			"subject": {&i.Claims.Subject, someClaim}, "name": {&i.Claims.Name, someClaim}, "picture": {&i.Claims.Picture, someClaim},
		}); err != nil {
			return i, err
		}
	}
	if i.MaxAge != 0 {
		err = checkDuration(path+".max_age", i.MaxAge)
	}
	return i, err
}

// checkBase looks at the address of somebody else's server, if there is one, and
// brings it into its form: secrets go there, in clear only on this machine.
func checkBase(at string, base *string) error {
	if *base == "" {
		return nil
	}
	u, err := url.Parse(*base)
	if err != nil || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || strings.ContainsAny(*base, "?#") || !secured(u) {
		return fmt.Errorf("%s: https, a host (and port) and nothing else are needed; http only on this machine", at)
	}
	*base = u.Scheme + "://" + u.Host
	return nil
}

// secured says whether what goes to an address can be read on the way.
func secured(u *url.URL) bool {
	ip, err := netip.ParseAddr(u.Hostname())
	loopback := u.Hostname() == "localhost" || err == nil && ip.IsLoopback()
	return u.Scheme == "https" || u.Scheme == "http" && loopback
}

// loadProviders reads secrets from the files that were named.
func (c *Config) loadProviders() error {
	for at, app := range c.Providers.apps() {
		if err := loadFile(at+".secret", app.SecretFile, (*string)(&app.Secret)); err != nil {
			return err
		}
	}
	return nil
}

// apps are those of WeChat, by their place in the file.
func (p providers) apps() map[string]*weChatApp {
	apps := map[string]*weChatApp{}
	if p.Mini != nil {
		apps["providers.wechat-mini"] = &p.Mini.weChatApp
	}
	if p.WeChat != nil && p.WeChat.Site != nil {
		apps["providers.wechat.site"] = p.WeChat.Site
	}
	if p.WeChat != nil && p.WeChat.InApp != nil {
		apps["providers.wechat.in_app"] = p.WeChat.InApp
	}
	return apps
}

func (c *Config) checkProviders() error {
	for at, app := range c.Providers.apps() {
		if app.Secret == "" || len(app.Secret) > 128 || strings.ContainsFunc(string(app.Secret), func(r rune) bool { return r <= ' ' || r > '~' }) {
			return fmt.Errorf("%s.secret: 1 to 128 printable characters are needed, as WeChat's console shows it once", at)
		}
	}
	named := map[string]string{} // by `iss`
	for _, name := range slices.Sorted(maps.Keys(c.Providers.Issuers)) {
		iss := c.Providers.Issuers[name].Issuer
		if other, taken := named[iss]; taken && iss != "" {
			return fmt.Errorf("providers.%s.issuer: %s has the same; nobody could say whose token it is", name, other)
		}
		named[iss] = "providers." + name
	}
	_, err := openProviders(c, nil, nil, nil)
	return err
}
