package wechat

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"scanlogin/auth"
	"scanlogin/auth/outbound"
)

// maxCode bounds a code, in bytes; WeChat's have some 32.
const maxCode = 512

// App is one app that is registered with WeChat.
type App struct {
	ID     string
	Secret string
}

// LogValue leaves the secret out.
func (a App) LogValue() slog.Value { return slog.StringValue(a.ID) }

// Store is what the room needs of the shared store.
type Store interface {
	// Load reads a record; rev 0: there is none.
	Load(ctx context.Context, key string) (value []byte, rev uint64, err error)
	// Update changes a record by compare-and-swap. change may run several
	// times; a nil value with a nil error leaves the record as it is.
	Update(ctx context.Context, key string, change func(old []byte) (value []byte, ttl time.Duration, err error)) (rev uint64, err error)
}

// Config of the providers and of an app's token; the zero value of a field is
// the default named there.
type Config struct {
	Mini     App    // the mini-program, for NewMini
	Site     App    // the website app: the door of ordinary browsers, for NewWeb
	InApp    App    // the official account: the door of WeChat's own browser; none, it takes Site's
	Callback string // where browsers come back to, as registered with WeChat, for NewWeb
	API      string // https://api.weixin.qq.com
	Open     string // https://open.weixin.qq.com
	Client   *outbound.Client
	Store    Store
	Logger   *slog.Logger // none
}

// service is what the providers and the token have in common.
type service struct {
	config Config
}

func newService(c Config) service {
	c.API = strings.TrimSuffix(cmp.Or(c.API, "https://api.weixin.qq.com"), "/")
	c.Open = strings.TrimSuffix(cmp.Or(c.Open, "https://open.weixin.qq.com"), "/")
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return service{config: c}
}

// question is a call in WeChat's terms.
type question struct {
	name  string // of the upstream
	app   string // id of the app that asks, for the log
	path  string
	query url.Values
	json  []byte
}

// ask makes a call and reads its answer, a pointer to a struct. An answer with
// an errcode is the error of its table.
func (s service) ask(ctx context.Context, q question, answer any) error {
	var code int64
	address := s.config.API + q.path
	if len(q.query) > 0 {
		address += "?" + q.query.Encode()
	}
	_, err := s.config.Client.Do(ctx, outbound.Call{
		Name: "wechat." + q.name,
		URL:  address,
		JSON: q.json,
		Judge: func(body []byte) (err error) {
			code, err = read(body, answer)
			return err
		},
	})
	switch {
	case errors.Is(err, outbound.ErrNotAllowed):
		err = fmt.Errorf("wechat: %s: %w: %w", q.name, auth.ErrProviderSetup, err)
	case errors.Is(err, outbound.ErrUnavailable):
		return fmt.Errorf("wechat: %s: %w: %w", q.name, auth.ErrProviderBusy, err)
	case err != nil:
		return fmt.Errorf("wechat: %s: %w", q.name, err)
	default:
		err = refusal(q.name, code)
	}
	s.report(q, code, err)
	return err
}

// report tells the operator what only they can mend, whom WeChat keeps out, and
// numbers that nobody expected. Who it was about is never in it.
func (s service) report(q question, code int64, err error) {
	switch {
	case errors.Is(err, auth.ErrProviderSetup):
		s.config.Logger.Error("WeChat sign-in is set up wrongly", "app", q.app, "call", q.name, "errcode", code, "error", err)
	case errors.Is(err, auth.ErrProviderBlocked):
		s.config.Logger.Warn("WeChat keeps a user out", "app", q.app, "call", q.name, "errcode", code)
	case errors.Is(err, auth.ErrProviderBusy), errors.Is(err, auth.ErrProviderQuota):
		s.config.Logger.Warn("WeChat did not answer the question", "app", q.app, "call", q.name, "errcode", code, "error", err)
	}
}

// read takes a body to pieces: the errcode, which WeChat writes as a number or
// as a string, with status 200, or else what was asked for.
func read(body []byte, answer any) (code int64, err error) {
	var said struct {
		Errcode json.Number `json:"errcode"`
	}
	if json.Unmarshal(body, &said) != nil { // an error page, most likely
		return 0, fmt.Errorf("%w: not WeChat's JSON", outbound.ErrUnavailable)
	}
	if said.Errcode != "" {
		if code, err = said.Errcode.Int64(); err != nil {
			return 0, fmt.Errorf("%w: an errcode that is no number", outbound.ErrUnavailable)
		}
	}
	switch {
	case code == busy: // WeChat's words: wait a moment and try again
		return code, fmt.Errorf("%w: errcode %d", outbound.ErrAgain, code)
	case code != 0:
		return code, nil
	case json.Unmarshal(body, answer) != nil:
		return 0, fmt.Errorf("%w: not the JSON that WeChat documents", outbound.ErrUnavailable)
	}
	return 0, nil
}

// person is who a code was for, as both exchanges answer. The answer's
// session_key, access_token of a mini-program or refresh_token is not even read.
type person struct {
	OpenID  string `json:"openid"`  // of this person and this app
	UnionID string `json:"unionid"` // of this person, for all apps of one company; may be missing
}

// subject is the part of `sub` after "wechat:". Ids have a narrow alphabet
// without a colon, so the two forms cannot be mixed up.
func (p person) subject(app App) (string, error) {
	switch {
	case !isID(p.OpenID), p.UnionID != "" && !isID(p.UnionID):
		return "", fmt.Errorf("wechat: an answer without a usable openid or unionid: %w", auth.ErrProviderBusy)
	case p.UnionID != "":
		return p.UnionID, nil
	}
	return app.ID + ":" + p.OpenID, nil
}

// isID says whether something can be one of WeChat's ids: 28 characters today.
func isID(s string) bool {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
	return s != "" && len(s) <= 128 && strings.Trim(s, letters) == ""
}

// checkCode refuses what WeChat need not be asked about.
func checkCode(code string) error {
	if code == "" || len(code) > maxCode {
		return fmt.Errorf("wechat: not a code: %w", auth.ErrInvalidCredential)
	}
	return nil
}
