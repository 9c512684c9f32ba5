package backend

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// startNode starts a server, or a Sentinel if its first line is about that, on a port of the
// loopback interface; it ends with the test.
func startNode(t *testing.T, port int, lines ...string) (*exec.Cmd, *redis.Client) {
	t.Helper()
	dir := t.TempDir()
	conf := filepath.Join(dir, "redis.conf")
	must(t, os.WriteFile(conf, fmt.Appendf(nil, "port %d\nbind 127.0.0.1\n%s\n", port, strings.Join(lines, "\n")), 0o600))
	args := []string{conf}
	if strings.HasPrefix(lines[0], "sentinel") {
		args = append(args, "--sentinel")
	}
	cmd := run(t, dir, args...)
	client := redis.NewClient(&redis.Options{Addr: local(port)})
	t.Cleanup(func() {
		client.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	waitFor(t, 10*time.Second, "a node to answer", func() bool {
		return client.Ping(context.Background()).Err() == nil
	})
	return cmd, client
}

func local(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// freePorts gives n ports that were free a moment ago.
func freePorts(t *testing.T, n int) (ports []int) {
	t.Helper()
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		defer ln.Close()
		ports = append(ports, ln.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

func openURL(t *testing.T, url string) *Redis {
	t.Helper()
	r, err := OpenRedis(RedisConfig{URL: url, Secret: secret(1)})
	must(t, err)
	t.Cleanup(func() { r.Close() })
	waitFor(t, 10*time.Second, "ping of "+url, func() bool { return r.Ping(patient(t)) == nil })
	return r
}

// TestCluster spreads records over three nodes.
func TestCluster(t *testing.T) {
	ctx, ports := t.Context(), freePorts(t, 6)
	var nodes [3]*redis.Client
	for i := range nodes {
		_, nodes[i] = startNode(t, ports[i], "cluster-enabled yes", "cluster-node-timeout 1000", fmt.Sprint("cluster-port ", ports[3+i]))
		const third = 16384/3 + 1
		must(t, nodes[i].ClusterAddSlotsRange(ctx, i*third, min((i+1)*third, 16384)-1).Err())
		must(t, nodes[0].Do(ctx, "cluster", "meet", "127.0.0.1", ports[i], ports[3+i]).Err())
	}
	for _, n := range nodes {
		waitFor(t, 20*time.Second, "the cluster to form", func() bool {
			info := n.ClusterInfo(ctx).Val()
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:3")
		})
	}
	url := "redis+cluster://" + local(ports[0]) + "," + local(ports[1])
	a, b := openURL(t, url), openURL(t, url)
	for _, w := range watchers(t, a, 50) {
		w.wants(recovery, "before")
	}
	for _, n := range nodes {
		if size := n.DBSize(ctx).Val(); size < 5 {
			t.Errorf("a node has %d records", size)
		}
	}
	testOneWinner(t, a, b)
	testEveryChange(t, a, b)
}

// TestSentinelFailover loses the master while watches stand.
func TestSentinelFailover(t *testing.T) {
	ctx, ports := t.Context(), freePorts(t, 3)
	master, _ := startNode(t, ports[0], "repl-diskless-sync-delay 0")
	_, replica := startNode(t, ports[1], fmt.Sprint("replicaof 127.0.0.1 ", ports[0]))
	_, sentinel := startNode(t, ports[2], fmt.Sprintf("sentinel monitor m 127.0.0.1 %d 1", ports[0]),
		"sentinel down-after-milliseconds m 500")

	url := "redis+sentinel://m@" + local(ports[2])
	a, b := openURL(t, url), openURL(t, url)
	all := watchers(t, a, 20)
	waitFor(t, 20*time.Second, "the replica to be known and to have everything", func() bool {
		known := fmt.Sprint(sentinel.Do(ctx, "sentinel", "replicas", "m").Val())
		return strings.Contains(known, local(ports[1])) && strings.Contains(known, "master-link-status:ok") &&
			replica.DBSize(ctx).Val() == int64(len(all)+1)
	})
	must(t, master.Process.Kill())
	waitFor(t, 20*time.Second, "the failover", func() bool { return b.Ping(patient(t)) == nil })
	for i, w := range all {
		put(t, b, fmt.Sprint("k", i), "after")
		w.wants(recovery, "after")
	}
}
