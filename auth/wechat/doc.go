// Package wechat signs people in by WeChat, in its three forms. It is two
// providers, since a browser comes and goes where a mini-program simply posts a
// code, and one token that an app has for itself.
//
//	wechat-mini   wx.login's code ────────────► jscode2session ──────────┐
//	                                                                     ├─► openid, unionid ─► Identity
//	wechat        browser ─► qrconnect ──────┐                           │                         ▲
//	              WeChat's  ─► oauth2/authorize ─► code ─► access_token ─┘─► userinfo ─► profile ──┘
//	                                                                                    (kept)
//	AppToken      Run ─► one record, one lease ─► stable_token
//
// # Who somebody is
//
// With a unionid it is "wechat:<unionid>" in all three forms, so one person has
// one account whichever way they come. Without one, the apps belong to no common
// account of WeChat's open platform, and it is "wechat:<appid>:<openid>": an
// openid means nothing outside of its app. Both come from the exchange of the
// code alone, in one answer from WeChat to this server; never from the client,
// never from a kept record, and never from userinfo, which may be down: else a
// person would be another one on such a day. An operator who joins apps to an
// open platform account later gives everybody a unionid, and so a new `sub`.
//
// A page that WeChat shows as a snapshot has a made-up user with made-up ids,
// the same for everybody who looks (is_snapshotuser). That is nobody, so it is a
// credential that is not accepted.
//
// # What is kept, and what is not
//
// session_key and refresh_token are in no type here: the body that holds them is
// dropped with the call. A person's access_token lives as long as the sign-in.
// Name and picture are kept in the store for 30 days, and are good without
// asking again for a day, varied by up to a fifth. When WeChat is down or over
// quota for userinfo they are used however old; the exchange must have worked,
// so a sign-in never hangs on what is kept. The record is the person's, not the
// app's: a mini-program is told no names, so who signed in on the web before
// keeps theirs there. Whoever has none is "微信用户", as WeChat itself calls
// them; a login page then shows the masked form of that, and the phone what it
// shows everybody.
//
//	record                    content                                     lifetime
//	wechat-profile:<subject>  name, picture, fresh until                  30 days
//	wechat-token:<appid>      token, its end, when it is due; the lease   until its end
//
// # Which app a code is for
//
// The website app and the official account share one callback, and a code is
// good for the app that it was made for. Which one is told by the User-Agent at
// both ends of the round trip: it is the same browser, as the caller's state
// makes sure. Who changes it in between has a code that WeChat refuses. The road
// not taken is to try both: that is a second call with somebody's code, and
// "wrong code" does not say whether it was spent.
//
// # When WeChat says no
//
// The answer is 200 with an errcode, as a number or as a string, or a page that
// is no answer at all. refusal.go has the table. What only the operator can mend
// (app id, secret, whitelist, permission) is one Error line that says what; what
// the user can mend is the user's; anything unknown is "busy". errmsg is never
// repeated.
//
// Busy (-1) says that nothing was done, so the call is made once more, after a
// moment. Nothing else is: after a lost answer the code may be spent, and asking
// again would turn "try again" into "wrong code". A breaker, a 3 s limit and a
// bounded number of calls stand before each kind of call (auth/outbound); a
// sign-in on the web, which makes two, gets 3.5 s, so that they do not add up.
//
// # The app's own token
//
// Nothing in a sign-in needs it. It is kept for what an operator adds (messages
// to people, phone numbers), which must share it, and for one thing today: Run
// asks for it at the start, so a wrong app id or secret, or an address that is
// missing on WeChat's whitelist, is in the log before the first person cannot
// sign in. WeChat has none for website apps.
//
// One record holds the token and a lease. Whoever finds it due and no lease
// takes the lease in the same write; the others use the present token, or wait
// for the next if there is none. It is due in the last five minutes, because
// stable_token gives no new one before, less up to a minute by chance. A lease
// ends after 10 s, so a holder that died is nobody's problem, and one whose call
// failed leaves it there on purpose: that is the pause before the next try. A
// setup error gives it back at once: the wrong secret may be this instance's
// alone.
//
// The road not taken is cgi-bin/token: each call of it ends the token before,
// so one instance too many breaks all others.
package wechat
