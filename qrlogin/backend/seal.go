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
	prefix             string
	name, data, derive []byte
}

func newKeys(prefix string, root []byte) *keys {
	return &keys{
		prefix: prefix,
		name:   expand(root, "name"),
		data:   expand(root, "data 1"),
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
	mac := hmac.New(sha256.New, k.name)
	mac.Write([]byte(s))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:16])
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
// under one key far from where they could repeat.
func (k *keys) sealer(key string) cipher.AEAD { return aead(expand(k.data, key)) }

func associated(rec []byte, key string) []byte {
	return append(append(make([]byte, 0, headerSize+len(key)), rec[:headerSize]...), key...)
}

// header is the part of a record that the swap script compares.
func header(rec string) string { return rec[:min(len(rec), headerSize)] }

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
