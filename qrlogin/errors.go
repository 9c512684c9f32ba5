package qrlogin

import "errors"

// What a move can end in. Web's error table turns each into a code and a
// status. An error of the store passes through untouched.
var (
	ErrNotFound            = errors.New("qrlogin: ticket not found")
	ErrInvalidState        = errors.New("qrlogin: move not allowed in this state")
	ErrNotScanner          = errors.New("qrlogin: another user scanned this ticket")
	ErrInvalidConfirmToken = errors.New("qrlogin: wrong confirm token")
	ErrTicketExpired       = errors.New("qrlogin: ticket expired")
	ErrQRExpired           = errors.New("qrlogin: QR text expired")
	ErrAlreadyScanned      = errors.New("qrlogin: already scanned by another user")
	ErrCheckFailed         = errors.New("qrlogin: wrong code typed")
	ErrProximityBlocked    = errors.New("qrlogin: blocked by its verdict")
	ErrInvalidDeviceCode   = errors.New("qrlogin: wrong device code")

	ErrInvalidClient        = errors.New("qrlogin: unknown client")
	ErrUnauthorizedClient   = errors.New("qrlogin: client may not use this door")
	ErrInvalidCodeChallenge = errors.New("qrlogin: code challenge is not a S256 challenge")

	// RFC 8628 section 3.5 and RFC 6749 section 5.2.
	ErrAuthorizationPending = errors.New("qrlogin: authorization pending")
	ErrSlowDown             = errors.New("qrlogin: polling too fast")
	ErrAccessDenied         = errors.New("qrlogin: access denied")
	ErrExpiredToken         = errors.New("qrlogin: device code expired")
	ErrInvalidGrant         = errors.New("qrlogin: invalid grant")
)
