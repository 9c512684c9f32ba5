package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"scanlogin/qrlogin/backend"
)

// FuzzUserRecord reads a user's record as if an older or newer instance had
// written it: whatever is read is written the same way again, and no rule panics
// over it or leaves it without bounds.
func FuzzUserRecord(f *testing.F) {
	l, now := testLimits(time.Hour, time.Hour, 10*time.Second), time.UnixMilli(1795180541392)
	full := &record{}
	for _, sid := range []string{"a", "b", "c"} {
		fresh := session{SID: sid, ClientID: "web", Created: now.UnixMilli(), Used: now.UnixMilli(), Refreshed: now.UnixMilli(), Generation: 1, Hash: hash(secret(sid, 1))}
		if _, _, err := full.issue(fresh, Identity{Name: "Alice"}, netip.MustParsePrefix("2001:db8::/64"), now, l); err != nil {
			f.Fatal(err)
		}
	}
	full.end("b", Reuse, now, l)
	value, _, err := full.encode(now, l)
	if err != nil {
		f.Fatal(err)
	}
	for _, text := range []string{string(value), `{}`, `null`, `[]`, `{"sessions":[{}]}`, `{"sessions":null,"ended":[{"until":-1}]}`, `{"networks":[{"network":"10.0.0.0/8","at":1}]}`, `{"name":"\ud800"}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		r, err := decodeRecord(value)
		if err != nil {
			return
		}
		once, life, err := r.encode(now, l)
		if err != nil || life <= 0 {
			t.Fatalf("encode: %v, life %v", err, life)
		}
		again, err := decodeRecord(once)
		if err != nil {
			t.Fatalf("%s: %v", once, err)
		}
		if twice, _, err := again.encode(now, l); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("written as %s, then as %s, %v", once, twice, err)
		}
		followRules(t, again, now, l)
	})
}

// followRules makes every move that there is on a record of unknown origin.
func followRules(t *testing.T, r *record, now time.Time, l limits) {
	for _, sid := range []string{"a", "b", ""} {
		s, live := r.live(sid, now, l)
		if live && !now.Before(s.ends(l)) {
			t.Fatalf("%q lives past its end", sid)
		}
		_, _, _ = r.use(sid, now, l)
		_, _, _ = r.refresh(refreshToken{sid: sid, generation: 1, secret: secret("a", 1)}, secret("a", 2), "web", now, l)
		_ = r.endBy(Principal{SID: "a"}, sid, now, l)
		r.ended(sid)
	}
	_ = r.endOthers(Principal{SID: "c"}, now, l)
	fresh := session{SID: "new", ClientID: "web", AuthTime: now.UnixMilli() + 1, Created: now.UnixMilli(), Used: now.UnixMilli(), Refreshed: now.UnixMilli(), Generation: 1}
	made, _, err := r.issue(fresh, Identity{Name: "Alice"}, netip.Prefix{}, now, l)
	if err == nil && made != nil && made.SID == "new" {
		if _, live := r.live("new", now, l); !live {
			t.Fatal("a new session is not alive")
		}
	}
	if err == nil && (len(r.Sessions) > maxSessions || r.size() > maxRecord) {
		t.Fatalf("%d sessions, %d bytes", len(r.Sessions), r.size())
	}
}

// FuzzKeyRing reads a stored key ring: every key of one that is taken can sign
// and be published under an id of its own.
func FuzzKeyRing(f *testing.F) {
	now := time.UnixMilli(1795180541392)
	c := Config{Algorithm: "EdDSA"}.withDefaults()
	for _, algorithm := range []string{"EdDSA", "ES256"} {
		var spare []key
		for range 3 {
			k, err := newKey(algorithm)
			if err != nil {
				f.Fatal(err)
			}
			spare = append(spare, k)
		}
		r := (*ring)(nil).advance(now, c, spare)
		for _, r := range []*ring{r, r.advance(now.Add(365*24*time.Hour), c, spare[2:]), r.retire(r.Current.id)} {
			value, err := json.Marshal(r)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(value)
		}
	}
	f.Add([]byte(`{}`))
	f.Add([]byte(`null`))
	f.Add([]byte(`{"current":{"der":"MAA="},"next":{}}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		r, err := decodeRing(value)
		if err != nil || r == nil {
			return
		}
		for _, k := range r.keys() {
			if k.private == nil || len(k.id) != 43 || !r.has(k.id) {
				t.Fatalf("a key without its half or id: %+v", k)
			}
			if public := k.jwk(); !public.Valid() || !public.IsPublic() {
				t.Fatalf("%s cannot be published", k.id)
			}
		}
		if _, ok := r.find(r.Current.id, now); !ok && !r.Current.over(now) {
			t.Fatal("the current key is not found")
		}
		r.due(c)
		r.signsFrom(c)
		merged := r.absorb(r, now, c)
		once, err := json.Marshal(merged)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeRing(once); err != nil {
			t.Fatalf("%s: %v", once, err)
		}
	})
}

// FuzzBans reads the stored list of bans: it is written the same way again and
// can be asked about anybody.
func FuzzBans(f *testing.F) {
	for _, text := range []string{
		`[]`, `null`, `{}`, `[{}]`, `[{"user":"demo:carol","since":"2026-11-20T13:00:00Z"}]`,
		`[{"network":"203.0.113.0/24","since":"2026-11-20T13:00:00Z","until":"2026-11-21T13:00:00Z"}]`,
		`[{"network":"::ffff:10.0.0.0/104"},{"user":"a:b","network":"10.0.0.1/8"}]`, `[{"network":"fe80::1%eth0/64"}]`,
	} {
		f.Add([]byte(text), "203.0.113.7", "demo:carol")
	}
	now := time.Date(2026, 11, 20, 13, 30, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, value []byte, from, sub string) {
		list, err := decodeBans(value)
		if err != nil {
			return
		}
		kept := active(list, now)
		once, life, err := encodeBans(kept)
		if err != nil {
			return // a year beyond 9999 is read and not written
		}
		again, err := decodeBans(once)
		if err != nil || len(again) != len(kept) || life <= 0 {
			t.Fatalf("%s: %d of %d bans, life %v, %v", once, len(again), len(kept), life, err)
		}
		b := newBans(nil, Config{})
		b.list.Store(newBanList(kept))
		banned := errors.Is(b.known(sub, now), ErrBanned)
		named := false
		for _, ban := range kept {
			named = named || ban.User != "" && ban.User == sub
			if normal, err := ban.normal(); err == nil {
				if twice, err := normal.normal(); err != nil || twice != normal {
					t.Fatalf("%+v has two normal forms: %+v", ban, twice)
				}
			}
		}
		if banned != named {
			t.Fatalf("%q: banned %v, listed %v", sub, banned, named)
		}
		if addr, err := netip.ParseAddr(from); err == nil {
			b.covers(addr, now)
		}
	})
}

// fuzzRefreshKeys are the same in every process, so that a corpus stays good.
func fuzzRefreshKeys(f *testing.F) *refreshKeys {
	k, err := deriveRefreshKeys(f.Context(), fixed{})
	if err != nil {
		f.Fatal(err)
	}
	return k
}

// fixed derives from the purpose alone.
type fixed struct{ Store }

func (fixed) Derive(_ context.Context, purpose string) ([]byte, error) {
	return hash([]byte(purpose)), nil
}

// FuzzRefreshToken reads what is presented as a refresh token: only what encode
// makes is one, character for character.
func FuzzRefreshToken(f *testing.F) {
	k := fuzzRefreshKeys(f)
	good := k.encode(refreshToken{sub: "demo:alice", sid: "WKCOZWRJVTUMLZ66ERJ4HAE2H", generation: 3, secret: secret("a", 3)})
	for _, token := range []string{good, good[:len(good)-1], good + "A", good + "\n", strings.ToUpper(good), "sl_rt_", "sl_rt_" + strings.Repeat("A", 200), "", good + "="} {
		f.Add(token)
	}
	f.Fuzz(func(t *testing.T, token string) {
		if !looksLikeRefresh(token) {
			return
		}
		if r, ok := k.decode(token); ok && k.encode(r) != token {
			t.Fatalf("%q was taken for %q", token, k.encode(r))
		}
	})
}

// FuzzRefreshTokenRoundTrip makes tokens of anything and changes one character.
func FuzzRefreshTokenRoundTrip(f *testing.F) {
	k := fuzzRefreshKeys(f)
	f.Add("demo:alice", "WKCOZWRJVTUMLZ66ERJ4HAE2H", uint64(1), []byte("secret"), uint16(0), byte('A'))
	f.Add("", "", uint64(0), []byte{}, uint16(7), byte('\n'))
	f.Add(strings.Repeat("ü", 128), strings.Repeat("s", 255), ^uint64(0), bytes.Repeat([]byte{255}, 64), uint16(499), byte('='))
	f.Fuzz(func(t *testing.T, sub, sid string, generation uint64, seed []byte, at uint16, with byte) {
		sid = sid[:min(len(sid), 255)]
		made := refreshToken{sub: sub, sid: sid, generation: generation, secret: k.firstSecret(seed, sid)}
		token := k.encode(made)
		got, ok := k.decode(token)
		if !ok || got.sub != sub || got.sid != sid || got.generation != generation || !bytes.Equal(got.secret, made.secret) {
			t.Fatalf("%+v came back as %+v, %v", made, got, ok)
		}
		if k.encode(made) != token {
			t.Fatal("a lost answer cannot be given again")
		}
		i := len(refreshPrefix) + int(at)%(len(token)-len(refreshPrefix))
		forged := token[:i] + string(rune(with)) + token[i+1:]
		if forged == token || !looksLikeRefresh(forged) {
			return
		}
		if _, ok := k.decode(forged); ok {
			t.Fatalf("%q was taken for %q", forged, token)
		}
	})
}

// FuzzAccessToken changes a good token in one place: what is not the token is
// ErrInvalidToken, and nothing worse.
func FuzzAccessToken(f *testing.F) {
	store := backend.NewMemory()
	f.Cleanup(func() { store.Close() })
	s := New(store, Config{Issuer: "https://login.example", AccessTTL: 24 * time.Hour})
	tokens, err := s.Issue(f.Context(), Grant{SID: s.NewSID(), Identity: Identity{Provider: "demo", Subject: "alice"}, ClientID: "web", AuthTime: time.Now(), Seed: []byte("seed")})
	if err != nil {
		f.Fatal(err)
	}
	// Cut out [from, to) of the token's length in 65536ths, and put this in its place.
	f.Add(uint16(0), uint16(65535), "")
	f.Add(uint16(0), uint16(0), "")
	f.Add(uint16(0), uint16(9000), "eyJhbGciOiJub25lIn0")
	f.Add(uint16(65535), uint16(65535), "\n")
	f.Add(uint16(65535), uint16(65535), "=")
	f.Add(uint16(60000), uint16(60000), "\r\n")
	f.Add(uint16(30000), uint16(30000), ".")
	f.Add(uint16(65500), uint16(65535), "A")
	f.Add(uint16(0), uint16(65535), strings.Repeat(".", 9000))
	for _, last := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" { // some spell the same signature
		f.Add(uint16((len(tokens.Access)-1)*65535/len(tokens.Access)), uint16(65535), string(last))
	}
	f.Fuzz(func(t *testing.T, from, to uint16, with string) {
		at := func(n uint16) int { return (int(n)*len(tokens.Access) + 65534) / 65535 }
		i, j := at(min(from, to)), at(max(from, to))
		token := tokens.Access[:i] + with + tokens.Access[j:]
		_, err := s.Verify(t.Context(), token)
		if token == tokens.Access && err != nil {
			t.Fatalf("the token itself: %v", err)
		}
		if token != tokens.Access && !errors.Is(err, ErrInvalidToken) {
			t.Fatalf("%q: %v", token, err)
		}
	})
}
