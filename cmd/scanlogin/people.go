package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"slices"
	"time"

	"scanlogin/auth"
	"scanlogin/auth/demo"
	"scanlogin/auth/oidc"
	"scanlogin/auth/outbound"
	"scanlogin/auth/wechat"
)

// people are the providers in force: who knows the people.
type people struct {
	all         map[string]auth.Provider
	page        string   // that signs them in on the phone pages by a form; empty: none
	redirectors []string // that they can be sent to from there
	run         []func(context.Context) error
}

// openProviders makes the providers that are configured, and asks nobody. A new
// kind of provider is one more function here.
func openProviders(c *Config, shared wechat.Store, observe func(string, time.Duration, error), log *slog.Logger) (people, error) {
	p := people{all: map[string]auth.Provider{}}
	out := outbound.New(outbound.Config{Hosts: c.Providers.hosts(), Observe: observe, Logger: log})
	if len(c.DemoUsers) > 0 {
		p.all["demo"], p.page = demo.New(c.DemoUsers), "demo"
	}
	p.addWeChat(c, wechat.Config{Client: out, Store: shared, Logger: log})
	for _, name := range slices.Sorted(maps.Keys(c.Providers.Issuers)) {
		said := c.Providers.Issuers[name]
		one, err := oidc.New(oidc.Config{
			Name: name, Issuer: said.Issuer, PublicURL: c.PublicURL, JWKSURL: said.JWKSURL, JWKSFile: said.JWKSFile,
			Audience: said.Audience, Algorithms: said.Algorithms, Apps: said.Apps,
			Require: oidc.Require{Scopes: said.Require.Scopes, Claims: said.Require.Claims},
			Claims:  oidc.Claims(said.Claims), MaxAge: said.MaxAge, IDTokens: said.IDTokens, Sessions: said.Sessions, Client: out, Logger: log,
		})
		if err != nil {
			return people{}, fmt.Errorf("providers: %w", err)
		}
		p.all[name], p.run = one, append(p.run, one.Run)
	}
	for _, name := range slices.Sorted(maps.Keys(p.all)) {
		if _, ok := p.all[name].(auth.Redirector); ok {
			p.redirectors = append(p.redirectors, name)
		}
	}
	return p, nil
}

func (p *people) addWeChat(c *Config, with wechat.Config) {
	keep := func(app wechat.App) { p.run = append(p.run, wechat.NewAppToken(with, app).Run) }
	if said := c.Providers.Mini; said != nil {
		with.Mini, with.API = said.registered(), said.API
		p.all["wechat-mini"] = wechat.NewMini(with)
		keep(with.Mini)
	}
	if said := c.Providers.WeChat; said != nil {
		with.Site, with.InApp, with.API, with.Open = said.Site.registered(), said.InApp.registered(), said.API, said.Open
		with.Callback = c.PublicURL + "/v1/signin/wechat/callback"
		p.all["wechat"] = wechat.NewWeb(with)
		if said.InApp != nil {
			keep(with.InApp)
		}
	}
}

// registered is the app as its room takes it; without one, the zero App.
func (a *weChatApp) registered() wechat.App {
	if a == nil {
		return wechat.App{}
	}
	return wechat.App{ID: a.ID, Secret: string(a.Secret)}
}

// hosts are where calls may go: those that the configuration names, and no other.
func (p providers) hosts() []string {
	const theirs = "https://api.weixin.qq.com" // WeChat's, as its room has it
	var hosts []string
	if p.Mini != nil {
		hosts = append(hosts, hostOf(cmp.Or(p.Mini.API, theirs)))
	}
	if p.WeChat != nil {
		hosts = append(hosts, hostOf(cmp.Or(p.WeChat.API, theirs)))
	}
	for _, one := range p.Issuers {
		hosts = append(hosts, hostOf(one.JWKSURL), hostOf(one.Issuer))
	}
	return slices.DeleteFunc(hosts, func(host string) bool { return host == "" })
}

// hostOf is host and port of an address; empty if it has none.
func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return ""
	}
	if u.Scheme == "http" && u.Port() == "" {
		return net.JoinHostPort(u.Hostname(), "80")
	}
	return u.Host
}

// warn says what an operator should know of who can sign in.
func (p people) warn(users int, log *slog.Logger) {
	if len(p.all) == 0 {
		log.Warn("nobody can sign in on a phone: there are no providers in the configuration file, and no demo_users")
	}
	if users > 0 {
		log.Warn("demo users can sign in without a password; never do this where it matters", "users", users)
	}
}
