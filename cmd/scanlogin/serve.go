package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/term"

	"scanlogin/auth"
	"scanlogin/hub"
	"scanlogin/qrlogin"
	"scanlogin/qrlogin/backend"
	"scanlogin/web"
)

type serveVerb struct{}

func (serveVerb) Run(ctx context.Context, c *Config, out io.Writer) error {
	if err := c.prepare(); err != nil {
		return usageError{err}
	}
	public, admin, err := listen(ctx, c)
	if err != nil {
		return err
	}
	level := slog.LevelInfo
	if c.LogLevel == "debug" {
		level = slog.LevelDebug
	}
	log := newLogger(c.Log, out, level)
	warnOfFewFiles(log, c.Limits.Limits)
	return serve(ctx, c, public, admin, log)
}

// openFiles is how many files and connections the system lets this process have open.
var openFiles = func() (uint64, error) { return math.MaxUint64, nil }

// warnOfFewFiles says that the system's limit will be met before the server's own: then
// newcomers wait unanswered where a 503 would have sent them to another instance.
func warnOfFewFiles(log *slog.Logger, limits web.Limits) {
	limits = limits.WithDefaults()
	needed := uint64(limits.Sockets + limits.RequestsInFlight)
	if most, err := openFiles(); err == nil && most < needed && !limits.Off {
		log.Warn("too few open files are allowed for the limits in force: raise them with `ulimit -n` (systemd: LimitNOFILE=, containers: --ulimit nofile=), or lower sockets and requests_in_flight",
			"allowed", most, "needed", needed)
	}
}

// listen binds both ports before anything is started, so that a taken one is
// told at once.
func listen(ctx context.Context, c *Config) (public, admin net.Listener, err error) {
	var config net.ListenConfig
	if public, err = config.Listen(ctx, "tcp", c.Listen); err != nil {
		return nil, nil, fmt.Errorf("listen: %w (choose another address with --listen or SCANLOGIN_LISTEN)", err)
	}
	if admin, err = config.Listen(ctx, "tcp", c.AdminListen); err != nil {
		public.Close()
		return nil, nil, fmt.Errorf("admin_listen: %w (choose another address with --admin-listen or SCANLOGIN_ADMIN_LISTEN)", err)
	}
	return public, admin, nil
}

func newLogger(format string, out io.Writer, level slog.Level) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	file, isFile := out.(*os.File)
	if format == "text" || format == "" && isFile && term.IsTerminal(int(file.Fd())) {
		return slog.New(slog.NewTextHandler(out, options))
	}
	return slog.New(slog.NewJSONHandler(out, options))
}

// store is what instances share: memory for one process, Redis for many.
type store interface {
	qrlogin.Store
	auth.Store
	hub.Source
	Ping(ctx context.Context) error
	Close() error
}

// openStore is the only place that knows there are two.
func openStore(c *Config, metrics *web.Metrics, log *slog.Logger) (store, error) {
	if c.RedisURL == "" {
		log.Warn("embedded store: one process only, logins and sessions end with it; set redis_url to share them")
		return backend.NewMemory(), nil
	}
	return backend.OpenRedis(backend.RedisConfig{
		URL: c.RedisURL, Prefix: c.RedisPrefix, Secret: []byte(c.Secret), PreviousSecret: []byte(c.SecretPrevious),
		Logger: log, Observe: metrics.Store,
	})
}

// instance is one running server.
type instance struct {
	config *Config
	log    *slog.Logger
	store  store
	people people
	places *web.Geo
	auth   *auth.Service
	hub    *hub.Hub
	web    *web.Server
	public *http.Server
	admin  *http.Server
}

func newInstance(c *Config, log *slog.Logger) (*instance, error) {
	tokens, err := c.adminTokens()
	if err != nil {
		return nil, err
	}
	places, err := openPlaces(c)
	if err != nil {
		return nil, usageError{err}
	}
	if strings.HasPrefix(c.PublicURL, "https:") && len(c.TrustedProxies) == 0 {
		log.Warn("nobody's address is known: public_url is https, so there is a proxy, and trusted_proxies does not name it; limits and bans of networks are off, and phones are not told where a login comes from")
	}
	metrics := web.NewMetrics(buildVersion())
	shared, err := openStore(c, metrics, log)
	if err != nil {
		places.Close()
		return nil, usageError{fmt.Errorf("redis_url: %w", err)}
	}
	clients := c.clients()
	who, err := openProviders(c, shared, metrics.Outbound, log)
	if err != nil {
		return nil, usageError{errors.Join(err, shared.Close(), places.Close())}
	}
	who.warn(len(c.DemoUsers), log)
	sockets := hub.Config{
		Heartbeat: c.Heartbeat, Logger: log, Observe: metrics.Hub, HandshakeError: web.HandshakeError,
	}
	c.Limits.Bound(&sockets)
	live := hub.New(shared, sockets)
	metrics.Watch(live.Stats)
	sessions := auth.New(shared, auth.Config{
		Issuer: c.PublicURL, AccessTTL: c.AccessTTL, RefreshTTL: c.RefreshTTL, RefreshIdle: c.RefreshIdle,
		Grace: c.RefreshGrace, Algorithm: c.SigningAlg, Providers: who.all, Clients: clients, Logger: log,
		NetworksBanned: func(banned func(netip.Addr) bool) { live.Evict(banned, hub.BadMessage, "network_banned") },
	})
	tickets := qrlogin.New(shared, sessions, qrlogin.Config{
		PublicURL: c.PublicURL, Clients: clients, TicketTTL: c.TicketTTL, ConfirmTTL: c.ConfirmTTL,
		RedeemTTL: c.RedeemTTL, QRRotate: c.QRRotate, Grace: c.RefreshGrace, Check: qrlogin.Mode(c.CheckCode),
	})
	site := web.New(tickets, sessions, live, web.Config{
		PublicURL: c.PublicURL, Origins: c.Origins, TrustedProxies: c.TrustedProxies, Clients: clients,
		Provider: who.page, DemoUsers: c.DemoUsers, Redirectors: who.redirectors, Heartbeat: c.Heartbeat,
		SessionTTL: max(c.RefreshTTL, clients["web"].RefreshTTL, clients[auth.Phone].RefreshTTL),
		Limits:     c.Limits.Limits, AdminTokens: tokens, CallerKeys: c.callerKeys(), Store: shared,
		Geo: places, Version: buildVersion(), Ping: shared.Ping, Derive: shared.Derive, Metrics: metrics, Logger: log,
	})
	return &instance{
		config: c, log: log, store: shared, people: who, places: places, auth: sessions, hub: live, web: site,
		public: httpServer(site.Handler(), log), admin: httpServer(site.Admin(), log),
	}, nil
}

// openPlaces reads the file that says where addresses are; nil: none is named.
func openPlaces(c *Config) (*web.Geo, error) {
	if c.GeoIPDB == "" {
		return nil, nil
	}
	places, err := web.OpenGeo(c.GeoIPDB)
	if err != nil {
		return nil, fmt.Errorf("geoip_db: %w", err)
	}
	return places, nil
}

func httpServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 40 * time.Second, IdleTimeout: 75 * time.Second, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// serve runs until ctx ends, then drains. Order of the end: HTTP, sockets,
// the key ring, the store; each waits for the one before.
func serve(ctx context.Context, c *Config, public, admin net.Listener, log *slog.Logger) error {
	in, err := newInstance(c, log)
	if err != nil {
		public.Close()
		admin.Close()
		return err
	}
	running, stop := context.WithCancel(context.Background())
	var rooms sync.WaitGroup
	rooms.Go(func() { in.auth.Run(running) })
	rooms.Go(func() { in.hub.Run(running) })
	rooms.Go(func() { boundGarbage(running) })
	for _, run := range in.people.run {
		rooms.Go(func() { run(running) })
	}

	failed := make(chan error, 2)
	var servers sync.WaitGroup
	for server, listener := range map[*http.Server]net.Listener{in.public: public, in.admin: admin} {
		servers.Go(func() {
			if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
				failed <- err
			}
		})
	}
	log.Info("serving", "public_url", c.PublicURL, "listen", public.Addr().String(), "admin", admin.Addr().String(), "store", c.storeName(), "version", buildVersion())

	select {
	case err = <-failed:
	case <-ctx.Done():
		in.drain(context.Cause(ctx) == errInterrupted)
	}
	in.public.Close()
	in.admin.Close()
	servers.Wait()
	stop()
	rooms.Wait()
	if closeErr := errors.Join(in.store.Close(), in.places.Close()); err == nil {
		err = closeErr
	}
	log.Info("stopped")
	return err
}

// drain lets balancers notice first, then sends connections elsewhere evenly,
// then lets running requests finish. Who presses Ctrl-C has no balancer and
// little patience; a second signal ends the wait.
func (in *instance) drain(hurry bool) {
	whole := in.config.Drain
	notice := min(whole/3, 5*time.Second)
	if hurry {
		whole, notice = min(whole, time.Second), 0
	}
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	stats := in.hub.Stats()
	in.log.Info("draining", "for", whole.String(), "connections", stats.WS+stats.SSE+stats.Poll)
	in.web.Leave()
	select {
	case <-time.After(notice):
	case <-ctx.Done():
	}
	in.web.Close()
	// The last tenth is for the answers to what was told.
	in.hub.Drain(ctx, (whole-notice)*9/10)
	if err := in.public.Shutdown(ctx); err != nil {
		in.log.Warn("some requests did not finish", "error", err)
	}
}
