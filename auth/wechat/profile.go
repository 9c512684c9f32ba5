package wechat

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/url"
	"time"

	"scanlogin/auth"
)

const (
	profileFresh = 24 * time.Hour // varied by up to a fifth
	profileLife  = 30 * 24 * time.Hour
	maxPicture   = 512
)

// nameless is what WeChat itself calls somebody whose name it does not tell.
const nameless = "微信用户"

// profile is a person's name and picture as WeChat last told them; the record
// of profileKey.
type profile struct {
	Name    string `json:"name,omitempty"`
	Picture string `json:"picture,omitempty"`
	Fresh   int64  `json:"fresh"` // until then WeChat is not asked again; Unix milliseconds
}

// profileKey is by person, not by app: one who is known by a unionid has one
// profile for all three forms.
func profileKey(subject string) string { return "wechat-profile:" + subject }

func (p profile) identity(subject string) auth.Identity {
	who := auth.Identity{Provider: "wechat", Subject: subject, Name: p.Name, Picture: p.Picture}
	if who.Name == "" {
		who.Name = nameless
	}
	return who
}

// profile is the kept one while it is fresh, else WeChat's, else the kept one
// however old, else an empty one. It cannot fail: nobody is kept out for want of
// a picture.
func (s service) profile(ctx context.Context, app App, subject, openID, token string) profile {
	kept, ok := s.load(ctx, subject)
	now := time.Now()
	if ok && now.UnixMilli() < kept.Fresh {
		return kept
	}
	var told struct {
		OpenID  string `json:"openid"`
		Name    string `json:"nickname"`
		Picture string `json:"headimgurl"`
	}
	if err := s.ask(ctx, question{
		name: "userinfo", app: app.ID, path: "/sns/userinfo",
		query: url.Values{"access_token": {token}, "openid": {openID}, "lang": {"zh_CN"}},
	}, &told); err != nil || told.OpenID != openID {
		s.config.Logger.Debug("a profile is not to be had", "app", app.ID, "kept", ok, "error", err)
		return kept
	}
	fresh := profile{Name: auth.CleanName(told.Name), Picture: cleanPicture(told.Picture), Fresh: now.Add(varied(profileFresh)).UnixMilli()}
	s.save(ctx, subject, fresh)
	return fresh
}

// varied is d, up to a fifth more or less: what was kept in one busy hour is
// not all asked for again in another.
func varied(d time.Duration) time.Duration {
	return d - d/5 + rand.N(2*d/5+1)
}

// load is the kept profile. A store that is away has none; the sign-in will
// hear of that from whoever writes the session.
func (s service) load(ctx context.Context, subject string) (p profile, ok bool) {
	value, rev, err := s.config.Store.Load(ctx, profileKey(subject))
	if err != nil || rev == 0 || json.Unmarshal(value, &p) != nil {
		return profile{}, false
	}
	return p, true
}

func (s service) save(ctx context.Context, subject string, p profile) {
	value, err := json.Marshal(p)
	if err == nil {
		_, err = s.config.Store.Update(ctx, profileKey(subject), func([]byte) ([]byte, time.Duration, error) {
			return value, profileLife, nil
		})
	}
	if err != nil {
		s.config.Logger.Debug("a profile could not be kept", "error", err)
	}
}

// cleanPicture is the picture's address by https, which WeChat's hosts all
// speak, or none.
func cleanPicture(picture string) string {
	u, err := url.Parse(picture)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return ""
	}
	u.Scheme = "https"
	if picture = u.String(); len(picture) > maxPicture {
		return ""
	}
	return picture
}
