package backend

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// RedisConfig says which Redis to use and under which secret.
type RedisConfig struct {
	URL    string // see CheckURL
	Prefix string // of all keys and channels; "scanlogin:" if empty

	Secret         []byte // 32 bytes or more, the same on every instance
	PreviousSecret []byte // the one before, while instances that know only it may run

	Logger  *slog.Logger                                // nil: no log
	Observe func(op string, d time.Duration, err error) // nil: nobody; op is the method's name in lower case
}

// secretSize is how long a secret is at least.
const secretSize = 32

// Redis is the store that instances share. It starts and goes on without its server:
// calls fail as unavailable then, and work again when it is back.
type Redis struct {
	log     *slog.Logger
	observe func(string, time.Duration, error)
	client  redis.UniversalClient
	pipe    *redis.AutoPipeliner
	root    *root
	link    *link
	queue   queue

	ctx    context.Context // ends with Close; for the goroutines that the store owns
	cancel context.CancelFunc
}

// OpenRedis checks c and starts the store. Nothing is waited for: whether there is a
// server shows in Ping.
func OpenRedis(c RedisConfig) (*Redis, error) {
	options, err := parseURL(c.URL)
	if err != nil {
		return nil, err
	}
	if len(c.Secret) < secretSize || len(c.PreviousSecret) > 0 && len(c.PreviousSecret) < secretSize {
		return nil, fmt.Errorf("backend: a secret must have %d bytes or more", secretSize)
	}
	if c.Prefix == "" {
		c.Prefix = "scanlogin:"
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Observe == nil {
		c.Observe = func(string, time.Duration, error) {}
	}
	redis.SetLogger(clientLog{c.Logger})
	cl := client(options)
	pipe, err := cl.AsyncAutoPipeline()
	if err != nil {
		cl.Close()
		return nil, fmt.Errorf("backend: %w", err)
	}
	r := &Redis{log: c.Logger, observe: c.Observe, client: cl, pipe: pipe}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.queue = newQueue()
	r.root = newRoot(r, c)
	r.link = newLink(r)
	r.root.keeper.Go(r.root.keep)
	r.link.owned.Go(r.link.keep)
	r.link.owned.Go(r.link.reload)
	return r, nil
}

// Create stores value under key for ttl and gives its revision, or says ErrExists.
func (r *Redis) Create(ctx context.Context, key string, value []byte, ttl time.Duration) (rev uint64, err error) {
	defer r.seen("create", time.Now(), &err)
	ctx, cancel := bounded(ctx)
	defer cancel()
	k, err := r.root.keys(ctx)
	if err != nil {
		return 0, err
	}
	rev = nextRevision(0)
	_, landed, err := r.swap(ctx, k.record(key), "", k.seal(key, rev, value), ttl)
	if err == nil && !landed {
		err = ErrExists
	}
	if err != nil {
		return 0, err
	}
	return rev, nil
}

// Load gives the record of key and its revision; 0: there is none.
func (r *Redis) Load(ctx context.Context, key string) (value []byte, rev uint64, err error) {
	defer r.seen("load", time.Now(), &err)
	ctx, cancel := bounded(ctx)
	defer cancel()
	k, err := r.root.keys(ctx)
	if err != nil {
		return nil, 0, err
	}
	return r.load(ctx, k, key)
}

// Update replaces the record of key by what change makes of it (nil: there is none), for
// the ttl that it gives, and tells all watchers; it gives the new revision. A nil value
// without an error leaves everything as it is; an error of change is returned as it is.
//
// change must be quick, must not call the store, and may be called several times: each
// time somebody else was faster. Should the answer to a write be lost and another writer
// follow at once, change sees its own work done already; rules must be able to.
func (r *Redis) Update(ctx context.Context, key string, change func(old []byte) ([]byte, time.Duration, error)) (rev uint64, err error) {
	defer r.seen("update", time.Now(), &err)
	ctx, cancel := bounded(ctx)
	defer cancel()
	k, err := r.root.keys(ctx)
	if err != nil {
		return 0, err
	}
	name := k.record(key)
	leave, err := r.queue.enter(ctx, name)
	if err != nil {
		return 0, err
	}
	defer leave()
	rec, err := r.get(ctx, name)
	if err != nil {
		return 0, err
	}
	for attempt := 0; ; attempt++ {
		old, rev, err := k.open(key, rec)
		if err != nil {
			return 0, err
		}
		value, ttl, err := change(old)
		if err != nil {
			return 0, err
		}
		if value == nil {
			return rev, nil
		}
		rev = nextRevision(rev)
		found, landed, err := r.swap(ctx, name, header(rec), k.seal(key, rev, value), ttl)
		if err != nil {
			return 0, err
		}
		if landed {
			return rev, nil
		}
		if rec = found; attempt >= 2 && pause(ctx, attempt-2) != nil {
			return 0, unavailable{ctx.Err()}
		}
	}
}

// Watch calls changed with the state of key now, before it returns, and then with the
// newest one after each change by any instance: value nil and revision 0 when there is no
// record. States in between may be left out; revisions never go back. The end of a
// record's lifetime is not announced. Calls are serial per watch, on goroutines of the
// store: changed must not block and must not modify value, which other watches share; it
// may call stop, Load and Watch. After stop has returned no call begins; one that has
// begun on another goroutine may still be running, because waiting for it could deadlock
// with a lock that both want.
func (r *Redis) Watch(ctx context.Context, key string, changed func(value []byte, rev uint64)) (stop func(), err error) {
	defer r.seen("watch", time.Now(), &err)
	ctx, cancel := bounded(ctx)
	defer cancel()
	k, err := r.root.keys(ctx)
	if err != nil {
		return nil, err
	}
	return r.link.watch(ctx, k, key, changed)
}

// Take takes one of burst permits of key, of which one grows again in every; wait 0 means
// taken, otherwise how long until there is one. The server's clock counts.
func (r *Redis) Take(ctx context.Context, key string, every time.Duration, burst int) (wait time.Duration, err error) {
	defer r.seen("take", time.Now(), &err)
	micros, err := permitEvery(every, burst)
	if err != nil {
		return 0, err
	}
	return r.take(ctx, key, micros, burst)
}

// take is Take; now (microseconds) is for tests.
func (r *Redis) take(ctx context.Context, key string, every int64, burst int, now ...any) (time.Duration, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	k, err := r.root.keys(ctx)
	if err != nil {
		return 0, err
	}
	wait, err := r.run(ctx, takeScript, k.permits(key), append([]any{every, burst}, now...)...)
	if err != nil {
		return 0, err
	}
	micros, _ := wait.(int64)
	return time.Duration(micros) * time.Microsecond, nil
}

// Derive gives 32 bytes that belong to purpose, the same ones on every instance of this
// store, whatever secrets it is run with. Good as a MAC key.
func (r *Redis) Derive(ctx context.Context, purpose string) ([]byte, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	k, err := r.root.keys(ctx)
	if err != nil {
		return nil, err
	}
	return k.secret(purpose), nil
}

// Close ends the store, its goroutines and its watches. Calls that are running end as
// unavailable.
func (r *Redis) Close() error {
	r.cancel()
	r.link.owned.Wait()
	r.root.keeper.Wait()
	if err := r.client.Close(); err != nil {
		return fmt.Errorf("backend: close: %w", err)
	}
	return nil
}

// load is Load without its frame.
func (r *Redis) load(ctx context.Context, k *keys, key string) ([]byte, uint64, error) {
	rec, err := r.get(ctx, k.record(key))
	if err != nil {
		return nil, 0, err
	}
	return k.open(key, rec)
}

// get reads a stored record; empty: there is none.
func (r *Redis) get(ctx context.Context, name string) (string, error) {
	rec, err := r.do(ctx, "get", name)
	s, _ := rec.(string)
	return s, err
}

// swap runs the swap script: rec takes the place of the record that had the header read
// ("": of none), or else found is what is there.
func (r *Redis) swap(ctx context.Context, name, read string, rec []byte, ttl time.Duration) (found string, landed bool, err error) {
	answer, err := r.run(ctx, swapScript, name, read, rec, lifetime(ttl).Milliseconds())
	found, conflict := answer.(string)
	return found, err == nil && !conflict, err
}

func (r *Redis) seen(op string, start time.Time, err *error) {
	r.observe(op, time.Since(start), *err)
}

// queue lets Updates of one record go one after the other inside this process: without it
// they only spoil each other's attempts. Records share places; whoever waits does so
// within its context.
type queue struct {
	seed   maphash.Seed
	places [512]chan struct{}
}

func newQueue() (q queue) {
	q.seed = maphash.MakeSeed()
	for i := range q.places {
		q.places[i] = make(chan struct{}, 1)
	}
	return q
}

func (q *queue) enter(ctx context.Context, name string) (leave func(), err error) {
	place := q.places[maphash.String(q.seed, name)%uint64(len(q.places))]
	select {
	case place <- struct{}{}:
		return func() { <-place }, nil
	case <-ctx.Done():
		return nil, unavailable{ctx.Err()}
	}
}

// maxDrift is how far this machine's clock may be from the server's.
const maxDrift = 2 * time.Second

// Ping says whether the store can be used: it answers, takes writes, keeps our root key,
// shows about the same time as this machine, and its watch link is alive.
func (r *Redis) Ping(ctx context.Context) (err error) {
	defer r.seen("ping", time.Now(), &err)
	ctx, cancel := bounded(ctx)
	defer cancel()
	if err := r.root.check(ctx); err != nil {
		return err
	}
	before := time.Now()
	answer, err := r.do(ctx, "time")
	if err != nil {
		return err
	}
	server, err := serverTime(answer)
	if err != nil {
		return unavailable{err}
	}
	if drift(server, before, time.Now()) > maxDrift {
		return unavailable{fmt.Errorf("clocks differ: here %s, there %s",
			before.UTC().Format(time.TimeOnly), server.UTC().Format(time.TimeOnly))}
	}
	if silence := r.link.silence(); silence > deadLink {
		return unavailable{errors.New("watch link is down")}
	}
	return nil
}

// drift is how far a clock that was read between before and after is from ours at least.
func drift(server, before, after time.Time) time.Duration {
	return max(before.Sub(server), server.Sub(after), 0)
}

// serverTime reads Redis' answer to TIME: seconds and microseconds.
func serverTime(answer any) (time.Time, error) {
	if parts, ok := answer.([]any); ok && len(parts) == 2 {
		sec, micro := number(parts[0]), number(parts[1])
		if sec > 0 && micro >= 0 {
			return time.UnixMicro(sec*1e6 + micro), nil
		}
	}
	return time.Time{}, fmt.Errorf("unexpected answer to TIME: %v", answer)
}

// number reads a whole number; -1 if it is none.
func number(v any) int64 {
	s, _ := v.(string)
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return -1
	}
	return n
}
