package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	bansKey   = "bans"
	maxBans   = 1000
	maxReason = 200 // bytes
	// The widest networks that can be banned: a digit that is missing must not
	// ban everybody.
	widest4, widest6 = 8, 16
	// forGood is the end of a ban that has none, and the life of the record, which
	// every write begins anew. An empty list lives as long: were it to go, whoever
	// was deaf meanwhile would take the store for one that came back empty, and
	// lifted bans would be back.
	forGood = 100 * 365 * 24 * time.Hour
)

// Ban keeps one user or one network out, until it ends or is lifted.
type Ban struct {
	User    string       `json:"user,omitempty"` // a `sub`; empty: a network is banned
	Network netip.Prefix `json:"network,omitzero"`
	Reason  string       `json:"reason,omitempty"` // for operators; at most 200 bytes
	Since   time.Time    `json:"since"`
	Until   time.Time    `json:"until,omitzero"` // zero: for good
}

func (b Ban) active(now time.Time) bool { return b.Until.IsZero() || now.Before(b.Until) }

// same says that both are about the same user or network.
func (b Ban) same(other Ban) bool { return b.User == other.User && b.Network == other.Network }

// validSub says whether somebody can have this `sub`.
func validSub(sub string) bool {
	provider, subject, _ := strings.Cut(sub, ":")
	return provider != "" && subject != "" && len(sub) <= maxSub &&
		!strings.ContainsFunc(sub, unicode.IsControl) && utf8.ValidString(sub)
}

// normal is the ban in its one form: networks of IPv4 as such, without host
// bits. ErrInvalidBan.
func (b Ban) normal() (Ban, error) {
	user := validSub(b.User)
	if user == b.Network.IsValid() || b.User != "" && !user {
		return b, ErrInvalidBan
	}
	if strings.ContainsFunc(b.Reason, unicode.IsControl) || len(b.Reason) > maxReason || !utf8.ValidString(b.Reason) {
		return b, ErrInvalidBan
	}
	if a := b.Network.Addr(); a.Is4In6() {
		if b.Network.Bits() < 96 { // it has more in it than IPv4
			return b, ErrInvalidBan
		}
		b.Network = netip.PrefixFrom(a.Unmap(), b.Network.Bits()-96)
	}
	if widest := map[bool]int{true: widest4, false: widest6}[b.Network.Addr().Is4()]; !user && b.Network.Bits() < widest {
		return b, ErrInvalidBan
	}
	b.Network = b.Network.Masked()
	return b, nil
}

// bans is this instance's copy of the one record that holds all active bans.
type bans struct {
	store  Store
	config Config

	mu   sync.Mutex // orders writers of list
	rev  uint64
	list atomic.Pointer[banList] // nil: not known yet
}

// banList is the bans as they are looked at; it is never changed in place.
type banList struct {
	all      []Ban
	users    map[string]Ban
	networks []Ban
}

func newBanList(all []Ban) *banList {
	list := &banList{all: all, users: map[string]Ban{}}
	for _, b := range all {
		if b.User != "" {
			list.users[b.User] = b
		} else {
			list.networks = append(list.networks, b)
		}
	}
	return list
}

func newBans(store Store, c Config) *bans { return &bans{store: store, config: c} }

func decodeBans(value []byte) ([]Ban, error) {
	var list []Ban
	if value == nil {
		return list, nil
	}
	if err := json.Unmarshal(value, &list); err != nil {
		return nil, fmt.Errorf("auth: bans: %w", err)
	}
	return list, nil
}

func encodeBans(list []Ban) ([]byte, time.Duration, error) {
	value, err := json.Marshal(list)
	if err != nil {
		return nil, 0, fmt.Errorf("auth: bans: %w", err)
	}
	return value, forGood, nil
}

// run follows the record until ctx ends.
func (b *bans) run(ctx context.Context) {
	follow(ctx, b.store, bansKey, b.config.Logger, func(ctx context.Context) (time.Time, error) {
		return time.Time{}, b.tend(ctx)
	})
}

// tend takes over the stored list. If there is none, a store that came back
// empty gets the one that is known here.
func (b *bans) tend(ctx context.Context) error {
	value, rev, err := b.store.Load(ctx, bansKey)
	if err != nil {
		return fmt.Errorf("auth: bans: %w", err)
	}
	if value != nil {
		list, err := decodeBans(value)
		if err == nil {
			b.take(list, rev)
		}
		return err
	}
	now := time.Now()
	known := active(b.all(), now)
	if len(known) == 0 {
		b.take(nil, 0)
		return nil
	}
	return b.change(ctx, func(stored []Ban, _ time.Time) ([]Ban, error) {
		if stored != nil {
			return nil, nil // somebody was faster
		}
		return known, nil
	})
}

// change applies a rule to the stored list, which it gets without those that
// are over (nil: there is no list), and takes the result over. A nil result
// changes nothing.
func (b *bans) change(ctx context.Context, rule func([]Ban, time.Time) ([]Ban, error)) error {
	var list []Ban
	rev, err := b.store.Update(ctx, bansKey, func(old []byte) ([]byte, time.Duration, error) {
		stored, err := decodeBans(old)
		if err != nil {
			return nil, 0, err
		}
		now := time.Now()
		if stored != nil {
			stored = active(stored, now)
		}
		changed, err := rule(stored, now)
		if err != nil || changed == nil {
			list = stored
			return nil, 0, err
		}
		list = changed
		return encodeBans(changed)
	})
	if err != nil {
		return fmt.Errorf("auth: bans: %w", err)
	}
	b.take(list, rev)
	return nil
}

// take makes a list the one that counts here, unless a newer one does.
func (b *bans) take(list []Ban, rev uint64) {
	b.mu.Lock()
	if rev < b.rev {
		b.mu.Unlock()
		return
	}
	b.rev = rev
	b.list.Store(newBanList(list))
	b.mu.Unlock()
	b.config.NetworksBanned(func(from netip.Addr) bool { return b.covers(from, time.Now()) })
}

// all is the list as far as it is known.
func (b *bans) all() []Ban {
	if list := b.list.Load(); list != nil {
		return list.all
	}
	return nil
}

// active gives a list of its own, never nil.
func active(list []Ban, now time.Time) []Ban {
	kept := make([]Ban, 0, len(list)+1)
	for _, b := range list {
		if b.active(now) {
			kept = append(kept, b)
		}
	}
	return kept
}

// ready has the list loaded, once.
func (b *bans) ready(ctx context.Context) error {
	if b.list.Load() != nil {
		return nil
	}
	return b.tend(ctx)
}

// refuse is ErrBanned for a user who is.
func (b *bans) refuse(ctx context.Context, sub string) error {
	if err := b.ready(ctx); err != nil {
		return err
	}
	return b.known(sub, time.Now())
}

// known is refuse as far as this instance knows.
func (b *bans) known(sub string, now time.Time) error {
	if list := b.list.Load(); list != nil {
		if ban, ok := list.users[sub]; ok && ban.active(now) {
			return ErrBanned
		}
	}
	return nil
}

// covers says whether an address is in a banned network, as far as known here.
func (b *bans) covers(from netip.Addr, now time.Time) bool {
	list := b.list.Load()
	return list != nil && slices.ContainsFunc(list.networks, func(ban Ban) bool {
		return ban.Network.Contains(from) && ban.active(now)
	})
}

// Ban keeps a user or a network out, on all instances at once. A user's
// sessions end for good, phones' too; lifting the ban does not bring them back.
// Since is set; banning again replaces reason and end. ErrInvalidBan,
// ErrTooManyBans. After any other error the user's sessions may have ended; the
// same call again completes it.
func (s *Service) Ban(ctx context.Context, b Ban) error {
	b, err := b.normal()
	if err != nil {
		return err
	}
	now := time.Now()
	if !b.active(now) {
		return ErrInvalidBan
	}
	if b.User != "" {
		all, err := s.Bans(ctx)
		if err != nil {
			return err
		}
		if len(all) >= maxBans && !slices.ContainsFunc(all, b.same) {
			return ErrTooManyBans
		}
		if err := s.shutOut(ctx, b); err != nil {
			return err
		}
	}
	err = s.bans.change(ctx, func(list []Ban, now time.Time) ([]Ban, error) {
		b.Since = now.UTC()
		list = slices.DeleteFunc(active(list, now), b.same)
		if len(list) >= maxBans {
			return nil, ErrTooManyBans
		}
		return append(list, b), nil
	})
	if errors.Is(err, ErrTooManyBans) && b.User != "" {
		_, undo := s.letIn(ctx, b.User)
		err = errors.Join(err, undo)
	}
	return err
}

// shutOut ends every session of a user and lets none begin for a while: as long as
// an instance may not have heard of the ban. What two operators or half a ban leave
// behind is over then too.
func (s *Service) shutOut(ctx context.Context, b Ban) error {
	_, err := s.change(ctx, b.User, func(r *record, now time.Time) (*session, bool, error) {
		r.tidy(now, s.limits)
		r.endAll(Banned, now, s.limits, func(*session) bool { return true })
		r.Banned = now.Add(markLife).UnixMilli()
		if !b.Until.IsZero() {
			r.Banned = min(r.Banned, b.Until.UnixMilli())
		}
		return nil, true, nil
	})
	return err
}

// letIn lets sessions of a user begin again; false: they might before.
func (s *Service) letIn(ctx context.Context, sub string) (changed bool, err error) {
	_, err = s.change(ctx, sub, func(r *record, now time.Time) (*session, bool, error) {
		changed = r.Banned > now.UnixMilli()
		r.Banned = 0
		return nil, changed, nil
	})
	return changed, err
}

// Lift ends a ban before its time; only User and Network count. ErrInvalidBan,
// ErrUnknownBan.
func (s *Service) Lift(ctx context.Context, b Ban) error {
	b, err := b.normal()
	if err != nil {
		return err
	}
	var out bool
	if b.User != "" {
		if out, err = s.letIn(ctx, b.User); err != nil {
			return err
		}
	}
	err = s.bans.change(ctx, func(list []Ban, now time.Time) ([]Ban, error) {
		left := slices.DeleteFunc(active(list, now), b.same)
		if len(left) == len(list) {
			return nil, ErrUnknownBan
		}
		return left, nil
	})
	if out && errors.Is(err, ErrUnknownBan) {
		return nil // half a ban, of an operator whose store went away
	}
	return err
}

// Bans lists the active bans, the newest last.
func (s *Service) Bans(ctx context.Context) ([]Ban, error) {
	if err := s.bans.tend(ctx); err != nil {
		return nil, err
	}
	return active(s.bans.all(), time.Now()), nil
}

// NetworkBanned says whether a client's address is in a banned network.
func (s *Service) NetworkBanned(ctx context.Context, from netip.Addr) (bool, error) {
	if err := s.bans.ready(ctx); err != nil {
		return false, err
	}
	return s.bans.covers(from.Unmap(), time.Now()), nil
}
