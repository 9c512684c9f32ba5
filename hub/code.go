package hub

import (
	"strconv"
	"unicode/utf8"
)

// Code is a WebSocket close code (RFC 6455 section 7.4).
type Code uint16

// The close codes a peer of ours may see. After 1001, 1011, 1012, 1013 and
// 4408 it comes back by itself, after the others not.
const (
	Done          Code = 1000 // the last snapshot has been sent
	GoingAway     Code = 1001 // this instance has stopped
	ProtocolError Code = 1002 // the peer broke RFC 6455
	NotText       Code = 1003 // a binary message
	BadUTF8       Code = 1007 // text that is not UTF-8
	BadMessage    Code = 1008 // not JSON, an unknown type, a second watch; a banned network (Evict)
	TooBig        Code = 1009 // more than Wire.Limit bytes in one message
	Internal      Code = 1011 // a fault of ours
	Restarting    Code = 1012 // this instance is leaving
	TryLater      Code = 1013 // the store cannot be reached
	Unauthorized  Code = 4401 // a wrong credential, or the session has ended
	Unknown       Code = 4404 // there is no such record
	WatchTimeout  Code = 4408 // no watch in time
	Replaced      Code = 4409 // a newer socket of the same record on this instance
	TooMany       Code = 4429 // more than 10 messages in 10 s
)

// Two ends that have no code of ours: they are seen by Observe, never by a peer.
const (
	lost   Code = 1006 // the connection broke (RFC 6455 section 7.1.5)
	byPeer Code = 1005 // the peer closed
)

var words = map[Code]string{
	Done: "done", GoingAway: "going_away", ProtocolError: "protocol_error", NotText: "not_text",
	BadUTF8: "bad_utf8", BadMessage: "bad_message", TooBig: "too_big", Internal: "internal",
	Restarting: "restarting", TryLater: "try_later", Unauthorized: "unauthorized", Unknown: "unknown",
	WatchTimeout: "watch_timeout", Replaced: "replaced", TooMany: "too_many",
	lost: "lost", byPeer: "by_peer",
}

// String is the code word that goes out as the reason of a close frame.
func (c Code) String() string {
	if w, ok := words[c]; ok {
		return w
	}
	return strconv.Itoa(int(c))
}

// Refusal turns a peer away for good, as the error of Wire.Open or because of
// Evict: a socket closes with Code and Reason (empty: the code's own word), Wait
// returns it, and so does ServeSSE while it can.
type Refusal struct {
	Code   Code
	Reason string
}

func (r *Refusal) Error() string {
	return "hub: refused: " + strconv.Itoa(int(r.Code)) + " " + clip(r.Code, r.Reason)
}

// maxReason is what a close frame has left after its code (RFC 6455 section 5.5).
const maxReason = 123

// clip is the reason as it fits into a close frame, cut between runes.
func clip(code Code, reason string) string {
	if reason == "" {
		return code.String()
	}
	if len(reason) <= maxReason {
		return reason
	}
	n := maxReason
	for !utf8.RuneStart(reason[n]) {
		n--
	}
	return reason[:n]
}
