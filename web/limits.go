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
	TicketsPerNetwork         Rate `yaml:"tickets_per_network,omitempty"`          // (1500/10m)
	TicketsPerReportedNetwork Rate `yaml:"tickets_per_reported_network,omitempty"` // while several accounts report it (60/10m)
	ScansPerUser              Rate `yaml:"scans_per_user,omitempty"`               // (30/1m)
	ConfirmsPerUser           Rate `yaml:"confirms_per_user,omitempty"`            // at one instance (30/1m)
	TokensPerNetwork          Rate `yaml:"tokens_per_network,omitempty"`           // redeemed and refreshed (6000/10m)
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
		{&l.RequestsPerNetwork, Rate{12000, 30 * time.Second}}, {&l.TicketsPerNetwork, Rate{1500, 10 * time.Minute}},
		{&l.TicketsPerReportedNetwork, Rate{60, 10 * time.Minute}}, {&l.ScansPerUser, Rate{30, time.Minute}},
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
	requestsInFlight, requestsPerNetwork, ticketsPerNetwork, ticketsPerReportedNetwork, scansPerUser, confirmsPerUser,
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

// permitNetwork is permit for the network that asks.
func (s *Server) permitNetwork(r *http.Request, limit string, rate Rate) error {
	network := networkOf(s.clientAddr(r))
	if !network.IsValid() {
		return nil
	}
	return s.permit(r.Context(), limit, rate, network.String())
}

// busy is more tickets than a few people make. Only from there on the store is asked
// whether a network is reported, so that this costs a login nothing.
var busy = Rate{20, 10 * time.Minute}

// permitTicket is for a new ticket. The /48 is counted by this instance alone: a
// permit more for every IPv6 login would be the price of counting it in the store.
func (s *Server) permitTicket(r *http.Request) error {
	from, limits, now := s.clientAddr(r), &s.config.Limits, time.Now()
	if limits.Off || !from.IsValid() {
		return nil
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
	if err := s.permitNetwork(r, ticketsPerNetwork, limits.TicketsPerNetwork); err != nil {
		return err // and costs the /48 nothing: its other networks have theirs
	}
	if site := siteOf(from); site.IsValid() {
		if wait := s.floor.take(asker{limit: ticketsPerNetwork, network: site}, limits.TicketsPerNetwork.times(siteShare), now); wait > 0 {
			return s.refuse(ticketsPerNetwork, wait)
		}
	}
	return nil
}

// permitTokens is for a redemption. Who polls before the phone has decided pays for
// that by ticket (qrlogin), not with what the logins of their network need: polling
// devices in an office would use it up.
func (s *Server) permitTokens(r *http.Request, deviceCode string) error {
	if s.config.Limits.Off || !s.clientAddr(r).IsValid() {
		return nil
	}
	if id, _, err := qrlogin.ParseDeviceCode(deviceCode); err == nil {
		v, err := s.tickets.Open(r.Context(), id, deviceCode)
		if err == nil && (v.Status == qrlogin.Pending || v.Status == qrlogin.Scanned) {
			return nil
		}
	}
	return s.permitNetwork(r, tokensPerNetwork, s.config.Limits.TokensPerNetwork)
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
