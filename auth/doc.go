// Package auth knows who somebody is and which sessions they have: providers,
// access and refresh tokens, the record of a user's sessions, who is banned, the
// key ring. It knows no HTTP and no ticket.
//
//	credential ──► Provider ──► Identity ─┐
//	                                      ├─► Grant ──► Issue ──► session ──► Tokens
//	a ticket that was confirmed ──────────┘              │           ▲           │
//	                                                     │           │  Refresh ◄┤ opaque, rotates
//	                       user:<sub>    one record ◄────┴───────────┤  Revoke ◄─┤
//	                       bans          one record ◄── Ban, Lift    │  Verify ◄─┘ RFC 9068 JWT
//	                       signing-keys  one record ◄── Run          │
//	                                                                 │
//	                         a page's cookie ──► Session, Use, Access│
//	                         the device list ──► Sessions, End, EndOthers
//	                         a watcher       ──► State of the watched record
//
// # One record per user
//
// Name, picture, at most 32 sessions and the tombstones of those that ended
// are one record of at most 16 KB (record.go). Every rule about sessions is a
// pure change of that value and one conditional write, so it holds for any
// number of instances and needs no transaction: of 20 sign-ins at once exactly
// as many stay as the client's policy allows. Verify reads the record: the
// end of a session is seen at once and everywhere, and there is no denylist to
// be lost. The road not taken is one key per session with an index beside it:
// limits and "log out everywhere" would then be several writes, which do not
// fit on one node of a Redis Cluster.
//
// Idle and absolute ends are computed when the record is read, from two times
// in it. The lifetime of the record only tidies up. A page that is kept signed
// in by a cookie has no refresh token to show that somebody is there, so what
// people do on it counts as use (Use), at most one write per life of an access
// token.
//
// Issue is idempotent per session id for the grace after the session was made,
// however late that was; the same grant after that is a copy in other hands and
// ends the session. It never revives: whatever leaves the
// record leaves a tombstone for the grace and two minutes more (lateIssue),
// during which a delayed Issue could still arrive. It also says why, for whoever
// watched the session. Tombstones are capped at
// 32; who ends more sessions of their own in two minutes can only revive their
// own, with a token answer that they already had. What was allowed but is no
// session yet when somebody ends all others, or is banned, has no session id to
// bury: NotBefore in the record refuses it.
//
// The record also remembers the last eight networks that the user signed in from,
// for 90 days (networks.go): a login from one of them is less of a surprise. Whatever
// speaks against a place takes it back: the end of its session from another one, a
// stolen token, the end of all others, a ban, a report; on its first day any end of
// its session, or a thief would sign himself out and keep the place known. For the same
// reason a tombstone says who it was: open pages are told also of what is over already.
//
// The sessions of phones approve logins, so only a phone may end them: whoever
// got into a browser must not be able to lock the owner out.
//
// # Providers
//
// A provider is one method, credential to Identity; two more capabilities are
// interfaces of their own (provider.go), found by asking for them. A new provider
// is a folder below this one and a line in cmd.
//
// A Redirector has people come back with a code, which anybody can carry to
// somebody else's browser: so there is a state (redirect.go), and its credentials
// are taken from nowhere else. A state carries its time and a MAC that says for which
// provider it was made; nothing is stored until it comes back, for a GET that anybody
// may send must not fill the store. What is stored then is that it was spent, one
// record by the state's hash, written before the provider is asked: a callback that
// is sent again, by whomever, is worth nothing and costs no call. Binding the state
// to the browser takes a cookie, and is web's.
//
// An Issuer's credentials are tokens that apps have already. Verify takes them as
// they are (issuers.go): the unverified `iss` picks who is asked, in one look-up, and
// our own name is never in it. Such a token is a phone and no more than that:
//
//	may      scan, confirm, deny; userinfo; list the user's sessions and end them as
//	         a phone does, phones' too; be traded for a phone session (SignIn),
//	         if the issuer is a Trader and says so: that outlives the token
//	has no   session: nothing in the list is the current one, ending all others ends
//	         all, there is nothing to watch (Claimed), to refresh or to revoke, and
//	         introspection calls it inactive: whoever made it knows more about it
//
// Ending all sessions does not end a foreign token, which is its issuer's to do and
// at the latest its `exp`'s. A ban does.
//
// # Bans
//
// All active bans are one record of at most a thousand, which every instance
// watches and keeps, so that asking costs no store call and an open connection
// hears of it at once. A banned user's sessions end in their own record, where
// a mark keeps new ones from beginning for a day, or until the ban ends: so not even
// an instance that has not heard of it lets them in, and neither lifting the ban nor its
// end brings a session back. The record is written first and the list second; an
// operator who is told that the store went away in between can repeat either call.
// As with the key ring, a store that came back empty gets the list back.
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
// without asking the store: it never ends anything, nor does one that another
// client shows. A genuine one that was spent and comes back after the grace, or
// after its successor was used, has two owners: the session ends. One that is
// newer than the record is taken as the newest: the store has failed over and
// lost the write that made it, and signing everybody out who refreshed in that
// second helps nobody. The road not taken is keeping the last answer,
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
// One record with the next, the current and the previous keys (ring.go). The
// next key is published ten minutes at least before it signs, since others may
// cache the key set for five; a previous one verifies for as long as a token
// it signed can live, with the longest life that any client has. All instances
// watch the record; a new one needs nothing else.
//
//	due            by age, by another algorithm, or because somebody asked (RotateKeys)
//	promotion      next becomes current, current previous, a new key next
//	replacement    the next key is of the wrong algorithm: another one is published instead
//
// Every change is one Update that looks at the record first and finds out how
// many new keys it takes; they are made outside of it, since an RSA key takes
// up to a second, and inside the need is looked at again. So of many instances
// one promotes, no key is made while none is needed, and an instance makes
// one at a time. That somebody asked is a mark in the record: any instance
// finishes it, also after a restart. It is set only while the current key is
// still the one that was seen before, so asking on two instances at once is
// one rotation.
//
// A key is for one algorithm (RFC 8725 section 3.1), and the one of the key
// that `kid` names is the only one a token may have: there is nothing to
// confuse. Another algorithm in the configuration replaces the next key, which
// has never signed, and does not wait for the current one's age. Only a next
// key that was there for a minute is replaced: while old and new settings run
// side by side, they take turns once a minute, the current key signs on, and
// when the last old instance is gone the next key gets its ten minutes. The
// road not taken is one ring per algorithm: two current keys, and a setting
// that was tried for an hour leaves a ring behind.
//
// If the record is gone (a store that came back empty), or lacks the last
// promotion (another node took over before it had heard), any instance puts
// its ring back; if a new ring is there already, that one wins and the keys
// that running tokens need are added to it as previous ones.
//
// Thumbprints and the key set are go-jose's: three key types' padding and
// order of members are not worth own code. Only public halves are ever given
// to it.
package auth
