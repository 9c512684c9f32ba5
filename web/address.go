package web

import (
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
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	addr := peer.Addr()
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i, hop := range slices.Backward(hops) {
		if !s.trusted(addr) {
			break
		}
		next := parseHop(hop)
		if !next.IsValid() && i < len(hops)-1 {
			break // what the last proxy but one saw; further back nothing can be read
		}
		if !next.IsValid() {
			s.mute.Do(func() {
				s.log.Warn("a trusted proxy names no address in X-Forwarded-For: its clients cannot be told apart, and are not limited or banned by network")
			})
			return next
		}
		addr = next
	}
	addr = addr.Unmap().WithZone("")
	if s.secure() && (addr.IsPrivate() || addr.IsLoopback()) {
		s.inside.Do(func() {
			s.log.Warn("a client has an address of a private network: if that is a proxy, name it in trusted_proxies too, or everybody behind it counts as one",
				"address", maskAddr(addr))
		})
	}
	return addr
}

// parseHop takes an address, and one with the port that some proxies add.
func parseHop(text string) netip.Addr {
	text = strings.TrimSpace(text)
	if addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")); err == nil {
		return addr
	}
	withPort, _ := netip.ParseAddrPort(text) // invalid: neither
	return withPort.Addr()
}

func (s *Server) trusted(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	return slices.ContainsFunc(s.config.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// around is the network of an address, so many bits of IPv4 or IPv6; invalid: the
// address is not known.
func around(addr netip.Addr, of4, of6 int) netip.Prefix {
	bits := of6
	if addr.Is4() {
		bits = of4
	}
	network, _ := addr.Prefix(bits) // fits
	return network
}

// networkOf is what one customer has of the internet, for limits and wrong tries.
func networkOf(addr netip.Addr) netip.Prefix { return around(addr, 24, 64) }

// siteOf is the IPv6 network around it, of which one customer may have all; invalid
// of IPv4.
func siteOf(addr netip.Addr) netip.Prefix {
	if addr.Is4() {
		return netip.Prefix{}
	}
	return around(addr, 0, 48)
}

// ownNetwork is what one household or one server has of the internet: to tell
// whether two are in the same place.
func ownNetwork(addr netip.Addr) netip.Prefix { return around(addr, 32, 64) }

// maskAddr is what a phone may learn of the browser's address; nothing of one that
// is not known.
func maskAddr(addr netip.Addr) string {
	if !addr.IsValid() {
		return ""
	}
	return around(addr, 24, 48).String()
}

// facts are what this server saw of the browser, or of the phone.
func (s *Server) facts(r *http.Request) qrlogin.Facts {
	ua, from := useragent.Parse(r.UserAgent()), s.clientAddr(r)
	f := qrlogin.Facts{
		Browser: known(browsers, ua.Name), OS: known(systems, ua.OS), IP: maskAddr(from), Network: ownNetwork(from),
	}
	f.Country, f.City = s.config.Geo.locate(from)
	return f
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
