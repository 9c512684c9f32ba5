package main

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// stream is server-sent events as net/http invites to write them: the handler
// stays in its goroutine and waits for a channel of its own.
type stream chan []byte

func (s stream) send(frame []byte) {
	select {
	case s <- frame:
	default: // an event is lost to a client that does not read
	}
}

func (b *board) events(w http.ResponseWriter, r *http.Request) {
	code, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	id, _, _ := strings.Cut(code, ".")
	n, err := number(id)
	s := make(stream, 16)
	if err != nil || !b.watch(n, s) {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	out := http.NewResponseController(w)
	beat := time.NewTicker(b.beat)
	defer beat.Stop()
	for err == nil {
		select {
		case frame := <-s:
			_, err = fmt.Fprintf(w, "event: ticket\ndata: %s\n\n", frame)
		case <-beat.C:
			_, err = fmt.Fprint(w, ":\n\n")
		case <-r.Context().Done():
			return
		}
		if err == nil {
			err = out.Flush()
		}
	}
}
