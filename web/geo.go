package web

import (
	"fmt"
	"net/netip"

	"github.com/oschwald/maxminddb-golang/v2"
)

// Geo tells where addresses are, from a file in MaxMind's format: a GeoLite2 or
// GeoIP2 City database, or any with the same members. A nil one knows nothing.
type Geo struct{ db *maxminddb.Reader }

// OpenGeo reads the file.
func OpenGeo(path string) (*Geo, error) {
	db, err := maxminddb.Open(path)
	if err != nil {
		return nil, fmt.Errorf("web: geo: %w", err)
	}
	return &Geo{db}, nil
}

// Close lets go of the file.
func (g *Geo) Close() error {
	if g == nil {
		return nil
	}
	return g.db.Close()
}

// locate gives country (ISO 3166-1 alpha-2) and city (in English), as far as
// they are known.
func (g *Geo) locate(addr netip.Addr) (country, city string) {
	if g == nil || !addr.IsValid() {
		return "", ""
	}
	var found struct {
		Country struct {
			Code string `maxminddb:"iso_code"`
		} `maxminddb:"country"`
		City struct {
			Names struct {
				English string `maxminddb:"en"`
			} `maxminddb:"names"`
		} `maxminddb:"city"`
	}
	if err := g.db.Lookup(addr).Decode(&found); err != nil {
		return "", ""
	}
	return found.Country.Code, found.City.Names.English
}
