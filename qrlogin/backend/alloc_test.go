package backend

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"scanlogin/auth"
	"scanlogin/auth/demo"
	"scanlogin/hub"
	"scanlogin/qrlogin"
	"scanlogin/web"
)

// A change on its way from a Redis message to the last byte of a browser's frame: backend,
// hub and the wire form of web take part. It lives here because only this room can seal
// what another instance would have sent.
//
// The change is a repeated scan, the one that leaves the socket open.
func TestPushAllocatesLittle(t *testing.T) {
	const n, warm, most = 2000, 200, 40 + poolLoss
	p := newPushing(t, warm+n)
	for i := range warm {
		p.push(i)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range n {
		p.push(warm + i)
	}
	runtime.ReadMemStats(&after)
	if each := float64(after.Mallocs-before.Mallocs) / n; each > most {
		t.Errorf("%.1f allocations for each change, at most %d", each, most)
	}
}

// pushing is a whole instance on a real Redis, one browser that watches a ticket of it,
// and changes of that ticket as another instance would publish them. Only the watching
// side is this process' work: the messages are made beforehand and sent, as bytes, on a
// connection of their own.
type pushing struct {
	tb       testing.TB
	server   *server
	key      string // of the ticket
	messages [][]byte
	redis    net.Conn // the publisher's
	answer   [8]byte
	browser  *bufio.Reader
}

// newPushing has n changes of a scanned ticket ready.
func newPushing(tb testing.TB, n int) *pushing {
	server := startRedis(tb)
	store := server.open()
	ready(tb, store)
	site := serve(tb, store)
	made := site.post("/v1/tickets", "", `{}`)
	conn := site.watch(made["ticket_id"], made["device_code"])
	phone := site.post("/v1/signin/demo", "", `{"credential":"alice"}`)
	site.post("/v1/scan", phone["access_token"], `{"qr":"`+made["verification_uri_complete"]+`"}`)
	p := &pushing{tb: tb, server: server, key: qrlogin.TicketKey(made["ticket_id"]), browser: bufio.NewReaderSize(conn, 4096)}
	for seen := ""; !strings.Contains(seen, `"status":"scanned"`); {
		seen = p.frame()
	}
	var err error
	p.redis, err = net.Dial("unix", server.socket())
	must(tb, err)
	tb.Cleanup(func() { p.redis.Close() })
	value, rev, err := store.Load(patient(tb), p.key)
	must(tb, err)
	k := store.root.inUse.Load()
	for i := range n {
		args := []string{"PUBLISH", k.record(p.key), string(k.seal(p.key, rev+uint64(i)+1, value))}
		m := []byte("*3\r\n")
		for _, arg := range args {
			m = append(m, "$"+strconv.Itoa(len(arg))+"\r\n"+arg+"\r\n"...)
		}
		p.messages = append(p.messages, m)
	}
	return p
}

// push sends one change and waits until the browser has the whole frame of it.
func (p *pushing) push(i int) {
	if _, err := p.redis.Write(p.messages[i]); err != nil {
		p.tb.Fatal(err)
	}
	if n, err := p.redis.Read(p.answer[:]); err != nil || string(p.answer[:n]) != ":1\r\n" {
		p.tb.Fatalf("PUBLISH: %q %v", p.answer[:n], err)
	}
	p.skip()
}

// header reads the head of a text frame (RFC 6455 section 5.2).
func (p *pushing) header() (size int) {
	head, err := p.browser.Peek(4)
	if err != nil || head[0] != 0x81 {
		p.tb.Fatalf("frame %x %v", head, err)
	}
	if size = int(head[1]); size < 126 {
		p.browser.Discard(2)
		return size
	}
	size = int(head[2])<<8 | int(head[3])
	p.browser.Discard(4)
	return size
}

func (p *pushing) skip() {
	if _, err := p.browser.Discard(p.header()); err != nil {
		p.tb.Fatal(err)
	}
}

func (p *pushing) frame() string {
	text := make([]byte, p.header())
	if _, err := io.ReadFull(p.browser, text); err != nil {
		p.tb.Fatal(err)
	}
	return string(text)
}

// site is the rooms above, wired as cmd does it, behind a real listener.
type site struct {
	tb  testing.TB
	url string
}

func serve(tb testing.TB, store *Redis) *site {
	listener := httptest.NewUnstartedServer(nil)
	s := &site{tb, "http://" + listener.Listener.Addr().String()}
	clients, metrics := auth.Clients(s.url), web.NewMetrics("test")
	sockets := hub.New(store, hub.Config{Heartbeat: time.Hour, Logger: store.log, Observe: metrics.Hub})
	users := auth.New(store, auth.Config{Issuer: s.url, Clients: clients, Providers: map[string]auth.Provider{"demo": demo.New([]string{"alice"})}})
	handler := web.New(qrlogin.New(store, users, qrlogin.Config{PublicURL: s.url, Clients: clients, ConfirmTTL: time.Hour}), users, sockets, web.Config{
		PublicURL: s.url, Clients: clients, Provider: "demo", DemoUsers: []string{"alice"}, Heartbeat: time.Hour,
		Limits: web.Limits{Off: true}, Store: store, Ping: store.Ping, Derive: store.Derive, Metrics: metrics, Logger: store.log,
	}).Handler()
	listener.Config.Handler = handler
	listener.Start()
	ctx, stop := context.WithCancel(context.Background())
	var rooms sync.WaitGroup
	rooms.Go(func() { sockets.Run(ctx) })
	tb.Cleanup(func() {
		stop()
		rooms.Wait()
		listener.Close()
	})
	return s
}

// post gives the members of the answer that are texts.
func (s *site) post(path, token, body string) map[string]string {
	s.tb.Helper()
	r, err := http.NewRequest("POST", s.url+path, strings.NewReader(body))
	must(s.tb, err)
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(r)
	must(s.tb, err)
	defer response.Body.Close()
	var all map[string]any
	must(s.tb, json.NewDecoder(response.Body).Decode(&all))
	if response.StatusCode >= 300 {
		s.tb.Fatalf("%s: %d %v", path, response.StatusCode, all)
	}
	texts := map[string]string{}
	for name, value := range all {
		texts[name], _ = value.(string)
	}
	return texts
}

// watch opens a ticket's socket, past its hello.
func (s *site) watch(id, deviceCode string) net.Conn {
	s.tb.Helper()
	d := websocket.Dialer{Subprotocols: []string{"scanlogin.v1"}}
	ws, _, err := d.Dial("ws"+strings.TrimPrefix(s.url, "http")+"/v1/tickets/"+id+"/ws", http.Header{"Origin": {s.url}})
	must(s.tb, err)
	s.tb.Cleanup(func() { ws.Close() })
	// Nothing may follow the hello before it is read: the library would keep it.
	if _, hello, err := ws.ReadMessage(); err != nil || !strings.Contains(string(hello), "hello") {
		s.tb.Fatalf("%s %v", hello, err)
	}
	must(s.tb, ws.WriteJSON(map[string]string{"type": "watch", "device_code": deviceCode}))
	return ws.NetConn()
}
