package main

import (
	"strings"
	"testing"
	"time"
)

// Who may open fewer files than the limits in force need is told once, when the server
// starts, in numbers and with what to do; who tries the demo is not.
func TestTooFewOpenFilesAreToldAtStart(t *testing.T) {
	for _, row := range []struct {
		name, verb, env string
		warned          bool
	}{
		{"the defaults", "serve", "SCANLOGIN_LIMITS=on", true},
		{"small limits", "serve", "SCANLOGIN_CONFIG=" + configFile(t, "limits: {sockets: 800, requests_in_flight: 224}\n"), false},
		{"one too many", "serve", "SCANLOGIN_CONFIG=" + configFile(t, "limits: {sockets: 801, requests_in_flight: 224}\n"), true},
		{"no limits", "serve", "SCANLOGIN_LIMITS=off", false},
		{"the demo", "demo", "SCANLOGIN_LIMITS=on", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := start(t, serveEnv("http://login.example", row.env), "sh", "-c", `ulimit -n 1024 && exec "$0" "$1"`, program, row.verb)
			eventually(t, 20*time.Second, "the server listens", func() bool { return strings.Contains(p.output(), `"msg":"serving"`) })
			told := strings.Count(p.output(), "too few open files")
			if told > 1 || told == 1 != row.warned {
				t.Errorf("told %d times", told)
			}
			if row.warned && !strings.Contains(p.output(), `"allowed":1024,"needed":`) {
				t.Error("it does not say how many")
			}
		})
	}
}
