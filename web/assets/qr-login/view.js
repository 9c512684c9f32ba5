// Draws one view of login.js into a shadow root:
//
//   message   one sentence, two lines high
//   stage     the QR, or a panel of the same size over it
//   line      runs down to the deadline; under it a small sentence
//   foot      up to two buttons

import { icon, setIcon } from './icons.js';
import { sheet } from './style.js';
import { say, wordsFor } from './words.js';

const SKELETON_MS = 1000;

// icon of the panel, main button, quiet button: [word, method of Login, its arguments].
const STATES = {
  loading: {},
  pending: { quiet: ['cannotScan', 'typeCode'] },
  typed: { quiet: ['scanInstead', 'scanInstead'] },
  samePhone: { icon: 'phone', go: true, quiet: ['showQR', 'scanInstead'] },
  scanned: { icon: 'phone', quiet: ['notYou', 'restart'] },
  check: { quiet: ['cancel', 'restart'] },
  question: { icon: 'person', main: ['go', 'accept'], quiet: ['notYou', 'restart'] },
  confirmed: { icon: 'turning' },
  consumed: { icon: 'check' },
  denied: { icon: 'cross', main: ['again', 'restart'] },
  failed: { icon: 'alert', main: ['again', 'restart'] },
  paused: { icon: 'moon', main: ['wake', 'restart'] },
  offline: { icon: 'offline', main: ['now', 'now'] },
  limited: { icon: 'clock' },
  busy: { icon: 'clock' },
  barred: { icon: 'alert', main: ['now', 'now'] },
  // No further try comes by itself.
  offlineStill: { icon: 'offline', main: ['now', 'now'] },
  limitedStill: { icon: 'clock', main: ['again', 'now'] },
  busyStill: { icon: 'clock', main: ['again', 'now'] },
};

// Their sentence has the seconds until the next try in it.
const COUNTING = new Set(['offline', 'limited', 'busy']);

export class View {
  #host;
  #root;
  #act;
  #words = wordsFor('en');
  #part = {};
  #shown = '';
  #said = '';
  #triesLeft;
  #tick;
  #skeleton;

  /** act(method, ...arguments) is told what the person chose. */
  constructor(host, act) {
    this.#host = host;
    this.#act = act;
    this.#root = host.attachShadow({ mode: 'open' });
    this.#root.adoptedStyleSheets = [sheet];
    this.#build();
  }

  setLanguage(tag) {
    this.#words = wordsFor(tag);
    this.#part.root.lang = tag;
  }

  /** Stops the clock; the next show() starts it again. */
  rest() {
    clearInterval(this.#tick);
    clearTimeout(this.#skeleton);
  }

  /** view: what login.js shows; its `state` also becomes the host's data-state. */
  show(view) {
    const name = nameOf(view);
    const fresh = name !== this.#shown;
    const again = view.triesLeft !== this.#triesLeft;
    const had = this.#root.activeElement;
    this.#shown = name;
    this.#triesLeft = view.triesLeft;
    if (fresh || again) this.#part.boxes.forEach((box) => { box.value = ''; });
    this.#host.dataset.state = view.state;
    this.rest();
    this.#stage(name, view);
    this.#buttons(name, view);
    this.#sentences(name, view);
    this.#clock(name, view);
    if (fresh || again) this.#focus(name, had);
  }

  #build() {
    const p = this.#part;
    p.message = h('h2', { className: 'message', tabIndex: -1 }, 'message');
    p.image = h('img', { hidden: true, onload: () => this.#fit() }, 'qr');
    p.icon = icon();
    p.where = h('p');
    p.link = h('a', { target: '_blank', rel: 'noopener' });
    p.code = h('output', {}, 'user-code');
    p.typed = h('div', { className: 'typed' }, '', p.where, p.link, p.code);
    p.boxes = [1, 2].map(() => h('input', {
      type: 'text', inputMode: 'numeric', autocomplete: 'off',
      oninput: (event) => this.#fill(event.target, event.inputType === 'insertText' ? event.data : event.target.value),
      onpaste: (event) => this.#paste(event),
      onkeydown: (event) => this.#erase(event),
    }, 'digit'));
    p.digits = h('div', { className: 'digits', role: 'group' }, 'digits', ...p.boxes);
    p.stage = h('div', { className: 'stage' }, 'stage',
      h('div', { className: 'plate' }, 'plate', p.image),
      h('div', { className: 'panel' }, 'panel', p.icon, p.typed, p.digits));
    p.bar = h('i');
    p.line = h('div', { className: 'line', ariaHidden: 'true' }, 'line', p.bar);
    p.small = h('p', { className: 'small' }, 'small');
    p.main = h('button', { type: 'button', className: 'primary' }, 'button');
    p.go = h('a', { className: 'primary', target: '_blank', rel: 'noopener' }, 'button');
    p.quiet = h('button', { type: 'button', className: 'quiet' }, 'link');
    p.live = h('p', { className: 'live', ariaLive: 'polite' }, 'live');
    p.root = h('section', { className: 'root' }, 'root',
      h('slot', { name: 'logo' }), p.message, p.stage, p.line, p.small,
      h('div', { className: 'foot' }, 'foot', p.main, p.go, p.quiet),
      h('slot', { name: 'help' }), p.live);
    this.#root.append(p.root);
  }

  #stage(name, view) {
    const p = this.#part;
    if (view.image) p.image.src = view.image;
    p.image.hidden = !view.image;
    p.image.alt = this.#words.qrLabel;
    const dimmed = view.state === 'offline' && Boolean(view.image);
    p.stage.classList.toggle('skeleton', name === 'loading');
    p.stage.classList.toggle('covered', name !== 'pending' && name !== 'loading');
    p.stage.classList.toggle('dimmed', dimmed);
    p.icon.toggleAttribute('hidden', !STATES[name].icon);
    if (STATES[name].icon) setIcon(p.icon, STATES[name].icon);
    p.typed.hidden = name !== 'typed';
    p.digits.hidden = name !== 'check';
    if (name === 'typed') {
      p.where.textContent = this.#words.typedWhere;
      p.link.href = view.verificationURI;
      p.link.textContent = view.verificationURI.replace(/^https?:\/\//, '');
      p.code.textContent = view.userCode;
    }
    p.boxes.forEach((box, i) => {
      box.ariaLabel = say(this.#words.digit, i + 1);
      box.ariaInvalid = String(Boolean(view.wrong));
      box.readOnly = Boolean(view.sending);
    });
    p.digits.ariaLabel = this.#words.check;
  }

  // Whole pixels per module, so that every module has the same size.
  #fit() {
    const { image, stage } = this.#part;
    const room = Math.floor((stage.clientWidth * devicePixelRatio) / image.naturalWidth);
    image.width = (image.naturalWidth * Math.max(1, room)) / devicePixelRatio;
  }

  #buttons(name, { link }) {
    const { go } = this.#part;
    go.hidden = !STATES[name].go;
    go.href = link ?? '';
    go.textContent = this.#words.continueHere;
    for (const kind of ['main', 'quiet']) {
      const button = this.#part[kind];
      const [word, ...call] = STATES[name][kind] ?? [];
      button.hidden = !word;
      button.textContent = word ? this.#words[word] : '';
      button.onclick = word ? () => this.#act(...call) : null;
    }
  }

  #sentences(name, view) {
    const p = this.#part;
    const w = this.#words;
    let message = w[name];
    if (name === 'denied') message = w[`denied_${view.reason}`] ?? w.denied;
    if (name === 'scanned' || name === 'question') message = say(message, view.user ?? '');
    if (name === 'loading') return this.#loading(message, view);
    p.message.replaceChildren(...clauses(message));
    p.small.textContent = this.#smallSentence(name, view);
    p.small.classList.toggle('wrong', name === 'check' && Boolean(view.wrong));
    const checked = name === 'check' && view.wrong ? p.small.textContent : message;
    const counted = COUNTING.has(name) ? say(message, wholeSeconds(view.until)) : checked;
    this.#say(name === 'pending' && view.renewed ? w.renewed : counted);
  }

  #smallSentence(name, { renewed, wrong, triesLeft, reason }) {
    const w = this.#words;
    if (name === 'pending') return renewed ? w.renewed : w.anyCamera;
    if (name === 'check') return say(wrong ? w.checkAgain : w.tries, triesLeft);
    if (name === 'failed' || (name === 'denied' && reason !== 'by_user')) return w.newCodeHelps;
    if (name === 'limitedStill' || name === 'busyStill') return w.later;
    return name === 'offlineStill' ? w.network : '';
  }

  // Words only when it takes long; until then the old ones would lie, so none.
  #loading(message, { renewed }) {
    const p = this.#part;
    p.message.textContent = renewed ? this.#words.pending : '';
    p.small.textContent = '';
    this.#skeleton = setTimeout(() => {
      p.message.textContent = message;
      this.#say(message);
    }, SKELETON_MS);
  }

  // Every state is said once; a running number is not read again.
  #say(sentence) {
    const key = `${this.#shown} ${this.#triesLeft} ${sentence.replace(/\d+/, '')}`;
    if (key === this.#said) return;
    this.#said = key;
    this.#part.live.textContent = sentence;
  }

  #clock(name, view) {
    const p = this.#part;
    const counts = COUNTING.has(name);
    p.line.classList.toggle('runs', Boolean(view.span));
    if (!counts && !view.span) return;
    const sentence = this.#words[name];
    const tick = () => {
      const left = Math.max(0, view.until - performance.now());
      if (counts) p.message.replaceChildren(...clauses(say(sentence, wholeSeconds(view.until))));
      else p.bar.style.transform = `scaleX(${Math.min(1, left / view.span)})`;
    };
    tick();
    this.#tick = setInterval(tick, 1000);
  }

  // Focus follows the state, but is never taken from something else on the page.
  #focus(name, had) {
    const p = this.#part;
    const nowhere = document.activeElement === document.body;
    if (!had && !(nowhere && !['loading', 'pending', 'samePhone'].includes(name))) return;
    // The quiet button gives up, so a key pressed by chance must not find it.
    const target = [p.main, p.go].find((one) => !one.hidden) ?? p.message;
    (name === 'check' ? p.boxes[0] : target).focus({ preventScroll: true });
  }

  // What is typed takes the place of what was there; two digits at once fill both
  // boxes, wherever they are put.
  #fill(box, text) {
    const [first, second] = this.#part.boxes;
    const digits = twoDigits(text) || twoDigits(box.value);
    if (digits.length === 2) [first.value, second.value] = digits;
    else box.value = digits;
    if (first.value) second.focus();
    const code = first.value + second.value;
    if (digits && code.length === 2) this.#act('check', code);
  }

  #paste(event) {
    event.preventDefault();
    if (!event.target.readOnly) this.#fill(event.target, event.clipboardData.getData('text'));
  }

  #erase(event) {
    const [first, second] = this.#part.boxes;
    if (event.key !== 'Backspace' || event.target !== second || second.value || second.readOnly) return;
    first.value = '';
    first.focus();
    event.preventDefault();
  }
}

function nameOf(view) {
  if (view.state === 'pending') return pendingName(view);
  const still = `${view.state}Still`;
  return view.until === undefined && still in STATES ? still : view.state;
}

// A phone cannot scan its own screen: it is led on instead.
function pendingName({ way }) {
  if (way === 'typed') return 'typed';
  return way !== 'scan' && handheld() ? 'samePhone' : 'pending';
}

// Only hints, so the QR is one press away. A tablet may call itself a desktop; a
// touch screen on a wall is larger than one.
function handheld() {
  if (navigator.userAgentData?.mobile || /Mobi|Android/.test(navigator.userAgent)) return true;
  const fingersOnly = matchMedia('(any-pointer: coarse)').matches && !matchMedia('(any-pointer: fine)').matches;
  return fingersOnly && Math.min(screen.width, screen.height) <= 1024;
}

function twoDigits(text) {
  return text.normalize('NFKC').replace(/\D/g, '').slice(0, 2);
}

// A sentence in pieces that break between them first: Chinese has no spaces.
function clauses(sentence) {
  return sentence.split(/(?:(，)|(\.) )/).filter(Boolean).reduce((parts, piece) => {
    if ('，.'.includes(piece)) {
      parts.at(-1).append(piece);
      if (piece !== '，') parts.push(' ');
    } else {
      parts.push(h('span', { textContent: piece }));
    }
    return parts;
  }, []);
}

function wholeSeconds(until) {
  return Math.max(1, Math.floor((until - performance.now()) / 1000));
}

function h(tag, properties = {}, part = '', ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  if (part) element.setAttribute('part', part);
  element.append(...children);
  return element;
}
