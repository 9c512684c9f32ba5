package bench

import (
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// sleepUntil is precise to about 50 µs; time.Sleep is up to 1 ms late when the rest
// of the process is idle. The thread is locked so that the kernel wakes the one that
// goes on.
func sleepUntil(due time.Time) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for left := time.Until(due); left > 0; left = time.Until(due) {
		timespec := syscall.NsecToTimespec(int64(left))
		syscall.Nanosleep(&timespec, nil) // ends early on a signal: the loop goes on
	}
}

// ours gives a child a group of its own, so that Ctrl-C at a terminal reaches the
// load test alone and it ends its servers after its logins; a killed parent takes
// its children along.
func ours(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
