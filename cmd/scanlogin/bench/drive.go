package bench

import (
	"context"
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
	for i := 0; d.load.Logins == 0 || i < d.load.Logins; i++ {
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
		d.running.Go(func() {
			defer func() { <-slots }()
			phone := <-d.phones
			defer func() { d.phones <- phone }()
			d.login(finishing, first+i, due, phone)
		})
	}
	d.running.Wait()
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
	ticket, step, err := d.open(ctx, browser, phone)
	if err == nil {
		step, err = d.decide(ctx, browser, phone, ticket)
	}
	if err != nil {
		d.record.fault(step, codeOf(err))
		d.ledger.failed()
		return
	}
	tokens, err := d.redeem(ctx, browser)
	if err != nil {
		d.record.fault(redeem, codeOf(err))
		d.ledger.lost()
		return
	}
	d.record.took(whole, time.Since(due))
	answers := []Tokens{tokens}
	if i%every == 0 {
		if again, err := browser.Redeem(ctx); err != nil {
			d.record.fault(redeem, codeOf(err))
		} else {
			answers = append(answers, again)
		}
	}
	if wrong := d.ledger.given(phone.Sub(), answers...); wrong != "" {
		d.record.fault(redeem, wrong)
	}
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

// decide is the phone's part. An error means that the phone has no confirmation;
// what the browser was not told in time is a fault, but not the end: it asks then.
func (d *driver) decide(ctx context.Context, browser *Browser, phone *Phone, ticket Snapshot) (step int, err error) {
	frames := await(browser)
	begun := time.Now()
	scanned, err := phone.Scan(ctx, ticket.QR)
	if err != nil {
		browser.Close() // and with it await
		<-frames
		return scan, err
	}
	d.record.took(scan, time.Since(begun))
	d.arrived(seen, begun, <-frames)
	frames = await(browser)
	begun = time.Now()
	code, err := d.confirm(ctx, phone, scanned)
	if err == nil {
		d.record.took(confirm, time.Since(begun))
		if code != "" { // then the confirmed frame follows what is typed
			<-frames // the snapshot that asks for the code
			frames = await(browser)
			begun = time.Now()
			err = browser.Check(ctx, code)
		}
	}
	if err != nil {
		browser.Close()
		<-frames
		return confirm, err
	}
	d.arrived(told, begun, <-frames)
	return 0, nil
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
// at least once, and for insistFor.
func (d *driver) redeem(ctx context.Context, browser *Browser) (Tokens, error) {
	begun := time.Now()
	for pause, again := 20*time.Millisecond, false; ; pause, again = 2*pause, true {
		tokens, err := browser.Redeem(ctx)
		if err == nil {
			d.record.took(redeem, time.Since(begun))
			return tokens, nil
		}
		if !lostAnswer(err) && codeOf(err) != "authorization_pending" || again && time.Since(begun) > insistFor {
			return tokens, err
		}
		d.record.fault(redeem, codeOf(err))
		waitUntil(ctx, time.Now().Add(pause))
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

// frame is a snapshot and when it came.
type frame struct {
	Snapshot
	at  time.Time
	err error
}

// await listens for the browser's next snapshot while the phone acts.
func await(browser *Browser) <-chan frame {
	came := make(chan frame, 1)
	watch := *browser // Close takes the watch from the original
	go func() {
		snapshot, err := watch.Next(2 * patience)
		came <- frame{snapshot, time.Now(), err}
	}()
	return came
}

// arrived notes how long a frame took that the phone caused.
func (d *driver) arrived(step int, caused time.Time, f frame) {
	switch want := map[int]string{seen: "scanned", told: "confirmed"}[step]; {
	case f.err != nil:
		d.record.fault(step, codeOf(f.err))
	case f.Status != want:
		d.record.fault(step, "status "+f.Status)
	default:
		d.record.took(step, f.at.Sub(caused))
	}
}
