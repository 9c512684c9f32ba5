package main

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"scanlogin/cmd/scanlogin/bench"
)

//go:embed cas.lua
var casText string

var cas = goredis.NewScript(casText)

// atOnce is how many callers share the plain pool, and how many logins are in
// flight beside it.
const atOnce = 64

// five measures what Redis pays for a login in the plainest form that keeps
// its promises: five compare-and-swaps of one small record, each a command of
// its own through go-redis' pool. Rate is in fives a second, 0: as fast as it
// goes. It is CPU in microseconds per five.
func five(ctx context.Context, url string, rate float64, length time.Duration) (float64, error) {
	options, err := goredis.ParseURL(url)
	if err != nil {
		return 0, err
	}
	options.PoolSize, options.MinIdleConns = atOnce, atOnce
	client := goredis.NewClient(options)
	defer client.Close()
	if err := cas.Load(ctx, client).Err(); err != nil {
		return 0, err
	}
	meter, err := bench.NewRedisMeter(ctx, url)
	if err != nil {
		return 0, err
	}
	defer meter.Close()
	before, err := meter.Read(ctx)
	if err != nil {
		return 0, err
	}
	var done atomic.Int64
	var failed atomic.Pointer[error]
	var callers sync.WaitGroup
	start := time.Now()
	for i := range atOnce {
		callers.Go(func() {
			for n := i; time.Since(start) < length && failed.Load() == nil; n += atOnce {
				if rate > 0 {
					time.Sleep(time.Until(start.Add(time.Duration(float64(n) / rate * float64(time.Second)))))
				}
				if err := fiveSteps(ctx, client); err != nil {
					failed.Store(&err)
					return
				}
				done.Add(1)
			}
		})
	}
	callers.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	used, err := meter.Used(ctx, before)
	return used.CPU.Seconds() * 1e6 / float64(done.Load()), err
}

func fiveSteps(ctx context.Context, client *goredis.Client) error {
	key, header := "five:"+rand.Text(), ""
	for range 5 {
		record := append([]byte(rand.Text()[:24]), bytes.Repeat([]byte{'x'}, 96)...)
		n, err := cas.EvalSha(ctx, client, []string{key}, header, record, 60_000).Int()
		if err != nil || n != 1 {
			return fmt.Errorf("five: answer %d: %w", n, err)
		}
		header = string(record[:24])
	}
	return nil
}
