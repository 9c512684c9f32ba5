package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

const (
	maxSessions   = 32
	maxTombstones = 32
	maxNews       = 8        // tombstones that say who it was
	maxRecord     = 16 << 10 // bytes
	maxName       = 256      // bytes; a longer name is cut
	maxPicture    = 512      // bytes; a longer address is left out
	maxPlace      = 128      // bytes; a longer one is left out

	// lateIssue is how long after the grace an Issue for a session may still
	// be under way: retries, a slow request, clocks that differ. So long, and
	// the grace, an ended session is remembered.
	lateIssue = 2 * time.Minute
	// markLife is how long NotBefore and Banned are kept: longer than any ticket
	// waits between its confirm and its redemption, and any instance without news.
	markLife = 24 * time.Hour
)

// Reason is why a session ended.
type Reason string

// The reasons, in the words of the session socket.
const (
	Replaced Reason = "replaced" // by a newer session, MaxSessions
	Logout   Reason = "logout"   // by itself
	Revoked  Reason = "revoked"  // by another session of the same user
	Reuse    Reason = "reuse"    // a spent token came back: theft
	Expired  Reason = "expired"  // idle, or as old as it may get
	Banned   Reason = "banned"   // the user was
)

// limits are what the rules of a record go by.
type limits struct {
	config Config // with its defaults
}

// of is how long a client's sessions live.
func (l limits) of(clientID string) lives { return l.config.Clients[clientID].lives(l.config) }

// remember is the life of a tombstone.
func (l limits) remember() time.Duration { return l.config.Grace + lateIssue }

// record is all there is about one user, in one piece, so that every rule
// about their sessions is one conditional write.
type record struct {
	Name     string      `json:"name,omitempty"`
	Picture  string      `json:"picture,omitempty"`
	Sessions []session   `json:"sessions,omitempty"` // oldest first
	Ended    []tombstone `json:"ended,omitempty"`    // soonest forgotten first
	SignIns  uint64      `json:"sign_ins,omitempty"` // how many sessions there ever were
	// NotBefore is when all of the user's other sessions were last ended at
	// once (Unix milliseconds): a sign-in that was allowed earlier opens none.
	NotBefore int64  `json:"not_before,omitempty"`
	Banned    int64  `json:"banned,omitempty"`   // until then no sign-in opens one, whatever an instance knows of bans
	Networks  []seen `json:"networks,omitempty"` // that the user signed in from, the newest last
}

// session is one signed-in device: a family of refresh tokens of which only
// the newest is good. Times are Unix milliseconds.
type session struct {
	SID        string   `json:"sid"`
	Number     uint64   `json:"number"` // it was this sign-in of the user's, from 1
	ClientID   string   `json:"client"`
	Scope      string   `json:"scope"`
	AMR        []string `json:"amr,omitempty"`
	Device     Device   `json:"device,omitzero"`
	Place      string   `json:"place,omitempty"`
	AuthTime   int64    `json:"auth"`
	Created    int64    `json:"created"`
	Used       int64    `json:"used"`       // last refreshed, or shown by a page
	Refreshed  int64    `json:"refreshed"`  // when the current generation was made
	Generation uint64   `json:"generation"` // of the current refresh token, from 1
	Hash       []byte   `json:"hash"`       // SHA-256 of its secret
}

// tombstone remembers an ended session until no Issue for it can come any more
// and whoever watched it has been told why.
type tombstone struct {
	SID    string `json:"sid"`
	Reason Reason `json:"reason"`
	Until  int64  `json:"until"` // Unix milliseconds
	// What there is to tell of a sign-in that ended itself before everybody heard of it.
	Number uint64 `json:"number,omitempty"`
	Device Device `json:"device,omitzero"`
	Place  string `json:"place,omitempty"`
}

func decodeRecord(value []byte) (*record, error) {
	r := &record{}
	if value == nil {
		return r, nil
	}
	if err := json.Unmarshal(value, r); err != nil {
		return nil, fmt.Errorf("auth: user record: %w", err)
	}
	return r, nil
}

// encode gives the record's bytes and its life: the longest of what is in it.
// Sessions count for as long as they could still need a tombstone.
func (r *record) encode(now time.Time, l limits) ([]byte, time.Duration, error) {
	value, err := json.Marshal(r)
	if err != nil {
		return nil, 0, fmt.Errorf("auth: user record: %w", err)
	}
	last := now.Add(time.Second)
	for i := range r.Sessions {
		last = later(last, r.Sessions[i].ends(l).Add(l.remember()))
	}
	for _, t := range r.Ended {
		last = later(last, time.UnixMilli(t.Until))
	}
	if n := len(r.Networks); n > 0 {
		last = later(last, time.UnixMilli(r.Networks[n-1].At).Add(networkLife))
	}
	if r.NotBefore != 0 {
		last = later(last, time.UnixMilli(r.NotBefore).Add(markLife))
	}
	if r.Banned != 0 {
		last = later(last, time.UnixMilli(r.Banned))
	}
	return value, last.Sub(now), nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// ends is when a session is over if nobody uses it.
func (s *session) ends(l limits) time.Time {
	lives := l.of(s.ClientID)
	absolute := time.UnixMilli(s.Created).Add(lives.absolute)
	idle := time.UnixMilli(s.Used).Add(lives.idle)
	if idle.Before(absolute) {
		return idle
	}
	return absolute
}

// live finds a session that is not over.
func (r *record) live(sid string, now time.Time, l limits) (*session, bool) {
	for i := range r.Sessions {
		if s := &r.Sessions[i]; s.SID == sid {
			return s, now.Before(s.ends(l))
		}
	}
	return nil, false
}

// issue adds a session, once: within the grace the one that is there already
// comes back with changed false. Later the same grant is somebody else's copy
// of it: the session ends and nil comes back. One that has ended stays ended.
func (r *record) issue(fresh session, who Identity, from netip.Prefix, now time.Time, l limits) (s *session, changed bool, err error) {
	r.tidy(now, l)
	if s, ok := r.live(fresh.SID, now, l); ok {
		if now.Before(time.UnixMilli(s.Created).Add(l.config.Grace)) {
			return s, false, nil
		}
		r.end(fresh.SID, Reuse, now, l)
		return nil, true, nil
	}
	switch _, ended := r.ended(fresh.SID); {
	case ended:
		return nil, false, ErrSessionEnded
	case now.UnixMilli() < r.Banned:
		return nil, false, ErrBanned
	case fresh.AuthTime < r.NotBefore && fresh.AuthTime != fresh.Created: // who is allowed at this moment is not late
		return nil, false, ErrSessionEnded
	}
	client := l.config.Clients[fresh.ClientID]
	if err := r.room(client); err != nil {
		return nil, false, err
	}
	r.see(who)
	r.come(from, now)
	r.SignIns++
	fresh.Number = r.SignIns
	r.Sessions = append(r.Sessions, fresh)
	for r.count(client.ID) > client.most() {
		r.remove(r.oldest(client.ID), Replaced, now, l)
	}
	for len(r.Sessions) > maxSessions || len(r.Sessions) > 1 && r.size() > maxRecord {
		r.remove(r.spare(), Replaced, now, l)
	}
	if r.size() > maxRecord {
		return nil, false, fmt.Errorf("auth: user record over %d bytes", maxRecord)
	}
	return &r.Sessions[len(r.Sessions)-1], true, nil
}

// room is ErrSessionLimit where one more session would be refused.
func (r *record) room(client Client) error {
	if client.OnLimit == Refuse && r.count(client.ID) >= client.most() {
		return ErrSessionLimit
	}
	return nil
}

func (r *record) count(clientID string) (n int) {
	for i := range r.Sessions {
		if r.Sessions[i].ClientID == clientID {
			n++
		}
	}
	return n
}

func (r *record) oldest(clientID string) int {
	return slices.IndexFunc(r.Sessions, func(s session) bool { return s.ClientID == clientID })
}

// spare is the session to go when there are too many: the oldest but a phone's,
// which approves the others, and but the newest.
func (r *record) spare() int {
	i := slices.IndexFunc(r.Sessions[:len(r.Sessions)-1], func(s session) bool { return s.ClientID != Phone })
	return max(i, 0)
}

// see takes the profile as the provider gave it last, within bounds: a person
// with an odd profile can still sign in.
func (r *record) see(who Identity) {
	r.Name, r.Picture = who.Name, who.Picture
	if len(r.Name) > maxName {
		r.Name = strings.ToValidUTF8(r.Name[:maxName], "")
	}
	if len(r.Picture) > maxPicture {
		r.Picture = ""
	}
}

// end ends a session that is there.
func (r *record) end(sid string, why Reason, now time.Time, l limits) {
	i := slices.IndexFunc(r.Sessions, func(s session) bool { return s.SID == sid })
	if i >= 0 {
		r.remove(i, why, now, l)
	}
}

// endBy ends one session of the user for another, or the same, one of theirs.
func (r *record) endBy(by Principal, sid string, now time.Time, l limits) error {
	r.tidy(now, l)
	if !r.asks(by, now, l) {
		return ErrSessionEnded
	}
	s, ok := r.live(sid, now, l)
	switch {
	case !ok:
		return ErrUnknownSession
	case s.ClientID == Phone && !by.HasScope(Phone):
		return ErrPhoneOnly
	}
	why := Revoked
	if sid == by.SID {
		why = Logout
	}
	r.end(sid, why, now, l)
	return nil
}

// endOthers ends all the user's sessions but the one that asks; the phones'
// only for a phone. What was allowed until now and is no session yet will not
// become one.
func (r *record) endOthers(by Principal, now time.Time, l limits) error {
	r.tidy(now, l)
	if !r.asks(by, now, l) {
		return ErrSessionEnded
	}
	r.endAll(Revoked, now, l, func(s *session) bool {
		return s.SID != by.SID && (s.ClientID != Phone || by.HasScope(Phone))
	})
	return nil
}

func (r *record) endAll(why Reason, now time.Time, l limits, which func(*session) bool) {
	r.NotBefore = now.UnixMilli()
	r.keepNetworksOf(which)
	for i := len(r.Sessions) - 1; i >= 0; i-- {
		if which(&r.Sessions[i]) {
			r.remove(i, why, now, l)
		}
	}
}

// refresh takes a refresh token's turn: successor is the secret derived from
// the presented one. Nothing changes when it is the lost answer once more. A
// genuine token that was spent before is theft: the session ends and nil comes
// back. One that is newer than the record was given by a write that the store
// has lost since; it is as good as the current one.
func (r *record) refresh(t refreshToken, successor []byte, clientID string, now time.Time, l limits) (s *session, changed bool, err error) {
	r.tidy(now, l)
	s, ok := r.live(t.sid, now, l)
	if !ok || s.ClientID != clientID {
		return nil, false, ErrInvalidGrant
	}
	switch {
	case t.generation > s.Generation, t.generation == s.Generation && s.matches(t.secret):
		s.Generation = t.generation + 1
		s.Hash = hash(successor)
		s.Refreshed, s.Used = now.UnixMilli(), now.UnixMilli()
		return s, true, nil
	case t.generation == s.Generation:
		return nil, false, ErrInvalidGrant
	case t.generation+1 == s.Generation && s.matches(successor) &&
		now.Sub(time.UnixMilli(s.Refreshed)) <= l.config.Grace:
		return s, false, nil
	}
	r.end(t.sid, Reuse, now, l)
	return nil, true, nil
}

// use marks a session that is kept by a page's cookie as used; as often as its
// tokens would be refreshed is enough.
func (r *record) use(sid string, now time.Time, l limits) (s *session, changed bool, err error) {
	s, ok := r.live(sid, now, l)
	if !ok {
		return nil, false, ErrSessionEnded
	}
	if lives := l.of(s.ClientID); now.Sub(time.UnixMilli(s.Used)) < min(lives.access, lives.idle/2) {
		return s, false, nil
	}
	s.Used = now.UnixMilli()
	return s, true, nil
}

func (s *session) matches(secret []byte) bool {
	return subtle.ConstantTimeCompare(hash(secret), s.Hash) == 1
}

func hash(secret []byte) []byte {
	sum := sha256.Sum256(secret)
	return sum[:]
}

// tidy buries the sessions that are over and forgets old tombstones.
func (r *record) tidy(now time.Time, l limits) {
	for i := len(r.Sessions) - 1; i >= 0; i-- {
		if !now.Before(r.Sessions[i].ends(l)) {
			r.remove(i, Expired, now, l)
		}
	}
	r.Ended = slices.DeleteFunc(r.Ended, func(t tombstone) bool { return t.Until <= now.UnixMilli() })
}

func (r *record) remove(i int, why Reason, now time.Time, l limits) {
	s := r.Sessions[i]
	r.disown(s, why, now)
	grave := tombstone{SID: s.SID, Reason: why, Until: now.Add(l.remember()).UnixMilli()}
	if young := now.Sub(time.UnixMilli(s.Created)) < l.remember(); young && (why == Logout || why == Reuse) {
		grave.Number, grave.Device, grave.Place = s.Number, s.Device, s.Place
	}
	r.Ended = append(r.Ended, grave)
	if old := len(r.Ended) - 1 - maxNews; old >= 0 {
		g := r.Ended[old]
		r.Ended[old] = tombstone{SID: g.SID, Reason: g.Reason, Until: g.Until}
	}
	if over := len(r.Ended) - maxTombstones; over > 0 {
		r.Ended = slices.Delete(r.Ended, 0, over)
	}
	r.Sessions = slices.Delete(r.Sessions, i, i+1)
}

// ended says why a session ended, as long as that is remembered.
func (r *record) ended(sid string) (Reason, bool) {
	for _, t := range r.Ended {
		if t.SID == sid {
			return t.Reason, true
		}
	}
	return "", false
}

// size is what the record takes in the store, in bytes.
func (r *record) size() int {
	value, err := json.Marshal(r)
	if err != nil {
		return 0 // encode says so
	}
	return len(value)
}
