// Package hub holds this instance's live connections and tells each the newest state
// of the one record it watches. It knows no ticket and no JSON: web supplies the wire
// forms (Wire, Topic.Encode), the backend supplies the records (Source).
//
//	store ── changed(value, rev) ──┐
//	reader ── ping, refresh ───────┤ set bits   ┌───────────┐  one goroutine at a time
//	wheel ── heartbeat, Next, ─────┼──────────► │   conn    │ ─────────────────────────► peer
//	         too late, drain       │            │ owes {..} │  encode, write, deadline
//	newer socket, Evict, Run's end ┘            └───────────┘
//
// # A debt, not a queue
//
// A connection owes a set of {hello, snapshot, pong, ping, reconnect, close} and has one
// mark "being paid". Whoever has news sets a bit; if nobody is paying, it has somebody
// start. The payer encodes what is newest now and writes until nothing is owed. So
// lost, doubled, late and reordered notices are harmless (revisions and Seq never go
// back), nothing overflows, memory per connection is constant, a peer that does not
// read holds up one goroutine for Config.WriteWithin and nobody else, and the library's
// rule of one writer at a time is kept by construction. A queue with a writer goroutine
// for each connection was measured: 1.3 to 1.5 times the CPU per event, three times the
// memory, and a rule needed for when it is full.
//
// # Three doors
//
// socket, stream and poll share all of conn; they differ in who pays and what a debt
// looks like. A socket has a short goroutine started for it. SSE and long poll have
// net/http's goroutine parked in the handler anyway, so that one pays, and a
// ResponseWriter is never touched from elsewhere. A snapshot with Close ends a socket
// and a stream, but not a long poll, which has its own time.
//
// # How a socket ends
//
// The end is decided once (conn.code); from then on nothing new is taken on, except
// that a last snapshot overrides an end that is not written yet. After our close frame
// the reader goes on for CloseWithin, because closing a TCP connection with unread
// bytes sends a reset that can overtake the last frames; a peer that answers is let go
// at once. Only the reader lets go: everybody else ends it by a read deadline, which
// never blocks, while Close on a TLS connection may wait five seconds for a stuck peer.
// The library writes one frame by itself, the 1002 on broken framing, under its own
// lock; the size limit is ours (LimitReader, not SetReadLimit), so that the peer's
// answer to a 1009 is still understood.
//
// # Evict
//
// A ban has to reach who is in and who is just coming: a request passes web's check, the
// ban appears, Evict looks around, and only then the connection is admitted; an upgrade
// may take seconds. A second check in Open would miss the socket that never sends
// a watch, and streams and polls have no Open. So the hub keeps what Evict was last
// told, in one critical section with the list of who is in: a newcomer is on that list
// or meets the ban on arrival, on all three doors. The price is that match must stay
// true for as long as it is kept. It is called without a lock, and ending a connection
// only sets bits, so Evict waits for nobody.
//
// # Room
//
// How many connections may be open is counted where they are admitted, in all and by
// network, or a crowd that comes at one moment would slip in together. A socket has its
// place before the upgrade, so that a refusal is an answer (429, 503) and not a close
// code; every way out gives it back. By network it is a map of counts, and the prefix is
// worked out from the address again at the end: nothing is added to a connection. Sockets
// of one group (a session) are known only after the watch; one too many is closed with
// 1013, and comes back when there is room.
//
// # Time
//
// All moments (heartbeat, giving up, Snapshot.Next, too late for a watch, drain) are
// numbers in the connection, and the earliest is its place in one hashed wheel of
// 100 ms ticks: no timer and no channel for each connection. The wheel's lists run
// through the connections themselves: entries that are dropped lazily would keep every
// ended connection alive for up to half a minute.
//
// # Memory
//
// An idle socket keeps one goroutine on a 2 KB stack and about 2 KB of heap, most of
// it the library's and the network's: 128 byte read buffer, pooled write buffer, no
// request, no context. All sockets of a kind share one Wire, and what opened a watch
// (Open, and the request's path with it) is let go once it is open. The write buffer holds
// the longest frame, because for one in two parts the network keeps a list with the
// socket. Two things are for the stack alone: run's frame is kept small,
// and the reader that did the store calls of a watch is followed by a fresh one.
// A change allocates at most twice: to start the goroutine that writes, unless the one
// before it is still there, and inside the library.
// Taking the descriptor out and parking it in an epoll loop of our own would save both
// kilobytes; it was left out, because it needs a frame reader of our own and does not
// work with TLS.
//
// # Rate
//
// More than ten messages in any ten seconds close with 4429: exact, by a ring of ten
// times. Ping and pong frames count; the pong that answers our ping does not, or a
// short heartbeat would throw out honest clients. Close frames do not count either.
package hub
