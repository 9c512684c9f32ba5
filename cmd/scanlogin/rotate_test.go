package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"scanlogin/qrlogin/backend"
)

// resident is somebody with a browser that stays signed in: it refreshes and
// asks, over whichever instances there are, until stop.
type resident struct {
	name string
	k    tokens
}

// live counts what went wrong, apart from instances that are not there (nil) or
// not ready (503), for which a client tries again.
func (p *resident) live(t *testing.T, urls *atomic.Pointer[[]string], stop <-chan struct{}, fail func(string)) (rounds int) {
	client := newCaller(t, "")
	ask := func(method, path, token string, body any) (answer, bool) {
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
			now := *urls.Load()
			c := *client
			c.base = now[rounds%len(now)]
			a, err := c.try(method, path, token, body)
			if err == nil && a.status != 503 {
				return a, true
			}
			rounds++
		}
		fail(p.name + ": no instance answers")
		return answer{}, false
	}
	for ; ; rounds++ {
		select {
		case <-stop:
			return rounds
		default:
		}
		a, ok := ask("POST", "/oauth/token", "", refreshForm(p.k.refresh))
		if !ok {
			return rounds
		}
		if a.status != 200 {
			fail(fmt.Sprintf("%s: refresh: %d %s", p.name, a.status, a.raw))
			return rounds
		}
		p.k.access, p.k.refresh = a.text("access_token"), a.text("refresh_token")
		for range 3 {
			if a, ok = ask("GET", "/v1/sessions", p.k.access, nil); ok && a.status != 200 {
				fail(fmt.Sprintf("%s: %d %s", p.name, a.status, a.raw))
				return rounds
			}
		}
	}
}

// The secret is changed under load, one instance after the other, and then the
// old one is dropped: nobody is signed out and no ban is lost.
func TestSecretChangesUnderLoad(t *testing.T) {
	redis := startRedis(t)
	const next = "another secret of the tests, long enough"
	env := serveEnv("http://login.example", "SCANLOGIN_REDIS_URL="+redis.url(), "SCANLOGIN_DRAIN=1s")
	changed := append(env, "SCANLOGIN_SECRET="+next, "SCANLOGIN_SECRET_PREVIOUS="+testSecret)
	dropped := append(env, "SCANLOGIN_SECRET="+next)
	running := []*server{startServer(t, env).ready(t), startServer(t, env).ready(t)}
	urls := &atomic.Pointer[[]string]{}
	publish := func() {
		var now []string
		for _, s := range running {
			now = append(now, s.url)
		}
		urls.Store(&now)
	}
	publish()

	api := newCaller(t, running[0].url)
	residents := make([]*resident, 12)
	for i := range residents {
		name := person(i)
		residents[i] = &resident{name: name, k: api.login(api.signIn(name))}
	}
	operator{t, running[0]}.do("ban", "add", "demo:carol")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var rounds atomic.Int64
	for _, p := range residents {
		wg.Go(func() { rounds.Add(int64(p.live(t, urls, stop, func(what string) { t.Error(what) }))) })
	}
	for _, env := range [][]string{changed, dropped} {
		for i, old := range running {
			running[i] = startServer(t, env).ready(t)
			publish()
			old.signal(15)
			<-old.done
		}
	}
	close(stop)
	wg.Wait()
	t.Logf("%d refreshes by %d people over two changes of all instances", rounds.Load(), len(residents))
	last := newCaller(t, running[1].url)
	for _, p := range residents {
		last.alive(p.k.access)
	}
	if a := last.do(403, "POST", "/v1/signin/demo", "", map[string]string{"credential": "carol"}); a.code() != "user_banned" {
		t.Errorf("the ban is lost: %s", a.raw)
	}
}

// age makes the next signing key of a running service an hour older than it is,
// so that it may take over now.
func (r *redisServer) age(t *testing.T) {
	t.Helper()
	store, err := backend.OpenRedis(backend.RedisConfig{URL: r.url(), Prefix: "scanlogin:", Secret: []byte(testSecret)})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	_, err = store.Update(t.Context(), "signing-keys", func(old []byte) ([]byte, time.Duration, error) {
		ring := map[string]any{}
		if err := json.Unmarshal(old, &ring); err != nil {
			return nil, 0, err
		}
		ring["next"].(map[string]any)["since"] = time.Now().Add(-time.Hour).UnixMilli()
		value, err := json.Marshal(ring)
		return value, time.Hour, err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The keys rotate under load, again and again, on one instance and the other:
// no token is refused anywhere, and new ones are signed with new keys.
func TestKeysRotateUnderLoad(t *testing.T) {
	redis := startRedis(t)
	env := serveEnv("http://login.example", "SCANLOGIN_REDIS_URL="+redis.url(), "SCANLOGIN_SIGNING_ALG=ES256")
	running := []*server{startServer(t, env).ready(t), startServer(t, env).ready(t)}
	urls := &atomic.Pointer[[]string]{}
	urls.Store(&[]string{running[0].url, running[1].url})
	api := newCaller(t, running[0].url)
	residents := make([]*resident, 12)
	for i := range residents {
		residents[i] = &resident{name: person(i), k: api.login(api.signIn(person(i)))}
	}
	kids := map[string]bool{header(t, residents[0].k.access)["kid"].(string): true}
	early := residents[0].k.access
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var rounds atomic.Int64
	for _, p := range residents {
		wg.Go(func() { rounds.Add(int64(p.live(t, urls, stop, func(what string) { t.Error(what) }))) })
	}
	for i := range 6 {
		redis.age(t)
		if said := (operator{t, running[i%2]}).do("keys", "rotate"); !strings.Contains(said, "from now") {
			t.Errorf("keys rotate: %s", said)
		}
		eventually(t, 2*time.Second, "the other instance signs with the new key", func() bool {
			kid := header(t, newCaller(t, running[(i+1)%2].url).signIn("bob"))["kid"].(string)
			if kids[kid] {
				return false
			}
			kids[kid] = true
			return true
		})
	}
	close(stop)
	wg.Wait()
	t.Logf("%d refreshes by %d people over %d keys", rounds.Load(), len(residents), len(kids))
	for _, s := range running {
		newCaller(t, s.url).alive(early)
	}
}

// header is the first part of a token.
func header(t *testing.T, token string) map[string]any {
	t.Helper()
	part, _, _ := strings.Cut(token, ".")
	raw, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		t.Fatal(err)
	}
	h := map[string]any{}
	if err := json.Unmarshal(raw, &h); err != nil {
		t.Fatal(err)
	}
	return h
}
