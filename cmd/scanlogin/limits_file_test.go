package main

import (
	"bytes"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
)

func TestLimitsOfTheFile(t *testing.T) {
	for name, row := range map[string]struct{ limits, names string }{
		"a list":             {"[on]x", "config"},
		"a word":             {"some", "limits: \"some\" is neither on nor off"},
		"a number alone":     {"1", "limits: \"1\" is neither on nor off"},
		"unknown":            {"{ticket_per_network: 3/1h}", "limits.ticket_per_network"},
		"off is no limit":    {"{off: true}", "limits.off"},
		"nameless":           {"{'': 3, '-': 4}", "limits."},
		"a number":           {"{tickets_per_network: 3}", "limits.tickets_per_network"},
		"no time":            {"{tickets_per_network: 3/}", "limits.tickets_per_network"},
		"none":               {"{tickets_per_network: 0/1h}", "limits.tickets_per_network"},
		"too short":          {"{scans_per_user: 3/10ms}", "limits.scans_per_user"},
		"nothing":            {"{scans_per_user: }", "limits.scans_per_user"},
		"a map":              {"{scans_per_user: {burst: 3}}", "limits.scans_per_user"},
		"sockets of a time":  {"{sockets: 3/1h}", "limits.sockets"},
		"sockets by halves":  {"{sockets: 3.5}", "limits.sockets: a whole number from 1 to 10000000 is needed"},
		"hexadecimal":        {"{sockets: 0x10}", "limits.sockets"},
		"octal":              {"{sockets: 0o10}", "limits.sockets"},
		"digits in groups":   {"{sockets: 1_000}", "limits.sockets"},
		"a hexadecimal rate": {"{scans_per_user: 0x10/1h}", "limits.scans_per_user"},
		"nothing at all":     {"{sockets: }", "limits.sockets"},
		"sockets in a list":  {"{sockets: [3]}", "limits.sockets"},
		"too many sockets":   {"{sockets: 10000001}", "limits.sockets"},
		"no sockets":         {"{sockets: 0}", "limits.sockets"},
		"fewer than none":    {"{sockets: -1}", "limits.sockets"},
		"the same one twice": {"{sockets: 3, sockets: 4}", "limits: line 1"},
	} {
		t.Run(name, func(t *testing.T) {
			good(t)
			var out bytes.Buffer
			code := run(t.Context(), []string{"config", "check", "--config", configFile(t, "limits: "+row.limits+"\n")}, io.Discard, &out)
			if code != 2 || strings.Count(out.String(), "\n") != 1 || !strings.Contains(out.String(), row.names) {
				t.Errorf("exit %d: %s", code, out.String())
			}
		})
	}
}

// What is printed is what was said, and can be said again.
func TestPrintedLimitsAreTheLimits(t *testing.T) {
	for limits, want := range map[string]string{
		"on": `limits: "on"`, "off": `limits: "off"`, "": `limits: "on"`, "{}": `limits: "on"`,
		"On": `limits: "on"`, "OFF": `limits: "off"`, "true": `limits: "on"`, "false": `limits: "off"`, "False": `limits: "off"`,
		// A zero in front does not make a number octal, in a rate or alone.
		"{sockets: 010, scans_per_user: 010/1h}":                                   "limits:\n  scans_per_user: 10/1h\n  sockets: 10\n",
		"{sockets: 7, tickets_per_network: 600/600s, requests_per_network: 1/90m}": "limits:\n  requests_per_network: 1/1h30m\n  tickets_per_network: 600/10m\n  sockets: 7\n",
	} {
		text := "limits: " + limits + "\n"
		for range 2 {
			good(t)
			var out, errs bytes.Buffer
			if code := run(t.Context(), []string{"config", "print", "--config", configFile(t, text)}, &out, &errs); code != 0 {
				t.Fatalf("%s: %s", limits, errs.String())
			}
			if !strings.Contains(out.String(), want) {
				t.Errorf("%q is printed %s", limits, out.String())
			}
			i := strings.Index(out.String(), "limits:")
			text = out.String()[i : i+strings.Index(out.String()[i:], "\ndrain:")+1]
		}
	}
	good(t)
	var out bytes.Buffer
	run(t.Context(), []string{"config", "print", "--limits=off", "--config", configFile(t, "limits: {sockets: 7}\n")}, &out, io.Discard)
	if !strings.Contains(out.String(), `limits: "off"`) {
		t.Errorf("a flag does not go over the file: %s", out.String())
	}
}

// Every limit can be said in the file, and is then what it was said to be.
func TestEveryLimitOfTheFileReachesItsPlace(t *testing.T) {
	fields := reflect.TypeFor[limits]().Field(0).Type
	var text strings.Builder
	for i := range fields.NumField() {
		name, _, _ := strings.Cut(fields.Field(i).Tag.Get("yaml"), ",")
		switch fields.Field(i).Type.Kind() {
		case reflect.Int:
			fmt.Fprintf(&text, "  %s: %d\n", name, 100+i)
		case reflect.Struct:
			fmt.Fprintf(&text, "  %s: %d/1m\n", name, 100+i)
		}
	}
	good(t)
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"config", "print", "--config", configFile(t, "limits:\n"+text.String())}, &out, &errs); code != 0 {
		t.Fatal(errs.String())
	}
	if !strings.Contains(out.String(), "limits:\n"+text.String()) {
		t.Errorf("said:\n%s\nprinted:\n%s", text.String(), out.String())
	}
}
