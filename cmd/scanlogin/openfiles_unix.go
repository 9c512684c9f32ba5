//go:build unix

package main

import "syscall"

// Go has raised the soft limit to the hard one by now.
func init() {
	openFiles = func() (uint64, error) {
		var limit syscall.Rlimit
		err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit)
		return uint64(limit.Cur), err
	}
}
