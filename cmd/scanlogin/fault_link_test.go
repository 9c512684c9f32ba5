package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// open watches a ticket at an instance until its first snapshot.
func (f *faulty) open(base string, l login) *socket {
	f.t.Helper()
	s, err := watch(base, f.public, l)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { s.conn.Close() })
	if _, err := s.next(5 * time.Second); err != nil {
		f.t.Fatal(err)
	}
	return s
}

// comeBack opens a socket as browsers do after 1013: again and again.
func (f *faulty) comeBack(base string, l login) (s *socket) {
	f.t.Helper()
	eventually(f.t, 5*time.Second, "the socket opens again", func() bool {
		var err error
		if s, err = watch(base, f.public, l); err != nil {
			return false
		}
		if _, err = s.next(5 * time.Second); err != nil {
			s.conn.Close()
		}
		return err == nil
	})
	f.t.Cleanup(func() { s.conn.Close() })
	return s
}

// hears waits for a status and says if anything else came before.
func (f *faulty) hears(s *socket, status string, within time.Duration) {
	f.t.Helper()
	begun := time.Now()
	got, err := s.next(within)
	if err != nil || got.Status != status {
		f.t.Errorf("the browser heard %q, %v after %s; want %s", got.Status, err, time.Since(begun), status)
		return
	}
	f.t.Logf("%s was heard after %s", status, time.Since(begun).Round(time.Millisecond))
}

// F2: a browser that comes while Redis is away is sent back by every door, in
// time, and let in later. The upgrade itself needs no store.
func TestSocketOpenedWithoutRedisIsSentBack(t *testing.T) {
	f := startFaulty(t)
	for name, fault := range map[string]func(){
		"cut":                    f.proxy.cut,
		"mute":                   func() { f.proxy.with(mute) },
		"subscriptions are mute": func() { f.proxy.with(muteLink) },
	} {
		l := f.there.create()
		fault()
		begun := time.Now()
		s, err := watch(f.here.base, f.public, l)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_, err = s.next(5 * time.Second)
		s.conn.Close()
		var closed *websocket.CloseError
		if !errors.As(err, &closed) || closed.Code != 1013 || time.Since(begun) > 1500*time.Millisecond {
			t.Errorf("%s: %v after %s", name, err, time.Since(begun))
		}
		f.refused("GET", "/v1/tickets/"+l.id+"/events", l.deviceCode, nil)
		if name != "subscriptions are mute" { // reading a ticket takes none
			f.refused("GET", "/v1/tickets/"+l.id, l.deviceCode, nil)
		}
		f.back()
		f.comeBack(f.here.base, l)
	}
}

// F3: the store goes away under an open socket, for longer than the link takes to
// be given up, and the phone decides meanwhile through the other instance. The
// socket stays, nothing is invented, and the browser is told in time.
func TestSocketOutlivesTheStore(t *testing.T) {
	f := startFaulty(t)
	alice := f.here.signIn("alice")
	for name, fault := range map[string]func(){"cut": f.proxy.cut, "mute": func() { f.proxy.with(mute) }} {
		confirmed, untouched := f.here.create(), f.here.create()
		f.there.scan(&confirmed, alice)
		one, other := f.open(f.here.base, confirmed), f.open(f.here.base, untouched)
		fault()
		begun := time.Now()
		f.there.confirm(confirmed, alice)
		eventually(t, 10*time.Second, "the link has been given up", func() bool {
			return time.Since(begun) > 5*time.Second && status(f.here.base+"/readyz") == 503
		})
		f.proxy.heal()
		t.Log(name)
		f.hears(one, "confirmed", 5*time.Second)
		f.instances[0].ready(t)
		f.there.scan(&untouched, alice)
		f.hears(other, "scanned", 5*time.Second) // the first thing it hears
		f.oneSession(confirmed, alice)
	}
}

// F6: the confirm is stored and its notice is lost, because the watching
// instance's subscriptions hang on a connection that is open on its side only.
func TestConfirmWhoseNoticeIsLostReachesTheBrowser(t *testing.T) {
	f := startFaulty(t)
	alice := f.here.signIn("alice")
	for name, fault := range map[string]fault{
		"silent": muteLink,
		"cut at the notice": func(s said) ([]byte, error) {
			if s.to == "message" {
				return nil, errCut
			}
			return s.raw, nil
		},
	} {
		l := f.here.create()
		f.here.scan(&l, alice)
		s := f.open(f.here.base, l)
		f.proxy.with(fault)
		before := f.proxy.struck.Load()
		f.there.confirm(l, alice)
		eventually(t, 5*time.Second, "the notice is lost", func() bool { return f.proxy.struck.Load() > before })
		f.proxy.heal()
		t.Log(name)
		f.hears(s, "confirmed", 5*time.Second)
		f.oneSession(l, alice)
		f.instances[0].ready(t)
	}
}

// The acknowledgements of SUBSCRIBE are lost, with the connection or without:
// whoever begins to watch meanwhile is sent back, and nobody is left watching
// nothing.
func TestLostSubscriptionIsMadeAgain(t *testing.T) {
	f := startFaulty(t)
	alice := f.here.signIn("alice")
	for name, err := range map[string]error{"cut": errCut, "mute": errMute} {
		l := f.there.create()
		f.proxy.with(func(s said) ([]byte, error) {
			if s.to == "subscribe" {
				return nil, err
			}
			return s.raw, nil
		})
		if s, err := watch(f.here.base, f.public, l); err != nil {
			t.Error(err)
		} else if _, err := s.next(5 * time.Second); !websocket.IsCloseError(err, 1013) {
			t.Errorf("%s: %v", name, err)
		}
		f.proxy.heal()
		s := f.comeBack(f.here.base, l)
		f.there.scan(&l, alice)
		f.hears(s, "scanned", 5*time.Second)
	}
}

// F22: every notice comes five times, and the one before comes once more after
// it. The browser hears each state once, and seq never goes back.
func TestNoticesThatComeTwiceAreOneFrame(t *testing.T) {
	f := startFaulty(t)
	alice := f.here.signIn("alice")
	var mu sync.Mutex
	var last []byte
	f.proxy.with(func(s said) ([]byte, error) {
		if s.to != "message" {
			return s.raw, nil
		}
		mu.Lock()
		defer mu.Unlock()
		var out []byte
		for range 5 {
			out = append(append(out, s.raw...), last...)
		}
		last = s.raw
		return out, nil
	})
	l := f.here.create()
	s, err := watch(f.here.base, f.public, l)
	if err != nil {
		t.Fatal(err)
	}
	defer s.conn.Close()
	var heard []string
	var seq uint64
	hear := func(within time.Duration) error {
		got, err := s.next(within)
		if err != nil {
			return err
		}
		if got.Seq <= seq {
			t.Errorf("seq %d after %d", got.Seq, seq)
		}
		seq = got.Seq
		heard = append(heard, got.Status)
		return nil
	}
	for _, move := range []func(){
		func() {}, func() { f.there.scan(&l, alice) }, func() { f.here.scan(&l, alice) },
		func() { f.there.confirm(l, alice); f.here.confirm(l, alice) },
	} {
		move()
		if err := hear(5 * time.Second); err != nil {
			t.Fatal(err)
		}
	}
	if err := hear(5 * time.Second); !websocket.IsCloseError(err, 1000) {
		t.Errorf("after confirmed: %v", err)
	}
	if got := fmt.Sprint(heard); got != "[pending scanned scanned confirmed]" {
		t.Errorf("heard %s", got)
	}
	if f.proxy.struck.Load() == 0 {
		t.Error("nothing came twice")
	}
}

// insist repeats a request through the faulty instance for as long as it is told 503,
// and counts how often that was.
func (f *faulty) insist(refusals *atomic.Int64, method, path, token string, body any) answer {
	for deadline := time.Now().Add(30 * time.Second); ; {
		a, err := f.here.try(method, path, token, body)
		if err != nil {
			f.t.Errorf("%s %s: %v", method, path, err)
			return a
		}
		if a.status != 503 || time.Now().After(deadline) {
			return a
		}
		refusals.Add(1)
	}
}

// T49: answers come so late, at random, that the instance has given up on many of them.
// Logins go on meanwhile, with reads in between: nobody ever gets the answer to somebody
// else's question, and every login is one session of its own person.
func TestLateRepliesNeverAnswerAnotherRequest(t *testing.T) {
	f := startFaulty(t, "SCANLOGIN_REFRESH_GRACE=5m", "SCANLOGIN_CHECK_CODE=off")
	phones := signInCrowd(f.there)
	f.proxy.with(func(s said) ([]byte, error) {
		if slices.Contains(touching, s.to) && rand.IntN(40) == 0 {
			<-time.After(rand.N(500 * time.Millisecond)) // the connection is given up after 300
		}
		return s.raw, nil
	})
	var refusals atomic.Int64
	var mu sync.Mutex
	sids := map[string][]string{} // of whom
	parallel(2*crowd, func(i int) {
		phone := phones[person(i)]
		wants := func(status int, what, want string, a answer) answer {
			if a.status != status || a.text(what) != want {
				t.Errorf("%s of login %d, want %q: %d %s", what, i, want, a.status, a.raw)
			}
			return a
		}
		made := f.insist(&refusals, "POST", "/v1/tickets", "", nil)
		l := login{id: made.text("ticket_id"), deviceCode: made.text("device_code"), qr: made.text("verification_uri_complete")}
		look := func(status string) {
			for range 3 {
				a := wants(200, "ticket_id", l.id, f.insist(&refusals, "GET", "/v1/tickets/"+l.id, l.deviceCode, nil))
				wants(200, "status", status, a)
			}
		}
		look("pending")
		l.confirmToken = wants(200, "ticket_id", l.id, f.insist(&refusals, "POST", "/v1/scan", phone, map[string]string{"qr": l.qr})).text("confirm_token")
		look("scanned")
		wants(200, "status", "confirmed", f.insist(&refusals, "POST", "/v1/tickets/"+l.id+"/confirm", phone, l.decision()))
		look("confirmed")
		tokens := wants(200, "token_type", "Bearer", f.insist(&refusals, "POST", "/oauth/token", "", redeemForm(l)))
		tokens = wants(200, "token_type", "Bearer", f.insist(&refusals, "POST", "/oauth/token", "", refreshForm(tokens.text("refresh_token"))))
		if tokens.status != 200 {
			return
		}
		wants(200, "sub", "demo:"+person(i), f.insist(&refusals, "GET", "/oauth/userinfo", tokens.text("access_token"), nil))
		mu.Lock()
		defer mu.Unlock()
		sids[person(i)] = append(sids[person(i)], fmt.Sprint(claim(t, tokens.text("access_token"), "sid")))
	})
	t.Logf("%d logins, told 503 %d times", 2*crowd, refusals.Load())
	if refusals.Load() == 0 {
		t.Error("no answer came too late")
	}
	f.back()
	for name, phone := range phones { // nothing is lost, nothing is there twice
		made, kept := sids[name], f.webSessions(phone)
		slices.Sort(made)
		slices.Sort(kept)
		if len(made) != 2 || !slices.Equal(made, kept) {
			t.Errorf("%s made %v and has %v", name, made, kept)
		}
	}
}
