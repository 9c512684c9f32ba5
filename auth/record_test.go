package auth

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// machine drives a record and, beside it, the plainest account of what should
// be true: who is alive, and which secret is theirs.
type machine struct {
	t      *rapid.T
	value  []byte // as it is stored
	limits limits
	now    time.Time
	users  map[string]*account // by sid
	issued int
	mark   time.Time // all were ended
}

type account struct {
	client                          string
	created, refreshed, used, ended time.Time
	secrets                         [][]byte // of generations 1 to the newest
}

// testLimits are those of a few clients: "web" may have 10 sessions, "app" 32,
// "kiosk" 3 and no more.
func testLimits(absolute, idle, grace time.Duration) limits {
	return limits{config: Config{
		AccessTTL: 10 * time.Minute, RefreshTTL: absolute, RefreshIdle: idle, Grace: grace,
		Clients: map[string]Client{
			"web": {ID: "web"}, "app": {ID: "app", MaxSessions: 32}, "kiosk": {ID: "kiosk", MaxSessions: 3, OnLimit: Refuse},
			Phone: {ID: Phone},
		},
	}}
}

func secret(sid string, generation int) []byte {
	return hash(fmt.Appendf(nil, "%s %d", sid, generation))
}

func (m *machine) alive(sid string) bool {
	a, c := m.users[sid], m.limits.config
	return a != nil && a.ended.IsZero() && m.now.Before(a.created.Add(c.RefreshTTL)) && m.now.Before(a.used.Add(c.RefreshIdle))
}

func (m *machine) count(client string) (n int) {
	for sid, a := range m.users {
		if m.alive(sid) && (client == "" || a.client == client) {
			n++
		}
	}
	return n
}

// forgotten says that an ended session may be issued anew: nobody could tell
// any more, and nobody comes that late.
func (m *machine) forgotten(a *account) bool {
	return !a.ended.IsZero() && m.now.Sub(a.ended) >= m.limits.remember()
}

// crowded says that more sessions ended of late than are remembered.
func (m *machine) crowded() bool {
	n := 0
	for _, a := range m.users {
		if !a.ended.IsZero() && !m.forgotten(a) {
			n++
		}
	}
	return n > maxTombstones
}

// read gives the record as a conditional write finds it.
func (m *machine) read() *record {
	r, err := decodeRecord(m.value)
	if err != nil {
		m.t.Fatal(err)
	}
	return r
}

// write stores a changed record; it then also knows which sessions are over by
// their time.
func (m *machine) write(r *record) {
	for sid, a := range m.users {
		if a.ended.IsZero() && !m.alive(sid) {
			a.ended = m.now
		}
	}
	value, life, err := r.encode(m.now, m.limits)
	if err != nil {
		m.t.Fatal(err)
	}
	if len(value) > maxRecord || life <= 0 {
		m.t.Fatalf("%d bytes for %v", len(value), life)
	}
	for _, s := range r.Sessions {
		if s.ends(m.limits).Sub(m.now) > life {
			m.t.Fatal("the record ends before a session does")
		}
	}
	m.value = value
}

func (m *machine) any(t *rapid.T) string {
	if len(m.users) == 0 {
		m.issueNew(t)
	}
	return rapid.SampledFrom(slices.Sorted(maps.Keys(m.users))).Draw(t, "sid")
}

func (m *machine) issueNew(t *rapid.T) {
	m.issued++
	client := rapid.SampledFrom([]string{"web", "app", "app", "kiosk"}).Draw(t, "client")
	m.issue(fmt.Sprintf("session%018d", m.issued), client, 0)
}

func (m *machine) issueAgain(t *rapid.T) {
	sid := m.any(t)
	m.issue(sid, m.users[sid].client, 0)
}

// issueLate redeems what was allowed a while ago.
func (m *machine) issueLate(t *rapid.T) {
	m.issued++
	m.issue(fmt.Sprintf("session%018d", m.issued), "app", time.Minute)
}

func (m *machine) issue(sid, client string, late time.Duration) {
	m.now = m.now.Add(time.Millisecond) // so that there is one oldest
	r, now := m.read(), m.now.UnixMilli()
	fresh := session{
		SID: sid, ClientID: client, Scope: "openid profile", AMR: []string{"qr"}, Device: Device{Browser: "Chrome", OS: "Windows"},
		Place: "192.0.2.0/24", AuthTime: m.now.Add(-late).UnixMilli(), Created: now, Used: now, Refreshed: now, Generation: 1, Hash: hash(secret(sid, 1)),
	}
	a := m.users[sid]
	made, changed, err := r.issue(fresh, Identity{Name: "Alice"}, netip.Prefix{}, m.now, m.limits)
	switch {
	case a != nil && m.alive(sid) && m.now.Before(a.created.Add(m.limits.config.Grace)):
		if made == nil || err != nil || changed {
			m.t.Fatalf("the same session again: %v, %v", changed, err)
		}
	case a != nil && m.alive(sid): // a copy of the grant
		if made != nil || err != nil || !changed {
			m.t.Fatalf("after the grace: %v, %v, %v", made, changed, err)
		}
		a.ended = m.now
		m.write(r)
	case a != nil && !m.forgotten(a), m.now.Add(-late).Before(m.mark):
		if !errors.Is(err, ErrSessionEnded) && !m.crowded() {
			m.t.Fatalf("revived: %v", err)
		}
	case client == "kiosk" && m.count("kiosk") == 3:
		if !errors.Is(err, ErrSessionLimit) {
			m.t.Fatalf("one more than the limit: %v", err)
		}
	default:
		if err != nil || !changed {
			m.t.Fatalf("a new session: %v, %v", changed, err)
		}
		m.write(r)
		m.users[sid] = &account{client: client, created: m.now, refreshed: m.now, used: m.now, secrets: [][]byte{secret(sid, 1)}}
		m.pushOut(client, map[string]int{"web": 10, "app": 32}[client])
		m.pushOut("", maxSessions)
	}
}

// pushOut notes what has to make room: the oldest of the client, or of all.
func (m *machine) pushOut(client string, most int) {
	for most > 0 && m.count(client) > most {
		oldest := ""
		for sid, a := range m.users {
			if m.alive(sid) && (client == "" || a.client == client) && (oldest == "" || a.created.Before(m.users[oldest].created)) {
				oldest = sid
			}
		}
		m.users[oldest].ended = m.now
	}
}

func (m *machine) end(t *rapid.T) {
	by, sid := m.any(t), m.any(t)
	r, ended := m.read(), m.alive(by) && m.alive(sid)
	err := r.endBy(Principal{SID: by}, sid, m.now, m.limits)
	switch {
	case ended && err != nil, !m.alive(by) && !errors.Is(err, ErrSessionEnded), m.alive(by) && !ended && !errors.Is(err, ErrUnknownSession):
		m.t.Fatalf("end: %v", err)
	case ended:
		m.users[sid].ended = m.now
		m.write(r)
		if why, _ := r.ended(sid); (why == Logout) != (by == sid) {
			m.t.Fatalf("ended for %s", why)
		}
	}
}

func (m *machine) endOthers(t *rapid.T) {
	by := m.any(t)
	r := m.read()
	if err := r.endOthers(Principal{SID: by}, m.now, m.limits); (err == nil) != m.alive(by) {
		m.t.Fatalf("end others: %v", err)
	} else if err != nil {
		return
	}
	for sid, a := range m.users {
		if sid != by && m.alive(sid) {
			a.ended = m.now
		}
	}
	m.mark = m.now
	m.write(r)
}

func (m *machine) use(t *rapid.T) {
	sid := m.any(t)
	r := m.read()
	_, changed, err := r.use(sid, m.now, m.limits)
	if (err == nil) != m.alive(sid) {
		m.t.Fatalf("use: %v", err)
	}
	if changed {
		m.users[sid].used = m.now
		m.write(r)
	}
}

// refresh presents a secret of any generation of any session, or a wrong one.
func (m *machine) refresh(t *rapid.T) {
	sid := m.any(t)
	a := m.users[sid]
	newest := len(a.secrets)
	generation := rapid.IntRange(max(1, newest-2), newest+1).Draw(t, "generation")
	client := rapid.SampledFrom([]string{a.client, a.client, a.client, "phone"}).Draw(t, "client")
	presented, successor := secret(sid, generation), secret(sid, generation+1)
	wrong := generation == newest && rapid.IntRange(0, 9).Draw(t, "wrong") == 0
	if wrong {
		presented, successor = hash(presented), hash(successor)
	}
	good := m.alive(sid) && client == a.client && !wrong
	rotates := good && generation >= newest
	again := good && generation == newest-1 && m.now.Sub(a.refreshed) <= m.limits.config.Grace
	theft := good && generation < newest && !again
	r := m.read()
	s, changed, err := r.refresh(refreshToken{sid: sid, generation: uint64(generation), secret: presented}, successor, client, m.now, m.limits)
	if changed != (rotates || theft) || (s != nil) != (rotates || again) || errors.Is(err, ErrInvalidGrant) != !good {
		m.t.Fatalf("generation %d of %d: changed %v, %v", generation, newest, changed, err)
	}
	if s != nil && (int(s.Generation) != generation+1 || !s.matches(successor)) {
		m.t.Fatalf("generation %d after %d", s.Generation, generation)
	}
	switch {
	case rotates:
		for len(a.secrets) <= generation {
			a.secrets = append(a.secrets, secret(sid, len(a.secrets)+1))
		}
		a.refreshed, a.used = m.now, m.now
		m.write(r)
	case theft:
		if why, ended := r.ended(sid); !ended || why != Reuse {
			m.t.Fatalf("theft: ended %v, %s", ended, why)
		}
		a.ended = m.now
		m.write(r)
	}
}

func (m *machine) wait(t *rapid.T) {
	m.now = m.now.Add(time.Duration(rapid.IntRange(1, 60_000).Draw(t, "ms")) * time.Millisecond)
}

// check looks at the record as a reader does, at any time.
func (m *machine) check(t *rapid.T) {
	r, alive := m.read(), 0
	for sid := range m.users {
		_, ok := r.live(sid, m.now, m.limits)
		if ok != m.alive(sid) {
			t.Fatalf("%s: live %v", sid, ok)
		}
		if ok {
			alive++
		}
	}
	if alive > maxSessions || len(r.Ended) > maxTombstones {
		t.Fatalf("%d sessions, %d tombstones", alive, len(r.Ended))
	}
}

// Whatever happens to a record, in whatever order: no session is revived, none
// outlives its ends, only the newest refresh token rotates, the one before it
// gives its successor again, an older one ends its session, every limit holds,
// and the record stays within its bounds.
func TestRecordKeepsItsRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &machine{
			t:      t,
			limits: testLimits(40*time.Minute, 5*time.Minute, 10*time.Second),
			now:    time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
			users:  map[string]*account{},
		}
		for range rapid.IntRange(0, maxSessions+2).Draw(t, "sessions") {
			m.issueNew(t)
		}
		t.Repeat(map[string]func(*rapid.T){
			"issue":   m.issueNew,
			"again":   m.issueAgain,
			"late":    m.issueLate,
			"end":     m.end,
			"others":  m.endOthers,
			"use":     m.use,
			"refresh": m.refresh,
			"wait":    m.wait,
			"":        m.check,
		})
	})
}

func TestRefreshRule(t *testing.T) {
	l := testLimits(time.Hour, time.Hour, 10*time.Second)
	now := time.UnixMilli(time.Now().UnixMilli())
	const sid = "session"
	const refused, rotates, again, theft = "refused", "rotates", "again", "theft"
	for name, c := range map[string]struct {
		client     string
		generation uint64
		secret     []byte
		after      time.Duration
		want       string
	}{
		"newest":                            {"web", 3, secret(sid, 3), time.Minute, rotates},
		"the one before":                    {"web", 2, secret(sid, 2), 10 * time.Second, again},
		"the one before, too late":          {"web", 2, secret(sid, 2), 10*time.Second + time.Millisecond, theft},
		"two before":                        {"web", 1, secret(sid, 1), 0, theft},
		"one whose rotation the store lost": {"web", 4, secret(sid, 4), 0, rotates},
		"newest, wrong secret":              {"web", 3, secret(sid, 9), 0, refused},
		"newest, another client":            {"app", 3, secret(sid, 3), 0, refused},
		"before, another client":            {"app", 2, secret(sid, 2), 0, refused},
		"two before, another client":        {"app", 1, secret(sid, 1), 0, refused},
		"two before, session over":          {"web", 1, secret(sid, 1), time.Hour, refused},
		"newest, session over":              {"web", 3, secret(sid, 3), time.Hour, refused},
	} {
		r := &record{Sessions: []session{{
			SID: sid, ClientID: "web", Created: now.UnixMilli(), Used: now.UnixMilli(), Refreshed: now.UnixMilli(), Generation: 3, Hash: hash(secret(sid, 3)),
		}}}
		s, changed, err := r.refresh(refreshToken{sid: sid, generation: c.generation, secret: c.secret}, secret(sid, int(c.generation)+1), c.client, now.Add(c.after), l)
		got := refused
		switch {
		case s != nil && changed:
			got = rotates
		case s != nil:
			got = again
		case changed:
			got = theft
		case !errors.Is(err, ErrInvalidGrant):
			got = fmt.Sprint(err)
		}
		if _, live := r.live(sid, now, l); got != c.want || live != (c.want != theft) && c.after < time.Hour {
			t.Errorf("%s: %s, live %v; want %s", name, got, live, c.want)
		}
	}
}

func TestTombstonesAreBounded(t *testing.T) {
	r := &record{}
	l := testLimits(time.Hour, time.Hour, 10*time.Second)
	now := time.Now()
	for i := range 10 * maxTombstones {
		r.Sessions = append(r.Sessions, session{SID: fmt.Sprint(i)})
		r.end(fmt.Sprint(i), Revoked, now, l)
	}
	if _, remembered := r.ended(fmt.Sprint(10*maxTombstones - 1)); len(r.Ended) != maxTombstones || !remembered {
		t.Errorf("%d tombstones", len(r.Ended))
	}
	r.tidy(now.Add(l.remember()), l)
	if len(r.Ended) != 0 {
		t.Errorf("%d are remembered for ever", len(r.Ended))
	}
}

// A full record of a user with the longest of everything keeps all sessions.
func TestFullRecordHoldsAllSessions(t *testing.T) {
	r, l, now := &record{}, testLimits(time.Hour, time.Hour, 10*time.Second), time.Now()
	long := Identity{Name: strings.Repeat("n", maxName), Picture: strings.Repeat("p", maxPicture)}
	for i := range maxSessions + maxTombstones {
		fresh := session{
			SID: fmt.Sprintf("session%019d", i), ClientID: "app", Scope: "openid profile email", AMR: []string{"qr"},
			Device: Device{Browser: "Internet Explorer", OS: "Windows Phone"}, Place: "Sint-Oedenrode, North Brabant, NL",
			AuthTime: now.UnixMilli(), Created: now.UnixMilli(), Used: now.UnixMilli(), Refreshed: now.UnixMilli(),
			Generation: 1 << 20, Hash: make([]byte, 32),
		}
		if _, _, err := r.issue(fresh, long, netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}), 32), now, l); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.Sessions) != maxSessions || len(r.Ended) != maxTombstones {
		t.Errorf("%d sessions, %d tombstones, %d bytes", len(r.Sessions), len(r.Ended), r.size())
	}
}

// Instances' clocks differ. What was allowed before all others were ended stays
// out, whatever the clock says of the one that issues; who signs in at this moment
// is not late, although the mark may seem to lie ahead.
func TestMarkHoldsWhenClocksDiffer(t *testing.T) {
	l, now := testLimits(time.Hour, time.Hour, 10*time.Second), time.UnixMilli(time.Now().UnixMilli())
	fresh := session{SID: "a", ClientID: "web", Created: now.UnixMilli(), Used: now.UnixMilli(), Refreshed: now.UnixMilli(), Generation: 1}
	r := &record{NotBefore: now.Add(4 * time.Second).UnixMilli()}
	fresh.AuthTime = now.Add(3 * time.Second).UnixMilli()
	if _, _, err := r.issue(fresh, Identity{}, netip.Prefix{}, now, l); !errors.Is(err, ErrSessionEnded) {
		t.Errorf("allowed before: %v", err)
	}
	fresh.AuthTime = fresh.Created
	if _, _, err := r.issue(fresh, Identity{}, netip.Prefix{}, now, l); err != nil {
		t.Errorf("signs in now: %v", err)
	}
}
