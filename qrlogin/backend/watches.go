package backend

import "sync"

// watches is who watches what in this process, for both stores. It holds no value longer
// than until every watch has seen it, and calls nobody under its lock.
type watches struct {
	mu sync.Mutex
	of map[string]*topic // by the name the store uses
}

// topic is one watched record.
type topic struct {
	key     string // the caller's
	members []*watch
	value   []byte // shared by all members; nil as soon as all have seen it
	rev     uint64 // the highest one told
	version uint32 // grows with each state told
	none    bool   // the newest state is "there is none"
	loading bool   // Redis: waits for or is in a reload

	// acked is closed when the subscription stands; nil from then on (Redis only).
	acked chan struct{}
}

// watch is one caller of Watch. Kept small: there are tens of thousands.
type watch struct {
	topic   *topic
	changed func(value []byte, rev uint64)
	seen    uint32 // version of the topic that was delivered last
	busy    bool   // somebody is in changed, or the first state is still to come
	stopped bool
}

// join adds a watch that gets nothing before start. Called with mu held; created says that
// the topic is new.
func (s *watches) join(name, key string, changed func([]byte, uint64)) (w *watch, created bool) {
	t := s.of[name]
	if created = t == nil; created {
		t = &topic{key: key}
		s.of[name] = t
	}
	w = &watch{topic: t, changed: changed, busy: true}
	t.members = append(t.members, w)
	return w, created
}

// leave ends a watch; removed says that it was the topic's last. Called with mu held. It
// does not wait for a call that is running: the caller may be inside it, or hold a lock
// that it wants.
func (s *watches) leave(name string, w *watch) (removed bool) {
	if w.stopped {
		return false
	}
	w.stopped = true
	t := w.topic
	for i, m := range t.members {
		if m == w {
			last := len(t.members) - 1
			t.members[i], t.members[last] = t.members[last], nil
			t.members = t.members[:last]
			break
		}
	}
	if len(t.members) > 0 {
		return false
	}
	delete(s.of, name)
	return true
}

// start delivers the first state: the loaded one, or what was told since the watch joined
// at version since, if that is newer. It returns after the call.
func (s *watches) start(w *watch, since uint32, value []byte, rev uint64) {
	s.mu.Lock()
	t := w.topic
	s.learn(t, since, value, rev)
	if t.version != since {
		value, rev = t.state()
	}
	w.seen = t.version
	s.mu.Unlock()
	w.changed(value, rev)
	s.mu.Lock()
	w.busy = false
	s.deliver(t)
	s.mu.Unlock()
}

// tell delivers a state that was learned of when the topic was at version since; what is
// not newer is dropped.
func (s *watches) tell(t *topic, since uint32, value []byte, rev uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.learn(t, since, value, rev)
	s.deliver(t)
}

// learn takes a state over if it is newer than what was told. "There is none" (rev 0) has
// no revision to compare, so it counts only if nothing was told since it was asked for.
func (s *watches) learn(t *topic, since uint32, value []byte, rev uint64) {
	switch {
	case rev == 0 && !t.none && t.version == since:
		t.value, t.none = nil, true
	case rev > t.rev || rev != 0 && rev == t.rev && t.none:
		t.value, t.rev, t.none = value, rev, false
	default:
		return
	}
	t.version++
}

// state is what a watch is called with.
func (t *topic) state() ([]byte, uint64) {
	if t.none {
		return nil, 0
	}
	return t.value, t.rev
}

// deliver calls every watch that has not seen the newest state and that nobody is calling
// already: whoever is will find the newer state when its call returns. So calls are serial
// per watch, skip what is outdated and need no goroutine. Called with mu held, which is
// released around each call.
func (s *watches) deliver(t *topic) {
	var few [4]*watch
	for _, w := range append(few[:0], t.members...) {
		if w.busy {
			continue
		}
		w.busy = true
		for !w.stopped && w.seen != t.version {
			w.seen = t.version
			value, rev := t.state()
			s.mu.Unlock()
			w.changed(value, rev)
			s.mu.Lock()
		}
		w.busy = false
	}
	for _, w := range t.members {
		if w.seen != t.version {
			return
		}
	}
	t.value = nil
}
