package auth

import "errors"

// What a provider answers when it cannot say who somebody is. They come wrapped
// in words for the log, which never hold a URL, a secret, a code or a token.
// The fifth one is ErrInvalidCredential: the provider could tell, and said no.
var (
	// ErrProviderBusy is a provider that is down, slow or busy, or whose answer
	// makes no sense. Trying again later may help.
	ErrProviderBusy = errors.New("auth: provider busy")
	// ErrProviderQuota is a provider that wants fewer questions, in all or
	// about this user. Trying again within a minute does not help.
	ErrProviderQuota = errors.New("auth: provider quota used up")
	// ErrProviderBlocked is a user whom the provider itself keeps out.
	ErrProviderBlocked = errors.New("auth: user blocked by the provider")
	// ErrProviderSetup is a provider that refuses us, not the user: a wrong app
	// id, secret, address or permission, which only the operator can mend.
	ErrProviderSetup = errors.New("auth: provider set up wrongly")
)

// Redirector is a provider that signs people in by sending their browser away
// and having it back with a code. There is no other way in: who hands over a
// code by themselves could hand over somebody else's.
type Redirector interface {
	Provider
	// Redirect is where to send a browser. state comes back with it and is the
	// caller's to choose, to bind to the browser and to spend: 1 to 128
	// characters of [a-zA-Z0-9].
	Redirect(state, userAgent string) (url string)
	// Credential is what Authenticate takes, made of the code that the browser
	// came back with. A provider may be several apps by the kind of browser,
	// and a code is good for the one app that it was made for: the User-Agent
	// tells which one Redirect had sent this browser to.
	Credential(code, userAgent string) string
}

// Issuer is a provider whose credentials are tokens that it signed itself:
// they are phone tokens as they are, with no session of ours.
type Issuer interface {
	Provider
	Issuer() string // the tokens' `iss`, exactly
}
