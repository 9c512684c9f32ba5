package hub

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/gorilla/websocket"
)

// Kind is what a message from the peer wants.
type Kind uint8

// The kinds of messages.
const (
	Watch   Kind = iota + 1 // once: show me this record
	Refresh                 // encode again
	Ping                    // say pong
)

// Message is one message from the peer.
type Message struct {
	Kind       Kind
	Credential string // of a Watch
}

// Wire is what one kind of socket speaks; all sockets of the kind share one.
type Wire struct {
	Protocol    string // the subprotocol
	Limit       int64  // the largest message from the peer, bytes
	Exclusive   bool   // a newer socket of the same Topic.Key on this instance replaces the older one (4409)
	Hello, Pong []byte
	Reconnect   func(after time.Duration) []byte
	Read        func(text []byte) (Message, error) // an error closes with 1008
}

// Open looks up what a Watch may see. A *Refusal closes with its code, any other
// error is a store that is away: logged, 1013. ctx ends within a second.
type Open func(ctx context.Context, credential string) (Topic, error)

const (
	readBuffer  = 128  // the smallest that holds a control frame
	writeBuffer = 2048 // holds every frame: for a longer one the network keeps a list of parts with the socket
	// A peer may send burst messages in any window; control frames count, but not
	// the pongs we asked for.
	burst  = 10
	window = 10 * time.Second
)

var writeBuffers sync.Pool

// errLooked ends a reader whose stack has grown in the store calls behind a watch: the
// runtime would keep that for as long as the socket is open, and a new goroutine is
// cheaper than 2 KB.
var errLooked = errors.New("hub: looked")

// socket is the WebSocket kind of connection: one goroutine reads, for as long as
// it lives; a short one writes whenever something is owed.
type socket struct {
	conn
	ws   *websocket.Conn
	wire *Wire
	open Open // nil after the watch

	// guarded by conn.mu
	sent  bool   // our close frame is out
	heard Code   // of the peer's close frame; 0: none yet
	echo  string // payload of the newest ping frame

	// the reader's own
	key   string // held, when the wire is exclusive; else the group it joined
	stop  func()
	times [burst]uint32 // of the last messages, a ring: milliseconds since the hub's start, round and round
	count int

	// what it read last; here and not in its frame, see run
	kind int
	text io.Reader
	err  error // why it stopped
}

// ServeWS upgrades the request and returns; the socket lives on without it, so that
// net/http's buffers can go. The origin has been checked by the caller. A request
// that is no handshake is answered through Config.HandshakeError. An error means that
// nothing was written and the caller answers: ErrClosed, ErrFull, ErrCrowded. from is
// the peer's address, for Evict; zero: not known.
func (h *Hub) ServeWS(w http.ResponseWriter, r *http.Request, wire *Wire, from netip.Addr, open Open) error {
	if err := h.reserve(from); err != nil {
		return err
	}
	admitted := false
	defer func() {
		if !admitted { // also when the answer to no handshake panics
			h.vacate(from)
		}
	}()
	s := h.upgrade(w, r, wire, from)
	if s == nil {
		return nil
	}
	s.open = open
	if admitted = h.admit(&s.conn); !admitted {
		s.ws.Close()
		return nil
	}
	s.owe(owedHello)
	go s.run()
	return nil
}

// upgrade makes a socket of a request; nil: it is answered, or gone.
func (h *Hub) upgrade(w http.ResponseWriter, r *http.Request, wire *Wire, from netip.Addr) *socket {
	up := websocket.Upgrader{
		HandshakeTimeout: h.conf.WriteWithin,
		ReadBufferSize:   readBuffer,
		WriteBufferSize:  writeBuffer,
		WriteBufferPool:  &writeBuffers,
		Subprotocols:     []string{wire.Protocol},
		Error:            h.conf.HandshakeError,
		CheckOrigin:      func(*http.Request) bool { return true },
	}
	ws, err := up.Upgrade(w, r, nil)
	if err != nil {
		return nil
	}
	now := h.now()
	s := &socket{ws: ws, wire: wire}
	s.conn = conn{hub: h, peer: s, by: byWS, from: from, born: now,
		beat: now + h.interval(), next: now + h.conf.WatchWithin}
	ws.SetPingHandler(s.onPing)
	ws.SetPongHandler(s.onPong)
	ws.SetCloseHandler(onClose)
	return s
}

// run is the reader. Its frame is small, because it and all below it, down to the
// network's read, have to fit into the 2 KB stack that a goroutine starts with: one more
// call in between would cost each open socket 2 KB. BenchmarkIdle shows it.
func (s *socket) run() {
	defer s.stopped()
	for s.err == nil {
		s.kind, s.text, s.err = s.ws.NextReader()
		s.listen()
	}
}

// listen takes what was read. After our close frame the reader goes on, so that the
// peer's is seen; what comes before that is ignored.
func (s *socket) listen() {
	if s.err == nil && !s.ending() && s.counted() {
		s.err = s.hear(s.kind, s.text)
	}
}

// stopped is what a reader does last, and the one place where a socket is let go.
func (s *socket) stopped() {
	if p := recover(); p != nil {
		s.err = s.hub.panicked(p)
	}
	if s.err == errLooked {
		s.err = nil
		go s.run()
		return
	}
	if s.broken(s.err) {
		// A close after unread bytes would be a TCP reset, and that can eat our last
		// frames on their way.
		io.Copy(io.Discard, s.ws.NetConn())
	}
	defer s.hub.release(&s.conn)
	defer s.hub.recovered(&s.err)
	s.end()
	s.ws.Close()
	switch {
	case s.key == "":
	case s.wire.Exclusive:
		s.hub.unhold(s.key, s)
	default:
		s.hub.part(s.key)
	}
	if s.stop != nil {
		s.stop()
	}
}

// broken decides what the end of listening means; true: read on raw, until the
// peer closes or the deadline that the writer sets after our close frame.
func (s *socket) broken(err error) bool {
	var closed *websocket.CloseError
	var network net.Error
	switch {
	case errors.As(err, &closed) && closed.Code != websocket.CloseAbnormalClosure:
		s.mu.Lock()
		s.heard = Code(closed.Code)
		sent := s.sent
		s.mu.Unlock()
		s.close(byPeer)
		return !sent
	case closed != nil || errors.As(err, &network):
		return false
	case errors.Is(err, errPanic):
		s.close(Internal)
	case errors.Is(err, websocket.ErrReadLimit): // a length that overflows
		s.close(TooBig)
	default:
		s.close(ProtocolError)
	}
	return true
}

// hear acts on one message.
func (s *socket) hear(kind int, r io.Reader) error {
	if kind != websocket.TextMessage {
		s.close(NotText)
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(r, s.wire.Limit+1))
	if err != nil {
		return err
	}
	if int64(len(text)) > s.wire.Limit {
		s.close(TooBig)
		return nil
	}
	if !utf8.Valid(text) {
		s.close(BadUTF8)
		return nil
	}
	m, err := s.wire.Read(text)
	switch {
	case err == nil && m.Kind == Watch && s.begin():
		s.look(m.Credential)
		return errLooked
	case err == nil && m.Kind == Refresh:
		s.refreshed()
	case err == nil && m.Kind == Ping:
		s.owe(owedPong)
	default:
		s.close(BadMessage)
	}
	return nil
}

// begin takes the one watch a socket may send.
func (s *socket) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watched {
		return false
	}
	s.watched, s.next = true, 0
	return true
}

// look finds the record and follows it.
func (s *socket) look(credential string) {
	ctx, cancel := context.WithTimeout(context.Background(), lookWithin)
	defer cancel()
	start := s.hub.now()
	topic, err := s.open(ctx, credential)
	s.open = nil
	if err == nil {
		err = s.hub.join(topic.Group)
	}
	if err == nil {
		s.key = topic.Group
		s.stop, err = s.follow(ctx, topic)
	}
	s.hub.conf.Observe("hub.look", s.hub.now()-start, err)
	var refusal *Refusal
	switch {
	case errors.As(err, &refusal):
		s.refuse(refusal)
	case err != nil:
		s.hub.conf.Logger.Error("hub: look", "err", err)
		s.close(TryLater)
	case s.wire.Exclusive:
		s.key = topic.Key
		s.hub.hold(s.key, s)
	}
}

// refreshed has the state encoded again, when the last snapshot allows it.
func (s *socket) refreshed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refresh && s.code == 0 {
		s.add(owedSnapshot)
	}
}

// counted counts a message; false: too many, and the socket is closing.
func (s *socket) counted() bool {
	now := uint32(s.hub.now().Milliseconds())
	at := &s.times[s.count%burst]
	if s.count >= burst && now-*at < uint32(window.Milliseconds()) {
		s.close(TooMany)
		return false
	}
	*at = now
	s.count++
	return true
}

// onPing keeps the newest payload only, which RFC 6455 section 5.5.3 allows.
func (s *socket) onPing(payload string) error {
	if s.counted() {
		s.mu.Lock()
		s.echo = payload
		s.mu.Unlock()
		s.owe(owedEcho)
	}
	return nil
}

func (s *socket) onPong(string) error {
	if !s.ponged() {
		s.counted()
	}
	return nil
}

// onClose keeps the library from answering past the one writing path.
func onClose(int, string) error { return nil }

// wake starts the short goroutine that writes. A connection that can be woken is
// counted in the wait group, so this addition never meets a zero.
func (s *socket) wake() {
	s.hub.wg.Add(1)
	go s.flush()
}

func (s *socket) flush() {
	defer s.hub.wg.Done()
	if s.pay() {
		return
	}
	s.mu.Lock()
	linger := s.sent && s.heard == 0
	s.mu.Unlock()
	deadline := time.Now()
	if linger {
		deadline = deadline.Add(s.hub.conf.CloseWithin)
	}
	// Ends the reader, which then lets go: unlike Close on a TLS connection this
	// never waits for the peer.
	s.ws.NetConn().SetReadDeadline(deadline)
}

func (s *socket) write(d debt, snap Snapshot) error {
	s.ws.SetWriteDeadline(time.Now().Add(s.hub.conf.WriteWithin))
	switch d {
	case owedHello:
		return s.ws.WriteMessage(websocket.TextMessage, s.wire.Hello)
	case owedSnapshot:
		return s.ws.WriteMessage(websocket.TextMessage, snap.Data)
	case owedPong:
		return s.ws.WriteMessage(websocket.TextMessage, s.wire.Pong)
	case owedEcho:
		s.mu.Lock()
		payload := s.echo
		s.mu.Unlock()
		return s.ws.WriteMessage(websocket.PongMessage, []byte(payload))
	case owedBeat:
		return s.ws.WriteMessage(websocket.PingMessage, nil)
	case owedReconnect:
		return s.ws.WriteMessage(websocket.TextMessage, s.wire.Reconnect(rand.N(returnWithin)))
	default:
		return s.writeClose()
	}
}

// writeClose sends the last frame; a peer that closed gets its own code back. On
// broken framing the library has sent 1002 itself, which is as good.
func (s *socket) writeClose() error {
	s.mu.Lock()
	code, reason := s.code, s.code.String()
	switch {
	case code == byPeer:
		code, reason = s.heard, ""
	case s.refusal != nil:
		reason = clip(code, s.refusal.Reason)
	}
	s.mu.Unlock()
	err := s.ws.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(int(code), reason))
	if err != nil && !errors.Is(err, websocket.ErrCloseSent) {
		return err
	}
	s.mu.Lock()
	s.sent = true
	s.mu.Unlock()
	return nil
}
