package bench

import (
	"maps"
	"math"
	"sync"
	"time"
)

// The steps of a login, in their order, and the whole of it.
const (
	create = iota
	watchStep
	scan
	seen
	confirm
	told
	redeem
	whole
	steps
)

var stepNames = [steps]string{"create", "watch", "scan", "seen", "confirm", "told", "redeem", "login"}

// A spread counts in buckets that grow by 1/200 of a decade (1.2 %), from 1 µs to
// 1000 s: of constant size, however many logins there are.
const (
	perDecade = 200
	decades   = 9
	perBucket = perDecade / 10 // of those that are shown
)

type spread struct {
	counts [perDecade * decades]int
	total  int
	max    time.Duration
}

func (h *spread) add(d time.Duration) {
	at := int(math.Ceil(math.Log10(max(1, float64(d)/float64(time.Microsecond))) * perDecade))
	h.counts[min(at, len(h.counts)-1)]++
	h.total++
	h.max = max(h.max, d)
}

// quantile is in milliseconds: the middle of the bucket that it falls into.
func (h *spread) quantile(q float64) float64 {
	rank := int(math.Ceil(q * float64(h.total)))
	for at, n := range h.counts {
		if rank -= n; n > 0 && rank <= 0 {
			return math.Min(upper(float64(at)-0.5), milliseconds(h.max))
		}
	}
	return 0
}

// upper is the upper end of a bucket, in milliseconds to four digits.
func upper(at float64) float64 {
	ms := math.Pow(10, at/perDecade) / 1000
	digits := math.Pow(10, 3-math.Floor(math.Log10(ms)))
	return math.Round(ms*digits) / digits
}

func milliseconds(d time.Duration) float64 {
	return math.Round(float64(d)/float64(time.Microsecond)) / 1000
}

func (h *spread) step(name string) Step {
	return Step{
		Name: name, Count: h.total, P50: h.quantile(0.5), P90: h.quantile(0.9), P99: h.quantile(0.99),
		Max: milliseconds(h.max), Buckets: h.buckets(),
	}
}

// buckets are ten of a decade, from the first to the last that is not empty.
func (h *spread) buckets() []Bucket {
	all := make([]Bucket, decades*10+1)
	for i := range all {
		all[i].To = upper(float64(i * perBucket))
	}
	for at, n := range h.counts {
		all[(at+perBucket-1)/perBucket].Count += n
	}
	for len(all) > 0 && all[0].Count == 0 {
		all = all[1:]
	}
	for len(all) > 0 && all[len(all)-1].Count == 0 {
		all = all[:len(all)-1]
	}
	return all
}

// recorder takes down what happens while logins are driven.
type recorder struct {
	start time.Time
	open  func() int // idle browsers that are connected now

	mu       sync.Mutex
	steps    [steps]spread
	errors   map[string]int
	timeline []Second
	second   spread // of the logins that ended in the newest second
	faults   int    // in the newest second
	all      int    // faults
}

func newRecorder(start time.Time, open func() int) *recorder {
	return &recorder{start: start, open: open, errors: map[string]int{}}
}

// took notes the time of a step.
func (r *recorder) took(step int, d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.steps[step].add(d)
	if step == whole {
		r.roll(time.Now())
		r.second.add(d)
	}
}

// fault notes that a step went wrong, as "scan rate_limited".
func (r *recorder) fault(step int, code string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errors[stepNames[step]+" "+code]++
	r.roll(time.Now())
	r.faults++
	r.all++
}

// roll closes the seconds that are over.
func (r *recorder) roll(now time.Time) {
	for len(r.timeline) < int(now.Sub(r.start)/time.Second) {
		r.close()
	}
}

func (r *recorder) close() {
	r.timeline = append(r.timeline, Second{
		At: len(r.timeline), Done: r.second.total, Faults: r.faults, Open: r.open(),
		P50: r.second.quantile(0.5), P99: r.second.quantile(0.99),
	})
	r.second, r.faults = spread{}, 0
}

// tick keeps the timeline going also when nothing ends, and says how many logins
// ended and how many faults there were.
func (r *recorder) tick(now time.Time) (done, faults int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.roll(now)
	return r.steps[whole].total, r.all
}

// into writes all of it down, after the last login has ended.
func (r *recorder) into(result *Result, end time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.roll(end)
	if r.second.total+r.faults > 0 || len(r.timeline) == 0 {
		r.close()
	}
	result.Seconds = math.Round(end.Sub(r.start).Seconds()*1000) / 1000
	result.Timeline, result.Errors = r.timeline, maps.Clone(r.errors)
	for i := range r.steps {
		result.Steps = append(result.Steps, r.steps[i].step(stepNames[i]))
	}
}
