package wechat

import (
	"context"
	"net/url"

	"scanlogin/auth"
)

type mini struct{ service }

// NewMini signs people in from a mini-program: the credential is the code that
// wx.login gave it, good once and for five minutes.
func NewMini(c Config) auth.Provider { return mini{newService(c)} }

// Authenticate exchanges the code (code2Session). Name and picture are those of
// this person's last sign-in on the web, if there was one: mini-programs are not
// told them. The five errors of a provider.
func (m mini) Authenticate(ctx context.Context, code string) (auth.Identity, error) {
	if err := checkCode(code); err != nil {
		return auth.Identity{}, err
	}
	app := m.config.Mini
	var who person
	if err := m.ask(ctx, question{
		name: "code2session", app: app.ID, path: "/sns/jscode2session",
		query: url.Values{
			"appid": {app.ID}, "secret": {app.Secret}, "js_code": {code}, "grant_type": {"authorization_code"},
		},
	}, &who); err != nil {
		return auth.Identity{}, err
	}
	subject, err := who.subject(app)
	if err != nil {
		return auth.Identity{}, err
	}
	known, _ := m.load(ctx, subject)
	return known.identity(subject), nil
}
