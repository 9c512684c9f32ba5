// The ladder: watches one ticket over the best channel that gets through.
//
//   WebSocket ──5 s──► SSE ──5 s──► long poll ──► wait, then again from where it last worked
//       ▲                 │              │
//       └──── after 60 s, beside the running one ────┘

import { CHANNELS } from './channels.js';
import { Retry } from './retry.js';

const FIRST_MS = 5000;
const CLIMB_MS = 60000;

export class Watch {
  #on;
  #ticket = null;
  #level = 0;
  // The level whose snapshots last came through; where a round begins.
  #settled = 0;
  #channel = null;
  #candidate = null;
  #climb;
  #retry;

  /** on: { snapshot(snapshot), trouble(trouble), gone(), stop() }; see Retry for trouble. */
  constructor(on) {
    this.#on = on;
    this.#retry = new Retry(() => this.#open(), (trouble) => this.#on.trouble(trouble));
  }

  follow(ticket) {
    this.leave();
    this.#ticket = ticket;
    this.#open();
  }

  leave() {
    this.#ticket = null;
    this.#retry.reset();
    this.#drop();
    this.#stay();
  }

  /** Asks for a fresh QR text. */
  refresh() {
    this.#channel?.refresh();
  }

  /** The network changed or the page is looked at again. */
  nudge() {
    if (!this.#ticket) return;
    this.#channel?.probe();
    this.#retry.nudge();
  }

  /** The person asked for another try. */
  now() {
    if (this.#ticket && !this.#channel) this.#retry.now();
  }

  #open() {
    this.#drop();
    this.#channel = this.#start(this.#level, {
      first: () => {
        this.#settled = this.#level;
        this.#retry.reset();
      },
      end: (why) => this.#ended(why),
    });
    if (this.#level === 0) this.#stay();
    else this.#climb ??= setInterval(() => this.#tryBest(), CLIMB_MS);
  }

  #drop() {
    this.#channel?.close();
    this.#candidate?.close();
    this.#channel = this.#candidate = null;
  }

  // A channel counts with its first snapshot; without one in time it is blocked.
  #start(level, { first, end }) {
    let counted = false;
    const timer = setTimeout(() => {
      channel.close();
      end({ kind: 'blocked' });
    }, FIRST_MS);
    const channel = CHANNELS[level](this.#ticket, {
      snapshot: (snapshot) => {
        clearTimeout(timer);
        if (!counted) first();
        counted = true;
        this.#on.snapshot(snapshot);
      },
      end: (why) => {
        clearTimeout(timer);
        end(why);
      },
    });
    return {
      ...channel,
      close() {
        clearTimeout(timer);
        channel.close();
      },
    };
  }

  #ended(why) {
    this.#drop();
    switch (why.kind) {
      case 'gone':
      case 'stop':
        this.leave();
        return this.#on[why.kind]();
      case 'blocked':
        if (this.#level < CHANNELS.length - 1) {
          this.#level += 1;
          return this.#open();
        }
        // Nothing came through: that is the network, not the channel.
        this.#level = this.#settled;
        return this.#retry.later('offline');
      case 'busy':
        // A browser cannot see the status of a refused upgrade; if the next
        // channel meets 429 or 503, the one above was not to blame.
        this.#level = this.#settled;
        return this.#retry.later(why.trouble, why.after);
      default:
        return this.#retry.later('offline', why.after);
    }
  }

  #stay() {
    clearInterval(this.#climb);
    this.#climb = undefined;
  }

  #tryBest() {
    if (this.#candidate) return;
    this.#candidate = this.#start(0, {
      first: () => {
        const better = this.#candidate;
        this.#candidate = null;
        this.#drop();
        this.#stay();
        this.#retry.reset();
        this.#channel = better;
        this.#level = this.#settled = 0;
      },
      end: (why) => {
        if (this.#level === 0) return this.#ended(why);
        this.#candidate?.close();
        this.#candidate = null;
      },
    });
  }
}
