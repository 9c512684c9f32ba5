package main

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"scanlogin/web"
)

// limits is on or off; the file may have a map in that place, of limits that are not
// the default. They stay when a flag or the environment says on.
type limits struct{ web.Limits }

// UnmarshalText reads on and off, also as the booleans that YAML has for them:
// many tools that write files turn one into the other.
func (l *limits) UnmarshalText(text []byte) error {
	switch strings.ToLower(string(text)) {
	case "on", "true":
		l.Off = false
	case "off", "false":
		l.Off = true
	default:
		return fmt.Errorf("%q is neither on nor off", text)
	}
	return nil
}

// MarshalYAML is for `config print`.
func (l limits) MarshalYAML() (any, error) {
	switch {
	case l.Off:
		return "off", nil
	case l.Limits == web.Limits{}:
		return "on", nil
	}
	return l.Limits, nil
}

// mostLimit is the largest whole number.
const mostLimit = 10_000_000

// readLimits reads the map of the file, or says in one line which limit is wrong.
// Numbers are decimal, those of rates and those that stand alone: left to itself,
// yaml takes 010 for 8.
func readLimits(node *yaml.Node) (l web.Limits, err error) {
	var members map[string]yaml.Node
	if err := decode("limits", node, &members, "on, off or a map by limit"); err != nil {
		return l, err
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		value, at := members[name], "limits."+name
		text := meant(&value).Value // a map or a list has none
		switch field := limit(&l, name).(type) {
		case *web.Rate:
			if field.UnmarshalText([]byte(text)) != nil {
				return l, fmt.Errorf("%s: a number (at most 1000000) and a time (1s to 24h) are needed, as in 1500/10m", at)
			}
		case *int:
			if *field, err = strconv.Atoi(text); err != nil || *field < 1 || *field > mostLimit {
				return l, fmt.Errorf("%s: a whole number from 1 to %d is needed", at, mostLimit)
			}
		default:
			return l, fmt.Errorf("%s: no limit has this name", at)
		}
	}
	return l, nil
}

// limit is the field of a name in the file.
func limit(l *web.Limits, name string) any {
	v := reflect.ValueOf(l).Elem()
	for i := range v.NumField() {
		if tag, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ","); tag == name && name != "-" {
			return v.Field(i).Addr().Interface()
		}
	}
	return nil
}
