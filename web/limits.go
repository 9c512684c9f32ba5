package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"scanlogin/auth"
	"scanlogin/hub"
	"scanlogin/qrlogin"
)

// Rate is how much of something is fine: Burst at once, and as many again in every
// Per, evenly (GCRA). As text: 1500/10m.
type Rate struct {
	Burst int
	Per   time.Duration
}

// Limits are what anybody may do. A zero value is the default in brackets. A network
// is an IPv4 /24 or an IPv6 /64; a /48 may do what four /64 may. Where clients'
// addresses are not known, what is per network is off.
type Limits struct {
	Off bool `yaml:"-"` // nobody is slowed down, whatever they do

	RequestsInFlight          int  `yaml:"requests_in_flight,omitempty"`           // of one instance; of one network an eighth (4000)
	RequestsPerNetwork        Rate `yaml:"requests_per_network,omitempty"`         // at one instance (12000/30s)
	Tickets                   Rate `yaml:"tickets,omitempty"`                      // at one instance (120000/4m)
	TicketsPerNetwork         Rate `yaml:"tickets_per_network,omitempty"`          // (1500/10m)
	TicketsPerReportedNetwork Rate `yaml:"tickets_per_reported_network,omitempty"` // while several accounts report it (300/10m)
	ScansPerUser              Rate `yaml:"scans_per_user,omitempty"`               // (30/1m)
	ConfirmsPerUser           Rate `yaml:"confirms_per_user,omitempty"`            // at one instance (30/1m)
	TokensPerNetwork          Rate `yaml:"tokens_per_network,omitempty"`           // redeemed and refreshed; of wrong tries as many (6000/10m)
	SigninsPerNetwork         Rate `yaml:"signins_per_network,omitempty"`          // of phones (1500/10m)
	Sockets                   int  `yaml:"sockets,omitempty"`                      // WebSocket, SSE and long poll, open at one instance (100000)
	SocketsPerNetwork         int  `yaml:"sockets_per_network,omitempty"`          // at one instance (3000)
	SocketsPerSession         int  `yaml:"sockets_per_session,omitempty"`          // at one instance (20)
}

// WithDefaults is what is in force.
func (l Limits) WithDefaults() Limits {
	for _, n := range []struct {
		value *int
		zero  int
	}{
		{&l.RequestsInFlight, 4000}, {&l.Sockets, 100000}, {&l.SocketsPerNetwork, 3000}, {&l.SocketsPerSession, 20},
	} {
		if *n.value == 0 {
			*n.value = n.zero
		}
	}
	for _, r := range []struct {
		value *Rate
		zero  Rate
	}{
		{&l.RequestsPerNetwork, Rate{12000, 30 * time.Second}}, {&l.Tickets, Rate{120_000, 4 * time.Minute}}, {&l.TicketsPerNetwork, Rate{1500, 10 * time.Minute}},
		{&l.TicketsPerReportedNetwork, Rate{300, 10 * time.Minute}}, {&l.ScansPerUser, Rate{30, time.Minute}},
		{&l.ConfirmsPerUser, Rate{30, time.Minute}}, {&l.TokensPerNetwork, Rate{6000, 10 * time.Minute}},
		{&l.SigninsPerNetwork, Rate{1500, 10 * time.Minute}},
	} {
		if *r.value == (Rate{}) {
			*r.value = r.zero
		}
	}
	return l
}

// Bound is the hub's share of the limits.
func (l Limits) Bound(c *hub.Config) {
	if l.Off {
		return
	}
	l = l.WithDefaults()
	c.Most, c.MostPerGroup = l.Sockets, l.SocketsPerSession
	c.Caps = []hub.Cap{{Network: networkOf, Most: l.SocketsPerNetwork}, {Network: siteOf, Most: siteShare * l.SocketsPerNetwork}}
}

// The names of the limits, as in the configuration, for the metric.
const (
	requestsInFlight          = "requests_in_flight"
	requestsPerNetwork        = "requests_per_network"
	tickets                   = "tickets"
	ticketsPerNetwork         = "tickets_per_network"
	ticketsPerReportedNetwork = "tickets_per_reported_network"
	scansPerUser              = "scans_per_user"
	confirmsPerUser           = "confirms_per_user"
	tokensPerNetwork          = "tokens_per_network"
	signinsPerNetwork         = "signins_per_network"
	sockets                   = "sockets"
	socketsPerNetwork         = "sockets_per_network"
	socketsPerSession         = "sockets_per_session"
)

var limitNames = []string{
	requestsInFlight, requestsPerNetwork, tickets, ticketsPerNetwork, ticketsPerReportedNetwork, scansPerUser, confirmsPerUser,
	tokensPerNetwork, signinsPerNetwork, sockets, socketsPerNetwork, socketsPerSession,
}

// every is the time in which one grows again.
func (r Rate) every() time.Duration { return r.Per / time.Duration(r.Burst) }

// times is a rate for so many who share it.
func (r Rate) times(n int) Rate { return Rate{r.Burst * n, r.Per} }

// wait is how long until the next one, when all will be there again at full.
func (r Rate) wait(full, now time.Time) time.Duration {
	if full.Before(now) { // also by centuries
		return 0
	}
	return max(0, full.Sub(now)-time.Duration(r.Burst-1)*r.every())
}

// charged is the new full after one more. What passed the look together costs no
// more than one beyond the burst.
func (r Rate) charged(full, now time.Time) time.Time {
	if full.Before(now) {
		full = now
	}
	full = full.Add(r.every())
	if most := now.Add(time.Duration(r.Burst+1) * r.every()); full.After(most) {
		return most
	}
	return full
}

const mostBurst, longestPer = 1_000_000, 24 * time.Hour

// UnmarshalText reads 1500/10m.
func (r *Rate) UnmarshalText(text []byte) error {
	count, per, ok := strings.Cut(string(text), "/")
	burst, err := strconv.Atoi(count)
	length, err2 := time.ParseDuration(per)
	if !ok || err != nil || err2 != nil || burst < 1 || burst > mostBurst || length < time.Second || length > longestPer {
		return errors.New("web: not a rate as 1500/10m")
	}
	*r = Rate{burst, length}
	return nil
}

// MarshalText writes what UnmarshalText reads.
func (r Rate) MarshalText() ([]byte, error) {
	per := r.Per.String()
	for _, nothing := range []string{"0s", "0m"} {
		if short := strings.TrimSuffix(per, nothing); strings.HasSuffix(short, "m") || strings.HasSuffix(short, "h") {
			per = short
		}
	}
	return fmt.Appendf(nil, "%d/%s", r.Burst, per), nil
}

// refuse is the answer to who is over a limit.
func (s *Server) refuse(limit string, wait time.Duration) error {
	s.config.Metrics.refuse(limit)
	return rateLimited(wait)
}

func rateLimited(wait time.Duration) *failure {
	f := *errRateLimited
	f.after = wait
	return &f
}

func permitKey(limit, who string) string { return "limit:" + limit + ":" + who }

// permit takes one permit of a limit that all instances share; who is a network or a
// user. A whole login takes three: for its ticket, its scan and its tokens.
func (s *Server) permit(ctx context.Context, limit string, rate Rate, who string) error {
	if s.config.Limits.Off {
		return nil
	}
	wait, err := s.config.Store.Take(ctx, permitKey(limit, who), rate.every(), rate.Burst)
	switch {
	case err != nil:
		return fmt.Errorf("web: limits: %w", err)
	case wait > 0:
		return s.refuse(limit, wait)
	}
	return nil
}

// busy is more tickets than a few people make. Only from there on the store is asked
// whether a network is reported, so that this costs a login nothing.
var busy = Rate{20, 10 * time.Minute}

// permitTicket is for a new ticket. The /48 is counted by this instance alone: a
// permit more for every IPv6 login would be the price of counting it in the store.
func (s *Server) permitTicket(r *http.Request) error {
	from, limits, now := s.clientAddr(r), &s.config.Limits, time.Now()
	if limits.Off {
		return nil
	}
	if !from.IsValid() {
		return s.roomForTicket(now)
	}
	own := ownNetwork(from)
	if s.floor.take(asker{limit: ticketsPerReportedNetwork, network: own}, busy, now) > 0 {
		reported, err := s.tickets.Reported(r.Context(), own)
		if err != nil {
			return err
		}
		if reported {
			if err := s.permit(r.Context(), ticketsPerReportedNetwork, limits.TicketsPerReportedNetwork, own.String()); err != nil {
				return err
			}
		}
	}
	if err := s.permit(r.Context(), ticketsPerNetwork, limits.TicketsPerNetwork, networkOf(from).String()); err != nil {
		return err // and costs the /48 nothing: its other networks have theirs
	}
	if site := siteOf(from); site.IsValid() {
		if wait := s.floor.take(asker{limit: ticketsPerNetwork, network: site}, limits.TicketsPerNetwork.times(siteShare), now); wait > 0 {
			return s.refuse(ticketsPerNetwork, wait)
		}
	}
	return s.roomForTicket(now)
}

// roomForTicket bounds what a flood from very many networks puts into the store. It
// comes last, so that what a network's own limits refuse takes no room from others.
func (s *Server) roomForTicket(now time.Time) error {
	if s.floor.take(asker{limit: tickets}, s.config.Limits.Tickets, now) > 0 {
		s.config.Metrics.refuse(tickets)
		return errOverloaded
	}
	return nil
}

// What a network may do is used up by what is right alone, or one host's garbage would
// be its neighbours' refusal.

// trade gives tokens for a device_code or a refresh token. What a read finds good for
// new ones pays before the work. What is then wrong is told so, and pays as much out of
// a budget of its own. Everything else has paid or changes nothing: a poll pays by
// ticket (qrlogin), or an office of polling devices would use up what its logins need;
// a lost answer is asked for again; a login that ended stays ended.
func (s *Server) trade(r *http.Request, good func() (bool, error), try func() (auth.Tokens, error)) (auth.Tokens, error) {
	network := networkOf(s.clientAddr(r))
	if s.config.Limits.Off || !network.IsValid() {
		return try()
	}
	pays, err := good()
	if err != nil {
		return auth.Tokens{}, err
	}
	if pays {
		if err := s.permit(r.Context(), tokensPerNetwork, s.config.Limits.TokensPerNetwork, network.String()); err != nil {
			return auth.Tokens{}, err
		}
	}
	tokens, wrong := try()
	if pays || !errors.Is(wrong, auth.ErrInvalidGrant) && !errors.Is(wrong, qrlogin.ErrInvalidGrant) {
		return tokens, wrong
	}
	ctx, cancel := outlasting(r)
	defer cancel()
	if err := s.permit(ctx, tokensPerNetwork, s.config.Limits.TokensPerNetwork, "wrong:"+network.String()); err != nil {
		return auth.Tokens{}, err
	}
	return auth.Tokens{}, wrong
}

// redeemable says whether a device_code is that of a login which waits for it.
func (s *Server) redeemable(ctx context.Context, deviceCode string) (bool, error) {
	id, _, err := qrlogin.ParseDeviceCode(deviceCode)
	if err != nil {
		return false, nil
	}
	v, err := s.tickets.Open(ctx, id, deviceCode)
	if errors.Is(err, qrlogin.ErrNotFound) || errors.Is(err, qrlogin.ErrInvalidDeviceCode) {
		return false, nil
	}
	return v.Status == qrlogin.Confirmed, err
}

// refreshable says whether a refresh token is the newest one of a session.
func (s *Server) refreshable(ctx context.Context, clientID, refresh string) (bool, error) {
	found, err := s.auth.Introspect(ctx, clientID, refresh)
	return found.Refresh, err
}

// limitSignIns is for a sign-in, which pays when it has succeeded: whether a credential
// is right is known only when it is spent, and not every credential can be spent twice.
// Where nothing is left none is tried.
func (s *Server) limitSignIns(r *http.Request, try func() error) error {
	network := networkOf(s.clientAddr(r))
	if s.config.Limits.Off || !network.IsValid() {
		return try()
	}
	budget := bucket{permitKey(signinsPerNetwork, network.String()), s.config.Limits.SigninsPerNetwork}
	look, stop := bounded(r)
	full, err := s.spent(look.Context(), budget.key)
	stop()
	if err != nil {
		return err
	}
	if wait := budget.wait(full, time.Now()); wait > 0 {
		return s.refuse(signinsPerNetwork, wait)
	}
	if err := try(); err != nil {
		return err
	}
	ctx, cancel := outlasting(r)
	defer cancel()
	_, err = s.charge(ctx, budget)
	return err
}

// The limits of a user come after the token was found good, or anybody could use up
// what is another's. They come before the work, and what then fails has paid too, or
// failing would be free. But rate_limited is the last in the order of errors, so who
// is over the limit is first told what a read finds wrong, which costs less than what
// is refused. A typed code is not looked at: that answer is what a guesser is after.

func (s *Server) permitScan(ctx context.Context, what qrlogin.Scan, by auth.Identity) error {
	err := s.permit(ctx, scansPerUser, s.config.Limits.ScansPerUser, by.Sub())
	if err == nil || explain(err).status != http.StatusTooManyRequests || what.UserCode != "" {
		return err
	}
	id, wrong := s.tickets.CheckQR(ctx, what.QR)
	if wrong != nil && !(what.Proven && errors.Is(wrong, qrlogin.ErrQRExpired)) {
		return wrong
	}
	if _, wrong = s.tickets.Decision(ctx, id, by); errors.Is(wrong, qrlogin.ErrNotScanner) {
		return qrlogin.ErrAlreadyScanned
	}
	return err
}

func (s *Server) permitConfirm(ctx context.Context, ticketID, confirmToken string, by auth.Identity) error {
	if s.config.Limits.Off {
		return nil
	}
	wait := s.floor.take(asker{limit: confirmsPerUser, user: by.Sub()}, s.config.Limits.ConfirmsPerUser, time.Now())
	if wait == 0 {
		return nil
	}
	repeat, wrong := s.tickets.Confirmed(ctx, ticketID, confirmToken, by)
	if repeat || wrong != nil && !errors.Is(wrong, qrlogin.ErrCheckFailed) {
		return wrong
	}
	return s.refuse(confirmsPerUser, wait)
}

// socketWait is what a network is told to wait that has as many connections as it
// may: nobody knows when one ends.
const socketWait = 5 * time.Second

// siteShare is how many /64 a /48 counts for. Companies have one, and so do
// attackers who rent a server.
const siteShare = 4
