package oidc

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"scanlogin/auth"
)

const (
	accessType = "at+jwt" // RFC 9068 section 2.1
	leeway     = time.Minute
	maxSubject = 255 // bytes
	maxPicture = 512 // bytes
	// lastTime is the end of the year 9999, beyond which no time is meant.
	lastTime = 253402300799
)

// claims are a token's, by their exact names: a Go struct would take "SUB" for
// "sub".
type claims map[string]json.RawMessage

func (c claims) has(name string) bool { _, ok := c[name]; return ok }

// text is a claim that is a string; empty for all others.
func (c claims) text(name string) string {
	var text string
	if json.Unmarshal(c[name], &text) != nil {
		return ""
	}
	return text
}

// texts are the members of a claim that is a string or a list: strings as they
// are, numbers and truth values as they are written in JSON.
func (c claims) texts(name string) []string {
	var members []json.RawMessage
	if json.Unmarshal(c[name], &members) != nil {
		members = []json.RawMessage{c[name]}
	}
	var texts []string
	for _, member := range members {
		var value any
		_ = json.Unmarshal(member, &value) // what cannot be read is nil
		switch value := value.(type) {
		case string:
			texts = append(texts, value)
		case bool:
			texts = append(texts, strconv.FormatBool(value))
		case float64:
			texts = append(texts, string(member))
		}
	}
	return texts
}

// scopes are those granted: RFC 8693 section 4.2, or how Entra and Okta write it.
func (c claims) scopes() []string {
	var scopes []string
	for _, name := range []string{"scope", "scp"} {
		for _, text := range c.texts(name) {
			scopes = append(scopes, strings.Fields(text)...)
		}
	}
	return scopes
}

// time is a claim that is a NumericDate (RFC 7519 section 2); zero when there is
// none.
func (c claims) time(name string) (time.Time, error) {
	if !c.has(name) {
		return time.Time{}, nil
	}
	var seconds float64
	if err := json.Unmarshal(c[name], &seconds); err != nil || seconds <= 0 || seconds > lastTime {
		return time.Time{}, fmt.Errorf("%s is no time", name)
	}
	return time.UnixMilli(int64(seconds * 1000)), nil
}

// check is all that is asked of claims that the issuer has signed.
func (p *Provider) check(typ string, c claims, now time.Time) error {
	if c.text("iss") != p.config.Issuer {
		return errors.New("iss is not the configured one")
	}
	if err := p.checkTimes(c, now); err != nil {
		return err
	}
	id := typ != accessType &&
		(c.has("nonce") || c.has("at_hash") || c.has("c_hash") || c.text("typ") == "ID" || c.text("token_use") == "id")
	switch {
	case id && !p.config.IDTokens:
		return errors.New("an ID token")
	case c.has("events"):
		return errors.New("a logout token")
	case c.has("cnf"):
		return errors.New("bound to a key")
	}
	return p.checkUse(id, c)
}

func (p *Provider) checkTimes(c claims, now time.Time) error {
	var times [4]time.Time
	for i, name := range []string{"exp", "iat", "nbf", "auth_time"} {
		var err error
		if times[i], err = c.time(name); err != nil {
			return err
		}
	}
	expires, issued, begins, signedIn := times[0], times[1], times[2], times[3]
	switch latest := now.Add(leeway); {
	case !now.Before(expires): // or there is none
		return errors.New("expired")
	case issued.After(latest), begins.After(latest), signedIn.After(latest):
		return errors.New("iat, nbf or auth_time is in the future")
	case p.config.MaxAge > 0 && now.Sub(signedIn) > p.config.MaxAge:
		return errors.New("auth_time is too long ago, or there is none")
	}
	return nil
}

// checkUse is whom the token was made for and what it allows.
func (p *Provider) checkUse(id bool, c claims) error {
	audience := c.texts("aud")
	if !slices.ContainsFunc(audience, func(one string) bool { return slices.Contains(p.config.Audience, one) }) {
		return fmt.Errorf("aud is %q", audience)
	}
	var apps []string
	for _, name := range []string{"azp", "client_id"} {
		if c.has(name) {
			apps = append(apps, c.text(name))
		}
	}
	if id && len(apps) == 0 && len(audience) == 1 {
		apps = audience
	}
	if len(apps) == 0 || slices.ContainsFunc(apps, func(one string) bool { return !slices.Contains(p.config.Apps, one) }) {
		return fmt.Errorf("azp and client_id are %q", apps)
	}
	granted := c.scopes()
	for _, scope := range p.config.Require.Scopes {
		if !slices.Contains(granted, scope) {
			return fmt.Errorf("scope %q is missing", scope)
		}
	}
	for name, value := range p.config.Require.Claims {
		if !slices.Contains(c.texts(name), value) {
			return fmt.Errorf("claim %q is not as required", name)
		}
	}
	return nil
}

// identity is the person, as far as the token says.
func (p *Provider) identity(c claims) (auth.Identity, error) {
	names := p.config.Claims
	who := auth.Identity{
		Provider: p.config.Name,
		Subject:  c.text(names.Subject),
		Name:     auth.CleanName(c.text(names.Name)),
		Picture:  c.text(names.Picture),
	}
	if !clean(who.Subject) {
		return auth.Identity{}, fmt.Errorf("claim %q cannot be a subject", names.Subject)
	}
	if u, err := url.Parse(who.Picture); err != nil || u.Scheme != "https" || u.Host == "" || len(who.Picture) > maxPicture {
		who.Picture = ""
	}
	return who, nil
}

// clean says whether a subject is one person's for sure.
func clean(subject string) bool {
	return subject != "" && len(subject) <= maxSubject &&
		!strings.ContainsFunc(subject, func(r rune) bool { return unicode.IsControl(r) || r == utf8.RuneError })
}
