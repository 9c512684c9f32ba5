package backend

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// fuzzKeys are the same in every process, so that a corpus stays good.
func fuzzKeys() *keys { return newKeys("p:", bytes.Repeat([]byte{7}, rootSize)) }

// FuzzStoredRecord opens what somebody else put into the store: only what seal makes opens,
// byte for byte.
func FuzzStoredRecord(f *testing.F) {
	k := fuzzKeys()
	good := k.seal("ticket:a", 1795180541392882, []byte(`{"id":"a"}`))
	for _, rec := range [][]byte{nil, {0}, good, k.seal("ticket:a", 1, nil), k.seal("ticket:b", maxRevision, []byte("x")), good[:len(good)-1], good[:bodyStart], bytes.Repeat([]byte{dataKeyID}, bodyStart+tagSize)} {
		f.Add("ticket:a", rec)
	}
	f.Fuzz(func(t *testing.T, key string, rec []byte) {
		value, rev, err := k.open(key, string(rec))
		if len(rec) == 0 {
			if value != nil || rev != 0 || err != nil {
				t.Fatalf("no record: %q, %d, %v", value, rev, err)
			}
			return
		}
		if err != nil {
			if value != nil || rev != 0 {
				t.Fatalf("refused with %q, %d", value, rev)
			}
			return
		}
		if value == nil || rev == 0 || rev >= maxRevision || rev != binary.BigEndian.Uint64(rec) {
			t.Fatalf("%q at %d", value, rev)
		}
		if again := k.sealer(key).Seal(bytes.Clone(rec[:bodyStart]), rec[headerSize+keyIDSize:bodyStart], value, associated(rec, key)); !bytes.Equal(again, rec) {
			t.Fatalf("%x opens and is not what seal makes of it", rec)
		}
	})
}

// FuzzSealedRecord seals what fuzzing makes up and opens it again; with any one bit flipped,
// cut anywhere, or under another key it does not open.
func FuzzSealedRecord(f *testing.F) {
	k := fuzzKeys()
	f.Add("ticket:a", "ticket:b", []byte(`{"id":"a"}`), uint64(1795180541392882), uint32(0))
	f.Add("", "\x00", []byte{}, uint64(1), uint32(headerSize*8))
	f.Add("user:demo:alice", "user:demo:alic", bytes.Repeat([]byte("x"), 300), uint64(maxRevision-1), uint32(bodyStart*8+3))
	f.Fuzz(func(t *testing.T, key, other string, value []byte, rev uint64, bit uint32) {
		rec := k.seal(key, rev, value)
		got, at, err := k.open(key, string(rec))
		if good := rev > 0 && rev < maxRevision; good != (err == nil) || good && (!bytes.Equal(got, value) || at != rev) {
			t.Fatalf("sealed %q at %d, opened %q at %d, %v", value, rev, got, at, err)
		}
		if len(header(string(rec))) != headerSize {
			t.Fatalf("header of %d bytes", len(header(string(rec))))
		}
		if _, _, err := k.open(other, string(rec)); key != other && err == nil {
			t.Fatalf("the record of %q opens as %q's", key, other)
		}
		at64 := int(bit) % (len(rec) * 8)
		changed := bytes.Clone(rec)
		changed[at64/8] ^= 1 << (at64 % 8)
		if _, _, err := k.open(key, string(changed)); err == nil {
			t.Fatalf("it opens with bit %d flipped", at64)
		}
		if cut := rec[:at64/8]; len(cut) > 0 {
			if _, _, err := k.open(key, string(cut)); err == nil {
				t.Fatalf("%d of %d bytes open", len(cut), len(rec))
			}
		}
		if k.record(key) == k.permits(key) || key != other && k.record(key) == k.record(other) {
			t.Fatal("two things have one name")
		}
	})
}

// FuzzRootRecord reads a root record that is none of ours: it gives a key only if it holds a
// wrapping that wrap made.
func FuzzRootRecord(f *testing.F) {
	t0 := &root{
		name: "p:root", key: bytes.Repeat([]byte{1}, rootSize),
		wrapping: fromSecret(secret(1), "p:", "scanlogin wrapping"), previous: fromSecret(secret(2), "p:", "scanlogin wrapping"),
	}
	now, before := t0.wrap(nil, t0.wrapping), t0.wrap(nil, t0.previous)
	for _, parts := range [][][]byte{nil, {now}, {before}, {now, before}, {before, now}, {before, before}, {now[1:]}, {make([]byte, wrappingSize), now}} {
		f.Add(append([]byte{rootFormat}, bytes.Join(parts, nil)...))
	}
	f.Add([]byte{})
	f.Add(append([]byte{rootFormat + 1}, now...))
	f.Fuzz(func(t *testing.T, record []byte) {
		key, old := t0.unwrap(string(record))
		if key == nil {
			if old != nil {
				t.Fatal("a wrapping without a key")
			}
			return
		}
		if len(key) != rootSize || record[0] != rootFormat {
			t.Fatalf("a key of %d bytes from %x", len(key), record)
		}
		by := t0.wrapping
		if old != nil {
			by = t0.previous
		}
		for rest := record[1:]; ; rest = rest[wrappingSize:] {
			if len(rest) < wrappingSize {
				t.Fatalf("no wrapping in %x makes this key", record)
			}
			if made := aead(by).Seal(bytes.Clone(rest[:nonceSize]), rest[:nonceSize], key, []byte(t0.name)); bytes.Equal(made, rest[:wrappingSize]) {
				return
			}
		}
	})
}
