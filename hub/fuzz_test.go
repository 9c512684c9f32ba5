package hub

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"scanlogin/qrlogin/backend"
)

// strictWire reads what ticketWire does but the word that makes it panic.
func strictWire() *Wire {
	wire := ticketWire()
	read := wire.Read
	wire.Read = func(text []byte) (Message, error) {
		if bytes.HasPrefix(text, []byte("panic")) {
			return Message{}, errors.New("unknown type")
		}
		if len(text) > 1024 || !utf8.Valid(text) {
			panic(fmt.Sprintf("the wire was given %q", text))
		}
		return read(text)
	}
	return wire
}

// FuzzSocketFrames sends any bytes into an open socket. Whatever they are: what
// comes back is whole frames, the last of them a close with a code of ours or
// none at all, and the hub lets go.
func FuzzSocketFrames(f *testing.F) {
	for _, raw := range [][]byte{
		frame(fin|text, "ping"), join(frame(fin|text, "watch a"), frame(fin|text, "refresh"), frame(fin|pingOp, "x")),
		join(frame(text, "wat"), frame(fin|pingOp, ""), frame(fin|cont, "ch a")), frame(fin|closeOp, "\x03\xe8"), frame(fin|closeOp, ""), frame(fin|closeOp, "\x0b\xb8bye"),
		rawFrame(fin|text, "ping", false), frame(fin|rsv1|text, "ping"), frame(fin|binaryOp, "x"), frame(fin|text, "\xff"), frame(fin|reserved, ""),
		{fin | text, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, {fin | text, 0xfe, 4, 1, 0, 0, 0, 0}, bytes.Repeat(frame(fin|pongOp, ""), 12),
		frame(fin|text, strings.Repeat("x", 1025)), join(frame(fin|text, "watch a"), frame(fin|text, "watch a")), frame(fin|text, "watch wrong"), frame(fin|text, "watch down"), []byte("GET / HTTP/1.1\r\n\r\n"), nil,
	} {
		f.Add(raw)
	}
	h, faults := countingHub(f)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { h.ServeWS(w, q, strictWire(), netip.Addr{}, openTicket) }))
	f.Cleanup(server.Close)
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, in := handshake(t, server.Listener.Addr().String())
		defer c.Close()
		c.Write(raw) // may fail: the hub need not read it all
		c.(*net.TCPConn).CloseWrite()
		code, err := lastFrame(in)
		if err != nil {
			t.Fatalf("after %q: %v", raw, err)
		}
		until(t, "the hub lets go", func() bool { return h.Stats().WS == 0 })
		if code == Internal || faults.Load() > 0 {
			t.Fatalf("%q is a fault of ours", raw)
		}
	})
}

// countingHub is a hub with one record that counts its own faults: a socket that is
// closed early may not tell of them.
func countingHub(f *testing.F) (h *Hub, faults *atomic.Int64) {
	faults = new(atomic.Int64)
	store := backend.NewMemory()
	if _, err := store.Create(f.Context(), "a", []byte("pending"), time.Hour); err != nil {
		f.Fatal(err)
	}
	h = New(store, Config{
		CloseWithin: time.Second, WriteWithin: time.Second, Logger: slog.New(slog.DiscardHandler),
		Observe: func(name string, _ time.Duration, _ error) {
			if name == "hub.close."+Internal.String() {
				faults.Add(1)
			}
		},
	})
	ctx, quit := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		h.Run(ctx)
	}()
	f.Cleanup(func() {
		quit()
		<-ended
		store.Close()
	})
	return h, faults
}

// handshake opens a socket by hand.
func handshake(t *testing.T, addr string) (net.Conn, *bufio.Reader) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(10 * time.Second))
	io.WriteString(c, "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
	in := bufio.NewReader(c)
	answer, err := http.ReadResponse(in, nil)
	if err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("handshake: %v, %v", answer, err)
	}
	return c, in
}

// lastFrame reads what the hub sends to the end and checks that each frame is one
// (RFC 6455 section 5.1: unmasked, whole) and that nothing follows a close.
func lastFrame(in *bufio.Reader) (code Code, err error) {
	for closed := false; ; {
		var head [2]byte
		if _, err := io.ReadFull(in, head[:]); err == io.EOF || errors.Is(err, net.ErrClosed) || isReset(err) {
			return code, nil
		} else if err != nil {
			return code, fmt.Errorf("half a head: %w", err)
		}
		size := uint64(head[1])
		if size == 126 {
			var more [2]byte
			io.ReadFull(in, more[:])
			size = uint64(binary.BigEndian.Uint16(more[:]))
		}
		payload := make([]byte, min(size, 1<<16))
		if _, err := io.ReadFull(in, payload); err != nil && !isReset(err) {
			return code, fmt.Errorf("half a frame: %w", err)
		}
		op := head[0] &^ fin
		if closed || head[0]&fin == 0 || op != text && op != closeOp && op != pingOp && op != pongOp || op != text && size > 125 {
			return code, fmt.Errorf("frame % x %q, closed %v", head, payload, closed)
		}
		if op == closeOp {
			closed = true
			if size >= 2 {
				code = Code(binary.BigEndian.Uint16(payload))
			}
		}
	}
}

// isReset says that the kernel cut the connection, as it does when bytes come for
// somebody who has closed.
func isReset(err error) bool {
	var network *net.OpError
	return errors.As(err, &network) && !network.Timeout()
}
