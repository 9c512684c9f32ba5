package web

import (
	"context"
	"errors"
	"net/http/pprof"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"scanlogin/hub"
	"scanlogin/qrlogin"
)

// Metrics is everything that is counted; no label is one that a stranger can
// choose. Each instance of the program has one.
type Metrics struct {
	registry *prometheus.Registry
	requests *prometheus.HistogramVec
	moves    *prometheus.CounterVec
	denied   *prometheus.CounterVec
	store    *prometheus.HistogramVec
	hub      *prometheus.HistogramVec
	outbound *prometheus.HistogramVec
	refused  *prometheus.CounterVec
}

// NewMetrics makes the counters of one instance.
func NewMetrics(version string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "scanlogin_http_request_duration_seconds", Help: "Time to answer a request, by route pattern.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
		}, []string{"route", "method", "status"}),
		moves: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "scanlogin_ticket_moves_total", Help: "Answers that a ticket made a move, repeats included.",
		}, []string{"to"}),
		denied: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "scanlogin_tickets_denied_total", Help: "Answers that denied a ticket, by reason, repeats by its scanner included.",
		}, []string{"reason"}),
		store:    operations("scanlogin_store_operation_duration_seconds", "Time of a store operation."),
		hub:      operations("scanlogin_hub_event_duration_seconds", "Time of a hub event."),
		outbound: operations("scanlogin_outbound_call_duration_seconds", "Time of a call to a provider; refused: no useful answer."),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "scanlogin_limits_refused_total", Help: "Requests and connections refused by a limit.",
		}, []string{"limit"}),
	}
	for _, limit := range limitNames {
		m.refused.WithLabelValues(limit) // 0 is worth knowing too
	}
	for _, reason := range []string{qrlogin.ByUser, qrlogin.CheckFailed, qrlogin.Blocked, reported} {
		m.denied.WithLabelValues(reason)
	}
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "scanlogin_build_info", Help: "1, labelled with this build."}, []string{"version", "go"})
	build.WithLabelValues(version, runtime.Version()).Set(1)
	m.registry.MustRegister(m.requests, m.moves, m.denied, m.store, m.hub, m.outbound, m.refused, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func operations(name, help string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(0.00005, 2.5, 12),
	}, []string{"name", "result"})
}

// Store observes a store operation.
func (m *Metrics) Store(name string, took time.Duration, err error) {
	m.store.WithLabelValues(name, result(err)).Observe(took.Seconds())
}

// Hub observes an event of the hub.
func (m *Metrics) Hub(name string, took time.Duration, err error) {
	if limit, ok := strings.CutPrefix(name, "hub.refused."); ok {
		m.refuse(limit)
		return
	}
	m.hub.WithLabelValues(name, result(err)).Observe(took.Seconds())
}

// Outbound observes a call to a provider.
func (m *Metrics) Outbound(name string, took time.Duration, err error) {
	m.outbound.WithLabelValues(name, result(err)).Observe(took.Seconds())
}

func result(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, context.Canceled):
		return "left"
	case unavailable(err):
		return "unavailable"
	}
	return "refused"
}

// Watch shows the hub's open connections.
func (m *Metrics) Watch(stats func() hub.Stats) {
	gauge := func(transport string, value func(hub.Stats) int) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "scanlogin_sockets", Help: "Open connections, by transport.",
			ConstLabels: prometheus.Labels{"transport": transport},
		}, func() float64 { return float64(value(stats())) }))
	}
	gauge("ws", func(s hub.Stats) int { return s.WS })
	gauge("sse", func(s hub.Stats) int { return s.SSE })
	gauge("poll", func(s hub.Stats) int { return s.Poll })
}

func (m *Metrics) request(route, method string, status int, took time.Duration) {
	switch method {
	case "GET", "HEAD", "POST", "DELETE", "OPTIONS":
	default:
		method = "other"
	}
	m.requests.WithLabelValues(route, method, strconv.Itoa(status)).Observe(took.Seconds())
}

func (m *Metrics) move(to string) { m.moves.WithLabelValues(to).Inc() }

// reported is the denial by a scanner who says that somebody else began the login.
const reported = "reported"

func (m *Metrics) deny(reason string) {
	m.move("denied")
	m.denied.WithLabelValues(reason).Inc()
}

func (m *Metrics) refuse(limit string) { m.refused.WithLabelValues(limit).Inc() }

// routes are for whoever can reach the admin listener.
func (m *Metrics) routes(r chi.Router) {
	get(r, "/metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}).ServeHTTP)
	r.HandleFunc("/debug/pprof/*", pprof.Index)
	r.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	r.HandleFunc("/debug/pprof/profile", pprof.Profile)
	r.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	r.HandleFunc("/debug/pprof/trace", pprof.Trace)
}
