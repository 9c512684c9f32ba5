// Package oidc lets an app that signs its users in elsewhere be the phone: the
// access tokens that its own issuer gives it are phone tokens here.
//
//	token ──► form, header ──► key by kid ──► signature ──► claims ──► auth.Identity
//	                              │
//	                    keys, as last seen ◄── Run ◄── key set ◄── discovery, URL or file
//
// Signatures, the times and the form of the claims are go-oidc's to judge. Its key
// set is not used: it asks the issuer again for every token with an unknown kid,
// which whoever can write a header can make up, and has the asker wait for it.
//
// # Keys
//
// All fetching is Run's, one at a time and at most once in ten seconds. A token
// whose key is known waits for nobody, whatever the issuer's endpoint is doing. A
// new set is asked for every 15 minutes, used or not, and by the users of one that
// is older; they do not wait. If none could be had for an hour they do, for 300 ms:
// the issuer may be back and have withdrawn the key, and a request has 800 ms in
// all. A token whose key is not known waits for the fetch that it asked for or that
// is under way, with all others like it. Within ten seconds of the last fetch the
// answer is at once: refused if the issuer has just said that there is no such key,
// auth.ErrProviderBusy if it could not be asked. So a key must be published ten
// seconds before it signs; issuers do that for far longer. A signature that is not
// the known key's is such a reason to ask too, and is tried once more with the
// newest: some issuers give all their keys one kid, or none.
//
// The newest set replaces the one before: a key that is gone from it is good no
// more. An answer without a single usable key is trouble, not news. Keys are
// trusted for as long as the issuer cannot be asked: the road not taken, an age at
// which they stop, would sign everybody out whose issuer has a bad day.
//
// A key is for the algorithms that its type, its curve and its own `alg` allow, and
// of these only for those that are configured (RFC 8725 section 3.1): there is no
// symmetric one. A token without a kid is taken only while the set leaves no choice.
// What else a header says of keys (jwk, jku, x5u, x5c) is never followed; some
// issuers write it into all their tokens, so it is no reason to refuse one. One that
// says that something is critical is refused (RFC 7515 section 4.1.11).
//
// # What a token must be
//
// A phone token approves logins, so none may do that was made for something else.
// Its `iss` is the configured one to the letter; one of `aud` is ours; `azp` and
// `client_id`, whichever there are, are on the list of phone apps, and one there
// must be; the required scopes (`scope` or `scp`, a list or a string) and claims are
// all present. It has an `exp`. `iat` and `nbf` may be a minute ahead, `exp` has no
// leeway. A token that is bound to a key (`cnf`) is refused: nobody here could tell
// that its bearer has the key.
//
// An ID token says who somebody is to an app, not what the app may do, and apps pass
// them on. With `typ: at+jwt` in its header (RFC 9068) a token is an access token.
// Otherwise a `nonce`, `at_hash` or `c_hash`, or Keycloak's claim `typ: ID` or
// Cognito's `token_use: id` show an ID token, which is refused unless IDTokens is
// set; its app is then, without `azp`, its only audience (OpenID Connect Core
// section 2). Not every ID token shows itself: a required scope keeps the others
// out, since none has one. Every other type in the header is refused, and so is a
// logout token (`events`).
//
// # Who it is
//
// The subject is kept as it is, at most 255 bytes, without control characters. One
// with U+FFFD in it is refused: that is what decoding JSON makes of every half of a
// surrogate pair, and two people would be one. An operator who takes another claim than `sub`
// must know that the issuer never gives its value to somebody else. Name and picture
// come with the token or not at all; nobody is asked for more.
//
// A token is traded for a session only where Sessions is set. A session goes on for
// weeks without the issuer being heard, so MaxAge would mean nothing beside it.
//
// What is refused is auth.ErrInvalidCredential. The log says why at debug level, and
// never holds the token.
package oidc
