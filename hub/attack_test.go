package hub

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
)

// The first byte of a frame (RFC 6455 section 5.2).
const (
	fin, rsv1                         = 0x80, 0x40
	cont, text, binaryOp              = 0x0, 0x1, 0x2
	closeOp, pingOp, pongOp, reserved = 0x8, 0x9, 0xA, 0x3
)

// frame is a masked frame, as a client must send it.
func frame(b0 byte, payload string) []byte { return rawFrame(b0, payload, true) }

func rawFrame(b0 byte, payload string, masked bool) []byte {
	b := []byte{b0, 0}
	switch n := len(payload); {
	case n > 0xFFFF:
		b[1] = 127
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	case n > 125:
		b[1] = 126
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	default:
		b[1] = byte(n)
	}
	if !masked {
		return append(b, payload...)
	}
	b[1] |= 0x80
	var key [4]byte
	rand.Read(key[:])
	b = append(b, key[:]...)
	for i := range len(payload) {
		b = append(b, payload[i]^key[i%4])
	}
	return b
}

func join(frames ...[]byte) []byte { return bytes.Join(frames, nil) }

func TestBadFramesAndMessages(t *testing.T) {
	kb := strings.Repeat("x", 1024)
	for _, c := range []struct {
		name   string
		bytes  []byte
		code   Code
		reason string
	}{
		{"unmasked", rawFrame(fin|text, "ping", false), ProtocolError, ""},
		{"reserved opcode", frame(fin|reserved, ""), ProtocolError, ""},
		{"compressed without being agreed (decompression bomb)", frame(fin|rsv1|text, "ping"), ProtocolError, ""},
		{"continuation of nothing", frame(fin|cont, "x"), ProtocolError, ""},
		{"text within a text", join(frame(text, "pi"), frame(fin|text, "ng")), ProtocolError, ""},
		{"ping of 126 bytes", frame(fin|pingOp, kb[:126]), ProtocolError, ""},
		{"fragmented ping", frame(pingOp, "x"), ProtocolError, ""},
		{"close with code 1005", frame(fin|closeOp, "\x03\xed"), ProtocolError, ""},
		{"close reason that is not UTF-8", frame(fin|closeOp, "\x03\xe8\xff"), ProtocolError, ""},
		{"binary", frame(fin|binaryOp, "ping"), NotText, "not_text"},
		{"not UTF-8", frame(fin|text, "ping \xff"), BadUTF8, "bad_utf8"},
		{"UTF-8 cut at the end", frame(fin|text, "ping \xe2\x82"), BadUTF8, "bad_utf8"},
		{"unknown type", frame(fin|text, "shout"), BadMessage, "bad_message"},
		{"empty", frame(fin|text, ""), BadMessage, "bad_message"},
		{"second watch", join(frame(fin|text, "watch a"), frame(fin|text, "watch a")), BadMessage, "bad_message"},
		{"1025 bytes", frame(fin|text, kb+"x"), TooBig, "too_big"},
		{"600 + 600 bytes", join(frame(text, kb[:600]), frame(fin|cont, kb[:600])), TooBig, "too_big"},
		{"70,000 bytes", frame(fin|text, strings.Repeat("x", 70000)), TooBig, "too_big"},
		{"a gigabyte announced", append([]byte{fin | text, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0, 1, 2, 3, 4}, kb+"x"...), TooBig, "too_big"},
		{"a length over 2^63", []byte{fin | text, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}, TooBig, "too_big"},
		{"wrong credential", frame(fin|text, "watch wrong"), Unauthorized, "invalid_device_code"},
		{"unknown ticket", frame(fin|text, "watch unknown"), Unknown, "unknown"},
		{"store away", frame(fin|text, "watch down"), TryLater, "try_later"},
		{"panic while reading", frame(fin|text, "panic"), Internal, "internal"},
		{"panic while encoding", frame(fin|text, "watch panics"), Internal, "internal"},
		{"encoding fails", frame(fin|text, "watch broken"), Internal, "internal"},
		{"eleven messages", bytes.Repeat(frame(fin|text, "ping"), 11), TooMany, "too_many"},
		{"eleven pings", bytes.Repeat(frame(fin|pingOp, "x"), 11), TooMany, "too_many"},
		{"eleven unasked pongs", bytes.Repeat(frame(fin|pongOp, "x"), 11), TooMany, "too_many"},
		{"eleven of all kinds", append(bytes.Repeat(join(frame(fin|pongOp, ""), frame(fin|text, "refresh")), 5),
			frame(fin|pingOp, "")...), 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := onTCP(t, Config{CloseWithin: 100 * time.Millisecond})
			r.put("a", "pending", time.Hour)
			r.put("panics", "panic", time.Hour)
			r.put("broken", "pending@soon", time.Hour)
			ws := r.connect()
			ws.expect("hello")
			if _, err := ws.NetConn().Write(c.bytes); err != nil {
				t.Fatal(err)
			}
			if c.code == 0 { // nothing is wrong yet
				ws.NetConn().Close()
				until(t, "let go", func() bool { return r.hub.Stats().WS == 0 })
				return
			}
			ws.closed(c.code, c.reason)
			if n, err := ws.NetConn().Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("after the close frame: %d bytes, %v", n, err)
			}
			// The hub serves the next one.
			next := r.watching("a", "pending")
			r.put("a", "confirmed", time.Hour)
			next.expect("confirmed")
		})
	}
}

func TestTenMessagesInTenSecondsAreFine(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := onPipes(t, Config{WatchWithin: time.Hour, Heartbeat: time.Hour})
		c := r.connect()
		c.expect("hello")
		for range 5 {
			for range 10 {
				c.say("ping")
				c.expect("pong")
			}
			<-time.After(10 * time.Second)
		}
		c.say("ping")
		c.expect("pong")
		<-time.After(9 * time.Second)
		for range 9 {
			c.say("ping")
			c.expect("pong")
		}
		c.say("ping") // eleven in ten seconds, of any ten
		c.closed(TooMany, "too_many")
	})
}

func TestBadHandshakes(t *testing.T) {
	r := onTCP(t, Config{HandshakeError: func(w http.ResponseWriter, _ *http.Request, status int, reason error) {
		w.Header().Set("X-Answered-By", "caller")
		http.Error(w, reason.Error(), status)
	}})
	good := http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"},
		"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
	}
	for _, name := range []string{"Connection", "Upgrade", "Sec-Websocket-Version", "Sec-Websocket-Key"} {
		for _, value := range []string{"", "8"} {
			q, _ := http.NewRequest("GET", "http://hub/ws", nil)
			q.Header = good.Clone()
			q.Header.Set(name, value)
			tr := &http.Transport{DialContext: r.dial}
			res, err := (&http.Client{Transport: tr}).Do(q)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			tr.CloseIdleConnections()
			if res.StatusCode/100 != 4 || res.Header.Get("X-Answered-By") != "caller" {
				t.Errorf("%s: %q: %s", name, value, res.Status)
			}
		}
	}
}

func TestDecompressionBombCompressionIsNeverAgreed(t *testing.T) {
	r := onTCP(t, Config{})
	d := websocket.Dialer{NetDialContext: r.dial, EnableCompression: true, Subprotocols: []string{"other", "scanlogin.v1"}}
	ws, res, err := d.Dial("ws://hub/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	if ext := res.Header.Values("Sec-Websocket-Extensions"); len(ext) != 0 {
		t.Error(ext)
	}
	if ws.Subprotocol() != "scanlogin.v1" {
		t.Error(ws.Subprotocol())
	}
}

func TestStolenSecondSocketReplacesNobodyWithoutTheCredential(t *testing.T) {
	r := onTCP(t, Config{})
	r.put("a", "pending", time.Hour)
	honest := r.watching("a", "pending")
	thief := r.connect()
	thief.expect("hello")
	thief.say("watch wrong")
	thief.closed(Unauthorized, "invalid_device_code")
	r.put("a", "scanned", time.Hour)
	honest.expect("scanned")
}

func TestNewerSocketReplacesTheOlder(t *testing.T) {
	r := onTCP(t, Config{})
	r.put("a", "pending", time.Hour)
	for range 3 {
		old := r.watching("a", "pending")
		next := r.watching("a", "pending")
		old.closed(Replaced, "replaced")
		r.put("a", "scanned", time.Hour)
		next.expect("scanned")
		r.put("a", "pending", time.Hour)
		next.expect("pending")
		next.Close()
	}
	until(t, "all gone", func() bool { return r.hub.Stats().WS == 0 })
	r.hub.mu.Lock()
	defer r.hub.mu.Unlock()
	if len(r.hub.holder) != 0 {
		t.Error("a holder was forgotten")
	}
}

// The one that was sent away must not take the newer one's place with it.
func TestReplacedSocketLeavesTheNewerOneInPlace(t *testing.T) {
	r := onTCP(t, Config{})
	r.put("a", "pending", time.Hour)
	last := r.watching("a", "pending")
	for range 3 {
		next := r.watching("a", "pending")
		last.closed(Replaced, "replaced")
		until(t, "released", func() bool { return r.hub.Stats().WS == 1 })
		last = next
	}
}

func TestNothingIsLookedUpAfterTheEnd(t *testing.T) {
	r := onTCP(t, Config{})
	r.put("a", "pending", time.Hour)
	ws := r.connect()
	ws.expect("hello")
	ws.NetConn().Write(join(frame(fin|text, "shout"), frame(fin|text, "watch a")))
	ws.closed(BadMessage, "bad_message")
	until(t, "released", func() bool { return r.hub.Stats().WS == 0 })
	if r.observed("hub.look") != 0 {
		t.Error(r.seen)
	}
}

// The peer keeps sending while we close: a TCP reset would eat the close frame.
func TestResetDoesNotEatTheLastFrames(t *testing.T) {
	r := onTCP(t, Config{})
	flood := bytes.Repeat(frame(fin|pingOp, strings.Repeat("x", 125)), 50)
	for range 100 {
		ws := r.connect()
		ws.expect("hello")
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			for range 20 {
				if _, err := ws.NetConn().Write(flood); err != nil {
					return
				}
			}
		}()
		<-stopped // only now it reads
		ws.closed(TooMany, "too_many")
		ws.Close()
	}
}

func TestSlowConsumerDoesNotDelayOthers(t *testing.T) {
	r := onTCP(t, Config{WriteWithin: 500 * time.Millisecond})
	big := strings.Repeat("x", 8<<20) // more than the kernel takes
	r.put("slow", "pending", time.Hour)
	r.put("b", "pending", time.Hour)
	slow := r.watching("slow", "pending")
	other := r.watching("b", "pending")
	r.put("slow", big, time.Hour)
	for _, status := range []string{"scanned", "pending", "scanned", "pending"} {
		r.put("b", status, time.Hour)
		other.expect(status)
	}
	if got := r.hub.Stats().WS; got != 2 {
		t.Errorf("%d sockets: the slow one should still be written to", got)
	}
	until(t, "the slow one is cut", func() bool { return r.hub.Stats().WS == 1 })
	if _, _, err := slow.ReadMessage(); err == nil {
		t.Error("a whole frame arrived")
	}
}

// Everything at once on one connection: an unserialised write panics in the library.
func TestConcurrentWritesPanicNothing(t *testing.T) {
	r := onTCP(t, Config{Heartbeat: 50 * time.Millisecond})
	for range 5 {
		r.put("a", "pending", time.Hour)
		ws := r.watching("a", "pending")
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := range 1000 {
				r.put("a", []string{"scanned", "pending"}[i%2], time.Hour)
			}
			r.put("a", "confirmed", time.Hour)
		}()
		for range 4 {
			ws.say("refresh")
			ws.say("ping")
			ws.WriteControl(websocket.PingMessage, []byte("x"), time.Now().Add(time.Second))
			if _, _, err := ws.ReadMessage(); err != nil {
				break
			}
		}
		<-done
		for {
			if _, _, err := ws.ReadMessage(); err != nil {
				if !websocket.IsCloseError(err, 1000, 4429) {
					t.Error(err)
				}
				break
			}
		}
		ws.Close()
	}
	until(t, "all gone", func() bool { return r.hub.Stats().WS == 0 })
	if n := r.observed("hub.close.internal") + r.observed("hub.close.lost"); n != 0 {
		t.Error(r.seen)
	}
}

func TestPeersCloseIsEchoed(t *testing.T) {
	for code, want := range map[int]int{1000: 1000, 4000: 4000, websocket.CloseNoStatusReceived: 1005} {
		r := onTCP(t, Config{CloseWithin: time.Hour})
		r.put("a", "pending", time.Hour)
		ws := r.watching("a", "pending")
		err := ws.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(code, ""))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err = ws.ReadMessage(); !websocket.IsCloseError(err, want) {
			t.Errorf("%d: %v", code, err)
		}
		if _, err := ws.NetConn().Read(make([]byte, 1)); err != io.EOF {
			t.Error(err)
		}
		until(t, "observed", func() bool { return r.observed("hub.close.by_peer") == 1 })
	}
}

func TestPingIsAnsweredWithItsPayload(t *testing.T) {
	r := onTCP(t, Config{})
	r.put("a", "pending", time.Hour)
	ws := r.watching("a", "pending")
	var got string
	ws.SetPongHandler(func(p string) error { got = p; return errors.New("seen") })
	ws.WriteControl(websocket.PingMessage, []byte("payload"), time.Now().Add(time.Second))
	if _, _, err := ws.ReadMessage(); err == nil || got != "payload" {
		t.Error(got, err)
	}
}

func TestDeadStoreClosesWithTryLater(t *testing.T) {
	r := onTCP(t, Config{})
	r.put("a", "pending", time.Hour)
	held := r.watching("a", "pending")
	r.store.Close()
	ws := r.connect()
	ws.expect("hello")
	ws.say("watch a")
	ws.closed(TryLater, "try_later")
	held.say("ping") // who is in stays
	held.expect("pong")
	if _, err := r.hub.Wait(t.Context(), ticketTopic("a"), 0, time.Second); err == nil {
		t.Error("a dead store waited")
	}
	e := r.stream("a")
	if e.res.StatusCode != http.StatusServiceUnavailable {
		t.Error(e.res.Status)
	}
}

// Opening sockets and vanishing costs nothing that stays.
func TestVanishingPeersLeaveNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := onPipes(t, Config{})
		r.put("a", "pending", time.Hour)
		for i := range 30 {
			var c net.Conn = r.connect().NetConn()
			if i%3 > 0 {
				c.Read(make([]byte, 64))
			}
			if i%3 > 1 {
				c.Write(frame(fin|text, "watch a"))
			}
			c.Close()
		}
		synctest.Wait()
		if s := r.hub.Stats(); s != (Stats{}) {
			t.Errorf("%+v", s)
		}
		for tick, head := range r.hub.wheel.ring {
			if head != nil {
				t.Errorf("slot %d holds a dead connection", tick)
			}
		}
	})
}
