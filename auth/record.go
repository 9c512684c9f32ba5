package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	maxSessions   = 32
	maxTombstones = 64
	maxRecord     = 16 << 10 // bytes
	maxName       = 256      // bytes; a longer name is cut
	maxPicture    = 2 << 10  // bytes; a longer address is left out

	// lateIssue is how long after the grace an Issue for a session may still
	// be under way: retries, a slow request, clocks that differ. So long, and
	// the grace, an ended session is remembered.
	lateIssue = 2 * time.Minute
)

// limits are the lives that the rules of a record go by.
type limits struct {
	absolute, idle, grace time.Duration
}

// remember is the life of a tombstone.
func (l limits) remember() time.Duration { return l.grace + lateIssue }

// record is all there is about one user, in one piece, so that every rule
// about their sessions is one conditional write.
type record struct {
	Name     string      `json:"name,omitempty"`
	Picture  string      `json:"picture,omitempty"`
	Sessions []session   `json:"sessions,omitempty"` // oldest first
	Ended    []tombstone `json:"ended,omitempty"`    // soonest forgotten first
}

// session is one signed-in device: a family of refresh tokens of which only
// the newest is good. Times are Unix milliseconds.
type session struct {
	SID        string   `json:"sid"`
	ClientID   string   `json:"client"`
	Scope      string   `json:"scope"`
	AMR        []string `json:"amr,omitempty"`
	Device     Device   `json:"device,omitzero"`
	AuthTime   int64    `json:"auth"`
	Created    int64    `json:"created"`
	Refreshed  int64    `json:"refreshed"`  // when the current generation was made
	Generation uint64   `json:"generation"` // of the current refresh token, from 1
	Hash       []byte   `json:"hash"`       // SHA-256 of its secret
}

// tombstone remembers an ended session until no Issue for it can come any more.
type tombstone struct {
	SID   string `json:"sid"`
	Until int64  `json:"until"` // Unix milliseconds
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
	for _, s := range r.Sessions {
		last = later(last, s.ends(l).Add(l.remember()))
	}
	for _, t := range r.Ended {
		last = later(last, time.UnixMilli(t.Until))
	}
	return value, last.Sub(now), nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// ends is when a session is over if nobody refreshes it.
func (s *session) ends(l limits) time.Time {
	absolute := time.UnixMilli(s.Created).Add(l.absolute)
	idle := time.UnixMilli(s.Refreshed).Add(l.idle)
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
func (r *record) issue(fresh session, who Identity, now time.Time, l limits) (s *session, changed bool, err error) {
	r.tidy(now, l)
	if s, ok := r.live(fresh.SID, now, l); ok {
		if now.Before(time.UnixMilli(s.Created).Add(l.grace)) {
			return s, false, nil
		}
		return nil, r.end(fresh.SID, now, l), nil
	}
	if r.entombed(fresh.SID) {
		return nil, false, ErrSessionEnded
	}
	r.see(who)
	r.Sessions = append(r.Sessions, fresh)
	for len(r.Sessions) > maxSessions || len(r.Sessions) > 1 && r.size() > maxRecord {
		r.remove(0, now, l)
	}
	if r.size() > maxRecord {
		return nil, false, fmt.Errorf("auth: user record over %d bytes", maxRecord)
	}
	return &r.Sessions[len(r.Sessions)-1], true, nil
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

// end ends a session; one that never was is remembered as ended all the same,
// because its Issue may still be under way.
func (r *record) end(sid string, now time.Time, l limits) (changed bool) {
	r.tidy(now, l)
	if r.entombed(sid) {
		return false
	}
	if i := slices.IndexFunc(r.Sessions, func(s session) bool { return s.SID == sid }); i >= 0 {
		r.remove(i, now, l)
	} else {
		r.bury(sid, now, l)
	}
	return true
}

// refresh takes a refresh token's turn: successor is the secret derived from
// the presented one. Nothing changes when it is the lost answer once more.
func (r *record) refresh(t refreshToken, successor []byte, clientID string, now time.Time, l limits) (s *session, changed bool, err error) {
	r.tidy(now, l)
	s, ok := r.live(t.sid, now, l)
	if !ok || s.ClientID != clientID {
		return nil, false, ErrInvalidGrant
	}
	switch {
	case t.generation == s.Generation && s.matches(t.secret):
		s.Generation++
		s.Hash = hash(successor)
		s.Refreshed = now.UnixMilli()
		return s, true, nil
	case t.generation+1 == s.Generation && s.matches(successor) &&
		now.Sub(time.UnixMilli(s.Refreshed)) <= l.grace:
		return s, false, nil
	default:
		return nil, false, ErrInvalidGrant
	}
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
			r.remove(i, now, l)
		}
	}
	r.Ended = slices.DeleteFunc(r.Ended, func(t tombstone) bool { return t.Until <= now.UnixMilli() })
}

func (r *record) remove(i int, now time.Time, l limits) {
	r.bury(r.Sessions[i].SID, now, l)
	r.Sessions = slices.Delete(r.Sessions, i, i+1)
}

func (r *record) bury(sid string, now time.Time, l limits) {
	r.Ended = append(r.Ended, tombstone{SID: sid, Until: now.Add(l.remember()).UnixMilli()})
	if over := len(r.Ended) - maxTombstones; over > 0 {
		r.Ended = slices.Delete(r.Ended, 0, over)
	}
}

func (r *record) entombed(sid string) bool {
	return slices.ContainsFunc(r.Ended, func(t tombstone) bool { return t.SID == sid })
}

// size is what the record takes in the store, in bytes.
func (r *record) size() int {
	value, err := json.Marshal(r)
	if err != nil {
		return 0 // encode says so
	}
	return len(value)
}
