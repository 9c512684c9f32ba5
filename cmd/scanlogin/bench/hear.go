package bench

import (
	"context"
	"errors"
	"time"

	"github.com/gorilla/websocket"
)

// frame is a snapshot and when it came.
type frame struct {
	Snapshot
	at  time.Time
	err error
}

// wanted is the status of the frame that a step waits for.
var wanted = map[int]string{seen: "scanned", told: "confirmed"}

// await listens, while the phone acts, for the snapshot that a step waits for, or the
// last one that there is. Others may come before it: a watcher is told the newest, and
// that may be the same again.
func (d *driver) await(browser *Browser, step int) <-chan frame {
	came := make(chan frame, 1)
	watch := *browser // Close takes the watch from the original
	go func() {
		for until := time.Now().Add(2 * patience); ; {
			snapshot, err := watch.Next(time.Until(until))
			if errors.Is(err, errBack) { // the next one may be right
				d.record.fault(step, codeOf(err))
				continue
			}
			if err != nil || snapshot.Status == wanted[step] || snapshot.over() {
				came <- frame{snapshot, time.Now(), err}
				return
			}
		}
	}()
	return came
}

// heard waits for the frame that the phone caused, and notes how long it took. A browser
// whose connection broke comes back, as a page does, and is told then. The error is a
// snapshot of another ticket; anything else that is not told is a fault.
func (d *driver) heard(ctx context.Context, browser *Browser, step int, caused time.Time, frames <-chan frame) (knows bool, err error) {
	f := <-frames
	for until := time.Now().Add(patience); broke(f.err) && time.Now().Before(until); f = d.comeBack(ctx, browser, step) {
		d.record.fault(step, codeOf(f.err))
		rest(ctx, backAfter)
	}
	switch {
	case errors.Is(f.err, errForeign):
		return false, f.err
	case f.err != nil:
		d.record.fault(step, codeOf(f.err))
	case f.Status != wanted[step]:
		d.record.fault(step, "status "+f.Status)
	default:
		d.record.took(step, f.at.Sub(caused))
		return true, nil
	}
	return false, nil
}

// backAfter is how long a browser waits before it watches again.
const backAfter = 100 * time.Millisecond

// comeBack watches again. The first snapshot is the newest.
func (d *driver) comeBack(ctx context.Context, browser *Browser, step int) frame {
	first, err := browser.Watch(ctx, d.load.Transport)
	if err != nil || first.Status == wanted[step] || first.over() {
		return frame{first, time.Now(), err}
	}
	return <-d.await(browser, step)
}

// broke says whether a watch ended so that the browser may come back (CONTRACT 3.3):
// the connection or the instance went away, the ticket did not.
func broke(err error) bool {
	switch {
	case err == nil, codeOf(err) == "timeout":
		return false
	case websocket.IsCloseError(err, 1001, 1006, 1011, 1012, 1013, 4408):
		return true
	}
	return lostAnswer(err)
}
