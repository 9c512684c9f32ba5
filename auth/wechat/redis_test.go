package wechat_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// startRedis starts a redis-server on a Unix socket that ends with the test:
// $REDIS_SERVER, redis-server, or the one inside Debian's redis-tools, whose
// redis-check-rdb looks at the name it is called by.
func startRedis(t *testing.T) (url string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "redis") // not t.TempDir: a socket's path may have 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	binary := os.Getenv("REDIS_SERVER")
	if binary == "" {
		if binary, err = exec.LookPath("redis-server"); err != nil {
			tool, err := exec.LookPath("redis-check-rdb")
			if err != nil {
				t.Fatal("no redis-server: install redis-tools or set REDIS_SERVER")
			}
			binary = filepath.Join(dir, "redis-server")
			if err := os.Symlink(tool, binary); err != nil {
				t.Fatal(err)
			}
		}
	}
	socket := filepath.Join(dir, "r.sock")
	server := exec.Command(binary, "--port", "0", "--unixsocket", socket, "--save", "")
	server.Dir = dir
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Process.Kill()
		server.Wait()
		os.RemoveAll(dir)
	})
	return "unix://" + socket
}
