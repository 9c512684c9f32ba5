package auth

import (
	"errors"
	"fmt"
	"maps"
	"slices"
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
}

type account struct {
	created, refreshed, ended time.Time
	secrets                   [][]byte // of generations 1 to the newest
}

func secret(sid string, generation int) []byte {
	return hash(fmt.Appendf(nil, "%s %d", sid, generation))
}

func (m *machine) alive(sid string) bool {
	a := m.users[sid]
	return a != nil && a.ended.IsZero() && m.now.Before(a.created.Add(m.limits.absolute)) && m.now.Before(a.refreshed.Add(m.limits.idle))
}

// forgotten says that an ended session may be issued anew: nobody could tell
// any more, and nobody comes that late.
func (m *machine) forgotten(a *account) bool {
	return !a.ended.IsZero() && m.now.Sub(a.ended) >= m.limits.remember()
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

func (m *machine) issueNew(t *rapid.T) {
	m.issued++
	m.issue(fmt.Sprintf("session%018d", m.issued))
}

func (m *machine) issueAgain(t *rapid.T) {
	if len(m.users) > 0 {
		m.issue(rapid.SampledFrom(slices.Sorted(maps.Keys(m.users))).Draw(t, "sid"))
	}
}

func (m *machine) issue(sid string) {
	m.now = m.now.Add(time.Millisecond) // so that there is one oldest
	r := m.read()
	fresh := session{
		SID: sid, ClientID: "web", Scope: "openid profile", AMR: []string{"qr"}, Device: Device{Browser: "Chrome", OS: "Windows"},
		AuthTime: m.now.UnixMilli(), Created: m.now.UnixMilli(), Refreshed: m.now.UnixMilli(), Generation: 1, Hash: hash(secret(sid, 1)),
	}
	a := m.users[sid]
	made, changed, err := r.issue(fresh, Identity{Name: "Alice"}, m.now, m.limits)
	switch {
	case a == nil || m.forgotten(a):
		if err != nil || !changed {
			m.t.Fatalf("a new session: %v, %v", changed, err)
		}
		m.write(r)
		m.users[sid] = &account{created: m.now, refreshed: m.now, secrets: [][]byte{secret(sid, 1)}}
		m.pushedOut(r)
	case m.alive(sid) && m.now.Before(a.created.Add(m.limits.grace)):
		if made == nil || err != nil || changed {
			m.t.Fatalf("the same session again: %v, %v", changed, err)
		}
	case m.alive(sid): // a copy of the grant
		if made != nil || err != nil || !changed {
			m.t.Fatalf("after the grace: %v, %v, %v", made, changed, err)
		}
		a.ended = m.now
		m.write(r)
	default:
		if !errors.Is(err, ErrSessionEnded) {
			m.t.Fatalf("revived: %v", err)
		}
	}
}

// pushedOut notes what had to make room, which must be the oldest.
func (m *machine) pushedOut(r *record) {
	var alive []string
	for sid := range m.users {
		if m.alive(sid) {
			alive = append(alive, sid)
		}
	}
	if len(alive) <= maxSessions {
		return
	}
	oldest := m.users[alive[0]]
	for _, sid := range alive {
		if _, kept := r.live(sid, m.now, m.limits); !kept {
			m.users[sid].ended = m.now
		}
		if m.users[sid].created.Before(oldest.created) {
			oldest = m.users[sid]
		}
	}
	if oldest.ended.IsZero() {
		m.t.Fatal("the oldest session was kept, another one had to go")
	}
}

func (m *machine) end(t *rapid.T) {
	if len(m.users) == 0 {
		return
	}
	sid := rapid.SampledFrom(slices.Sorted(maps.Keys(m.users))).Draw(t, "sid")
	r, ends := m.read(), m.alive(sid) || m.forgotten(m.users[sid])
	if changed := r.end(sid, m.now, m.limits); changed != ends {
		m.t.Fatalf("end: changed %v", changed)
	}
	if ends {
		m.users[sid].ended = m.now
		m.write(r)
	}
}

// refresh presents a secret of any generation of any session, or a wrong one.
func (m *machine) refresh(t *rapid.T) {
	if len(m.users) == 0 {
		return
	}
	sid := rapid.SampledFrom(slices.Sorted(maps.Keys(m.users))).Draw(t, "sid")
	a := m.users[sid]
	newest := len(a.secrets)
	generation := rapid.IntRange(max(1, newest-2), newest+1).Draw(t, "generation")
	client := rapid.SampledFrom([]string{"web", "web", "web", "device"}).Draw(t, "client")
	presented := secret(sid, generation)
	wrong := rapid.IntRange(0, 9).Draw(t, "wrong") == 0
	if wrong {
		presented = hash(presented)
	}
	good := m.alive(sid) && client == "web" && !wrong
	rotates := good && generation == newest
	again := good && generation == newest-1 && m.now.Sub(a.refreshed) <= m.limits.grace
	r := m.read()
	successor := secret(sid, generation+1)
	if wrong {
		successor = hash(successor)
	}
	s, changed, err := r.refresh(refreshToken{sid: sid, generation: uint64(generation), secret: presented}, successor, client, m.now, m.limits)
	if changed != rotates || (err == nil) != (rotates || again) {
		m.t.Fatalf("generation %d of %d: changed %v, %v", generation, newest, changed, err)
	}
	if err != nil {
		if !errors.Is(err, ErrInvalidGrant) {
			m.t.Fatal(err)
		}
		return
	}
	if int(s.Generation) != generation+1 || !s.matches(successor) {
		m.t.Fatalf("generation %d after %d", s.Generation, generation)
	}
	if rotates {
		a.secrets, a.refreshed = append(a.secrets, successor), m.now
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
// gives its successor again, and the record stays within its bounds.
func TestRecordKeepsItsRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &machine{
			t:      t,
			limits: limits{absolute: 40 * time.Minute, idle: 5 * time.Minute, grace: 10 * time.Second},
			now:    time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
			users:  map[string]*account{},
		}
		for range rapid.IntRange(0, maxSessions+2).Draw(t, "sessions") {
			m.issueNew(t)
		}
		t.Repeat(map[string]func(*rapid.T){
			"issue":   m.issueNew,
			"again":   m.issueAgain,
			"end":     m.end,
			"refresh": m.refresh,
			"wait":    m.wait,
			"":        m.check,
		})
	})
}

func TestRefreshRule(t *testing.T) {
	l := limits{absolute: time.Hour, idle: time.Hour, grace: 10 * time.Second}
	now := time.Now()
	const sid = "session"
	for name, c := range map[string]struct {
		client     string
		generation uint64
		secret     []byte
		after      time.Duration
		rotates    bool
		again      bool
	}{
		"newest":                      {"web", 3, secret(sid, 3), time.Minute, true, false},
		"the one before":              {"web", 2, secret(sid, 2), 10 * time.Second, false, true},
		"the one before, too late":    {"web", 2, secret(sid, 2), 10*time.Second + time.Millisecond, false, false},
		"two before":                  {"web", 1, secret(sid, 1), 0, false, false},
		"one that is still to come":   {"web", 4, secret(sid, 4), 0, false, false},
		"newest, wrong secret":        {"web", 3, secret(sid, 9), 0, false, false},
		"the one before, wrong":       {"web", 2, secret(sid, 9), 0, false, false},
		"newest secret, older number": {"web", 2, secret(sid, 3), 0, false, false},
		"newest, another client":      {"device", 3, secret(sid, 3), 0, false, false},
		"before, another client":      {"device", 2, secret(sid, 2), 0, false, false},
		"newest, session over":        {"web", 3, secret(sid, 3), time.Hour, false, false},
	} {
		r := &record{Sessions: []session{{
			SID: sid, ClientID: "web", Created: now.UnixMilli(), Refreshed: now.UnixMilli(), Generation: 3, Hash: hash(secret(sid, 3)),
		}}}
		successor := secret(sid, int(c.generation)+1)
		if string(c.secret) != string(secret(sid, int(c.generation))) {
			successor = hash(c.secret) // a wrong secret has another successor
		}
		s, changed, err := r.refresh(refreshToken{sid: sid, generation: c.generation, secret: c.secret}, successor, c.client, time.UnixMilli(now.UnixMilli()).Add(c.after), l)
		if changed != c.rotates || (err == nil) != (c.rotates || c.again) || err != nil && !errors.Is(err, ErrInvalidGrant) {
			t.Errorf("%s: %+v, changed %v, %v", name, s, changed, err)
		}
	}
}

func TestTombstonesAreBounded(t *testing.T) {
	r := &record{}
	l := limits{absolute: time.Hour, idle: time.Hour, grace: 10 * time.Second}
	now := time.Now()
	for i := range 10 * maxTombstones {
		r.end(fmt.Sprint(i), now, l)
	}
	if len(r.Ended) != maxTombstones || !r.entombed(fmt.Sprint(10*maxTombstones-1)) {
		t.Errorf("%d tombstones", len(r.Ended))
	}
	r.tidy(now.Add(l.remember()), l)
	if len(r.Ended) != 0 {
		t.Errorf("%d are remembered for ever", len(r.Ended))
	}
}
