package wechat

import (
	"fmt"

	"scanlogin/auth"
)

// busy is the errcode of a WeChat that did nothing and can be asked again.
const busy = -1

// refusals are the errcodes that mean something for a sign-in, and what the log
// says about each. All others are ErrProviderBusy: WeChat has some hundreds, and
// a new one is no reason to tell somebody that their code was wrong.
var refusals = map[int64]struct {
	is   error
	says string
}{
	40029: {auth.ErrInvalidCredential, "the code is wrong, too old or another app's"},
	40163: {auth.ErrInvalidCredential, "the code was used before"},
	42003: {auth.ErrInvalidCredential, "the code is too old"},

	45011: {auth.ErrProviderQuota, "asked too often in this minute"},
	45009: {auth.ErrProviderQuota, "asked too often today"},

	40226: {auth.ErrProviderBlocked, "WeChat keeps this user out as a high risk"},

	40001: {auth.ErrProviderSetup, "the app secret is wrong, or the token of another app"},
	40125: {auth.ErrProviderSetup, "the app secret is wrong"},
	40243: {auth.ErrProviderSetup, "the app secret is frozen: thaw it in WeChat's console"},
	40013: {auth.ErrProviderSetup, "the app id is wrong, or of another kind of app"},
	40164: {auth.ErrProviderSetup, "this server's address is not on the app's IP whitelist in WeChat's console"},
	41002: {auth.ErrProviderSetup, "the app id is missing"},
	41004: {auth.ErrProviderSetup, "the app secret is missing"},
	41008: {auth.ErrProviderSetup, "the code is missing on the way to WeChat"},
	48001: {auth.ErrProviderSetup, "the app has no permission for this call"},
}

// refusal is an errcode as an error; nil for 0. errmsg stays out of it: what an
// upstream was sent may come back in it.
func refusal(name string, code int64) error {
	if code == 0 {
		return nil
	}
	known, ok := refusals[code]
	if !ok {
		return fmt.Errorf("wechat: %s: errcode %d: %w", name, code, auth.ErrProviderBusy)
	}
	return fmt.Errorf("wechat: %s: errcode %d, %s: %w", name, code, known.says, known.is)
}
