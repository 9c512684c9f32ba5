package web

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"scanlogin/hub"
	"scanlogin/qrlogin"
)

// posted is a request with any header and body, which need not come from a
// client that checks them.
func posted(body []byte, headers ...string) *http.Request {
	r := httptest.NewRequest("POST", "/", bytes.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header[headers[i]] = append(r.Header[headers[i]], headers[i+1])
	}
	return r
}

// clean says that a string is one that the API takes.
func clean(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

// answerable says that an error has an answer of its own: whatever somebody sends
// is never a fault of ours.
func answerable(err error) bool {
	var f *failure
	return errors.As(err, &f) && f.status >= 400 && f.status < 500
}

// FuzzStrictJSON reads any body: what is taken is what the standard library reads
// too, one object without duplicate or unknown members, with clean strings.
func FuzzStrictJSON(f *testing.F) {
	for _, body := range []string{
		`{"client_id":"web","user_code":true}`, `{}`, ``, ` `, `null`, `[]`, `{}{}`, `{"client_id":"a","client_id":"b"}`, `{"a":{"b":1,"b":2}}`, `{"client_id":"\u0000"}`, `{"client_id":"\ud800"}`,
		`{"client_id":"\ud83d\ude00"}`, "{\"client_id\":\"\xff\"}", `{"CLIENT_ID":"x"}`, `{"user_code":1}`, `{"client_id":null}`, `{"client_id":1e999}`, `{"scope":"\u0061"}`, "\ufeff{}", `{"a":` + strings.Repeat("[", 100),
	} {
		f.Add([]byte(body), "application/json")
	}
	f.Add([]byte(`{}`), "application/json; charset=utf-16")
	f.Add([]byte(``), "")
	f.Add([]byte(`{}`), "text/plain;;=")
	known := []string{"client_id", "scope", "code_challenge", "code_challenge_method", "user_code"}
	f.Fuzz(func(t *testing.T, body []byte, contentType string) {
		var in createRequest
		err := decodeJSON(httptest.NewRecorder(), posted(body, "Content-Type", contentType), &in)
		if err != nil {
			if !answerable(err) {
				t.Fatalf("%q: %v", body, err)
			}
			return
		}
		if len(bytes.TrimSpace(body)) == 0 {
			return
		}
		var out map[string]any
		if err := stdjson.Unmarshal(body, &out); err != nil || !clean(string(body)) || len(body) > maxBody {
			t.Fatalf("%q is taken, but %v", body, err)
		}
		for name, value := range out {
			if text, is := value.(string); !slices.Contains(known, name) || is && !clean(text) {
				t.Fatalf("%q is taken with %q: %q", body, name, value)
			}
		}
		if n := memberCount(body); n != len(out) {
			t.Fatalf("%q has %d members, %d of them different", body, n, len(out))
		}
		if client, _ := out["client_id"].(string); client != in.ClientID {
			t.Fatalf("%q: client_id %q, not %q", body, in.ClientID, client)
		}
	})
}

// memberCount counts the members of a JSON object, duplicates too.
func memberCount(body []byte) (n int) {
	d := stdjson.NewDecoder(bytes.NewReader(body))
	for d.Token(); d.More(); n++ {
		d.Token()
		var value stdjson.RawMessage
		d.Decode(&value)
	}
	return n
}

// FuzzForm reads any form: what is taken has each parameter once, clean, and as
// the standard library reads it.
func FuzzForm(f *testing.F) {
	for _, body := range []string{
		"grant_type=refresh_token&client_id=web&refresh_token=x", "", "a=1&a=2", "a=1&%61=2", "a=%00", "a=%ff", "a=%zz", "a;b=1", "=", "&&&", "a", "a=b=c", "%00=1", strings.Repeat("a=&", 100), "a+b=c+d",
	} {
		f.Add([]byte(body), formType)
	}
	f.Add([]byte("a=1"), "application/x-www-form-urlencoded; charset=gbk")
	f.Add([]byte("a=1"), "")
	f.Fuzz(func(t *testing.T, body []byte, contentType string) {
		form, err := decodeForm(httptest.NewRecorder(), posted(body, "Content-Type", contentType))
		if err != nil {
			if !answerable(err) {
				t.Fatalf("%q: %v", body, err)
			}
			return
		}
		want, err := url.ParseQuery(string(body))
		if err != nil || len(want) != len(form) || len(body) > maxBody {
			t.Fatalf("%q is taken as %v, but is %v, %v", body, form, want, err)
		}
		for name, values := range want {
			if len(values) != 1 || !clean(name+values[0]) || form.Get(name) != values[0] {
				t.Fatalf("%q is taken with %q: %q", body, name, values)
			}
		}
	})
}

// FuzzBearer reads any Authorization header: a token that is taken is the last
// thing in the one header there is, and has no blanks.
func FuzzBearer(f *testing.F) {
	for _, value := range []string{"Bearer abc", "bearer abc", "BEARER  abc", "Bearer", "Bearer ", "Bearer a b", "Bearer\tabc", "Basic YWxpY2U6", "", " Bearer abc", "Bearer abc ", "Bearer \x00", "Bearer,Bearer a"} {
		f.Add(value, "", false)
	}
	f.Add("Bearer a", "Bearer a", true)
	f.Add("Basic d2ViOg==", "client_id=web", false)
	s := newSite(f, setup{direct: true})
	f.Fuzz(func(t *testing.T, value, other string, two bool) {
		r := posted(nil, "Authorization", value)
		if two {
			r.Header.Add("Authorization", other)
		}
		token, err := bearer(r, errNoDeviceCode)
		switch {
		case err != nil:
			if token != "" || !answerable(err) {
				t.Fatalf("%q: %q, %v", value, token, err)
			}
		case two || token == "" || strings.ContainsAny(token, " \t") || !strings.HasSuffix(value, " "+token) || !strings.EqualFold(strings.TrimRight(value[:len(value)-len(token)], " "), "Bearer"):
			t.Fatalf("%q was taken for %q", value, token)
		}
		form, err := url.ParseQuery(other)
		if err != nil {
			return
		}
		client, err := s.web.authenticateClient(r, form)
		if err != nil && !answerable(err) {
			t.Fatalf("%q, %q: %v", value, other, err)
		}
		if err == nil && client.ID == "" {
			t.Fatalf("%q, %q: nobody's client", value, other)
		}
	})
}

// FuzzClientFrame reads any message on a socket: it is one of the three, or an
// error, never a panic.
func FuzzClientFrame(f *testing.F) {
	for _, text := range []string{
		`{"type":"watch","device_code":"a.b"}`, `{"type":"refresh"}`, `{"type":"ping","x":1}`, `{"type":"pong"}`, `{}`, `null`, `{"type":1}`, `{"type":"watch","device_code":{}}`, `{"type":"watch","type":"ping"}`, `{"type":"ping"}{}`,
		`{"type":"\u0070ing"}`, `{"type":"ping\u0000"}`, "{\"type\":\"\xff\"}", `{"Type":"ping"}`, strings.Repeat(`{"a":`, 200),
	} {
		f.Add([]byte(text))
	}
	read := readFrames(func(f clientFrame) string { return f.DeviceCode })
	kinds := map[string]hub.Kind{"watch": hub.Watch, "refresh": hub.Refresh, "ping": hub.Ping}
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := read(text)
		if err != nil {
			if m != (hub.Message{}) {
				t.Fatalf("%q: %+v with %v", text, m, err)
			}
			return
		}
		var want map[string]any
		if err := stdjson.Unmarshal(text, &want); err != nil || memberCount(text) != len(want) {
			t.Fatalf("%q is taken, but %v", text, err)
		}
		kind, _ := want["type"].(string)
		code, _ := want["device_code"].(string)
		if kinds[kind] != m.Kind || m.Kind == 0 || m.Kind == hub.Watch && m.Credential != code || !clean(m.Credential) {
			t.Fatalf("%q was taken for %+v", text, m)
		}
	})
}

// FuzzCookie shows a page any cookie: only what the server signed is a visit, and
// that comes back as it was.
func FuzzCookie(f *testing.F) {
	s := newSite(f, setup{direct: true}).web
	for _, value := range []string{"", ".", "e30.", "e30.AAAA", "e30." + strings.Repeat("A", 43), "eyJzaWQiOiJhIn0.x.y", "\xff.\xff", strings.Repeat("A", 5000)} {
		f.Add(value, "demo:alice", "WKCOZWRJVTUMLZ66ERJ4HAE2H", "en", "nonce", uint16(0), byte('A'))
	}
	f.Add("x", "\xff", "\x00", "\"", "\u2028", uint16(9), byte('.'))
	f.Fuzz(func(t *testing.T, value, sub, sid, lang, nonce string, at uint16, with byte) {
		visits := func(value string) (visit, bool) {
			r := httptest.NewRequest("GET", "/s", nil)
			r.Header["Cookie"] = []string{s.cookieName(phoneCookie) + "=" + value}
			v, isNew, err := s.visit(r, phoneCookie)
			if err != nil {
				t.Fatalf("%q: %v", value, err)
			}
			if isNew && (v.Sub != "" || v.SID != "" || v.Nonce == "") {
				t.Fatalf("%q: a new visit is %+v", value, v)
			}
			return v, isNew
		}
		if v, isNew := visits(value); !isNew {
			t.Fatalf("%q was taken for %+v", value, v)
		}
		r, w := httptest.NewRequest("GET", "/s", nil), httptest.NewRecorder()
		mine := visit{Sub: sub, SID: sid, Lang: lang, Nonce: nonce}
		if err := s.remember(w, r, phoneCookie, mine); err != nil {
			if clean(sub) && clean(sid) && clean(lang) && clean(nonce) { // two halves of a character are none
				t.Fatalf("%+v: %v", mine, err)
			}
			return
		}
		signed := w.Result().Cookies()[0].Value
		if v, isNew := visits(signed); isNew || v != mine {
			t.Fatalf("%+v came back as %+v", mine, v)
		}
		i := int(at) % len(signed)
		if forged := signed[:i] + string([]byte{with}) + signed[i+1:]; forged != signed {
			if v, isNew := visits(forged); !isNew {
				t.Fatalf("%q was taken for %q: %+v", forged, signed, v)
			}
		}
		web := httptest.NewRequest("GET", "/", nil)
		web.AddCookie(&http.Cookie{Name: s.cookieName(webCookie), Value: signed})
		if v, isNew, _ := s.visit(web, webCookie); !isNew {
			t.Fatalf("a phone's cookie is a browser's: %+v", v)
		}
	})
}

// FuzzForwardedFor has any peer say anything about whom it speaks for: an
// untrusted one is always itself, and a trusted one can name only what stands in
// the header, from the right.
func FuzzForwardedFor(f *testing.F) {
	s := newSite(f, setup{direct: true, publicURL: "https://login.example", proxies: []string{"10.0.0.0/8", "fd00::/8", "::1/128"}}).web
	for _, header := range []string{"", "203.0.113.7", "1.2.3.4, 203.0.113.7", "203.0.113.7, 10.0.0.2", "10.0.0.2,10.0.0.3", "::ffff:203.0.113.7", "fe80::1%eth0", "[2001:db8::1]:443", "unknown", ",,,", "203.0.113.7,", " \t", "203.0.113.7:80", "0x7f.1", "010.0.0.1", "\x00"} {
		f.Add("10.0.0.1:1234", header, "")
		f.Add("198.51.100.1:1234", header, header)
	}
	f.Add("[::1]:1", "203.0.113.7", "10.9.9.9")
	f.Add("[fd00::1%eth0]:1", "203.0.113.7", "")
	f.Add("@", "203.0.113.7", "")
	f.Fuzz(func(t *testing.T, peer, header, second string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = peer
		r.Header["X-Forwarded-For"] = []string{header, second}
		for _, name := range []string{"X-Real-Ip", "True-Client-Ip", "Forwarded"} {
			r.Header.Set(name, "for=192.0.2.99")
		}
		got := s.clientAddr(r)
		if got.Is4In6() || got.Zone() != "" {
			t.Fatalf("%s has two spellings", got)
		}
		tcp, err := netip.ParseAddrPort(peer)
		if err != nil || !s.trusted(tcp.Addr()) {
			if want := tcp.Addr().Unmap().WithZone(""); err == nil && got != want {
				t.Fatalf("%s says it speaks for %q, %q, and is taken for %s", peer, header, second, got)
			}
			return
		}
		if want := rightmost(s, tcp.Addr(), header+","+second); got != want {
			t.Fatalf("%s, %q, %q: %s, not %s", peer, header, second, got, want)
		}
		if masked := maskAddr(got); got.IsValid() && !netip.MustParsePrefix(masked).Contains(got) || !got.IsValid() && masked != "" {
			t.Fatalf("%s is shown as %q", got, masked)
		}
		if own := ownNetwork(got); got.IsValid() != own.IsValid() || own.IsValid() && !own.Contains(got) {
			t.Fatalf("%s is in %s", got, own)
		}
	})
}

// rightmost is clientAddr once more, written the long way round: all hops first,
// then the last that is not a proxy.
func rightmost(s *Server, peer netip.Addr, header string) netip.Addr {
	chain := []netip.Addr{peer}
	hops := strings.Split(header, ",")
	for i := len(hops) - 1; i >= 0; i-- {
		chain = append(chain, parseHop(hops[i]))
	}
	for i, addr := range chain {
		if !addr.IsValid() && i > 1 {
			return chain[i-1].Unmap().WithZone("")
		}
		if !addr.IsValid() {
			return addr
		}
		if !s.trusted(addr) {
			return addr.Unmap().WithZone("")
		}
	}
	return chain[len(chain)-1].Unmap().WithZone("")
}

// FuzzFacts has a browser call itself anything: what a phone is shown of it is
// one of our own words, or nothing.
func FuzzFacts(f *testing.F) {
	s := newSite(f, setup{direct: true}).web
	for _, agent := range []string{
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36", "", "\"><b>Approve to keep account", "IT-Helpdesk/1.0 (press approve)", "Mozilla/5.0 (((((;;;;", "curl/8", "\x00\xff", "Chrome/", "(Linux; Android", strings.Repeat("A/1 ", 500),
	} {
		f.Add(agent)
	}
	f.Fuzz(func(t *testing.T, agent string) {
		r := httptest.NewRequest("POST", "/v1/tickets", nil)
		r.Header["User-Agent"] = []string{agent}
		got := s.facts(r)
		if got.Browser != "" && !slices.Contains(browsers, got.Browser) || got.OS != "" && !slices.Contains(systems, got.OS) {
			t.Fatalf("%q is shown as %q on %q", agent, got.Browser, got.OS)
		}
		if want := (qrlogin.Facts{Browser: got.Browser, OS: got.OS, IP: got.IP, Network: got.Network}); got != want {
			t.Fatalf("%q: %+v", agent, got)
		}
	})
}

// FuzzQueries reads any query of the routes that have one, and what was stored of
// wrong tries.
func FuzzQueries(f *testing.F) {
	for _, query := range []string{"seq=1&wait=25", "wait=26", "wait=-1", "seq=9007199254740993", "seq=18446744073709551616", "scale=16", "scale=017", "scale=-9999", "scale=", "seq=1e3", "wait=+1", "scale=１", "%zz", "1795180541392882", "-9223372036854775808"} {
		f.Add(query)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if full, err := decodeFull([]byte(text)); err == nil {
			for _, b := range []Rate{ofNetwork, ofAccount} {
				now := time.UnixMicro(1795180541392882)
				most := time.Duration(b.Burst+1) * b.every()
				if wait, next := b.wait(full, now), b.charged(full, now); wait < 0 || next.Sub(now) > most || !next.After(now) {
					t.Fatalf("%q: wait %s, then %s", text, wait, next.Sub(now))
				}
			}
		}
		q, err := url.ParseQuery(text)
		if err != nil {
			return
		}
		seq, wait, err := pollQuery(q)
		if err != nil && !answerable(err) || wait < 0 || wait > 25*time.Second || seq >= 1<<53 {
			t.Fatalf("%q: %d, %s, %v", text, seq, wait, err)
		}
		scale, err := scaleQuery(q)
		if err != nil && !answerable(err) || err == nil && (scale < 1 || scale > 16) {
			t.Fatalf("%q: %d, %v", text, scale, err)
		}
	})
}

// FuzzRequests sends any bytes to the whole server as a request body, on every
// route that takes one: it is never a 500 and never signs anybody in.
func FuzzRequests(f *testing.F) {
	s := newSite(f, setup{direct: true})
	phone := s.phone("alice")
	routes := []string{
		"/v1/tickets", "/v1/scan", "/v1/tickets/" + b64id + "/confirm", "/v1/tickets/" + b64id + "/deny", "/v1/tickets/" + b64id + "/check",
		"/v1/signin/demo", "/oauth/token", "/oauth/revoke", "/oauth/introspect", "/oauth/device_authorization", "/session", "/s/signin", "/s/scan", "/s/decide",
	}
	for i := range routes {
		f.Add(uint8(i), []byte(`{"qr":"x","user_code":"BCDF-GHJK"}`), "application/json")
		f.Add(uint8(i), []byte("client_id=web&grant_type=refresh_token&refresh_token=sl_rt_x&device_code=x&token=y&csrf=z"), formType)
	}
	f.Fuzz(func(t *testing.T, n uint8, body []byte, contentType string) {
		path := routes[int(n)%len(routes)]
		r := httptest.NewRequest("POST", path, bytes.NewReader(body))
		r.Header["Content-Type"] = []string{contentType}
		if strings.HasPrefix(path, "/v1/") {
			r.Header.Set("Authorization", "Bearer "+phone)
		}
		w := httptest.NewRecorder()
		s.handler.ServeHTTP(w, r)
		raw, _ := io.ReadAll(w.Body)
		if w.Code >= 500 || bytes.Contains(raw, []byte("access_token")) && !strings.HasPrefix(path, "/v1/signin") {
			t.Fatalf("POST %s %q %q: %d %s", path, contentType, body, w.Code, raw)
		}
	})
}
