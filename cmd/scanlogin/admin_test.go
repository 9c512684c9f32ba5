package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// operator is somebody at a terminal who knows the secret of a server.
type operator struct {
	t *testing.T
	s *server
}

// try runs a verb against the server and gives back all that was said.
func (o operator) try(args ...string) (code int, said string) {
	o.t.Helper()
	args = append(args, "--secret", testSecret, "--admin-listen", strings.TrimPrefix(o.s.admin, "http://"))
	code, stdout, stderr := command(o.t, args...)
	return code, stdout + stderr
}

// do is try for verbs that must work.
func (o operator) do(args ...string) string {
	o.t.Helper()
	code, said := o.try(args...)
	if code != 0 {
		o.t.Fatalf("%s: exit %d: %s", args, code, said)
	}
	return said
}

func TestOperatorBansAndLifts(t *testing.T) {
	s := startServer(t, serveEnv("http://login.example")).ready(t)
	api, admin := newCaller(t, s.url), operator{t, s}
	phone := api.signIn("bob")
	if said := admin.do("ban", "list"); said != "Nobody is banned.\n" {
		t.Errorf("no bans: %q", said)
	}

	if said := admin.do("ban", "add", "demo:bob", "--for", "90m", "--reason", "stolen phone"); said != "demo:bob is banned for 1h30m0s.\n" {
		t.Errorf("add: %q", said)
	}
	if a := api.do(403, "GET", "/v1/sessions", phone, nil); a.code() != "user_banned" {
		t.Errorf("the banned user: %s", a.raw)
	}
	if said := admin.do("ban", "add", "203.0.113.9"); said != "203.0.113.9/32 is banned for good.\n" {
		t.Errorf("add: %q", said)
	}
	begun := time.Now().UTC()
	rows := strings.Split(strings.TrimRight(admin.do("ban", "list"), "\n"), "\n")
	if len(rows) != 3 || strings.Join(strings.Fields(rows[0]), " ") != "WHO SINCE UNTIL REASON" {
		t.Fatalf("list: %q", rows)
	}
	for i, column := range []string{"WHO", "SINCE", "UNTIL", "REASON"} {
		at := strings.Index(rows[0], column)
		for _, row := range rows[1:] {
			if i > 0 && (len(row) < at || row[at-1] != ' ' || len(row) > at && row[at] == ' ') {
				t.Errorf("column %s is not aligned:\n%s", column, strings.Join(rows, "\n"))
			}
		}
	}
	user, network := strings.Fields(rows[1]), strings.Fields(rows[2])
	if user[0] != "demo:bob" || !near(user[1], begun) || !near(user[2], begun.Add(90*time.Minute)) || user[3] != "stolen" {
		t.Errorf("list: %q", rows[1])
	}
	if network[0] != "203.0.113.9/32" || !near(network[1], begun) || strings.Join(network[2:], " ") != "for good" {
		t.Errorf("list: %q", rows[2])
	}

	admin.do("ban", "add", "demo:bob", "--reason", "for ever")
	if said := admin.do("ban", "list"); strings.Contains(said, "stolen") || strings.Count(said, "for good") != 2 || strings.Count(said, "\n") != 3 {
		t.Errorf("banned again: %s", said)
	}
	if said := admin.do("ban", "lift", "demo:bob"); said != "demo:bob is not banned any more.\n" {
		t.Errorf("lift: %q", said)
	}
	api.signIn("bob")
	if code, said := admin.try("ban", "lift", "demo:bob"); code != 1 || !strings.Contains(said, "no ban of demo:bob") || strings.Count(said, "\n") != 1 {
		t.Errorf("lifted again: exit %d: %q", code, said)
	}
	admin.do("ban", "lift", "203.0.113.9")
	for what, args := range map[string][]string{
		"200 bytes": {"demo:bob", "--reason", strings.Repeat("x", 201)},
		"one line":  {"demo:bob", "--reason", "a\tb"},
		"wider":     {"0.0.0.0/0"},
		"or /16":    {"2001::/12"},
	} {
		if code, said := admin.try(append([]string{"ban", "add"}, args...)...); code != 2 || !strings.Contains(said, what) || strings.Count(said, "\n") != 1 {
			t.Errorf("%s: exit %d: %q", args, code, said)
		}
	}
	if said := admin.do("ban", "list"); said != "Nobody is banned.\n" {
		t.Errorf("all lifted: %q", said)
	}
}

func near(text string, want time.Time) bool {
	got, err := time.Parse(time.RFC3339, text)
	return err == nil && got.Sub(want).Abs() < 10*time.Second
}

// A ban is told to one instance and holds on the other, for connections that
// are open there too. The admin listener stays open to who is in the network.
func TestBanHoldsOnEveryInstance(t *testing.T) {
	redis := startRedis(t)
	env := serveEnv("http://login.example", "SCANLOGIN_REDIS_URL="+redis.url())
	one, two := startServer(t, env).ready(t), startServer(t, env).ready(t)
	api := newCaller(t, two.url)
	w, err := watch(two.url, "http://login.example", api.create())
	if err != nil {
		t.Fatal(err)
	}
	defer w.conn.Close()
	if _, err := w.next(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	operator{t, one}.do("ban", "add", "127.0.0.0/8", "--for", "1h", "--reason", "flood")
	_, err = w.next(time.Second)
	var closed *websocket.CloseError
	if !errors.As(err, &closed) || closed.Code != 1008 || closed.Text != "network_banned" {
		t.Errorf("the open socket: %v", err)
	}
	if a, err := api.try("POST", "/v1/tickets", "", nil); err != nil || a.status != 403 {
		t.Errorf("the next request: %v %d %s", err, a.status, a.raw)
	}
	if said := (operator{t, two}).do("ban", "list"); !strings.Contains(said, "127.0.0.0/8") || !strings.Contains(said, "flood") {
		t.Errorf("the other instance's list: %s", said)
	}
	operator{t, two}.do("ban", "lift", "127.0.0.1/8")
	eventually(t, 2*time.Second, "the network may come back", func() bool {
		a, err := newCaller(t, one.url).try("POST", "/v1/tickets", "", nil)
		return err == nil && a.status == 201
	})
}

func TestOperatorRotatesKeys(t *testing.T) {
	s := startServer(t, serveEnv("http://login.example")).ready(t)
	api, admin := newCaller(t, s.url), operator{t, s}
	token := api.signIn("alice")
	first, again := admin.do("keys", "rotate"), admin.do("keys", "rotate")
	for _, said := range []string{first, again} {
		if !strings.HasPrefix(said, "The next key signs from ") {
			t.Errorf("said %q", said)
		}
	}
	api.do(200, "GET", "/oauth/userinfo", token, nil)
}

// Nothing but the secret is needed, from wherever settings come.
func TestVerbsNeedTheSecretOnly(t *testing.T) {
	const next = "the next secret of the tests, long enough"
	s := startServer(t, serveEnv("http://login.example", "SCANLOGIN_SECRET="+next, "SCANLOGIN_SECRET_PREVIOUS="+testSecret)).ready(t)
	listen := strings.TrimPrefix(s.admin, "http://")
	_, port, _ := net.SplitHostPort(listen)
	t.Setenv("SCANLOGIN_REDIS_URL_FILE", "/does/not/exist")
	for name, args := range map[string][]string{
		"flag":                  {"--secret", next, "--admin-listen", listen},
		"file":                  {"--secret-file", configFile(t, next+"\n"), "--admin-listen", listen},
		"configuration file":    {"--config", configFile(t, fmt.Sprintf("secret: %s\nadmin_listen: %s\nsigning_alg: RS256\n", next, listen))},
		"the secret before":     {"--secret", testSecret, "--admin-listen", listen},
		"every address":         {"--secret", next, "--admin-listen", "0.0.0.0:" + port},
		"every address of IPv6": {"--secret", next, "--admin-listen", "[::]:" + port},
		"no address":            {"--secret", next, "--admin-listen", ":" + port},
	} {
		if code, _, stderr := command(t, append([]string{"ban", "list"}, args...)...); code != 0 {
			t.Errorf("%s: exit %d: %s", name, code, stderr)
		}
	}
}

func TestVerbsSayWhatIsWrong(t *testing.T) {
	s := startServer(t, serveEnv("https://login.example")).ready(t) // https and no trusted proxies
	public := strings.TrimPrefix(s.url, "http://")
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	gone := "127.0.0.1:" + freePort(t)
	listen := "--admin-listen=" + strings.TrimPrefix(s.admin, "http://")
	for name, row := range map[string]struct {
		args []string
		code int
		says string
	}{
		"wrong secret":         {[]string{"ban", "list", "--secret=" + strings.Repeat("wrong", 8), listen}, 1, "another secret"},
		"wrong secret, rotate": {[]string{"keys", "rotate", "--secret=" + strings.Repeat("wrong", 8), listen}, 1, "another secret"},
		"no secret":            {[]string{"ban", "list", listen}, 2, "secret: required"},
		"no such secret file":  {[]string{"keys", "rotate", "--secret-file=/does/not/exist", listen}, 2, "secret_file"},
		"no server":            {[]string{"ban", "list", "--secret=" + testSecret, "--admin-listen=" + gone}, 1, "SCANLOGIN_ADMIN_LISTEN"},
		"another server":       {[]string{"ban", "lift", "demo:bob", "--secret=" + testSecret, "--admin-listen=" + strings.TrimPrefix(other.URL, "http://")}, 1, "not scanlogin's admin listener"},
		"the public port":      {[]string{"keys", "rotate", "--secret=" + testSecret, "--admin-listen=" + public}, 1, "not scanlogin's admin listener"},
		"no port":              {[]string{"ban", "list", "--secret=" + testSecret, "--admin-listen=localhost"}, 2, "admin_listen"},
		"networks not seen":    {[]string{"ban", "add", "203.0.113.0/24", "--secret=" + testSecret, listen}, 1, "trusted_proxies"},
		"nobody":               {[]string{"ban", "add", "--secret=" + testSecret, listen}, 2, "who"},
		"no user":              {[]string{"ban", "add", "bob", "--secret=" + testSecret, listen}, 2, `"bob"`},
		"no user to lift":      {[]string{"ban", "lift", "bob", "--secret=" + testSecret, listen}, 2, `"bob"`},
		"unknown verb":         {[]string{"ban", "remove", "demo:bob"}, 2, "remove"},
		"no unit":              {[]string{"ban", "add", "demo:bob", "--for=5", "--secret=" + testSecret, listen}, 2, "--for"},
		"for nothing":          {[]string{"ban", "add", "demo:bob", "--for=0s", "--secret=" + testSecret, listen}, 2, "for: "},
		"for less":             {[]string{"ban", "add", "demo:bob", "--for=-1h", "--secret=" + testSecret, listen}, 2, "for: "},
		"for too long":         {[]string{"ban", "add", "demo:bob", "--for=87601h", "--secret=" + testSecret, listen}, 2, "for: "},
	} {
		code, stdout, stderr := command(t, row.args...)
		if code != row.code || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, row.says) {
			t.Errorf("%s: exit %d: %q %q", name, code, stdout, stderr)
		}
		if strings.Contains(stderr, testSecret) {
			t.Errorf("%s: the secret is in the error", name)
		}
	}
	if code, said := (operator{t, s}).try("ban", "list"); code != 0 || said != "Nobody is banned.\n" {
		t.Errorf("afterwards: exit %d: %s", code, said)
	}
}

func TestSilentServerIsGivenUp(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	begun := time.Now()
	code, _, stderr := command(t, "keys", "rotate", "--secret", testSecret, "--admin-listen", silent.Addr().String())
	if took := time.Since(begun); code != 1 || !strings.Contains(stderr, "not within 5s") || took > askWithin+3*time.Second {
		t.Errorf("after %s: exit %d: %s", took, code, stderr)
	}
}

func TestWhoIsAUserAnAddressOrANetwork(t *testing.T) {
	for text, want := range map[string]whom{
		"demo:alice":              {User: "demo:alice"},
		"idp:https://a.example/1": {User: "idp:https://a.example/1"},
		"cafe:1":                  {User: "cafe:1"},
		"wechat-mini:o_X:y z":     {User: "wechat-mini:o_X:y z"},
		"203.0.113.7":             {Network: "203.0.113.7/32"},
		"203.0.113.7/24":          {Network: "203.0.113.0/24"},
		"2001:db8::1":             {Network: "2001:db8::1/128"},
		"2001:DB8:0::5/32":        {Network: "2001:db8::/32"},
		"fe80::1%eth0":            {Network: "fe80::1/128"},
		"::ffff:203.0.113.7":      {Network: "203.0.113.7/32"},
		"::ffff:203.0.113.7/120":  {Network: "203.0.113.0/24"},
	} {
		if got, err := parseWhom(text); err != nil || got != want {
			t.Errorf("%s: %+v %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", ":", "alice", "demo:", ":alice", "203.0.113.7/33", "203.0.113", "203.0.113.7:80", "2001:db8::/200", "fe80::1::2", "2001:db8", "demo:a\nb", "demo:\xff",
	} {
		if got, err := parseWhom(text); err == nil {
			t.Errorf("%q is %+v", text, got)
		}
	}
}

// The flags of the verbs are no settings.
func TestFlagsOfVerbsAreNoSettings(t *testing.T) {
	code, help, _ := command(t, "ban", "add", "--help")
	if code != 0 || !strings.Contains(help, "--reason=TEXT") || strings.Contains(help, "SCANLOGIN_REASON") || strings.Contains(help, "SCANLOGIN_FOR") {
		t.Errorf("help: exit %d: %s", code, help)
	}
	for _, name := range []string{"REASON", "FOR", "WHO", "BAN_REASON"} {
		t.Run(name, func(t *testing.T) {
			good(t)
			key := strings.ToLower(name)
			for _, verb := range []string{"ban add demo:bob", "config check", "serve"} {
				args := append(strings.Fields(verb), "--config", configFile(t, key+": 1h"))
				if code, _, stderr := command(t, args...); code != 2 || !strings.Contains(stderr, key+": no setting") {
					t.Fatalf("%s with a file: exit %d: %s", verb, code, stderr)
				}
			}
			t.Setenv("SCANLOGIN_"+name, "1h")
			for _, verb := range []string{"ban add demo:bob", "ban list", "config check", "serve"} {
				if code, _, stderr := command(t, strings.Fields(verb)...); code != 2 || !strings.Contains(stderr, "SCANLOGIN_"+name+": no setting") {
					t.Fatalf("%s: exit %d: %s", verb, code, stderr)
				}
			}
		})
	}
}

// Whoever sits at the address gets the token, nobody that it points to.
func TestRedirectDoesNotCarryTheAdminToken(t *testing.T) {
	thief := make(chan string, 1)
	second := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		thief <- r.Header.Get("Authorization")
	}))
	defer second.Close()
	first := httptest.NewServer(http.RedirectHandler(second.URL, http.StatusTemporaryRedirect))
	defer first.Close()
	code, _, stderr := command(t, "ban", "list", "--secret", testSecret, "--admin-listen", strings.TrimPrefix(first.URL, "http://"))
	if code != 1 || !strings.Contains(stderr, "status 307") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	select {
	case token := <-thief:
		t.Errorf("the redirect was followed with %q", token)
	default:
	}
}

// A name or a reason that somebody else chose must not steer the terminal.
func TestListedWordsDoNotSteerTheTerminal(t *testing.T) {
	hostile := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte(`{"bans":[{"user":"idp:\u001b[2Ja","reason":"x\ny\tz\u202e","since":"2026-01-02T03:04:05Z"}]}`))
	}))
	defer hostile.Close()
	code, stdout, _ := command(t, "ban", "list", "--secret", testSecret, "--admin-listen", strings.TrimPrefix(hostile.URL, "http://"))
	if code != 0 || strings.Count(stdout, "\n") != 2 || strings.ContainsAny(stdout, "\x1b\t\u202e") || !strings.Contains(stdout, "idp:?[2Ja") {
		t.Errorf("exit %d: %q", code, stdout)
	}
}
