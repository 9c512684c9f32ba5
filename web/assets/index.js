// The demo relying page: takes the tokens of <qr-login>, shows who is signed in, signs out.

import { Session, insist, keepSignedIn, showEnd } from './session.js';

const login = document.getElementById('login');
const account = document.getElementById('account');
const news = document.getElementById('news');
const widget = document.querySelector('qr-login');
const session = new Session({ signIn: tell, ended: showEnd });

function show(signedIn) {
  login.hidden = signedIn;
  account.hidden = !signedIn;
  if (signedIn) account.querySelector('h1').focus();
}

async function signedIn({ detail: tokens }) {
  const [response] = await Promise.all([
    insist('/oauth/userinfo', { headers: { Authorization: `Bearer ${tokens.access_token}` } }),
    keepSignedIn(tokens.access_token),
  ]);
  const user = response?.ok ? await response.json() : {};
  document.getElementById('account-name').textContent = user.name ?? user.sub ?? '';
  document.getElementById('account-sub').textContent = user.sub ?? '';
  const picture = document.getElementById('account-picture');
  picture.hidden = !user.picture;
  if (user.picture) picture.src = user.picture;
  news.replaceChildren();
  show(true);
  session.follow(tokens.access_token);
}

// Somebody signed in to the account elsewhere: one press ends that.
function tell({ id, device, place }) {
  const what = document.createElement('p');
  const link = document.createElement('a');
  link.href = '/account';
  link.textContent = news.dataset.new.replace('%s', () => device || news.dataset.unknown);
  what.append(link);
  if (place) what.append(` (${place})`);
  what.tabIndex = -1;
  const button = document.createElement('button');
  button.className = 'plain';
  button.textContent = news.dataset.end;
  const row = document.createElement('div');
  row.append(what, button);
  news.prepend(row);
  button.addEventListener('click', () => end(id, what, button));
}

async function end(id, what, button) {
  if (button.ariaDisabled) return;
  button.ariaDisabled = 'true';
  const why = await session.end(id).then(() => 'ended', ({ status }) => ({ 403: 'phone', 404: 'ended' })[status] ?? 'failed');
  const said = button.parentElement.querySelector('.said') ?? document.createElement('p');
  said.className = 'said';
  said.textContent = news.dataset[why];
  what.after(said);
  button.ariaDisabled = null;
  if (why === 'failed') return;
  button.remove();
  what.focus();
}

async function signOut(event) {
  event.preventDefault();
  const form = event.target;
  session.leave(); // its end is no news
  const body = new URLSearchParams(new FormData(form));
  const response = await fetch(form.action, { method: 'POST', body }).catch(() => null);
  if (!response?.ok) return session.follow();
  show(false);
  if (customElements.get('qr-login')) widget.restart();
  else start();
}

// Loading the component starts a login, so only a signed-out page loads it.
function start() {
  import('/qr-login.js');
}

widget.addEventListener('qr-login-success', signedIn);
document.getElementById('signout').addEventListener('submit', signOut);
if (login.hidden) session.follow();
else start();
