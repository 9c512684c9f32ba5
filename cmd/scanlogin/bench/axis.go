package bench

import (
	"math"
	"strconv"
)

// bucketRatio is the width of a bucket, a tenth of a decade.
var bucketRatio = math.Pow(10, 0.1)

// logAxis is a scale for times, which span decades. Its ends are 1, 2 or 5
// times a power of ten, in milliseconds.
type logAxis struct{ lo, hi float64 }

// newLogAxis shows what is between from and to, and at least a decade: alone,
// one bucket would fill everything. Its ends give way by a percent, because a
// bucket ends at 1.995 where people say 2.
func newLogAxis(from, to float64) logAxis {
	from = max(from, 0.001)
	to = max(to, from)
	a := logAxis{roundDown(from * 1.01), roundUp(to * 0.99)}
	for a.hi/a.lo < 9 {
		a = logAxis{roundDown(a.lo * 0.9), roundUp(a.hi * 1.1)}
	}
	return a
}

// axisOf shows all buckets of a step that has some.
func axisOf(s Step) logAxis {
	return newLogAxis(s.Buckets[0].To/bucketRatio, s.Buckets[len(s.Buckets)-1].To)
}

// roundDown is the next 1, 2 or 5 times a power of ten.
func roundDown(v float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{5, 2} {
		if v >= m*power {
			return m * power
		}
	}
	return power
}

func roundUp(v float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5} {
		if v <= m*power {
			return m * power
		}
	}
	return 10 * power
}

// at is where a time is, from 0 to 1.
func (a logAxis) at(ms float64) float64 {
	if ms <= a.lo {
		return 0
	}
	return min(math.Log(ms/a.lo)/math.Log(a.hi/a.lo), 1)
}

// tick is a place on an axis with a name.
type tick struct {
	At    float64 // what the chart needs: a fraction, percent or pixels
	Label string
	Minor bool // left out where there is little room
}

// ticks are at the powers of ten and, as long as these are few, at 2 and 5
// times them.
func (a logAxis) ticks() []tick {
	decades := math.Log10(a.hi / a.lo)
	var list []tick
	for power := math.Pow(10, math.Floor(math.Log10(a.lo*1.01))); power < a.hi*1.01; power *= 10 {
		for _, m := range []float64{1, 2, 5} {
			v := m * power
			if v < a.lo*0.99 || v > a.hi*1.01 || m > 1 && decades > 4 {
				continue
			}
			list = append(list, tick{a.at(v), tickLabel(v), m > 1 && decades > 1.5})
		}
	}
	return list
}

func tickLabel(ms float64) string {
	if ms >= 999 {
		return strconv.FormatFloat(ms/1000, 'f', -1, 32) + " s"
	}
	return strconv.FormatFloat(ms, 'f', -1, 32) + " ms"
}

// countTicks are the ticks from 0 to a round number that no count exceeds.
func countTicks(most int) []int {
	step := 1
	for i := 0; step*4 < most; i++ {
		step = []int{2, 5, 10}[i%3] * int(math.Pow10(i/3))
	}
	list := []int{0}
	for list[len(list)-1] < max(most, 1) {
		list = append(list, list[len(list)-1]+step)
	}
	return list
}

// timeTicks are at most seven, from the start to the end of a timeline, as
// fractions of it.
func timeTicks(length int) []tick {
	step := 1
	for _, step = range []int{1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400} {
		if length <= 6*step {
			break
		}
	}
	var list []tick
	for s := 0; s <= length; s += step {
		label := strconv.Itoa(s) + " s"
		if step >= 60 {
			label = strconv.Itoa(s/60) + " min"
		}
		list = append(list, tick{At: float64(s) / float64(length), Label: label})
	}
	return list
}
