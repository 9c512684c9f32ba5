// The demo relying page: takes the tokens of <qr-login>, shows who is signed in, signs out.

const login = document.getElementById('login');
const account = document.getElementById('account');
const widget = document.querySelector('qr-login');

function show(signedIn) {
  login.hidden = signedIn;
  account.hidden = !signedIn;
  if (signedIn) account.querySelector('h1').focus();
}

async function signedIn({ detail: tokens }) {
  const [response] = await Promise.all([
    insist('/oauth/userinfo', { headers: { Authorization: `Bearer ${tokens.access_token}` } }),
    // The server keeps this page signed in with a cookie that no script can read.
    insist('/session', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ access_token: tokens.access_token }),
    }),
  ]);
  const user = response?.ok ? await response.json() : {};
  document.getElementById('account-name').textContent = user.name ?? user.sub ?? '';
  document.getElementById('account-sub').textContent = user.sub ?? '';
  const picture = document.getElementById('account-picture');
  picture.hidden = !user.picture;
  if (user.picture) picture.src = user.picture;
  show(true);
}

// fetch, again while the server is away for a moment.
async function insist(url, init) {
  for (let tries = 1; ; tries += 1) {
    const response = await fetch(url, init).catch(() => null);
    if (response && response.status < 500 || tries === 5) return response;
    await new Promise((done) => setTimeout(done, tries * 500));
  }
}

async function signOut(event) {
  event.preventDefault();
  const form = event.target;
  const response = await fetch(form.action, { method: 'POST', body: new URLSearchParams(new FormData(form)) });
  if (!response.ok) return;
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
if (!login.hidden) start();
