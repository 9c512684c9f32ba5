package main

import "context"

// round measures everything once.
func (r *run) round(ctx context.Context, name string) error {
	type part struct {
		name string
		do   func() error
	}
	parts := []part{{"Go benchmarks of the rooms", func() error { return r.rooms(ctx) }}}
	for _, kind := range []string{bare, memory, redis, chat, gwsLib, sse} {
		parts = append(parts, part{"idle browsers and pushes, " + kind, func() error { return r.watched(ctx, kind) }})
	}
	parts = append(parts,
		part{"RFC 8628 by polling", func() error { return r.polled(ctx) }},
		part{"logins on memory", func() error { return r.whole(ctx) }},
		part{"logins on Redis", func() error { return r.saturated(ctx, false) }},
		part{"logins on Redis, limits on", func() error { return r.saturated(ctx, true) }},
		part{"logins on 16 instances and 1", func() error { return r.replicas(ctx) }},
	)
	for _, p := range parts {
		if err := r.step(name, p.name, p.do); err != nil {
			return err
		}
	}
	r.book.ratio(rssToChat, rssOf+memory, rssOf+chat)
	r.book.ratio(pushToMemory, p50Of+redis, p50Of+memory)
	kernel := r.book.last(kernelOf)
	r.book.add(sizeToFloor, (r.book.last(rssOf+memory)+kernel)/(r.book.last(rssOf+bare)+kernel))
	return nil
}

// rooms runs the Go benchmarks that stand beside the code.
func (r *run) rooms(ctx context.Context) error {
	var all []cost
	for _, b := range []struct {
		room  string
		names []string
	}{
		{"./web", []string{"QR/chars=60/form=qr_image", "QR/chars=60/form=bitmap"}},
		{"./auth", []string{"Sign/alg=EdDSA"}},
		{"./auth", []string{"Verify/alg=EdDSA"}},
		{"./hub", []string{"Deliver"}},
		{"./qrlogin/backend", []string{"PushToBrowser"}},
		{"./qrlogin/backend", []string{"Store/store=redis/op=update/callers=1"}},
	} {
		costs, err := r.goBench(ctx, b.room, b.names...)
		if err != nil {
			return err
		}
		all = append(all, costs...)
	}
	image, bitmap, sign, verify, deliver, push, update := all[0], all[1], all[2], all[3], all[4], all[5], all[6]
	r.book.add(partQR, image.ns/1000)
	r.book.add(partSign, sign.ns/1000)
	r.book.add(partCheck, verify.ns/1000)
	r.book.add(qrToBitmap, image.ns/bitmap.ns)
	r.book.add(hubAllocs, deliver.allocs)
	// A push begins with an Update, whose allocations are not the delivery's.
	r.book.add(pushAllocs, push.allocs-update.allocs)
	return nil
}
