// Command scanlogin signs desktop browsers in by QR code.
//
// This room reads configuration, picks the backend, wires the other rooms,
// runs them and drains them; it knows nothing about logins itself.
//
//	main.go     verbs, exit codes
//	config.go   names, defaults, what is impossible
//	file.go     the YAML file, and which names exist at all
//	clients.go  the file's clients, over the built-in ones
//	callers.go  the file's callers: back ends that sign their requests
//	providers.go  the file's providers: who knows the people
//	people.go   makes them, with the one client for calls to others
//	limits.go   the file's limits, over the defaults
//	serve.go    wiring: listeners, rooms, the goroutines and their end
//	openfiles_unix.go  how many connections the system allows
//	garbage.go  how often the collector runs
//	demo.go     what `demo` sets for a person who has set nothing
//	admin.go    keys and ban: calls to the admin listener of a running server
//	bench.go    bench: what to drive, against which servers, and the exit code
//
// The load test itself is the room below, bench. Its verb only takes targets on this
// machine. Servers that it starts are this program, so it finds it by its own path; they
// get the settings of its command line, besides the environment and the file.
//
// A configuration is a flag, an environment variable or a YAML key of one
// name (--ticket-ttl, SCANLOGIN_TICKET_TTL, ticket_ttl), in this order. An
// unknown name in any of the three is an error: a misspelled protection that
// is silently off is worse than a server that does not start.
//
// Clients, callers and providers are the file's alone: a list of structures has no sensible form as a
// flag. They are read member by member, so that an error names the member, and
// never repeats a value that could be a secret in the wrong place; a member
// that is there without a value is an error as well, or a template with an
// empty variable would make a confidential client a public one.
//
// keys and ban do not open the store. It may be the memory of the running
// process; with Redis, a second writer with its own idea of the secret and the
// prefix would be one more thing that can differ. They show the server a key
// derived from the secret, never the secret, and speak to the address that was
// configured and to nobody else: no proxy, no redirect.
//
// Exit codes: 0 done, 1 failed while running (bench: a promise was broken), 2 configuration error (one line
// that names the field).
package main
