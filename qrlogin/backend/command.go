package backend

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed lua/swap.lua
var swapSource string

//go:embed lua/take.lua
var takeSource string

//go:embed lua/rewrap.lua
var rewrapSource string

var (
	swapScript   = newScript(swapSource)
	takeScript   = newScript(takeSource)
	rewrapScript = newScript(rewrapSource)
)

// script is a Lua script with exactly one key, and the name that Redis knows it by.
type script struct{ text, hash string }

func newScript(text string) script {
	return script{text: text, hash: redis.NewScript(text).Hash()}
}

// maxQueued bounds the commands that wait for a store that does not answer; those beyond
// fail at once.
const maxQueued = 20_000

// bounded gives a caller without a deadline one.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, callTimeout)
}

// do is the one place where commands are sent and sent again. Every command of this
// package may be repeated: reads, and writes that know themselves by their header. (A
// permit whose reply was lost is the exception: it costs the caller one more.) The answer
// is nil for a Redis nil. Every error is an unavailable.
func (r *Redis) do(ctx context.Context, args ...any) (any, error) {
	return r.send(ctx, func(error) redis.Cmder { return redis.NewCmd(ctx, args...) })
}

// run is do for a script with one key: by its hash, and by its text when the server says
// that it does not know it (it was restarted, or another one took over).
func (r *Redis) run(ctx context.Context, s script, key string, args ...any) (any, error) {
	return r.send(ctx, func(last error) redis.Cmder {
		verb, text := "evalsha", s.hash
		if redis.HasErrorPrefix(last, "NOSCRIPT") {
			verb, text = "eval", s.text
		}
		return redis.NewCmd(ctx, append([]any{verb, text, 1, key}, args...)...)
	})
}

// send submits what next makes of the error before, until it is answered, fails for good
// or ctx ends. The future, not the client's blocking call, is waited for: only that keeps
// to ctx once a command is queued. After that a command may still run; its arguments are
// therefore never changed again.
func (r *Redis) send(ctx context.Context, next func(last error) redis.Cmder) (any, error) {
	var last error
	for attempt := 0; ; attempt++ {
		cmd := next(last)
		err := r.pipe.Submit(ctx, cmd).WaitContext(ctx)
		switch {
		case err == nil:
			return cmd.(*redis.Cmd).Val(), nil
		case errors.Is(err, redis.Nil):
			return nil, nil
		case ctx.Err() != nil:
			return nil, unavailable{cause(ctx, last)}
		case !passing(err):
			return nil, unavailable{err}
		}
		if last = err; redis.HasErrorPrefix(err, "NOSCRIPT") {
			continue
		}
		if pause(ctx, attempt) != nil {
			return nil, unavailable{cause(ctx, last)}
		}
	}
}

// cause is why ctx ended, with the last thing that went wrong before.
func cause(ctx context.Context, last error) error {
	if last == nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w (%w)", ctx.Err(), last)
}

// passing says that the same command may fare better in a moment: anything that happens
// to connections, and the states of a server that starts, moves or changes its role.
func passing(err error) bool {
	if errors.Is(err, redis.ErrClosed) || errors.Is(err, redis.ErrAutoPipelineQueueFull) {
		return false
	}
	if !isReply(err) {
		return true
	}
	for _, prefix := range []string{"NOSCRIPT", "LOADING", "READONLY", "CLUSTERDOWN", "TRYAGAIN",
		"MASTERDOWN", "NOREPLICAS", "MOVED", "ASK", "BUSY", "max number of clients"} {
		if redis.HasErrorPrefix(err, prefix) {
			return true
		}
	}
	return false
}

// isReply says that err is an answer of the server.
func isReply(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply)
}

// pause waits a little longer with each attempt, up to linkTimeout/3, half of it by
// chance; it ends with ctx, whose error it gives.
func pause(ctx context.Context, attempt int) error {
	d := min(2*time.Millisecond<<min(attempt, 10), linkTimeout/3)
	timer := time.NewTimer(d/2 + rand.N(d/2))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// clientLog carries the client library's own lines, which are details of what this
// package logs once, into slog.
type clientLog struct{ log *slog.Logger }

func (l clientLog) Printf(ctx context.Context, format string, v ...any) {
	if l.log.Enabled(ctx, slog.LevelDebug) {
		l.log.DebugContext(ctx, fmt.Sprintf(format, v...))
	}
}
