package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"
)

const envPrefix = "SCANLOGIN_"

// checkEnvironment refuses names that no setting has. Kubernetes sets some by
// itself for a Service called scanlogin.
func checkEnvironment(model *kong.Application, environ []string) error {
	known := map[string]bool{}
	for _, flag := range model.Flags {
		for _, name := range flag.Envs {
			known[name] = true
		}
	}
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, envPrefix) || known[name] {
			continue
		}
		rest := strings.TrimPrefix(name, envPrefix)
		if strings.HasPrefix(rest, "SERVICE_") || rest == "PORT" || strings.HasPrefix(rest, "PORT_") {
			continue
		}
		return fmt.Errorf("%s: no setting has this name", name)
	}
	return nil
}

// openFile reads the YAML file that --config or SCANLOGIN_CONFIG names; flags
// and environment go before it.
func openFile(args []string) (*yamlFile, error) {
	f := &yamlFile{path: configPath(args)}
	if f.path == "" {
		return f, nil
	}
	file, err := os.Open(f.path)
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	defer file.Close()
	decoder := yaml.NewDecoder(file)
	if err := decoder.Decode(&f.values); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("config: %s: %w", f.path, err)
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("config: %s: one YAML document is read, there is more", f.path)
	}
	return f, nil
}

// configPath finds the file before flags are parsed, because the file has to
// be there when they are.
func configPath(args []string) string {
	path := os.Getenv(envPrefix + "CONFIG")
	for i, arg := range args {
		if value, ok := strings.CutPrefix(arg, "--config="); ok {
			path = value
		} else if arg == "--config" && i+1 < len(args) {
			path = args[i+1]
		}
	}
	return path
}

type yamlFile struct {
	path   string
	values map[string]yaml.Node // as written: 010 stays 010
}

// Validate refuses keys that no setting has.
func (f *yamlFile) Validate(app *kong.Application) error {
	known := map[string]bool{"clients": true, "callers": true, "providers": true}
	for _, flag := range app.Flags {
		known[key(flag)] = flag.Name != "config" && flag.Name != "help"
	}
	for name := range f.values {
		if !known[name] {
			return fmt.Errorf("config: %s: %s: no setting has this name", f.path, name)
		}
	}
	return nil
}

// Resolve gives a flag its value from the file, unless the environment has it.
func (f *yamlFile) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	for _, name := range flag.Envs {
		if _, ok := os.LookupEnv(name); ok {
			return nil, nil
		}
	}
	value, ok := f.values[key(flag)]
	if !ok {
		return nil, nil
	}
	if key(flag) == "limits" && meant(&value).Kind == yaml.MappingNode {
		return nil, nil // see limits
	}
	items := []*yaml.Node{&value}
	if list := meant(&value); list.Kind == yaml.SequenceNode {
		items = list.Content
	} else if list.Tag == "!!null" {
		return nil, nil
	}
	words := make([]string, len(items))
	for i, item := range items {
		if item = meant(item); item.Kind != yaml.ScalarNode || item.Tag == "!!null" {
			return nil, fmt.Errorf("%s: one value or a list of values is needed", key(flag))
		}
		words[i] = item.Value
	}
	return strings.Join(words, ","), nil
}

// clients, callers and providers are what of the file is no flag.
func (f *yamlFile) clients() (map[string]client, error) {
	node, ok := f.values["clients"]
	if !ok || meant(&node).ShortTag() == "!!null" { // every one may be commented out
		return nil, nil
	}
	return readClients(&node)
}

func (f *yamlFile) callers() (map[string]backEnd, error) {
	node, ok := f.values["callers"]
	if !ok || meant(&node).ShortTag() == "!!null" {
		return nil, nil
	}
	return readCallers(&node)
}

func (f *yamlFile) providers() (providers, error) {
	node, ok := f.values["providers"]
	if !ok || meant(&node).ShortTag() == "!!null" {
		return providers{}, nil
	}
	return readProviders(&node)
}

// limits adds the single ones, when the file has a map of them.
func (f *yamlFile) limits(to *limits) error {
	node := f.values["limits"]
	if meant(&node).Kind != yaml.MappingNode {
		return nil
	}
	single, err := readLimits(&node)
	single.Off = to.Off
	to.Limits = single
	return err
}

// meant is what an alias stands for.
func meant(node *yaml.Node) *yaml.Node {
	if node.Kind == yaml.AliasNode {
		return node.Alias
	}
	return node
}

// key is a flag's name in the file.
func key(flag *kong.Flag) string { return strings.ReplaceAll(flag.Name, "-", "_") }
