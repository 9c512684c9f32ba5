package hub

import (
	"strings"
	"testing"
)

func TestCloseReasonsFitIntoAFrame(t *testing.T) {
	long := strings.Repeat("ü", 100)
	if got := clip(Unauthorized, long); len(got) != 122 || got != long[:122] {
		t.Errorf("%d %q", len(got), got)
	}
	for code, final := range map[Code]bool{
		Done: true, ProtocolError: true, NotText: true, BadUTF8: true, BadMessage: true, TooBig: true,
		Unauthorized: true, Unknown: true, Replaced: true, TooMany: true, 4999: true,
		GoingAway: false, Internal: false, Restarting: false, TryLater: false, WatchTimeout: false,
	} {
		if code.Final() != final || code.String() == "" {
			t.Error(code)
		}
	}
}
