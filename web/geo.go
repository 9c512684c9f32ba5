package web

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"

	"github.com/oschwald/maxminddb-golang/v2"
)

// Geo tells where addresses are, from a file in MaxMind's format: a GeoLite2 or
// GeoIP2 City database, or any with the same members. A nil one knows nothing.
type Geo struct{ db *maxminddb.Reader }

// OpenGeo opens the file. Its errors are for who configures it: they name the file
// and say in plain words what is wrong.
func OpenGeo(path string) (*Geo, error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() { // opening a pipe would wait for its writer
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	var db *maxminddb.Reader
	if err == nil {
		db, err = maxminddb.Open(path)
	}
	var system syscall.Errno
	switch {
	case err == nil:
		return &Geo{db}, nil
	case errors.As(err, &system):
		return nil, fmt.Errorf("%s: %w", path, system)
	}
	return nil, fmt.Errorf("%s: not a database in MaxMind's format, or a damaged one", path)
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
