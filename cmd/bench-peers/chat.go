package main

import (
	"net/http"
	"time"

	"github.com/gorilla/websocket"
)

// The shape of gorilla/websocket's chat example, which most Go servers with
// WebSockets began from: two goroutines a connection, buffers of 1 KB, a
// buffered channel in between, a ticker of its own.
var chatUpgrader = websocket.Upgrader{
	ReadBufferSize: 1024, WriteBufferSize: 1024,
	Subprotocols: []string{protocol}, CheckOrigin: func(*http.Request) bool { return true },
}

const chatWriteWithin = 10 * time.Second

type chatClient struct {
	board *board
	ws    *websocket.Conn
	out   chan []byte
}

// chat upgrades and returns; the two pumps live on.
func (b *board) chat(w http.ResponseWriter, r *http.Request) {
	ws, err := chatUpgrader.Upgrade(w, r, nil)
	if err != nil {
		return // the upgrader has answered
	}
	c := &chatClient{board: b, ws: ws, out: make(chan []byte, 256)}
	c.out <- []byte(b.hello())
	go c.readPump()
	go c.writePump()
}

func (c *chatClient) send(frame []byte) {
	select {
	case c.out <- frame:
	default:
		c.ws.Close()
	}
}

func (c *chatClient) readPump() {
	defer c.ws.Close()
	alive := func(string) error { return c.ws.SetReadDeadline(time.Now().Add(c.board.beat + 10*time.Second)) }
	c.ws.SetReadLimit(1024)
	c.ws.SetPongHandler(alive)
	alive("")
	for {
		_, message, err := c.ws.ReadMessage()
		if err != nil {
			return
		}
		if n, err := watchOf(message); err != nil || !c.board.watch(n, c) {
			return
		}
	}
}

func (c *chatClient) writePump() {
	beat := time.NewTicker(c.board.beat)
	defer beat.Stop()
	defer c.ws.Close()
	for {
		kind, frame := websocket.PingMessage, []byte(nil)
		select {
		case frame = <-c.out:
			kind = websocket.TextMessage
		case <-beat.C:
		}
		c.ws.SetWriteDeadline(time.Now().Add(chatWriteWithin))
		if err := c.ws.WriteMessage(kind, frame); err != nil {
			return
		}
	}
}
