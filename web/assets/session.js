// Follows the session that keeps a page signed in, and tells of its end.
//
//   token ─► socket ─► active ─► sign_in … ─► ended: the page says so
//     ▲         └ lost, drained, full: again, with the token that there is
//     └─ never active (4401: the token ran out): with a new one

import { Refusal, request } from './qr-login/api.js';
import { Retry } from './qr-login/retry.js';

const FIRST_MS = 5000;
const ANSWER_MS = 5000;
const PROBE_MS = 20000;

const STAY_AWAY = new Set([1003, 1007, 1008, 1009, 4429]);

export class Session {
  #on;
  #token;
  #socket = null;
  // Changes whenever what is under way is no longer wanted.
  #run = 0;
  #retry = new Retry(() => this.#open(), () => {});
  #wake = () => {
    if (document.hidden) return;
    this.#socket?.probe();
    this.#retry.nudge();
  };

  /** on: { active(), signIn(message), ended(reason) }; reason is undefined when it is not known. */
  constructor(on) {
    this.#on = on;
  }

  /** token: an access token of the session, if the page has one. */
  follow(token) {
    this.leave();
    this.#token = token;
    document.addEventListener('visibilitychange', this.#wake);
    addEventListener('online', this.#wake);
    this.#open();
  }

  /** Ends another session of the account; rejects with a Refusal. */
  async end(id) {
    const ask = () => request(`/v1/sessions/${encodeURIComponent(id)}`, { method: 'DELETE', token: this.#token });
    try {
      this.#token ||= await pageToken();
      await ask();
    } catch (error) {
      if (error.status !== 401) throw error;
      this.#token = await pageToken(); // it had run out
      await ask();
    }
  }

  leave() {
    document.removeEventListener('visibilitychange', this.#wake);
    removeEventListener('online', this.#wake);
    this.#retry.reset();
    this.#drop();
  }

  #drop() {
    this.#run += 1;
    this.#socket?.close();
    this.#socket = null;
  }

  async #open() {
    this.#drop();
    const run = this.#run;
    const kept = Boolean(this.#token);
    try {
      this.#token ||= await pageToken();
    } catch ({ status, after }) {
      if (run !== this.#run) return;
      if (status === 401) this.#ended();
      else this.#retry.later(after ? 'busy' : 'offline', after * 1000);
      return;
    }
    if (run !== this.#run) return;
    this.#socket = connect(this.#token, {
      message: (message) => this.#hear(message),
      lost: (why) => this.#lost(why, kept),
    });
  }

  #hear(message) {
    if (message.type === 'sign_in') this.#on.signIn?.(message);
    if (message.type !== 'session') return;
    if (message.status === 'ended') return this.#ended(message.reason);
    this.#retry.reset();
    this.#on.active?.();
  }

  #ended(reason) {
    this.leave();
    this.#on.ended(reason);
  }

  // A try that never was active costs the token: asking for a new one also says
  // whether the session is alive where no socket gets through.
  #lost({ code, reason, counted, after }, kept) {
    this.#drop();
    if (STAY_AWAY.has(code) && reason !== 'network_banned') return this.leave(); // bans end
    if (!counted) this.#token = undefined;
    if (!counted && kept && code === 4401) this.#open();
    else this.#retry.later('offline', after);
  }
}

// One socket; calls on.lost once, unless it was closed from here.
function connect(token, on) {
  const ws = new WebSocket(`${location.origin.replace(/^http/, 'ws')}/v1/sessions/current/ws`, 'scanlogin.v1');
  let counted = false;
  let after;
  const lost = ({ code, reason } = {}) => {
    close();
    on.lost({ code, reason, counted, after });
  };
  let silence = setTimeout(lost, FIRST_MS);
  // A browser does not see protocol pings, so a dead link is found by asking.
  const probe = () => {
    if (silence || ws.readyState !== WebSocket.OPEN) return;
    silence = setTimeout(lost, ANSWER_MS);
    ws.send('{"type":"ping"}');
  };
  const pulse = setInterval(() => document.hidden || probe(), PROBE_MS);

  function close() {
    clearInterval(pulse);
    clearTimeout(silence);
    ws.onopen = ws.onmessage = ws.onclose = null;
    ws.close();
  }
  ws.onopen = () => ws.send(JSON.stringify({ type: 'watch', access_token: token }));
  ws.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    counted ||= message.type === 'session';
    if (counted) {
      clearTimeout(silence);
      silence = undefined;
    }
    if (message.type === 'reconnect') after = message.after_ms;
    on.message(message);
  };
  ws.onclose = lost;
  return { close, probe };
}

// The cookie that keeps the page signed in gets it an access token.
async function pageToken() {
  const response = await fetch('/session/token', { method: 'POST', cache: 'no-store' }).catch(() => null);
  if (!response) throw new Refusal(0);
  if (!response.ok) throw await Refusal.from(response);
  return (await response.json()).access_token;
}

/** Has the server keep this page signed in, with a cookie that no script can read. */
export function keepSignedIn(token) {
  return insist('/session', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ access_token: token }),
  });
}

/** fetch, again while the server is away for a moment. */
export async function insist(url, init) {
  for (let tries = 1; ; tries += 1) {
    const response = await fetch(url, init).catch(() => null);
    if (response && response.status < 500 || tries === 5) return response;
    await new Promise((done) => setTimeout(done, tries * 500));
  }
}

/** Turns the page into the one that says that its session has ended. */
export function showEnd(reason) {
  const panel = document.getElementById('signed-out');
  const words = panel.dataset;
  document.getElementById('signed-out-reason').textContent = words[reason] ?? words.plain;
  document.querySelector('main').className = '';
  for (const part of panel.parentElement.children) part.hidden = part !== panel;
  panel.querySelector('a').focus();
}
