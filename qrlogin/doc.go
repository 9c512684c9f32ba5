// Package qrlogin is the login itself: what a ticket is, which moves it
// allows, who may make them, and what each side gets to see.
//
//	             scan            confirm             redeem
//	pending ──────────► scanned ──────────► confirmed ──────────► consumed
//	   │                   │                    │
//	   ├──── cancel ───────┼───── cancel ───────┤                 canceled
//	   │                   ├───── deny ─────────┤                 denied
//	   └──── time ─────────┴───── time ─────────┘                 expired
//
// ticket.go holds the rules as pure changes of a value, with no clock, no
// store and no network: the same rules run on every backend, and a table test
// and a property test walk through all of them. service.go, phone.go and
// redeem.go load a ticket, run one rule and let the store's compare-and-swap
// decide which of many racing moves was first. view.go says what a browser
// may see; token.go makes and checks the texts that stand for a ticket.
//
// # Decisions
//
// Expired is not stored. A ticket past its deadline is expired whoever looks,
// so no job has to run for it to end, and no clock but the reader's matters.
// Its seq is derived from the deadline, so that every instance announces the
// same one and it is larger than any before.
//
// Four texts stand for a ticket and none opens what another opens: ticket_id
// (a handle), device_code (the browser's half), qr_token (shown to everybody
// who looks at the screen) and confirm_token (the phone's half). The two
// halves are kept as hashes.
//
// The QR text is a MAC over ticket id and step, not a stored value. Rotating
// it costs no write and happens only when a visible page asks. The road not
// taken, a new ticket for each face, makes a scan race with its own rotation.
//
// Redeeming first marks the ticket consumed, with the session's id chosen,
// and then makes the session; making it is idempotent. A crash in between
// costs a repeat, never a second session. The road not taken, session first,
// leaves orphans behind a lost race.
//
// The same proofs, later than the grace after the session was made, are theft
// and end it: an honest browser has no reason to send them again. The grace
// begins with the session, not with the ticket: while the store was away
// between the two writes nobody had an answer that could have been stolen.
//
// A record of the store is one ticket. A typed user_code is a second, small
// record that points to it; it is created first, because a code without a
// ticket is harmless and a ticket without its code is not. Nothing deletes
// it: from the first scan the ticket itself says that its code is dead.
//
// The polling limit of RFC 8628 sits where a pending ticket is answered, so
// slow_down can only ever stand in for authorization_pending.
package qrlogin
