// Package outbound is the one way out: every call that this server makes to
// somebody else's, for whichever provider, goes through its Client. It knows no
// provider, no token and no user, and it is there for what must hold of all of
// them: a server that lets people in must not get slow, blind or talkative
// because another one is.
//
//	wechat ──┐           one of 64 places     breaker        one try          no redirect, no proxy
//	         ├─► Do ──►  per upstream    ──►  per       ──►  or two, with ──► https, allowed host
//	oidc   ──┘           else: no answer      upstream       jitter           at most 3 s and 64 KB
//	                                             ▲
//	            Judge: what the body says of the upstream (not of the user)
//
// # What is a failure
//
// An upstream is a name that the caller gives, one for each kind of question:
// "wechat.code2session" can be dead while "wechat.userinfo" is well. It has
// failed when there is no answer in time, one with another status than 200, one
// that is too big, or one that the caller's Judge calls ErrUnavailable: only
// the caller can tell an error page from an answer. A refusal ("wrong code") is
// an answer, however unwelcome: strangers must not be able to open a breaker
// with made-up codes. A caller that left has said nothing about the upstream, so
// it counts neither way. A deadline that the caller brought along counts like
// ours: else a server whose requests all have one would never notice.
//
// Five failures in a row open the breaker for five seconds, in which the answer
// is ErrUnavailable at once. Then one call is let through, and its outcome
// closes the breaker or keeps it open for five seconds more. What is open on one
// instance may be closed on another: each tries for itself, and nothing that is
// shared needs to be up for it.
//
// The places are outside of the breaker. They bound what a slow upstream can
// hold before the breaker has seen it time out, whatever the rate of sign-ins.
// There is no queue: whoever would wait there is better told to come back.
//
// # When a call is made twice
//
// Only when Judge says ErrAgain: the upstream has answered that it did nothing.
// Then once more, after 100 to 300 ms, if the context has room for that. After a
// lost answer nobody knows what happened, and a one-time code may be spent.
// net/http repeats a GET by itself when a connection from its pool turns out to
// be dead; so there is no pool, every call has a connection of its own, and TLS
// sessions are resumed to make up for it. These are sign-ins and key fetches, a
// few a second at most; connections that are kept for them mostly get stale.
//
// # What is never said
//
// Some upstreams want their secret in the query (WeChat does), and net/url's
// error prints the whole address. Errors and logs here hold host and path, and of
// the cause only what this side made: an address, a certificate, a timeout.
// Nothing that an upstream sent is repeated, since it may repeat what it was
// sent. For the same reason there are no redirects: a Location could carry the
// query to another host, so a 3xx is a status that is not 200.
//
// # Where it may go
//
// Only to the hosts of its configuration, and only by https, except to this very
// machine: addresses from documents that others publish (a discovery
// document's jwks_uri) are no way into the network behind the server. Names are
// resolved by the system; an allowed host may well have a private address, as
// a company's own identity provider does.
//
// HTTP_PROXY and its kin are not heeded. The environment is read in one place of
// the program, under names of ours, and a variable that was set for another
// program on the same machine would get to see every secret in a query of a
// plain-http upstream and decide where the rest goes. Who needs a way out through
// a gateway can have one by routing, which needs no setting here.
package outbound
