-- Which keys of a bucket are in flight, or in doubt. KEYS: 3 and 4 only. ARGV: 5 how many at most,
-- 6 "1" for those in doubt.
local moment = string.format('%.0f', now)
if ARGV[6] ~= '1' then
  return {'OPEN', redis.call('ZRANGEBYSCORE', KEYS[3], '(' .. moment, '+inf', 'LIMIT', 0, ARGV[5])}
end
local open = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', moment, 'LIMIT', 0, ARGV[5])
local doubted = redis.call('ZRANGE', KEYS[4], 0, tonumber(ARGV[5]) - 1)
for _, key in ipairs(doubted) do open[#open + 1] = key end
return {'OPEN', open}
