package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// socket is a browser's end of a ticket's WebSocket.
type socket struct {
	conn *websocket.Conn
}

type frame struct {
	Type   string
	Status string
	Seq    uint64
	User   struct{ Name string }
}

// watch opens a socket at base; origin is the public URL.
func watch(base, origin string, l login) (*socket, error) {
	dialer := websocket.Dialer{HandshakeTimeout: 5 * time.Second, Subprotocols: []string{"scanlogin.v1"}}
	conn, response, err := dialer.Dial("ws"+strings.TrimPrefix(base, "http")+"/v1/tickets/"+l.id+"/ws", http.Header{"Origin": {origin}})
	if err != nil {
		return nil, err
	}
	response.Body.Close()
	if err := conn.WriteJSON(map[string]string{"type": "watch", "device_code": l.deviceCode}); err != nil {
		conn.Close()
		return nil, err
	}
	return &socket{conn}, nil
}

// next reads the next snapshot, passing over other frames.
func (s *socket) next(within time.Duration) (frame, error) {
	s.conn.SetReadDeadline(time.Now().Add(within))
	for {
		_, raw, err := s.conn.ReadMessage()
		if err != nil {
			return frame{}, err
		}
		var f frame
		if err := json.Unmarshal(raw, &f); err != nil {
			return frame{}, err
		}
		if f.Type == "ticket" {
			return f, nil
		}
	}
}

// until reads snapshots until one has the status.
func (s *socket) until(status string, within time.Duration) (frame, error) {
	deadline := time.Now().Add(within)
	for {
		f, err := s.next(time.Until(deadline))
		if err != nil || f.Status == status {
			return f, err
		}
	}
}

// closeCode is how the server closes a watch with a wrong device_code.
func closeCode(t *testing.T, base, id, deviceCode string) int {
	t.Helper()
	s, err := watch(base, base, login{id: id, deviceCode: deviceCode})
	if err != nil {
		t.Fatal(err)
	}
	defer s.conn.Close()
	_, err = s.next(5 * time.Second)
	var closed *websocket.CloseError
	if !errors.As(err, &closed) {
		t.Fatalf("not closed: %v", err)
	}
	return closed.Code
}
