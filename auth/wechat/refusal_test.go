package wechat_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"scanlogin/auth"
	"scanlogin/auth/wechat"
	"scanlogin/auth/wechat/wechattest"
)

// Each row of the error table, with the errcode as a number and as a string, at
// both doors. B45, F25.
func TestErrorTable(t *testing.T) {
	rows := map[int]error{
		40029: auth.ErrInvalidCredential, 40163: auth.ErrInvalidCredential, 42003: auth.ErrInvalidCredential,
		45011: auth.ErrProviderQuota, 45009: auth.ErrProviderQuota,
		40226: auth.ErrProviderBlocked,
		40001: auth.ErrProviderSetup, 40013: auth.ErrProviderSetup, 40125: auth.ErrProviderSetup, 40164: auth.ErrProviderSetup,
		40243: auth.ErrProviderSetup, 41002: auth.ErrProviderSetup, 41004: auth.ErrProviderSetup, 41008: auth.ErrProviderSetup,
		48001: auth.ErrProviderSetup,
		-2:    auth.ErrProviderBusy, 50002: auth.ErrProviderBusy, 99999999: auth.ErrProviderBusy,
	}
	s := newSite(t)
	for code, want := range rows {
		for form, fault := range map[string]http.HandlerFunc{"number": wechattest.Errcode(code), "string": wechattest.ErrcodeText(code)} {
			s.wechat.Script(wechattest.Code2Session, fault)
			s.wechat.Script(wechattest.AccessToken, fault)
			_, mini := s.mini(s.wechat.Code(miniApp.ID, ann))
			_, web := s.web(ann, chrome)
			for door, err := range map[string]error{"mini": mini, "web": web} {
				if !errors.Is(err, want) {
					t.Errorf("%d as a %s at %s: %v, want %v", code, form, door, err, want)
				}
			}
		}
		logged := s.log.count(fmt.Sprintf(`"errcode":%d`, code))
		errorLines := s.log.count(`"level":"ERROR"`, fmt.Sprintf(`"errcode":%d`, code))
		switch want {
		case auth.ErrProviderSetup:
			if errorLines != 4 {
				t.Errorf("%d: %d Error lines for 4 calls", code, errorLines)
			}
		case auth.ErrProviderBusy, auth.ErrProviderQuota, auth.ErrProviderBlocked:
			if logged != 4 || errorLines != 0 {
				t.Errorf("%d: %d lines, %d of them Error", code, logged, errorLines)
			}
		default: // the user's own affair
			if logged != 0 {
				t.Errorf("%d: %d lines", code, logged)
			}
		}
	}
	s.calls(wechattest.Code2Session, 2*len(rows)) // none of them is asked again
}

// Everything that is no answer of WeChat's. F25, B44.
func TestWhatIsNoAnswerIsBusy(t *testing.T) {
	s := newSite(t)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }))
	defer elsewhere.Close()
	for name, fault := range map[string]http.HandlerFunc{
		"HTML with 200": wechattest.Page(200), "HTML with 502": wechattest.Page(502), "HTML with 404": wechattest.Page(404),
		"reset": wechattest.Reset, "lost": s.wechat.Lost, "empty": wechattest.Body(""), "huge": wechattest.Huge,
		"not JSON": wechattest.Body("ok"), "half": wechattest.Body(`{"openid":"o1`), "list": wechattest.Body(`[]`),
		"two": wechattest.Body(`{"openid":"o1"}{}`), "other types": wechattest.Body(`{"openid":7}`),
		"errcode a word": wechattest.Body(`{"errcode":"x"}`), "errcode a fraction": wechattest.Body(`{"errcode":1.5}`),
		"errcode beyond": wechattest.Body(`{"errcode":99999999999999999999}`), "errcode a list": wechattest.Body(`{"errcode":[]}`),
		"redirect": wechattest.Elsewhere(elsewhere.URL),
	} {
		s.fresh(t) // with closed breakers
		before := s.wechat.Calls(wechattest.Code2Session)
		s.wechat.Script(wechattest.Code2Session, fault)
		_, err := s.mini(s.wechat.Code(miniApp.ID, ann))
		if !errors.Is(err, auth.ErrProviderBusy) {
			t.Errorf("%s: %v", name, err)
		}
		if asked := s.wechat.Calls(wechattest.Code2Session) - before; asked != 1 {
			t.Errorf("%s: asked %d times; the code may be spent", name, asked)
		}
	}
}

func TestBusyIsAskedOnceMore(t *testing.T) {
	s := newSite(t)
	s.wechat.Script(wechattest.Code2Session, wechattest.Errcode(-1))
	if who, err := s.mini(s.wechat.Code(miniApp.ID, ann)); err != nil || who.Subject != ann.UnionID {
		t.Errorf("busy once: %v, %v", who, err)
	}
	s.calls(wechattest.Code2Session, 2)
	s.wechat.Script(wechattest.Code2Session, wechattest.Errcode(-1), wechattest.ErrcodeText(-1))
	if _, err := s.mini(s.wechat.Code(miniApp.ID, ann)); !errors.Is(err, auth.ErrProviderBusy) {
		t.Errorf("busy twice: %v", err)
	}
	s.calls(wechattest.Code2Session, 4)
}

// F25: neither call alone nor both together keep anybody waiting for 4 s.
func TestSlowWeChatAnswersInTime(t *testing.T) {
	hangs := wechattest.Slow(30 * time.Second)
	rows := map[string]struct {
		path   string
		fault  http.HandlerFunc
		signIn func(*site) error
		want   error
	}{
		"mini-program": {wechattest.Code2Session, hangs, func(s *site) error { _, err := s.mini("code"); return err }, auth.ErrProviderBusy},
		"web":          {wechattest.AccessToken, hangs, func(s *site) error { _, err := s.web(ann, chrome); return err }, auth.ErrProviderBusy},
		"both calls of the web": {wechattest.AccessToken, func(w http.ResponseWriter, r *http.Request) {
			wechattest.Slow(2*time.Second)(w, r)
			wechattest.Body(`{"openid":"o-slow","access_token":"t"}`)(w, r)
		}, func(s *site) error {
			who, err := s.web(ann, chrome)
			if err == nil && who.Name != "微信用户" {
				t.Errorf("userinfo hangs and says %v", who)
			}
			return err
		}, nil},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.wechat.Break(row.path, row.fault)
			s.wechat.Break(wechattest.UserInfo, hangs)
			began := time.Now()
			if err := row.signIn(s); !errors.Is(err, row.want) {
				t.Errorf("%v, want %v", err, row.want)
			}
			if took := time.Since(began); took > 4*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

// The breaker keeps sign-ins from waiting for a dead WeChat and closes by
// itself. A wrong code is no failure of WeChat's: strangers cannot open it.
func TestBreakerOpensForADeadWeChatAndClosesByItself(t *testing.T) {
	s := newSite(t)
	synctest.Test(t, func(t *testing.T) {
		s.fresh(t)
		for range 20 {
			if _, err := s.mini("made up"); !errors.Is(err, auth.ErrInvalidCredential) {
				t.Fatalf("a wrong code: %v", err)
			}
		}
		s.wechat.Break(wechattest.Code2Session, wechattest.Page(502))
		for range 20 {
			if _, err := s.mini("code"); !errors.Is(err, auth.ErrProviderBusy) {
				t.Fatalf("dead: %v", err)
			}
		}
		s.calls(wechattest.Code2Session, 25)
		if who := s.mustWeb(ann, chrome); who.Name != "小明" {
			t.Errorf("another call is let down too: %v", who)
		}
		s.wechat.Break(wechattest.Code2Session, nil)
		time.Sleep(5*time.Second + time.Millisecond) // virtual
		if who, err := s.mini(s.wechat.Code(miniApp.ID, ann)); err != nil || who.Subject != ann.UnionID {
			t.Errorf("back again: %v, %v", who, err)
		}
	})
	if s.log.count("left alone for a while", "wechat.code2session") != 1 || s.log.count("answers again", "wechat.code2session") != 1 {
		t.Errorf("the log does not tell of the breaker:\n%s", s.log)
	}
}

func TestWrongHostIsASetupError(t *testing.T) {
	s := newSite(t)
	s.config.API = "http://192.0.2.1"
	if _, err := s.mini("code"); !errors.Is(err, auth.ErrProviderSetup) {
		t.Errorf("%v", err)
	}
	if s.log.count(`"level":"ERROR"`, "192.0.2.1") != 1 {
		t.Errorf("the log does not say what to mend:\n%s", s.log)
	}
}

// T44, T45: WeChat wants the secret in the query, its error pages repeat the
// query, and Go's errors print it.
func TestSecretsStayInside(t *testing.T) {
	s := newSite(t)
	var said strings.Builder
	note := func(who auth.Identity, err error) { fmt.Fprintf(&said, "%+v %v\n", who, err) }
	for _, path := range []string{wechattest.Code2Session, wechattest.AccessToken, wechattest.UserInfo, wechattest.StableToken} {
		for _, fault := range []http.HandlerFunc{
			nil, wechattest.Page(200), wechattest.Page(500), wechattest.Reset, s.wechat.Lost, wechattest.Huge, wechattest.Errcode(40125),
			wechattest.Errcode(-1), wechattest.ErrcodeText(123456), wechattest.Body(`{"errcode":"` + siteApp.Secret + `"}`), wechattest.Elsewhere("http://127.0.0.1:1"),
		} {
			s.config.Client = client(s.config)
			s.wechat.Break(path, fault)
			note(s.mini(s.wechat.Code(miniApp.ID, bob)))
			note(s.web(ann, chrome))
			note(s.web(bob, wechatPhone))
			soon, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond) // a lease may be in the way
			_, err := wechat.NewAppToken(s.config, inApp).Token(soon)
			cancel()
			note(auth.Identity{}, err)
		}
		s.wechat.Break(path, nil)
	}
	slog.New(slog.NewJSONHandler(s.log, nil)).Info("an app", "app", miniApp)
	fmt.Fprintln(&said, s.log, s.store)
	for _, secret := range s.wechat.Secrets() {
		if i := strings.Index(said.String(), secret); i >= 0 {
			t.Fatalf("a secret is told: …%s…", said.String()[max(0, i-200):i+len(secret)])
		}
	}
	if s.log.count("wechat.code2session") == 0 || s.log.count("WeChat sign-in is set up wrongly") == 0 {
		t.Error("the log tells nothing at all")
	}
}
