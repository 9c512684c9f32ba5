package web

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
)

// cityRecord is a record as City databases have it.
func cityRecord(country, city string) mmdbtype.Map {
	record := mmdbtype.Map{"country": mmdbtype.Map{"iso_code": mmdbtype.String(country), "geoname_id": mmdbtype.Uint32(7)}}
	if city != "" {
		record["city"] = mmdbtype.Map{"names": mmdbtype.Map{"en": mmdbtype.String(city), "ja": mmdbtype.String("都市")}}
	}
	return record
}

// geoFile writes a database of a few networks.
func geoFile(t testing.TB) (path string) {
	t.Helper()
	tree, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: "GeoLite2-City", RecordSize: 24, IncludeReservedNetworks: true})
	if err != nil {
		t.Fatal(err)
	}
	for network, record := range map[string]mmdbtype.DataType{
		"203.0.113.0/24":    cityRecord("NL", "Delft"),
		"198.51.100.0/24":   cityRecord("DE", ""),
		"2001:db8:1::/48":   cityRecord("JP", "Tokyo"),
		"2001:db8:2::/48":   mmdbtype.Map{"country": mmdbtype.String("XX"), "city": mmdbtype.Uint32(1)},
		"2001:db8:3::/48":   mmdbtype.Map{},
		"2001:db8:4::/48":   mmdbtype.String("nonsense"),
		"2001:db8:5::5/128": cityRecord("FR", "Paris"),
	} {
		_, ipNet, err := net.ParseCIDR(network)
		if err != nil {
			t.Fatal(err)
		}
		if err := tree.Insert(ipNet, record); err != nil {
			t.Fatal(err)
		}
	}
	path = filepath.Join(t.TempDir(), "city.mmdb")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tree.WriteTo(file); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func openGeo(t testing.TB, path string) *Geo {
	t.Helper()
	geo, err := OpenGeo(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := geo.Close(); err != nil {
			t.Error(err)
		}
	})
	return geo
}

func TestPlacesOfAddresses(t *testing.T) {
	geo := openGeo(t, geoFile(t))
	for addr, want := range map[string]string{
		"203.0.113.9": "Delft, NL", "::ffff:203.0.113.9": "Delft, NL", "198.51.100.1": ", DE", "2001:db8:1:2::3": "Tokyo, JP",
		"2001:db8:5::5": "Paris, FR", "2001:db8:5::6": ", ", "192.0.2.1": ", ", "127.0.0.1": ", ", "::1": ", ", "2001:db8:9::": ", ",
		"2001:db8:2::1": ", ", "2001:db8:3::1": ", ", "2001:db8:4::1": ", ",
	} {
		country, city := geo.locate(netip.MustParseAddr(addr))
		if got := city + ", " + country; got != want {
			t.Errorf("%s: %q, want %q", addr, got, want)
		}
	}
	for name, nobody := range map[string]*Geo{"no file": nil, "no address": geo} {
		addr := netip.Addr{}
		if nobody == nil {
			addr = netip.MustParseAddr("203.0.113.9")
		}
		if country, city := nobody.locate(addr); country != "" || city != "" {
			t.Errorf("%s: %q %q", name, country, city)
		}
	}
	if err := (*Geo)(nil).Close(); err != nil {
		t.Error(err)
	}
}

func TestBrokenGeoFileIsRefused(t *testing.T) {
	whole, err := os.ReadFile(geoFile(t))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := map[string][]byte{"empty": {}, "text": []byte("not a database"), "cut": whole[:len(whole)/2], "zeros": make([]byte, 4096)}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"pipe", "link to a pipe"} {
		path := filepath.Join(dir, name)
		if name == "pipe" {
			err = syscall.Mkfifo(path, 0o600)
		} else {
			err = os.Symlink(filepath.Join(dir, "pipe"), path)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	// With a writer of the pipe, opening it would not wait.
	pipe, err := os.OpenFile(filepath.Join(dir, "pipe"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	const no, special = "not a database in MaxMind's format, or a damaged one", "not a regular file"
	for name, want := range map[string]string{
		"empty": no, "text": no, "cut": no, "zeros": no, "pipe": special, "link to a pipe": special, "": special,
		"missing": "no such file or directory", "text/city.mmdb": "not a directory",
	} {
		path := filepath.Join(dir, name)
		geo, err := OpenGeo(path)
		if err == nil {
			geo.Close()
			t.Errorf("%s: opened", name)
		} else if err.Error() != path+": "+want {
			t.Errorf("%s: %v", name, err)
		}
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(geoFile(t), link); err != nil {
		t.Fatal(err)
	}
	openGeo(t, link)
}

// A file that lost bytes on its way says something else, or nothing; it never
// takes a login down.
func TestDamagedGeoFileOnlyKnowsLess(t *testing.T) {
	path := geoFile(t)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	addrs := []netip.Addr{netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("2001:db8:1::1"), netip.MustParseAddr("2001:db8:2::1")}
	opened := 0
	for i := 0; i < len(whole); i += 7 {
		damaged := append([]byte(nil), whole...)
		damaged[i] ^= 0xff
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		geo, err := OpenGeo(path)
		if err != nil {
			continue
		}
		opened++
		for _, addr := range addrs {
			geo.locate(addr)
		}
		geo.Close()
	}
	if opened == 0 {
		t.Error("none of the damaged files opened")
	}
}
