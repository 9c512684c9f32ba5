package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"scanlogin/web"
)

func TestWrongCallerIsOneLineThatNamesTheMember(t *testing.T) {
	const misplaced = "hunter2-hunter2-hunter2-hunter2-hunter2"
	const key = "{id: a, secret: " + misplaced + "}"
	missing := filepath.Join(t.TempDir(), "nothing")
	short := filepath.Join(t.TempDir(), "short")
	if err := os.WriteFile(short, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	caller := func(members string) string { return "{shop: {" + members + "}}" }
	keys := func(keys string) string { return caller("actions: [ban], keys: [" + keys + "]") }
	for name, row := range map[string]struct{ callers, names string }{
		"a list":               {"[shop]", "callers"},
		"a word":               {"shop", "callers"},
		"empty name":           {"{'': {actions: [ban]}}", "callers"},
		"name with a blank":    {"{my shop: {actions: [ban]}}", "callers"},
		"the same name twice":  {"{shop: {actions: ban}, shop: {actions: ban}}", "callers: line 1"},
		"caller is nothing":    {"{shop: }", "callers.shop"},
		"caller is a list":     {"{shop: [ban]}", "callers.shop"},
		"unknown member":       {caller("action: [ban]"), "callers.shop.action"},
		"secret of the caller": {caller("secret: " + misplaced), "callers.shop.secret"},
		"no actions":           {caller("keys: [" + key + "]"), "callers.shop.actions"},
		"no action":            {caller("actions: [], keys: [" + key + "]"), "callers.shop.actions"},
		"actions left out":     {caller("actions: , keys: [" + key + "]"), "callers.shop.actions"},
		"actions are a map":    {caller("actions: {ban: true}, keys: [" + key + "]"), "callers.shop.actions"},
		"unknown action":       {caller("actions: [ban, unban], keys: [" + key + "]"), "callers.shop.actions"},
		"every action":         {caller("actions: '*', keys: [" + key + "]"), "callers.shop.actions"},
		"no keys":              {caller("actions: ban"), "callers.shop.keys"},
		"no key":               {keys(""), "callers.shop.keys"},
		"keys are a map":       {caller("actions: ban, keys: {a: " + misplaced + "}"), "callers.shop.keys"},
		"three keys":           {keys("{id: a, secret: " + misplaced + "}, {id: b, secret: " + misplaced + "}, {id: c, secret: " + misplaced + "}"), "callers.shop.keys"},
		"key is a word":        {keys(misplaced), "callers.shop.keys[0]"},
		"key is nothing":       {keys(key + ", ~"), "callers.shop.keys[1]"},
		"key of another kind":  {keys("{kid: a, secret: " + misplaced + "}"), "callers.shop.keys[0].kid"},
		"key without an id":    {keys("{secret: " + misplaced + "}"), "callers.shop.keys[0].id"},
		"id is the secret":     {keys("{id: '" + misplaced + "/+=', secret: " + misplaced + "}"), "callers.shop.keys[0].id"},
		"id too long":          {keys("{id: " + strings.Repeat("a", 65) + ", secret: " + misplaced + "}"), "callers.shop.keys[0].id"},
		"id is a list":         {keys("{id: [a], secret: " + misplaced + "}"), "callers.shop.keys[0].id"},
		"the same id twice":    {keys(key + ", " + key), "callers.shop.keys[1].id"},
		"somebody else's id":   {"{a: {actions: ban, keys: [" + key + "]}, b: {actions: ban, keys: [" + key + "]}}", "callers.b.keys[0].id"},
		"no secret":            {keys("{id: a}"), "callers.shop.keys[0].secret"},
		"secret left out":      {keys("{id: a, secret: }"), "callers.shop.keys[0].secret"},
		"empty secret":         {keys("{id: a, secret: ''}"), "callers.shop.keys[0].secret"},
		"secret is a list":     {keys("{id: a, secret: [" + misplaced + "]}"), "callers.shop.keys[0].secret"},
		"secret of 31 bytes":   {keys("{id: a, secret: " + misplaced[:31] + "}"), "callers.shop.keys[0].secret"},
		"secret and its file":  {keys("{id: a, secret: " + misplaced + ", secret_file: " + short + "}"), "callers.shop.keys[0].secret_file"},
		"file that is missing": {keys("{id: a, secret_file: " + missing + "}"), "callers.shop.keys[0].secret_file"},
		"file of 7 bytes":      {keys("{id: a, secret_file: " + short + "}"), "callers.shop.keys[0].secret: 7 bytes"},
		"file is nothing":      {keys("{id: a, secret_file: }"), "callers.shop.keys[0].secret_file"},
		"secret in two files":  {keys("{id: a, secret_file: [" + short + "]}"), "callers.shop.keys[0].secret_file"},
	} {
		t.Run(name, func(t *testing.T) {
			fileIsRefused(t, "callers: "+row.callers, row.names, "hunter2")
		})
	}
}

// Secrets come from files too, and none is printed; callers are in the file only.
func TestCallersOfTheFile(t *testing.T) {
	good(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(newKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	path := configFile(t, strings.ReplaceAll(callersFile, "secret: "+newKey, "secret_file: "+secret))
	if code, stdout, stderr := command(t, "config", "check", "--config", path); code != 0 {
		t.Fatalf("exit %d: %s%s", code, stdout, stderr)
	}
	code, printed, _ := command(t, "config", "print", "--config", path)
	for _, hidden := range []string{oldKey, newKey, till} {
		if code != 0 || strings.Contains(printed, hidden) {
			t.Errorf("exit %d: %s", code, printed)
		}
	}
	if code, again, stderr := command(t, "config", "print", "--config", configFile(t, printed)); code != 0 || again != printed || strings.Count(printed, "secret: (hidden)") != 4 {
		t.Errorf("exit %d: %s\n%s\nwas\n%s", code, stderr, again, printed)
	}

	file, err := openFile([]string{"--config", path})
	if err != nil {
		t.Fatal(err)
	}
	var c Config
	if c.Callers, err = file.callers(); err != nil {
		t.Fatal(err)
	}
	if err := c.loadCallers(); err != nil {
		t.Fatal(err)
	}
	want := map[string]web.CallerKey{
		"shop-1": {Caller: "shop", Secret: []byte(oldKey), Actions: web.Actions},
		"shop-2": {Caller: "shop", Secret: []byte(newKey), Actions: web.Actions},
		"till-1": {Caller: "till", Secret: []byte(till), Actions: []web.Action{web.ActionTicket}},
	}
	if got := c.callerKeys(); !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
	if code, bare, _ := command(t, "config", "print", "--config", configFile(t, "callers:\n")); code != 0 || strings.Contains(bare, "callers") {
		t.Errorf("no callers: exit %d: %s", code, bare)
	}
	if code, _, stderr := command(t, "config", "check", "--callers=a"); code != 2 || !strings.Contains(stderr, "callers") {
		t.Errorf("flag: exit %d: %s", code, stderr)
	}
	t.Setenv("SCANLOGIN_CALLERS", "{}")
	if code, _, stderr := command(t, "config", "check"); code != 2 || !strings.Contains(stderr, "SCANLOGIN_CALLERS") {
		t.Errorf("environment: exit %d: %s", code, stderr)
	}
}
