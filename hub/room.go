package hub

import (
	"errors"
	"net/netip"
)

// What a newcomer is refused with when there is no room for it.
var (
	ErrFull    = errors.New("hub: full")
	ErrCrowded = errors.New("hub: as many of this network as may be")
)

// Cap bounds how many connections of one network may be open at once.
type Cap struct {
	Network func(from netip.Addr) netip.Prefix // of a peer; invalid: this cap does not concern it
	Most    int
}

// room is who takes up how much of the hub; guarded by Hub.mu. A network without
// connections takes up nothing.
type room struct {
	all    int
	caps   []map[netip.Prefix]int // as Config.Caps
	groups map[string]int
}

// reserve counts a newcomer in before anything is done for it, or says why not:
// ErrClosed, ErrFull, ErrCrowded. What is reserved is given back by vacate.
func (h *Hub) reserve(from netip.Addr) error {
	err := h.seat(from)
	switch err {
	case ErrFull:
		h.conf.Observe("hub.refused.sockets", 0, err)
	case ErrCrowded:
		h.conf.Observe("hub.refused.sockets_per_network", 0, err)
	}
	return err
}

func (h *Hub) seat(from netip.Addr) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closed:
		return ErrClosed
	case h.conf.Most > 0 && h.room.all >= h.conf.Most:
		return ErrFull
	}
	for i, c := range h.conf.Caps {
		if network := c.Network(from); network.IsValid() && h.room.caps[i][network] >= c.Most {
			return ErrCrowded
		}
	}
	h.room.all++
	for i, c := range h.conf.Caps {
		if network := c.Network(from); network.IsValid() {
			h.room.caps[i][network]++
		}
	}
	return nil
}

// vacate gives a place back.
func (h *Hub) vacate(from netip.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.unseat(from)
}

// unseat is vacate with the lock held.
func (h *Hub) unseat(from netip.Addr) {
	h.room.all--
	for i, c := range h.conf.Caps {
		if network := c.Network(from); network.IsValid() {
			fewer(h.room.caps[i], network)
		}
	}
}

// enter is reserve and admit for what needs no upgrade.
func (h *Hub) enter(c *conn) error {
	if err := h.reserve(c.from); err != nil {
		return err
	}
	if !h.admit(c) {
		h.vacate(c.from)
		return ErrClosed
	}
	return nil
}

// join counts a socket into a group, or refuses it: it may come back when another
// one of the group has gone.
func (h *Hub) join(group string) error {
	if group == "" {
		return nil
	}
	h.mu.Lock()
	full := h.conf.MostPerGroup > 0 && h.room.groups[group] >= h.conf.MostPerGroup
	if !full {
		h.room.groups[group]++
	}
	h.mu.Unlock()
	if !full {
		return nil
	}
	refusal := &Refusal{TryLater, "rate_limited"}
	h.conf.Observe("hub.refused.sockets_per_session", 0, refusal)
	return refusal
}

// part is the end of join.
func (h *Hub) part(group string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	fewer(h.room.groups, group)
}

// fewer counts down and forgets what has come to nothing.
func fewer[K comparable](counts map[K]int, key K) {
	if counts[key]--; counts[key] == 0 {
		delete(counts, key)
	}
}
