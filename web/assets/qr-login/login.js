// One person signing in: makes tickets, follows them, redeems the confirmed one.
// Knows nothing of the page; says what to show through on.show(view).
//
//   loading ─► pending ─► scanned (─► check) ─► confirmed ─► redeemed ─► consumed
//      ▲          │           │                      └ question, with confirm-user
//      └─ expired, canceled ──┘      denied, failed, paused: wait for a click

import { Refusal, cancelTicket, createTicket, getSnapshot, redeem, sendCheck } from './api.js';
import { BANNED, BANNED_MS } from './channels.js';
import { Retry } from './retry.js';
import { Watch } from './watch.js';

const AWAKE_MS = 5 * 60 * 1000;
// Grace before a deadline that nobody announced is believed.
const LATE_MS = 2000;
const LEAST_REFRESH_MS = 2000;
const AGAIN_MS = 1000;
// Tickets that end at once must not become a busy loop.
const SHORT_LIFE_MS = 2000;

const TROUBLE = new Set(['offline', 'limited', 'busy', 'barred']);
// What a view of the check says after a wrong code.
const WRONG = { wrong: true, sending: false };

export class Login {
  #endpoint;
  #clientId;
  #confirmUser;
  #on;
  #watch;
  #creating;
  #ticket = null;
  #snapshot = null;
  #view = { state: 'loading' };
  // Changes with every new start, so that an answer to an older one is dropped.
  #run = 0;
  #awakeSince = 0;
  #createdAt = -SHORT_LIFE_MS;
  #timers = {};

  /**
   * on: { show(view), snapshot(snapshot), success(tokens) }. A view is
   * { state, … }: what ./view.js needs to draw it.
   */
  constructor({ endpoint, clientId, confirmUser }, on) {
    this.#endpoint = endpoint;
    this.#clientId = clientId;
    this.#confirmUser = confirmUser;
    this.#on = on;
    this.#creating = new Retry(() => this.#create(), (trouble) => this.#trouble(trouble));
    this.#watch = new Watch({
      snapshot: (snapshot) => this.#apply(snapshot),
      trouble: (trouble) => this.#trouble(trouble),
      gone: () => this.#renew(),
      stop: () => this.#rest('paused'),
    });
  }

  /** Takes up the ticket that an earlier page left, or makes one. */
  resume() {
    this.#begin();
    this.#ticket = this.#stored();
    if (!this.#ticket) return this.#create();
    this.#show({ state: 'loading' });
    this.#watch.follow(this.#ticket);
  }

  /** Gives up the running ticket and makes a new one; way: see #pending. */
  async restart({ way = this.#view.way } = {}) {
    const old = this.#open() ? this.#ticket : null;
    this.#begin();
    this.#forget();
    this.#show({ state: 'loading', way });
    const run = this.#run;
    if (old) await cancelTicket(old).catch(() => {});
    if (run === this.#run) this.#create();
  }

  /** Lets go of everything but the stored ticket. */
  stop() {
    this.#run += 1;
    this.#watch.leave();
    this.#creating.reset();
    this.#clearTimers();
  }

  /** The page is looked at again, or the network is back. */
  wake() {
    if (document.hidden) return;
    if (this.#view.state === 'paused' && this.#view.renews && this.#awake()) return this.#renew();
    if (this.#rotated()) this.#watch.refresh();
    this.#creating.nudge();
    this.#watch.nudge();
  }

  /** "Try now". */
  now() {
    if (this.#ticket) this.#watch.now();
    else this.#creating.now();
  }

  /** Shows the user_code, with a new ticket when the running one has none. */
  typeCode() {
    if (!this.#ticket?.user_code) return this.restart({ way: 'typed' });
    this.#show({ ...this.#view, way: 'typed' });
  }

  scanInstead() {
    this.#show({ ...this.#view, way: 'scan' });
  }

  /** The answer to the confirm-user question is yes. */
  accept() {
    this.#redeem();
  }

  /** Sends the digits, again while no answer comes. */
  async check(code) {
    const run = this.#run;
    const left = this.#view.triesLeft;
    const asked = () => run === this.#run && this.#view.sending && this.#view.triesLeft === left;
    const apply = (snapshot) => run === this.#run && this.#apply(snapshot);
    this.#show({ ...this.#view, sending: true });
    while (asked()) {
      try {
        return apply(await sendCheck(this.#ticket, code));
      } catch ({ status, code: word, after }) {
        if (!asked()) return;
        // The last wrong one ends the ticket: its snapshot is on the way.
        if (word === 'check_failed' && left > 1) return this.#show({ ...this.#view, ...WRONG, triesLeft: left - 1 });
        if (word && status < 500 && status !== 429) return;
        await new Promise((done) => setTimeout(done, Math.max(after * 1000, AGAIN_MS)));
        // A wrong code whose answer was lost has been counted: not twice.
        if (asked()) await getSnapshot(this.#ticket).then(apply, () => {});
      }
    }
  }

  #begin() {
    this.stop();
    this.#snapshot = null;
    this.#ticket = null;
    this.#awakeSince = performance.now();
  }

  async #create() {
    const run = this.#run;
    if (!TROUBLE.has(this.#view.state)) this.#show({ ...this.#view, state: 'loading' });
    try {
      const { snapshot, ticket } = await createTicket(this.#endpoint, this.#clientId, this.#view.way === 'typed');
      if (run !== this.#run) return;
      this.#creating.reset();
      this.#createdAt = performance.now();
      this.#ticket = ticket;
      this.#store();
      this.#apply(snapshot);
      if (run === this.#run) this.#watch.follow(ticket);
    } catch (error) {
      if (run !== this.#run) return;
      const { status, code, after } = error instanceof Refusal ? error : new Refusal(0);
      if (status === 0) {
        console.warn(`qr-login: no answer from ${this.#endpoint}. If it runs, it may not allow this page's origin (SCANLOGIN_ORIGINS).`);
      }
      if (code === BANNED) this.#creating.later('barred', BANNED_MS);
      else if (status === 429) this.#creating.later('limited', after * 1000);
      else if (status === 503) this.#creating.later('busy', after * 1000);
      else if (status === 0 || status >= 500) this.#creating.later('offline');
      else this.#rest('failed');
    }
  }

  #apply(snapshot) {
    if (this.#snapshot && snapshot.seq < this.#snapshot.seq) return;
    const before = this.#snapshot;
    this.#snapshot = { ...snapshot, at: performance.now() };
    this.#clearTimers();
    const run = this.#run;
    this.#on.snapshot(snapshot);
    if (run !== this.#run) return; // the page acted on it
    this.#timers.deadline = setTimeout(() => this.#renew(), snapshot.expires_in * 1000 + LATE_MS);
    switch (snapshot.status) {
      case 'pending':
        return this.#pending(snapshot, before);
      case 'scanned':
        this.#awakeSince = performance.now();
        return this.#show(this.#phaseView(snapshot, before));
      case 'confirmed':
        this.#watch.leave();
        if (this.#confirmUser) return this.#show({ state: 'question', user: snapshot.user?.name });
        return this.#redeem();
      case 'consumed':
        // Ours, if the answer was lost with the page that asked for it.
        return this.#ticket.redeeming ? this.#redeem() : this.#renew();
      case 'denied':
        return this.#rest('denied', { reason: snapshot.reason });
      case 'expired':
      case 'canceled':
        return this.#renew();
    }
  }

  // way: what the person chose, 'typed' or 'scan'; undefined: what suits the device.
  #pending(snapshot, before) {
    if (snapshot.rotates_in !== undefined) {
      const wait = Math.max(snapshot.rotates_in * 1000, LEAST_REFRESH_MS);
      this.#timers.refresh = setTimeout(() => document.hidden || this.#watch.refresh(), wait);
    }
    const { way, renewed } = this.#view;
    this.#show({
      ...this.#phaseView(snapshot, before),
      state: 'pending',
      image: snapshot.qr_image,
      way: way === 'typed' && !this.#ticket.user_code ? undefined : way,
      renewed: renewed && (!before || before.qr_image === snapshot.qr_image),
      userCode: this.#ticket.user_code,
      verificationURI: this.#ticket.verification_uri,
      link: snapshot.verification_uri_complete,
    });
  }

  // span: what the running line began with, kept through the snapshots of one phase.
  #phaseView(snapshot, before) {
    const same = before?.status === snapshot.status && this.#view.span;
    const triesLeft = snapshot.check?.tries_left;
    const { sending, wrong } = this.#view.state === 'check' ? this.#view : {};
    return {
      state: snapshot.check ? 'check' : 'scanned',
      user: snapshot.user?.name,
      triesLeft,
      ...(triesLeft < this.#view.triesLeft ? WRONG : { sending, wrong }),
      until: this.#snapshot.at + snapshot.expires_in * 1000,
      span: same || snapshot.expires_in * 1000,
    };
  }

  #trouble({ kind, until, tries }) {
    // The first loss of a link that worked heals within two seconds: nothing to tell.
    const quiet = kind === 'offline' && tries === 1 && this.#snapshot && navigator.onLine;
    if (!quiet) this.#show({ state: kind, until, way: this.#view.way, image: this.#snapshot?.qr_image });
  }

  async #redeem() {
    const run = this.#run;
    this.#watch.leave();
    this.#ticket.redeeming = true;
    this.#store();
    this.#show({ state: 'confirmed' });
    try {
      const tokens = await redeem(this.#endpoint, this.#clientId, this.#ticket);
      if (run !== this.#run) return;
      this.stop();
      this.#forget();
      this.#show({ state: 'consumed' });
      this.#on.success(tokens);
    } catch (error) {
      if (run === this.#run) this.#notRedeemed(error, run);
    }
  }

  #notRedeemed({ status, code, after }, run) {
    const later = (act) => {
      this.#timers.redeem = setTimeout(() => run === this.#run && act(), Math.max(after * 1000, AGAIN_MS));
    };
    // No answer, or none that decides: ask again until the deadline ends it.
    if (status === 0 || status === 429 || status >= 500 || code === 'slow_down') return later(() => this.#redeem());
    if (code === 'authorization_pending') return later(() => this.#watch.follow(this.#ticket));
    if (code === 'expired_token') return this.#renew();
    this.#rest(code === 'access_denied' ? 'denied' : 'failed');
  }

  // Makes the next ticket if somebody is there to see it.
  #renew() {
    const { way } = this.#view;
    if (document.hidden || !this.#awake()) return this.#rest('paused', { way, renews: true });
    const since = this.#awakeSince;
    this.#begin();
    this.#awakeSince = since;
    this.#forget();
    this.#show({ state: 'loading', way, renewed: true });
    this.#timers.renew = setTimeout(() => this.#create(), this.#createdAt + SHORT_LIFE_MS - performance.now());
  }

  // A state that only a click leaves.
  #rest(state, more = {}) {
    this.stop();
    this.#forget();
    this.#show({ state, ...more });
  }

  #show(view) {
    this.#view = view;
    this.#on.show(view);
  }

  #awake() {
    return performance.now() - this.#awakeSince < AWAKE_MS;
  }

  #rotated() {
    const { status, rotates_in: rotates, at } = this.#snapshot ?? {};
    return status === 'pending' && rotates !== undefined && performance.now() >= at + rotates * 1000;
  }

  #open() {
    return this.#ticket && !['consumed', 'denied', 'canceled', 'expired'].includes(this.#snapshot?.status);
  }

  #clearTimers() {
    Object.values(this.#timers).forEach(clearTimeout);
    this.#timers = {};
  }

  // sessionStorage: this tab only, and a reload keeps it. It may be forbidden.
  get #key() {
    return `qr-login ${this.#endpoint} ${this.#clientId}`;
  }

  #stored() {
    try {
      return JSON.parse(sessionStorage.getItem(this.#key));
    } catch {
      return null;
    }
  }

  #store() {
    try {
      sessionStorage.setItem(this.#key, JSON.stringify(this.#ticket));
    } catch { /* Then a reload begins anew. */ }
  }

  #forget() {
    this.#ticket = null;
    try {
      sessionStorage.removeItem(this.#key);
    } catch { /* Nothing was stored either. */ }
  }
}
