package web

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"scanlogin/auth"
	"scanlogin/hub"
)

// sessionWire is one signed-in device of the user who asks. Device and Place are
// for people to read, and empty as far as nothing is known.
type sessionWire struct {
	ID       string   `json:"id"`
	Current  bool     `json:"current"`
	ClientID string   `json:"client_id"`
	AMR      []string `json:"amr"`
	Device   string   `json:"device"`
	Place    string   `json:"place"`
	Created  string   `json:"created_at"` // RFC 3339, UTC
	LastUsed string   `json:"last_used_at"`
}

type sessionsWire struct {
	Sessions []sessionWire `json:"sessions"`
}

func (s *Server) handleSessions(w http.ResponseWriter, r *http.Request) error {
	by, err := s.asking(r)
	if err != nil {
		return err
	}
	all, err := s.auth.Sessions(r.Context(), by.Sub)
	if err != nil {
		return err
	}
	out := sessionsWire{Sessions: []sessionWire{}}
	for _, one := range all {
		out.Sessions = append(out.Sessions, sessionWire{
			ID: one.ID, Current: one.ID == by.SID, ClientID: one.ClientID, AMR: one.AMR,
			Device: deviceWords(one.Device), Place: one.Place, Created: stamp(one.Created), LastUsed: stamp(one.LastUsed),
		})
	}
	return s.ok(w, http.StatusOK, out)
}

// deviceWords are "Chrome, Windows", as far as known.
func deviceWords(d auth.Device) string {
	words := slices.DeleteFunc([]string{d.Browser, d.OS}, func(word string) bool { return word == "" })
	return strings.Join(words, ", ")
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func (s *Server) handleEndSession(w http.ResponseWriter, r *http.Request) error {
	by, err := s.asking(r)
	if err != nil {
		return err
	}
	if err := s.auth.End(r.Context(), by, chi.URLParam(r, "session_id")); err != nil {
		return err
	}
	return noContent(w)
}

// handleEndOtherSessions wants to be told so: a forgotten id must not end everything.
func (s *Server) handleEndOtherSessions(w http.ResponseWriter, r *http.Request) error {
	by, err := s.asking(r)
	if err != nil {
		return err
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || !slices.Equal(query["others"], []string{"true"}) {
		return errInvalidRequest
	}
	if err := s.auth.EndOthers(r.Context(), by); err != nil {
		return err
	}
	return noContent(w)
}

func (s *Server) handleSessionSocket(w http.ResponseWriter, r *http.Request) error {
	return s.upgrade(w, r, s.session, s.openSession)
}

// openSession is what a session's socket watches. It lives as long as the session
// does, whatever becomes of the token that opened it.
func (s *Server) openSession(ctx context.Context, access string) (hub.Topic, error) {
	ctx, cancel := context.WithTimeout(ctx, storeDeadline)
	defer cancel()
	who, err := s.auth.Claimed(ctx, access)
	if errors.Is(err, auth.ErrInvalidToken) {
		return hub.Topic{}, &hub.Refusal{Code: hub.Unauthorized, Reason: "invalid_token"}
	}
	watch := &sessionWatch{auth: s.auth, sub: who.Sub, sid: who.SID}
	return hub.Topic{Key: auth.UserKey(who.Sub), Group: who.SID, Encode: watch.encode}, err
}

// sessionFrame is what a session's socket is told of it; signInFrame, of another
// login of the account.
type sessionFrame struct {
	Type   string      `json:"type"`
	Status string      `json:"status"`
	Reason auth.Reason `json:"reason,omitzero"`
}

type signInFrame struct {
	Type   string `json:"type"`
	ID     string `json:"id"`
	Device string `json:"device"`
	Place  string `json:"place"`
}

// sessionWatch is what one socket has been told. A snapshot is a frame of its
// own here: the status once, its end, and every sign-in in between.
type sessionWatch struct {
	auth     *auth.Service
	sub, sid string
	begun    bool   // it was told that the session is active
	newest   uint64 // Number of the last sign-in that it was told of, or came after
}

func (w *sessionWatch) encode(value []byte, rev uint64, now time.Time) (hub.Snapshot, error) {
	state, err := w.auth.State(w.sub, w.sid, value, w.newest, now)
	if err != nil {
		return hub.Snapshot{}, err
	}
	out := hub.Snapshot{Seq: rev, Next: state.Ends}
	switch {
	case !state.Live:
		out.Data = frame(sessionFrame{"session", "ended", state.Reason})
		out.Next, out.Close = time.Time{}, hub.Unauthorized
	case !w.begun:
		w.begun, w.newest = true, state.Newest
		out.Data = frame(sessionFrame{Type: "session", Status: "active"})
	case len(state.SignIns) > 0:
		first := state.SignIns[0]
		w.newest = first.Number
		out.Data = frame(signInFrame{"sign_in", first.ID, deviceWords(first.Device), first.Place})
		if len(state.SignIns) > 1 {
			out.Next = now
		}
	}
	return out, nil
}
