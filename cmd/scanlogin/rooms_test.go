package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// The arrows of the design: which room imports which, and who owns which
// dependency. A new arrow is a decision; it is made here first.
var (
	arrows = map[string][]string{
		"scanlogin/cmd/scanlogin":          {"scanlogin/web", "scanlogin/hub", "scanlogin/qrlogin", "scanlogin/auth", "scanlogin/auth/demo", "scanlogin/auth/oidc", "scanlogin/auth/outbound", "scanlogin/auth/wechat", "scanlogin/qrlogin/backend", "scanlogin/cmd/scanlogin/bench"},
		"scanlogin/cmd/scanlogin/bench":    {},
		"scanlogin/web":                    {"scanlogin/hub", "scanlogin/qrlogin", "scanlogin/auth"},
		"scanlogin/qrlogin":                {"scanlogin/auth"},
		"scanlogin/hub":                    {},
		"scanlogin/auth":                   {},
		"scanlogin/auth/demo":              {"scanlogin/auth"},
		"scanlogin/auth/oidc":              {"scanlogin/auth"},
		"scanlogin/auth/outbound":          {},
		"scanlogin/auth/wechat":            {"scanlogin/auth", "scanlogin/auth/outbound"},
		"scanlogin/auth/wechat/wechattest": {},
		"scanlogin/qrlogin/backend":        {},
	}
	owners = map[string]string{
		"github.com/go-chi/chi":                "scanlogin/web",
		"github.com/skip2/go-qrcode":           "scanlogin/web",
		"github.com/prometheus/client_golang":  "scanlogin/web",
		"github.com/mileusna/useragent":        "scanlogin/web",
		"github.com/oschwald/maxminddb-golang": "scanlogin/web",
		"github.com/go-json-experiment/json":   "scanlogin/web",
		"golang.org/x/text":                    "scanlogin/web",
		"github.com/gorilla/websocket":         "scanlogin/hub",
		"github.com/golang-jwt/jwt":            "scanlogin/auth",
		"github.com/go-jose/go-jose":           "scanlogin/auth",
		"github.com/coreos/go-oidc":            "scanlogin/auth/oidc",
		"github.com/sony/gobreaker":            "scanlogin/auth/outbound",
		"github.com/cenkalti/backoff":          "scanlogin/auth/outbound",
		"github.com/redis/go-redis":            "scanlogin/qrlogin/backend",
		"github.com/prometheus/common":         "scanlogin/cmd/scanlogin/bench",
		"github.com/alecthomas/kong":           "scanlogin/cmd/scanlogin",
		"go.yaml.in/yaml":                      "scanlogin/cmd/scanlogin",
		"golang.org/x/term":                    "scanlogin/cmd/scanlogin",
	}
	// A load test is a client of everything: it holds the other end of the sockets, and
	// asks Redis what it used. Through the owners it would test them with themselves. And
	// the tokens and keys of other issuers are in the formats of our own.
	guests = map[string][]string{
		"scanlogin/cmd/scanlogin/bench": {"github.com/gorilla/websocket", "github.com/redis/go-redis"},
		"scanlogin/auth/oidc":           {"github.com/go-jose/go-jose"},
	}
)

func TestRoomsImportOnlyAlongTheArrows(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "scanlogin/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	rooms := 0
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; rooms++ {
		var room struct {
			ImportPath string
			Imports    []string
		}
		if err := decoder.Decode(&room); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		allowed, known := arrows[room.ImportPath]
		if !known {
			t.Errorf("%s is a room that the picture does not have", room.ImportPath)
			continue
		}
		for _, imported := range room.Imports {
			switch {
			case strings.HasPrefix(imported, "scanlogin/"):
				if !slices.Contains(allowed, imported) {
					t.Errorf("%s imports %s: there is no such arrow", room.ImportPath, imported)
				}
			case strings.Contains(strings.Split(imported, "/")[0], "."):
				dependency := dependencyOf(imported)
				if owner := owners[dependency]; owner != room.ImportPath && !slices.Contains(guests[room.ImportPath], dependency) {
					t.Errorf("%s imports %s, which belongs to %q", room.ImportPath, imported, owner)
				}
			}
		}
	}
	if rooms != len(arrows) {
		t.Errorf("%d rooms, the picture has %d", rooms, len(arrows))
	}
}

// dependencyOf is the one of owners that a package is of.
func dependencyOf(imported string) string {
	for dependency := range owners {
		if imported == dependency || strings.HasPrefix(imported, dependency+"/") {
			return dependency
		}
	}
	return ""
}
