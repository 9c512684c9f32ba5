package bench

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// RedisReading is what a Redis has used since it started.
type RedisReading struct {
	CPU      time.Duration // user and system, of all threads
	Commands int           // as it counts them itself: those inside of scripts too
}

// Sub is what was used between two readings.
func (r RedisReading) Sub(earlier RedisReading) RedisReading {
	return RedisReading{r.CPU - earlier.CPU, r.Commands - earlier.Commands}
}

// RedisMeter reads INFO.
type RedisMeter struct {
	client *redis.Client
	cost   RedisReading // of a reading itself
}

// silent keeps go-redis from writing into a progress bar: what goes wrong comes back
// as an error, too.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// connect is for one Redis: redis[s]:// or unix://.
func connect(url string) (*redis.Client, error) {
	options, err := redis.ParseURL(url)
	if err != nil {
		return nil, fmt.Errorf("bench: redis: %w", err)
	}
	redis.SetLogger(silent{})
	options.DisableIdentity, options.MaxRetries, options.DialerRetries = true, -1, 1
	options.DialTimeout, options.ReadTimeout = patience, patience
	return redis.NewClient(options), nil
}

// NewRedisMeter connects to one Redis: redis[s]:// or unix://.
func NewRedisMeter(ctx context.Context, url string) (*RedisMeter, error) {
	client, err := connect(url)
	if err != nil {
		return nil, err
	}
	m := &RedisMeter{client: client}
	var readings [3]RedisReading
	for i := range readings { // the first one connects
		if readings[i], err = m.info(ctx); err != nil {
			m.Close()
			return nil, fmt.Errorf("bench: redis: %w", err)
		}
	}
	m.cost = readings[2].Sub(readings[1])
	return m, nil
}

// Read is what Redis has used, without what this reading costs.
func (m *RedisMeter) Read(ctx context.Context) (RedisReading, error) { return m.info(ctx) }

// Used is what was used since an earlier reading, without what that reading cost.
func (m *RedisMeter) Used(ctx context.Context, since RedisReading) (RedisReading, error) {
	now, err := m.info(ctx)
	used := now.Sub(since).Sub(m.cost)
	used.CPU, used.Commands = max(0, used.CPU), max(0, used.Commands)
	return used, err
}

func (m *RedisMeter) info(ctx context.Context) (RedisReading, error) {
	text, err := m.client.Info(ctx, "cpu", "stats").Result()
	if err != nil {
		return RedisReading{}, err
	}
	values := map[string]float64{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		values[name], _ = strconv.ParseFloat(value, 64) // words are of no interest
	}
	cpu := values["used_cpu_sys"] + values["used_cpu_user"]
	return RedisReading{time.Duration(cpu * float64(time.Second)), int(values["total_commands_processed"])}, nil
}

// Close ends the connection.
func (m *RedisMeter) Close() { m.client.Close() }
