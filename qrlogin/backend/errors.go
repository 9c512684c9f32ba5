package backend

import (
	"errors"
	"fmt"
	"io/fs"
)

// ErrExists is Create's answer for a key that holds a record already; it is fs.ErrExist to
// errors.Is, so that consumers need not import this package.
var ErrExists = fmt.Errorf("backend: record: %w", fs.ErrExist)

// ErrForged says that a stored record does not open under our keys: it was changed, made
// up, or copied from another key. Waiting does not cure it, so it is not "unavailable".
var ErrForged = errors.New("backend: record does not open under our keys")

// errClosed is why a closed store is unavailable.
var errClosed = errors.New("store is closed")

// unavailable is every error of a store that did not answer in time or not usefully. The
// method is what consumers look for with errors.As; they need no name of ours for it.
type unavailable struct{ cause error }

func (e unavailable) Error() string     { return "backend: store unavailable: " + e.cause.Error() }
func (e unavailable) Unwrap() error     { return e.cause }
func (e unavailable) Unavailable() bool { return true }
