package wechat_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"scanlogin/auth"
	"scanlogin/auth/wechat"
	"scanlogin/auth/wechat/wechattest"
	"scanlogin/qrlogin/backend"
)

// instances are n programs on one memory store, each with a client of its own.
func (s *site) instances(n int, stores ...wechat.Store) []*wechat.AppToken {
	all := make([]*wechat.AppToken, n)
	for i := range all {
		c := s.config
		c.Client = client(c)
		if len(stores) > 0 {
			c.Store = stores[i%len(stores)]
		}
		all[i] = wechat.NewAppToken(c, inApp)
	}
	return all
}

// together asks all instances at once and gives the tokens that they say.
func together(t *testing.T, all []*wechat.AppToken) map[string]int {
	t.Helper()
	said := map[string]int{}
	var mu sync.Mutex
	var asking sync.WaitGroup
	start := make(chan struct{})
	for _, token := range all {
		asking.Go(func() {
			<-start
			value, err := token.Token(t.Context())
			if err != nil {
				t.Errorf("Token: %v", err)
			}
			mu.Lock()
			defer mu.Unlock()
			said[value]++
		})
	}
	close(start)
	asking.Wait()
	return said
}

func TestHundredInstancesMakeOneCall(t *testing.T) {
	s := newSite(t)
	if said := together(t, s.instances(100)); len(said) != 1 {
		t.Errorf("%d different tokens", len(said))
	}
	s.calls(wechattest.StableToken, 1)
}

func TestHundredInstancesOnRedisMakeOneCall(t *testing.T) {
	s := newSite(t)
	url := startRedis(t)
	var stores []wechat.Store
	for range 4 {
		store, err := backend.OpenRedis(backend.RedisConfig{URL: url, Secret: []byte("one secret of thirty-two bytes..")})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { store.Close() })
		waitFor(t, "redis", func() bool { return store.Ping(t.Context()) == nil })
		stores = append(stores, store)
	}
	if said := together(t, s.instances(100, stores...)); len(said) != 1 {
		t.Errorf("%d different tokens", len(said))
	}
	s.calls(wechattest.StableToken, 1)
}

// A day of 20 instances: each token is fetched once, in the last five minutes
// of the one before, and there is a good one all the time.
func TestTokenIsRefreshedEarlyByOneInstance(t *testing.T) {
	s := newSite(t)
	synctest.Test(t, func(t *testing.T) {
		s.fresh(t)
		all := s.instances(20)
		for _, token := range all {
			run(t, token)
		}
		step, fetched, last := 30*time.Second, time.Time{}, ""
		for at := time.Duration(0); at < 24*time.Hour; at += step {
			time.Sleep(step) // virtual
			synctest.Wait()
			value, err := all[0].Token(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if now := time.Now(); value != last {
				if life := now.Sub(fetched); last != "" && (life < 115*time.Minute || life > 118*time.Minute) {
					t.Errorf("a token was replaced after %s", life)
				}
				fetched, last = now, value
			}
			s.wechat.Forward(step)
		}
		if calls := s.wechat.Calls(wechattest.StableToken); calls < 12 || calls > 13 {
			t.Errorf("%d calls in a day", calls)
		}
	})
}

// Who took the lease and died keeps the others waiting until its end, and no
// longer; those who have a good token are not kept at all.
func TestLeaseEndsWithItsHolder(t *testing.T) {
	s := newSite(t)
	synctest.Test(t, func(t *testing.T) {
		s.fresh(t)
		_, err := s.store.Update(t.Context(), "wechat-token:"+inApp.ID, func([]byte) ([]byte, time.Duration, error) {
			return fmt.Appendf(nil, `{"holder":"dead","lease":%d}`, time.Now().Add(10*time.Second).UnixMilli()), time.Hour, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		soon, cancel := context.WithTimeout(t.Context(), 9050*time.Millisecond) // not in the moment of a poll
		defer cancel()
		if _, err := s.instances(1)[0].Token(soon); !errors.Is(err, auth.ErrProviderBusy) || time.Since(began) != 9050*time.Millisecond {
			t.Errorf("under the lease: %v after %s", err, time.Since(began))
		}
		s.calls(wechattest.StableToken, 0)
		if said := together(t, s.instances(100)); len(said) != 1 {
			t.Errorf("%d different tokens", len(said))
		}
		if took := time.Since(began); took > 11*time.Second {
			t.Errorf("waited %s for a dead one", took)
		}
		s.calls(wechattest.StableToken, 1)
	})
}

// A WeChat that is down is asked once per lease, whatever the number of
// instances, and the present token goes on.
func TestFailedRefreshLeavesThePresentToken(t *testing.T) {
	s := newSite(t)
	synctest.Test(t, func(t *testing.T) {
		s.fresh(t)
		all := s.instances(20)
		for _, token := range all {
			run(t, token)
		}
		first := together(t, all)
		s.wechat.Forward(2*time.Hour - 4*time.Minute)
		s.wechat.Break(wechattest.StableToken, wechattest.Page(502))
		time.Sleep(2*time.Hour - 2*time.Minute) // virtual
		synctest.Wait()
		if still := together(t, all); len(still) != 1 || fmt.Sprint(still) != fmt.Sprint(first) {
			t.Errorf("%v, was %v", still, first)
		}
		if calls := s.wechat.Calls(wechattest.StableToken) - 1; calls < 5 || calls > 20 { // 2 to 3 minutes, one per 10 to 12 s
			t.Errorf("%d calls of a WeChat that is down", calls)
		}
		s.wechat.Break(wechattest.StableToken, nil)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if after := together(t, all); len(after) != 1 || fmt.Sprint(after) == fmt.Sprint(first) {
			t.Errorf("no new token after WeChat came back: %v", after)
		}
	})
}

// A wrong app id or secret is known at the start, in one plain line, and the
// instance that has it keeps no other from the token.
func TestWrongSettingsAreSaidAtTheStart(t *testing.T) {
	s := newSite(t)
	synctest.Test(t, func(t *testing.T) {
		s.fresh(t)
		wrong := wechat.NewAppToken(s.config, wechat.App{ID: inApp.ID, Secret: "not the secret"})
		run(t, wrong)
		synctest.Wait()
		if s.log.count(`"level":"ERROR"`, inApp.ID, "the app secret is wrong") != 1 {
			t.Errorf("not said:\n%s", s.log)
		}
		began := time.Now()
		if _, err := s.instances(1)[0].Token(t.Context()); err != nil || time.Since(began) != 0 {
			t.Errorf("the right one: %v after %s", err, time.Since(began))
		}
		time.Sleep(time.Minute) // virtual
	})
	s.calls(wechattest.StableToken, 2)
	if n := s.log.count(""); n != 1 {
		t.Errorf("%d lines:\n%s", n, s.log)
	}
}

func TestTokenRecordThatCannotBeReadIsReplaced(t *testing.T) {
	s := newSite(t)
	for _, value := range []string{"", "no JSON", "null", `{"due":"x"}`, `{"token":"t","expires":1,"due":1}`} {
		if _, err := s.store.Update(t.Context(), "wechat-token:"+inApp.ID, func([]byte) ([]byte, time.Duration, error) {
			return []byte(value), time.Hour, nil
		}); err != nil {
			t.Fatal(err)
		}
		if token, err := s.instances(1)[0].Token(t.Context()); err != nil || token == "" || token == "t" {
			t.Errorf("%q: %q, %v", value, token, err)
		}
	}
}

func TestTokenAnswersThatAreNoneAreBusy(t *testing.T) {
	s := newSite(t)
	for _, body := range []string{`{}`, `{"access_token":"t"}`, `{"access_token":"","expires_in":7200}`, `{"access_token":"t","expires_in":-1}`, `{"access_token":"t","expires_in":99999999999}`, `<html>`} {
		s.fresh(t)
		s.wechat.Script(wechattest.StableToken, wechattest.Body(body))
		if _, err := s.instances(1)[0].Token(t.Context()); !errors.Is(err, auth.ErrProviderBusy) {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func TestTokenSaysWhenTheStoreIsAway(t *testing.T) {
	s := newSite(t)
	s.store.goAway(true)
	if _, err := s.instances(1)[0].Token(t.Context()); !errors.Is(err, errAway) {
		t.Errorf("%v", err)
	}
}
