-- Takes one permit: GCRA, the same steps as permit() in gcra.go.
--
-- KEYS[1]  name of the permits
-- ARGV[1]  microseconds in which one permit grows again
-- ARGV[2]  how many may be taken at once
-- ARGV[3]  now in microseconds, given by tests only; without it the server's clock
--
-- Returns 0 for "go ahead", else the microseconds to wait; then nothing was taken.
-- Kept: the time at which all permits will be there again, as long as it is ahead.
local every, burst, now = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3] or '')
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local full = tonumber(redis.call('GET', KEYS[1]) or '') or now
full = math.max(full, now) + every
local wait = full - now - every * burst
if wait > 0 then
  return wait
end
redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000))
return 0
