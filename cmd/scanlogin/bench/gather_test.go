package bench

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// says is a child that says one line about its browsers, and ends when it is told to or
// a file is there.
func says(t *testing.T, line string) (program []string, end func()) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "end")
	script := `read order; echo '` + line + `'; (while [ ! -e "$0" ]; do sleep 0.02; done; kill $$) <&- >&- & read more; kill $!`
	return []string{"/bin/sh", "-c", script, file}, func() {
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestHeldBrowsersOfADeadProcess(t *testing.T) {
	program, end := says(t, `{"open":3}`)
	crowd, err := Gather(t.Context(), program, nil, WS, 3, 0, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	if b, codes := crowd.Result(); b != (Browsers{Asked: 3, Held: 3}) || len(codes) != 0 {
		t.Errorf("%+v %v", b, codes)
	}
	end()
	<-crowd.children[0].done
	if b, codes := crowd.Result(); b != (Browsers{Asked: 3}) || codes["hold process_ended"] != 1 {
		t.Errorf("%+v %v", b, codes)
	}
	crowd.Leave()
}

// One that was told to end has done nothing wrong.
func TestLeavingIsNoError(t *testing.T) {
	program, _ := says(t, `{"open":3}`)
	crowd, err := Gather(t.Context(), program, nil, WS, 3, 0, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	crowd.Leave()
	if b, codes := crowd.Result(); b.Held != 3 || len(codes) != 0 {
		t.Errorf("%+v %v", b, codes)
	}
}

func TestHeldBrowsersOfASilentProcess(t *testing.T) {
	crowd := &Crowd{asked: 3, children: []*holder{{held: held{Open: 3}, heard: time.Now().Add(-trusted - time.Second)}}}
	if b, codes := crowd.Result(); b != (Browsers{Asked: 3}) || codes["hold process_silent"] != 1 {
		t.Errorf("%+v %v", b, codes)
	}
}

// Who is between two tickets has not gone.
func TestRenewingBrowsersAreHeld(t *testing.T) {
	program, _ := says(t, `{"open":1,"renewing":2,"renewed":2}`)
	crowd, err := Gather(t.Context(), program, nil, WS, 3, 0, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	defer crowd.Leave()
	if b, _ := crowd.Result(); b != (Browsers{Asked: 3, Held: 3, Renewing: 2, Renewed: 2}) {
		t.Errorf("%+v", b)
	}
	var h held
	h.Open, h.Errors = 1, map[string]int{}
	if h.ended(nil); h.there() != 1 || h.Renewing != 1 || h.Dropped != 0 {
		t.Errorf("%+v", h)
	}
}
