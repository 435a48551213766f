-- Changes ownership, if the last change is still the one that is expected. KEYS: 1 ownership. ARGV: 5
-- the change that is expected, 6 the next one, 7 the table.
local last = redis.call('HGET', KEYS[1], 'e') or '0'
if last == ARGV[6] and redis.call('HGET', KEYS[1], 't') == ARGV[7] then
  return {'YES', count(), last}
end
if last ~= ARGV[5] or tonumber(ARGV[6]) <= tonumber(last) then return {'NO', count(), last} end
redis.call('HSET', KEYS[1], 'e', ARGV[6], 't', ARGV[7])
return {'YES', count(), ARGV[6]}
