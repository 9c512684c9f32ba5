package bench

import (
	"context"
	"errors"
	"math"
	"net/http"
	"sync"
	"time"
)

// driver drives whole logins.
type driver struct {
	load    Load
	http    *http.Client
	record  *recorder
	ledger  *ledger
	phones  chan *Phone // those that are free
	running sync.WaitGroup
}

// every is how many logins there are for one whose tokens are asked for twice.
const every = 20

// run begins logins until there were enough, the time is over or ctx ends, and waits
// for those in flight. Persons are numbered from first.
func (d *driver) run(ctx context.Context, first int) {
	// Who has begun may finish: a login that we cut off ourselves is nobody's fault.
	finishing := context.WithoutCancel(ctx)
	slots := make(chan struct{}, d.load.Parallel)
	i := 0
	for ; d.load.Logins == 0 || i < d.load.Logins; i++ {
		var due time.Time
		if d.load.Rate > 0 {
			due = d.record.start.Add(time.Duration(float64(i) / d.load.Rate * float64(time.Second)))
			if d.late(due) || !waitUntil(ctx, due) {
				break
			}
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil || d.late(time.Now()) {
			break
		}
		if due.IsZero() {
			due = time.Now()
		}
		person := first + i
		d.running.Go(func() {
			defer func() { <-slots }()
			phone := <-d.phones
			defer func() { d.phones <- phone }()
			d.login(finishing, person, due, phone)
		})
	}
	d.ledger.unbegun(max(0, d.due(time.Now())-i))
	d.running.Wait()
}

// due is how many logins had to begin before a moment, or the end of the time.
func (d *driver) due(now time.Time) int {
	passed := now.Sub(d.record.start)
	if d.load.Duration > 0 {
		passed = min(passed, d.load.Duration)
	}
	n := int(math.Ceil(passed.Seconds()*d.load.Rate - 1e-6)) // as many as a number of them is of the whole time, not one more
	if d.load.Logins > 0 {
		n = min(n, d.load.Logins)
	}
	return n
}

func (d *driver) late(now time.Time) bool {
	return d.load.Duration > 0 && now.Sub(d.record.start) >= d.load.Duration
}

// waitUntil is false when ctx ended before.
func waitUntil(ctx context.Context, due time.Time) bool {
	const precise = 2 * time.Millisecond // more than a timer is late
	if left := time.Until(due) - precise; left > 0 {
		timer := time.NewTimer(left)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return false
		}
	}
	sleepUntil(due)
	return ctx.Err() == nil
}

// login is one whole login; due is when it had to begin. The browser and the phone
// are at different instances, if there are several, and so is every next pair.
func (d *driver) login(ctx context.Context, i int, due time.Time, phone *Phone) {
	n := len(d.load.Servers)
	browser := &Browser{Person: Person{HTTP: d.http, Server: d.load.Servers[i%n].URL, Address: Address(i)}}
	defer browser.Close()
	phone.Server = d.load.Servers[(i+1+i/n%max(1, n-1))%n].URL
	knew := false
	ticket, step, err := d.open(ctx, browser, phone)
	if err == nil {
		knew, step, err = d.decide(ctx, browser, phone, ticket)
	}
	if err != nil {
		d.record.fault(step, codeOf(err))
		if errors.Is(err, errForeign) {
			d.ledger.misgiven()
		} else {
			d.ledger.failed()
		}
		return
	}
	begun := time.Now()
	answers, err := d.collect(ctx, browser, i)
	if err != nil {
		d.record.fault(redeem, codeOf(err))
		d.ledger.lost()
		return
	}
	d.record.took(redeem, time.Since(begun))
	d.record.took(whole, time.Since(due))
	if wrong := d.ledger.given(phone.Sub(), knew, answers...); wrong != "" {
		d.record.fault(redeem, wrong)
	}
}

// collect is the tokens of login i: of one in every as two requests get them that are
// sent at once, to two instances if there are several. Both have to get them.
func (d *driver) collect(ctx context.Context, browser *Browser, i int) ([]Tokens, error) {
	answers, failed := make([]Tokens, 1), make([]error, 1)
	if i%every == 0 {
		answers, failed = make([]Tokens, 2), make([]error, 2)
	}
	var all sync.WaitGroup
	for k := range answers {
		asking := *browser
		asking.Server = d.load.Servers[(i+k)%len(d.load.Servers)].URL
		all.Go(func() { answers[k], failed[k] = d.redeem(ctx, &asking) })
	}
	all.Wait()
	return answers, errors.Join(failed...)
}

// open is the browser's part before the phone comes: it has a ticket and watches it.
func (d *driver) open(ctx context.Context, browser *Browser, phone *Phone) (ticket Snapshot, step int, err error) {
	if err := phone.SignIn(ctx); err != nil {
		return ticket, scan, err
	}
	begun := time.Now()
	if ticket, err = browser.Create(ctx); err != nil {
		return ticket, create, err
	}
	d.record.took(create, time.Since(begun))
	begun = time.Now()
	if _, err = browser.Watch(ctx, d.load.Transport); err != nil {
		return ticket, watchStep, err
	}
	d.record.took(watchStep, time.Since(begun))
	return ticket, 0, nil
}

// decide is the phone's part. An error means that the phone has no confirmation, or that
// the browser was told of another ticket. What the browser was not told in time is no
// end: it asks all the same.
func (d *driver) decide(ctx context.Context, browser *Browser, phone *Phone, ticket Snapshot) (knew bool, step int, err error) {
	frames := d.await(browser, seen)
	begun := time.Now()
	scanned, err := phone.Scan(ctx, ticket.QR)
	if err != nil {
		browser.Close() // and with it await
		<-frames
		return false, scan, err
	}
	d.record.took(scan, time.Since(begun))
	if _, err := d.heard(ctx, browser, seen, begun, frames); err != nil {
		return false, seen, err
	}
	frames = d.await(browser, told)
	begun = time.Now()
	code, err := d.confirm(ctx, phone, scanned)
	if err == nil {
		d.record.took(confirm, time.Since(begun))
		if code != "" { // then the confirmed frame follows what is typed
			begun = time.Now()
			err = browser.Check(ctx, code)
		}
	}
	if err != nil {
		browser.Close()
		<-frames
		return false, confirm, err
	}
	knew, err = d.heard(ctx, browser, told, begun, frames)
	return knew, told, err
}

// confirm asks once more when its answer did not come: a repeat gets the same one.
func (d *driver) confirm(ctx context.Context, phone *Phone, scanned Scanned) (code string, err error) {
	code, err = phone.Confirm(ctx, scanned)
	if err != nil && lostAnswer(err) {
		d.record.fault(confirm, codeOf(err))
		code, err = phone.Confirm(ctx, scanned)
	}
	return code, err
}

// redeem asks again when an answer may be missing, or the instance has not heard yet:
// at least once, and for insistFor; as late as it is told to when that was too soon.
func (d *driver) redeem(ctx context.Context, browser *Browser) (Tokens, error) {
	begun := time.Now()
	for pause, again := 20*time.Millisecond, false; ; pause, again = 2*pause, true {
		tokens, err := browser.Redeem(ctx)
		tooSoon := codeOf(err) == "slow_down"
		switch {
		case err == nil:
			return tokens, nil
		case !lostAnswer(err) && codeOf(err) != "authorization_pending" && !tooSoon, again && time.Since(begun) > insistFor:
			return tokens, err
		case tooSoon:
			pause = browser.interval
		}
		d.record.fault(redeem, codeOf(err))
		rest(ctx, pause)
	}
}

// insistFor is well within the grace in which the same tokens are given again.
const insistFor = 2 * time.Second

// lostAnswer says whether asking again makes sense: nothing came, or it was not the
// server's, or its store was away.
func lostAnswer(err error) bool {
	switch codeOf(err) {
	case "timeout", "connection", "store_unavailable", "overloaded", "502", "503", "504":
		return true
	}
	return false
}
