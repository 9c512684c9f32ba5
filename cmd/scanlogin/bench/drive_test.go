package bench

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestErrorsHaveACode(t *testing.T) {
	silent := httptest.NewUnstartedServer(nil)
	silent.Start()
	address := silent.URL
	silent.Close()
	client := NewClient()
	_, gone := client.Get(address)
	expired, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	for want, err := range map[string]error{
		"rate_limited":   &Refusal{Status: 429, Code: "rate_limited"},
		"502":            &Refusal{Status: 502},
		"connection":     gone,
		"timeout":        context.Cause(expired),
		"foreign_ticket": errForeign,
		"unreadable":     errors.New("?"),
	} {
		if got := codeOf(err); got != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
}

// Who subscribes, in the order in which Redis did it.
func TestDeliveriesFollowSubscriptions(t *testing.T) {
	text := strings.Join([]string{
		`+1.0 [0 unix:/r] "publish" "a" "nobody is there"`,
		`+1.1 [0 unix:/r] "subscribe" "a" "b"`,
		`+1.2 [0 unix:/r] "subscribe" "a"`,
		`+1.3 [0 lua] "PUBLISH" "a" "\x00 \"] \" two"`,
		`+1.4 [0 unix:/r] "unsubscribe" "a"`,
		`+1.5 [0 lua] "PUBLISH" "a" "one"`,
		`+1.6 [0 lua] "PUBLISH" "root" "three"`,
		`+1.7 [0 unix:/r] "ping"`,
		`+1.8 [0 unix:/r] "echo" "end"`,
		`+1.9 [0 lua] "PUBLISH" "a" "too late"`, "",
	}, "\r\n")
	n, err := deliveries(bufio.NewReader(strings.NewReader(text)), map[string]int{"root": 3}, "end")
	if n != 6 || err != nil {
		t.Errorf("%d deliveries, %v", n, err)
	}
	if _, err := deliveries(bufio.NewReader(strings.NewReader("+1.0 [0 lua] \"ping\"\r\n")), nil, "end"); err != io.EOF {
		t.Errorf("a Redis that goes away: %v", err)
	}
}

// Limits count by network: neighbours are in different ones, and nobody is twice.
func TestPersonsHaveAddressesOfTheirOwn(t *testing.T) {
	seen := map[string]bool{}
	for _, first := range []int{0, firstLogin - 100, firstPhone} {
		for i := first; i < first+70_000; i++ {
			address := Address(i)
			if seen[address.String()] {
				t.Fatalf("person %d: %s is somebody else's", i, address)
			}
			seen[address.String()] = true
			if next, _ := Address(i + 1).Prefix(24); next.Contains(address) {
				t.Fatalf("persons %d and %d are in one network", i, i+1)
			}
		}
	}
}
