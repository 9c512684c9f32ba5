// <qr-login>: sign in by scanning, on any page.
//
//   <script type="module" src="https://login.example/qr-login.js"></script>
//   <qr-login client-id="web"></qr-login>
//
// Attributes: endpoint (default: where this file came from), client-id (web),
//   lang (en, zh-CN; default the page's), theme (auto: the visitor's system; light,
//   dark), confirm-user.
// Events: qr-login-state (detail: the snapshot), qr-login-success (detail: the
//   answer of the token endpoint). Both bubble.
// Method: restart(). The host's data-state names what is shown.
// Slots: logo, help. Parts: root, message, stage, plate, qr, panel, line, small,
//   foot, button, link, digits, digit, user-code.
// Variables: --qr-login-accent, -on-accent, -text, -muted, -panel, -line, -danger,
//   -radius, -size, -font.

import { Login } from './qr-login/login.js';
import { View } from './qr-login/view.js';

const HOME = new URL('.', import.meta.url).href.replace(/\/$/, '');

class QRLogin extends HTMLElement {
  static observedAttributes = ['endpoint', 'client-id', 'lang', 'confirm-user'];

  #view = new View(this, (method, ...args) => this.#login?.[method](...args));
  #login = null;
  #shown = null;
  #wake = () => this.#login?.wake();

  connectedCallback() {
    this.#view.setLanguage(this.#language());
    document.addEventListener('visibilitychange', this.#wake);
    addEventListener('online', this.#wake);
    this.#login = new Login({
      endpoint: (this.getAttribute('endpoint') || HOME).replace(/\/+$/, ''),
      clientId: this.getAttribute('client-id') || 'web',
      confirmUser: this.hasAttribute('confirm-user'),
    }, {
      show: (view) => this.#view.show(this.#shown = view),
      snapshot: (snapshot) => this.#tell('qr-login-state', snapshot),
      success: (tokens) => this.#tell('qr-login-success', tokens),
    });
    this.#login.resume();
  }

  disconnectedCallback() {
    document.removeEventListener('visibilitychange', this.#wake);
    removeEventListener('online', this.#wake);
    this.#login.stop();
    this.#login = null;
    this.#view.rest();
  }

  attributeChangedCallback(name, before, after) {
    if (!this.#login || before === after) return;
    if (name === 'lang') {
      this.#view.setLanguage(this.#language());
      this.#view.show(this.#shown);
      return;
    }
    this.disconnectedCallback();
    this.connectedCallback();
  }

  /** Gives up the running login, if any, and shows a new code. */
  restart() {
    this.#login?.restart();
  }

  #language() {
    return this.getAttribute('lang') || this.closest('[lang]')?.lang || 'en';
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail, bubbles: true, composed: true }));
  }
}

customElements.define('qr-login', QRLogin);
