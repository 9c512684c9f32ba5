package backend

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash"
	"sync"
)

// A stored record:
//
//	revision 8 | write id 16 | key id 1 | nonce 12 | sealed value, tag 16
//	'------- header -------'
//
// The header is in clear because the swap script compares it; header and logical key are
// associated data, so a record opens only unchanged and only under its own key.
const (
	revisionSize = 8
	headerSize   = 24
	keyIDSize    = 1
	nonceSize    = 12
	tagSize      = 16
	bodyStart    = headerSize + keyIDSize + nonceSize

	rootSize  = 32
	dataKeyID = 1 // the data key in use; another one would be derived under another id
)

// keys is all that is derived from a root key.
type keys struct {
	prefix     string
	name, data *macs
	derive     []byte
}

func newKeys(prefix string, root []byte) *keys {
	return &keys{
		prefix: prefix,
		name:   newMACs(expand(root, "name")),
		data:   newMACs(expand(root, "data 1")),
		derive: expand(root, "derive"),
	}
}

// secret is what Derive gives.
func (k *keys) secret(purpose string) []byte { return expand(k.derive, purpose) }

// record is the name of a record and of its channel in the store.
func (k *keys) record(key string) string { return k.prefix + "r:" + k.hidden("r"+key) }

// permits is the name of a key's permits in the store.
func (k *keys) permits(key string) string { return k.prefix + "p:" + k.hidden("p"+key) }

func (k *keys) hidden(s string) string {
	sum := k.name.sum(s)
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// seal makes the stored form of a record.
func (k *keys) seal(key string, rev uint64, value []byte) []byte {
	rec := make([]byte, bodyStart, bodyStart+len(value)+tagSize)
	binary.BigEndian.PutUint64(rec, rev)
	rand.Read(rec[revisionSize:headerSize])
	rec[headerSize] = dataKeyID
	nonce := rec[headerSize+keyIDSize : bodyStart]
	rand.Read(nonce)
	return k.sealer(key).Seal(rec, nonce, value, associated(rec, key))
}

// open is the inverse of seal; an empty record is "there is none", revision 0. The value
// of a record is never nil.
func (k *keys) open(key, rec string) (value []byte, rev uint64, err error) {
	if rec == "" {
		return nil, 0, nil
	}
	if len(rec) < bodyStart+tagSize || rec[headerSize] != dataKeyID {
		return nil, 0, ErrForged
	}
	raw := []byte(rec)
	value, err = k.sealer(key).Open([]byte{}, raw[headerSize+keyIDSize:bodyStart], raw[bodyStart:], associated(raw, key))
	rev = binary.BigEndian.Uint64(raw)
	if err != nil || rev == 0 || rev >= maxRevision {
		return nil, 0, ErrForged
	}
	return value, rev, nil
}

// sealer is the cipher of one record. A key of its own keeps the number of random nonces
// under one key far from where they could repeat. It is what expand would make of key,
// because one block of HKDF-Expand is one HMAC with a counter of 1 behind (RFC 5869
// section 2.3).
func (k *keys) sealer(key string) cipher.AEAD {
	own := k.data.sum(key + "\x01")
	return aead(own[:])
}

func associated(rec []byte, key string) []byte {
	return append(append(make([]byte, 0, headerSize+len(key)), rec[:headerSize]...), key...)
}

// header is the part of a record that the swap script compares.
func header(rec string) string { return rec[:min(len(rec), headerSize)] }

// macs computes HMAC-SHA256 under one key, for any number of callers at once. Its hashes
// are kept, because setting one up costs more than using it.
type macs struct{ idle sync.Pool }

// macState is a hash and the room that it reads from and writes to.
type macState struct {
	hash.Hash
	buf []byte
}

func newMACs(key []byte) *macs {
	return &macs{sync.Pool{New: func() any { return &macState{Hash: hmac.New(sha256.New, key)} }}}
}

func (m *macs) sum(text string) (sum [sha256.Size]byte) {
	h := m.idle.Get().(*macState)
	h.Reset()
	h.buf = append(h.buf[:0], text...)
	h.Write(h.buf)
	h.buf = h.Sum(h.buf[:0])
	copy(sum[:], h.buf)
	m.idle.Put(h)
	return sum
}

// expand is HKDF-Expand (RFC 5869) to 32 bytes; it fails only for other lengths.
func expand(key []byte, info string) []byte {
	out, err := hkdf.Expand(sha256.New, key, info, rootSize)
	if err != nil {
		panic(err)
	}
	return out
}

func aead(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return gcm
}
