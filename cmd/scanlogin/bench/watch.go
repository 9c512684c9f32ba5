package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// Each socket and each stream is a TCP connection of its own with small buffers: a
// crowd of them lives in one process.
const (
	readBuffer  = 512
	writeBuffer = 256
)

var (
	writeBuffers sync.Pool
	dialer       = websocket.Dialer{
		HandshakeTimeout: patience, Subprotocols: []string{"scanlogin.v1"},
		ReadBufferSize: readBuffer, WriteBufferSize: writeBuffer, WriteBufferPool: &writeBuffers,
	}
)

// socket is the WebSocket door.
type socket struct {
	conn    *websocket.Conn
	until   time.Time     // what the reader waits for
	silence time.Duration // with nothing heard for so long, the link is dead
}

func (b *Browser) openSocket(ctx context.Context) (*socket, error) {
	header := http.Header{"Origin": {b.origin}, "X-Forwarded-For": {b.Address.String()}}
	conn, response, err := dialer.DialContext(ctx, "ws"+strings.TrimPrefix(b.Server, "http")+"/v1/tickets/"+b.id+"/ws", header)
	if err != nil {
		if response != nil && response.StatusCode >= 400 {
			return nil, read(response, nil)
		}
		return nil, err
	}
	s := &socket{conn: conn, silence: time.Hour}
	conn.SetPingHandler(func(payload string) error {
		s.heard()
		return conn.WriteControl(websocket.PongMessage, []byte(payload), time.Now().Add(time.Second))
	})
	frame, err := json.Marshal(map[string]string{"type": "watch", "device_code": b.code})
	if err == nil {
		err = conn.WriteMessage(websocket.TextMessage, frame)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return s, nil
}

// heard puts the end of patience off: somebody is there.
func (s *socket) heard() {
	deadline := time.Now().Add(s.silence)
	if s.until.Before(deadline) {
		deadline = s.until
	}
	s.conn.SetReadDeadline(deadline)
}

func (s *socket) next(until time.Time) (Snapshot, error) {
	s.until = until
	for {
		s.heard()
		_, text, err := s.conn.ReadMessage()
		if err != nil {
			return Snapshot{}, err
		}
		var frame struct {
			Snapshot
			HeartbeatMS int64 `json:"heartbeat_ms"`
		}
		if err := json.Unmarshal(text, &frame); err != nil {
			return Snapshot{}, err
		}
		switch frame.Type {
		case "ticket":
			return frame.Snapshot, nil
		case "hello": // pings come with jitter
			s.silence = 2*time.Duration(frame.HeartbeatMS)*time.Millisecond + patience
		}
	}
}

func (s *socket) close() { s.conn.Close() }

// stream is the SSE door.
type stream struct {
	conn  net.Conn
	lines *bufio.Scanner
}

func (b *Browser) openStream(ctx context.Context) (*stream, error) {
	request, err := b.request(ctx, http.MethodGet, "/v1/tickets/"+b.id+"/events", b.code, nil)
	if err != nil {
		return nil, err
	}
	conn, err := (&net.Dialer{Timeout: patience}).DialContext(ctx, "tcp", request.URL.Host)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(patience))
	response, err := roundTrip(conn, request)
	if err != nil {
		conn.Close()
		return nil, err
	}
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(make([]byte, 0, 2*readBuffer), 64<<10)
	return &stream{conn: conn, lines: lines}, nil
}

// roundTrip is what net/http's own would do with three goroutines and 8 KB.
func roundTrip(conn net.Conn, request *http.Request) (*http.Response, error) {
	if err := request.Write(conn); err != nil {
		return nil, err
	}
	response, err := http.ReadResponse(bufio.NewReaderSize(conn, readBuffer), request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, read(response, nil)
	}
	return response, nil
}

func (s *stream) next(until time.Time) (snapshot Snapshot, err error) {
	s.conn.SetReadDeadline(until)
	for s.lines.Scan() {
		if data, ok := bytes.CutPrefix(s.lines.Bytes(), []byte("data: ")); ok {
			err = json.Unmarshal(data, &snapshot)
			return snapshot, err
		}
	}
	if err = s.lines.Err(); err == nil {
		err = io.EOF
	}
	return snapshot, err
}

func (s *stream) close() { s.conn.Close() }

// polls is the long poll door.
type polls struct {
	browser *Browser
	seq     uint64          // of the last snapshot; 0: none yet
	open    context.Context // ends with close, and with it the poll under way
	end     context.CancelFunc
}

func (b *Browser) openPolls() *polls {
	p := &polls{browser: b}
	p.open, p.end = context.WithCancel(context.Background())
	return p
}

// pollSeconds is how long the server may keep a poll (CONTRACT 3.3).
const pollSeconds = 25

func (p *polls) next(until time.Time) (Snapshot, error) {
	for {
		snapshot, err := p.once(until)
		if err != nil {
			return snapshot, err
		}
		if snapshot.Seq != p.seq {
			p.seq = snapshot.Seq
			return snapshot, nil
		}
		if !time.Now().Before(until) {
			return Snapshot{}, context.DeadlineExceeded
		}
	}
}

func (p *polls) once(until time.Time) (snapshot Snapshot, err error) {
	wait := max(0, min(pollSeconds, int(time.Until(until).Seconds())))
	ctx, cancel := context.WithTimeout(p.open, time.Duration(wait)*time.Second+patience)
	defer cancel()
	path := "/v1/tickets/" + p.browser.id
	if p.seq > 0 {
		path += fmt.Sprintf("?seq=%d&wait=%d", p.seq, wait)
	}
	request, err := p.browser.request(ctx, http.MethodGet, path, p.browser.code, nil)
	if err != nil {
		return snapshot, err
	}
	response, err := p.browser.HTTP.Do(request)
	if err != nil {
		return snapshot, err
	}
	defer response.Body.Close()
	err = read(response, &snapshot)
	return snapshot, err
}

func (p *polls) close() { p.end() }
