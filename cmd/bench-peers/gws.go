package main

import (
	"net/http"
	"sync"
	"time"

	"github.com/lxzan/gws"
)

// gwsPeer is github.com/lxzan/gws, a library made for many connections, with
// a small read buffer and one goroutine a connection. Heartbeats come from one
// goroutine for all.
type gwsPeer struct {
	gws.BuiltinEventHandler
	board    *board
	upgrader *gws.Upgrader

	mu   sync.Mutex
	open map[*gws.Conn]struct{}
}

type gwsClient struct{ *gws.Conn }

func newGWS(b *board) *gwsPeer {
	p := &gwsPeer{board: b, open: map[*gws.Conn]struct{}{}}
	p.upgrader = gws.NewUpgrader(p, &gws.ServerOption{ReadBufferSize: 128, SubProtocols: []string{protocol}})
	go p.beat()
	return p
}

func (p *gwsPeer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if c, err := p.upgrader.Upgrade(w, r); err == nil {
		go c.ReadLoop()
	}
}

// OnOpen implements gws.Event.
func (p *gwsPeer) OnOpen(c *gws.Conn) {
	p.mu.Lock()
	p.open[c] = struct{}{}
	p.mu.Unlock()
	c.SetReadDeadline(time.Now().Add(p.board.beat + 10*time.Second))
	c.WriteString(p.board.hello())
}

// OnPong implements gws.Event.
func (p *gwsPeer) OnPong(c *gws.Conn, _ []byte) {
	c.SetReadDeadline(time.Now().Add(p.board.beat + 10*time.Second))
}

// OnMessage implements gws.Event.
func (p *gwsPeer) OnMessage(c *gws.Conn, message *gws.Message) {
	defer message.Close()
	if n, err := watchOf(message.Bytes()); err != nil || !p.board.watch(n, gwsClient{c}) {
		c.WriteClose(1008, nil)
	}
}

// OnClose implements gws.Event.
func (p *gwsPeer) OnClose(c *gws.Conn, _ error) {
	p.mu.Lock()
	delete(p.open, c)
	p.mu.Unlock()
}

func (c gwsClient) send(frame []byte) { c.WriteMessage(gws.OpcodeText, frame) }

func (p *gwsPeer) beat() {
	for range time.Tick(p.board.beat) {
		p.mu.Lock()
		all := make([]*gws.Conn, 0, len(p.open))
		for c := range p.open {
			all = append(all, c)
		}
		p.mu.Unlock()
		for _, c := range all {
			c.WritePing(nil)
		}
	}
}
