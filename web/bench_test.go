package web

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"scanlogin/hub"
	"scanlogin/qrlogin"
)

// qrTextOf is a QR text of that many characters: a public URL and a token as it is.
func qrTextOf(length, number int) string {
	token := fmt.Sprintf("%043d", number)
	host := "https://" + strings.Repeat("l", length-len("https:///s/")-len(token))
	return host + "/s/" + token
}

// BenchmarkQR compares, on the same texts in the same run, what a snapshot needs with the
// library's bare matrix, of which it is made.
func BenchmarkQR(b *testing.B) {
	const texts = 64 // the library's time differs with the text
	run := func(b *testing.B, length int, do func(text string) error) {
		var all [texts]string
		for i := range all {
			all[i] = qrTextOf(length, i)
		}
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if err := do(all[i%texts]); err != nil {
				b.Fatal(err)
			}
		}
	}
	for _, length := range []int{60, 90} {
		at := fmt.Sprintf("chars=%d/", length)
		b.Run(at+"form=bitmap", func(b *testing.B) {
			run(b, length, func(text string) error { _, err := bitmap(text); return err })
		})
		b.Run(at+"form=qr_image", func(b *testing.B) {
			run(b, length, func(text string) error { _, err := new(qrCache).dataURL(text); return err })
		})
		b.Run(at+"form=cached", func(b *testing.B) {
			var c qrCache
			run(b, length, func(text string) error { _, err := c.dataURL(text); return err })
		})
		b.Run(at+"form=svg", func(b *testing.B) {
			run(b, length, func(text string) error { _, err := qrSVG(text, 8); return err })
		})
	}
}

// BenchmarkWire is a state of a ticket, as the store has it, becoming a frame.
func BenchmarkWire(b *testing.B) {
	s := newSite(b, setup{})
	pending, scanned := s.create(nil), s.create(nil)
	s.scan(&scanned, s.phone("alice"))
	for _, state := range []struct {
		status qrlogin.Status
		login  login
	}{{qrlogin.Pending, pending}, {qrlogin.Scanned, scanned}} {
		b.Run("status="+string(state.status), func(b *testing.B) {
			topic, value, rev := s.topicOf(state.login)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := topic.Encode(value, rev, time.Now()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// topicOf is what the hub has of a ticket: how to write it, and the record.
func (s *site) topicOf(l login) (topic hub.Topic, value []byte, rev uint64) {
	s.t.Helper()
	v, err := s.web.tickets.Open(s.t.Context(), l.id, l.deviceCode)
	if err == nil {
		value, rev, err = s.store.Load(s.t.Context(), qrlogin.TicketKey(l.id))
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return s.web.topic(v), value, rev
}

// The picture grows with the text in steps, the versions of QR. Up to a public URL of 76
// characters it is below 500 bytes.
func TestQRImageIsSmall(t *testing.T) {
	for length, most := range map[int]int{60: 355, 90: 460, 122: 492} {
		for i := range 8 {
			png, err := qrPNG(qrTextOf(length, i), 1)
			if err != nil || len(png) > most {
				t.Errorf("%d characters: %d bytes, at most %d; %v", length, len(png), most, err)
			}
		}
	}
}

// A hundred who ask for one ticket at the same moment have each of its faces drawn once.
// Drawing is thousands of allocations, taking what is there is next to none, so
// the allocations tell how often it was done.
func TestEachFaceIsDrawnOnce(t *testing.T) {
	s := newSite(t, setup{})
	s.phone("alice") // what only the first request makes is there
	l := s.create(nil)
	_, value, rev := s.topicOf(l)
	s.web.qr = qrCache{}
	now := time.Now()
	for turn := range 3 {
		v, err := s.web.tickets.View(l.id, value, rev, now.Add(time.Duration(turn)*30*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		one := allocations(func() { bitmap(v.QRText) })
		images := make([]string, 100)
		all := allocations(func() {
			atOnce(len(images), func(i int) {
				wire, err := s.web.snapshot(v)
				if err != nil {
					t.Error(err)
				}
				images[i] = wire.QRImage
			})
		})
		if drawn := all / one; drawn != 1 {
			t.Errorf("face %d: drawn %d times", turn, drawn)
		}
		for _, image := range images {
			if image != images[0] {
				t.Fatalf("face %d: two pictures", turn)
			}
		}
		if text := decodeQR(t, dataURL(t, images[0])); text != v.QRText {
			t.Errorf("face %d shows %s", turn, text)
		}
	}
}

// atOnce runs f n times at once.
func atOnce(n int, f func(i int)) {
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		all.Go(func() { <-start; f(i) })
	}
	close(start)
	all.Wait()
}

// allocations counts those of the process while f runs.
func allocations(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.Mallocs - before.Mallocs
}
