package backend

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"sync"
	"testing"
)

// Kept hashes give, to many at once, what new ones give: HKDF and HMAC as the libraries
// have them.
func TestKeptHashesAreTheLibrarys(t *testing.T) {
	root := bytes.Repeat([]byte{7}, rootSize)
	k := newKeys("p:", root)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := range 200 {
				key := strings.Repeat("k", i*n)
				mac := hmac.New(sha256.New, expand(root, "name"))
				mac.Write([]byte("r" + key))
				if name := "p:r:" + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:16]); k.record(key) != name {
					t.Errorf("%d bytes: name %s, want %s", len(key), k.record(key), name)
				}
				nonce, text := make([]byte, nonceSize), []byte(rand.Text())
				want := aead(expand(expand(root, "data 1"), key)).Seal(nil, nonce, text, nil)
				if !bytes.Equal(k.sealer(key).Seal(nil, nonce, text, nil), want) {
					t.Errorf("%d bytes: another cipher than HKDF's", len(key))
				}
			}
		})
	}
	all.Wait()
}
