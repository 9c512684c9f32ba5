package main

import (
	"fmt"
	"strings"
	"testing"
)

// A phone can't scan its own screen: the login page is a link there, which opens
// beside it, and the page goes on when the login was approved.
func TestBrowserOnThePhoneIsLedOn(t *testing.T) {
	t.Parallel()
	s := startDemo(t, "127.0.0.1")
	phone := openPhone(t)
	phone.open(s.url + "/")
	phone.mark()
	phone.untilSaid(".message", "You are on the phone already")
	phone.until(`find("a.primary")?.rel === "noopener" && find("a.primary").target === "_blank"`)
	if link := eval[string](phone, `find("a.primary").href`); !strings.HasPrefix(link, s.url+"/s/") {
		t.Errorf("the link leads to %s", link)
	}
	beside := phone.opens(func() { phone.click("a.primary") })
	if eval[bool](beside, `Boolean(window.opener)`) {
		t.Error("the new tab can reach the page that opened it")
	}
	beside.signInOnPhone("bob")
	beside.click("button[value=approve]")
	phone.signedIn("Bob")
	phone.notReloaded()
}

// The hints may be wrong, and another phone may be at hand: the QR is one press
// away, and stays when the code is renewed.
func TestBrowserOnThePhoneShowsTheQRWhenAsked(t *testing.T) {
	t.Parallel()
	s := startDemo(t, "127.0.0.1", "SCANLOGIN_TICKET_TTL=3s")
	phone, other := openPhone(t), openPhone(t)
	phone.open(s.url + "/")
	phone.untilSaid(".quiet", "Show a QR code")
	phone.click(".quiet")
	first := phone.readQR()
	phone.until(`said(".small") === "New code"`)
	if phone.readQR() == first {
		t.Error("the same code again")
	}
	phone.click(".quiet")
	phone.until(`said("output").length === 9`)
	other.open("http://" + eval[string](phone, `said(".typed a")`))
	other.click(`button[value="bob"]`)
	other.until(`document.activeElement.id === "user_code"`)
}

// A tablet that calls itself a desktop has fingers only; a touch screen on a wall
// is no handheld.
func TestTabletsAreLedOnAndKiosksAreNot(t *testing.T) {
	t.Parallel()
	s := startDemo(t, "127.0.0.1")
	for _, row := range []struct {
		fingers, mouse bool
		width          int
		led            bool
	}{{true, false, 820, true}, {true, true, 820, false}, {true, false, 2160, false}, {false, true, 820, false}} {
		tablet := openDesktop(t).before(pretends(row.fingers, row.mouse, row.width))
		tablet.open(s.url + "/")
		tablet.until(`state() === "pending" && part("img").complete`)
		if led := eval[bool](tablet, `Boolean(find("a.primary"))`); led != row.led {
			t.Errorf("%+v: led on: %v", row, led)
		}
	}
}

// pretends is a screen with these pointers.
func pretends(fingers, mouse bool, width int) string {
	return fmt.Sprintf(`{
		const real = matchMedia.bind(window);
		const pointers = { "(any-pointer: coarse)": %t, "(any-pointer: fine)": %t };
		window.matchMedia = (query) => query in pointers ? { matches: pointers[query] } : real(query);
		for (const side of ["width", "height"]) Object.defineProperty(screen, side, { value: %d });
	}`, fingers, mouse, width)
}
