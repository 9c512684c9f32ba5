// Command scanlogin signs desktop browsers in by QR code.
//
// This room reads configuration, picks the backend, wires the other rooms,
// runs them and drains them; it knows nothing about logins itself.
//
//	main.go    verbs, exit codes
//	config.go  names, defaults, what is impossible
//	file.go    the YAML file, and which names exist at all
//	serve.go   wiring: listeners, rooms, the goroutines and their end
//	demo.go    what `demo` sets for a person who has set nothing
//
// A configuration is a flag, an environment variable or a YAML key of one
// name (--ticket-ttl, SCANLOGIN_TICKET_TTL, ticket_ttl), in this order. An
// unknown name in any of the three is an error: a misspelled protection that
// is silently off is worse than a server that does not start.
//
// Exit codes: 0 done, 1 failed while running, 2 configuration error (one line
// that names the field).
package main
