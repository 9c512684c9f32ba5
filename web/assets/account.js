// The device list, kept true while somebody looks at it; it works without this.

import { Session, keepSignedIn, showEnd } from './session.js';

const LOOK_MS = 3000;

const list = document.getElementById('devices');
const others = document.getElementById('others');
const live = document.querySelector('.live');
const trouble = document.getElementById('trouble');
const session = new Session({ active: look, signIn: look, ended });
let open = Boolean(list);
// The newest request; an answer to an older one says what is no longer so.
let newest = 0;

function ended(reason) {
  open = false;
  session.leave();
  showEnd(reason);
}

async function look() {
  newest += 1;
  const mine = newest;
  const response = await fetch(location.href, { headers: { Accept: 'text/html' } }).catch(() => null);
  if (response?.ok) {
    const page = await read(response).catch(() => null); // the network broke off: at the next look
    if (page && mine === newest) merge(page);
    tell('');
  }
}

function tell(what) {
  if (trouble.textContent !== what) trouble.textContent = what;
}

async function lookAgain() {
  if (!document.hidden) await look();
  if (open) setTimeout(lookAgain, LOOK_MS);
}

async function read(response) {
  return new DOMParser().parseFromString(await response.text(), 'text/html');
}

// Takes over what is new and leaves alone what is there, with the focus on it.
function merge(page) {
  if (!open) return;
  const next = page.getElementById('devices');
  if (!next) return ended();
  if (own(page) !== own(document)) return location.reload(); // somebody else signed in
  const found = [...next.children];
  for (const row of [...list.children]) {
    if (!page.getElementById(row.id)) leave(row);
  }
  let below = null;
  for (const row of found.reverse()) {
    const here = document.getElementById(row.id);
    if (here) retell(here, row);
    else arrive(row, below);
    below = here ?? row;
  }
  const { hidden: none, children: [, what] } = page.getElementById('others');
  others.children[1].textContent = what.textContent;
  if (none && others.contains(document.activeElement)) document.querySelector('h1').focus();
  if (none) others.open = false;
  others.hidden = none;
}

function own(page) {
  return page.querySelector('.current')?.id;
}

function retell(here, row) {
  const times = row.querySelectorAll('time');
  here.querySelectorAll('time').forEach((time, i) => {
    if (time.textContent !== times[i].textContent) time.replaceWith(times[i]);
  });
}

function arrive(row, below) {
  row.classList.add('new');
  list.insertBefore(document.adoptNode(row), below);
  say('new', row);
}

async function leave(row) {
  if (row.inert) return; // it is on its way
  const focused = row.contains(document.activeElement);
  row.inert = true;
  row.classList.add('gone');
  say('gone', row);
  if (focused) (nextButton(row) ?? document.querySelector('h1')).focus({ preventScroll: true });
  await Promise.allSettled(row.getAnimations({ subtree: true }).map((move) => move.finished));
  row.remove();
}

// Where the focus goes from a row: to the one below it, else to the one above.
function nextButton(row) {
  const buttons = [...list.querySelectorAll('button')];
  const [below, above] = [buttons, buttons.toReversed()].map((all, up) => all.find((button) => {
    const place = up ? Node.DOCUMENT_POSITION_PRECEDING : Node.DOCUMENT_POSITION_FOLLOWING;
    return !button.closest('[inert]') && row.compareDocumentPosition(button) & place;
  }));
  return below ?? above;
}

function say(what, row) {
  const name = row.querySelector('.name span').textContent;
  live.textContent = live.dataset[what].replace('%s', () => name);
}

// Ends without leaving the page. Signing out does leave it, and what cannot be
// done is said by the page that the form leads to.
async function end(event) {
  const form = event.target;
  if (form.closest('.current')) return session.leave(); // its end is no news
  event.preventDefault();
  if (form.dataset.busy) return;
  form.dataset.busy = 'yes';
  const body = new URLSearchParams(new FormData(form));
  const response = await fetch(form.action, { method: 'POST', body }).catch(() => null);
  delete form.dataset.busy;
  tell(response ? '' : trouble.dataset.offline);
  if (!response) return;
  if (response.status === 404) return look(); // it had ended
  if (!response.ok) return form.submit();
  newest += 1;
  merge(await read(response));
}

if (list) {
  list.addEventListener('submit', end);
  others.addEventListener('submit', end);
  document.addEventListener('visibilitychange', () => document.hidden || look());
  if ('socket' in list.dataset) session.follow();
  setTimeout(lookAgain, LOOK_MS);
} else {
  document.querySelector('qr-login').addEventListener('qr-login-success', async ({ detail: tokens }) => {
    await keepSignedIn(tokens.access_token);
    location.reload();
  });
  import('/qr-login.js');
}
