package main

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"scanlogin/auth/wechat/wechattest"
)

// signIns keeps people signing in by mini-program until stop is called, at one pace
// however long an answer takes.
func (w *weChats) signIns(api *caller) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				all.Go(func() {
					api.try("POST", "/v1/signin/wechat-mini", "", map[string]string{"credential": w.Code(miniApp, zhang)})
				})
			}
		}
	})
	return func() { cancel(); all.Wait() }
}

// slowest is the 99th percentile of whole logins' requests by other people.
func slowest(api *caller) time.Duration {
	var took []time.Duration
	for range 40 {
		made := api.do(201, "POST", "/v1/tickets", "", nil)
		l := login{id: made.text("ticket_id"), deviceCode: made.text("device_code"), qr: made.text("verification_uri_complete")}
		phone := api.do(200, "POST", "/v1/signin/demo", "", map[string]string{"credential": "alice"})
		scanned := api.do(200, "POST", "/v1/scan", phone.text("access_token"), map[string]string{"qr": l.qr})
		l.confirmToken = scanned.text("confirm_token")
		denied := api.do(200, "POST", "/v1/tickets/"+l.id+"/deny", phone.text("access_token"), l.decision())
		page := api.do(200, "GET", "/s", "", nil)
		took = append(took, made.took, phone.took, scanned.took, denied.took, page.took)
	}
	slices.Sort(took)
	return took[len(took)*99/100]
}

// F25: WeChat hangs while people keep signing in by it. The breaker opens, so that
// they are told at once; everybody else is as quick as before, on both instances; and
// it closes by itself.
func TestDeadWeChatSlowsNobodyElse(t *testing.T) {
	p, there := startWeChatPair(t)
	const rounds, samples = 2, 5
	var well, dead []time.Duration
	for range rounds {
		for i, api := range p.api {
			stop := there.signIns(api)
			for range samples {
				well = append(well, slowest(api))
			}
			stop()

			times := openings(p.all[i])
			there.Break(wechattest.Code2Session, wechattest.Slow(time.Minute))
			stop = there.signIns(api)
			for range samples {
				dead = append(dead, slowest(api))
			}
			eventually(t, patience, "hanging opens the breaker", func() bool { return openings(p.all[i]) > times })
			opened(t, api, there)
			stop()

			there.Break(wechattest.Code2Session, nil)
			eventually(t, patience, "signing in works again by itself", func() bool {
				a, err := api.try("POST", "/v1/signin/wechat-mini", "", map[string]string{"credential": there.Code(miniApp, zhang)})
				return err == nil && a.status == 200
			})
		}
	}
	slices.Sort(well)
	slices.Sort(dead)
	before, while := well[len(well)/2], dead[len(dead)/2]
	t.Logf("p99 of other requests: %s, with a dead WeChat %s (medians of %d)", before, while, len(well))
	if while > max(before*3/2, 2*time.Millisecond) {
		t.Errorf("p99 of other requests: %s with a dead WeChat, %s without: %s, %s", while, before, dead, well)
	}
}

// openings is how often an instance has opened a breaker; being sent away at once may
// only mean that too many wait.
func openings(s *server) int { return strings.Count(s.output(), "keeps failing and is left alone") }

// opened waits until people are sent away at once, and WeChat is left alone.
func opened(t *testing.T, api *caller, there *weChats) {
	t.Helper()
	eventually(t, patience, "the breaker opens", func() bool {
		before := there.Calls(wechattest.Code2Session)
		a, err := api.try("POST", "/v1/signin/wechat-mini", "", map[string]string{"credential": there.Code(miniApp, zhang)})
		if err != nil || a.status != 503 || a.code() != "provider_unavailable" || a.header.Get("Retry-After") == "" {
			t.Errorf("%v %d %s", err, a.status, a.raw)
		}
		return a.took < 500*time.Millisecond && there.Calls(wechattest.Code2Session) == before
	})
}
