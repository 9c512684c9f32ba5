package qrlogin

import (
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"
	"net/netip"
	"time"

	"scanlogin/auth"
)

// Status is where a ticket stands.
type Status string

const (
	Pending   Status = "pending"
	Scanned   Status = "scanned"
	Confirmed Status = "confirmed"
	Consumed  Status = "consumed"
	Denied    Status = "denied"
	Canceled  Status = "canceled"
	Expired   Status = "expired"
)

// Final says that no move leads out of this status any more.
func (s Status) Final() bool {
	return s == Consumed || s == Denied || s == Canceled || s == Expired
}

// Why a ticket was denied.
const (
	ByUser      = "by_user"      // its scanner said no
	CheckFailed = "check_failed" // the third wrong code was typed
	Blocked     = "blocked"      // its verdict is Block
)

// maxTries is how often a code may be typed wrong, the last of them included.
const maxTries = 3

// answered is how long a final ticket is still known.
const answered = 60 * time.Second

// Ticket is one login attempt as it is stored. Secrets are kept as SHA-256
// only; Expired is never stored, it is what the others are past Deadline.
type Ticket struct {
	ID          string        `json:"id"`
	Status      Status        `json:"status"`
	ClientID    string        `json:"client"`
	Scope       string        `json:"scope,omitempty"`
	Device      bool          `json:"device,omitempty"`    // made through the RFC 8628 door
	Challenge   string        `json:"challenge,omitempty"` // RFC 7636, S256
	SecretHash  []byte        `json:"secret"`              // of device_code's random half
	ConfirmHash []byte        `json:"confirm,omitempty"`   // of the live confirm_token
	CodeHash    []byte        `json:"code,omitempty"`      // of a device client's user_code
	Facts       Facts         `json:"facts"`
	By          auth.Identity `json:"by,omitzero"`      // the scanner
	Signals     Signals       `json:"signals,omitzero"` // as of the last scan
	Check       bool          `json:"check,omitempty"`  // approving it takes a typed code
	Tries       int           `json:"tries,omitempty"`  // wrong ones
	Reason      string        `json:"reason,omitempty"`
	SID         string        `json:"sid,omitempty"` // the session it was redeemed for
	Created     time.Time     `json:"created"`
	Deadline    time.Time     `json:"deadline"`         // of the present status, unless final
	Decided     time.Time     `json:"decided,omitzero"` // when the scanner confirmed; a check may still be to come
	Ended       time.Time     `json:"ended,omitzero"`   // when it became final
}

// Facts are what the server saw of a browser or a phone: parsed words, never
// bytes that it chose. What is not known is empty.
type Facts struct {
	Browser string `json:"browser,omitempty"`
	OS      string `json:"os,omitempty"`
	IP      string `json:"ip,omitempty"`      // a prefix: 203.0.113.0/24, 2001:db8::/48
	Country string `json:"country,omitempty"` // ISO 3166-1 alpha-2
	City    string `json:"city,omitempty"`
	// Network is its IPv4 address or /64: to be compared, never to be shown.
	Network netip.Prefix `json:"network,omitzero"`
}

// Place says in words where it is, as far as is known.
func (f Facts) Place() string {
	switch {
	case f.City != "" && f.Country != "":
		return f.City + ", " + f.Country
	case f.Country != "":
		return f.Country
	}
	return f.IP
}

// Origin is what a session remembers of it.
func (f Facts) Origin() auth.Origin {
	return auth.Origin{Device: auth.Device{Browser: f.Browser, OS: f.OS}, Place: f.Place(), Network: f.Network}
}

// LogValue keeps hashes, names and addresses out of logs.
func (t Ticket) LogValue() slog.Value {
	return slog.GroupValue(slog.String("id", t.ID), slog.String("status", string(t.Status)), slog.String("client", t.ClientID))
}

// At is the status at a moment: a ticket past its deadline is expired,
// whoever looks.
func (t *Ticket) At(now time.Time) Status {
	if !t.Status.Final() && !now.Before(t.Deadline) {
		return Expired
	}
	return t.Status
}

// end is the moment at which the ticket became, or becomes by itself, final.
func (t *Ticket) end() time.Time {
	if t.Status.Final() {
		return t.Ended
	}
	return t.Deadline
}

// known says whether the ticket still answers.
func (t *Ticket) known(now time.Time) bool { return now.Before(t.end().Add(answered)) }

// forget is the moment from which nothing of the ticket is kept. A consumed
// one has to outlive the grace, or a lost answer could not be asked for again;
// but not what is remembered of ended sessions, which is two minutes more.
func (t *Ticket) forget(grace time.Duration) time.Time {
	if t.Status == Consumed {
		return t.Ended.Add(max(answered, grace+answered/2))
	}
	return t.end().Add(answered)
}

// scan binds the ticket to the user who scans. The same user may scan again
// until the confirm: the new confirm token replaces the old one, the deadline
// stays. fresh says that the QR text (or what stands for it) is still good.
func (t *Ticket) scan(by auth.Identity, confirmHash []byte, fresh bool, ttl time.Duration, now time.Time) error {
	status, same := t.At(now), t.By.Sub() == by.Sub()
	switch {
	case status == Expired:
		return ErrTicketExpired
	case status == Scanned && same && t.Decided.IsZero():
		t.ConfirmHash = confirmHash
		return nil
	case !fresh:
		return ErrQRExpired
	case status == Pending:
		t.Status, t.By, t.ConfirmHash, t.Deadline = Scanned, by, confirmHash, now.Add(ttl)
		return nil
	case (status == Scanned || status == Confirmed || status == Consumed) && !same:
		return ErrAlreadyScanned
	}
	return ErrInvalidState
}

// judge keeps what was seen at a scan. The code that was typed for the scan is
// the one that a device shows: nobody has to type it twice.
func (t *Ticket) judge(seen Signals, mode Mode) {
	t.Signals, t.Check = seen, mode.wants(seen) && !(t.Device && seen.Typed)
}

// scanner refuses everybody but the user who scanned. What is said first
// counts: who is not the scanner does not learn how the ticket stands.
func (t *Ticket) scanner(by auth.Identity, now time.Time) error {
	switch status := t.At(now); {
	case status == Pending:
		return ErrInvalidState
	case t.By == (auth.Identity{}) && status == Expired:
		return ErrTicketExpired
	case t.By == (auth.Identity{}):
		return ErrInvalidState
	case t.By.Sub() != by.Sub():
		return ErrNotScanner
	}
	return nil
}

// holder refuses everybody but the scanner with the live confirm token.
func (t *Ticket) holder(by auth.Identity, confirmToken string, now time.Time) error {
	if err := t.scanner(by, now); err != nil {
		return err
	}
	if !hashes(confirmToken, t.ConfirmHash) {
		return ErrInvalidConfirmToken
	}
	return nil
}

// confirm lets the browser in: it may redeem within ttl. Where a check is
// wanted the ticket stays as it is until check, or, for a device client, takes
// the user_code with it. A wrong code and a blocked ticket change the ticket and
// are told by refused; err changes nothing.
func (t *Ticket) confirm(by auth.Identity, confirmToken, userCode string, ttl time.Duration, now time.Time) (refused, err error) {
	if err := t.holder(by, confirmToken, now); err != nil {
		return nil, err
	}
	switch {
	case t.checking() || t.Status == Confirmed || t.Status == Consumed:
		return nil, nil // a repeat, also when the browser was too late
	case t.At(now) == Expired:
		return nil, ErrTicketExpired
	case t.Status != Scanned:
		return nil, ErrInvalidState
	case t.Signals.Verdict() == Block:
		t.refuse(Blocked, now)
		return ErrProximityBlocked, nil
	case t.codeWanted() && userCode == "": // not a try
		return nil, ErrCheckFailed
	case t.codeWanted() && !hashes(userCode, t.CodeHash):
		return t.wrong(now), nil
	}
	t.Decided, t.Deadline = now, now.Add(ttl)
	if !t.checkWanted() {
		t.Status = Confirmed
	}
	return nil, nil
}

// checkWanted says that the browser has to send the code that the phone shows;
// codeWanted, that the phone has to send the one that the device shows.
func (t *Ticket) checkWanted() bool { return t.Check && !t.Device }
func (t *Ticket) codeWanted() bool  { return t.Check && t.Device }

// checking says that the phone has confirmed and the code is awaited.
func (t *Ticket) checking() bool { return t.Status == Scanned && !t.Decided.IsZero() }

// check is the browser sending the code: right is the right one. A wrong one
// changes the ticket and is told by refused.
func (t *Ticket) check(right, code string, now time.Time) (refused, err error) {
	good := subtle.ConstantTimeCompare([]byte(right), []byte(code)) == 1
	switch status := t.At(now); {
	case t.checkWanted() && good && (status == Confirmed || status == Consumed):
		return nil, nil // a repeat
	case status != Scanned || !t.checking():
		return nil, ErrInvalidState
	case !good:
		return t.wrong(now), nil
	}
	t.Status = Confirmed
	return nil, nil
}

// wrong counts a wrong code; the last one ends the ticket.
func (t *Ticket) wrong(now time.Time) error {
	if t.Tries++; t.Tries >= maxTries {
		t.refuse(CheckFailed, now)
	}
	return ErrCheckFailed
}

// refuse ends the ticket without anybody's wish.
func (t *Ticket) refuse(reason string, now time.Time) {
	t.Status, t.Reason, t.Ended = Denied, reason, now
}

// deny ends the ticket; allowed until it is consumed.
func (t *Ticket) deny(by auth.Identity, confirmToken string, now time.Time) error {
	if err := t.holder(by, confirmToken, now); err != nil {
		return err
	}
	switch status := t.At(now); {
	case status == Denied && t.Reason == ByUser: // a repeat
		return nil
	case status == Scanned || status == Confirmed:
		t.Status, t.Reason, t.Ended = Denied, ByUser, now
		return nil
	case status == Expired:
		return ErrTicketExpired
	}
	return ErrInvalidState
}

// cancel is the browser giving up.
func (t *Ticket) cancel(now time.Time) error {
	switch t.At(now) {
	case Canceled: // a repeat
		return nil
	case Pending, Scanned, Confirmed:
		t.Status, t.Ended = Canceled, now
		return nil
	}
	return ErrInvalidState
}

// redeem marks the ticket consumed for the session sid. For a consumed one it
// is a repeat and t.SID is the session of the first time.
func (t *Ticket) redeem(sid string, now time.Time) error {
	switch t.At(now) {
	case Pending, Scanned:
		return ErrAuthorizationPending
	case Confirmed:
		t.Status, t.SID, t.Ended = Consumed, sid, now
		return nil
	case Consumed:
		return nil
	case Denied, Canceled:
		return ErrAccessDenied
	}
	return ErrExpiredToken
}

// proves says that deviceSecret and verifier (RFC 7636) are the browser's.
func (t *Ticket) proves(deviceSecret, verifier string) bool {
	if !hashes(deviceSecret, t.SecretHash) {
		return false
	}
	if t.Challenge == "" {
		return verifier == ""
	}
	return subtle.ConstantTimeCompare([]byte(challengeOf(verifier)), []byte(t.Challenge)) == 1
}

func hash(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

func hashes(secret string, sum []byte) bool {
	return subtle.ConstantTimeCompare(hash(secret), sum) == 1
}
