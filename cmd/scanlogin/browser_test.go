package main

import (
	"bytes"
	"context"
	"fmt"
	"image/png"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"
)

// One Chromium serves all tests of a run; each person in a test has a browser
// context, so no cookie or storage is shared. Nothing but loopback is
// reachable, and login.test is a name for it that is not a secure context.

var chromium struct {
	once sync.Once
	ctx  context.Context
	stop func()
}

func startChromium() {
	flags := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.NoSandbox, chromedp.DisableGPU, // as root in a container
		chromedp.Flag("headless", "new"),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("hide-scrollbars", true),
		chromedp.Flag("host-resolver-rules", "MAP login.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
	)
	if path := os.Getenv("CHROME_BIN"); path != "" {
		flags = append(flags, chromedp.ExecPath(path))
	}
	allocator, stopProcess := chromedp.NewExecAllocator(context.Background(), flags...)
	ctx, stopBrowser := chromedp.NewContext(allocator)
	if err := chromedp.Do(ctx); err != nil {
		panic(fmt.Sprintf("start Chromium: %v", err))
	}
	chromium.ctx = ctx
	chromium.stop = func() {
		stopBrowser()
		stopProcess()
	}
}

// stopChromium ends the browser if a test has started it.
func stopChromium() {
	if chromium.stop != nil {
		chromium.stop()
	}
}

// device is what a browser context pretends to be.
type device struct {
	width, height int64
	scale         float64
	mobile        bool
	userAgent     string
}

var (
	desktopDevice = device{width: 1280, height: 800, scale: 1,
		userAgent: "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"}
	phoneDevice = device{width: 390, height: 844, scale: 2, mobile: true,
		userAgent: "Mozilla/5.0 (Linux; Android 16; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36"}
)

// tab is one page of one person.
type tab struct {
	t      *testing.T
	ctx    context.Context
	device device
	lang   string
	// stepwise: a page that only leads on waits for a press on Continue.
	stepwise bool

	mu       sync.Mutex
	problems []string
	heard    map[string]bool // what the console is expected to say, and whether it has
	provoked bool
}

// patience is how long a person waits for a page, and more than any test needs.
const patience = 20 * time.Second

// newTab opens a page in a browser context of its own; lang is what the
// browser asks for.
func newTab(t *testing.T, d device, lang string) *tab {
	t.Helper()
	chromium.once.Do(startChromium)
	ctx, cancel := chromedp.NewContext(chromium.ctx, chromedp.WithNewBrowserContext(), chromedp.WithNewWindow(true))
	return attach(t, ctx, cancel, d, lang)
}

// attach begins to steer a page, which ends with its test.
func attach(t *testing.T, ctx context.Context, cancel func(), d device, lang string) *tab {
	t.Helper()
	b := &tab{t: t, ctx: ctx, device: d, lang: lang}
	// The page lives as long as the context of its first step.
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("new page: %v", err)
	}
	call(b, emulation.SetUserAgentOverride, emulation.SetUserAgentOverrideParams{UserAgent: d.userAgent, AcceptLanguage: lang})
	call(b, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
	b.resize(d.width)
	console := chromedp.Console(ctx)
	read := make(chan struct{})
	go func() {
		defer close(read)
		for message, err := range console {
			if err != nil {
				return
			}
			b.note(message)
		}
	}()
	t.Cleanup(func() {
		if t.Failed() {
			b.dump()
		}
		cancel()
		<-read
		for _, problem := range b.problems {
			t.Errorf("console: %s", problem)
		}
	})
	return b
}

func openDesktop(t *testing.T) *tab { return newTab(t, desktopDevice, "en") }
func openPhone(t *testing.T) *tab   { return newTab(t, phoneDevice, "en") }

// note keeps what a clean page never writes to the console. A provoked
// failure is reported by the browser itself, in the words of its network log.
func (b *tab) note(m chromedp.ConsoleMessage) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for text := range b.heard {
		if strings.Contains(m.Text, text) {
			b.heard[text] = true
			return
		}
	}
	if m.Type != chromedp.ConsoleError && m.Type != chromedp.ConsoleException {
		return
	}
	network := m.Source == "network" || strings.HasPrefix(m.Text, "WebSocket connection to")
	if network && b.provoked {
		return
	}
	b.problems = append(b.problems, fmt.Sprintf("%s (%s %s)", m, m.Source, m.URL))
}

// provoke says that from here on requests are made to fail.
func (b *tab) provoke() *tab {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.provoked = true
	return b
}

// warned says what the console may say.
func (b *tab) warned(texts ...string) *tab {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.heard = map[string]bool{}
	for _, text := range texts {
		b.heard[text] = false
	}
	return b
}

// dump shows what a failed test saw last.
func (b *tab) dump() {
	text, err := evaluate[string](b, `location.pathname + "\n" + document.body.innerText + "\n" +
		(document.querySelector("qr-login")?.dataset.state ?? "") + " " +
		(document.querySelector("qr-login")?.shadowRoot?.querySelector(".root").innerText ?? "")`)
	b.t.Logf("page at the end: %s (%v)", text, err)
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatalf("browser: %v", err)
	}
}

// call sends one command of the DevTools protocol.
func call[P, R any](b *tab, command cdp.Command[P, R], params P) R {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Second)
	defer cancel()
	result, err := chromedp.Call(ctx, command, params)
	if err != nil {
		b.t.Fatalf("%s: %v", command.Method, err)
	}
	return result
}

// opens waits for the tab that an act opens, in the same browser.
func (b *tab) opens(act func()) *tab {
	b.t.Helper()
	opened := chromedp.WaitNewTarget(b.ctx, func(*target.Info) bool { return true })
	act()
	select {
	case id := <-opened:
		ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithTargetID(id))
		return attach(b.t, ctx, cancel, b.device, b.lang)
	case <-time.After(patience):
		b.t.Fatal("no new tab")
		return nil
	}
}

// at puts the page behind an address that a trusted proxy tells.
func (b *tab) at(addr string) *tab {
	b.t.Helper()
	call(b, network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: network.Headers{"X-Forwarded-For": addr}})
	return b
}

func (b *tab) open(url string) {
	b.t.Helper()
	b.do(chromedp.Navigate(url))
}

func (b *tab) reload() {
	b.t.Helper()
	b.do(chromedp.Reload())
}

// withoutScripts is a person who has switched JavaScript off.
func (b *tab) withoutScripts() *tab {
	b.t.Helper()
	b.stepwise = true
	call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	return b
}

// resize sets the width; a phone's page on a wide screen is a desktop's.
func (b *tab) resize(width int64) {
	b.t.Helper()
	d := b.device
	if width > 600 {
		d = desktopDevice
	}
	options := []chromedp.EmulateViewportOption{chromedp.EmulateScale(d.scale)}
	if d.mobile {
		options = append(options, chromedp.EmulateMobile, chromedp.EmulateTouch)
	}
	b.do(chromedp.EmulateViewport(width, d.height, options...))
}

// colours chooses between light and dark; motion is off, so that a picture
// shows a state and not the way to it.
func (b *tab) colours(scheme string) {
	b.t.Helper()
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}})
}

// evaluate runs an expression in the page; it fails while a page is leaving.
func evaluate[T any](b *tab, js string) (T, error) {
	ctx, cancel := context.WithTimeout(b.ctx, 10*time.Second)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](finders+js))
}

func eval[T any](b *tab, js string) T {
	b.t.Helper()
	value, err := evaluate[T](b, js)
	if err != nil {
		b.t.Fatalf("%s: %v", js, err)
	}
	return value
}

// finders look into the component's shadow root, too. find gives what a
// person sees of a selector.
const finders = `var part = (css) => document.querySelector("qr-login")?.shadowRoot?.querySelector(css);
var find = (css) => [document.querySelector(css), part(css)].find((e) =>
	e?.checkVisibility({ visibilityProperty: true, opacityProperty: true }));
var said = (css) => find(css)?.innerText.trim() ?? "";
var state = () => document.querySelector("qr-login")?.dataset.state;
`

// until waits for a condition in the page, across navigations.
func (b *tab) until(js string) {
	b.t.Helper()
	b.within(patience, js)
}

func (b *tab) within(d time.Duration, js string) {
	b.t.Helper()
	eventually(b.t, d, js, func() bool {
		ok, err := evaluate[bool](b, "Boolean("+js+")")
		return err == nil && ok
	})
}

func (b *tab) untilSaid(css, text string) {
	b.t.Helper()
	b.until(fmt.Sprintf("said(%q).includes(%q)", css, text))
}

// click presses what a selector shows, with the finger on a phone.
func (b *tab) click(css string) {
	b.t.Helper()
	b.until(fmt.Sprintf("find(%q)", css))
	spot := eval[struct{ X, Y float64 }](b, fmt.Sprintf(`(() => {
		const e = find(%q);
		e.scrollIntoView({ block: "center" });
		const { x, y, width, height } = e.getBoundingClientRect();
		return { x: x + width / 2, y: y + height / 2 };
	})()`, css))
	if b.device.mobile {
		b.do(chromedp.TapXY(spot.X, spot.Y))
	} else {
		b.do(chromedp.MouseClickXY(spot.X, spot.Y))
	}
}

// typeText types into what has the focus.
func (b *tab) typeText(text string) {
	b.t.Helper()
	b.do(chromedp.KeyEvent(text))
}

// readQR takes a picture of the page around the code, as a camera does, and
// reads it with a decoder that knows nothing of the page.
func (b *tab) readQR() string {
	b.t.Helper()
	b.until(`state() === "pending" && find("img") && part("img").complete`)
	clip := eval[page.Viewport](b, `(() => {
		const { x, y, width, height } = part("img").getBoundingClientRect();
		return { x: x + scrollX, y: y + scrollY, width, height, scale: 3 };
	})()`)
	picture := call(b, page.CaptureScreenshot, page.CaptureScreenshotParams{Clip: &clip}).Data
	text, err := decodeQR(picture)
	if err != nil {
		b.t.Fatalf("the QR can't be read: %v", err)
	}
	return text
}

func decodeQR(picture []byte) (string, error) {
	img, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		return "", err
	}
	bitmap, err := gozxing.NewBinaryBitmapFromImage(img)
	if err != nil {
		return "", err
	}
	// Without the hint the finder misses one clean picture in a hundred.
	result, err := qrcode.NewQRCodeReader().Decode(bitmap, map[gozxing.DecodeHintType]any{gozxing.DecodeHintType_PURE_BARCODE: true})
	if err != nil {
		return "", err
	}
	return result.GetText(), nil
}
