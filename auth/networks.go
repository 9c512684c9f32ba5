package auth

import (
	"net/netip"
	"slices"
	"time"
)

const (
	maxNetworks = 8
	// networkLife is how long a network is one that the user signs in from.
	networkLife = 90 * 24 * time.Hour
	// networkProof is how long a network has to be the user's before a session
	// that ends by itself leaves it known.
	networkProof = 24 * time.Hour
)

// seen is a network that a user signed in from.
type seen struct {
	Network netip.Prefix `json:"network"`
	Since   int64        `json:"since"` // the first time, Unix milliseconds
	At      int64        `json:"at"`    // the last time
}

// come remembers where the user signed in from.
func (r *record) come(from netip.Prefix, now time.Time) {
	if !from.IsValid() {
		return
	}
	fresh := seen{Network: from, Since: now.UnixMilli(), At: now.UnixMilli()}
	r.Networks = slices.DeleteFunc(r.Networks, func(one seen) bool {
		if one.Network == from && !one.over(now) {
			fresh.Since = one.Since
		}
		return one.Network == from || one.over(now)
	})
	r.Networks = append(r.Networks, fresh)
	if over := len(r.Networks) - maxNetworks; over > 0 {
		r.Networks = slices.Delete(r.Networks, 0, over)
	}
}

func (s seen) over(now time.Time) bool { return now.Sub(time.UnixMilli(s.At)) >= networkLife }

// disown forgets the network of a session that its user ended from elsewhere: it
// may have been somebody else's. A later sign-in from there has spoken for it. On
// its first day any end will do: a thief who signs himself out, before he is seen,
// would keep the network known and could not be ended for it any more.
func (r *record) disown(s session, why Reason, now time.Time) {
	r.Networks = slices.DeleteFunc(r.Networks, func(one seen) bool {
		young := now.Sub(time.UnixMilli(one.Since)) < networkProof
		return one.At == s.Created && (why == Revoked || why == Reuse || young)
	})
}

// keepNetworksOf forgets all networks but those of sessions that stay: who ends
// everything at once does not trust what was before.
func (r *record) keepNetworksOf(goes func(*session) bool) {
	r.Networks = slices.DeleteFunc(r.Networks, func(one seen) bool {
		return !slices.ContainsFunc(r.Sessions, func(s session) bool { return s.Created == one.At && !goes(&s) })
	})
}

// knows says whether the user signed in from a network of late.
func (r *record) knows(network netip.Prefix, now time.Time) bool {
	return slices.ContainsFunc(r.Networks, func(one seen) bool { return one.Network == network && !one.over(now) })
}
