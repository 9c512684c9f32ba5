package auth

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"
)

// Session is one signed-in device of a user, for the list of them.
type Session struct {
	ID       string
	Number   uint64 // it was this sign-in of the user's, from 1
	ClientID string
	AMR      []string
	Device   Device
	Place    string
	Created  time.Time
	LastUsed time.Time // last refreshed, or shown by a page
}

func (s *session) public() Session {
	return Session{
		ID: s.SID, Number: s.Number, ClientID: s.ClientID, AMR: s.AMR, Device: s.Device, Place: s.Place,
		Created: time.UnixMilli(s.Created), LastUsed: time.UnixMilli(s.Used),
	}
}

func principal(sub string, r *record, s *session, l limits) Principal {
	return Principal{
		Sub:      sub,
		Name:     r.Name,
		Picture:  r.Picture,
		SID:      s.SID,
		ClientID: s.ClientID,
		Scope:    s.Scope,
		AMR:      s.AMR,
		AuthTime: time.UnixMilli(s.AuthTime),
		Expires:  s.ends(l),
	}
}

// Sessions lists a user's live sessions, the newest first.
func (s *Service) Sessions(ctx context.Context, sub string) ([]Session, error) {
	r, err := s.load(ctx, sub)
	if err != nil {
		return nil, err
	}
	var all []Session
	for i := range slices.Backward(r.Sessions) {
		if one, ok := r.live(r.Sessions[i].SID, time.Now(), s.limits); ok {
			all = append(all, one.public())
		}
	}
	return all, nil
}

// Room says whether a user may sign in to a client once more: ErrSessionLimit, if
// its policy refuses. Another sign-in may be faster than what it allows.
func (s *Service) Room(ctx context.Context, sub, clientID string) error {
	client := s.config.Clients[clientID]
	if client.OnLimit != Refuse {
		return nil
	}
	r, err := s.load(ctx, sub)
	if err != nil {
		return err
	}
	r.tidy(time.Now(), s.limits)
	return r.room(client)
}

// Session finds a live session by its id, for pages that keep somebody signed
// in by a cookie. ErrSessionEnded, ErrBanned.
func (s *Service) Session(ctx context.Context, sub, sid string) (Principal, error) {
	if err := s.bans.refuse(ctx, sub); err != nil {
		return Principal{}, err
	}
	r, err := s.load(ctx, sub)
	if err != nil {
		return Principal{}, err
	}
	session, ok := r.live(sid, time.Now(), s.limits)
	if !ok {
		return Principal{}, ErrSessionEnded
	}
	return principal(sub, r, session, s.limits), nil
}

// Use is Session for somebody who does something: the session counts as used,
// so that it does not end for being idle.
func (s *Service) Use(ctx context.Context, sub, sid string) (Principal, error) {
	if err := s.bans.refuse(ctx, sub); err != nil {
		return Principal{}, err
	}
	var p Principal
	_, err := s.change(ctx, sub, func(r *record, now time.Time) (*session, bool, error) {
		session, changed, err := r.use(sid, now, s.limits)
		if err == nil {
			p = principal(sub, r, session, s.limits)
		}
		return session, changed, err
	})
	return p, err
}

// Access makes an access token for the session of a page's cookie, which
// counts as used. The refresh token stays with whoever has it. ErrSessionEnded,
// ErrBanned.
func (s *Service) Access(ctx context.Context, sub, sid string) (Tokens, error) {
	if err := s.bans.refuse(ctx, sub); err != nil {
		return Tokens{}, err
	}
	with, err := s.keys.current(ctx)
	if err != nil {
		return Tokens{}, err
	}
	used, err := s.change(ctx, sub, func(r *record, now time.Time) (*session, bool, error) {
		return r.use(sid, now, s.limits)
	})
	if err != nil {
		return Tokens{}, err
	}
	return s.tokens(with, sub, used, used.Scope, "")
}

// asks says whether somebody may still decide about their sessions: a phone by
// the token of another issuer has none itself that could be over.
func (r *record) asks(by Principal, now time.Time, l limits) bool {
	if by.SID == "" {
		return by.HasScope(Phone)
	}
	_, ok := r.live(by.SID, now, l)
	return ok
}

// End ends a session of the user who asks, by whatever session of theirs, or by
// the token of another issuer.
// ErrUnknownSession, ErrPhoneOnly; ErrSessionEnded if it is the asking one that
// is over.
func (s *Service) End(ctx context.Context, by Principal, sid string) error {
	_, err := s.change(ctx, by.Sub, func(r *record, now time.Time) (*session, bool, error) {
		return nil, true, r.endBy(by, sid, now, s.limits)
	})
	return err
}

// EndOthers ends all sessions of the user but the one that asks; a phone's only
// if a phone asks. Who has no session ends them all. ErrSessionEnded.
func (s *Service) EndOthers(ctx context.Context, by Principal) error {
	_, err := s.change(ctx, by.Sub, func(r *record, now time.Time) (*session, bool, error) {
		return nil, true, r.endOthers(by, now, s.limits)
	})
	return err
}

// EndAll ends all sessions of a user, phones' too, for whoever may say so for
// them; what was allowed until now and is no session yet will not become one.
// ended is how many there were. ErrInvalidUser.
func (s *Service) EndAll(ctx context.Context, sub string) (ended int, err error) {
	if !validSub(sub) {
		return 0, ErrInvalidUser
	}
	return s.endAll(ctx, sub, Revoked)
}

func (s *Service) endAll(ctx context.Context, sub string, why Reason) (ended int, err error) {
	_, err = s.change(ctx, sub, func(r *record, now time.Time) (*session, bool, error) {
		r.tidy(now, s.limits)
		ended = len(r.Sessions)
		r.endAll(why, now, s.limits, func(*session) bool { return true })
		return nil, true, nil
	})
	return ended, err
}

// Claimed is who an access token of ours was made for: Verify without asking
// whether the session is alive, for watching it until it is not.
// ErrInvalidToken.
func (s *Service) Claimed(ctx context.Context, access string) (Principal, error) {
	c, err := s.parse(ctx, access)
	if err != nil {
		return Principal{}, err
	}
	return Principal{
		Sub: c.Subject, SID: c.SID, ClientID: c.ClientID, Scope: c.Scope, AMR: c.AMR,
		AuthTime: time.Unix(c.AuthTime, 0), Expires: time.Unix(c.Expires, 0),
	}, nil
}

// Verify says who is behind an access token: its signature and claims are good
// and its session is alive; or a configured Issuer says so, and then it is a
// phone without a session. ErrBanned; an Issuer that cannot tell is
// ErrProviderBusy; everything else is ErrInvalidToken.
func (s *Service) Verify(ctx context.Context, access string) (Principal, error) {
	if issuer, ok := s.issuerOf(access); ok {
		return s.vouched(ctx, issuer, access)
	}
	_, p, err := s.verify(ctx, access)
	return p, err
}

func (s *Service) verify(ctx context.Context, access string) (*claims, Principal, error) {
	c, err := s.parse(ctx, access)
	if err != nil {
		return nil, Principal{}, err
	}
	p, err := s.Session(ctx, c.Subject, c.SID)
	if errors.Is(err, ErrSessionEnded) || err == nil && p.ClientID != c.ClientID {
		err = ErrInvalidToken
	}
	if err != nil {
		return nil, Principal{}, err
	}
	p.Scope, p.Expires = c.Scope, time.Unix(c.Expires, 0)
	return c, p, nil
}

// State is a session as its watcher may know it.
type State struct {
	Live    bool
	Reason  Reason    // of its end
	Ends    time.Time // while live: when it is over if nobody uses it
	SignIns []Session // that came after a known one, in order; also those that are over again
	Newest  uint64    // Number of the account's newest sign-in
}

// State reads a session out of the user's record (UserKey), as it is at now.
// after is the Number of the newest sign-in that the watcher knows of.
func (s *Service) State(sub, sid string, value []byte, after uint64, now time.Time) (State, error) {
	r, err := decodeRecord(value)
	if err != nil {
		return State{}, err
	}
	own, live := r.live(sid, now, s.limits)
	if !live {
		why, _ := r.ended(sid)
		if why == "" && errors.Is(s.bans.known(sub, now), ErrBanned) {
			why = Banned
		}
		return State{Reason: cmp.Or(why, Expired)}, nil
	}
	state := State{Live: true, Ends: own.ends(s.limits), Newest: r.SignIns}
	for i := range r.Sessions {
		if one := &r.Sessions[i]; one.Number > after && one.SID != sid && now.Before(one.ends(s.limits)) {
			state.SignIns = append(state.SignIns, one.public())
		}
	}
	for _, gone := range r.Ended {
		if gone.Number > after {
			state.SignIns = append(state.SignIns, Session{ID: gone.SID, Number: gone.Number, Device: gone.Device, Place: gone.Place})
		}
	}
	slices.SortFunc(state.SignIns, func(a, b Session) int { return cmp.Compare(a.Number, b.Number) })
	return state, nil
}

// Knows says whether a user has signed in from a network within the last 90 days.
func (s *Service) Knows(ctx context.Context, sub string, network netip.Prefix) (bool, error) {
	r, err := s.load(ctx, sub)
	if err != nil {
		return false, err
	}
	return r.knows(network, time.Now()), nil
}

// Forget takes a network from those that a user signed in from: it was not the
// user who did.
func (s *Service) Forget(ctx context.Context, sub string, network netip.Prefix) error {
	_, err := s.change(ctx, sub, func(r *record, now time.Time) (*session, bool, error) {
		known := r.knows(network, now)
		r.Networks = slices.DeleteFunc(r.Networks, func(one seen) bool { return one.Network == network })
		return nil, known, nil
	})
	return err
}

// load reads a user's record.
func (s *Service) load(ctx context.Context, sub string) (*record, error) {
	value, _, err := s.store.Load(ctx, UserKey(sub))
	if err != nil {
		return nil, wrapUser(err)
	}
	return decodeRecord(value)
}
