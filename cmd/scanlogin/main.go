package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
)

// version is set by the build (-ldflags -X main.version=...).
var version = "dev"

// cli is every verb and flag.
type cli struct {
	Config `embed:"" group:"Settings"`

	Serve serveVerb `cmd:"" default:"withargs" help:"Run the server (what happens without a verb)."`
	Demo  demoVerb  `cmd:"" help:"Run with everything embedded: no Redis, no account, two demo users."`
	Conf  struct {
		Print printVerb `cmd:"" help:"Print the configuration in force as YAML, secrets hidden."`
		Check checkVerb `cmd:"" help:"Say whether the configuration could be served; exit 2 and one line if not."`
	} `cmd:"" name:"config" help:"Look at the configuration."`
	Keys struct {
		Rotate rotateVerb `cmd:"" help:"Have the next key sign tokens as soon as every verifier can know it."`
	} `cmd:"" help:"Signing keys of the running server."`
	Ban struct {
		Add  banVerb  `cmd:"" help:"Ban a user or a network; again: another reason and end."`
		List bansVerb `cmd:"" help:"List the bans in force."`
		Lift liftVerb `cmd:"" help:"Lift a ban."`
	} `cmd:"" help:"Banned users and networks of the running server."`
	Bench       benchVerb    `cmd:"" help:"Drive logins and idle browsers against servers of this machine, and say how it went; exit 1 if one was lost, untold, doubled or misgiven."`
	Browsers    browsersVerb `cmd:"" name:"bench-browsers" hidden:""`
	Healthcheck healthVerb   `cmd:"" help:"Ask the server on this machine whether it is ready; exit 0 or 1."`
	Version     versionVerb  `cmd:"" help:"Print the version."`
}

// usageError is a wrong configuration: one line, exit 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func main() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	ctx, stop := context.WithCancelCause(context.Background())
	go func() {
		if <-signals == syscall.SIGINT {
			stop(errInterrupted)
		}
		stop(nil)
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// errInterrupted is Ctrl-C: a person at a terminal, not an orchestrator.
var errInterrupted = errors.New("interrupted")

// run is main without the process: it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	err := execute(ctx, args, stdout, stderr)
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "scanlogin: %s\n", oneLine(usage.Error()))
		return 2
	}
	fmt.Fprintf(stderr, "scanlogin: %s\n", oneLine(err.Error()))
	return 1
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

func execute(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var c cli
	exited := -1
	file, err := openFile(args)
	if err != nil {
		return usageError{err}
	}
	parser, err := kong.New(&c,
		kong.Name("scanlogin"),
		kong.Description("Sign desktop browsers in by QR code: RFC 8628 with push.\nEvery flag below is also SCANLOGIN_<NAME> in the environment and <name> in the YAML file; clients, callers and providers are in the file only."),
		kong.DefaultEnvars("SCANLOGIN"), kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { exited = code }), kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Resolvers(file),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(&c.Config), kong.BindTo(stdout, (*io.Writer)(nil)), kong.Bind(notes{stderr}),
	)
	if err != nil {
		return err
	}
	if err := checkEnvironment(parser.Model, os.Environ()); err != nil {
		return usageError{err}
	}
	k, err := parser.Parse(args)
	if exited >= 0 { // --help was printed
		return nil
	}
	if err != nil {
		return usageError{err}
	}
	if c.Clients, err = file.clients(); err != nil {
		return usageError{err}
	}
	if err := file.limits(&c.Limits); err != nil {
		return usageError{err}
	}
	if c.Callers, err = file.callers(); err != nil {
		return usageError{err}
	}
	if c.Providers, err = file.providers(); err != nil {
		return usageError{err}
	}
	return k.Run()
}

type printVerb struct{}

func (printVerb) Run(c *Config, out io.Writer) error {
	if err := c.load(); err != nil {
		return usageError{err}
	}
	return c.print(out)
}

type checkVerb struct{}

func (checkVerb) Run(c *Config, out io.Writer) error {
	if err := c.prepare(); err != nil {
		return usageError{err}
	}
	fmt.Fprintln(out, "scanlogin: the configuration is good")
	return nil
}

type versionVerb struct{}

func (versionVerb) Run(out io.Writer) error {
	fmt.Fprintf(out, "scanlogin %s (%s, %s/%s)\n", buildVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return nil
}

// buildVersion is the version set by the build, else the module's.
func buildVersion() string {
	if info, ok := debug.ReadBuildInfo(); version == "dev" && ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return version
}

type healthVerb struct{}

// Run asks the public port, as a container's health check does.
func (healthVerb) Run(ctx context.Context, c *Config) error {
	address, err := local("listen", c.Listen)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/readyz", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("not ready: %w", err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: status %d", response.StatusCode)
	}
	return nil
}

// local is where a listener of this machine is reached: one that listens on
// every address is on localhost too.
func local(name, listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", usageError{fmt.Errorf("%s: %w", name, err)}
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port), nil
}
