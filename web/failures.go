package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"scanlogin/auth"
	"scanlogin/qrlogin"
)

// Store keeps what wrong tries cost (backend). A nil value of change leaves the
// record as it is.
type Store interface {
	Load(ctx context.Context, key string) (value []byte, rev uint64, err error)
	Update(ctx context.Context, key string, change func(old []byte) (value []byte, ttl time.Duration, err error)) (rev uint64, err error)
}

// guessable is something that strangers may try until it is right.
type guessable struct {
	kind  string
	wrong error // what a wrong try ends in
}

var (
	credentials   = guessable{"signin", auth.ErrInvalidCredential}
	typedCodes    = guessable{"user_code", qrlogin.ErrNotFound}
	clientSecrets = guessable{"client", errClientCredentials}
)

// budget is what may be wrong: burst tries at once, then one in every.
type budget struct {
	burst int
	every time.Duration
}

// Both are full again a quarter of an hour after the last wrong try. A network
// may be an office, an account in it is one person.
var (
	ofNetwork = budget{50, 18 * time.Second}
	ofAccount = budget{10, 90 * time.Second}
)

// guess makes one try at what, for an account where one is named. Wrong tries
// cost the network they come from, and the account there; while either is out of
// budget nothing is tried, also not what is right, because that answer is what a
// guesser is after. So a guesser is slowed down and nobody is locked out: what is
// right costs nothing, and other networks are not concerned.
func (s *Server) guess(r *http.Request, what guessable, account string, try func() error) error {
	from := s.clientAddr(r)
	if !s.config.Limits || !from.IsValid() {
		return try()
	}
	pays := payers(what, from, account)
	var wait time.Duration
	for key, b := range pays {
		full, err := s.spent(r.Context(), key)
		if err != nil {
			return err
		}
		wait = max(wait, b.wait(full, time.Now()))
	}
	if wait > 0 {
		return rateLimited(wait)
	}
	err := try()
	if !errors.Is(err, what.wrong) {
		return err
	}
	ctx, cancel := outlasting(r)
	defer cancel()
	for key, b := range pays {
		if err := s.charge(ctx, key, b); err != nil {
			return err
		}
	}
	return err
}

func rateLimited(wait time.Duration) *failure {
	f := *errRateLimited
	f.after = wait
	return &f
}

// payers are the buckets of one try.
func payers(what guessable, from netip.Addr, account string) map[string]budget {
	network := "failures:" + what.kind + ":" + networkOf(from)
	pays := map[string]budget{network: ofNetwork}
	if account != "" {
		pays[network+":"+account] = ofAccount
	}
	return pays
}

// networkOf is what one customer has of the internet.
func networkOf(addr netip.Addr) string {
	bits := 64
	if addr.Is4() {
		bits = 24
	}
	network, _ := addr.Prefix(bits) // both fit
	return network.String()
}

// outlasting is the request's time for the store, but not its life: who leaves
// early pays as well.
func outlasting(r *http.Request) (context.Context, context.CancelFunc) {
	until, ok := r.Context().Deadline()
	if !ok {
		until = time.Now().Add(storeDeadline)
	}
	return context.WithDeadline(context.WithoutCancel(r.Context()), until)
}

// wait is how long until the next try, when all that was charged is made good at
// full (GCRA).
func (b budget) wait(full, now time.Time) time.Duration {
	return max(0, full.Sub(now)-time.Duration(b.burst-1)*b.every)
}

// charged is the new full after one more wrong try. Tries that passed the look
// together cost no more than one beyond the burst.
func (b budget) charged(full, now time.Time) time.Time {
	if full.Before(now) {
		full = now
	}
	full = full.Add(b.every)
	if most := now.Add(time.Duration(b.burst+1) * b.every); full.After(most) {
		return most
	}
	return full
}

// spent reads a bucket: when it is full again.
func (s *Server) spent(ctx context.Context, key string) (full time.Time, err error) {
	value, _, err := s.config.Store.Load(ctx, key)
	if err != nil {
		return full, fmt.Errorf("web: failures: %w", err)
	}
	return decodeFull(value)
}

func (s *Server) charge(ctx context.Context, key string, b budget) error {
	_, err := s.config.Store.Update(ctx, key, func(old []byte) ([]byte, time.Duration, error) {
		full, err := decodeFull(old)
		if err != nil {
			return nil, 0, err
		}
		now := time.Now()
		full = b.charged(full, now)
		return strconv.AppendInt(nil, full.UnixMicro(), 10), full.Sub(now), nil
	})
	if err != nil {
		return fmt.Errorf("web: failures: %w", err)
	}
	return nil
}

// decodeFull reads a record: microseconds since 1970.
func decodeFull(value []byte) (time.Time, error) {
	micros, err := strconv.ParseInt(cmp.Or(string(value), "0"), 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("web: failures: %w", err)
	}
	return time.UnixMicro(micros), nil
}
