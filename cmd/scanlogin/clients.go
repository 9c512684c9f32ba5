package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"scanlogin/auth"
)

// client is what the file says of one client. A zero field was not mentioned:
// it is what a built-in client has there, or the general setting.
type client struct {
	Name         string        `yaml:"name,omitempty"`
	Kind         string        `yaml:"kind,omitempty"`
	SecretSHA256 list          `yaml:"secret_sha256,omitempty"`
	DeviceFlow   *bool         `yaml:"device_flow,omitempty"`
	Origins      list          `yaml:"origins,omitempty"`
	Audience     string        `yaml:"audience,omitempty"`
	Scopes       list          `yaml:"scopes,omitempty"`
	AccessTTL    time.Duration `yaml:"access_ttl,omitempty"`
	RefreshTTL   time.Duration `yaml:"refresh_ttl,omitempty"`
	RefreshIdle  time.Duration `yaml:"refresh_idle,omitempty"`
	MaxSessions  int           `yaml:"max_sessions,omitempty"`
	OnLimit      auth.OnLimit  `yaml:"on_limit,omitempty"`
}

// list is a list; one word alone is a list too.
type list []string

// UnmarshalYAML reads either.
func (w *list) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.ScalarNode {
		*w = list{node.Value}
		return nil
	}
	return node.Decode((*[]string)(w))
}

// mostSessions is how many a user may have in all.
const mostSessions = 32

// readClients turns the part of the file into clients, or says in one line
// which member of which one is wrong.
func readClients(node *yaml.Node) (map[string]client, error) {
	var entries map[string]yaml.Node
	if err := decode("clients", node, &entries, "a map by client id"); err != nil {
		return nil, err
	}
	clients := map[string]client{}
	for _, id := range slices.Sorted(maps.Keys(entries)) {
		if id == "" || len(id) > 64 || strings.ContainsFunc(id, func(r rune) bool { return r < ' ' || r > '~' }) {
			return nil, fmt.Errorf("clients: %q is not a client id: 1 to 64 printable ASCII characters (RFC 6749 appendix A.1)", id)
		}
		entry := entries[id]
		c, err := readClient(id, &entry)
		if err != nil {
			return nil, err
		}
		clients[id] = c
	}
	return clients, nil
}

func readClient(id string, node *yaml.Node) (c client, err error) {
	var members map[string]yaml.Node
	path := "clients." + id
	if err := decode(path, node, &members, "a map of members"); err != nil {
		return c, err
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		value, at := members[name], path+"."+name
		field, want := c.member(name)
		switch {
		case field == nil:
			return c, fmt.Errorf("%s: no client has this member", at)
		case id == auth.Phone && !slices.Contains(ofPhone, name):
			return c, fmt.Errorf("%s: can't be changed for the client %s, only %s can", at, auth.Phone, strings.Join(ofPhone, ", "))
		}
		if err := decode(at, &value, field, want); err != nil {
			return c, err
		}
		if err := c.check(at, name); err != nil {
			return c, err
		}
	}
	if _, builtIn := auth.Clients("")[id]; !builtIn && c.Name == "" {
		return c, fmt.Errorf("%s.name: required, people are shown it", path)
	}
	return c, nil
}

// ofPhone is what may be changed of the client that can approve logins.
var ofPhone = []string{"name", "access_ttl", "refresh_ttl", "refresh_idle", "max_sessions", "on_limit"}

// member is the field of a name in the file and what has to be there.
func (c *client) member(name string) (field any, want string) {
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		if tag, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ","); tag != name {
			continue
		}
		field = v.Field(i).Addr().Interface()
		switch field.(type) {
		case *list:
			return field, "one value or a list of values"
		case **bool:
			return field, "true or false"
		case *time.Duration:
			return field, "a duration, for example 5m,"
		case *int:
			return field, "a whole number"
		}
		return field, "one value"
	}
	return nil, ""
}

// decode is strict, and says what is wanted instead of what is there: that may
// be a secret in the wrong place. Left to itself, yaml takes nothing for zero
// and 3.5 for 3.
func decode(at string, node *yaml.Node, into any, want string) error {
	err, tag := node.Decode(into), meant(node).ShortTag()
	number, whole := into.(*int)
	var wrong *yaml.TypeError
	if whole && err == nil {
		*number, err = strconv.Atoi(meant(node).Value) // yaml takes 010 for 8
	}
	switch {
	case errors.As(err, &wrong) && strings.Contains(wrong.Errors[0], "already defined"):
		return fmt.Errorf("%s: %s", at, wrong.Errors[0])
	case err != nil, tag == "!!null", whole && tag != "!!int":
		return fmt.Errorf("%s: %s is needed", at, want)
	}
	return nil
}

// check looks at one member that was mentioned, and brings it into its form.
func (c *client) check(at, name string) error {
	switch name {
	case "name":
		return checkName(at, c.Name)
	case "kind":
		return oneOf(at, c.Kind, "web", "app", "device")
	case "secret_sha256":
		return checkSecretHashes(at, c.SecretSHA256)
	case "origins":
		for i := range c.Origins {
			if err := normalise(at, &c.Origins[i]); err != nil {
				return err
			}
		}
	case "audience":
		return checkAudience(at, c.Audience)
	case "scopes":
		return checkScopes(at, c.Scopes)
	case "access_ttl":
		return checkDuration(at, c.AccessTTL)
	case "refresh_ttl":
		return checkDuration(at, c.RefreshTTL)
	case "refresh_idle":
		return checkDuration(at, c.RefreshIdle)
	case "max_sessions":
		if c.MaxSessions < 1 || c.MaxSessions > mostSessions {
			return fmt.Errorf("%s: %d is not between 1 and %d", at, c.MaxSessions, mostSessions)
		}
	case "on_limit":
		return oneOf(at, c.OnLimit, auth.EndOldest, auth.Refuse)
	}
	return nil
}

func oneOf[T ~string](at string, value T, allowed ...T) error {
	if !slices.Contains(allowed, value) {
		return fmt.Errorf("%s: %q is not one of %q", at, value, allowed)
	}
	return nil
}

func checkName(at, name string) error {
	unprintable := func(r rune) bool { return !unicode.IsPrint(r) }
	if strings.TrimSpace(name) == "" || utf8.RuneCountInString(name) > 64 || strings.ContainsFunc(name, unprintable) {
		return fmt.Errorf("%s: 1 to 64 printable characters are needed", at)
	}
	return nil
}

// checkSecretHashes names no value: somebody may have put the secret there.
func checkSecretHashes(at string, hashes list) error {
	if len(hashes) < 1 || len(hashes) > 2 {
		return fmt.Errorf("%s: %d hashes, one is needed, or two while a secret is changed", at, len(hashes))
	}
	ofNothing := sha256.Sum256(nil)
	for _, text := range hashes {
		hash, err := hex.DecodeString(text)
		switch {
		case err != nil || len(hash) != sha256.Size:
			return fmt.Errorf("%s: 64 hexadecimal digits are needed, as in: printf %%s \"$CLIENT_SECRET\" | sha256sum", at)
		case bytes.Equal(hash, ofNothing[:]):
			return fmt.Errorf("%s: this is the hash of an empty secret", at)
		}
	}
	return nil
}

func checkAudience(at, audience string) error {
	unfit := func(r rune) bool { return r <= ' ' || r > '~' }
	if _, err := url.Parse(audience); err != nil || audience == "" || len(audience) > 255 || strings.ContainsFunc(audience, unfit) {
		return fmt.Errorf("%s: %q is not a URI or a word of 1 to 255 characters (RFC 7519 section 4.1.3)", at, audience)
	}
	return nil
}

// maxScope bounds what each token and each session carries.
const maxScope = 256

func checkScopes(at string, scopes list) error {
	if len(scopes) == 0 {
		return fmt.Errorf("%s: one or more are needed", at)
	}
	unfit := func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }
	if len(strings.Join(scopes, " ")) > maxScope {
		return fmt.Errorf("%s: %d characters in all are the most", at, maxScope)
	}
	for _, scope := range scopes {
		switch {
		case scope == auth.Phone:
			return fmt.Errorf("%s: %q is for the built-in client %s alone: it can approve logins", at, scope, auth.Phone)
		case scope == "" || strings.ContainsFunc(scope, unfit):
			return fmt.Errorf("%s: %q is not a scope (RFC 6749 section 3.3)", at, scope)
		}
	}
	return nil
}

// clients are the built-in ones with those of the file over them.
func (c *Config) clients() map[string]auth.Client {
	all := auth.Clients(c.PublicURL)
	for id, said := range c.Clients {
		before, known := all[id]
		if !known {
			before = auth.Client{ID: id, Kind: "web", Scopes: []string{"openid", "profile"}}
		}
		all[id] = said.over(before)
	}
	return all
}

// over is a client with what was said of it.
func (c client) over(to auth.Client) auth.Client {
	to.Name = cmp.Or(c.Name, to.Name)
	to.Kind = cmp.Or(c.Kind, to.Kind)
	for _, text := range c.SecretSHA256 {
		hash, _ := hex.DecodeString(text) // checked
		to.SecretHashes = append(to.SecretHashes, hash)
	}
	if c.DeviceFlow != nil {
		to.DeviceFlow = *c.DeviceFlow
	}
	to.Origins = append(to.Origins, c.Origins...)
	to.Audience = cmp.Or(c.Audience, to.Audience)
	if c.Scopes != nil {
		to.Scopes = c.Scopes
	}
	to.AccessTTL = cmp.Or(c.AccessTTL, to.AccessTTL)
	to.RefreshTTL = cmp.Or(c.RefreshTTL, to.RefreshTTL)
	to.RefreshIdle = cmp.Or(c.RefreshIdle, to.RefreshIdle)
	to.MaxSessions = cmp.Or(c.MaxSessions, to.MaxSessions)
	to.OnLimit = cmp.Or(c.OnLimit, to.OnLimit)
	return to
}
