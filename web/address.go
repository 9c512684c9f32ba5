package web

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/mileusna/useragent"

	"scanlogin/qrlogin"
)

// addressesKnown says that clients can be told apart by their addresses: behind
// a proxy that is not trusted every browser has the proxy's.
func (s *Server) addressesKnown() bool {
	return len(s.config.TrustedProxies) > 0 || !s.secure()
}

// clientAddr is who asked: the TCP peer, unless that is a trusted proxy; then
// the rightmost entry of X-Forwarded-For that is not one. Headers of anybody
// else change nothing. Invalid: not known.
func (s *Server) clientAddr(r *http.Request) netip.Addr {
	if !s.addressesKnown() {
		return netip.Addr{}
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		if !s.trusted(addr) {
			break
		}
		if addr = parseHop(hop); !addr.IsValid() {
			s.mute.Do(func() {
				s.log.Warn("a trusted proxy names no address in X-Forwarded-For: its clients cannot be told apart, and are not limited or banned by network")
			})
			return addr
		}
	}
	return addr.Unmap().WithZone("")
}

// parseHop takes an address, and one with the port that some proxies add.
func parseHop(text string) netip.Addr {
	text = strings.TrimSpace(text)
	if addr, err := netip.ParseAddr(text); err == nil {
		return addr
	}
	withPort, _ := netip.ParseAddrPort(text) // invalid: neither
	return withPort.Addr()
}

func (s *Server) trusted(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	return slices.ContainsFunc(s.config.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// maskAddr is what a phone may learn of the browser's address: its /24 or /48;
// nothing of one that is not known.
func maskAddr(addr netip.Addr) string {
	bits := 48
	switch {
	case !addr.IsValid():
		return ""
	case addr.Is4():
		bits = 24
	}
	prefix, _ := addr.Prefix(bits) // both fit
	return prefix.String()
}

// facts are what this server saw of the browser.
func (s *Server) facts(r *http.Request) qrlogin.Facts {
	ua := useragent.Parse(r.UserAgent())
	return qrlogin.Facts{Browser: known(browsers, ua.Name), OS: known(systems, ua.OS), IP: maskAddr(s.clientAddr(r))}
}

// The parser hands unknown names through as the client wrote them; only words
// of these lists reach a phone.
var (
	browsers = []string{
		useragent.Opera, useragent.OperaMini, useragent.OperaTouch, useragent.Chrome, useragent.HeadlessChrome,
		useragent.Firefox, useragent.InternetExplorer, useragent.Safari, useragent.Edge, useragent.Vivaldi,
		useragent.SamsungBrowser,
	}
	systems = []string{
		useragent.Windows, useragent.WindowsPhone, useragent.Android, useragent.MacOS, useragent.IOS,
		useragent.Linux, useragent.FreeBSD, useragent.ChromeOS, useragent.BlackBerry,
	}
)

func known(words []string, word string) string {
	if slices.Contains(words, word) {
		return word
	}
	return ""
}
