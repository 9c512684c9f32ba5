// Package wechattest is a WeChat for tests: the few calls and pages of it that a
// sign-in needs, in the wire format that WeChat documents, with faults by
// script. It is part of no program.
//
// It is as strict as the real one: a code is good once, for five minutes and for
// one app; errors come with status 200. And as loose: some errcodes are strings,
// JSON is called text/plain.
package wechattest

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// The calls that can be counted and made to fail.
const (
	Code2Session = "/sns/jscode2session"
	AccessToken  = "/sns/oauth2/access_token"
	UserInfo     = "/sns/userinfo"
	StableToken  = "/cgi-bin/stable_token"
)

// The pages that browsers are sent to.
const (
	SitePage  = "/connect/qrconnect"
	InAppPage = "/connect/oauth2/authorize"
)

const (
	codeLife   = 5 * time.Minute
	tokenLife  = 2 * time.Hour
	tokenEarly = 5 * time.Minute // before its end there is a new app token to be had
)

// User is somebody who has WeChat.
type User struct {
	Account  string // tells users apart; letters and digits
	UnionID  string // empty: the apps belong to no company account
	Name     string
	Picture  string
	Snapshot bool // only looks at a snapshot page: the account is made up
}

// OpenID is the user as one app knows them.
func (u User) OpenID(app string) string { return "o-" + app + "-" + u.Account }

// Server is one WeChat; it is an http.Handler.
type Server struct {
	apps map[string]string // id: secret

	mu      sync.Mutex
	clock   time.Duration     // since the start
	grants  map[string]*grant // by code and by a user's access token
	tokens  map[string]appToken
	visitor *User
	calls   map[string]int
	script  map[string][]http.HandlerFunc
	broken  map[string]http.HandlerFunc
	secrets []string
}

type grant struct {
	app  string
	user User
	ends time.Duration
	used bool
}

type appToken struct {
	value string
	ends  time.Duration
}

// New is a WeChat that knows these apps, by id, with their secrets.
func New(apps map[string]string) *Server {
	s := &Server{
		apps:   apps,
		grants: map[string]*grant{}, tokens: map[string]appToken{},
		calls: map[string]int{}, script: map[string][]http.HandlerFunc{}, broken: map[string]http.HandlerFunc{},
	}
	for _, secret := range apps {
		s.secrets = append(s.secrets, secret)
	}
	return s
}

// Code is a fresh code of a user for an app, as wx.login gives it.
func (s *Server) Code(app string, user User) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.grant(app, user, codeLife)
}

// Visitor is who the pages see and let go on at once; nil: they refuse.
func (s *Server) Visitor(user *User) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.visitor = user
}

// Forward sets this WeChat's clock forward. It stands still else: tests have
// times of their own.
func (s *Server) Forward(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock += d
}

// Script has the next calls of a path answered by these, one each.
func (s *Server) Script(path string, faults ...http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script[path] = append(s.script[path], faults...)
}

// Break has all calls of a path answered by this, until it is nil.
func (s *Server) Break(path string, fault http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken[path] = fault
}

// Calls is how often a path was asked for.
func (s *Server) Calls(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[path]
}

// Secrets are all that were ever given out, and the apps' own: nothing of them
// may be found in a log, an error or a store, but app tokens, which are kept.
func (s *Server) Secrets() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.secrets...)
}

// ServeHTTP answers as WeChat does, or as the script says.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	s.mu.Lock()
	s.calls[path]++
	fault := s.broken[path]
	if next := s.script[path]; len(next) > 0 {
		fault, s.script[path] = next[0], next[1:]
	}
	s.mu.Unlock()
	if fault != nil {
		fault(w, r)
		return
	}
	s.answer(w, r)
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch r.URL.Path {
	case Code2Session:
		s.exchange(w, r.URL.Query(), "js_code")
	case AccessToken:
		s.exchange(w, r.URL.Query(), "code")
	case UserInfo:
		s.userInfo(w, r.URL.Query())
	case StableToken:
		s.stableToken(w, r)
	case SitePage, InAppPage:
		s.page(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (s *Server) secret() string {
	value := rand.Text()
	s.secrets = append(s.secrets, value)
	return value
}

func (s *Server) grant(app string, user User, life time.Duration) string {
	value := s.secret()
	s.grants[value] = &grant{app: app, user: user, ends: s.clock + life}
	return value
}

// refused are the settings that WeChat does not accept; 0: it does.
func (s *Server) refused(app, secret string) int {
	want, known := s.apps[app]
	switch {
	case app == "":
		return 41002
	case secret == "":
		return 41004
	case !known:
		return 40013
	case secret != want:
		return 40125
	}
	return 0
}

// exchange trades a code; of is the code's name in the query.
func (s *Server) exchange(w http.ResponseWriter, query url.Values, of string) {
	app, code := query.Get("appid"), query.Get(of)
	if refused := s.refused(app, query.Get("secret")); refused != 0 {
		say(w, problem(refused))
		return
	}
	given := s.grants[code]
	switch {
	case query.Get("grant_type") != "authorization_code":
		say(w, problem(40002))
		return
	case code == "":
		say(w, problem(41008))
		return
	case given == nil, given.app != app, s.clock > given.ends:
		say(w, problem(40029))
		return
	case given.used:
		say(w, problem(40163))
		return
	}
	given.used = true
	answer := map[string]any{"openid": given.user.OpenID(app)}
	if given.user.UnionID != "" {
		answer["unionid"] = given.user.UnionID
	}
	if of == "js_code" {
		answer["session_key"] = s.secret()
		answer["errcode"], answer["errmsg"] = 0, "ok"
	} else {
		answer["access_token"] = s.grant(app, given.user, tokenLife)
		answer["refresh_token"] = s.secret()
		answer["expires_in"], answer["scope"] = 7200, "snsapi_userinfo"
		if given.user.Snapshot {
			answer["is_snapshotuser"] = 1
		}
	}
	say(w, answer)
}

func (s *Server) userInfo(w http.ResponseWriter, query url.Values) {
	given := s.grants[query.Get("access_token")]
	switch {
	case given == nil:
		say(w, problem(40001))
		return
	case query.Get("openid") != given.user.OpenID(given.app):
		say(w, problem(40003))
		return
	}
	say(w, map[string]any{
		"openid": given.user.OpenID(given.app), "unionid": given.user.UnionID,
		"nickname": given.user.Name, "headimgurl": given.user.Picture,
		"sex": 0, "language": "", "city": "", "province": "", "country": "", "privilege": []string{},
	})
}

func (s *Server) stableToken(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		GrantType string `json:"grant_type"`
		App       string `json:"appid"`
		Secret    string `json:"secret"`
	}
	if r.Method != http.MethodPost || json.NewDecoder(r.Body).Decode(&asked) != nil {
		say(w, problem(43002))
		return
	}
	if refused := s.refused(asked.App, asked.Secret); refused != 0 {
		say(w, problem(refused))
		return
	}
	token := s.tokens[asked.App]
	if token.ends-s.clock <= tokenEarly {
		token = appToken{value: rand.Text(), ends: s.clock + tokenLife}
		s.tokens[asked.App] = token
	}
	say(w, map[string]any{"access_token": token.value, "expires_in": int((token.ends - s.clock).Seconds())})
}

// page sends the visitor back with a code, or without one if there is none.
func (s *Server) page(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	back, err := url.Parse(query.Get("redirect_uri"))
	scope := map[string]string{SitePage: "snsapi_login", InAppPage: "snsapi_userinfo"}[r.URL.Path]
	known := s.apps[query.Get("appid")] != ""
	ordered := strings.HasPrefix(r.URL.RawQuery, "appid=") && strings.Contains(r.URL.RawQuery, "&response_type=code&scope="+scope+"&state=")
	if err != nil || back.Host == "" || !known || !ordered {
		http.Error(w, "<html>redirect_uri or scope is wrong</html>", http.StatusOK)
		return
	}
	returned := url.Values{"state": {query.Get("state")}}
	if s.visitor != nil {
		returned.Set("code", s.grant(query.Get("appid"), *s.visitor, codeLife))
	}
	back.RawQuery = returned.Encode()
	http.Redirect(w, r, back.String(), http.StatusFound)
}

// say is an answer: JSON that calls itself text, as WeChat's does.
func say(w http.ResponseWriter, answer map[string]any) {
	w.Header().Set("Content-Type", "text/plain")
	json.NewEncoder(w).Encode(answer)
}

func problem(errcode any) map[string]any {
	return map[string]any{"errcode": errcode, "errmsg": "something is wrong, rid: 620e3db2-410d5515-117f31ac"}
}
