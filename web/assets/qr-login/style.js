// Three zones of fixed size (message, stage, foot), so that no state moves another.
// Colours and radius are the embedder's through --qr-login-*.

const css = `
:host {
  --_text: var(--qr-login-text, #14181f);
  --_muted: var(--qr-login-muted, #586170);
  --_accent: var(--qr-login-accent, #1a56db);
  --_on-accent: var(--qr-login-on-accent, #fff);
  --_panel: var(--qr-login-panel, #f4f6f8);
  --_line: var(--qr-login-line, #dce1e7);
  --_danger: var(--qr-login-danger, #b42318);
  --_radius: var(--qr-login-radius, 12px);
  --_size: var(--qr-login-size, 280px);
  display: block;
  color: var(--_text);
  font: 16px/1.5 var(--qr-login-font, system-ui, -apple-system, "Segoe UI", Roboto, "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", sans-serif);
}
:host([hidden]) { display: none; }
:host([theme="dark"]) {
  --_text: var(--qr-login-text, #eef1f5);
  --_muted: var(--qr-login-muted, #a3acb9);
  --_accent: var(--qr-login-accent, #8ab0ff);
  --_on-accent: var(--qr-login-on-accent, #0c1526);
  --_panel: var(--qr-login-panel, #20262e);
  --_line: var(--qr-login-line, #343c47);
  --_danger: var(--qr-login-danger, #ff9a90);
}
@media (prefers-color-scheme: dark) {
  :host(:not([theme="light"])) {
    --_text: var(--qr-login-text, #eef1f5);
    --_muted: var(--qr-login-muted, #a3acb9);
    --_accent: var(--qr-login-accent, #8ab0ff);
    --_on-accent: var(--qr-login-on-accent, #0c1526);
    --_panel: var(--qr-login-panel, #20262e);
    --_line: var(--qr-login-line, #343c47);
    --_danger: var(--qr-login-danger, #ff9a90);
  }
}
* { box-sizing: border-box; }
[hidden] { display: none !important; }
.root {
  /* Two lines hold the longest sentence; the rest is as wide as the QR. */
  width: calc(var(--_size) + 40px);
  max-width: 100%;
  margin: 0 auto;
  text-align: center;
}
::slotted([slot="logo"]) { display: block; margin: 0 auto 16px; max-height: 48px; }
.message {
  display: flex;
  flex-wrap: wrap;
  place-content: center;
  gap: 0 .25em;
  min-height: 60px;
  margin: 0 0 16px;
  font-size: 20px;
  font-weight: 600;
  outline: none;
  text-wrap: balance;
  overflow-wrap: anywhere;
  font-variant-numeric: tabular-nums;
}
.stage, .line, .foot { width: var(--_size); max-width: 100%; margin-inline: auto; }
/* The plate makes it square; a panel with zoomed text may make it longer. */
.stage { display: grid; }
.plate, .panel {
  grid-area: 1 / 1;
  min-width: 0;
  display: grid;
  border-radius: var(--_radius);
  place-items: center;
  /* Shown at once, so that what is in it can take the focus; hidden when faded. */
  transition: opacity .2s, visibility 0s .2s;
}
.plate { align-self: start; aspect-ratio: 1; background: #fff; box-shadow: inset 0 0 0 1px var(--_line); }
.plate img { image-rendering: pixelated; max-width: 100%; }
.panel {
  background: var(--_panel);
  align-content: center;
  gap: 16px;
  padding: 16px;
  opacity: 0;
  visibility: hidden;
}
.covered .panel { opacity: 1; visibility: visible; transition-delay: 0s; }
.covered .plate { opacity: 0; visibility: hidden; }
.dimmed .plate { opacity: .12; visibility: visible; }
.dimmed .panel { background: none; }
.dimmed svg { padding: 8px; border-radius: 50%; background: var(--_panel); }
svg {
  width: 64px;
  height: 64px;
  fill: none;
  stroke: var(--_accent);
  stroke-width: 1.5;
  stroke-linecap: round;
  stroke-linejoin: round;
}
svg[data-icon="cross"] { stroke: var(--_danger); }
svg[data-icon="moon"], svg[data-icon="clock"], svg[data-icon="offline"], svg[data-icon="alert"] { stroke: var(--_muted); }
svg[data-icon="turning"] { animation: turn 1.2s linear infinite; }
@keyframes turn { to { transform: rotate(1turn); } }
.line {
  height: 2px;
  margin-block: 16px 8px;
  border-radius: 1px;
  background: var(--_line);
  overflow: hidden;
  visibility: hidden;
}
.line.runs { visibility: visible; }
.line i {
  display: block;
  height: 100%;
  background: var(--_accent);
  transform-origin: left;
  transition: transform 1s linear;
}
.small { min-height: 24px; margin: 0; font-size: 14px; line-height: 24px; color: var(--_muted); }
.small.wrong { color: var(--_danger); }
.foot { display: flex; flex-wrap: wrap; gap: 8px; min-height: 44px; margin-top: 8px; }
.foot > * { flex: 1 1 auto; padding-inline: 8px; }
button, .primary {
  min-height: 44px;
  padding: 8px 16px;
  border: 0;
  border-radius: calc(var(--_radius) * 2 / 3);
  font: inherit;
  cursor: pointer;
}
.primary { background: var(--_accent); color: var(--_on-accent); font-weight: 600; }
.quiet { background: none; color: var(--_accent); }
a.primary { padding-block: 10px; text-decoration: none; }
button:hover { text-decoration: underline; }
.primary:hover { text-decoration: none; filter: brightness(1.08); }
:is(button, input, a):focus-visible { outline: 2px solid var(--_accent); outline-offset: 2px; }
.typed, .digits { display: grid; gap: 8px; }
.typed p { margin: 0; font-size: 14px; color: var(--_muted); }
.typed a { color: var(--_accent); font-size: 16px; overflow-wrap: anywhere; }
.typed output {
  margin-top: 16px;
  font: 600 28px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace;
  letter-spacing: .04em;
}
.digits { grid-template-columns: repeat(2, minmax(0, 72px)); gap: 16px; }
.digits input {
  height: 88px;
  border: 1px solid var(--_muted);
  border-radius: var(--_radius);
  background: none;
  color: inherit;
  font: 600 28px/1 inherit;
  font-family: inherit;
  text-align: center;
}
.digits input[aria-invalid="true"] { border-color: var(--_danger); }
.live {
  position: absolute;
  width: 1px;
  height: 1px;
  overflow: hidden;
  clip-path: inset(50%);
  white-space: nowrap;
}
.skeleton .plate { background: var(--_panel); box-shadow: none; }
.skeleton img { visibility: hidden; }
@media (prefers-reduced-motion: reduce) {
  .plate, .panel, .line i { transition: none; }
  svg[data-icon="turning"] { animation: none; }
}
`;

export const sheet = new CSSStyleSheet();
sheet.replaceSync(css);
