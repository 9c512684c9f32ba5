package backend

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"scanlogin/auth"
	"scanlogin/auth/demo"
	"scanlogin/qrlogin"
)

// BenchmarkRedisLogin is what Redis pays for whole logins when it is as busy as many callers
// can make it, beside the plainest store with the same promises: five compare-and-swaps,
// each a command of its own through the client's pool. Over HTTP other things are
// busy long before Redis, and commands that come one by one cost it more.
func BenchmarkRedisLogin(b *testing.B) {
	b.Run("of=five", func(b *testing.B) {
		s, address := overTCP(b)
		pool := redis.NewClient(&redis.Options{Addr: address, PoolSize: crowd, MinIdleConns: crowd})
		defer pool.Close()
		s.busy(b, func(ctx context.Context, _ int64) error { return five(ctx, pool) })
	})
	b.Run("of=calls", func(b *testing.B) {
		s, address := overTCP(b)
		store := s.open(func(c *RedisConfig) { c.URL = "redis://" + address })
		ready(b, store)
		s.busy(b, func(ctx context.Context, n int64) error { return storeCalls(ctx, store, n) })
	})
	for _, limits := range []string{"off", "on"} {
		b.Run("of=login/limits="+limits, func(b *testing.B) {
			s, address := overTCP(b)
			store := s.open(func(c *RedisConfig) { c.URL = "redis://" + address })
			ready(b, store)
			l := newLogin(b, store)
			s.busy(b, func(ctx context.Context, n int64) error { return l.whole(ctx, n, limits == "on") })
		})
	}
}

// overTCP is a server that is reached as those of others are; on a unix socket single
// commands cost it less.
func overTCP(b *testing.B) (s *server, address string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(b, err)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	return startRedis(b, "--port", port), l.Addr().String()
}

// storeCalls makes the calls of a login to its store and nothing else: no signature, no rule. With
// them the processors are busy before Redis is, however many callers there are.
func storeCalls(ctx context.Context, s *Redis, n int64) error {
	ticket, user := freshKey(), "user:"+strconv.FormatInt(n%256, 10)
	load := func(key string) error { _, _, err := s.Load(ctx, key); return err }
	update := func(key string) error { _, err := s.Update(ctx, key, rewrite); return err }
	if _, err := s.Create(ctx, ticket, aTicket, time.Minute); err != nil {
		return err
	}
	if err := load(ticket); err != nil { // watch
		return err
	}
	stop, err := s.Watch(ctx, ticket, func([]byte, uint64) {})
	if err != nil {
		return err
	}
	defer stop()
	return errors.Join(
		load(user), load(ticket), load(user), load("reports"), update(ticket), // scan
		load(user), update(ticket), // confirm
		update(ticket), update(user), // redeem
	)
}

// busy has a crowd call do, and reports what Redis used for each call.
func (s *server) busy(b *testing.B, do func(ctx context.Context, n int64) error) {
	asks := redis.NewClient(&redis.Options{Network: "unix", Addr: s.socket()})
	defer asks.Close()
	used := func() (micros float64) {
		info, err := asks.Info(b.Context(), "cpu").Result()
		must(b, err)
		for line := range strings.Lines(info) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
			if name == "used_cpu_sys" || name == "used_cpu_user" {
				seconds, err := strconv.ParseFloat(value, 64)
				must(b, err)
				micros += seconds * 1e6
			}
		}
		return micros
	}
	var n atomic.Int64
	b.SetParallelism(crowd / 2)
	before := used()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			if err := do(ctx, n.Add(1)); err != nil {
				b.Error(err)
			}
			cancel()
		}
	})
	b.ReportMetric((used()-before)/float64(b.N), "redis-µs/op")
}

// cas replaces a record if it is still the one that was read, and tells who watches it.
var cas = redis.NewScript(`
if (string.sub(redis.call('GET', KEYS[1]) or '', 1, 24)) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('PUBLISH', KEYS[1], ARGV[2])
return 1`)

func five(ctx context.Context, pool *redis.Client) error {
	key, header := rand.Text(), ""
	for range 5 {
		record := rand.Text()[:24] + strings.Repeat("x", 96)
		if n, err := cas.Run(ctx, pool, []string{key}, header, record, 60_000).Int(); err != nil || n != 1 {
			return fmt.Errorf("answer %d: %w", n, err)
		}
		header = record[:24]
	}
	return nil
}

// login is the rooms above, without HTTP.
type login struct {
	store   *Redis
	tickets *qrlogin.Service
	users   *auth.Service
	phones  []auth.Tokens
}

func newLogin(b *testing.B, store *Redis) *login {
	const publicURL = "https://login.example"
	clients := auth.Clients(publicURL)
	var people []string
	for i := range 4 * crowd {
		people = append(people, "person"+strconv.Itoa(i))
	}
	users := auth.New(store, auth.Config{Issuer: publicURL, Clients: clients, Providers: map[string]auth.Provider{"demo": demo.New(people)}})
	l := &login{store, qrlogin.New(store, users, qrlogin.Config{PublicURL: publicURL, Clients: clients}), users, nil}
	for _, name := range people {
		phone, err := users.SignIn(b.Context(), "demo", name, auth.Origin{})
		must(b, err)
		l.phones = append(l.phones, phone)
	}
	return l
}

// facts are a browser's and a phone's on one network, so that no code is asked for.
var facts = qrlogin.Facts{Browser: "Chrome", OS: "Windows", IP: "203.0.113.0/24", Network: netip.MustParsePrefix("203.0.113.7/32")}

// whole goes from create to tokens, with the phone's token looked at twice and one watch.
func (l *login) whole(ctx context.Context, n int64, limits bool) (err error) {
	phone := l.phones[n%int64(len(l.phones))].Access
	var made qrlogin.Created
	var found qrlogin.Found
	var who auth.Principal
	stop := func() {}
	for _, step := range []func() error{
		func() error {
			made, err = l.tickets.Create(ctx, qrlogin.Request{ClientID: "web", Facts: facts})
			return err
		},
		func() error { _, err = l.tickets.Open(ctx, made.TicketID, made.DeviceCode); return err },
		func() error {
			stop, err = l.store.Watch(ctx, qrlogin.TicketKey(made.TicketID), func([]byte, uint64) {})
			return err
		},
		func() error { who, err = l.users.Verify(ctx, phone); return err },
		func() error {
			found, err = l.tickets.Scan(ctx, qrlogin.Scan{QR: made.QRText, Phone: facts}, who.Identity())
			return err
		},
		func() error { who, err = l.users.Verify(ctx, phone); return err },
		func() error {
			_, err = l.tickets.Confirm(ctx, made.TicketID, found.ConfirmToken, "", who.Identity())
			return err
		},
		func() error {
			_, err = l.tickets.Redeem(ctx, qrlogin.Redemption{DeviceCode: made.DeviceCode, ClientID: "web"})
			return err
		},
	} {
		if err := step(); err != nil {
			return err
		}
	}
	stop()
	for _, permit := range []string{"ticket", "scan", "tokens"} {
		if !limits {
			break
		}
		if _, err := l.store.Take(ctx, permit+strconv.FormatInt(n, 10), time.Second, 100); err != nil {
			return err
		}
	}
	return nil
}
