package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// F19: an instance whose clock is not Redis' says so to the balancer, within 2 s
// of difference it is ready; the other one goes on.
func TestInstanceWithAWrongClockIsNotReady(t *testing.T) {
	f := startFaulty(t)
	for off, want := range map[time.Duration]int{
		0: 200, time.Second: 200, -time.Second: 200, 5 * time.Second: 503, -5 * time.Second: 503,
		time.Hour: 503, -365 * 24 * time.Hour: 503,
	} {
		f.proxy.with(shiftTime(off))
		eventually(t, time.Second, "it has looked again", func() bool { return status(f.here.base+"/readyz") == want })
		a := f.here.do(want, "GET", "/readyz", "", nil)
		if want == 503 && (a.took > time.Second || a.header.Get("Retry-After") == "") {
			t.Errorf("%s off: after %s: %s", off, a.took, a.raw)
		}
		f.there.do(200, "GET", "/readyz", "", nil)
	}
	f.back()
}

// everyRecord runs a command on each record but the root key.
func (f *faulty) everyRecord(command ...string) (n int) {
	f.t.Helper()
	for _, name := range strings.Fields(f.redis.do(f.t, "KEYS", "*")) {
		if !strings.HasSuffix(name, ":root") && strings.Contains(name, ":") {
			args := append([]string{command[0], name}, command[1:]...)
			f.redis.do(f.t, args...)
			n++
		}
	}
	return n
}

// F20: Redis' clock jumps back, so that its records live longer than they
// should. A deadline is a deadline all the same.
func TestClockOfRedisGoesBack(t *testing.T) {
	f := startFaulty(t, "SCANLOGIN_TICKET_TTL=1s", "SCANLOGIN_CONFIRM_TTL=1s", "SCANLOGIN_REDEEM_TTL=1s", "SCANLOGIN_REFRESH_IDLE=3s")
	alice := f.here.signIn("alice")
	pending, scanned, confirmed := f.here.create(), f.here.create(), f.here.create()
	f.here.scan(&scanned, alice)
	f.here.scan(&confirmed, alice)
	f.here.confirm(confirmed, alice)
	k := f.here.login(alice)
	used := time.Now()
	f.proxy.with(shiftTime(-time.Hour))
	f.beyond.with(shiftTime(-time.Hour))
	if f.everyRecord("PEXPIRE", "3600000") < 4 {
		t.Fatal("no records")
	}
	for _, l := range []login{pending, scanned, confirmed} {
		eventually(t, 3*time.Second, "it is expired", func() bool {
			return f.there.do(200, "GET", "/v1/tickets/"+l.id, l.deviceCode, nil).text("status") == "expired"
		})
		if a := f.there.do(400, "POST", "/oauth/token", "", redeemForm(l)); a.code() != "expired_token" {
			t.Error(a.raw)
		}
	}
	eventually(t, 4*time.Second, "the session has been idle for too long", func() bool { return time.Since(used) > 3*time.Second })
	f.there.dead(k)
	if a := f.here.do(401, "POST", "/v1/scan", alice, map[string]string{"qr": pending.qr}); a.code() != "invalid_token" {
		t.Error(a.raw) // the phone's session is as idle
	}
	eventually(t, time.Second, "it says that it is not ready", func() bool { return status(f.here.base+"/readyz") == 503 })
	alice = f.there.signIn("alice")
	f.there.alive(f.there.login(alice).access) // who comes all the same is served
}

// F20: Redis' clock jumps ahead, so that its records are gone before their time.
// What is gone opens nothing, and everybody can begin anew.
func TestClockOfRedisGoesAhead(t *testing.T) {
	f := startFaulty(t)
	alice := f.here.signIn("alice")
	l := f.here.create()
	f.here.scan(&l, alice)
	f.here.confirm(l, alice)
	k := f.here.login(alice)
	f.proxy.with(shiftTime(time.Hour))
	f.everyRecord("PEXPIRE", "1")
	eventually(t, 5*time.Second, "the session is gone", func() bool {
		a, err := f.here.try("GET", "/oauth/userinfo", k.access, nil)
		return err == nil && a.status == 401
	})
	f.there.dead(k)
	if a := f.here.do(400, "POST", "/oauth/token", "", redeemForm(l)); a.code() != "invalid_grant" {
		t.Error(a.raw)
	}
	f.here.do(404, "GET", "/v1/tickets/"+l.id, l.deviceCode, nil)
	eventually(t, time.Second, "it says that it is not ready", func() bool { return status(f.here.base+"/readyz") == 503 })
	f.back()
	f.there.alive(f.here.login(f.here.signIn("alice")).access)
}

// F21: the phone's clock says 1970, or 2100: nothing that it sends is taken for a
// time, and all it is told is how many seconds are left.
func TestPhoneWithAWrongClock(t *testing.T) {
	f := startFaulty(t)
	for _, date := range []string{"Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"} {
		send := func(c *caller, path, token, body string) answer {
			t.Helper()
			r, err := http.NewRequest("POST", c.base+path, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			for name, value := range map[string]string{
				"Content-Type": "application/json", "Date": date, "If-Modified-Since": date, "If-Unmodified-Since": date, "Authorization": "Bearer " + token,
			} {
				r.Header.Set(name, value)
			}
			if token == "" {
				r.Header.Del("Authorization")
			}
			a, err := c.send(r)
			if err != nil || a.status != 200 {
				t.Fatalf("%s: %v %d %s", path, err, a.status, a.raw)
			}
			return a
		}
		phone := send(f.here, "/v1/signin/demo", "", `{"credential":"alice"}`).text("access_token")
		l := f.here.create()
		found := send(f.there, "/v1/scan", phone, fmt.Sprintf("{%q:%q}", "qr", l.qr))
		facts, _ := found.body["facts"].(map[string]any)
		left, _ := found.body["expires_in"].(float64)
		age, known := facts["age_seconds"].(float64)
		if left < 55 || left > 60 || !known || age > 5 || strings.Contains(found.raw, "1970") || strings.Contains(found.raw, "2100") {
			t.Errorf("%s", found.raw)
		}
		send(f.here, "/v1/tickets/"+l.id+"/confirm", phone, fmt.Sprintf("{%q:%q}", "confirm_token", found.text("confirm_token")))
		f.there.alive(f.there.do(200, "POST", "/oauth/token", "", redeemForm(l)).text("access_token"))
	}
}
