package web

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"scanlogin/qrlogin"
)

// An office of 500 behind one address signs in between nine and ten past, with the
// limits as they come: every page is there from nine on, waits for its person and
// renews its ticket meanwhile, every fifth is a device that polls, all phones are in
// the same network. Nobody is refused anything.
func TestOfficeOf500SignsInWithinTenMinutes(t *testing.T) {
	const staff = 500
	var names []string
	for i := range staff {
		names = append(names, fmt.Sprintf("employee%03d", i))
	}
	synctest.Test(t, func(t *testing.T) {
		o := &office{
			site: newSite(t, setup{direct: true, limits: true, more: names, proxies: []string{"192.0.2.0/24"}}),
			nine: time.Now(),
		}
		var people sync.WaitGroup
		for i, name := range names {
			people.Go(func() { o.signsIn(name, i%5 == 0, o.nine.Add(time.Duration(i)*10*time.Minute/staff)) })
		}
		people.Wait()
		if o.refused.Load() != 0 || o.in.Load() != staff {
			t.Errorf("%d of %d are in, %d answers were refusals", o.in.Load(), staff, o.refused.Load())
		}
		if took := time.Since(o.nine); took > 10*time.Minute {
			t.Errorf("it took %s", took)
		}
		t.Logf("%d requests, %d tickets", o.requests.Load(), o.tickets.Load())
	})
}

// office is where all those people are.
type office struct {
	*site
	nine                           time.Time
	in, refused, requests, tickets atomic.Int64
}

func (o *office) do(method, path string, body any, headers ...string) (a answer) {
	o.requests.Add(1)
	response, err := o.client.Do(o.request(method, path, body, append(headers, from("203.0.113.7")...)...))
	if err != nil {
		o.t.Error(err)
		return a
	}
	defer response.Body.Close()
	raw, _ := io.ReadAll(response.Body)
	a = answer{status: response.StatusCode, raw: string(raw)}
	json.Unmarshal(raw, &a.body)
	if a.status == 429 || a.status == 503 {
		o.refused.Add(1)
	}
	return a
}

// opens makes the ticket of a page or of a device.
func (o *office) opens(device bool) (l login, form url.Values, seq float64) {
	o.tickets.Add(1)
	door, ask, client := "/v1/tickets", any(nil), "web"
	if device {
		door, ask, client = "/oauth/device_authorization", url.Values{"client_id": {"device"}}, "device"
	}
	a := o.do("POST", door, ask)
	l = login{id: a.text("ticket_id"), deviceCode: a.text("device_code"), qr: a.text("verification_uri_complete")}
	form = redemption(l)
	form.Set("client_id", client)
	return l, form, a.seq()
}

// signsIn is one of them: the page waits from nine on, the person comes later.
func (o *office) signsIn(name string, device bool, comes time.Time) {
	l, form, seq := o.opens(device)
	for stale := o.nine; time.Now().Before(comes); {
		if stale.Add(3 * time.Minute).Before(time.Now()) {
			stale = time.Now()
			l, form, seq = o.opens(device)
		}
		if device {
			o.do("POST", "/oauth/token", form)
			time.Sleep(qrlogin.Interval)
		} else {
			wait := min(25, int(time.Until(comes).Seconds()))
			seq = o.do("GET", fmt.Sprintf("%s?seq=%.0f&wait=%d", l.path(""), seq, wait), nil, bearerOf(l.deviceCode)...).seq()
			time.Sleep(time.Second)
		}
	}
	l.qr = o.do("GET", l.path(""), nil, bearerOf(l.deviceCode)...).text("verification_uri_complete")
	if l.qr == "" { // it went stale as its person came
		l, form, _ = o.opens(device)
	}
	phone := bearerOf(o.do("POST", "/v1/signin/demo", map[string]string{"credential": name}).text("access_token"))
	token := o.do("POST", "/v1/scan", map[string]string{"qr": l.qr}, phone...).text("confirm_token")
	o.do("POST", l.path("/confirm"), map[string]string{"confirm_token": token}, phone...)
	if a := o.do("POST", "/oauth/token", form); a.status == 200 {
		o.in.Add(1)
	} else {
		o.t.Errorf("%s: %d %s", name, a.status, a.raw)
	}
}
