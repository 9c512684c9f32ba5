package wechat

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"time"

	"scanlogin/auth"
)

const (
	tokenLease = 10 * time.Second // of one refresh; its call takes 3 s at most
	tokenEarly = 5 * time.Minute  // before the end; WeChat gives no new one before
	tokenPoll  = 100 * time.Millisecond
	mendPause  = 10 * time.Minute // while WeChat refuses this server's settings
)

// AppToken is the access token of one app itself, not of a person in it. All
// instances share one through the store.
type AppToken struct {
	service
	app App
}

// NewAppToken is the token of a mini-program or an official account; WeChat has
// none for website apps.
func NewAppToken(c Config, app App) *AppToken { return &AppToken{service: newService(c), app: app} }

// tokenRecord is what instances share of a token; times are Unix milliseconds.
// A lease says that somebody is getting the next one. It ends by itself, so it
// may die with its holder.
type tokenRecord struct {
	Token   string `json:"token,omitempty"`
	Expires int64  `json:"expires,omitempty"`
	Due     int64  `json:"due,omitempty"` // when the next one is to be fetched
	Holder  string `json:"holder,omitempty"`
	Lease   int64  `json:"lease,omitempty"`
}

func (t *AppToken) key() string { return "wechat-token:" + t.app.ID }

func decodeToken(value []byte) (r tokenRecord) {
	if json.Unmarshal(value, &r) != nil {
		return tokenRecord{} // one that cannot be read is as good as none
	}
	return r
}

func (r tokenRecord) good(now time.Time) bool   { return r.Token != "" && now.UnixMilli() < r.Expires }
func (r tokenRecord) due(now time.Time) bool    { return now.UnixMilli() >= r.Due }
func (r tokenRecord) leased(now time.Time) bool { return now.UnixMilli() < r.Lease }

func (r tokenRecord) encode(now time.Time) ([]byte, time.Duration, error) {
	value, err := json.Marshal(r)
	return value, max(time.UnixMilli(max(r.Expires, r.Lease)).Sub(now), time.Second), err
}

// Token is the present token. If there is none it is fetched; whoever else
// needs it then waits until it is there or ctx ends. The five errors of a
// provider, and the store's.
func (t *AppToken) Token(ctx context.Context) (string, error) {
	poll := time.NewTicker(tokenPoll)
	defer poll.Stop()
	for {
		value, _, err := t.config.Store.Load(ctx, t.key())
		if err != nil {
			return "", fmt.Errorf("wechat: app token: %w", err)
		}
		if r := decodeToken(value); r.good(time.Now()) {
			return r.Token, nil
		}
		r, err := t.refresh(ctx)
		if err != nil {
			return "", err
		}
		if r.good(time.Now()) {
			return r.Token, nil
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("wechat: app token: another instance has not fetched it yet: %w: %w", auth.ErrProviderBusy, ctx.Err())
		case <-poll.C:
		}
	}
}

// Run keeps the token until ctx ends, and returns nil then. An app id or a
// secret that WeChat does not accept is said in the log at the start, not when
// the first person cannot sign in.
func (t *AppToken) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		r, err := t.refresh(ctx)
		if err != nil && !errors.Is(err, auth.ErrProviderSetup) && ctx.Err() == nil {
			t.config.Logger.Warn("WeChat's token for the app could not be fetched, trying again", "app", t.app.ID, "error", err)
		}
		timer.Reset(next(r, err, time.Now()))
	}
}

// next is how long there is nothing to do. A little of it is by chance, so
// that instances do not all come in the same moment.
func next(r tokenRecord, err error, now time.Time) time.Duration {
	chance := mathrand.N(2 * time.Second)
	switch {
	case errors.Is(err, auth.ErrProviderSetup):
		return mendPause + chance
	case err != nil:
		return tokenLease + chance
	case r.leased(now):
		return time.UnixMilli(r.Lease).Sub(now) + chance
	}
	return max(time.UnixMilli(r.Due).Sub(now), 0) + chance
}

// refresh fetches the next token if it is due and nobody else is about to, and
// gives the record as it is then. The need is looked at in the same write that
// takes the lease: of any number of instances, one asks WeChat.
func (t *AppToken) refresh(ctx context.Context) (tokenRecord, error) {
	var r tokenRecord
	var mine bool
	holder := rand.Text()
	_, err := t.config.Store.Update(ctx, t.key(), func(old []byte) ([]byte, time.Duration, error) {
		now := time.Now()
		r = decodeToken(old)
		if mine = r.due(now) && !r.leased(now); !mine {
			return nil, 0, nil
		}
		r.Holder, r.Lease = holder, now.Add(tokenLease).UnixMilli()
		return r.encode(now)
	})
	if err != nil {
		return tokenRecord{}, fmt.Errorf("wechat: app token: %w", err)
	}
	if !mine {
		return r, nil
	}
	next, err := t.fetch(ctx)
	if err != nil && !errors.Is(err, auth.ErrProviderSetup) {
		return tokenRecord{}, err // the lease stays: nobody asks again before its end
	}
	// Whoever waited for this one may be gone; the others are not.
	return t.settle(context.WithoutCancel(ctx), holder, next, err)
}

// settle writes what WeChat answered and gives the lease back, if it is still
// this holder's. Settings that WeChat refuses may be this instance's alone, so
// they keep nobody else from asking.
func (t *AppToken) settle(ctx context.Context, holder string, next tokenRecord, refused error) (tokenRecord, error) {
	var r tokenRecord
	_, err := t.config.Store.Update(ctx, t.key(), func(old []byte) ([]byte, time.Duration, error) {
		now := time.Now()
		r = decodeToken(old)
		if r.Holder != holder {
			return nil, 0, nil // the lease ran out, and somebody else is at it or done
		}
		r.Holder, r.Lease = "", 0
		if refused == nil {
			r = next
		}
		return r.encode(now)
	})
	switch {
	case refused != nil:
		return tokenRecord{}, refused
	case err != nil:
		return tokenRecord{}, fmt.Errorf("wechat: app token: %w", err)
	case !r.good(time.Now()):
		return next, nil // WeChat gives everybody the same one
	}
	return r, nil
}

// fetch asks WeChat (stable_token), which gives the same token to whoever asks
// until it is five minutes from its end: a call too many does no harm.
func (t *AppToken) fetch(ctx context.Context) (tokenRecord, error) {
	body, err := json.Marshal(map[string]string{
		"grant_type": "client_credential", "appid": t.app.ID, "secret": t.app.Secret,
	})
	if err != nil {
		return tokenRecord{}, fmt.Errorf("wechat: app token: %w", err)
	}
	var answer struct {
		Token     string `json:"access_token"`
		ExpiresIn int64  `json:"expires_in"` // seconds
	}
	now := time.Now()
	if err := t.ask(ctx, question{name: "stable_token", app: t.app.ID, path: "/cgi-bin/stable_token", json: body}, &answer); err != nil {
		return tokenRecord{}, err
	}
	if answer.Token == "" || answer.ExpiresIn <= 0 || answer.ExpiresIn > 24*60*60 {
		return tokenRecord{}, fmt.Errorf("wechat: stable_token: an answer without a usable token: %w", auth.ErrProviderBusy)
	}
	expires := now.Add(time.Duration(answer.ExpiresIn) * time.Second)
	// Not earlier than WeChat has a new one; half of what is left when it had none yet.
	due := expires.Add(-tokenEarly + mathrand.N(tokenEarly/5))
	if !due.After(now) {
		due = now.Add(expires.Sub(now) / 2)
	}
	return tokenRecord{Token: answer.Token, Expires: expires.UnixMilli(), Due: due.UnixMilli()}, nil
}
