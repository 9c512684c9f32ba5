package main

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// holder is the instance that a socket of the only waiting page is open on.
func (s site) holder(t *testing.T) *server {
	t.Helper()
	var found *server
	eventually(t, 10*time.Second, "one instance holds the socket", func() bool {
		for _, instance := range s.instances {
			response, err := http.Get(instance.admin + "/metrics")
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(response.Body)
			response.Body.Close()
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(body), `scanlogin_sockets{transport="ws"} 1`) {
				found = instance
			}
		}
		return found != nil
	})
	return found
}

// The instance that holds the page's socket is killed between scan and
// confirm: the page comes back through the other one and signs in.
func TestBrowserSurvivesItsInstance(t *testing.T) {
	c := startCluster(t, 2)
	s := site{url: c.url, instances: c.instances}
	desktop, phone := openLogin(t, s).provoke(), openPhone(t)
	phone.open(desktop.readQR())
	phone.signInOnPhone("alice")
	desktop.until(`state() === "scanned"`)
	s.holder(t).kill()
	phone.click("button[value=approve]")
	desktop.signedIn("Alice")
	desktop.notReloaded()
}

// Redis comes back empty while a page waits: the page shows a new code by
// itself, and that one works.
func TestBrowserRenewsAfterAnEmptyRestart(t *testing.T) {
	c := startCluster(t, 2)
	s := site{url: c.url, instances: c.instances}
	desktop, phone := openLogin(t, s).provoke(), openPhone(t).provoke()
	before := desktop.readQR()
	c.redis.restart()
	desktop.until(`state() === "pending" && part("img") && part("img").src !== ` + quoted(eval[string](desktop, `part("img").src`)))
	after := desktop.readQR()
	if after == before {
		t.Fatal("the same code")
	}
	phone.open(after)
	phone.signInOnPhone("bob")
	phone.click("button[value=approve]")
	desktop.signedIn("Bob")
	desktop.notReloaded()
}

func quoted(text string) string { return `"` + text + `"` }

// A network is banned while its login page is open, and let in again: the page
// says so, and goes on by itself.
func TestBrowserComesBackAfterABanOfItsNetwork(t *testing.T) {
	t.Parallel()
	s := startDemo(t, "127.0.0.1", "SCANLOGIN_SECRET="+testSecret)
	admin := operator{t, s.instances[0]}
	desktop := openLogin(t, s)
	desktop.until(`state() === "pending"`)
	admin.do("ban", "add", "127.0.0.0/8")
	desktop.until(`state() === "barred"`)
	admin.do("ban", "lift", "127.0.0.0/8")
	desktop.within(30*time.Second, `state() === "pending"`)
	phone := openPhone(t)
	phone.open(desktop.readQR())
	phone.signInOnPhone("alice")
	phone.click("button[value=approve]")
	desktop.signedIn("Alice")
	desktop.notReloaded()
}
