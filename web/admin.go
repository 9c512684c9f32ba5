package web

import (
	"crypto/subtle"
	"math"
	"net/http"
	"net/netip"
	"time"

	"github.com/go-chi/chi/v5"

	"scanlogin/auth"
)

// Admin is the admin listener, never on the public port: metrics and profiles
// for whoever can reach it, and the calls of `scanlogin keys` and `scanlogin
// ban` for whoever knows the secret.
func (s *Server) Admin() http.Handler {
	r := chi.NewRouter()
	s.config.Metrics.routes(r)
	r.Route("/admin", func(r chi.Router) {
		r.Use(s.observe, s.headers, s.operator, deadline)
		r.NotFound(s.notFound)
		r.MethodNotAllowed(s.methodNotAllowed)
		r.Post("/keys/rotate", s.api(s.handleRotateKeys))
		r.Get("/bans", s.api(s.handleBans))
		r.Post("/bans", s.api(s.handleBan))
		r.Post("/bans/lift", s.api(s.handleLift))
	})
	return r
}

// operator lets those in who show one of the tokens.
func (s *Server) operator(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, err := bearer(r, errNoCredential)
		good := 0
		for _, known := range s.config.AdminTokens {
			good |= subtle.ConstantTimeCompare([]byte(token), []byte(known))
		}
		if err == nil && good == 0 {
			err = auth.ErrInvalidToken
		}
		if err != nil {
			s.fail(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) handleRotateKeys(w http.ResponseWriter, r *http.Request) error {
	if err := decodeJSON(w, r, &struct{}{}); err != nil {
		return err
	}
	from, err := s.auth.RotateKeys(r.Context())
	if err != nil {
		return err
	}
	return s.ok(w, http.StatusOK, struct {
		SignsFrom string `json:"signs_from"`
	}{stamp(from)})
}

// banWire is one ban; exactly one of User and Network is there.
type banWire struct {
	User    string `json:"user,omitzero"`
	Network string `json:"network,omitzero"` // 203.0.113.0/24
	Reason  string `json:"reason"`
	Since   string `json:"since"`
	Until   string `json:"until,omitzero"` // absent: for good
}

func (s *Server) handleBans(w http.ResponseWriter, r *http.Request) error {
	all, err := s.auth.Bans(r.Context())
	if err != nil {
		return err
	}
	out := []banWire{}
	for _, b := range all {
		one := banWire{User: b.User, Reason: b.Reason, Since: stamp(b.Since)}
		if b.Network.IsValid() {
			one.Network = b.Network.String()
		}
		if !b.Until.IsZero() {
			one.Until = stamp(b.Until)
		}
		out = append(out, one)
	}
	return s.ok(w, http.StatusOK, struct {
		Bans []banWire `json:"bans"`
	}{out})
}

// banned is whom a call is about.
type banned struct {
	User    string `json:"user"`
	Network string `json:"network"`
}

func (b banned) ban() (ban auth.Ban, err error) {
	ban.User = b.User
	if b.Network != "" {
		if ban.Network, err = netip.ParsePrefix(b.Network); err != nil {
			err = auth.ErrInvalidBan
		}
	}
	return ban, err
}

func (s *Server) handleBan(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		banned
		Reason     string `json:"reason"`
		ForSeconds *int64 `json:"for_seconds"` // absent: for good
	}
	if err := decodeJSON(w, r, &in); err != nil {
		return err
	}
	ban, err := in.ban()
	switch {
	case err != nil:
		return err
	case ban.Network.IsValid() && !s.addressesKnown():
		return errNetworksUnknown
	}
	ban.Reason = in.Reason
	if n := in.ForSeconds; n != nil {
		if *n < 1 || *n > math.MaxInt64/int64(time.Second) {
			return errInvalidRequest
		}
		ban.Until = time.Now().Add(time.Duration(*n) * time.Second).UTC()
	}
	if err := s.auth.Ban(r.Context(), ban); err != nil {
		return err
	}
	return noContent(w)
}

func (s *Server) handleLift(w http.ResponseWriter, r *http.Request) error {
	var in banned
	if err := decodeJSON(w, r, &in); err != nil {
		return err
	}
	ban, err := in.ban()
	if err != nil {
		return err
	}
	if err := s.auth.Lift(r.Context(), ban); err != nil {
		return err
	}
	return noContent(w)
}
