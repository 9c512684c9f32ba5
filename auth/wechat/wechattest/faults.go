package wechattest

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"time"
)

// Errcode answers with an errcode as a number.
func Errcode(n int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { say(w, problem(n)) }
}

// ErrcodeText answers with an errcode as a string.
func ErrcodeText(n int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { say(w, problem(strconv.Itoa(n))) }
}

// Body answers with this, whatever it is.
func Body(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(body)) }
}

// Page answers with an HTML page that repeats what was asked, secret and all.
func Page(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(status)
		fmt.Fprintf(w, "<html><h1>%d</h1><p>%s</p></html>", status, r.URL)
	}
}

// Huge answers with JSON of a megabyte.
func Huge(w http.ResponseWriter, _ *http.Request) {
	say(w, map[string]any{"openid": "o-huge", "more": strings.Repeat("x", 1<<20)})
}

// Elsewhere redirects to another host, with everything that was asked.
func Elsewhere(base string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, base+r.URL.String(), http.StatusFound)
	}
}

// Slow keeps the caller waiting, and answers with nothing.
func Slow(d time.Duration) http.HandlerFunc {
	return func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-time.After(d):
		}
	}
}

// Reset cuts the connection.
func Reset(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	conn.Close()
}

// Lost does what was asked and cuts the connection before the answer.
func (s *Server) Lost(w http.ResponseWriter, r *http.Request) {
	s.answer(httptest.NewRecorder(), r)
	Reset(w, r)
}
