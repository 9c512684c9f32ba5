package backend

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a redis-server of one test's own, on a Unix socket.
type server struct {
	tb     testing.TB
	dir    string
	args   []string
	cmd    *exec.Cmd
	client *redis.Client // for looking and for doing harm
}

// startRedis starts a server that ends with the test.
func startRedis(tb testing.TB, args ...string) *server {
	tb.Helper()
	// Not tb.TempDir: a socket's path may have 107 bytes.
	dir, err := os.MkdirTemp("", "redis")
	if err != nil {
		tb.Fatal(err)
	}
	s := &server{tb: tb, dir: dir, args: args}
	s.client = redis.NewClient(&redis.Options{Addr: s.socket()})
	s.start()
	tb.Cleanup(func() {
		s.kill()
		s.client.Close()
		os.RemoveAll(dir)
	})
	return s
}

// redisBinary is $REDIS_SERVER, or redis-server of the PATH, or Debian's redis-tools: its
// redis-check-rdb is the server too and looks at the name it is called by.
func redisBinary(tb testing.TB, dir string) string {
	if path := os.Getenv("REDIS_SERVER"); path != "" {
		return path
	}
	if path, err := exec.LookPath("redis-server"); err == nil {
		return path
	}
	tool, err := exec.LookPath("redis-check-rdb")
	if err != nil {
		tb.Fatal("no redis-server: install redis-tools or set REDIS_SERVER")
	}
	path := filepath.Join(dir, "redis-server")
	if err := os.Symlink(tool, path); err != nil && !os.IsExist(err) {
		tb.Fatal(err)
	}
	return path
}

func (s *server) socket() string { return filepath.Join(s.dir, "r.sock") }
func (s *server) url() string    { return "unix://" + s.socket() }

func (s *server) start() {
	s.tb.Helper()
	s.cmd = run(s.tb, s.dir, append([]string{"--port", "0", "--unixsocket", s.socket(), "--save", ""}, s.args...)...)
	waitFor(s.tb, 10*time.Second, "redis-server to answer", func() bool {
		return s.client.Ping(context.Background()).Err() == nil
	})
}

// run starts a redis-server that works in dir.
func run(tb testing.TB, dir string, args ...string) *exec.Cmd {
	tb.Helper()
	cmd := exec.Command(redisBinary(tb, dir), args...)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(tb, cmd.Start())
	return cmd
}

// kill ends the server at once; frozen or not.
func (s *server) kill() {
	s.cmd.Process.Kill()
	s.cmd.Wait()
}

func (s *server) signal(sig syscall.Signal) {
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.tb.Fatal(err)
	}
}

// open opens a store on s under the test's secret, changed by change.
func (s *server) open(change ...func(*RedisConfig)) *Redis {
	s.tb.Helper()
	c := RedisConfig{URL: s.url(), Secret: secret(1)}
	for _, f := range change {
		f(&c)
	}
	r, err := OpenRedis(c)
	if err != nil {
		s.tb.Fatal(err)
	}
	s.tb.Cleanup(func() { r.Close() })
	return r
}

// do runs a command on the server's side.
func (s *server) do(args ...any) any {
	s.tb.Helper()
	v, err := s.client.Do(context.Background(), args...).Result()
	if err != nil && err != redis.Nil {
		s.tb.Fatalf("%v: %v", args, err)
	}
	return v
}

func secret(n byte) []byte { return bytes.Repeat([]byte{n}, secretSize) }

// waitFor waits for a condition, at most d.
func waitFor(tb testing.TB, d time.Duration, what string, cond func() bool) {
	tb.Helper()
	deadline := time.After(d)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline:
			if cond() { // this process itself may have been held up
				return
			}
			tb.Fatalf("waited %s for %s", d, what)
		case <-tick.C:
		}
	}
}

// patient is a context for calls that are to succeed.
func patient(tb testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	tb.Cleanup(cancel)
	return ctx
}

// ready waits until a store's ping is good; its watch link takes a moment.
func ready(tb testing.TB, s store) {
	tb.Helper()
	var err error
	waitFor(tb, 5*time.Second, "ping", func() bool {
		err = s.Ping(patient(tb))
		return err == nil
	})
}
