package hub

import (
	"strconv"
	"strings"
	"testing"
)

func TestCloseReasonsFitIntoAFrame(t *testing.T) {
	long := strings.Repeat("ü", 100)
	if got := clip(Unauthorized, long); len(got) != 122 || got != long[:122] {
		t.Errorf("%d %q", len(got), got)
	}
	for code := range words {
		if code.String() == strconv.Itoa(int(code)) {
			t.Error(code)
		}
	}
}
