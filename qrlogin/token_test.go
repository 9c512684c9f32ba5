package qrlogin

import (
	"errors"
	"testing"
	"time"
)

func TestQRTextRotates(t *testing.T) {
	const rotate = 30 * time.Second
	ticket := &Ticket{Created: noon}
	for _, row := range []struct {
		at   time.Duration
		step uint32
	}{{0, 0}, {rotate - 1, 0}, {rotate, 1}, {10 * rotate, 10}, {-time.Second, 0}} {
		if got := ticket.step(rotate, noon.Add(row.at)); got != row.step {
			t.Errorf("step after %s = %d, want %d", row.at, got, row.step)
		}
	}
	for _, row := range []struct {
		at   time.Duration // since the face was first shown
		good bool
	}{{-qrEarly - 1, false}, {-qrEarly, true}, {0, true}, {rotate, true}, {rotate + qrLate - 1, true}, {rotate + qrLate, false}} {
		if got := ticket.good(3, rotate, noon.Add(3*rotate+row.at)); got != row.good {
			t.Errorf("good %s after the face was shown = %t", row.at, got)
		}
	}
	device := &Ticket{Created: noon, Device: true}
	if device.step(rotate, noon.Add(time.Hour)) != 0 || !device.good(0, rotate, noon.Add(time.Hour)) {
		t.Error("a device client's QR text changed")
	}
}

func TestForgedQRTextIsUnknown(t *testing.T) {
	key, id := []byte("key"), random(idBytes)
	token := qrToken(key, id, 7)
	if got, step, err := parseQRToken(key, token); got != id || step != 7 || err != nil {
		t.Fatalf("own token: %s %d %v", got, step, err)
	}
	for i := range token {
		forged := []byte(token)
		forged[i] ^= 1
		if _, _, err := parseQRToken(key, string(forged)); !errors.Is(err, ErrNotFound) {
			t.Errorf("changed at %d: %v", i, err)
		}
	}
	for _, forged := range []string{"", id, token + "A", token[1:], token + "=", " " + token, token + "\n", token[:5] + "\r\n" + token[5:], qrToken([]byte("other"), id, 7)} {
		if _, _, err := parseQRToken(key, forged); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %v", forged, err)
		}
	}
}

func TestUserCodeAsPeopleTypeIt(t *testing.T) {
	for _, typed := range []string{"BCDF-GHJK", "bcdfghjk", " bcdf ghjk ", "BCDF–GHJK", "b.c.d.f.g.h.j.k", "BCDF/GHJK", "BCDF,GHJK", "BCDF\u2011GHJK", "BCDF\u00a0GHJK", "BCDF－GHJK", "ＢＣＤＦｇｈｊｋ", "BCDF\u200bGHJK"} {
		if code, err := parseUserCode(typed); code != "BCDFGHJK" || err != nil {
			t.Errorf("%q: %q, %v", typed, code, err)
		}
	}
	for _, typed := range []string{"", "BCDF", "BCDF-GHJA", "BCDF-GHJKL", "BCDF-GHJ1", "BCDFGHJÉ", "ВCDFGHJK", "BCDFGHJK\x00"} {
		if code, err := parseUserCode(typed); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %q, %v", typed, code, err)
		}
	}
	for range 1000 {
		code := newUserCode()
		if got, err := parseUserCode(FormatUserCode(code)); got != code || err != nil {
			t.Fatalf("own code %q: %q, %v", code, got, err)
		}
	}
}

func TestNamesAreMasked(t *testing.T) {
	for name, want := range map[string]string{"": "***", "A": "A***", "Bob": "B***", "Anne": "A***e", "Alice": "A***e", "张三": "张***", "欧阳娜娜": "欧***娜"} {
		if got := mask(name); got != want {
			t.Errorf("mask(%q) = %q, want %q", name, got, want)
		}
	}
}
