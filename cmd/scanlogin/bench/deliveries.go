package bench

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// Deliveries is how many pub/sub messages were sent to instances while work ran. INFO
// does not say, and asking who subscribes comes too late when a watch ends with its
// message. MONITOR shows what Redis did in its order, inside of scripts too, so this
// is exact. It costs Redis as much as the work: it is for a few logins only.
func (m *RedisMeter) Deliveries(ctx context.Context, work func()) (int, error) {
	conn, lines, err := m.monitor(ctx)
	if err != nil {
		return 0, fmt.Errorf("bench: redis: monitor: %w", err)
	}
	defer conn.Close()
	subscribers, err := m.subscribers(ctx)
	if err != nil {
		return 0, fmt.Errorf("bench: redis: subscribers: %w", err)
	}
	type count struct {
		n   int
		err error
	}
	end, counted := rand.Text(), make(chan count, 1)
	go func() {
		n, err := deliveries(lines, subscribers, end)
		counted <- count{n, err}
	}()
	work()
	conn.SetReadDeadline(time.Now().Add(patience))
	if err := m.client.Echo(ctx, end).Err(); err != nil {
		conn.Close()
	}
	all := <-counted
	return all.n, all.err
}

// monitor opens a connection on which Redis tells what it does. The library's own
// would give the connection back to its pool while it is still read from.
func (m *RedisMeter) monitor(ctx context.Context) (net.Conn, *bufio.Reader, error) {
	options := m.client.Options()
	conn, err := options.Dialer(ctx, options.Network, options.Addr)
	if err != nil {
		return nil, nil, err
	}
	commands := [][]string{{"MONITOR"}}
	if options.Password != "" {
		login := []string{"AUTH", options.Password}
		if options.Username != "" {
			login = []string{"AUTH", options.Username, options.Password}
		}
		commands = [][]string{login, {"MONITOR"}}
	}
	lines := bufio.NewReader(conn)
	for _, command := range commands {
		if err := ask(conn, lines, command); err != nil {
			conn.Close()
			return nil, nil, err
		}
	}
	return conn, lines, nil
}

// ask sends a command whose answer is OK.
func ask(conn net.Conn, lines *bufio.Reader, command []string) error {
	text := fmt.Sprintf("*%d\r\n", len(command))
	for _, word := range command {
		text += fmt.Sprintf("$%d\r\n%s\r\n", len(word), word)
	}
	conn.SetDeadline(time.Now().Add(patience))
	defer conn.SetDeadline(time.Time{})
	if _, err := conn.Write([]byte(text)); err != nil {
		return err
	}
	answer, err := lines.ReadString('\n')
	if err == nil && answer != "+OK\r\n" {
		err = fmt.Errorf("%s: %s", command[0], strings.TrimSpace(answer))
	}
	return err
}

// subscribers is how many each channel has.
func (m *RedisMeter) subscribers(ctx context.Context) (map[string]int, error) {
	channels, err := m.client.PubSubChannels(ctx, "*").Result()
	if err != nil {
		return nil, err
	}
	counts := map[string]int{}
	numbers, err := m.client.PubSubNumSub(ctx, channels...).Result()
	for channel, n := range numbers {
		counts[channel] = int(n)
	}
	return counts, err
}

// deliveries follows what Redis does until it says end.
func deliveries(lines *bufio.Reader, subscribers map[string]int, end string) (n int, err error) {
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return n, err
		}
		words := monitored(line)
		if len(words) < 2 {
			continue
		}
		switch strings.ToLower(words[0]) {
		case "subscribe":
			for _, channel := range words[1:] {
				subscribers[channel]++
			}
		case "unsubscribe":
			for _, channel := range words[1:] {
				subscribers[channel]--
			}
		case "publish":
			n += subscribers[words[1]]
		case "echo":
			if words[1] == end {
				return n, nil
			}
		}
	}
}

// monitored takes a line of MONITOR apart: +1339518083.107412 [0 lua] "PUBLISH" "a" "b".
func monitored(line string) (words []string) {
	_, rest, _ := strings.Cut(line, "] ")
	for {
		rest = strings.TrimLeft(rest, " ")
		quoted, err := strconv.QuotedPrefix(rest)
		if err != nil {
			return words
		}
		word, err := strconv.Unquote(quoted)
		if err != nil {
			return words
		}
		words, rest = append(words, word), rest[len(quoted):]
	}
}
