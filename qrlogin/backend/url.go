package backend

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// A command that is not answered in linkTimeout is tried again as long as its caller
// waits; callTimeout is how long a caller without a deadline does.
const (
	linkTimeout = 300 * time.Millisecond
	callTimeout = time.Second
)

// CheckURL says what is wrong with a store's URL, without using the network:
//
//	redis[s]://[user:password@]host:port[/db]
//	unix://[user:password@]/path/to/socket[?db=n]
//	redis[s]+sentinel://[user:password:]master@host:port,host:port[/db]
//	redis[s]+cluster://[user:password@]host:port,host:port
//
// In the Sentinel form the last part before the @ names the master; user (may be empty)
// and password are those of the Redis servers, Sentinels are asked without.
// The error names no password.
func CheckURL(url string) error {
	_, err := parseURL(url)
	return err
}

// parseURL gives client options for one of the forms of CheckURL. Hosts are cut out by
// hand: net/url knows no lists of them.
func parseURL(raw string) (*redis.UniversalOptions, error) {
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return nil, errors.New("backend: store URL: no scheme")
	}
	authority, path := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority, path = rest[:i], rest[i:]
	}
	login, hosts := "", authority
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		login, hosts = authority[:i+1], authority[i+1:]
	}
	u, err := url.Parse("x://" + login + "x" + path)
	if err != nil {
		return nil, errors.New("backend: store URL: user, password, path or query is not well-formed (percent-encode special characters)")
	}
	o := &redis.UniversalOptions{}
	o.Username = u.User.Username()
	o.Password, _ = u.User.Password()
	base, kind, _ := strings.Cut(scheme, "+")
	switch {
	case scheme == "unix":
		err = unixOptions(o, u, hosts)
	case base != "redis" && base != "rediss":
		return nil, fmt.Errorf("backend: store URL: unknown scheme %q", scheme)
	case scheme == base:
		err = serverOptions(o, u, hosts, "6379", 1)
	case kind == "sentinel":
		err = sentinelOptions(o, u, hosts)
	case kind == "cluster":
		err = serverOptions(o, u, hosts, "6379", -1)
		o.IsClusterMode = true
		if err == nil && o.DB != 0 {
			err = errors.New("a cluster has only database 0")
		}
	default:
		return nil, fmt.Errorf("backend: store URL: unknown scheme %q", scheme)
	}
	if err != nil {
		return nil, fmt.Errorf("backend: store URL: %w", err)
	}
	if base == "rediss" {
		// Without a name: the client checks each server under the host it dials, also
		// those that Sentinel or the cluster name later.
		o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return settings(o), nil
}

// settings are the parts that are the same for every topology; doc.go has the reasons.
func settings(o *redis.UniversalOptions) *redis.UniversalOptions {
	o.MaxRetries = -1
	o.DialerRetries = 1
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = linkTimeout, linkTimeout, linkTimeout
	o.ContextTimeoutEnabled = true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	o.AutoPipelineOptions = redis.DefaultAutoPipelineOptions()
	o.AutoPipelineOptions.MaxQueuedCommands = maxQueued
	return o
}

// client opens the client for o; no network is used yet.
func client(o *redis.UniversalOptions) redis.UniversalClient {
	if !o.IsClusterMode {
		return redis.NewUniversalClient(o)
	}
	c := o.Cluster()
	c.ClusterStateReloadInterval = time.Second // the default of 60 s is felt after a failover
	return redis.NewClusterClient(c)
}

func unixOptions(o *redis.UniversalOptions, u *url.URL, host string) error {
	if host != "" || !strings.HasPrefix(u.Path, "/") || u.Path == "/" {
		return errors.New("unix:// wants an absolute path and no host")
	}
	q := u.Query()
	db := q.Get("db")
	q.Del("db")
	if len(q) > 0 || u.Fragment != "" {
		return errors.New("the only known parameter is db")
	}
	o.Addrs = []string{u.Path}
	return setDB(o, db)
}

func sentinelOptions(o *redis.UniversalOptions, u *url.URL, hosts string) error {
	o.MasterName = o.Username
	o.Username = ""
	if o.Password != "" {
		i := strings.LastIndexByte(o.Password, ':')
		if i < 0 {
			return errors.New("before the @ stands the master's name, or user:password:master")
		}
		o.Username, o.Password, o.MasterName = o.MasterName, o.Password[:i], o.Password[i+1:]
	}
	if o.MasterName == "" {
		return errors.New("the master's name is missing before the @")
	}
	return serverOptions(o, u, hosts, "26379", -1)
}

// serverOptions fills in at most most hosts (-1: any number) and the database.
func serverOptions(o *redis.UniversalOptions, u *url.URL, hosts, port string, most int) error {
	if u.RawQuery != "" || u.Fragment != "" {
		return errors.New("there are no parameters")
	}
	list := strings.Split(hosts, ",")
	if most > 0 && len(list) > most {
		return errors.New("one host only; lists are for +sentinel and +cluster")
	}
	for _, h := range list {
		host := url.URL{Host: h}
		name, p := host.Hostname(), host.Port()
		if p == "" {
			p = port
		}
		n, err := strconv.Atoi(p)
		bare := name == h || name+":"+p == h
		if name == "" || err != nil || n < 1 || n > 65535 || bare && strings.Contains(name, ":") {
			return errors.New("what stands where host:port is expected is none (percent-encode special characters of a password)")
		}
		o.Addrs = append(o.Addrs, net.JoinHostPort(name, p))
	}
	return setDB(o, strings.Trim(u.Path, "/"))
}

func setDB(o *redis.UniversalOptions, s string) error {
	if s == "" {
		return nil
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return fmt.Errorf("%q is not a database number", s)
	}
	o.DB = int(n)
	return nil
}
