package backend

import "time"

// maxRevision is the first number that is no revision: JSON readers keep integers exact
// below 2^53, and revisions are shown to them.
const maxRevision = 1 << 53

// nextRevision is the revision of a record written now over one of revision old. The wall
// clock in it (microseconds) makes it grow also across a store that lost writes or came
// back empty; old in it makes it grow when clocks disagree or two writes share a tick.
func nextRevision(old uint64) uint64 {
	return max(old+1, uint64(time.Now().UnixMicro()))
}

// lifetime rounds ttl up to the millisecond that stores count in; a record whose time is
// over is written for one, so that no write is without a lifetime.
func lifetime(ttl time.Duration) time.Duration {
	return max((ttl + time.Millisecond - 1).Truncate(time.Millisecond), time.Millisecond)
}
