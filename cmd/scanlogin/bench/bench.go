package bench

import "time"

// Transport is how browsers watch (CONTRACT 3.3).
type Transport string

// The three doors.
const (
	WS   Transport = "ws"
	SSE  Transport = "sse"
	Poll Transport = "poll"
)

// Server is one running instance.
type Server struct {
	URL   string // of its public listener: http://host:port, loopback
	Admin string // of its admin listener; empty: it is not measured
}

// Load is what to drive against servers. All of them share one store.
type Load struct {
	Servers   []Server
	Accounts  []string // demo users of the servers; at least Parallel
	Transport Transport
	Logins    int           // at most so many; 0: as many as Duration has room for
	Rate      float64       // logins that begin in a second (open loop); 0: one begins where one ended
	Parallel  int           // in flight at the most
	Browsers  int           // that watch and wait all the time
	Duration  time.Duration // at most so long; Logins and Duration are never both zero
	RedisURL  string        // of the store, to measure it; empty: there is none, or it is not measured

	// Holder is the command line of a process that runs Hold: no process may have
	// more than 17,000 sockets, so idle browsers live in children.
	Holder []string
	// Progress is told about ten times a second; nil: nobody looks.
	Progress func(Progress)
}

// Progress is where a run stands.
type Progress struct {
	Phase    string        // a word or two for people: "opening browsers", "signing in", "settling"
	Done, Of int           // of this phase; Of 0: not known
	Elapsed  time.Duration // of this phase
	Length   time.Duration // of this phase, if its end is a time; else 0
	Faults   int           // so far
}

// Result is what a run showed; as JSON the answer of --json.
type Result struct {
	Started  time.Time      `json:"started"`
	Seconds  float64        `json:"seconds"` // of the driven part
	Setup    Setup          `json:"setup"`
	Logins   Logins         `json:"logins"`
	Browsers Browsers       `json:"browsers"`
	Steps    []Step         `json:"steps"`            // in the order of a login, last the whole of it
	Errors   map[string]int `json:"errors"`           // by step and code, as "scan rate_limited"; of idle browsers "open ..." and "hold 1012"; empty: none
	Timeline []Second       `json:"timeline"`         // one for each second of the driven part
	Server   *Usage         `json:"server,omitempty"` // sums over all instances; nil: not measured
	Redis    *RedisUsage    `json:"redis,omitempty"`  // nil: none, or not measured
}

// Setup is what was run, and where.
type Setup struct {
	Version   string    `json:"version"` // of the server
	Store     string    `json:"store"`   // memory, redis, or empty: not known
	Instances int       `json:"instances"`
	Transport Transport `json:"transport"`
	Rate      float64   `json:"rate"` // 0: closed loop
	Parallel  int       `json:"parallel"`
	CPUs      int       `json:"cpus"` // that servers, store and load share
	Go        string    `json:"go"`
}

// Logins is the ledger: each login that was begun is in one of the first six. Only
// Failed is forgivable.
type Logins struct {
	Done     int `json:"done"`     // told, and redeemed by the browser that asked, for the account that confirmed
	Failed   int `json:"failed"`   // ended in a clear answer before the phone had its confirmation
	Lost     int `json:"lost"`     // confirmed, and the browser got nothing, or nothing when it asked again
	Untold   int `json:"untold"`   // confirmed and redeemed, but no frame told the browser in time
	Doubled  int `json:"doubled"`  // two sessions from one ticket, or one from two
	Misgiven int `json:"misgiven"` // tokens of somebody else, or a snapshot of somebody else's ticket
	Unbegun  int `json:"unbegun"`  // due before the time was over, and not begun: all places were taken
}

// Wrong says whether the server broke its word.
func (l Logins) Wrong() bool { return l.Lost+l.Untold+l.Doubled+l.Misgiven > 0 }

// Browsers is what happened to those that waited.
type Browsers struct {
	Asked    int `json:"asked"`
	Held     int `json:"held"`     // there at the end: watching, as far as their connection tells, or Renewing
	Renewing int `json:"renewing"` // of those held, between two tickets at the end
	Dropped  int `json:"dropped"`  // closed by the server or broken, tickets that ended in time not counted
	Renewed  int `json:"renewed"`  // a new ticket taken because the old one had expired
	Misgiven int `json:"misgiven"` // snapshots of somebody else's ticket
}

// Wrong says whether the server broke its word.
func (b Browsers) Wrong() bool { return b.Misgiven > 0 }

// Wrong says whether the server broke its word.
func (r *Result) Wrong() bool { return r.Logins.Wrong() || r.Browsers.Wrong() }

// Step is one step of a login: create, watch, scan, seen (scan sent to its frame),
// confirm, told (confirm sent to its frame), redeem; and login, from its scheduled
// moment to its tokens. Times are milliseconds.
type Step struct {
	Name    string   `json:"name"`
	Count   int      `json:"count"`
	P50     float64  `json:"p50_ms"`
	P90     float64  `json:"p90_ms"`
	P99     float64  `json:"p99_ms"`
	Max     float64  `json:"max_ms"`
	Buckets []Bucket `json:"buckets"` // of the histogram, upper ends growing by a tenth of a decade, none empty at either end
}

// Bucket is how many took at most To, and more than the one before.
type Bucket struct {
	To    float64 `json:"to_ms"`
	Count int     `json:"count"`
}

// Second is one second of the driven part.
type Second struct {
	At     int     `json:"at"` // seconds since its start
	Done   int     `json:"done"`
	Faults int     `json:"faults"`
	P50    float64 `json:"p50_ms"` // of logins that ended in it
	P99    float64 `json:"p99_ms"`
	Open   int     `json:"open"` // idle browsers connected
}

// Usage is what the servers used.
type Usage struct {
	CPUPerLogin   float64 `json:"cpu_ms_per_login"` // 0: no logins
	RSSPerBrowser float64 `json:"rss_per_browser"`  // bytes, after two garbage collections, with all browsers watching; 0: fewer than 1,000 of them
	RSS           float64 `json:"rss"`              // bytes, at the end
}

// RedisUsage is what Redis used, from INFO.
type RedisUsage struct {
	CPUPerLogin        float64 `json:"cpu_ms_per_login"`
	CommandsPerLogin   float64 `json:"commands_per_login"`   // those inside of scripts too
	DeliveriesPerLogin float64 `json:"deliveries_per_login"` // pub/sub messages sent to instances
}
