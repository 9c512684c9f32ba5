package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"scanlogin/auth"
	"scanlogin/qrlogin"
)

// Store keeps what wrong tries cost and which nonces are spent (backend). A record
// that exists already is an fs.ErrExist; a nil value of change leaves a record as
// it is.
type Store interface {
	Create(ctx context.Context, key string, value []byte, ttl time.Duration) (rev uint64, err error)
	Take(ctx context.Context, key string, every time.Duration, burst int) (wait time.Duration, err error)
	Load(ctx context.Context, key string) (value []byte, rev uint64, err error)
	Update(ctx context.Context, key string, change func(old []byte) (value []byte, ttl time.Duration, err error)) (rev uint64, err error)
}

// guessable is something long and random: a wrong try is somebody's mistake or a
// waste of their time.
type guessable struct {
	kind  string
	wrong error // what a wrong try ends in
}

var (
	credentials   = guessable{"signin", auth.ErrInvalidCredential}
	clientSecrets = guessable{"client", errClientCredentials}
)

// Both are full again a quarter of an hour after the last wrong try. A network
// may be an office, an account is one person.
var (
	ofNetwork = Rate{50, 15 * time.Minute}
	ofAccount = Rate{10, 15 * time.Minute}
)

// maxAccount bounds what strangers can name, in bytes.
const maxAccount = 300

// guess makes one try at what, for an account where one is named. Wrong tries
// cost the network they come from, and the account there; who is out of budget is
// told to wait. What is right is let in all the same and costs nothing: else one
// stale copy of a secret, or a neighbour's, would lock its owner out.
func (s *Server) guess(r *http.Request, what guessable, account string, try func() error) error {
	err := try()
	from := s.clientAddr(r)
	if !errors.Is(err, what.wrong) || s.config.Limits.Off || !from.IsValid() {
		return err
	}
	network := "failures:" + what.kind + ":" + networkOf(from).String()
	pays := []bucket{{network, ofNetwork}}
	if account != "" && len(account) <= maxAccount {
		pays = append(pays, bucket{network + ":" + account, ofAccount})
	}
	ctx, cancel := outlasting(r)
	defer cancel()
	for _, b := range pays {
		if early, err := s.charge(ctx, b); err != nil {
			return err
		} else if early > 0 {
			return rateLimited(early) // and no record for every name that it invents
		}
	}
	return err
}

// guessCode makes one try at a typed code, which is short enough to be found by
// trying, for the user who is signed in. Out of budget nothing is tried, also not
// what is right: that answer is what a guesser is after. A network that many
// guess in holds up only those who have guessed wrong there themselves.
func (s *Server) guessCode(r *http.Request, user string, try func() error) error {
	if s.config.Limits.Off {
		return try()
	}
	own, network := bucket{"failures:user_code:" + user, ofAccount}, bucket{Rate: ofNetwork}
	if from := s.clientAddr(r); from.IsValid() {
		network.key = "failures:user_code:" + networkOf(from).String()
	}
	if !s.guessing.begin(r.Context(), user) {
		return rateLimited(time.Second)
	}
	defer s.guessing.end(user)
	if wait, err := s.mustWait(r.Context(), own, network); err != nil {
		return err
	} else if wait > 0 {
		return rateLimited(wait)
	}
	err := try()
	if !errors.Is(err, qrlogin.ErrNotFound) {
		return err
	}
	ctx, cancel := outlasting(r)
	defer cancel()
	for _, b := range []bucket{own, network} {
		if b.key == "" {
			continue
		}
		if _, err := s.charge(ctx, b); err != nil {
			return err
		}
	}
	return err
}

// bucket is what wrong tries are taken from.
type bucket struct {
	key string
	Rate
}

// mistypes is how many wrong codes are nobody's business but their author's.
const mistypes = 2

// mustWait is how long who has guessed wrong of late has to wait: for themselves,
// and for their network if it was more than mistyping.
func (s *Server) mustWait(ctx context.Context, own, network bucket) (time.Duration, error) {
	full, err := s.spent(ctx, own.key)
	now := time.Now()
	if err != nil || network.key == "" || full.Sub(now) <= mistypes*own.every() {
		return own.wait(full, now), err
	}
	shared, err := s.spent(ctx, network.key)
	return max(own.wait(full, now), network.wait(shared, now)), err
}

// inFlight are the accounts whose tries are under way on this instance: each has
// one at a time, or a volley would be looked at before the first is charged.
type inFlight struct {
	mu       sync.Mutex
	accounts map[string]chan struct{} // closed at the end of the try
}

// begin waits for the account's turn; false: ctx ended before.
func (f *inFlight) begin(ctx context.Context, account string) bool {
	for {
		f.mu.Lock()
		ended, busy := f.accounts[account]
		if !busy {
			if f.accounts == nil {
				f.accounts = map[string]chan struct{}{}
			}
			f.accounts[account] = make(chan struct{})
			f.mu.Unlock()
			return true
		}
		f.mu.Unlock()
		select {
		case <-ended:
		case <-ctx.Done():
			return false
		}
	}
}

func (f *inFlight) end(account string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.accounts[account])
	delete(f.accounts, account)
}

// outlasting is the request's time for the store, but not its life: who leaves
// early pays as well.
func outlasting(r *http.Request) (context.Context, context.CancelFunc) {
	until := time.Now().Add(storeDeadline)
	if ends, ok := r.Context().Deadline(); ok && ends.Before(until) {
		until = ends
	}
	return context.WithDeadline(context.WithoutCancel(r.Context()), until)
}

// spent reads a bucket: when it is full again.
func (s *Server) spent(ctx context.Context, key string) (full time.Time, err error) {
	value, _, err := s.config.Store.Load(ctx, key)
	if err != nil {
		return full, fmt.Errorf("web: failures: %w", err)
	}
	return decodeFull(value)
}

// charge takes one wrong try from a bucket. One that came too early is told by how
// much, and costs nothing: the wait never grows, however many there are.
func (s *Server) charge(ctx context.Context, b bucket) (early time.Duration, err error) {
	_, err = s.config.Store.Update(ctx, b.key, func(old []byte) ([]byte, time.Duration, error) {
		full, err := decodeFull(old)
		if err != nil {
			return nil, 0, err
		}
		now := time.Now()
		if early = b.wait(full, now); early > 0 {
			return nil, 0, nil
		}
		full = b.charged(full, now)
		return strconv.AppendInt(nil, full.UnixMicro(), 10), full.Sub(now), nil
	})
	if err != nil {
		return 0, fmt.Errorf("web: failures: %w", err)
	}
	return early, nil
}

// decodeFull reads a record: microseconds since 1970.
func decodeFull(value []byte) (time.Time, error) {
	micros, err := strconv.ParseInt(cmp.Or(string(value), "0"), 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("web: failures: %w", err)
	}
	return time.UnixMicro(micros), nil
}
