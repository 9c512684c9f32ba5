package main

// Kinds of servers that the same browsers watch.
const (
	memory = "ours, memory"
	redis  = "ours, Redis"
	chat   = "gorilla chat shape"
	sse    = "net/http SSE"
	gwsLib = "gws"
	bare   = "bare epoll floor"
)

// Names of rows, and of families of rows by kind.
const (
	rssToChat     = "RSS per idle browser / chat shape's"
	sizeToFloor   = "(RSS + kernel) per idle browser / floor's"
	pushToMemory  = "p50 of a push: Redis / memory"
	cpuToFive     = "Redis CPU of a login, saturated / five EVALSHA through a pool"
	cpuToFiveRate = "the same, the five at the rate of the logins"
	cpuToFiveOn   = "the same, limits on, the five as fast as they go"
	commands16    = "Redis commands per login: 16 instances / 1"
	deliveries16  = "Redis deliveries per login: 16 instances / 1"
	redisCPU16    = "Redis CPU per login at an equal rate: 16 instances / 1"
	cpuToParts    = "server CPU of a login, 8 at once / QR + signature + 2 verifications"
	qrToBitmap    = "qr_image / go-qrcode Bitmap()"
	hubAllocs     = "allocations to deliver, constant encoder"
	pushAllocs    = "allocations from Redis message to written frame"
	dropped       = "50,000 idle browsers, 3 instances, 3 minutes: dropped"
	told50k       = "a login among them, p50 from confirm to its frame"

	rssOf       = "RSS per idle browser: "
	kernelOf    = "kernel memory per socket"
	p50Of       = "push p50: "
	p90Of       = "push p90: "
	polling     = "RFC 8628 by polling: confirm to tokens, mean"
	cpuLogin    = "Redis CPU of a login, saturated"
	rateLogin   = "logins in a second, saturated, Redis"
	cpuLimits   = "Redis CPU of a login, saturated, limits on"
	cpuFive     = "Redis CPU of five EVALSHA, as fast as 64 callers can"
	cpuFiveRate = "Redis CPU of five EVALSHA, at the rate of the logins"
	rate16      = "logins in a second, 16 instances and 1"
	commands1   = "Redis commands per login, those inside of scripts too"
	deliveries1 = "Redis deliveries per login"
	cpu16       = "Redis CPU per login, 16 instances"
	cpu1        = "Redis CPU per login, 1 instance"
	serverCPU   = "server CPU of a login, memory"
	partQR      = "one QR"
	partSign    = "one signature"
	partCheck   = "one verification"
)

// rows are the table, goals first.
var rows = []row{
	{rssToChat, 0.30, ""},
	{sizeToFloor, 2.6, ""},
	{pushToMemory, 2.0, ""},
	{cpuToFive, 0.9, ""},
	{cpuToFiveRate, 0.9, ""},
	{cpuToFiveOn, 1.3, ""},
	{commands16, 1.05, ""}, // 1.0, give or take what instances say to Redis with no login
	{deliveries16, 1.05, ""},
	{redisCPU16, 1.5, ""},
	{cpuToParts, 4.5, ""},
	{qrToBitmap, 1.1, ""},
	{hubAllocs, 6, ""},
	{pushAllocs, 45, ""},
	{dropped, 0, ""},
	{told50k, 3, "ms"},

	{rssOf + memory, 0, "bytes"},
	{rssOf + redis, 0, "bytes"},
	{rssOf + chat, 0, "bytes"},
	{rssOf + gwsLib, 0, "bytes"},
	{rssOf + sse, 0, "bytes"},
	{rssOf + bare, 0, "bytes"},
	{kernelOf, 0, "bytes"},
	{p50Of + memory, 0, "ms"},
	{p90Of + memory, 0, "ms"},
	{p50Of + redis, 0, "ms"},
	{p90Of + redis, 0, "ms"},
	{p50Of + chat, 0, "ms"},
	{p90Of + chat, 0, "ms"},
	{p50Of + gwsLib, 0, "ms"},
	{p90Of + gwsLib, 0, "ms"},
	{p50Of + sse, 0, "ms"},
	{p90Of + sse, 0, "ms"},
	{p50Of + bare, 0, "ms"},
	{p90Of + bare, 0, "ms"},
	{polling, 0, "ms"},
	{cpuFive, 0, "µs"},
	{cpuFiveRate, 0, "µs"},
	{cpuLogin, 0, "µs"},
	{cpuLimits, 0, "µs"},
	{rateLogin, 0, ""},
	{rate16, 0, ""},
	{commands1, 0, ""},
	{deliveries1, 0, ""},
	{cpu1, 0, "µs"},
	{cpu16, 0, "µs"},
	{serverCPU, 0, "µs"},
	{partQR, 0, "µs"},
	{partSign, 0, "µs"},
	{partCheck, 0, "µs"},
}
