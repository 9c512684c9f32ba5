package backend

import (
	"container/heap"
	"time"
)

// itemKey tells records and permits of one key apart.
type itemKey struct {
	permit bool
	key    string
}

// item is a record or the permits of a key, and their place in the expiry heap.
type item struct {
	itemKey
	at    time.Time // its end
	index int
	value []byte
	rev   uint64
	full  int64 // permits: when all are there again, in microseconds
}

// revision is the record's, 0 for none.
func (it *item) revision() uint64 {
	if it == nil {
		return 0
	}
	return it.rev
}

// expiry is a heap of items, the next to end on top.
type expiry []*item

func (e expiry) Len() int           { return len(e) }
func (e expiry) Less(i, j int) bool { return e[i].at.Before(e[j].at) }
func (e expiry) Swap(i, j int) {
	e[i], e[j] = e[j], e[i]
	e[i].index, e[j].index = i, j
}

func (e *expiry) Push(x any) {
	it := x.(*item)
	it.index = len(*e)
	*e = append(*e, it)
}

func (e *expiry) Pop() any {
	last := len(*e) - 1
	it := (*e)[last]
	(*e)[last] = nil
	*e = (*e)[:last]
	return it
}

// sweepPause keeps the sweeper from waking for every single record.
const sweepPause = 100 * time.Millisecond

// sweep removes what is over, until Close.
func (m *Memory) sweep() {
	defer close(m.swept)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-m.wake:
		}
		next, closed := m.removeOver()
		if closed {
			return
		}
		timer.Reset(next)
	}
}

// removeOver removes what is over and says when to come again.
func (m *Memory) removeOver() (next time.Duration, closed bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.expiry) > 0 && !time.Now().Before(m.expiry[0].at) {
		it := heap.Pop(&m.expiry).(*item)
		delete(m.items, it.itemKey)
	}
	next = time.Hour
	if len(m.expiry) > 0 {
		next = max(time.Until(m.expiry[0].at), sweepPause)
	}
	m.nextSweep = time.Now().Add(next)
	return next, m.closed
}
