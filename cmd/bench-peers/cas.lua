-- What any store of tickets does at the least: replace a packed record if it
-- is still the one that was read, give it a lifetime, and tell who watches it.
-- KEYS[1]  the record, and the channel of its changes
-- ARGV[1]  the header expected; empty: there must be no record
-- ARGV[2]  the new record
-- ARGV[3]  its lifetime, ms
-- returns  1: replaced, 0: somebody was faster
local old = redis.call('GET', KEYS[1])
if (old and string.sub(old, 1, 24) or '') ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('PUBLISH', KEYS[1], ARGV[2])
return 1
