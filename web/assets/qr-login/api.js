// The HTTP half: one function a call, one error for everything that is not a 2xx.

const CALL_MS = 8000;
// Several tries must fit into the 10 s in which the same proofs get the same session.
const REDEEM_MS = 3000;

/**
 * An answer that was not a success. status 0: no answer came at all.
 * code: the server's word (RFC 9457 `code` or RFC 6749 `error`); empty when
 * somebody between us and the server answered. after: seconds of Retry-After, or 0.
 */
export class Refusal extends Error {
  constructor(status, code = '', after = 0) {
    super(`${status} ${code}`);
    this.status = status;
    this.code = code;
    this.after = after;
  }

  static async from(response) {
    const body = await response.json().catch(() => null);
    return new Refusal(response.status, body?.code ?? body?.error ?? '', retryAfter(response));
  }
}

function retryAfter(response) {
  const value = response.headers.get('Retry-After');
  if (!value) return 0;
  const seconds = /^\d+$/.test(value) ? Number(value) : (Date.parse(value) - Date.now()) / 1000;
  return Math.min(Math.max(seconds || 0, 0), 600);
}

/** fetch with a credential and a time limit; rejects with a Refusal only. */
export async function request(url, { token, timeout = CALL_MS, signal, headers, ...init } = {}) {
  const abort = new AbortController();
  const stop = () => abort.abort();
  const timer = setTimeout(stop, timeout);
  signal?.addEventListener('abort', stop);
  if (signal?.aborted) stop();
  try {
    const response = await fetch(url, {
      ...init,
      headers: { ...headers, ...(token && { Authorization: `Bearer ${token}` }) },
      cache: 'no-store',
      credentials: 'omit',
      signal: abort.signal,
    });
    if (!response.ok) throw await Refusal.from(response);
    return response.status === 204 ? null : await response.json();
  } catch (error) {
    throw error instanceof Refusal ? error : new Refusal(0);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', stop);
  }
}

function postJSON(url, body, token) {
  return request(url, {
    method: 'POST', token, body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' },
  });
}

/**
 * POST /v1/tickets. Answers the snapshot and the ticket to keep: its id, the
 * device_code and, in a secure context, the PKCE verifier (RFC 7636).
 */
export async function createTicket(endpoint, clientId, userCode) {
  const { verifier, challenge } = await pkce();
  const { device_code, user_code, verification_uri, interval, ...snapshot } = await postJSON(
    `${endpoint}/v1/tickets`,
    {
      client_id: clientId,
      ...(userCode && { user_code: true }),
      ...(challenge && { code_challenge: challenge, code_challenge_method: 'S256' }),
    },
  );
  const url = `${endpoint}/v1/tickets/${encodeURIComponent(snapshot.ticket_id)}`;
  return { snapshot, ticket: { url, device_code, verifier, user_code, verification_uri } };
}

export function getSnapshot(ticket) {
  return request(ticket.url, { token: ticket.device_code });
}

export function cancelTicket(ticket) {
  return request(ticket.url, { method: 'DELETE', token: ticket.device_code, keepalive: true });
}

export function sendCheck(ticket, code) {
  return postJSON(`${ticket.url}/check`, { code }, ticket.device_code);
}

/** POST /oauth/token with the device_code grant (RFC 8628 3.4). */
export function redeem(endpoint, clientId, ticket) {
  const form = new URLSearchParams({
    grant_type: 'urn:ietf:params:oauth:grant-type:device_code',
    device_code: ticket.device_code,
    client_id: clientId,
  });
  if (ticket.verifier) form.set('code_verifier', ticket.verifier);
  return request(`${endpoint}/oauth/token`, { method: 'POST', body: form, timeout: REDEEM_MS });
}

// crypto.subtle is missing on plain http; there the device_code is the only proof.
async function pkce() {
  if (!globalThis.crypto?.subtle) return {};
  const verifier = base64url(crypto.getRandomValues(new Uint8Array(32)));
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(verifier));
  return { verifier, challenge: base64url(new Uint8Array(digest)) };
}

function base64url(bytes) {
  return btoa(String.fromCharCode(...bytes))
    .replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}
