package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"
)

// rotateVerb is `keys rotate`.
type rotateVerb struct{}

func (rotateVerb) Run(ctx context.Context, c *Config, out io.Writer) error {
	var answer struct {
		SignsFrom time.Time `json:"signs_from"`
	}
	if err := c.ask(ctx, http.MethodPost, "/admin/keys/rotate", nil, &answer); err != nil {
		return fmt.Errorf("keys rotate: %w", err)
	}
	when := "now"
	if wait := time.Until(answer.SignsFrom).Round(time.Second); wait > 0 {
		when = fmt.Sprintf("%s, which is in %s: verifiers may know only the keys of a while ago", at(answer.SignsFrom), wait)
	}
	fmt.Fprintf(out, "The next key signs from %s.\nTokens of the key before it stay good until they expire.\n", when)
	return nil
}

// whom is a user or a network, as the admin listener writes them.
type whom struct {
	User    string `json:"user,omitempty"`
	Network string `json:"network,omitempty"`
}

func (w whom) String() string { return plain(cmp.Or(w.User, w.Network)) }

// parseWhom takes an address, a network, or else a user.
func parseWhom(text string) (whom, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		addr = addr.Unmap().WithZone("")
		return whom{Network: netip.PrefixFrom(addr, addr.BitLen()).String()}, nil
	}
	if network, err := netip.ParsePrefix(text); err == nil {
		if addr := network.Addr(); addr.Is4In6() && network.Bits() >= 96 {
			network = netip.PrefixFrom(addr.Unmap(), network.Bits()-96)
		}
		if network.Addr().Is4In6() || network.Bits() < 8 || network.Addr().Is6() && network.Bits() < 16 {
			return whom{}, usageError{fmt.Errorf("%s is wider than a ban can be: /8, or /16 of IPv6", network)}
		}
		return whom{Network: network.Masked().String()}, nil
	}
	provider, subject, _ := strings.Cut(text, ":")
	// A misspelled network must not become a user that nobody is.
	misspelled := strings.Trim(text, "0123456789abcdefABCDEF:./") == "" && (provider == "" || provider[0] <= '9' || strings.Contains(subject, ":"))
	unprintable := strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) || !utf8.ValidString(text)
	if provider == "" || subject == "" || misspelled || unprintable {
		return whom{}, usageError{fmt.Errorf("%q is not a user (demo:alice), an address or a network (203.0.113.0/24)", text)}
	}
	return whom{User: text}, nil
}

// The flags of a verb are no settings: env:"-" keeps them out of the
// environment, and the file knows the program's own flags only.
type banVerb struct {
	Who    string         `arg:"" help:"<provider>:<subject> as in a token's sub, an address, or a network like 203.0.113.0/24."`
	For    *time.Duration `env:"-" placeholder:"24h" help:"How long; without it, for good."`
	Reason string         `env:"-" placeholder:"TEXT" help:"Why, for the list; the banned do not see it."`
}

func (v *banVerb) Run(ctx context.Context, c *Config, out io.Writer) error {
	who, err := parseWhom(v.Who)
	if err != nil {
		return err
	}
	switch {
	case len(v.Reason) > 200:
		return usageError{errors.New("--reason: 200 bytes are the most")}
	case v.Reason != plain(v.Reason):
		return usageError{errors.New("--reason: one line of text is needed")}
	}
	body := struct {
		whom
		Reason     string `json:"reason,omitempty"`
		ForSeconds int64  `json:"for_seconds,omitempty"`
	}{whom: who, Reason: v.Reason}
	long := "for good"
	if v.For != nil {
		if err := checkDuration("for", *v.For); err != nil {
			return usageError{err}
		}
		rounded := v.For.Round(time.Second)
		body.ForSeconds, long = int64(rounded/time.Second), "for "+rounded.String()
	}
	if err := c.ask(ctx, http.MethodPost, "/admin/bans", body, nil); err != nil {
		return fmt.Errorf("ban add: %w", err)
	}
	fmt.Fprintf(out, "%s is banned %s.\n", who, long)
	return nil
}

type liftVerb struct {
	Who string `arg:"" help:"As in the list of bans."`
}

func (v *liftVerb) Run(ctx context.Context, c *Config, out io.Writer) error {
	who, err := parseWhom(v.Who)
	if err != nil {
		return err
	}
	err = c.ask(ctx, http.MethodPost, "/admin/bans/lift", who, nil)
	if refused, ok := errors.AsType[*refusal](err); ok && refused.Code == "not_found" {
		return fmt.Errorf("ban lift: there is no ban of %s (scanlogin ban list shows those there are)", who)
	}
	if err != nil {
		return fmt.Errorf("ban lift: %w", err)
	}
	fmt.Fprintf(out, "%s is not banned any more.\n", who)
	return nil
}

// bansVerb is `ban list`.
type bansVerb struct{}

func (bansVerb) Run(ctx context.Context, c *Config, out io.Writer) error {
	var answer struct {
		Bans []struct {
			whom
			Reason string     `json:"reason"`
			Since  time.Time  `json:"since"`
			Until  *time.Time `json:"until"`
		} `json:"bans"`
	}
	if err := c.ask(ctx, http.MethodGet, "/admin/bans", nil, &answer); err != nil {
		return fmt.Errorf("ban list: %w", err)
	}
	if len(answer.Bans) == 0 {
		fmt.Fprintln(out, "Nobody is banned.")
		return nil
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "WHO\tSINCE\tUNTIL\tREASON")
	for _, ban := range answer.Bans {
		until := "for good"
		if ban.Until != nil {
			until = at(*ban.Until)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", ban.whom, at(ban.Since), until, plain(ban.Reason))
	}
	return table.Flush()
}

func at(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// plain keeps what somebody else wrote from moving the cursor of a terminal.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

// adminToken is what opens the admin calls to who knows the secret, without
// showing it.
func adminToken(secret string) (string, error) {
	key, err := hkdf.Key(sha256.New, []byte(secret), nil, "scanlogin admin", sha256.Size)
	return hex.EncodeToString(key), err
}

// adminTokens are those that this server accepts: a secret that is on its way
// out still opens it.
func (c *Config) adminTokens() (tokens []string, err error) {
	for _, secret := range []string{c.Secret, c.SecretPrevious} {
		if secret == "" {
			continue
		}
		token, err := adminToken(secret)
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, token)
	}
	return tokens, nil
}

const (
	askWithin  = 5 * time.Second // for the whole call
	mostAnswer = 4 << 20         // bytes; many more than the list of bans can have
)

// ask makes a call to the admin listener of the running server and reads its
// answer (nil: none is expected). A *refusal is the server's own no.
func (c *Config) ask(ctx context.Context, method, path string, body, answer any) error {
	address, err := local("admin_listen", c.AdminListen)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	request, err := c.adminRequest(ctx, method, "http://"+address+path, body)
	if err != nil {
		return usageError{err}
	}
	// Straight to the listener: no proxy and no redirect gets to see the token.
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("not within %s", askWithin)
		}
		return fmt.Errorf("no server answers at %s (%w): start it, or name its admin listener with --admin-listen or SCANLOGIN_ADMIN_LISTEN", address, err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(io.LimitReader(response.Body, mostAnswer))
	if err != nil {
		return fmt.Errorf("the answer of %s broke off: %w", address, err)
	}
	if response.StatusCode == http.StatusNoContent && answer == nil {
		return nil
	}
	if response.StatusCode == http.StatusOK && answer != nil && json.Unmarshal(content, answer) == nil {
		return nil
	}
	no := &refusal{address: address, status: response.StatusCode}
	json.Unmarshal(content, no) // no problem of ours: no code
	return no
}

// adminRequest needs the secret and nothing else of the configuration.
func (c *Config) adminRequest(ctx context.Context, method, url string, body any) (*http.Request, error) {
	if err := loadFile("secret", c.SecretFile, &c.Secret); err != nil {
		return nil, err
	}
	if c.Secret == "" {
		return nil, errors.New("secret: required, the one that the running server has (demo makes one up unless SCANLOGIN_SECRET is set for it)")
	}
	token, err := adminToken(c.Secret)
	if err != nil {
		return nil, err
	}
	var content []byte
	if body != nil {
		if content, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(content))
	if err != nil {
		return nil, fmt.Errorf("admin_listen: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/json")
	return request, nil
}

// refusal is an answer that is not a success, with how to mend it.
type refusal struct {
	address string
	status  int
	Code    string `json:"code"`
	Detail  string `json:"detail"`
}

func (r *refusal) Error() string {
	switch r.Code {
	case "invalid_token":
		return fmt.Sprintf("the server at %s runs with another secret: set SCANLOGIN_SECRET or SCANLOGIN_SECRET_FILE to the one it has", r.address)
	case "too_many_bans":
		return "there is no room for one more: lift those that are not needed any more (scanlogin ban list)"
	case "networks_unknown":
		return "the server sees the address of its proxy, not of browsers: set trusted_proxies (SCANLOGIN_TRUSTED_PROXIES) where it runs"
	case "store_unavailable":
		return "the server does not reach its store now: try again"
	case "", "not_found":
		return fmt.Sprintf("what answers at %s is not scanlogin's admin listener (status %d): name it with --admin-listen or SCANLOGIN_ADMIN_LISTEN", r.address, r.status)
	}
	return fmt.Sprintf("refused with %s: %s", plain(r.Code), plain(r.Detail))
}
