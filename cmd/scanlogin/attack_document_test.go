package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// SECURITY.md promises a test for each attack: every name in it is a test that
// exists, every attack, bad input and fault has its row, and no test of an attack is
// left out.
func TestSecurityDocumentNamesRealTests(t *testing.T) {
	const top = "../.."
	raw, err := os.ReadFile(filepath.Join(top, "SECURITY.md"))
	if err != nil {
		t.Fatal(err)
	}
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`)
	exist, attacks := map[string]bool{}, []string{}
	err = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		code, err := os.ReadFile(path)
		for _, found := range declared.FindAllSubmatch(code, -1) {
			name := string(found[1])
			exist[name] = true
			if file := filepath.Base(path); filepath.Base(filepath.Dir(path)) == "scanlogin" && (strings.HasPrefix(file, "attack_") || file == "flaws_test.go") {
				attacks = append(attacks, name)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(string(raw), -1)
	all := map[string]bool{"TestSecurityDocumentNamesRealTests": true}
	for _, name := range named {
		if all[name[1]] = true; !exist[name[1]] {
			t.Errorf("%s does not exist", name[1])
		}
	}
	for _, name := range attacks {
		if !all[name] {
			t.Errorf("%s is in no row", name)
		}
	}
	rows := map[string]string{}
	for _, row := range regexp.MustCompile(`(?m)^\| ([TBF]\d+) \| [^|]+ \| ([^|]+) \|$`).FindAllStringSubmatch(string(raw), -1) {
		if rows[row[1]] != "" {
			t.Errorf("%s has two rows", row[1])
		}
		rows[row[1]] = row[2]
	}
	elsewhere := []string{"F14", "F15", "F16", "F17", "F18"} // told in words
	for kind, last := range map[string]int{"T": 50, "B": 48, "F": 28} {
		for i := 1; i <= last; i++ {
			number := fmt.Sprint(kind, i)
			says := rows[number]
			if !strings.Contains(says, "`Test") && !strings.HasPrefix(says, "void: ") && !strings.HasPrefix(says, "not there yet: ") && !slices.Contains(elsewhere, number) {
				t.Errorf("%s: no test, and not said why: %q", number, says)
			}
		}
	}
}
