package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// startRedis starts a redis-server on a socket in the fleet's directory; it keeps
// nothing on disk.
func (f *Fleet) startRedis(ctx context.Context) (url string, err error) {
	program, err := redisServer(f.dir)
	if err != nil {
		return "", err
	}
	path := filepath.Join(f.dir, "r.sock")
	output, err := f.child(ctx, os.Environ(), program, "--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no", "--dir", f.dir)
	if err != nil {
		return "", fmt.Errorf("bench: redis: %w", err)
	}
	last := make(chan string, 1)
	f.ended.Go(func() {
		defer output.Close()
		last <- lastLine(output)
	})
	url = "unix://" + path
	client, err := connect(url)
	if err != nil {
		return "", err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	for client.Ping(ctx).Err() != nil {
		select {
		case line := <-last:
			return "", fmt.Errorf("bench: redis-server ended: %s", line)
		case <-ctx.Done():
			return "", fmt.Errorf("bench: redis-server does not start: %w", ctx.Err())
		default:
			pause(ctx, 20*time.Millisecond)
		}
	}
	return url, nil
}

// redisServer is $REDIS_SERVER, redis-server, or the server inside of Debian's
// redis-tools, which is known by the name it is started with.
func redisServer(dir string) (string, error) {
	if path := os.Getenv("REDIS_SERVER"); path != "" {
		return path, nil
	}
	if path, err := exec.LookPath("redis-server"); err == nil {
		return path, nil
	}
	const tools = "/usr/bin/redis-check-rdb"
	if _, err := os.Stat(tools); err != nil {
		return "", errors.New("bench: there is no redis-server: install one, name it in REDIS_SERVER, or give a running one with --redis-url")
	}
	path := filepath.Join(dir, "redis-server")
	return path, os.Symlink(tools, path)
}

// reachable tells at once what a server would only try again and again.
func reachable(ctx context.Context, url string) error {
	client, err := connect(url)
	if err != nil {
		return nil // a cluster's: its instances tell
	}
	defer client.Close()
	if err := client.Ping(ctx).Err(); err != nil {
		return fmt.Errorf("bench: redis: %w", err)
	}
	return nil
}

// cleanUp removes what a fleet left in a Redis that stays: as far as it is not on its
// way out anyway.
func cleanUp(url, prefix string) {
	client, err := connect(url)
	if err != nil {
		return // a cluster's
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	for keys := client.Scan(ctx, 0, prefix+"*", 1000).Iterator(); keys.Next(ctx); {
		client.Unlink(ctx, keys.Val())
	}
}
