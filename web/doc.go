// Package web speaks HTTP: a handler decodes, makes one call to a room behind
// it, and encodes. An `if` about tickets belongs in qrlogin, one about
// sessions in auth, one about connections in hub.
//
//	server.go     routes, and which rules each group of them is under
//	guard.go      what no request escapes: log line, headers, bans, origins, deadline
//	limits.go     what anybody may do             floor.go  what of it needs no store
//	failures.go   what wrong tries cost who may be guessing
//	decode.go     bodies, strict JSON and forms, bearer tokens
//	errors.go     the one table from an error to status, code and words
//	address.go    who asked: client address behind proxies, parsed User-Agent
//	geo.go        where that is, from a file      account.go  the device list, page tokens
//	tickets.go    the browser's routes        wire.go   its snapshots and frames
//	phone.go      the phone's routes          oauth.go  tokens, clients, RFC 8414
//	signin.go     signing in by a provider, and at its own pages
//	sessions.go   the signed-in devices: list, end, and the socket that tells of it
//	qr.go         the QR as 1-bit PNG, SVG, terminal text
//	pages.go      HTML: languages, templates  phonepages.go, decidepage.go  the phone's pages
//	signed.go     requests that a back end signs     serverapi.go  what it may ask for
//	cookies.go    the pages' signed cookies   health.go, metrics.go, admin.go  for operators
//	openapi.yaml  every route and shape; the tests hold each answer against it
//	assets/ templates/ locales/  what browsers load; no build step
//
// # Decisions
//
// One error table. Rooms return sentinel errors, web alone knows their status
// and code word; an unknown error is 500 and its text stays in the log. A
// store that can't answer is recognised by the method Unavailable() bool, so
// that web does not import the backend.
//
// Every wire shape is a struct in this room, also those that the hub sends:
// the hub gets an encoder per topic and knows no JSON.
//
// HandshakeError is a function and not a method, because cmd needs it to make
// the hub, which the Server needs to be made: a refused upgrade is a problem
// like every other one, without a hub that knows of problems.
//
// What asks the store has 0.8 s. What waits for a change has no deadline, but
// only once its credential was found good: net/http's are lifted then and no
// sooner, or a stranger could hold connections for ever.
//
// Pages are HTML forms first; scripts only save taps. A GET never scans,
// because cameras, mail filters and link previews open links too. The signed
// cookie names a session and the store says whether it lives, so signing out
// anywhere works at once; it carries the chosen language as well, because a
// second cookie would have to be explained.
//
// Who goes to a provider's pages and comes back is a browser with a page of ours, so
// those two addresses, and no others below /v1, read and set the cookie of the phone
// pages. It holds the hash of the state that was sent along, and where to come back to:
// one of our own pages, written as we write it ourselves, because every other way to tell
// ours from foreign ones has an odd spelling that it misses. Going away stores nothing;
// of two that are begun the newer one counts. A provider may take its time, so sign-ins
// have five seconds; what of them asks the store has no more than anything else.
//
// The socket of a session is told things, not states: a snapshot is one frame,
// the next one is asked for at once while there is more. What it knows is one
// number, that of the newest sign-in, so nothing is told twice, however often the
// hub looks and whichever notices it missed.
//
// A failed attempt is charged to the network it came from, and to the account there
// where somebody only claims one: a leaky bucket whose fill is one time in one record.
// A right attempt costs nothing, so an office behind one address can sign in all
// morning. Credentials and client secrets are long and random: what is right is let in
// however much was wrong around it, or one stale copy of a secret would lock a whole
// back end out; what is wrong beyond the budget is told to wait. Typed codes are short:
// they are tried one at a time for each account, which is signed in and so can only
// use up its own, and not at all while it has to wait. Taking permits from the store's
// own limiter was left out, because it cannot be looked at without taking one.
//
// Limits have two tiers. The floor is this instance's own: requests by network, in
// flight and by the minute, open connections, confirms by user. It stands at the
// door, before anything is looked at, needs no store and so keeps a flood from it. The
// other tier is the store's, one number for all instances: tickets, sign-ins and tokens
// by network, scans by user; three permits a login. They are taken before the work,
// because a refusal has to be cheaper than what it refuses, and after the credential,
// because whose permit it is has to be known. The numbers are an office's: 500 people
// behind one address, all at nine o'clock.
//
// What a network may do is used up by what is right alone, or one host's garbage would
// keep its neighbours out. So a device_code or refresh token is read before it is used,
// which is one Load: good ones take a permit; wrong ones take it from a budget of their
// own, as large, after they were tried; polls pay by ticket, lost answers nothing. A
// credential cannot be read without spending it: a sign-in pays when it has succeeded,
// out of a bucket like that of failures, and where that is empty none is tried. What is
// let in at the same moment may go over it, by no more than a network has in flight. Who
// is signed in can still use up what is their network's; to bound that by session would
// cost every refresh a permit more.
//
// A request has its place among those in flight when its body is in, not while it
// trickles in. A read deadline for bodies was left out: short enough to matter it cuts
// off phones on a bad line, and it has to be lifted again for what waits.
//
// Probes pass the door, so strangers can ask /readyz as often as they like: one look at
// the store is the answer to all who ask within a tenth of a second.
//
// An IPv6 /64 is one customer, like an IPv4 /24. The /48 around it may do four times
// as much, by the floor alone: in the store it would cost every login a permit more.
// A reported network gets fewer tickets for an hour, never none, or three accounts
// could shut it out; the store is asked about reports only when the floor has seen
// more tickets than a few people make.
//
// A banned network is refused before anything else, on the public port; the hub
// ends what is open. Both go by the client's address, and there are no network
// bans, and no counting, where that is not known: with an https public URL and no
// trusted proxy every browser has the address of the proxy in front.
//
// What a back end asks for is signed byte by byte as it was sent: what is not
// normalised cannot be normalised in two ways. The host that is signed is the
// public URL's, because the Host header is what the last proxy made of it. Every
// refusal is one answer after the same work; the reason is in the log. The nonce
// is spent last, in the store that all instances share, and is spent also when
// what was asked for then fails: whoever repeats signs anew. RFC 9421 was left
// out, because its canonical components are what callers get wrong, and a caller
// here is ten lines of shell.
//
// A client's origins open the door to its pages for CORS, sockets and forms. Which
// client a request is about only its handler knows, so that is where the name of
// another one is refused.
//
// The QR picture is drawn by us from the encoder's bitmap: its own PNG takes
// four times as long and, scaled to a size, draws uneven modules.
package web
