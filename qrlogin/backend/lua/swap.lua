-- Writes one record and tells its watchers, if the record is still the one that was read.
--
-- KEYS[1]  name of the record, which is the name of its channel too
-- ARGV[1]  header (24 bytes) of the record that was read; empty: there was none
-- ARGV[2]  the new record
-- ARGV[3]  its lifetime in milliseconds
--
-- Returns 1 when the new record is in place, also when an earlier try of this very
-- write had put it there (its reply was lost), and else the record that is there
-- instead, an empty string for none, so that the caller need not load again.
local found = redis.call('GET', KEYS[1]) or ''
local header = string.sub(found, 1, 24)
if header == string.sub(ARGV[2], 1, 24) then
  return 1
end
if header ~= ARGV[1] then
  return found
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('PUBLISH', KEYS[1], ARGV[2])
return 1
