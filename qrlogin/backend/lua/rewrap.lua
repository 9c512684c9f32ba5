-- Replaces the wrapped root key, if it is still the one that was read.
--
-- KEYS[1]  name of the root key
-- ARGV[1]  the wrappings that were read
-- ARGV[2]  the new ones
--
-- Returns 1 when the new ones are in place, else 0. The one record without a lifetime.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2])
return 1
