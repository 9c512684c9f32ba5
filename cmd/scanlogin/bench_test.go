package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"scanlogin/cmd/scanlogin/bench"
)

// benchRun is one run of the verb, as a person starts it.
type benchRun struct {
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
}

func beginBench(t *testing.T, args ...string) *benchRun {
	t.Helper()
	b := &benchRun{cmd: exec.CommandContext(t.Context(), program, append([]string{"bench", "--json"}, args...)...)}
	b.cmd.Stdout, b.cmd.Stderr = &b.stdout, &b.stderr
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return b
}

// end waits for the exit code and the result; nil: there is none.
func (b *benchRun) end(t *testing.T) (code int, result *bench.Result) {
	t.Helper()
	b.cmd.Wait()
	said := b.stderr.String()
	if strings.Contains(said, "DATA RACE") {
		t.Errorf("data race: %s", said)
	}
	if b.stdout.Len() > 0 {
		if err := json.Unmarshal(b.stdout.Bytes(), &result); err != nil {
			t.Fatalf("not JSON: %v: %s", err, b.stdout.String())
		}
	}
	return b.cmd.ProcessState.ExitCode(), result
}

func benchOf(t *testing.T, args ...string) (code int, result *bench.Result, stderr string) {
	t.Helper()
	b := beginBench(t, args...)
	code, result = b.end(t)
	if t.Failed() || result == nil {
		t.Logf("exit %d: %s%s", code, b.stdout.String(), b.stderr.String())
	}
	return code, result, b.stderr.String()
}

// needResult is benchOf for runs that must come to a result.
func needResult(t *testing.T, wantCode int, args ...string) *bench.Result {
	t.Helper()
	code, result, stderr := benchOf(t, args...)
	if result == nil || code != wantCode {
		t.Fatalf("exit %d, want %d: %s", code, wantCode, stderr)
	}
	return result
}

// Every transport, on memory and on two instances with Redis: all logins arrive, all
// browsers stay, all that can be measured is, and nothing is left behind.
func TestBenchDrivesWholeLogins(t *testing.T) {
	for _, store := range []string{"memory", "redis"} {
		for _, transport := range []string{"ws", "sse", "poll"} {
			t.Run(transport+" "+store, func(t *testing.T) {
				left := t.TempDir()
				t.Setenv("TMPDIR", left)
				report := filepath.Join(t.TempDir(), "report.html")
				args := []string{"--transport", transport, "--logins=30", "--rate=30", "--parallel=8", "--browsers=20", "--html", report, "--limits=on"}
				if store == "redis" {
					args = append(args, "--redis", "--instances=2")
				}
				r := needResult(t, 0, args...)
				if r.Logins != (bench.Logins{Done: 30}) || len(r.Errors) != 0 {
					t.Errorf("logins %+v, errors %v", r.Logins, r.Errors)
				}
				if r.Browsers != (bench.Browsers{Asked: 20, Held: 20}) {
					t.Errorf("browsers %+v", r.Browsers)
				}
				names := []string{}
				for _, step := range r.Steps {
					if names = append(names, step.Name); step.Count != 30 || step.P50 <= 0 || step.P50 > step.P90 || step.P99 > step.Max {
						t.Errorf("step %+v", step)
					}
				}
				if want := []string{"create", "watch", "scan", "seen", "confirm", "told", "redeem", "login"}; !slices.Equal(names, want) {
					t.Errorf("steps %v", names)
				}
				done := 0
				for i, second := range r.Timeline {
					if done += second.Done; second.At != i || second.Open != 20 {
						t.Errorf("second %+v", second)
					}
				}
				if done != 30 || r.Seconds < 0.9 || r.Setup.Store != store || r.Setup.Instances != len(slices.Compact([]string{"memory", store})) {
					t.Errorf("%d in the timeline, %g s, %+v", done, r.Seconds, r.Setup)
				}
				if r.Server == nil || r.Server.CPUPerLogin <= 0 || r.Server.RSS <= 0 || (r.Redis != nil) != (store == "redis") {
					t.Errorf("used %+v %+v", r.Server, r.Redis)
				}
				// The scan and the confirm, each to the one instance that watches, and
				// what comes before that has let go. A poll may be on its way just then.
				least := map[string]float64{"ws": 2, "sse": 2, "poll": 0}[transport]
				if r.Redis != nil && (r.Redis.CommandsPerLogin < 5 || r.Redis.DeliveriesPerLogin < least || r.Redis.DeliveriesPerLogin > 4) {
					t.Errorf("Redis %+v", r.Redis)
				}
				if page, err := os.ReadFile(report); err != nil || !bytes.Contains(page, []byte("<svg")) {
					t.Errorf("the report: %v", err)
				}
				if files, _ := os.ReadDir(left); len(files) > 0 {
					t.Errorf("left behind: %v", files)
				}
			})
		}
	}
}

// A ticket that expires is renewed, as a page does, and is no drop. The setting that
// makes it so comes from the command line of the load test.
func TestBenchRenewsExpiredTickets(t *testing.T) {
	for _, transport := range []string{"ws", "sse", "poll"} {
		t.Run(transport, func(t *testing.T) {
			r := needResult(t, 0, "--transport", transport, "--ticket-ttl=2s", "--browsers=20", "--rate=5", "--duration=3s")
			if b := r.Browsers; b.Renewed < 20 || b.Dropped != 0 || b.Held != 20 {
				t.Errorf("browsers %+v, errors %v", b, r.Errors)
			}
		})
	}
}

// A server that runs already: its check code is answered, and there cannot be more
// logins at a time than it has people.
func TestBenchAgainstARunningServer(t *testing.T) {
	s := startServer(t, serveEnv("http://login.example", "SCANLOGIN_CHECK_CODE=always", "SCANLOGIN_DEMO_USERS=alice,bob,carol")).ready(t)
	code, r, stderr := benchOf(t, "--url", s.url, "--admin", s.admin, "--demo-users=alice,bob,carol", "--logins=20", "--rate=0", "--browsers=5")
	if code != 0 || r == nil || r.Logins != (bench.Logins{Done: 20}) || r.Setup.Parallel != 3 || len(r.Errors) != 0 || r.Setup.Store != "" {
		t.Errorf("exit %d: %+v", code, r)
	}
	if !strings.Contains(stderr, "3 demo users") {
		t.Errorf("no word about it: %q", stderr)
	}
}

// meddler does as it likes with what answers a request.
type meddler func(w http.ResponseWriter, r *http.Request, forward http.Handler)

// between puts a meddler in front of a server, for redemptions.
func between(t *testing.T, s *server, answer meddler) (flags []string) {
	t.Helper()
	return through(t, s, func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
		if r.URL.Path == "/oauth/token" {
			answer(w, r, forward)
			return
		}
		forward.ServeHTTP(w, r)
	})
}

// through puts a meddler in front of a server, for everything.
func through(t *testing.T, s *server, answer meddler) (flags []string) {
	t.Helper()
	target, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	forward := httputil.NewSingleHostReverseProxy(target)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answer(w, r, forward) }))
	t.Cleanup(proxy.Close)
	return []string{"--url", proxy.URL, "--demo-users=alice,bob,carol", "--rate=0", "--browsers=0"}
}

func TestBenchFindsTokensOfSomebodyElse(t *testing.T) {
	s := startServer(t, serveEnv("http://login.example", "SCANLOGIN_LIMITS=off")).ready(t)
	var mu sync.Mutex
	var before []byte
	flags := between(t, s, func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
		mine := httptest.NewRecorder()
		forward.ServeHTTP(mine, r)
		mu.Lock()
		given := before
		before = mine.Body.Bytes()
		mu.Unlock()
		if given == nil {
			given = mine.Body.Bytes()
		}
		w.Write(given)
	})
	r := needResult(t, 1, append(flags, "--logins=12")...)
	if r.Logins.Misgiven == 0 || r.Errors["redeem misgiven"] == 0 {
		t.Errorf("logins %+v, errors %v", r.Logins, r.Errors)
	}
}

func TestBenchFindsLostLogins(t *testing.T) {
	s := startServer(t, serveEnv("http://login.example", "SCANLOGIN_LIMITS=off")).ready(t)
	var swallowed sync.Map // tickets whose answers never come
	var n int
	var mu sync.Mutex
	flags := between(t, s, func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		form, _ := url.ParseQuery(string(body))
		mu.Lock()
		_, known := swallowed.Load(form.Get("device_code"))
		if n++; n == 20 { // after the warm-up
			swallowed.Store(form.Get("device_code"), true)
			known = true
		}
		mu.Unlock()
		if known {
			forward.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		forward.ServeHTTP(w, r)
	})
	r := needResult(t, 1, append(flags, "--logins=30")...)
	if r.Logins != (bench.Logins{Done: 29, Lost: 1}) || r.Errors["redeem connection"] < 2 {
		t.Errorf("logins %+v, errors %v", r.Logins, r.Errors)
	}
}

// A lost answer that comes when it is asked for again is no lost login.
func TestBenchAsksAgain(t *testing.T) {
	s := startServer(t, serveEnv("http://login.example", "SCANLOGIN_LIMITS=off")).ready(t)
	var n int
	var mu sync.Mutex
	flags := between(t, s, func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
		mu.Lock()
		n++
		lose := n%3 == 0
		mu.Unlock()
		if lose {
			forward.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		forward.ServeHTTP(w, r)
	})
	if r := needResult(t, 0, append(flags, "--logins=15")...); r.Logins != (bench.Logins{Done: 15}) || r.Errors["redeem connection"] == 0 {
		t.Errorf("logins %+v, errors %v", r.Logins, r.Errors)
	}
}

// A server that stands still makes everybody wait who was due meanwhile, not only the
// one that it does not answer: times count from the due moment.
func TestBenchCountsFromTheDueMoment(t *testing.T) {
	s := startServer(t, serveEnv("http://login.example", "SCANLOGIN_LIMITS=off")).ready(t)
	var n atomic.Int64
	flags := between(t, s, func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
		if n.Add(1) == 10 { // after the warm-up
			<-time.After(time.Second)
		}
		forward.ServeHTTP(w, r)
	})
	r := needResult(t, 0, append(flags, "--logins=30", "--rate=30", "--parallel=1")...)
	redeem, login := r.Steps[6], r.Steps[7]
	if redeem.Name != "redeem" || redeem.P50 > 100 || redeem.Max < 1000 || login.P50 < 250 || login.Max < 1000 {
		t.Errorf("redeem p50 %g max %g, login p50 %g max %g ms", redeem.P50, redeem.Max, login.P50, login.Max)
	}
}

// metric reads one number of an instance; 0 when there is none.
func (s *server) metric(name string) int {
	response, err := http.Get(s.admin + "/metrics")
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	page, _ := io.ReadAll(response.Body)
	_, rest, _ := strings.Cut(string(page), name+" ")
	value, _, _ := strings.Cut(rest, "\n")
	n, _ := strconv.Atoi(value)
	return n
}

func TestBenchCountsWhoWasDropped(t *testing.T) {
	port := freePort(t)
	env := serveEnv("http://login.example", "SCANLOGIN_LISTEN=127.0.0.1:"+port)
	s := startServer(t, env).ready(t)
	b := beginBench(t, "--url", s.url, "--demo-users=alice", "--browsers=50", "--rate=2", "--duration=4s")
	eventually(t, 10*time.Second, "all browsers watch", func() bool { return s.metric(`scanlogin_sockets{transport="ws"}`) >= 50 })
	s.kill()
	startServer(t, env).ready(t)
	code, r := b.end(t)
	if code != 1 || r == nil || r.Browsers.Dropped != 50 || r.Browsers.Held != 50 || r.Errors["hold 1006"]+r.Errors["hold connection"] != 50 {
		t.Errorf("exit %d: %+v: %s", code, r, b.stderr.String())
	}
	if r != nil && r.Logins.Failed == 0 {
		t.Errorf("logins %+v, although the server forgot the phones", r.Logins)
	}
}

// Ctrl-C ends a run with what was measured so far; nobody is cut off.
func TestBenchEndsWithWhatWasMeasured(t *testing.T) {
	s := startServer(t, serveEnv("http://login.example", "SCANLOGIN_LIMITS=off")).ready(t)
	b := beginBench(t, "--url", s.url, "--admin", s.admin, "--demo-users=alice,bob,carol", "--browsers=20", "--rate=100", "--duration=1h")
	eventually(t, 15*time.Second, "logins are driven, and not only to warm up", func() bool {
		return s.metric(`scanlogin_ticket_moves_total{to="consumed"}`) > 60
	})
	b.cmd.Process.Signal(syscall.SIGINT)
	begun := time.Now()
	code, r := b.end(t)
	if code != 0 || r == nil || r.Logins.Done == 0 || r.Logins != (bench.Logins{Done: r.Logins.Done, Unbegun: r.Logins.Unbegun}) || r.Browsers.Held != 20 || r.Server == nil {
		t.Errorf("exit %d: %+v: %s", code, r, b.stderr.String())
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestBenchSaysWhyNothingCouldBeDone(t *testing.T) {
	nobody := "http://127.0.0.1:" + freePort(t)
	for name, row := range map[string]struct {
		args  []string
		names string
	}{
		"nobody there":     {[]string{"--url", nobody, "--demo-users=alice", "--parallel=1"}, "refused"},
		"no such user":     {[]string{"--url", startServer(t, serveEnv("http://login.example")).url, "--demo-users=mallory", "--parallel=1"}, "invalid_credential"},
		"no server starts": {[]string{"--geoip-db=/nowhere/city.mmdb"}, "geoip_db"},
		"no Redis there":   {[]string{"--redis-url=unix:///nowhere/r.sock"}, "/nowhere/r.sock"},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, stderr := benchOf(t, row.args...)
			if code != 1 || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, row.names) {
				t.Errorf("exit %d: %q", code, stderr)
			}
		})
	}
}

// A load test of somebody else's server is an attack.
func TestBenchTakesNoTargetOnAnotherMachine(t *testing.T) {
	for _, target := range []string{"http://login.example", "http://192.0.2.1:8080", "http://0.0.0.0:8080", "http://127.0.0.1.example", "http://localhost.example:80", "http://[2001:db8::1]:80"} {
		for _, args := range [][]string{{"--url", target}, {"--url=http://127.0.0.1:1", "--admin", target}} {
			code, _, stderr := command(t, append([]string{"bench", "--demo-users=alice"}, args...)...)
			if code != 2 || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "not on this machine") || !strings.Contains(stderr, args[len(args)-2][:3]) {
				t.Errorf("%s: exit %d: %s", args, code, stderr)
			}
		}
	}
}

func TestBenchRefusesWhatCannotBeDone(t *testing.T) {
	at := "--url=http://127.0.0.1:1"
	for args, names := range map[string]string{
		"--instances=2":                      "--instances",
		"--instances=0":                      "--instances",
		"--browsers=-1":                      "--browsers",
		"--parallel=0":                       "--parallel",
		"--rate=-1":                          "--rate",
		"--rate=NaN":                         "--rate",
		"--logins=-5":                        "--logins",
		"--duration=10ms":                    "--duration",
		"--transport=pigeon":                 "--transport",
		"--admin=http://127.0.0.1:1":         "--admin",
		"--redis --redis-url=unix:///r.sock": "--redis",
		at:                                   "--demo-users",
		at + " --demo-users=a --redis":       "--url",
		at + " --demo-users=a --instances=2": "--url",
		at + " --demo-users=a --admin=http://127.0.0.1:2 --admin=http://127.0.0.1:3": "--admin",
		"--url=https://127.0.0.1:1 --demo-users=a":                                   "--url",
		"--url=http://127.0.0.1:1/x --demo-users=a":                                  "--url",
		"--html=/nowhere/report.html":                                                "--html",
		"--redis-url=redis://10.1.2.3:6379":                                          "redis_url",
		"--redis-url=redis://:s@127.0.0.1@redis.example":                             "redis_url",
		"--redis-url=rediss+cluster://127.0.0.1:1,10.1.2.3:2":                        "\"10.1.2.3\" is not on this machine",
		"--redis-url=redis+sentinel://m@[2001:db8::1]:1 " + at + " --demo-users=a":   "\"2001:db8::1\" is not on this machine",
		"--redis-url=tcp://127.0.0.1":                                                "redis_url",
		"--ticket-ttl=soon":                                                          "--ticket-ttl",
	} {
		code, _, stderr := command(t, append([]string{"bench"}, strings.Fields(args)...)...)
		if code != 2 || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, names) {
			t.Errorf("%s: exit %d: %s", args, code, stderr)
		}
	}
}
