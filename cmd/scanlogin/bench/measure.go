package bench

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Reading is what servers have used since they started: sums over all of them.
type Reading struct {
	CPU     time.Duration // user and system
	RSS     float64       // bytes, now
	Version string        // of one of them
	Go      string
}

// measured has admin listeners; without one of each server there is no sum.
func measured(servers []Server) bool {
	for _, s := range servers {
		if s.Admin == "" {
			return false
		}
	}
	return len(servers) > 0
}

// Read asks the admin listeners for their metrics.
func Read(ctx context.Context, servers []Server) (sum Reading, err error) {
	for _, s := range servers {
		if err := sum.add(ctx, s.Admin); err != nil {
			return sum, fmt.Errorf("bench: metrics of %s: %w", s.Admin, err)
		}
	}
	return sum, nil
}

func (r *Reading) add(ctx context.Context, admin string) error {
	body, err := get(ctx, admin+"/metrics")
	if err != nil {
		return err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if err != nil {
		return err
	}
	seconds := families["process_cpu_seconds_total"].GetMetric()
	bytes := families["process_resident_memory_bytes"].GetMetric()
	if len(seconds) != 1 || len(bytes) != 1 {
		return fmt.Errorf("no CPU time and memory of the process")
	}
	r.CPU += time.Duration(seconds[0].GetCounter().GetValue() * float64(time.Second))
	r.RSS += bytes[0].GetGauge().GetValue()
	for _, m := range families["scanlogin_build_info"].GetMetric() {
		for _, label := range m.GetLabel() {
			switch label.GetName() {
			case "version":
				r.Version = label.GetValue()
			case "go":
				r.Go = label.GetValue()
			}
		}
	}
	return nil
}

// Settle has the servers collect garbage, twice: what the first one finds is given
// back by the second.
func Settle(ctx context.Context, servers []Server) error {
	for range 2 {
		for _, s := range servers {
			if _, err := get(ctx, s.Admin+"/debug/pprof/heap?gc=1"); err != nil {
				return fmt.Errorf("bench: garbage collection at %s: %w", s.Admin, err)
			}
		}
	}
	return nil
}

// get is for the admin listeners, one connection each time: none stays open.
func get(ctx context.Context, url string) (body string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 6*patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(io.LimitReader(response.Body, 64<<20))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d", response.StatusCode)
	}
	return string(content), err
}
