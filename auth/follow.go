package auth

import (
	"context"
	"log/slog"
	"time"
)

// follow keeps this instance's copy of a shared record up to date until ctx
// ends: tend is called at first, whenever the record has changed, at the time
// that tend gave (zero: none), and every second while it fails.
func follow(ctx context.Context, store Store, key string, log *slog.Logger, tend func(context.Context) (next time.Time, err error)) {
	wake := make(chan struct{}, 1)
	changed := func([]byte, uint64) { // whatever it is now, tend looks
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	var stop func()
	defer func() {
		if stop != nil {
			stop()
		}
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for away := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-wake:
		case <-timer.C:
		}
		var next time.Time
		var err error
		if stop == nil {
			stop, err = store.Watch(ctx, key, changed)
		}
		if err == nil {
			next, err = tend(ctx)
		}
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			timer.Reset(retryEvery)
		case !next.IsZero():
			// Never at once: a clock that was set back may leave it overdue here.
			timer.Reset(max(time.Until(next), retryEvery))
		}
		if (err != nil) == away {
			continue
		}
		if away = err != nil; away {
			log.Warn("a shared record cannot be kept, trying again", "record", key, "error", err)
		} else {
			log.Info("the shared record is kept again", "record", key)
		}
	}
}
