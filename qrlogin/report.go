package qrlogin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

const (
	reporters   = 3         // so many accounts make high usage of a network
	reportsLast = time.Hour // so long a report counts, and high usage lasts
)

func reportsKey(network netip.Prefix) string { return "reports:" + network.String() }

// reports are what people said of logins from one network.
type reports struct {
	By   []reporter `json:"by"`
	High time.Time  `json:"high,omitzero"` // high usage until then
}

type reporter struct {
	Sub string    `json:"sub"`
	At  time.Time `json:"at"`
}

// add counts a report: one for each account, and none twice.
func (r *reports) add(sub string, now time.Time) {
	r.By = slices.DeleteFunc(r.By, func(one reporter) bool { return one.Sub == sub || now.Sub(one.At) >= reportsLast })
	r.By = append(r.By, reporter{Sub: sub, At: now})
	if len(r.By) >= reporters {
		r.By = r.By[len(r.By)-reporters:] // more would change nothing
		r.High = now.Add(reportsLast)
	}
}

func decodeReports(value []byte) (r reports, err error) {
	if value != nil {
		if err = json.Unmarshal(value, &r); err != nil {
			err = fmt.Errorf("qrlogin: stored reports: %w", err)
		}
	}
	return r, err
}

// report counts an account's report against a network.
func (s *Service) report(ctx context.Context, network netip.Prefix, sub string) error {
	_, err := s.store.Update(ctx, reportsKey(network), func(old []byte) ([]byte, time.Duration, error) {
		r, err := decodeReports(old)
		if err != nil {
			return nil, 0, err
		}
		r.add(sub, time.Now().UTC())
		value, err := json.Marshal(r)
		return value, reportsLast, err
	})
	return err
}

// Reported says whether several accounts have reported logins from a network
// within the last hour.
func (s *Service) Reported(ctx context.Context, network netip.Prefix) (bool, error) {
	value, _, err := s.store.Load(ctx, reportsKey(network))
	if err != nil {
		return false, err
	}
	r, err := decodeReports(value)
	return time.Now().Before(r.High), err
}
