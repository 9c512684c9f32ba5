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
  news.textContent = '';
  show(true);
  session.follow(tokens.access_token);
}

// Somebody signed in to the account elsewhere; the device list has the rest.
function tell({ device }) {
  const link = document.createElement('a');
  link.href = '/account';
  link.textContent = news.dataset.new.replace('%s', () => device || news.dataset.unknown);
  news.replaceChildren(link);
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
