package web

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// The floor is what this instance can tell by itself: it needs no store, works
// without one, and keeps a flood from reaching it.

// asker is who asks, and for what; a network or a user.
type asker struct {
	limit   string
	network netip.Prefix
	user    string
}

// floor counts in memory, by the same rule as the store (GCRA). It remembers in two
// generations: what was not touched during a whole one is forgotten with it. So a
// flood from a million networks takes no more than two full generations, and who is
// over a limit and goes on is never forgotten.
type floor struct {
	mu         sync.Mutex
	young, old map[asker]time.Time // when all will be there again
}

const generation = 1 << 14 // askers, of about 150 bytes each

// take takes one, or says how long to wait for it.
func (f *floor) take(p asker, rate Rate, now time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	full, ok := f.young[p]
	if !ok {
		full = f.old[p]
	}
	wait := rate.wait(full, now)
	if wait == 0 {
		full = rate.charged(full, now)
	}
	if f.young == nil || !ok && len(f.young) >= generation {
		f.young, f.old = map[asker]time.Time{}, f.young
	}
	f.young[p] = full
	return wait
}

// crowd is the requests in flight: in all, and of each network.
type crowd struct {
	mu  sync.Mutex
	all int
	of  map[netip.Prefix]int
}

// place is one request's place in the crowd, until it is answered or becomes a
// connection, which the hub counts.
type place struct {
	crowd *crowd
	from  netip.Addr
	left  sync.Once
}

// enter finds a place, or says which limit is in the way. One network gets an eighth
// of them, so that what is slow with it is not slow with everybody.
func (c *crowd) enter(from netip.Addr, most int) (*place, string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all >= most {
		return nil, requestsInFlight
	}
	share := max(1, most/8)
	network, site := networkOf(from), siteOf(from)
	if c.of[network] >= share || c.of[site] >= 2*share {
		return nil, requestsPerNetwork
	}
	if c.of == nil {
		c.of = map[netip.Prefix]int{}
	}
	c.all++
	for _, n := range []netip.Prefix{network, site} {
		if n.IsValid() {
			c.of[n]++
		}
	}
	return &place{crowd: c, from: from}, ""
}

// leave gives the place back; again: nothing.
func (p *place) leave() {
	p.left.Do(func() {
		c := p.crowd
		c.mu.Lock()
		defer c.mu.Unlock()
		c.all--
		for _, n := range []netip.Prefix{networkOf(p.from), siteOf(p.from)} {
			if c.of[n]--; c.of[n] <= 0 {
				delete(c.of, n)
			}
		}
	})
}

// door is the first thing a request meets: an instance that has enough to do says so
// at once, and one network does not get all of it. Nothing was looked at yet, so
// nothing is given away. Operators' probes say the same to everybody.
func (s *Server) door(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.config.Limits.Off || probe(r) {
			next.ServeHTTP(w, r)
			return
		}
		from := s.clientAddr(r)
		if err := s.admitRate(from); err != nil {
			s.tell(w, r, err)
			return
		}
		awaitBody(w, r) // while which it holds no place
		here, limit := s.crowd.enter(from, s.config.Limits.RequestsInFlight)
		switch limit {
		case "":
			defer here.leave()
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), placeKey, here)))
		case requestsInFlight:
			s.config.Metrics.refuse(limit)
			s.tell(w, r, errOverloaded)
		default:
			s.tell(w, r, s.refuse(limit, socketWait))
		}
	})
}

// admitRate counts one request of a network, and one of its /48 if that was let
// through: what is refused to a /64 is not taken from its neighbours.
func (s *Server) admitRate(from netip.Addr) error {
	rate, now := s.config.Limits.RequestsPerNetwork, time.Now()
	for i, network := range []netip.Prefix{networkOf(from), siteOf(from)} {
		if !network.IsValid() {
			continue
		}
		if i > 0 {
			rate = rate.times(siteShare)
		}
		if wait := s.floor.take(asker{limit: requestsPerNetwork, network: network}, rate, now); wait > 0 {
			return s.refuse(requestsPerNetwork, wait)
		}
	}
	return nil
}

// probe says whether an operator asks how this instance is.
func probe(r *http.Request) bool {
	return slices.Contains([]string{"/livez", "/readyz", "/version", "/app.css"}, r.URL.Path)
}
