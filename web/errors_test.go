package web

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"scanlogin/hub"
	"scanlogin/qrlogin"
)

// What went wrong inside is for the log; a stranger gets a code word.
func TestInnerErrorsDoNotLeak(t *testing.T) {
	s := newSite(t, setup{direct: true})
	for _, row := range []struct {
		err    error
		status int
		code   string
	}{
		{errors.New("secret: dial tcp 10.1.2.3"), 500, "internal"},
		{fmt.Errorf("secret: %w", qrlogin.ErrNotScanner), 403, "not_scanner"},
		{fmt.Errorf("secret: %w", hub.ErrClosed), 503, "overloaded"},
		{fmt.Errorf("secret: %w", context.DeadlineExceeded), 503, "store_unavailable"},
	} {
		for _, path := range []string{"/v1/x", "/oauth/x", "/s/x"} {
			w, r := httptest.NewRecorder(), httptest.NewRequest("GET", path, nil)
			if path == "/s/x" {
				s.web.failPage(w, r, new(visitor), row.err)
			} else {
				s.web.fail(w, r, row.err)
				if !strings.Contains(w.Body.String(), row.code) {
					t.Errorf("%s, %v: %s", path, row.err, w.Body)
				}
			}
			if w.Code != row.status || strings.Contains(w.Body.String(), "secret") {
				t.Errorf("%s, %v: %d %s", path, row.err, w.Code, w.Body)
			}
		}
	}
	if !strings.Contains(s.log.String(), "10.1.2.3") {
		t.Error("the log does not say what went wrong")
	}
}

// A panic costs its request, not the process.
func TestPanicIsOneAnswerAndOneLogLine(t *testing.T) {
	s := newSite(t, setup{direct: true})
	s.web.config.Ping = func(context.Context) error { panic("secret") }
	if a := s.send("GET", "/readyz", nil); a.status != 500 || a.code() != "internal" || strings.Contains(a.raw, "secret") {
		t.Errorf("%d %s", a.status, a.raw)
	}
	s.want(200, "", "GET", "/livez", nil)
	if !strings.Contains(s.log.String(), "panic in a request") {
		t.Error("nothing in the log")
	}
}
