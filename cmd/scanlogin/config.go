package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"reflect"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"scanlogin/qrlogin/backend"
)

// Config is every setting. A field's flag, environment
// name and YAML key all follow from its name.
type Config struct {
	ConfigFile string `name:"config" placeholder:"FILE" help:"YAML file." yaml:"-"`

	Env            string         `default:"" enum:",production" help:"production refuses demo settings." yaml:"env"`
	Listen         string         `default:":8080" help:"Public address." yaml:"listen"`
	AdminListen    string         `default:"127.0.0.1:9090" help:"Address of metrics, profiles and admin calls; keep it private." yaml:"admin_listen"`
	PublicURL      string         `name:"public-url" help:"Scheme and host that browsers and phones use; issuer and QR prefix." yaml:"public_url"`
	RedisURL       string         `name:"redis-url" help:"redis[s]://, unix://, redis[s]+sentinel://, redis[s]+cluster://. Empty: embedded store, one process." yaml:"redis_url"`
	RedisURLFile   string         `name:"redis-url-file" placeholder:"FILE" help:"File that holds the Redis URL." yaml:"-"`
	RedisPrefix    string         `default:"scanlogin:" help:"Prefix of keys and channels." yaml:"redis_prefix"`
	Secret         string         `help:"32 bytes or more, the same on every instance." yaml:"secret"`
	SecretFile     string         `placeholder:"FILE" help:"File that holds the secret." yaml:"-"`
	SecretPrevious string         `help:"The secret before this one, still accepted." yaml:"secret_previous"`
	SecretPrevFile string         `name:"secret-previous-file" placeholder:"FILE" help:"File that holds the previous secret." yaml:"-"`
	DemoUsers      []string       `help:"Names that may sign in without a credential; for trying only." yaml:"demo_users"`
	Origins        []string       `help:"Origins allowed besides the public URL's." yaml:"origins"`
	TrustedProxies []netip.Prefix `help:"Networks whose X-Forwarded-For counts." yaml:"trusted_proxies"`
	TicketTTL      time.Duration  `name:"ticket-ttl" default:"180s" help:"How long a QR login waits for a scan." yaml:"ticket_ttl"`
	ConfirmTTL     time.Duration  `name:"confirm-ttl" default:"60s" help:"From scan to decision." yaml:"confirm_ttl"`
	RedeemTTL      time.Duration  `name:"redeem-ttl" default:"60s" help:"From decision to token." yaml:"redeem_ttl"`
	QRRotate       time.Duration  `name:"qr-rotate" default:"30s" help:"Life of one QR picture." yaml:"qr_rotate"`
	Heartbeat      time.Duration  `default:"25s" help:"Ping interval of open connections." yaml:"heartbeat"`
	AccessTTL      time.Duration  `name:"access-ttl" default:"10m" help:"Life of an access token." yaml:"access_ttl"`
	RefreshTTL     time.Duration  `name:"refresh-ttl" default:"720h" help:"Longest life of a session." yaml:"refresh_ttl"`
	RefreshIdle    time.Duration  `default:"168h" help:"Life of a session that is not refreshed." yaml:"refresh_idle"`
	RefreshGrace   time.Duration  `default:"10s" help:"How long a lost token answer may be asked for again." yaml:"refresh_grace"`
	SigningAlg     string         `default:"EdDSA" enum:"EdDSA,ES256,RS256" help:"Algorithm that new keys sign tokens with: EdDSA, ES256 or RS256." yaml:"signing_alg"`
	CheckCode      string         `default:"risk" enum:"off,risk,always" help:"Two digits that the phone shows and the person types in the browser: off, risk, always." yaml:"check_code"`
	GeoIPDB        string         `name:"geoip-db" placeholder:"FILE" help:"City database in MaxMind's format, to name the place of a login." yaml:"geoip_db"`
	Limits         limits         `default:"on" placeholder:"on|off" help:"Limits on what anybody may do: on, or off for load tests; single ones by name in the file." yaml:"limits"`
	Drain          time.Duration  `default:"10s" help:"From SIGTERM to the last connection." yaml:"drain"`
	Log            string         `default:"" enum:",text,json" help:"Log format; text on a terminal, else json." yaml:"log"`
	LogLevel       string         `default:"info" enum:"info,debug" help:"Log level: info, or debug, which also says why a token was refused." yaml:"log_level"`

	// Clients are in the file only, by client id.
	Clients map[string]client `kong:"-" yaml:"clients,omitempty"`
	// Callers are in the file only, by name.
	Callers map[string]backEnd `kong:"-" yaml:"callers,omitempty"`
	// Providers are in the file only, by name.
	Providers providers `kong:"-" yaml:"providers,omitempty"`
}

// prepare makes the configuration ready to be served, or says in one line
// what is wrong with which field.
func (c *Config) prepare() error {
	if err := c.load(); err != nil {
		return err
	}
	return c.check()
}

// storeName says where the state is, for people.
func (c *Config) storeName() string {
	if c.RedisURL == "" {
		return "memory"
	}
	return "redis"
}

// load reads secrets from the files that were named.
func (c *Config) load() error {
	for _, f := range []struct {
		name, path string
		value      *string
	}{
		{"redis_url", c.RedisURLFile, &c.RedisURL},
		{"secret", c.SecretFile, &c.Secret},
		{"secret_previous", c.SecretPrevFile, &c.SecretPrevious},
	} {
		if err := loadFile(f.name, f.path, f.value); err != nil {
			return err
		}
	}
	return cmp.Or(c.loadCallers(), c.loadProviders())
}

// loadFile reads one secret, if a file was named for it.
func loadFile(name, path string, value *string) error {
	if path == "" {
		return nil
	}
	if *value != "" {
		return fmt.Errorf("%s_file: %s is set too; keep one of them", name, name)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("%s_file: %w", name, err)
	}
	*value = strings.TrimSpace(string(content))
	return nil
}

// check refuses what can't work.
func (c *Config) check() error {
	if err := c.checkDurations(); err != nil {
		return err
	}
	if c.PublicURL == "" {
		return errors.New("public_url: required, for example https://login.example.com (to try it out, run: scanlogin demo)")
	}
	if c.Secret == "" {
		return errors.New("secret: required, 32 bytes or more and the same on every instance; `openssl rand -base64 32` makes one")
	}
	for name, address := range map[string]string{"listen": c.Listen, "admin_listen": c.AdminListen} {
		if !validAddress(address) {
			return fmt.Errorf("%s: %q is not host:port or :port", name, address)
		}
	}
	if err := normalise("public_url", &c.PublicURL); err != nil {
		return err
	}
	for i := range c.Origins {
		if err := normalise("origins", &c.Origins[i]); err != nil {
			return err
		}
	}
	if c.RedisURL != "" {
		if err := backend.CheckURL(c.RedisURL); err != nil {
			return fmt.Errorf("redis_url: %w", err)
		}
	}
	switch {
	case len(c.Secret) < 32:
		return fmt.Errorf("secret: %d bytes are too few, 32 or more are needed", len(c.Secret))
	case c.SecretPrevious != "" && len(c.SecretPrevious) < 32:
		return fmt.Errorf("secret_previous: %d bytes are too few, 32 or more are needed", len(c.SecretPrevious))
	case c.Env == "production" && len(c.DemoUsers) > 0:
		return errors.New("demo_users: anybody could sign in; not together with env=production")
	}
	places, err := openPlaces(c)
	if err != nil {
		return err
	}
	if err := places.Close(); err != nil {
		return fmt.Errorf("geoip_db: %w", err)
	}
	if err := c.checkCallers(); err != nil {
		return err
	}
	if err := c.checkProviders(); err != nil {
		return err
	}
	for _, user := range c.DemoUsers {
		if strings.TrimSpace(user) == "" || len(user) > 64 {
			return fmt.Errorf("demo_users: %q is not a name", user)
		}
	}
	return nil
}

// checkDurations goes through every duration there is, so that a new one
// can't be forgotten.
func (c *Config) checkDurations() error {
	v := reflect.ValueOf(*c)
	for i := range v.NumField() {
		d, ok := v.Field(i).Interface().(time.Duration)
		if !ok {
			continue
		}
		if err := checkDuration(v.Type().Field(i).Tag.Get("yaml"), d); err != nil {
			return err
		}
	}
	return nil
}

func checkDuration(name string, d time.Duration) error {
	switch {
	case d < time.Second:
		return fmt.Errorf("%s: %s is too short, 1s is the least", name, d)
	case d > longest:
		return fmt.Errorf("%s: %s is too long, %s (ten years) is the most", name, d, longest)
	}
	return nil
}

// longest leaves room to add lives up.
const longest = 87600 * time.Hour

// validAddress says whether a listener can be asked for this one.
func validAddress(address string) bool {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	if _, err := net.LookupPort("tcp", port); err != nil { // a number, or a name like https
		return false
	}
	digits := strings.Trim(host, "0123456789.") == ""
	return host == "" || !digits || net.ParseIP(host) != nil
}

func validPort(port string) bool {
	_, err := strconv.ParseUint(port, 10, 16)
	return err == nil
}

// normalise brings an origin into the form that browsers send: scheme and
// host in lower case, no default port.
func normalise(name string, origin *string) error {
	u, err := url.Parse(*origin)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || strings.Contains(u.Host, "*") ||
		u.User != nil || strings.Trim(u.Path, "/") != "" || strings.ContainsAny(*origin, "?#") ||
		strings.HasSuffix(u.Host, ":") || u.Port() != "" && !validPort(u.Port()) {
		return fmt.Errorf("%s: %q must be scheme and host (and port) only, for example https://login.example.com", name, *origin)
	}
	host := strings.ToLower(u.Host)
	if port := u.Port(); port == "80" && u.Scheme == "http" || port == "443" && u.Scheme == "https" {
		host = strings.TrimSuffix(host, ":"+port)
	}
	*origin = u.Scheme + "://" + host
	return nil
}

// print writes the configuration as YAML that could be used as a file.
func (c *Config) print(out io.Writer) error {
	shown := *c
	for _, secret := range []*string{&shown.Secret, &shown.SecretPrevious} {
		if *secret != "" {
			*secret = "(hidden)"
		}
	}
	if scheme, rest, ok := strings.Cut(shown.RedisURL, "://"); ok {
		if i := strings.LastIndexByte(rest, '@'); i >= 0 {
			shown.RedisURL = scheme + "://(hidden)" + rest[i:]
		}
	}
	encoder := yaml.NewEncoder(out)
	encoder.SetIndent(2)
	if err := encoder.Encode(shown); err != nil {
		return err
	}
	return encoder.Close()
}
