package main

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// The floor is what the kernel itself costs: raw descriptors, one epoll loop,
// no goroutine, no buffer and no object for an open socket but two numbers.
// It reads HTTP and frames just well enough for the load of this program.
type floor struct {
	url   string
	hello string
	epoll int
	// ticketOf is by descriptor: a watched ticket, or one of the states below.
	ticketOf []int32
	fdOf     []int32 // by ticket; 0: nobody watches
	pending  map[int][]byte
	seq      uint64
	in       [64 << 10]byte
}

// States of a descriptor that shows no ticket.
const (
	closedFD = -1 - iota
	httpFD
	upgradedFD
)

// floorParts is in how many parts a round of heartbeats is sent, so that none
// of them holds up the loop.
const floorParts = 100

func serveFloor(l *net.TCPListener, url string, beat time.Duration) error {
	file, err := l.File()
	if err != nil {
		return err
	}
	defer file.Close() // at the end: the collector would close it long before
	listener := int(file.Fd())
	if err := syscall.SetNonblock(listener, true); err != nil {
		return err
	}
	epoll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	f := &floor{url: url, hello: fmt.Sprintf(hello, beat.Milliseconds()), epoll: epoll, pending: map[int][]byte{}}
	if err := f.add(listener); err != nil {
		return err
	}
	part, next := 0, time.Now().Add(beat/floorParts)
	events := make([]syscall.EpollEvent, 256)
	for {
		n, err := syscall.EpollWait(epoll, events, max(0, int(time.Until(next).Milliseconds())))
		if err != nil && !errors.Is(err, syscall.EINTR) {
			return err
		}
		for _, e := range events[:max(0, n)] {
			if int(e.Fd) == listener {
				f.accept(listener)
			} else {
				f.read(int(e.Fd))
			}
		}
		if time.Now().After(next) {
			f.ping(part)
			part, next = (part+1)%floorParts, next.Add(beat/floorParts)
		}
	}
}

func (f *floor) add(fd int) error {
	return syscall.EpollCtl(f.epoll, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(fd)})
}

func (f *floor) accept(listener int) {
	for {
		fd, _, err := syscall.Accept4(listener, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
		if err != nil {
			return // EAGAIN: all are accepted
		}
		syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
		for len(f.ticketOf) <= fd {
			f.ticketOf = append(f.ticketOf, closedFD)
		}
		f.ticketOf[fd] = httpFD
		if err := f.add(fd); err != nil {
			f.close(fd)
		}
	}
}

func (f *floor) close(fd int) {
	if n := f.ticketOf[fd]; n >= 0 {
		f.fdOf[n] = 0
	}
	f.ticketOf[fd] = closedFD
	delete(f.pending, fd)
	syscall.Close(fd)
}

// read takes what has come and acts on each whole request or frame in it.
func (f *floor) read(fd int) {
	n, err := syscall.Read(fd, f.in[:])
	if errors.Is(err, syscall.EAGAIN) {
		return
	}
	if err != nil || n <= 0 {
		f.close(fd)
		return
	}
	data := f.in[:n]
	if before := f.pending[fd]; before != nil {
		data = append(before, data...)
	}
	for len(data) > 0 && f.ticketOf[fd] != closedFD {
		used := 0
		if f.ticketOf[fd] == httpFD {
			used = f.request(fd, data)
		} else {
			used = f.frame(fd, data)
		}
		if used == 0 {
			break
		}
		data = data[used:]
	}
	if f.ticketOf[fd] == closedFD {
		return
	}
	if delete(f.pending, fd); len(data) > 0 {
		f.pending[fd] = slices.Clone(data)
	}
}

// write sends all or gives the peer up: nothing is kept for it.
func (f *floor) write(fd int, data []byte) {
	if n, err := syscall.Write(fd, data); err != nil || n != len(data) {
		f.close(fd)
	}
}

// ping sends one part of a round of heartbeats.
func (f *floor) ping(part int) {
	for fd := part; fd < len(f.ticketOf); fd += floorParts {
		if f.ticketOf[fd] >= 0 {
			f.write(fd, []byte{0x89, 0})
		}
	}
}

// request answers one HTTP request and says how long it was; 0: there is more
// to come.
func (f *floor) request(fd int, data []byte) int {
	head, _, whole := bytes.Cut(data, []byte("\r\n\r\n"))
	if !whole {
		return 0
	}
	length, _ := strconv.Atoi(header(head, "Content-Length"))
	end := len(head) + 4 + length
	if len(data) < end {
		return 0
	}
	body := data[len(head)+4 : end]
	switch {
	case bytes.HasPrefix(head, []byte("POST /v1/tickets ")):
		n := len(f.fdOf)
		f.fdOf = append(f.fdOf, 0)
		f.answer(fd, "201 Created", fmt.Sprintf(ticket, n, f.url, n, n))
	case bytes.HasPrefix(head, []byte("POST /v1/scan ")):
		f.scan(fd, body)
	case bytes.HasPrefix(head, []byte("POST /v1/signin/demo ")):
		f.answer(fd, "200 OK", session)
	case header(head, "Sec-WebSocket-Key") != "":
		sum := sha1.Sum([]byte(header(head, "Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		f.ticketOf[fd] = upgradedFD
		f.write(fd, appendFrame([]byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
			"Sec-WebSocket-Protocol: "+protocol+"\r\nSec-WebSocket-Accept: "+base64.StdEncoding.EncodeToString(sum[:])+"\r\n\r\n"), f.hello))
	default:
		f.answer(fd, "404 Not Found", "{}")
	}
	return end
}

func (f *floor) scan(fd int, body []byte) {
	n, err := scanOf(body)
	if err != nil || n >= len(f.fdOf) {
		f.answer(fd, "404 Not Found", "{}")
		return
	}
	f.seq++
	seq := f.seq + 1
	if watcher := int(f.fdOf[n]); watcher != 0 {
		f.write(watcher, appendFrame(nil, fmt.Sprintf(snapshot, n, seq, "scanned")))
	}
	f.answer(fd, "200 OK", fmt.Sprintf(scanned, n, seq))
}

func (f *floor) answer(fd int, status, body string) {
	f.write(fd, fmt.Appendf(nil, "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", status, len(body), body))
}

// frame acts on one frame of a client (RFC 6455 section 5.2), which is short
// and masked, and says how long it was; 0: there is more to come.
func (f *floor) frame(fd int, data []byte) int {
	if len(data) < 6 {
		return 0
	}
	length, start := int(data[1]&0x7f), 6
	if length == 126 {
		length, start = int(binary.BigEndian.Uint16(data[2:])), 8
	}
	if len(data) < start+length {
		return 0
	}
	mask, payload := data[start-4:start], data[start:start+length]
	for i := range payload {
		payload[i] ^= mask[i%4]
	}
	switch data[0] & 0xf {
	case 1:
		n, err := watchOf(payload)
		if err != nil || n >= len(f.fdOf) {
			f.close(fd)
			break
		}
		f.ticketOf[fd], f.fdOf[n] = int32(n), int32(fd)
		f.write(fd, appendFrame(nil, fmt.Sprintf(snapshot, n, 1, "pending")))
	case 8:
		f.close(fd)
	}
	return start + length
}

// appendFrame adds a text frame of a server.
func appendFrame(out []byte, text string) []byte {
	out = append(out, 0x81)
	if len(text) < 126 {
		out = append(out, byte(len(text)))
	} else {
		out = binary.BigEndian.AppendUint16(append(out, 126), uint16(len(text)))
	}
	return append(out, text...)
}

// header is one field of a request, or empty.
func header(head []byte, name string) string {
	for line := range bytes.SplitSeq(head, []byte("\r\n")) {
		if key, value, ok := bytes.Cut(line, []byte(":")); ok && len(key) == len(name) && bytes.EqualFold(key, []byte(name)) {
			return string(bytes.TrimSpace(value))
		}
	}
	return ""
}
