// Comfort for the phone pages; every one of them works without it.

// Most logins end within the first look.
const FIRST_MS = 500;
const AGAIN_MS = 2000;

// A page that only leads on does so by itself, once somebody looks at it: a
// preview or a prerendered page must not take a login.
function leadOn() {
  const form = document.querySelector('form[data-auto]');
  const back = performance.getEntriesByType('navigation')[0]?.type === 'back_forward';
  if (!form || back || document.hidden || document.prerendering) return;
  form.removeAttribute('data-auto');
  form.requestSubmit();
}

// The result page of a running login looks again until the end is known.
async function look() {
  try {
    const response = await fetch(location.href, { headers: { Accept: 'text/html' } });
    if (response.ok) {
      const page = new DOMParser().parseFromString(await response.text(), 'text/html');
      const next = page.querySelector('main');
      const old = document.querySelector('main');
      if (next.dataset.status !== old.dataset.status) {
        document.title = page.title;
        old.replaceWith(document.adoptNode(next));
        document.querySelector('h1').focus();
      }
    }
  } catch { /* No network: the page stays as it is until the next look. */ }
  lookLater(AGAIN_MS);
}

// The question goes away when it can no longer be answered.
async function stillAsked() {
  const { decides } = document.querySelector('main').dataset;
  try {
    const response = document.hidden ? null : await fetch(decides, { headers: { Accept: 'text/html' } });
    if (response?.ok || response?.status === 404) {
      const page = new DOMParser().parseFromString(await response.text(), 'text/html');
      if (page.querySelector('main').dataset.status !== 'scanned') return location.replace(decides);
    }
  } catch { /* No network: it can still be answered later. */ }
  return setTimeout(stillAsked, AGAIN_MS);
}

function lookLater(wait) {
  if (document.querySelector('main[data-waiting]')) setTimeout(look, wait);
}

leadOn();
document.addEventListener('visibilitychange', leadOn);
document.addEventListener('prerenderingchange', leadOn);
document.querySelector('[autofocus]')?.focus({ preventScroll: true });
// A wrong code is there to be looked at, and gone with the first key.
document.querySelector('[aria-invalid]')?.select();
lookLater(FIRST_MS);
if (document.querySelector('main[data-decides]')) setTimeout(stillAsked, AGAIN_MS);
