package web

import (
	"context"
	"errors"
	"time"

	"github.com/go-json-experiment/json"

	"scanlogin/hub"
	"scanlogin/qrlogin"
)

// snapshot is the one shape in which a browser sees its ticket, on every
// transport.
type snapshot struct {
	Type      string      `json:"type"`
	TicketID  string      `json:"ticket_id"`
	Seq       uint64      `json:"seq"`
	Status    string      `json:"status"`
	ExpiresIn int64       `json:"expires_in"`
	QRText    string      `json:"verification_uri_complete,omitzero"`
	QRImage   string      `json:"qr_image,omitzero"`
	RotatesIn int64       `json:"rotates_in,omitzero"`
	User      *maskedUser `json:"user,omitzero"`
	Check     *checkWire  `json:"check,omitzero"`
	Reason    string      `json:"reason,omitzero"`
}

// checkWire is there while the browser has to send the code that the phone shows.
type checkWire struct {
	TriesLeft int `json:"tries_left"`
}

type maskedUser struct {
	Name string `json:"name"`
}

func (s *Server) snapshot(v qrlogin.View) (snapshot, error) {
	out := snapshot{
		Type: "ticket", TicketID: v.TicketID, Seq: v.Seq, Status: string(v.Status),
		ExpiresIn: seconds(v.ExpiresIn), QRText: v.QRText, RotatesIn: seconds(v.RotatesIn), Reason: v.Reason,
	}
	if v.User != "" {
		out.User = &maskedUser{v.User}
	}
	if v.TriesLeft > 0 {
		out.Check = &checkWire{v.TriesLeft}
	}
	if v.QRText != "" {
		image, err := s.qr.dataURL(v.QRText)
		if err != nil {
			return snapshot{}, err
		}
		out.QRImage = image
	}
	return out, nil
}

// seconds rounds up, so that a life that has just begun shows whole.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// topic is a ticket as the hub watches it for its browser. Should the record
// vanish before it is watched, its end still comes after what was opened.
func (s *Server) topic(opened qrlogin.View) hub.Topic {
	id, seq := opened.TicketID, opened.Seq // all that is kept of it
	return hub.Topic{Key: qrlogin.TicketKey(id), Event: "ticket", Encode: func(value []byte, rev uint64, now time.Time) (hub.Snapshot, error) {
		if value == nil {
			rev = max(rev, seq+1)
		}
		v, err := s.tickets.View(id, value, rev, now)
		if err != nil {
			return hub.Snapshot{}, err
		}
		wire, err := s.snapshot(v)
		if err != nil {
			return hub.Snapshot{}, err
		}
		data, err := json.Marshal(wire)
		out := hub.Snapshot{Data: data, Seq: v.Seq, Next: v.Next, Refresh: v.Status == qrlogin.Pending}
		if v.Status.Final() || v.Status == qrlogin.Confirmed {
			out.Close = hub.Done
		}
		return out, err
	}}
}

// decision is what the phone sees of a ticket it has decided about.
type decision struct {
	Seq    uint64 `json:"seq"`
	Status string `json:"status"`
}

func (s *Server) decisionTopic(ticketID string) hub.Topic {
	return hub.Topic{Key: qrlogin.TicketKey(ticketID), Encode: func(value []byte, rev uint64, now time.Time) (hub.Snapshot, error) {
		v, err := s.tickets.View(ticketID, value, rev, now)
		if err != nil {
			return hub.Snapshot{}, err
		}
		data, err := json.Marshal(decision{v.Seq, string(v.Status)})
		return hub.Snapshot{Data: data, Seq: v.Seq, Next: v.Next}, err
	}}
}

type helloFrame struct {
	Type          string `json:"type"`
	HeartbeatMS   int64  `json:"heartbeat_ms"`
	WatchWithinMS int64  `json:"watch_within_ms"`
}

type reconnectFrame struct {
	Type    string `json:"type"`
	AfterMS int64  `json:"after_ms"`
}

// clientFrame is all that may be sent to us on a socket.
type clientFrame struct {
	Type        string `json:"type"`
	DeviceCode  string `json:"device_code"`  // of a watch of a ticket
	AccessToken string `json:"access_token"` // of a watch of a session
}

const watchWithin = 5 * time.Second

// frame encodes one of our own wire types, which always encode.
func frame(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// wire is what a kind of socket speaks; credential picks that of its watch.
func (s *Server) wire(limit int64, exclusive bool, credential func(clientFrame) string) *hub.Wire {
	return &hub.Wire{
		Protocol: "scanlogin.v1", Limit: limit, Exclusive: exclusive,
		Hello: helloFrameFor(s.config.Heartbeat), Pong: pongFrame, Reconnect: reconnect, Read: readFrames(credential),
	}
}

// openTicket is what a browser may watch of a ticket.
func (s *Server) openTicket(ticketID string) hub.Open {
	return func(ctx context.Context, deviceCode string) (hub.Topic, error) {
		ctx, cancel := context.WithTimeout(ctx, storeDeadline)
		defer cancel()
		v, err := s.tickets.Open(ctx, ticketID, deviceCode)
		switch {
		case errors.Is(err, qrlogin.ErrNotFound):
			return hub.Topic{}, &hub.Refusal{Code: hub.Unknown, Reason: "ticket_not_found"}
		case errors.Is(err, qrlogin.ErrInvalidDeviceCode):
			return hub.Topic{}, &hub.Refusal{Code: hub.Unauthorized, Reason: "invalid_device_code"}
		}
		return s.topic(v), err
	}
}

var pongFrame = []byte(`{"type":"pong"}`)

func helloFrameFor(heartbeat time.Duration) []byte {
	return frame(helloFrame{"hello", heartbeat.Milliseconds(), watchWithin.Milliseconds()})
}

// reconnect tells a browser when to come back; the hub has jittered it.
func reconnect(after time.Duration) []byte {
	return frame(reconnectFrame{"reconnect", after.Milliseconds() + 1})
}

// readFrames reads what is sent to us; credential picks that of a watch. Members
// it does not know are ignored: a newer page may say more.
func readFrames(credential func(clientFrame) string) func(text []byte) (hub.Message, error) {
	return func(text []byte) (hub.Message, error) {
		if err := checkJSON(text); err != nil {
			return hub.Message{}, err
		}
		var f clientFrame
		if err := json.Unmarshal(text, &f); err != nil {
			return hub.Message{}, errInvalidRequest
		}
		switch f.Type {
		case "watch":
			return hub.Message{Kind: hub.Watch, Credential: credential(f)}, nil
		case "refresh":
			return hub.Message{Kind: hub.Refresh}, nil
		case "ping":
			return hub.Message{Kind: hub.Ping}, nil
		}
		return hub.Message{}, errInvalidRequest
	}
}
