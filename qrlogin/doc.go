// Package qrlogin is the login itself: what a ticket is, which moves it
// allows, who may make them, and what each side gets to see.
//
//	             scan             confirm              redeem
//	pending ──────────► scanned ───────────► confirmed ──────────► consumed
//	   │                   │ confirm     check ▲ │
//	   │                   ├───► (awaited) ────┘ │        where a check is wanted
//	   │                   │                     │
//	   ├──── cancel ───────┼────── cancel ───────┤        canceled
//	   │                   ├────── deny ─────────┤        denied, by_user
//	   │                   ├── third wrong code  │        denied, check_failed
//	   │                   ├── confirm of a ban  │        denied, blocked
//	   └──── time ─────────┴────── time ─────────┘        expired
//
// While a check is awaited the status stays scanned: the phone has said yes, and
// the browser has to send the code that the phone shows.
//
// ticket.go holds the rules as pure changes of a value, with no clock, no
// store and no network: the same rules run on every backend, and a table test
// and a property test walk through all of them. risk.go weighs what is known of
// the two places, as pure as that. service.go, phone.go and redeem.go load a
// ticket, run one rule and let the store's compare-and-swap decide which of many
// racing moves was first. report.go counts what people report. view.go says what
// a browser may see; token.go makes and checks the texts that stand for a ticket.
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
//
// # Decisions against somebody else's screen
//
// Whoever shows a QR code of ours to a victim owns the browser: no secret that
// is bound to the browser helps (RFC 10027 section 4.1.1). What helps is that
// the victim sees what asks, and that the browser has to know something which
// only the victim's phone shows.
//
// So the phone shows the check code and the person types it in the browser. A
// number that the browser shows, for the phone to type, would be printed next to
// the stolen QR; that direction answers floods of prompts, which there are none
// of here, because every login begins with a scan. Posters, mails and
// screenshots end at the check code. A page that collects it from the victim
// within the minute, live, does not (RFC 10027 section 6.1.16 says so too): it
// is one layer beside the facts.
//
// A device client often has no keyboard. The person types what the device shows
// on the phone instead; its user_code is there anyway. That is the weaker
// direction, and where it was typed to find the ticket it proves nothing more:
// the phone's page has to warn of codes that somebody reads out.
//
// The code is a MAC of the ticket id, not a stored value: it is the same on every
// instance, so an answer that was lost is given again. Tries are counted in the ticket by the same conditional write as
// every move, so that racing guesses on many instances count three.
//
// A confirm that wants a check sets the one deadline there is from then on. The
// right code does not give more time: the phone said yes at that moment.
//
// Only a ban blocks. Networks and countries differ for honest reasons: phones
// are on mobile networks, people travel and use VPNs. And what others report may
// be wrong or meant to harm: three accounts could shut an office out. So all
// that signals and reports do is colour the words and ask for the code.
//
// What makes a browser known is the network that the account was signed in from,
// not a cookie. A cookie would tell browsers apart better, but /v1 takes none, a
// page of another origin could not set one, and a stolen one would speak for
// whoever has it. The network costs no state in the browser and is seen by the
// server alone: an IPv4 address or a /64, since that is what one household has.
//
// What signals cannot do: tell two people behind one address apart (offices,
// carriers that share addresses), find one household in its IPv4 and its IPv6
// address, or see through an attacker's VPN next door. They are of the moment of
// the scan, and they know nothing where the address is not known: then a login
// is a notice and takes a code. They lower the risk and prove nothing.
//
// Reports are kept by network and not by ticket, one for each account, and only
// as many as count. They are no reason to refuse and the person who reports
// needs no answer, but the denial comes first: a report that could not be
// written is asked for again with the denial.
package qrlogin
