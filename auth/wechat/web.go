package wechat

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"scanlogin/auth"
)

// patience bounds a whole sign-in: two calls that are slow must not add up.
const patience = 3500 * time.Millisecond

type web struct{ service }

// NewWeb signs people in through their browser: ordinary ones by a QR code of
// WeChat's own (the website app), the one inside WeChat by a tap (the official
// account).
func NewWeb(c Config) auth.Redirector { return web{newService(c)} }

// app is the one that a browser is sent to. Without a website app the official
// account is all there is; WeChat's page then asks to be opened in WeChat.
func (w web) app(userAgent string) App {
	inside := strings.Contains(userAgent, "MicroMessenger")
	if w.config.InApp.ID != "" && (inside || w.config.Site.ID == "") {
		return w.config.InApp
	}
	return w.config.Site
}

// Redirect is WeChat's page for this browser. WeChat matches the order of the
// query's members; the documented one is the alphabetical one, which is how
// they are encoded.
func (w web) Redirect(state, userAgent string) string {
	app, page, scope := w.app(userAgent), "/connect/qrconnect", "snsapi_login"
	if app == w.config.InApp {
		page, scope = "/connect/oauth2/authorize", "snsapi_userinfo"
	}
	return w.config.Open + page + "?" + url.Values{
		"appid": {app.ID}, "redirect_uri": {w.config.Callback}, "response_type": {"code"}, "scope": {scope}, "state": {state},
	}.Encode() + "#wechat_redirect"
}

// Credential is the code with the id of the app that it is for.
func (w web) Credential(code, userAgent string) string { return w.app(userAgent).ID + ":" + code }

// Authenticate exchanges the code and then looks for name and picture. Only the
// exchange says who somebody is; whatever goes wrong with the second call, the
// sign-in is good. The five errors of a provider.
func (w web) Authenticate(ctx context.Context, credential string) (auth.Identity, error) {
	id, code, _ := strings.Cut(credential, ":")
	app := w.config.Site
	if id == w.config.InApp.ID {
		app = w.config.InApp
	}
	if id == "" || id != app.ID {
		return auth.Identity{}, fmt.Errorf("wechat: not a credential of Credential: %w", auth.ErrInvalidCredential)
	}
	if err := checkCode(code); err != nil {
		return auth.Identity{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var who struct {
		person
		Token    string `json:"access_token"` // of this person, for userinfo
		Snapshot int    `json:"is_snapshotuser"`
	}
	if err := w.ask(ctx, question{
		name: "access_token", app: app.ID, path: "/sns/oauth2/access_token",
		query: url.Values{
			"appid": {app.ID}, "secret": {app.Secret}, "code": {code}, "grant_type": {"authorization_code"},
		},
	}, &who); err != nil {
		return auth.Identity{}, err
	}
	if who.Snapshot != 0 {
		return auth.Identity{}, fmt.Errorf("wechat: a made-up user of a snapshot page: %w", auth.ErrInvalidCredential)
	}
	subject, err := who.subject(app)
	if err != nil {
		return auth.Identity{}, err
	}
	return w.profile(ctx, app, subject, who.OpenID, who.Token).identity(subject), nil
}
