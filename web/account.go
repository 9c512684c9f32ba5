package web

import (
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/mileusna/useragent"

	"scanlogin/auth"
)

// The device list is one page under either cookie: each is for its own kind of
// session, and only a phone's may end phones.
const (
	accountPath = "/account"
	devicesPath = "/s/devices"
)

// errSessionEnded tells a person what the API calls not_found: there is
// nothing left to end.
var errSessionEnded = newFailure(404, "session_ended", "There is no such session.")

func (c cookie) listPath() string {
	if c == phoneCookie {
		return devicesPath
	}
	return accountPath
}

func (s *Server) listRoutes(r chi.Router, c cookie) {
	list := c.listPath()
	get(r, list, s.page(c, s.handleList))
	r.Post(list+"/end", s.page(c, s.handleEnd))
	r.Post(list+"/end-others", s.page(c, s.handleEndOthers))
}

// accountPage is the device list; signed out, the page to sign in on.
type accountPage struct {
	page
	SignedIn bool
	Socket   bool   // scripts may follow the session, see handleSessionToken
	Path     string // of the list; its forms are below
	Name     string
	Devices  []deviceRow
	Others   bool // there are some that may be ended here
	Phones   bool // there are some that may not
	Modules  []string
}

// deviceRow is one session in words.
type deviceRow struct {
	ID, Name, Place string
	Phone           bool // a phone or a tablet
	Current, CanEnd bool
	Since, Used     moment // signed in, and last used
}

// moment is a sentence with a time in it, for people and for programs.
type moment struct{ Before, Text, Time, After string }

// handleList shows the device list to who is signed in.
func (s *Server) handleList(w http.ResponseWriter, r *http.Request, v *visitor) error {
	path := v.cookie.listPath()
	if !v.signedIn() && v.cookie == phoneCookie {
		return s.signinPage(w, r, v, http.StatusOK, signinPage{Next: path})
	}
	data := accountPage{
		page: s.newPage(r, v, "account.title", path), SignedIn: v.signedIn(), Socket: v.cookie == webCookie,
		Path: path, Name: v.who.Name, Modules: modules,
	}
	if data.SignedIn {
		sessions, err := s.auth.Sessions(r.Context(), v.who.Sub)
		if err != nil {
			return err
		}
		data.list(sessions, v.who, time.Now())
	}
	return s.render(w, http.StatusOK, "account", data)
}

// list puts the sessions into words, as the one who asks may see and end them.
func (p *accountPage) list(sessions []auth.Session, who auth.Principal, now time.Time) {
	for _, one := range sessions {
		current, phone := one.ID == who.SID, one.ClientID == auth.Phone
		row := deviceRow{
			ID: one.ID, Name: p.device(one.Device), Place: p.place(one.Place),
			Phone: phone || slices.Contains(handhelds, one.Device.OS), Current: current, CanEnd: !phone || who.HasScope(auth.Phone),
			Since: p.signedIn(one, now), Used: p.moment(p.T("account.used", "%s"), one.LastUsed, now),
		}
		p.Devices = append(p.Devices, row)
		p.Others = p.Others || row.CanEnd && !current
		p.Phones = p.Phones || !row.CanEnd
	}
}

// device is a device's name, as far as it is known.
func (p page) device(d auth.Device) string {
	switch {
	case d.Browser != "" && d.OS != "":
		return p.T("account.device", d.Browser, d.OS)
	case d.Browser != "" || d.OS != "":
		return d.Browser + d.OS
	}
	return p.T("account.unknown_device")
}

// place says of a network that it is one; everything else is words already.
func (p page) place(place string) string {
	if _, err := netip.ParsePrefix(place); err == nil {
		return p.T("decide.network", place)
	}
	return place
}

// handhelds are the systems of what people hold in their hand.
var handhelds = []string{useragent.Android, useragent.IOS, useragent.WindowsPhone, useragent.BlackBerry}

// signedIn says when a session began, and by what means.
func (p page) signedIn(one auth.Session, now time.Time) moment {
	sentence := ""
	switch means := strings.Join(one.AMR, ", "); means {
	case "qr":
		sentence = p.T("account.by_qr", "%s")
	case "demo":
		sentence = p.T("account.by_demo", "%s")
	default:
		sentence = p.T("account.by_provider", "%s", p.provider(means))
	}
	return p.moment(sentence, one.Created, now)
}

// moment fills in how long ago something was: the server does not know the
// person's time zone.
func (p page) moment(sentence string, then, now time.Time) moment {
	before, after, _ := strings.Cut(sentence, "%s")
	return moment{before, p.ago(now.Sub(then)), then.UTC().Format(time.RFC3339), after}
}

func (p page) ago(d time.Duration) string {
	units := []struct {
		unit      time.Duration
		one, many string
	}{
		{24 * time.Hour, "ago.day", "ago.days"}, {time.Hour, "ago.hour", "ago.hours"}, {time.Minute, "ago.minute", "ago.minutes"},
	}
	for _, u := range units {
		switch n := int(d / u.unit); {
		case n == 1:
			return p.T(u.one)
		case n > 1:
			return p.T(u.many, n)
		}
	}
	return p.T("ago.now")
}

// handleEnd ends one of the person's sessions; ending this one is signing out.
func (s *Server) handleEnd(w http.ResponseWriter, r *http.Request, v *visitor) error {
	id, list := v.form.Get("id"), v.cookie.listPath()
	if !v.signedIn() {
		return seeOther(w, list)
	}
	if id == v.SID {
		return s.signOut(w, r, v, list)
	}
	switch err := s.auth.End(r.Context(), v.who, id); {
	case errors.Is(err, auth.ErrUnknownSession):
		return errSessionEnded
	case err != nil && !errors.Is(err, auth.ErrSessionEnded):
		return err
	}
	return seeOther(w, list)
}

// handleEndOthers ends all sessions but this one.
func (s *Server) handleEndOthers(w http.ResponseWriter, r *http.Request, v *visitor) error {
	if v.signedIn() {
		if err := s.auth.EndOthers(r.Context(), v.who); err != nil && !errors.Is(err, auth.ErrSessionEnded) {
			return err
		}
	}
	return seeOther(w, v.cookie.listPath())
}

// pageToken is an access token for a page that is kept signed in by its cookie.
type pageToken struct {
	AccessToken string `json:"access_token"`
	ExpiresIn   int64  `json:"expires_in"`
}

// handleSessionToken lets the demo page open the session socket, which knows no
// cookies. Only the page itself may ask. There is none for the phone's
// cookie: its token could approve logins, and scripts have no need of that.
func (s *Server) handleSessionToken(w http.ResponseWriter, r *http.Request) error {
	origin, site := r.Header.Get("Origin"), r.Header.Get("Sec-Fetch-Site")
	if site != "same-origin" && (site != "" || origin != "" && origin != s.config.PublicURL) {
		return errCrossOrigin
	}
	v, _, err := s.visit(r, webCookie)
	if err != nil {
		return err
	}
	if v.SID == "" {
		return errNoCredential
	}
	tokens, err := s.auth.Access(r.Context(), v.Sub, v.SID)
	if errors.Is(err, auth.ErrSessionEnded) || errors.Is(err, auth.ErrBanned) {
		return errNoCredential
	}
	if err != nil {
		return err
	}
	return s.ok(w, http.StatusOK, pageToken{tokens.Access, int64(tokens.ExpiresIn.Seconds())})
}
