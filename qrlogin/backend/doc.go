// Package backend is what instances share: watchable, versioned records with a lifetime,
// and permits. It knows no ticket, session or ban, and no other room; they state what they
// need of it as small interfaces of their own, which both stores here fit.
//
//	    Update(key, rule)                                       Watch(key, changed)
//	           |                                                        ^
//	load, rule, swap if unchanged -- one script --> record ----.        | newest state
//	           ^                                       |       |        |
//	           '------ else again, with what is there -'    PUBLISH -> link of every
//	                                                                   watching instance
//
// [Memory] is one process without anything else; [Redis] is any number of instances. One
// conformance suite runs against both, so tests of other rooms use Memory and no mocks.
//
// # Records
//
// A change and its notice are one script, so they cannot come apart, and a message is the
// record itself: a read that came early. Lost, doubled, late and reordered messages are
// harmless, because watches only ever go to a higher revision, and every acknowledged
// SUBSCRIBE (after the first, which the caller's own load follows) loads the record again.
// That one rule covers new watches, a quick end-and-watch, and a link that was down.
//
// A revision is max(old + 1, wall clock in µs): it also grows over a store that lost its
// last second or came back empty. A stored record starts with revision and a random write
// id; the swap script compares these 24 bytes as they are. Equal to the new header: this
// very write landed before and its reply was lost, so success. Equal to what was read:
// write and publish. Anything else: the caller gets what is there and tries again, without
// another load. Create is the same script with "nothing" as what was read; SET NX would be
// simpler but tells no watcher. Not covered: a lost reply and another writer within the
// same retry; a rule then sees its own work done. Keeping the last write ids in the record
// would cover it, at 16 bytes each in every record, for rules that are idempotent anyway.
//
// The end of a lifetime is not announced: whoever watches knows when its record ends, and
// key-space events come when Redis notices, not when it is time.
//
// Updates of one record queue inside an instance (512 places, waiting with the context).
// Without the queue 20 racing writers on two instances need up to 13 attempts each, with
// it 3 or 4. This is the one lock of the project that is held across I/O.
//
// # Names in the store
//
//	name            content                       lifetime          owner
//	<prefix>root    wrapped root key              none (the only)   root.go
//	<prefix>r:<h>   record, and its channel       the caller's      redis.go
//	<prefix>p:<h>   permits: when all are there   until then        redis.go
//	                again, in µs
//
// h is the keyed hash of the caller's key, 22 letters. Every script touches one key, so
// Redis Cluster needs no hash tags. Plain PUBLISH, not the sharded kind: one connection
// for all watches of an instance is worth more than the cluster's inner traffic.
//
// Of the callers' keys, those of people who sign in at somebody else's:
//
//	key                        content                  lifetime       owner
//	state:<SHA-256, hex>       "spent"                  5 min 5 s      auth
//	wechat-profile:<subject>   name, picture            30 days        auth/wechat
//	wechat-token:<appid>       an app's token, a lease  until its end  auth/wechat
//
// # Keys
//
//	secret --wraps--> root key --+-- name key  ->  names
//	                             +-- data key  ->  one AES-256-GCM key per record
//	                             '-- derive    ->  Derive(purpose)
//
// Redis is not trusted with content: who reads a dump, a replica or MONITOR learns how many
// records there are and when they change. Header and caller's key are associated data, so
// a record opens only unchanged and in its own place. One data key with random nonces for
// everything would run out in days, hence one per record. What remains to somebody who can
// write to Redis: deleting, and putting back an old record of the same key.
//
// Names and data keys are computed for every command and every message, so the keyed hashes
// are kept and used again: setting them up was two thirds of what opening a message
// allocated. Keeping the cipher of each watched record as well would save two allocations
// more, and cost over 500 bytes for each browser that waits.
//
// Names and Derive hang on the root key, not on the secret, so that changing the secret
// invalidates nothing. The first root key is not random but derived from the secret (from
// the previous one while there is one) and the prefix: instances then agree without a word
// even if the store comes back empty while some run and some start, in the middle of a
// change of the secret. The price: changing a secret that leaked does not lock its thief
// out, because he can derive the root key; after a leak, change the prefix with it.
//
// The root record holds one or two wrappings. An instance that opens it only with its
// previous secret adds a wrapping under the new one and keeps the old, so instances that
// know only the old secret go on; wrappings older than that go. An instance that cannot
// open it, or finds another root key than the one it works with, refuses every call: two
// sets of keys on one prefix would show each other's records as forged. Ping writes the
// root record with SET NX GET, which puts it back after an empty restart and at the same
// time shows that the store takes writes; so does every remade link.
//
// # Commands
//
// Nearly all of Redis' work for a small command is its socket, so commands travel together:
// go-redis' automatic pipeline, by its asynchronous face, because the blocking one does
// not let go at the caller's deadline once a command is queued (30 s and more on a mute
// server). go-redis never repeats a command (MaxRetries -1, one dial attempt); send() does,
// in one place, until the context ends, since every command here may be repeated. After a
// context error the outcome of a write is unknown. A call without a deadline gets 1 s.
// At most 20,000 commands wait for a store that does not answer; more fail at once.
//
// Every error of a store that did not answer has Unavailable() true. A wrong secret has it
// too: the instance, not the request, is what is wrong. ErrForged has not.
//
// # The link
//
// One connection, one goroutine that owns it, one that reads, one that reloads. Rounds of
// at most 500 names, the next one when the one before is acknowledged: a lone watch goes at
// once, a crowd goes together, without a timer. Reads have a deadline of 1 s: silence is
// answered with PING, 3 s of it with a new connection. go-redis' Channel would keep a
// half-open link for good. The root record's name is always subscribed to, so the link is
// known to live also when nobody watches. After a reconnect the records are loaded over
// about a second, not all at once.
//
// A watch costs about 400 bytes and no goroutine: values are kept only until every watch
// of the record has seen them, and whoever learns of a state (reader, reload, or the
// caller of Watch) calls the callbacks itself, never under a lock. A second state that
// comes while a callback runs is delivered by whoever is in it, so calls are serial. stop
// does not wait for a running callback, like context.AfterFunc's: it would deadlock when
// called from the callback, or under a lock that the callback wants.
//
// # Permits
//
// GCRA: one number per key, exact, in one script, by the server's clock, so that all
// instances agree. A lost reply costs its caller one permit more.
//
// # Roads not taken
//
// Streams or a message bus: two sources of truth for one record. MULTI/WATCH: a round trip
// more and a connection of its own per update. An in-process Redis for the single process:
// it does not end lifetimes by the clock. A directory of who is connected where: it has to
// be cleaned up after every crash.
package backend
