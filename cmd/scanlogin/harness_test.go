package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The tests of this room run the real program against a real redis-server,
// a real HAProxy and a real Chromium. Everything listens on loopback and ends
// with the test that started it.

// program is the path of the built binary.
var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "scanlogin")
	if err != nil {
		panic(err)
	}
	program = filepath.Join(dir, "scanlogin")
	args := append(append([]string{"build"}, raceFlag...), "-o", program, ".")
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	stopChromium()
	os.RemoveAll(dir)
	os.Exit(code)
}

// eventually waits for a condition, not for a time.
func eventually(t *testing.T, within time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(within)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", within, what)
		}
		<-tick.C
	}
}

// process is a child that ends with its test.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
	mu   sync.Mutex
	out  bytes.Buffer
}

func start(t *testing.T, env []string, name string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(name, args...), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p, p
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("output of %s:\n%s", filepath.Base(name), tail(p.output(), 4000))
		}
		if strings.Contains(p.output(), "WARNING: DATA RACE") {
			t.Errorf("data race in %s:\n%s", filepath.Base(name), tail(p.output(), 8000))
		}
	})
	return p
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

func (p *process) signal(s syscall.Signal) { p.cmd.Process.Signal(s) }

// freeze stops the process and waits until it stands still.
func (p *process) freeze(t *testing.T) {
	t.Helper()
	p.signal(syscall.SIGSTOP)
	eventually(t, 5*time.Second, "the process stands still", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
		return err == nil && strings.Contains(string(stat), ") T ")
	})
}

func (p *process) kill() {
	p.signal(syscall.SIGCONT)
	p.signal(syscall.SIGKILL)
	<-p.done
}

func tail(text string, n int) string { return text[max(0, len(text)-n):] }

// server is one running instance.
type server struct {
	*process
	url   string // of its own port
	admin string
}

const testSecret = "a secret of the tests, 32 bytes or more"

// serveEnv is a configuration for serve; extra entries come last and win.
func serveEnv(publicURL string, extra ...string) []string {
	users := "alice,bob,carol"
	for i := range crowd {
		users += "," + person(i)
	}
	return append([]string{
		"SCANLOGIN_LISTEN=127.0.0.1:0", "SCANLOGIN_ADMIN_LISTEN=127.0.0.1:0", "SCANLOGIN_SECRET=" + testSecret,
		"SCANLOGIN_PUBLIC_URL=" + publicURL, "SCANLOGIN_DEMO_USERS=" + users, "SCANLOGIN_LOG=json",
	}, extra...)
}

// startServer runs the program and waits until it listens.
func startServer(t *testing.T, env []string, args ...string) *server {
	t.Helper()
	s := &server{process: start(t, env, program, args...)}
	eventually(t, 20*time.Second, "the server listens", func() bool {
		select {
		case <-s.done:
			t.Fatalf("the server ended: %s", s.output())
		default:
		}
		lines := bufio.NewScanner(strings.NewReader(s.output()))
		for lines.Scan() {
			var line struct{ Msg, Listen, Admin string }
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "serving" {
				s.url, s.admin = "http://"+line.Listen, "http://"+line.Admin
			}
		}
		return s.url != ""
	})
	return s
}

// ready waits until an instance says so.
func (s *server) ready(t *testing.T) *server {
	t.Helper()
	eventually(t, 20*time.Second, "the server is ready", func() bool { return status(s.url+"/readyz") == 200 })
	return s
}

func status(url string) int {
	client := http.Client{Timeout: 3 * time.Second}
	response, err := client.Get(url)
	if err != nil {
		return 0
	}
	response.Body.Close()
	return response.StatusCode
}

// freePort asks the kernel for one, for programs that can't be asked which
// one they took.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// redisServer is a redis-server of the test's own, on a unix socket.
type redisServer struct {
	*process
	t      *testing.T
	dir    string
	args   []string
	socket string
}

func startRedis(t *testing.T, args ...string) *redisServer {
	t.Helper()
	dir, err := os.MkdirTemp("", "sl") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	r := &redisServer{t: t, dir: dir, socket: filepath.Join(dir, "r.sock")}
	r.args = append([]string{"--port", "0", "--unixsocket", r.socket, "--save", "", "--dir", dir}, args...)
	r.start()
	return r
}

func (r *redisServer) start() {
	r.t.Helper()
	r.process = start(r.t, nil, redisBinary(r.t, r.dir), r.args...)
	eventually(r.t, 10*time.Second, "redis-server answers", func() bool {
		c, err := net.Dial("unix", r.socket)
		if err != nil {
			return false
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(time.Second))
		fmt.Fprint(c, "PING\r\n")
		line, _ := bufio.NewReader(c).ReadString('\n')
		return line == "+PONG\r\n"
	})
}

// restart ends the server as an operator does and starts it again.
func (r *redisServer) restart() {
	r.t.Helper()
	r.signal(syscall.SIGTERM)
	<-r.done
	r.start()
}

func (r *redisServer) url() string { return "unix://" + r.socket }

// redisBinary is $REDIS_SERVER, redis-server, or the server inside Debian's
// redis-tools, which is known by the name it is started with.
func redisBinary(t *testing.T, dir string) string {
	t.Helper()
	if path := os.Getenv("REDIS_SERVER"); path != "" {
		return path
	}
	if path, err := exec.LookPath("redis-server"); err == nil {
		return path
	}
	path := filepath.Join(dir, "redis-server")
	if err := os.Symlink("/usr/bin/redis-check-rdb", path); err != nil && !errors.Is(err, os.ErrExist) {
		t.Fatal(err)
	}
	return path
}

// startHAProxy balances over the instances without sticky sessions, checking
// /readyz; extra lines go into the frontend.
func startHAProxy(t *testing.T, port string, extra string, instances ...*server) {
	t.Helper()
	var config strings.Builder
	fmt.Fprintf(&config, `defaults
  mode http
  timeout connect 1s
  timeout client 60s
  timeout server 60s
  timeout tunnel 1h
  option redispatch
  retries 3
  retry-on conn-failure
frontend public
  bind 127.0.0.1:%s
%s
  default_backend instances
backend instances
  balance roundrobin
  option httpchk GET /readyz
  option forwardfor
  default-server check inter 200ms fall 1 rise 1
`, port, extra)
	for i, s := range instances {
		fmt.Fprintf(&config, "  server i%d %s\n", i, strings.TrimPrefix(s.url, "http://"))
	}
	path := filepath.Join(t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(path, []byte(config.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, nil, "haproxy", "-db", "-f", path)
	eventually(t, 10*time.Second, "HAProxy reaches the instances", func() bool {
		return status("http://127.0.0.1:"+port+"/livez") == 200
	})
}

// cluster is what most tests need: instances on one Redis behind HAProxy.
type cluster struct {
	redis     *redisServer
	instances []*server
	url       string
}

func startCluster(t *testing.T, n int, env ...string) *cluster {
	t.Helper()
	return startClusterOn(t, startRedis(t), n, "", env...)
}

// startClusterBehind is startCluster with extra lines in HAProxy's frontend.
func startClusterBehind(t *testing.T, n int, frontend string, env ...string) *cluster {
	t.Helper()
	return startClusterOn(t, startRedis(t), n, frontend, env...)
}

func startClusterOn(t *testing.T, redis *redisServer, n int, frontend string, env ...string) *cluster {
	t.Helper()
	c := &cluster{redis: redis}
	port := freePort(t)
	c.url = "http://127.0.0.1:" + port
	env = serveEnv(c.url, append([]string{"SCANLOGIN_REDIS_URL=" + c.redis.url(), "SCANLOGIN_TRUSTED_PROXIES=127.0.0.0/8"}, env...)...)
	for range n {
		c.instances = append(c.instances, startServer(t, env))
	}
	for _, s := range c.instances {
		s.ready(t)
	}
	startHAProxy(t, port, frontend, c.instances...)
	return c
}
