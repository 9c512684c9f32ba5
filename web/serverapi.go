package web

import (
	"net/http"

	"github.com/go-chi/chi/v5"
)

// Action is what a back end of a relying party may ask for, in a request that it
// signs: POST /v1/server/{action}.
type Action string

// The actions there are.
const (
	ActionEndSessions Action = "end-sessions" // of a user, all of them
	ActionBan         Action = "ban"          // a user or a network
	ActionLift        Action = "lift"         // such a ban
	ActionTicket      Action = "ticket"       // what became of a login
)

// Actions are all of them.
var Actions = []Action{ActionEndSessions, ActionBan, ActionLift, ActionTicket}

// serverRoutes are the actions, each for those whose key is for it. Bans are the
// operator's calls (admin.go), for somebody else.
func (s *Server) serverRoutes(r chi.Router) {
	for action, h := range map[Action]handler{
		ActionEndSessions: s.handleEndSessions, ActionBan: s.handleBan, ActionLift: s.handleLift, ActionTicket: s.handleOutcome,
	} {
		r.Post("/server/"+string(action), s.api(s.signed(action, h)))
	}
}

func (s *Server) handleEndSessions(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		User string `json:"user"`
	}
	if err := decodeJSON(w, r, &in); err != nil {
		return err
	}
	ended, err := s.auth.EndAll(r.Context(), in.User)
	if err != nil {
		return err
	}
	return s.ok(w, http.StatusOK, struct {
		Ended int `json:"ended"`
	}{ended})
}

// outcomeWire is what became of a ticket; there is no secret in it.
type outcomeWire struct {
	TicketID string `json:"ticket_id"`
	Status   string `json:"status"`
	ClientID string `json:"client_id"`
	Reason   string `json:"reason,omitzero"` // on denied
	User     string `json:"user,omitzero"`   // its `sub`; on confirmed and consumed
	SID      string `json:"sid,omitzero"`    // on consumed
}

func (s *Server) handleOutcome(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		TicketID string `json:"ticket_id"`
	}
	if err := decodeJSON(w, r, &in); err != nil {
		return err
	}
	o, err := s.tickets.Outcome(r.Context(), in.TicketID)
	if err != nil {
		return err
	}
	return s.ok(w, http.StatusOK, outcomeWire{
		TicketID: o.TicketID, Status: string(o.Status), ClientID: o.ClientID, Reason: o.Reason, User: o.User, SID: o.SID,
	})
}
