package wechat_test

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"scanlogin/auth"
	"scanlogin/auth/wechat"
	"scanlogin/auth/wechat/wechattest"
)

func TestOnePersonIsOneAccountInAllThreeForms(t *testing.T) {
	s := newSite(t)
	inSite, inWeChat := s.mustWeb(ann, chrome), s.mustWeb(ann, wechatPhone)
	inMini, err := s.mini(s.wechat.Code(miniApp.ID, ann))
	if err != nil {
		t.Fatal(err)
	}
	want := auth.Identity{Provider: "wechat", Subject: ann.UnionID, Name: "小明", Picture: "https://thirdwx.qlogo.cn/mmopen/a/132"}
	for form, who := range map[string]auth.Identity{"site": inSite, "in WeChat": inWeChat, "mini-program": inMini} {
		if who != want {
			t.Errorf("%s: %+v, want %+v", form, who, want)
		}
	}
}

func TestWithoutAUnionIDTheAppIsPartOfTheSubject(t *testing.T) {
	s := newSite(t)
	subjects := map[string]bool{s.mustWeb(bob, chrome).Sub(): true, s.mustWeb(bob, wechatPhone).Sub(): true}
	who, err := s.mini(s.wechat.Code(miniApp.ID, bob))
	if err != nil {
		t.Fatal(err)
	}
	subjects[who.Sub()] = true
	for _, app := range []wechat.App{siteApp, inApp, miniApp} {
		if sub := "wechat:" + app.ID + ":" + bob.OpenID(app.ID); !subjects[sub] {
			t.Errorf("%s is not in %v", sub, subjects)
		}
	}
	if who.Name != "微信用户" {
		t.Errorf("a mini-program's user is %q", who.Name)
	}
}

func TestRedirectIsWeChatsPageForTheBrowser(t *testing.T) {
	s := newSite(t)
	s.wechat.Visitor(&ann)
	browser := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer browser.CloseIdleConnections()
	state := strings.Repeat("aZ9", 42)
	for _, agent := range []string{chrome, wechatPhone} {
		p := wechat.NewWeb(s.config)
		to := p.Redirect(state, agent)
		if !strings.HasSuffix(to, "#wechat_redirect") || strings.Contains(to, "secret") {
			t.Errorf("redirect to %s", to)
		}
		answer, err := browser.Get(to)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		back, err := url.Parse(answer.Header.Get("Location"))
		if err != nil || answer.StatusCode != http.StatusFound || !strings.HasPrefix(back.String(), callback+"?") || back.Query().Get("state") != state {
			t.Fatalf("WeChat answers %d %s, %v", answer.StatusCode, back, err)
		}
		if who, err := p.Authenticate(t.Context(), p.Credential(back.Query().Get("code"), agent)); err != nil || who.Subject != ann.UnionID {
			t.Errorf("back from WeChat: %v, %v", who, err)
		}
	}
	s.calls(wechattest.SitePage, 1)
	s.calls(wechattest.InAppPage, 1)
}

func TestWithOnlyOneAppEveryBrowserIsSentThere(t *testing.T) {
	s := newSite(t)
	for _, row := range []struct {
		site, inApp wechat.App
		want        string
	}{
		{siteApp, wechat.App{}, "/connect/qrconnect?appid=" + siteApp.ID},
		{wechat.App{}, inApp, "/connect/oauth2/authorize?appid=" + inApp.ID},
	} {
		s.config.Site, s.config.InApp = row.site, row.inApp
		for _, agent := range []string{chrome, wechatPhone, ""} {
			if to := wechat.NewWeb(s.config).Redirect("s", agent); !strings.Contains(to, row.want) {
				t.Errorf("%q is sent to %s", agent, to)
			}
		}
	}
}

// F24, B45: a callback that is loaded again, a code that somebody kept.
func TestUsedWrongAndForeignCodesAreRefused(t *testing.T) {
	s := newSite(t)
	p := wechat.NewWeb(s.config)
	used := p.Credential(s.wechat.Code(siteApp.ID, ann), chrome)
	if _, err := p.Authenticate(t.Context(), used); err != nil {
		t.Fatal(err)
	}
	for name, credential := range map[string]string{
		"used":               used,
		"made up":            siteApp.ID + ":nothing",
		"of another app":     p.Credential(s.wechat.Code(inApp.ID, ann), chrome),
		"of the mini app":    p.Credential(s.wechat.Code(miniApp.ID, ann), chrome),
		"of another browser": p.Credential(s.wechat.Code(siteApp.ID, ann), wechatPhone),
	} {
		if _, err := p.Authenticate(t.Context(), credential); !errors.Is(err, auth.ErrInvalidCredential) {
			t.Errorf("%s: %v", name, err)
		}
	}
	old := s.wechat.Code(miniApp.ID, ann)
	s.wechat.Forward(6 * time.Minute)
	if _, err := s.mini(old); !errors.Is(err, auth.ErrInvalidCredential) {
		t.Errorf("too old: %v", err)
	}
}

// B44, T45: what cannot be a code costs no call, and an openid is no code.
func TestWhatIsNoCodeIsRefusedWithoutACall(t *testing.T) {
	s := newSite(t)
	p := wechat.NewWeb(s.config)
	for _, credential := range []string{
		"", ":", ":code", "code", siteApp.ID, siteApp.ID + ":", miniApp.ID + ":code",
		siteApp.ID + ":" + strings.Repeat("a", 513), ann.OpenID(siteApp.ID), ann.UnionID,
	} {
		if _, err := p.Authenticate(t.Context(), credential); !errors.Is(err, auth.ErrInvalidCredential) {
			t.Errorf("%.40q: %v", credential, err)
		}
	}
	for _, code := range []string{"", strings.Repeat("a", 513)} {
		if _, err := s.mini(code); !errors.Is(err, auth.ErrInvalidCredential) {
			t.Errorf("%.40q: %v", code, err)
		}
	}
	s.calls(wechattest.AccessToken, 0)
	s.calls(wechattest.Code2Session, 0)
}

// WeChat shows pages as snapshots with one made-up user for all who look.
func TestSnapshotUsersAreNobody(t *testing.T) {
	s := newSite(t)
	made := ann
	made.Snapshot = true
	if who, err := s.web(made, wechatPhone); !errors.Is(err, auth.ErrInvalidCredential) {
		t.Errorf("a snapshot's user is %v, %v", who, err)
	}
	s.calls(wechattest.UserInfo, 0)
}

// An id with a colon could be another person's `sub`.
func TestAnswersWithUnusableIDsAreNobody(t *testing.T) {
	s := newSite(t)
	for _, body := range []string{
		`{}`, `null`, `{"openid":""}`, `{"openid":"a:b"}`, `{"openid":"o1","unionid":"wx1:o2"}`, `{"openid":"o\u0000"}`,
		`{"openid":"` + strings.Repeat("o", 129) + `"}`, `{"unionid":"u1"}`, `{"errcode":0}`,
	} {
		s.wechat.Script(wechattest.Code2Session, wechattest.Body(body))
		if who, err := s.mini("code"); !errors.Is(err, auth.ErrProviderBusy) {
			t.Errorf("%s: %v, %v", body, who, err)
		}
	}
}
