package main

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// T31, T32: a session that was ended stays so on both instances, however its tokens
// are written.
func TestEndedTokenCannotBeRewritten(t *testing.T) {
	p := startPair(t)
	k := p.turn().login(p.turn().signIn("alice"))
	p.turn().do(204, "DELETE", "/v1/sessions/"+k.sid, k.access, nil)
	const chars = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(chars, k.access[len(k.access)-1])
	for i := range 16 { // 86 characters are 4 bits more than a signature has
		again := k.access[:len(k.access)-1] + string(chars[last&^15|i])
		p.both("rewritten", 401, "invalid_token", "GET", "/v1/sessions", "", bearerOf(again)...)
	}
	for name, headers := range map[string][]string{
		"as it was": bearerOf(k.access), "padded": bearerOf(k.access + "=="), "lower-case scheme": {"Authorization", "bearer " + k.access},
		"standard base64": bearerOf(strings.NewReplacer("-", "+", "_", "/").Replace(k.access) + "="),
	} {
		p.both(name, 401, "invalid_token", "GET", "/v1/sessions", "", headers...)
	}
	for _, api := range p.api {
		api.dead(k)
	}
}

// T33, B27: refresh tokens that are made up, changed, cut or of another kind end no
// family; the stolen one that was spent ends its own, on both instances.
func TestStolenRefreshTokenEndsItsFamily(t *testing.T) {
	p := startPair(t, "SCANLOGIN_REFRESH_GRACE=1s")
	phone := p.turn().signIn("alice")
	k0, bystander := p.turn().login(phone), p.turn().login(phone)
	changed := []byte(k0.refresh)
	changed[len(changed)-2] ^= 1
	for name, token := range map[string]string{
		"made up": strings.Repeat("A", 90), "one bit off": string(changed), "cut": k0.refresh[:len(k0.refresh)-4], "more": k0.refresh + "A",
		"an access token": k0.access, "spaces": " " + k0.refresh, "7 KB": strings.Repeat("A", 7<<10),
	} {
		p.both(name, 400, "invalid_grant", "POST", "/oauth/token", refreshForm(token).Encode(), "Content-Type", formKind)
	}
	p.both("none", 400, "invalid_request", "POST", "/oauth/token", refreshForm("").Encode(), "Content-Type", formKind)
	p.both("a megabyte", 413, "body_too_large", "POST", "/oauth/token", refreshForm(strings.Repeat("A", 1<<20)).Encode(), "Content-Type", formKind)
	other := refreshForm(k0.refresh)
	other.Set("client_id", "device")
	p.both("another client's", 400, "invalid_grant", "POST", "/oauth/token", other.Encode(), "Content-Type", formKind)

	k1 := p.api[0].refresh(k0.refresh)
	k2 := p.api[1].refresh(k1.refresh)
	p.wants("the thief", 400, "invalid_grant", "POST", "/oauth/token", "", refreshForm(k0.refresh))
	for _, api := range p.api {
		api.dead(k2)
		api.do(http.StatusUnauthorized, "GET", "/v1/sessions", k0.access, nil)
		api.alive(bystander.access)
	}
}

// T38: who can publish on Redis, or write to it, confirms nobody's login: what no
// instance sealed for this record is not believed, and what was sealed for another
// one neither.
func TestForgedNoticeConfirmsNothing(t *testing.T) {
	p := startPair(t)
	phone := p.turn().signIn("alice")
	names := func() map[string]bool {
		all := map[string]bool{}
		for _, name := range strings.Fields(p.redis.do(t, "KEYS", "*")) {
			if strings.HasPrefix(name, "scanlogin:r:") {
				all[name] = true
			}
		}
		return all
	}
	l := p.api[0].create()
	s, err := watch(p.all[1].url, publicURL, l)
	if err != nil {
		t.Fatal(err)
	}
	defer s.conn.Close()
	if _, err := s.until("pending", 5*time.Second); err != nil {
		t.Fatal(err)
	}
	before := names()
	mine := p.api[0].create()
	record := ""
	for name := range names() {
		if !before[name] {
			record = name // the one that the attacker's own ticket has
		}
	}
	if record == "" {
		t.Fatal("a ticket without a record")
	}
	p.api[0].scan(&mine, phone)
	p.api[0].confirm(mine, phone)
	confirmed := p.redis.bulk(t, "GET", record)
	if len(confirmed) < 60 {
		t.Fatalf("no record: %q", confirmed)
	}
	forged := []string{confirmed, "confirmed", `{"type":"ticket","status":"confirmed"}`, strings.Repeat("x", 200), ""}
	for channel := range names() {
		for _, message := range forged {
			p.redis.do(t, "PUBLISH", channel, message)
		}
	}
	p.wants("forged notices", 400, "authorization_pending", "POST", "/oauth/token", "", redeemForm(l))
	p.api[0].scan(&l, phone) // what the browser hears next is true
	if f, err := s.next(5 * time.Second); err != nil || f.Status != "scanned" {
		t.Errorf("the browser heard %+v, %v", f, err)
	}
	for name := range before { // alice's session and ticket, the keys: all are overwritten
		p.redis.do(t, "SET", name, confirmed, "PX", "60000")
	}
	for i, api := range p.api {
		if a, err := api.try("POST", "/oauth/token", "", redeemForm(l)); err != nil || a.status < 400 {
			t.Errorf("instance %d: with foreign records a login is made: %d %s", i, a.status, a.raw)
		}
		if a, err := api.try("GET", "/v1/sessions", phone, nil); err != nil || a.status < 400 {
			t.Errorf("instance %d: with foreign records a token is good: %d %s", i, a.status, a.raw)
		}
	}
}

// bulk is a command whose answer may hold anything.
func (r *redisServer) bulk(t *testing.T, args ...string) string {
	t.Helper()
	raw := r.do(t, args...)
	_, value, ok := strings.Cut(raw, "\r\n")
	if !ok {
		return raw
	}
	return strings.TrimSuffix(value, "\r\n")
}

// T40, T41, B41, B42: at both instances, a signed request that was changed in any of
// its parts is told the same, has no effect and spends no nonce: as it was signed it is
// good once; a key that is not this caller's or not for this opens nothing.
func TestTamperedSignedRequestsAreAllTheSame401(t *testing.T) {
	p := startPair(t, "SCANLOGIN_CONFIG="+configFile(t, callersFile))
	p.api[0].signIn("bob")
	const body = `{"user":"demo:bob"}`
	fresh := func() *http.Request {
		r, err := http.NewRequestWithContext(t.Context(), "POST", publicURL+"/v1/server/ban?a=1&b=2", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		sign(r, "shop-1", oldKey, []byte(body))
		return r
	}
	header := func(name string, change func(string) string) func(*http.Request) {
		return func(r *http.Request) {
			if value := change(r.Header.Get(name)); value == "" {
				r.Header.Del(name)
			} else {
				r.Header.Set(name, value)
			}
		}
	}
	is := func(value string) func(string) string { return func(string) string { return value } }
	unix := func(seconds int64) func(string) string { return is(fmt.Sprint(time.Now().Unix() + seconds)) }
	query := func(q string) func(*http.Request) { return func(r *http.Request) { r.URL.RawQuery = q } }
	rows := map[string]func(*http.Request){
		"no key id": header("X-Key-Id", is("")), "no time": header("X-Timestamp", is("")), "no nonce": header("X-Nonce", is("")), "no signature": header("X-Signature", is("")),
		"time in words": header("X-Timestamp", is("abc")), "time in ms": header("X-Timestamp", is(fmt.Sprint(time.Now().UnixMilli()))),
		"301 s ago": header("X-Timestamp", unix(-302)), "301 s ahead": header("X-Timestamp", unix(310)),
		"nonce of 15": header("X-Nonce", is(strings.Repeat("n", 15))), "nonce of 65": header("X-Nonce", is(strings.Repeat("n", 65))), "another nonce": header("X-Nonce", is(strings.Repeat("n", 20))),
		"upper-case hex": header("X-Signature", strings.ToUpper), "63 digits": header("X-Signature", func(s string) string { return s[1:] }),
		"base64": header("X-Signature", func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }), "zeros": header("X-Signature", is(strings.Repeat("0", 64))),
		"another caller's key": header("X-Key-Id", is("till-1")), "this caller's other key": header("X-Key-Id", is("shop-2")), "unknown key": header("X-Key-Id", is("shop-9")),
		"another path": func(r *http.Request) { r.URL.Path = "/v1/server/lift" }, "another order": query("b=2&a=1"), "repeated": query("a=1&b=2&a=1"), "no query": query(""), "+ for a blank": query("a=1&b=2&c=+"),
		"a byte of the body": func(r *http.Request) { r.GetBody = bodyOf(strings.Replace(body, "bob", "bop", 1)) },
		"a mark before it":   func(r *http.Request) { r.GetBody = bodyOf("\ufeff" + body) },
	}
	said, signed := map[string]bool{}, map[string]*http.Request{}
	for name, change := range rows {
		for i, s := range p.all {
			r := fresh()
			signed[fmt.Sprintf("%s at instance %d", name, i)] = r.Clone(t.Context())
			r.ContentLength = -1
			change(r)
			a := p.api[i].at(s, r)
			if a.status != 401 || a.code() != "bad_signature" {
				t.Errorf("%s at instance %d: %d %s", name, i, a.status, a.raw)
			}
			said[strings.ReplaceAll(a.raw, a.text("request_id"), "")] = true
		}
	}
	if len(said) != 1 {
		t.Errorf("refusals differ: %v", said)
	}
	p.turn().signIn("bob") // nothing had an effect
	for name, r := range signed {
		if a := p.api[0].at(p.all[0], r); a.status != 204 {
			t.Errorf("as it was signed, after %s: %d %s", name, a.status, a.raw)
		}
		if a := p.api[1].at(p.all[1], r); a.status != 401 {
			t.Errorf("replayed at the other instance, after %s: %d %s", name, a.status, a.raw)
		}
	}
	p.wants("banned", 403, "user_banned", "POST", "/v1/signin/demo", "", map[string]string{"credential": "bob"})
}

// T29: what one client was given, another cannot use, ask about or end.
func TestForeignClientsGrantIsNotTaken(t *testing.T) {
	p := startPair(t)
	k := p.turn().login(p.turn().signIn("alice"))
	for path, form := range map[string]url.Values{
		"/oauth/token":  {"grant_type": {"refresh_token"}, "client_id": {"device"}, "refresh_token": {k.refresh}},
		"/oauth/revoke": {"client_id": {"device"}, "token": {k.refresh}},
	} {
		p.both(path, 400, "invalid_grant", "POST", path, form.Encode(), "Content-Type", formKind)
	}
	p.both("a public client asks", 401, "invalid_client", "POST", "/oauth/introspect", url.Values{"client_id": {"web"}, "token": {k.access}}.Encode(), "Content-Type", formKind)
	for _, api := range p.api {
		api.alive(k.access)
	}
}
