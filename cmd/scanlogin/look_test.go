package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
)

// album is where the pictures of all pages and states go, and what is
// checked of each of them.
type album struct {
	dir    string
	widths []int64
}

// openAlbum writes to $SCREENSHOTS, or to a folder that the test names.
func openAlbum(t *testing.T, widths ...int64) album {
	t.Helper()
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		dir = t.TempDir()
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Logf("pictures are in %s", dir)
	return album{dir, widths}
}

// words are what a state says, by language.
type words map[string]string

func say(en, zh string) words { return words{"en": en, "zh-CN": zh} }

// shoot waits for the words of a state, looks it over and takes its pictures:
// each width, light and dark, named <page>-<state>-<width>-<scheme>-<lang>.
func (a album) shoot(b *tab, page, state string, w words) {
	b.t.Helper()
	text := w[b.lang]
	b.until(fmt.Sprintf(`(document.body.innerText + (part(".root")?.innerText ?? "")).includes(%q)`, text))
	if eval[bool](b, `Boolean(find("qr-login") && part(".live"))`) {
		b.until(fmt.Sprintf(`part(".live").textContent.includes(%q)`, text))
		a.keepsItsPlace(b, state)
	}
	a.named(b, page+"-"+state)
	b.do(chromedp.MouseEvent(input.DispatchMouseEventTypeMouseMoved, 0, 0)) // nothing is hovered over
	for _, width := range a.widths {
		b.resize(width)
		for _, scheme := range []string{"light", "dark"} {
			b.colours(scheme)
			name := fmt.Sprintf("%s-%s-%d-%s-%s", page, state, width, scheme, b.lang)
			// A phone zooms out of what is too wide for it.
			b.until(fmt.Sprintf("[innerWidth, screen.width].includes(%d) && matchMedia('(prefers-color-scheme: %s)').matches", width, scheme))
			for _, problem := range eval[[]string](b, fmt.Sprintf("(%s)(%d)", overlook, width)) {
				b.t.Errorf("%s: %s", name, problem)
			}
			if lang := eval[string](b, `document.documentElement.lang`); lang != b.lang {
				b.t.Errorf("%s: the page says its language is %q", name, lang)
			}
			picture, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
			if err != nil {
				b.t.Fatalf("%s: %v", name, err)
			}
			if err := os.WriteFile(filepath.Join(a.dir, name+".png"), picture, 0o644); err != nil {
				b.t.Fatal(err)
			}
		}
	}
	b.resize(b.device.width)
}

// overlook finds what is wrong with any page: sideways scrolling, cut text,
// faint text, small buttons.
const overlook = `(width) => {
	const problems = [];
	const seen = (e) => e.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && !e.closest(".live");
	const inside = document.querySelector("qr-login")?.shadowRoot?.querySelectorAll("*") ?? [];
	const elements = [...document.querySelectorAll("body, body *"), ...inside].filter(seen);
	const name = (e) => e.tagName.toLowerCase() + "." + e.className + " " + JSON.stringify(e.innerText?.slice(0, 40));
	const page = document.documentElement;
	if (page.scrollWidth > width) problems.push("scrolls sideways: " + page.scrollWidth + " > " + width);
	const rgba = (text) => {
		const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number);
		return { r, g, b, a };
	};
	const ground = (e) => {
		for (; e; e = e.parentElement ?? e.getRootNode().host) {
			const colour = rgba(getComputedStyle(e).backgroundColor);
			if (colour.a === 1) return colour;
		}
		return { r: 255, g: 255, b: 255, a: 1 };
	};
	const light = ({ r, g, b }) => {
		const [x, y, z] = [r, g, b].map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
		return 0.2126 * x + 0.7152 * y + 0.0722 * z;
	};
	for (const e of elements) {
		if (e.matches("button, .button, input:not([type=hidden])") && e.getBoundingClientRect().height < 44) {
			problems.push("lower than 44 px: " + name(e));
		}
		if (![...e.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.data.trim())) continue;
		if (e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== "inline") problems.push("cut off: " + name(e));
		const [a, b] = [light(rgba(getComputedStyle(e).color)), light(ground(e))];
		const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		if (contrast < 4.5) problems.push("contrast " + contrast.toFixed(2) + ": " + name(e));
	}
	return problems;
}`

// keepsItsPlace: no state of the component moves its picture.
func (a album) keepsItsPlace(b *tab, state string) {
	b.t.Helper()
	const place = `JSON.stringify((({ x, y, width, height }) => [x, y, width, height])(part(".stage").getBoundingClientRect()))`
	now := eval[string](b, place)
	before := eval[string](b, `(window.firstPlace ??= `+place+`)`)
	if now != before {
		b.t.Errorf("%s: the stage moved from %s to %s", state, before, now)
	}
}

// named asks the accessibility tree: whatever can be used or seen has a name.
func (a album) named(b *tab, state string) {
	b.t.Helper()
	for _, c := range b.controls() {
		if c.name == "" {
			b.t.Errorf("%s: a %s without a name", state, c.role)
		}
	}
}

// control is what assistive technology is told of one element.
type control struct {
	role, name string
	focused    bool
}

func (b *tab) controls() []control {
	b.t.Helper()
	var found []control
	for _, node := range call(b, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{}).Nodes {
		c := control{role: axText(node.Role), name: axText(node.Name)}
		if node.Ignored || !slices.Contains([]string{"button", "link", "textbox", "image", "img"}, c.role) {
			continue
		}
		for _, property := range node.Properties {
			c.focused = c.focused || property.Name == accessibility.PropertyNameFocused && string(property.Value.Value) == "true"
		}
		found = append(found, c)
	}
	return found
}

func axText(v *accessibility.Value) string {
	var text string
	if v != nil {
		json.Unmarshal(v.Value, &text)
	}
	return text
}
