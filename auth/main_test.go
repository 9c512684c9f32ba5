package auth_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"scanlogin/auth"
	"scanlogin/auth/demo"
	"scanlogin/qrlogin/backend"
)

const issuer = "https://login.example"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func memory(t testing.TB) *backend.Memory {
	store := backend.NewMemory()
	t.Cleanup(func() { store.Close() })
	return store
}

func service(store auth.Store, change ...func(*auth.Config)) *auth.Service {
	c := auth.Config{
		Issuer:    issuer,
		Providers: map[string]auth.Provider{"demo": demo.New([]string{"alice", "bob"})},
	}
	for _, f := range change {
		f(&c)
	}
	return auth.New(store, c)
}

// run keeps the key ring until the test ends, or until stop.
func run(t testing.TB, s *auth.Service) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(stop)
	return stop
}

var alice = auth.Identity{Provider: "demo", Subject: "alice", Name: "Alice", Picture: "https://example/a.png"}

func grant(s *auth.Service) auth.Grant {
	return auth.Grant{
		SID:      s.NewSID(),
		Identity: alice,
		ClientID: "web",
		Scope:    "openid profile",
		AMR:      []string{"qr"},
		AuthTime: time.Now(),
		Origin:   auth.Origin{Device: auth.Device{Browser: "Chrome", OS: "Windows"}},
		Seed:     []byte("the device code of this ticket"),
	}
}

func issue(t testing.TB, s *auth.Service) auth.Tokens {
	t.Helper()
	tokens, err := s.Issue(t.Context(), grant(s))
	if err != nil {
		t.Fatalf("Issue: %v", err)
	}
	return tokens
}

func refresh(t testing.TB, s *auth.Service, token string) auth.Tokens {
	t.Helper()
	tokens, err := s.Refresh(t.Context(), "web", token, "")
	if err != nil {
		t.Fatalf("Refresh: %v", err)
	}
	return tokens
}

// parallel runs f n times at once.
func parallel(n int, f func(i int)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() { <-start; f(i) })
	}
	close(start)
	wg.Wait()
}

// distinct counts different values.
func distinct[T comparable](values []T) int {
	seen := map[T]bool{}
	for _, v := range values {
		seen[v] = true
	}
	return len(seen)
}

// storedRing is the key ring as it lies in the store.
type storedRing struct {
	Current, Next storedKey
	Previous      []storedKey
}

type storedKey struct {
	Alg string
	DER []byte
}

func ringOf(t testing.TB, store auth.Store) storedRing {
	t.Helper()
	value, _, err := store.Load(t.Context(), "signing-keys")
	if err != nil || value == nil {
		t.Fatalf("key ring: %q, %v", value, err)
	}
	var r storedRing
	if err := json.Unmarshal(value, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func private(t testing.TB, k storedKey) crypto.Signer {
	t.Helper()
	parsed, err := x509.ParsePKCS8PrivateKey(k.DER)
	if err != nil {
		t.Fatal(err)
	}
	return parsed.(crypto.Signer)
}

// switched is a store with a plug: while it is pulled, every call fails the
// way a store fails that cannot be reached. It counts the calls.
type switched struct {
	auth.Store
	pulled atomic.Bool
	calls  atomic.Int64

	mu      sync.Mutex
	watches []watch
}

type watch struct {
	key     string
	changed func([]byte, uint64)
}

// relink tells every watch what is stored now, as a store does whose link was
// made again.
func (s *switched) relink(t testing.TB) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.watches {
		value, rev, err := s.Store.Load(t.Context(), w.key)
		if err != nil {
			t.Fatal(err)
		}
		w.changed(value, rev)
	}
}

type pulled struct{}

func (pulled) Error() string     { return "the plug is pulled" }
func (pulled) Unavailable() bool { return true }

func (s *switched) call() error {
	s.calls.Add(1)
	if s.pulled.Load() {
		return pulled{}
	}
	return nil
}

func (s *switched) Load(ctx context.Context, key string) ([]byte, uint64, error) {
	if err := s.call(); err != nil {
		return nil, 0, err
	}
	return s.Store.Load(ctx, key)
}

func (s *switched) Update(ctx context.Context, key string, change func([]byte) ([]byte, time.Duration, error)) (uint64, error) {
	if err := s.call(); err != nil {
		return 0, err
	}
	return s.Store.Update(ctx, key, change)
}

func (s *switched) Watch(ctx context.Context, key string, changed func([]byte, uint64)) (func(), error) {
	if err := s.call(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.watches = append(s.watches, watch{key, changed})
	s.mu.Unlock()
	return s.Store.Watch(ctx, key, changed)
}

func (s *switched) Derive(ctx context.Context, purpose string) ([]byte, error) {
	if err := s.call(); err != nil {
		return nil, err
	}
	return s.Store.Derive(ctx, purpose)
}
