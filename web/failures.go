package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync"
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
	// short says that guessing could succeed, so that who guesses has to wait.
	// The others are random and long: there a wrong try is somebody's mistake or a
	// waste of their time, and what is right is let in whatever others do.
	short bool
}

var (
	credentials   = guessable{kind: "signin", wrong: auth.ErrInvalidCredential}
	clientSecrets = guessable{kind: "client", wrong: errClientCredentials}
	typedCodes    = guessable{kind: "user_code", wrong: qrlogin.ErrNotFound, short: true}
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

// maxAccount bounds what strangers can name, in bytes.
const maxAccount = 300

// guess makes one try at what, for an account where one is named. Wrong tries
// cost the network they come from, and the account there. Who is out of budget is
// told to wait. What is short is not even tried then, by an account that has
// guessed wrong of late: whoever has not is never kept out by others. What is
// right costs nothing, and other networks are not concerned.
func (s *Server) guess(r *http.Request, what guessable, account string, try func() error) error {
	from := s.clientAddr(r)
	if !s.config.Limits || !from.IsValid() {
		return try()
	}
	network := "failures:" + what.kind + ":" + networkOf(from)
	pays := []payer{{network, ofNetwork}}
	if account != "" && len(account) <= maxAccount {
		pays = append(pays, payer{network + ":" + account, ofAccount})
	}
	if what.short {
		if !s.guessing.begin(r.Context(), account) {
			return rateLimited(time.Second)
		}
		defer s.guessing.end(account)
		if wait, err := s.mustWait(r.Context(), pays); err != nil {
			return err
		} else if wait > 0 {
			return rateLimited(wait)
		}
	}
	err := try()
	if !errors.Is(err, what.wrong) {
		return err
	}
	ctx, cancel := outlasting(r)
	defer cancel()
	var wait time.Duration
	for _, p := range pays {
		early, err := s.charge(ctx, p)
		if err != nil {
			return err
		}
		wait = max(wait, early)
	}
	if wait > 0 {
		return rateLimited(wait)
	}
	return err
}

// payer is one bucket of a try: of a network, or of an account in it.
type payer struct {
	key string
	budget
}

// mustWait is how long an account that has guessed wrong of late has to wait, for
// itself or for its network.
func (s *Server) mustWait(ctx context.Context, pays []payer) (wait time.Duration, err error) {
	now := time.Now()
	for _, p := range slices.Backward(pays) { // the account's first
		full, err := s.spent(ctx, p.key)
		if err != nil {
			return 0, err
		}
		if !now.Before(full) {
			break // of this account nothing is known
		}
		wait = max(wait, p.wait(full, now))
	}
	return wait, nil
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

func rateLimited(wait time.Duration) *failure {
	f := *errRateLimited
	f.after = wait
	return &f
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

// charged is the new full after one more wrong try.
func (b budget) charged(full, now time.Time) time.Time {
	if full.Before(now) {
		full = now
	}
	return full.Add(b.every)
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
func (s *Server) charge(ctx context.Context, p payer) (early time.Duration, err error) {
	_, err = s.config.Store.Update(ctx, p.key, func(old []byte) ([]byte, time.Duration, error) {
		full, err := decodeFull(old)
		if err != nil {
			return nil, 0, err
		}
		now := time.Now()
		if early = p.wait(full, now); early > 0 {
			return nil, 0, nil
		}
		full = p.charged(full, now)
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
