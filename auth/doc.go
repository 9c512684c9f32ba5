// Package auth knows who somebody is and which sessions they have: providers,
// access and refresh tokens, the record of a user's sessions, the key ring. It
// knows no HTTP and no ticket.
//
//	credential ──► Provider ──► Identity ─┐
//	                                      ├─► Grant ──► Issue ──► session ──► Tokens
//	a ticket that was confirmed ──────────┘              │           ▲           │
//	                                                     │           │  Refresh ◄┤ opaque, rotates
//	                       user:<sub>  one record  ◄─────┴───────────┤           │
//	                       keys        one record  ◄── Run           │  Verify ◄─┘ RFC 9068 JWT
//	                                                                 │
//	                                            a page's cookie ──► Session, End
//
// # One record per user
//
// Name, picture, at most 32 sessions and the tombstones of those that ended
// are one record of at most 16 KB (record.go). Every rule about sessions is a
// pure change of that value and one conditional write, so it holds for any
// number of instances and needs no transaction. Verify reads the record: the
// end of a session is seen at once and everywhere, and there is no denylist to
// be lost. The road not taken is one key per session with an index beside it:
// limits and "log out everywhere" would then be several writes, which do not
// fit on one node of a Redis Cluster.
//
// Idle and absolute ends are computed when the record is read, from two times
// in it. The lifetime of the record only tidies up.
//
// Issue is idempotent per session id for the grace after the session was made,
// however late that was; the same grant after that is a copy in other hands and
// ends the session. It never revives: whatever leaves the
// record leaves a tombstone for the grace and two minutes more (lateIssue),
// during which a delayed Issue could still arrive. Tombstones are capped at
// 64; who ends more sessions of their own in two minutes can only revive their
// own, with a token answer that they already had.
//
// # Refresh tokens
//
// A token is sealed and deterministic: sub, sid, generation and secret under
// AES-GCM with a nonce that is a MAC of them (refresh.go). The first secret is
// a MAC of the grant's seed, each next one a MAC of the one before:
//
//	seed ──► secret 1 ──► secret 2 ──► …        at rest: SHA-256 of the newest, and its number
//	            │            └─ presented: rotates
//	            └─ presented within the grace, while 2 is the newest: 2 again
//
// So the answer that got lost can be given again with nothing kept in clear,
// 64 racing refreshes get one successor, and a made-up token is recognised
// without asking the store. The road not taken is keeping the last answer,
// sealed under the previous token, for ten seconds: more state, for the same.
// Whoever holds the derived keys and one old token can compute its successors;
// whoever holds those keys can read the store anyway.
//
// # Access tokens
//
// The library checks signature, algorithm and times; it looks at neither `typ`
// nor `crit`, and takes any of several audiences. So the header must be
// exactly what we write, three members and nothing else, and the claims have
// stricter types than the RFC: one audience, whole seconds (access.go). A
// token may begin up to 5 s in the future: an instance whose clock is more than
// 2 s off the store's is not ready, so two of them are at most 4 s apart, and
// times are whole seconds. Its end has no leeway.
//
// # Key ring
//
// One record with the next, the current and the previous keys (ring.go). Keys
// are made outside of the change and the need is looked at inside, so that of
// many instances one promotes. The next key is published ten minutes at least
// before it signs, since others may cache the key set for five; a previous one
// verifies for as long as a token it signed can live. All instances watch the
// record. If it is gone (a store that came back empty), any of them puts its
// ring back; if a new ring is there already, that one wins and the keys that
// running tokens need are added to it as previous ones.
package auth
