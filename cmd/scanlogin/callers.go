package main

import (
	"fmt"
	"maps"
	"slices"

	"go.yaml.in/yaml/v3"

	"scanlogin/web"
)

// backEnd is what the file says of one caller: a back end of a relying party that
// signs its requests.
type backEnd struct {
	Actions list      `yaml:"actions"`
	Keys    []signKey `yaml:"keys"`
}

// signKey is one of its keys. The secret is the text itself.
type signKey struct {
	ID         string `yaml:"id"`
	Secret     hidden `yaml:"secret,omitempty"`
	SecretFile string `yaml:"-"`
}

// hidden is a secret that is not printed.
type hidden string

// MarshalYAML is for `config print`.
func (hidden) MarshalYAML() (any, error) { return "(hidden)", nil }

// leastSecret is the length of a key's secret, in bytes: what HMAC-SHA256 has.
const leastSecret = 32

// readCallers turns the part of the file into callers, or says in one line which
// member of which one is wrong.
func readCallers(node *yaml.Node) (map[string]backEnd, error) {
	var entries map[string]yaml.Node
	if err := decode("callers", node, &entries, "a map by name"); err != nil {
		return nil, err
	}
	callers, taken := map[string]backEnd{}, map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		if !web.ValidKeyID(name) {
			return nil, fmt.Errorf("callers: %q is not a name: 1 to 64 of A-Z a-z 0-9 . _ ~ -", name)
		}
		entry, path := entries[name], "callers."+name
		caller, err := readCaller(path, &entry)
		if err != nil {
			return nil, err
		}
		for i, key := range caller.Keys {
			if other, ok := taken[key.ID]; ok {
				return nil, fmt.Errorf("%s.keys[%d].id: a key of %s has it already", path, i, other)
			}
			taken[key.ID] = path
		}
		callers[name] = caller
	}
	return callers, nil
}

func readCaller(path string, node *yaml.Node) (c backEnd, err error) {
	var keys []yaml.Node
	err = readMembers(path, node, map[string]member{
		"actions": {&c.Actions, "one action or a list of them"}, "keys": {&keys, "a list of keys"},
	})
	if err != nil {
		return c, err
	}
	if len(c.Actions) == 0 {
		return c, fmt.Errorf("%s.actions: one or more are needed, of %q", path, web.Actions)
	}
	for _, action := range c.Actions {
		if err := oneOf(path+".actions", web.Action(action), web.Actions...); err != nil {
			return c, err
		}
	}
	if len(keys) < 1 || len(keys) > 2 {
		return c, fmt.Errorf("%s.keys: %d keys, one is needed, or two while a key is changed", path, len(keys))
	}
	for i := range keys {
		key, err := readKey(fmt.Sprintf("%s.keys[%d]", path, i), &keys[i])
		if err != nil {
			return c, err
		}
		c.Keys = append(c.Keys, key)
	}
	return c, nil
}

func readKey(path string, node *yaml.Node) (k signKey, err error) {
	err = readMembers(path, node, map[string]member{
		"id": {&k.ID, "one value"}, "secret": {&k.Secret, "one value"}, "secret_file": {&k.SecretFile, "the name of a file"},
	})
	switch {
	case err != nil:
		return k, err
	case !web.ValidKeyID(k.ID):
		return k, fmt.Errorf("%s.id: 1 to 64 of A-Z a-z 0-9 . _ ~ - are needed", path)
	case k.Secret == "" && k.SecretFile == "":
		return k, fmt.Errorf("%s.secret: required, or secret_file; `openssl rand -base64 32` makes one", path)
	}
	return k, nil
}

// member is where the value of a name in the file goes, and what has to be there.
type member struct {
	into any
	want string
}

// readMembers reads a map strictly.
func readMembers(path string, node *yaml.Node, known map[string]member) error {
	var members map[string]yaml.Node
	if err := decode(path, node, &members, "a map of members"); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		m, ok := known[name]
		if !ok {
			return fmt.Errorf("%s.%s: there is no such member", path, name)
		}
		value := members[name]
		if err := decode(path+"."+name, &value, m.into, m.want); err != nil {
			return err
		}
	}
	return nil
}

// loadCallers reads secrets from the files that were named.
func (c *Config) loadCallers() error {
	return c.eachKey(func(at, _ string, key *signKey) error {
		return loadFile(at+".secret", key.SecretFile, (*string)(&key.Secret))
	})
}

func (c *Config) checkCallers() error {
	ids := map[hidden]string{} // by secret: with one for two keys, one's signature would be the other's
	return c.eachKey(func(at, _ string, key *signKey) error {
		if len(key.Secret) < leastSecret {
			return fmt.Errorf("%s.secret: %d bytes are too few, %d or more are needed", at, len(key.Secret), leastSecret)
		}
		if id, taken := ids[key.Secret]; taken {
			return fmt.Errorf("%s.secret: %s has the same; each key needs its own", at, id)
		}
		ids[key.Secret] = key.ID
		return nil
	})
}

// callerKeys are the keys of all callers, by their ids.
func (c *Config) callerKeys() map[string]web.CallerKey {
	keys := map[string]web.CallerKey{}
	c.eachKey(func(_, name string, key *signKey) error {
		one := web.CallerKey{Caller: name, Secret: []byte(key.Secret)}
		for _, action := range c.Callers[name].Actions {
			one.Actions = append(one.Actions, web.Action(action))
		}
		keys[key.ID] = one
		return nil
	})
	return keys
}

// eachKey goes through the keys of all callers until there is an error.
func (c *Config) eachKey(do func(at, name string, key *signKey) error) error {
	for _, name := range slices.Sorted(maps.Keys(c.Callers)) {
		keys := c.Callers[name].Keys
		for i := range keys {
			if err := do(fmt.Sprintf("callers.%s.keys[%d]", name, i), name, &keys[i]); err != nil {
				return err
			}
		}
	}
	return nil
}
