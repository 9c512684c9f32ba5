package wechat_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"scanlogin/auth"
	"scanlogin/auth/outbound"
	"scanlogin/auth/wechat"
	"scanlogin/auth/wechat/wechattest"
	"scanlogin/qrlogin/backend"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	miniApp  = wechat.App{ID: "wx00000000000000a1", Secret: "mini-secret-5f3a9c"}
	siteApp  = wechat.App{ID: "wx00000000000000b2", Secret: "site-secret-77e1d0"}
	inApp    = wechat.App{ID: "wx00000000000000c3", Secret: "inapp-secret-b20f44"}
	callback = "https://login.example/v1/signin/wechat/callback"

	chrome      = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
	wechatPhone = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 MicroMessenger/8.0.50 NetType/WIFI Language/zh_CN"

	ann = wechattest.User{Account: "ann", UnionID: "o6_bmjrPTlm6_2sgVt7hMZOPfL2M", Name: "小明", Picture: "http://thirdwx.qlogo.cn/mmopen/a/132"}
	bob = wechattest.User{Account: "bob", Name: "Bob"}
)

// site is one instance of this room with a WeChat of its own.
type site struct {
	t      *testing.T
	wechat *wechattest.Server
	store  *written
	config wechat.Config
	log    *lines
}

// newSite starts them; call it outside of a bubble of virtual time, so that the
// WeChat lives in the real one.
func newSite(t *testing.T) *site {
	s := &site{
		t:      t,
		wechat: wechattest.New(map[string]string{miniApp.ID: miniApp.Secret, siteApp.ID: siteApp.Secret, inApp.ID: inApp.Secret}),
		log:    &lines{},
	}
	server := httptest.NewServer(s.wechat)
	t.Cleanup(server.Close)
	s.config = wechat.Config{
		Mini: miniApp, Site: siteApp, InApp: inApp, Callback: callback,
		API: server.URL, Open: server.URL,
		Logger: slog.New(slog.NewJSONHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	s.fresh(t)
	return s
}

// fresh gives the instance an empty store and breakers that are closed, of the
// time that it is called in.
func (s *site) fresh(t *testing.T) {
	memory := backend.NewMemory()
	t.Cleanup(func() { memory.Close() })
	s.t, s.store = t, &written{Store: memory}
	s.config.Store = s.store
	s.config.Client = client(s.config)
}

func client(c wechat.Config) *outbound.Client {
	return outbound.New(outbound.Config{Hosts: []string{strings.TrimPrefix(c.API, "http://")}, Logger: c.Logger})
}

func (s *site) mini(code string) (auth.Identity, error) {
	return wechat.NewMini(s.config).Authenticate(s.t.Context(), code)
}

// web signs a user in who comes back with a code for the browser's app.
func (s *site) web(user wechattest.User, userAgent string) (auth.Identity, error) {
	app := siteApp
	if userAgent == wechatPhone {
		app = inApp
	}
	p := wechat.NewWeb(s.config)
	return p.Authenticate(s.t.Context(), p.Credential(s.wechat.Code(app.ID, user), userAgent))
}

func (s *site) mustWeb(user wechattest.User, userAgent string) auth.Identity {
	s.t.Helper()
	who, err := s.web(user, userAgent)
	if err != nil {
		s.t.Fatalf("sign-in: %v", err)
	}
	return who
}

// calls checks how often WeChat was asked.
func (s *site) calls(path string, want int) {
	s.t.Helper()
	if got := s.wechat.Calls(path); got != want {
		s.t.Errorf("%s was called %d times, want %d", path, got, want)
	}
}

// written is a store that remembers all that was ever written to it, and that
// can be away.
type written struct {
	wechat.Store
	mu   sync.Mutex
	all  bytes.Buffer
	away bool
}

var errAway = errors.New("the store is away")

func (w *written) Load(ctx context.Context, key string) ([]byte, uint64, error) {
	if w.isAway() {
		return nil, 0, errAway
	}
	return w.Store.Load(ctx, key)
}

func (w *written) Update(ctx context.Context, key string, change func([]byte) ([]byte, time.Duration, error)) (uint64, error) {
	if w.isAway() {
		return 0, errAway
	}
	return w.Store.Update(ctx, key, func(old []byte) ([]byte, time.Duration, error) {
		value, ttl, err := change(old)
		w.mu.Lock()
		defer w.mu.Unlock()
		fmt.Fprintf(&w.all, "%s %s %s\n", key, ttl, value)
		return value, ttl, err
	})
}

func (w *written) isAway() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.away
}

func (w *written) goAway(away bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.away = away
}

func (w *written) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.all.String()
}

// lines is a log that can be read while it is written.
type lines struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

// count is how many lines have all of these in them.
func (l *lines) count(words ...string) (n int) {
	for line := range strings.Lines(l.String()) {
		all := true
		for _, word := range words {
			all = all && strings.Contains(line, word)
		}
		if all {
			n++
		}
	}
	return n
}

// waitFor waits for a condition, at most 10 seconds.
func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline:
			t.Fatalf("waited for %s", what)
		case <-tick.C:
		}
	}
}

// run keeps a token until the test ends, or until stop.
func run(t *testing.T, token *wechat.AppToken) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := token.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(stop)
	return stop
}
