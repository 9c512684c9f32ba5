// Three doors to one snapshot: WebSocket, SSE, long poll (best first).
//
// A channel is opened with (ticket, hear) and gives { close, refresh, probe }.
// It calls hear.snapshot(snapshot) any number of times, then hear.end(why) once:
//   lost     it worked, or the server said "come back" (after: ms, if it said when)
//   blocked  something on the way does not let it through
//   busy     429, 503 or a banned network (after: ms; trouble: limited, busy or barred)
//   gone     the server no longer knows this ticket
//   stop     the server wants us to stay away
// After close() it calls nothing any more.

import { Refusal, getSnapshot, request } from './api.js';

const PROBE_MS = 20000;
const ANSWER_MS = 5000;
// Both send something at least every 25 s.
const SILENCE_MS = 40000;

const COME_BACK = new Set([1001, 1011, 1012, 1013, 4408]);
const STAY_AWAY = new Set([1003, 1007, 1008, 1009, 4409, 4429]);
const UNKNOWN = new Set([4401, 4404]);
/** The code word for a network that may not come here; bans end. */
export const BANNED = 'network_banned';
export const BANNED_MS = 10000;
const BARRED = { kind: 'busy', trouble: 'barred', after: BANNED_MS };

function socket(ticket, hear) {
  let ws;
  try {
    ws = new WebSocket(`${ticket.url.replace(/^http/, 'ws')}/ws`, 'scanlogin.v1');
  } catch {
    queueMicrotask(() => hear.end({ kind: 'blocked' }));
    return { close() {}, refresh() {}, probe() {} };
  }
  let counted = false;
  let after;
  let silence;
  const send = (message) => {
    if (ws.readyState !== WebSocket.OPEN) return false;
    ws.send(JSON.stringify(message));
    return true;
  };
  const end = (why) => {
    close();
    hear.end(why);
  };
  // A browser does not see protocol pings, so a dead link is found by asking.
  const ask = (message) => {
    if (send(message)) silence ??= setTimeout(() => end({ kind: 'lost' }), ANSWER_MS);
  };
  const probe = () => silence || ask({ type: 'ping' }); // one at a time
  const pulse = setInterval(() => document.hidden || probe(), PROBE_MS);

  function close() {
    clearInterval(pulse);
    clearTimeout(silence);
    ws.onopen = ws.onmessage = ws.onclose = null;
    ws.close();
  }
  ws.onopen = () => send({ type: 'watch', device_code: ticket.device_code });
  ws.onmessage = (event) => {
    clearTimeout(silence);
    silence = undefined;
    const message = JSON.parse(event.data);
    if (message.type === 'reconnect') after = message.after_ms;
    if (message.type !== 'ticket') return;
    counted = true;
    hear.snapshot(message);
  };
  ws.onclose = ({ code, reason }) => {
    if (reason === BANNED) end(BARRED);
    else if (UNKNOWN.has(code)) end({ kind: 'gone' });
    else if (STAY_AWAY.has(code)) end({ kind: 'stop' });
    else if (counted || COME_BACK.has(code) || after !== undefined) end({ kind: 'lost', after });
    else end({ kind: 'blocked' });
  };
  return { close, probe, refresh: () => ask({ type: 'refresh' }) };
}

// Runs body(heard, signal) as a channel over fetch; heard() says "still alive".
function overFetch(ticket, hear, body) {
  const abort = new AbortController();
  let counted = false;
  let silence;
  const snapshot = (value) => {
    if (abort.signal.aborted) return;
    counted = true;
    hear.snapshot(value);
  };
  const end = (why) => {
    if (abort.signal.aborted) return;
    close();
    hear.end(why);
  };
  const heard = () => {
    clearTimeout(silence);
    silence = setTimeout(() => end({ kind: 'lost' }), SILENCE_MS);
  };
  function close() {
    abort.abort();
    clearTimeout(silence);
  }
  heard();
  body({ heard, snapshot, signal: abort.signal })
    .then((after) => end(counted ? { kind: 'lost', after } : { kind: 'blocked' }))
    .catch((error) => end(whyEnded(error, counted)));
  return {
    close,
    probe() {},
    refresh: () => getSnapshot(ticket).then(snapshot, () => {}),
  };
}

// A 4xx in the server's own words is about the ticket; a bare one comes from
// something on the way, and then another door may be open.
function whyEnded(error, counted) {
  const { status, code, after } = error instanceof Refusal ? error : new Refusal(0);
  if (status === 429 || status === 503) {
    return { kind: 'busy', trouble: status === 429 ? 'limited' : 'busy', after: after * 1000 };
  }
  if (code === BANNED) return BARRED;
  if (code && (status === 401 || status === 404)) return { kind: 'gone' };
  if (code && status >= 400 && status < 500) return { kind: 'stop' };
  return { kind: counted ? 'lost' : 'blocked' };
}

// fetch instead of EventSource: that one cannot send an Authorization header.
function stream(ticket, hear) {
  return overFetch(ticket, hear, async ({ heard, snapshot, signal }) => {
    const response = await fetch(`${ticket.url}/events`, {
      headers: { Authorization: `Bearer ${ticket.device_code}`, Accept: 'text/event-stream' },
      cache: 'no-store',
      credentials: 'omit',
      signal,
    });
    if (!response.ok) throw await Refusal.from(response);
    if (!response.headers.get('Content-Type')?.startsWith('text/event-stream')) throw new Refusal(0);
    let after;
    let rest = '';
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return after;
      heard();
      rest += decoder.decode(value, { stream: true });
      const lines = rest.split('\n');
      rest = lines.pop();
      for (const line of lines) {
        if (line.startsWith('data:')) snapshot(JSON.parse(line.slice(5)));
        if (line.startsWith('retry:')) after = Number(line.slice(6));
      }
    }
  });
}

function poll(ticket, hear) {
  return overFetch(ticket, hear, async ({ heard, snapshot, signal }) => {
    let seq;
    for (;;) {
      const asked = performance.now();
      const query = seq === undefined ? '' : `?seq=${seq}&wait=25`;
      const value = await request(ticket.url + query, {
        token: ticket.device_code, timeout: SILENCE_MS, signal,
      });
      heard();
      const same = value.seq === seq;
      seq = value.seq;
      snapshot(value);
      // An unchanged answer that did not wait (drain, a proxy) must not become a busy loop.
      if (same) await pause(asked + 1000 - performance.now());
    }
  });
}

function pause(ms) {
  return new Promise((done) => setTimeout(done, ms));
}

export const CHANNELS = [socket, stream, poll];
