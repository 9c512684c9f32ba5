package web

import (
	"bytes"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

// Of two proxies one is declared: everybody then comes from the other one. Nobody can
// know that it is no client, but who forgot it is told, once.
func TestUndeclaredProxyIsTold(t *testing.T) {
	for client, told := range map[string]int{"10.0.0.2": 1, "fd00::2": 1, "127.0.0.1": 1, "203.0.113.7": 0, "2001:db8::7": 0} {
		var log bytes.Buffer
		s := &Server{
			config: Config{PublicURL: "https://login.example", TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}},
			log:    slog.New(slog.NewTextHandler(&log, nil)),
		}
		for range 3 {
			r := httptest.NewRequest("GET", "/", nil)
			r.RemoteAddr = "192.0.2.1:1234"
			r.Header.Set("X-Forwarded-For", client)
			if got := s.clientAddr(r); got != netip.MustParseAddr(client) {
				t.Errorf("%s is taken for %s", client, got)
			}
		}
		if n := strings.Count(log.String(), "trusted_proxies"); n != told {
			t.Errorf("%s: told %d times: %s", client, n, log.String())
		}
	}
}
