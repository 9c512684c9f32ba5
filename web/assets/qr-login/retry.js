// Coming back: full jitter between 1 and 30 s, at most 10 times in a row.

const MOST = 10;

export class Retry {
  #timer;
  #tries = 0;
  #run;
  #tell;
  #why = null;

  /**
   * run() is called when it is time. tell(trouble) is called when a wait begins:
   * { kind: 'offline'|'limited'|'busy'|'barred', until, tries }, until in performance.now()
   * milliseconds, or undefined when no further try will come by itself.
   */
  constructor(run, tell) {
    this.#run = run;
    this.#tell = tell;
  }

  /** Waits, then runs. after: milliseconds the server asked for. */
  later(kind, after) {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#why = kind;
    this.#tries += 1;
    let until;
    if (this.#tries <= MOST) {
      const wait = after > 0 ? after + Math.random() * 1000 : jitter(this.#tries);
      until = performance.now() + wait;
      this.#timer = setTimeout(() => this.#go(), wait);
    }
    this.#tell({ kind, until, tries: this.#tries });
  }

  /** The network or the person is back: go now, except when the server said how long to wait. */
  nudge() {
    if (this.#why === null || (this.#why !== 'offline' && this.#timer)) return;
    this.now();
  }

  /** Runs at once and counts from the start again. */
  now() {
    this.reset();
    this.#run();
  }

  /** It works, or nobody wants it any more. */
  reset() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#tries = 0;
    this.#why = null;
  }

  #go() {
    this.#timer = undefined;
    this.#why = null;
    this.#run();
  }
}

function jitter(tries) {
  const most = Math.min(30, 2 ** tries);
  return 1000 * (1 + Math.random() * (most - 1));
}
