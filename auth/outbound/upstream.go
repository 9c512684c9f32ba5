package outbound

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v6"
	"github.com/sony/gobreaker/v2"
)

const (
	opensAfter = 5               // failures in a row
	opensFor   = 5 * time.Second // until one call is let through
)

// upstream is what is kept of one kind of question.
type upstream struct {
	name    string
	log     *slog.Logger
	places  chan struct{}
	breaker *gobreaker.CircuitBreaker[[]byte]
}

// upstream is the one of a name, made when it is first asked for.
func (c *Client) upstream(name string) *upstream {
	c.mu.Lock()
	defer c.mu.Unlock()
	u := c.upstreams[name]
	if u == nil {
		u = newUpstream(name, c.config.Logger)
		c.upstreams[name] = u
	}
	return u
}

func newUpstream(name string, log *slog.Logger) *upstream {
	return &upstream{
		name:   name,
		log:    log,
		places: make(chan struct{}, places),
		breaker: gobreaker.NewCircuitBreaker[[]byte](gobreaker.Settings{
			Name:         name,
			Timeout:      opensFor,
			ReadyToTrip:  func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= opensAfter },
			IsSuccessful: func(err error) bool { return !errors.Is(err, ErrUnavailable) },
			IsExcluded:   func(err error) bool { return errors.Is(err, context.Canceled) },
			OnStateChange: func(name string, _, to gobreaker.State) {
				switch to {
				case gobreaker.StateOpen:
					log.Warn("an upstream keeps failing and is left alone for a while", "upstream", name, "for", opensFor)
				case gobreaker.StateClosed:
					log.Info("an upstream answers again", "upstream", name)
				}
			},
		}),
	}
}

// do has the call made once, or twice where its answer allows that, if there is
// a place for it and the breaker lets it through.
func (u *upstream) do(ctx context.Context, call func() ([]byte, error)) ([]byte, error) {
	select {
	case u.places <- struct{}{}:
		defer func() { <-u.places }()
	default:
		return nil, fmt.Errorf("%w: %s: %d calls are under way already", ErrUnavailable, u.name, places)
	}
	deadline, _ := ctx.Deadline()
	body, err := backoff.Retry(ctx, func() ([]byte, error) {
		body, err := u.breaker.Execute(call)
		switch {
		case errors.Is(err, gobreaker.ErrOpenState), errors.Is(err, gobreaker.ErrTooManyRequests):
			err = fmt.Errorf("%w: %s: left alone after failures", ErrUnavailable, u.name)
		case errors.Is(err, ErrUnavailable):
			u.log.Warn("an upstream failed", "upstream", u.name, "error", err)
		}
		if !errors.Is(err, ErrAgain) {
			err = backoff.Permanent(err)
		}
		return body, err
	},
		backoff.WithBackOff(&backoff.ExponentialBackOff{
			InitialInterval: 200 * time.Millisecond, RandomizationFactor: 0.5, Multiplier: 1, MaxInterval: time.Second,
		}),
		backoff.WithMaxTries(2),
		backoff.WithMaxElapsedTime(time.Until(deadline)), // no pause that leaves no room
	)
	if stopped := backoff.AsRetryError(err); stopped != nil {
		return nil, stopped.LastErr
	}
	return body, nil
}
