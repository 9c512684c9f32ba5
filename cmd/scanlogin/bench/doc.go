// Package bench is a load test: it drives whole logins and idle browsers against
// servers, keeps a ledger of what became of each, and measures.
//
//	           +--------------- driver: one goroutine a login ----------------+
//	pacer ---> | browser: create, watch ....... seen ......... told, redeem   | --> ledger
//	           | phone:                  scan ....... confirm                 | --> recorder
//	           +--------------------------------------------------------------+
//	Gather --> children that run Hold: idle browsers, 17,000 in each at the most
//
//	bench.go                       the shapes: Load in, Result out
//	run.go progress.go             one run, phase by phase
//	drive.go os_*.go               logins, and when they begin
//	hear.go                        what their browsers are told
//	ledger.go record.go            what became of them; how long it took
//	client.go browser.go watch.go  who signs in, by the three doors of CONTRACT 3.3
//	phone.go                       who decides
//	hold.go gather.go              idle browsers: the child's part, the parent's
//	servers.go redis.go            servers that are started for a run
//	measure.go redismeter.go deliveries.go
//	                               what servers and Redis used
//	text.go html.go and the rest   how a result is shown
//
// The room imports nothing of scanlogin's. It speaks the contract over HTTP and
// WebSocket as any client does, so a mistake cannot be made on both sides at once, and
// any server that keeps to the contract can be driven. For the same reason it has its
// own ends of two libraries that other rooms own.
//
// # When a login begins
//
// Open loop: login i is due at start + i/rate, whatever became of those before it, and
// its time counts from then, also if it had to wait for one of the Parallel places. A
// server that stands still for a second has made a hundred people wait, not one. With
// rate 0 the loop is closed: a login begins when another one has ended, which finds out
// how many there can be, and says little about how long they take. Logins that are
// still due when the time is over are not begun, and counted as that.
//
// # What the ledger says
//
// From the moment the phone is told "confirmed", the login is owed to the browser:
// whatever keeps it from its tokens is Lost, but only after it asked again, because a
// lost answer may be asked for again (CONTRACT 6). So is the frame: when none told the
// browser within two times patience, it redeems all the same and the login is Untold. A
// browser whose connection broke comes back first, as a page does. Tokens are compared
// with the account that confirmed, sessions with all others. One ticket in 20 is redeemed
// by two requests at once, at two instances if there are several, and both have to get
// the same. A snapshot of another ticket is Misgiven, whoever is told; seq that goes back
// is an error. A login that Ctrl-C would cut off is allowed to end first.
//
// The exit code is 1 when the server broke its word, when an idle browser was dropped or
// is missing at the end, and when not one login was done of those that were tried. A
// running server may refuse some, because its operator limits it; on servers that were
// started here limits are off, or there are people enough, so one that fails is one too
// many. Slow is no failure: what was not begun is said, and left to the reader.
//
// An idle browser counts as held when its child says so: one that ended, or has been
// silent for three seconds, holds nobody. Who is between two tickets is held.
//
// # What is measured
//
// Connections of requests are kept and shared, as those of a reverse proxy are. Every
// socket and stream is a TCP connection of its own. Everybody sends an address of a
// network of their own as X-Forwarded-For: servers that are started here trust it, so
// limits can be on in a load test, and others ignore it.
//
// CPU is that of the whole process over the driven part, divided by the logins: idle
// browsers and their heartbeats are in it. Memory for an idle browser is the growth from
// before they came to after, each time after two garbage collections, so it holds the
// ticket too; with fewer than 1,000 of them it would be mostly noise. A few logins go first, for what a
// server does only once. Redis is asked with INFO, less what asking costs; it counts
// commands inside of scripts as well. It does not count deliveries, so these are counted
// on ten logins more, with MONITOR: it shows in order who subscribes and what is
// published. (Asking for the subscribers of each message's channel was tried: a long
// poll has let go by then.) Nothing else should use that Redis meanwhile.
//
// Load, servers and store share the machine: ratios between runs mean more than any one
// number.
//
// # Processes
//
// One process may have 20,000 files, so idle browsers live in children, told by a line
// of JSON what to hold and telling how many there are. They end with their input, thus
// with their parent. Servers of a Fleet end with its context; on Linux all of them die
// with a killed parent too.
//
// A histogram of fixed size is kept instead of all times: quantiles are good to 1.2 %,
// for a run of any length.
package bench
