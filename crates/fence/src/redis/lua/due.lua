-- Which keys of a bucket have to be looked at. KEYS: 3 and 4 only. ARGV: 5 how many at most.
local moment = string.format('%.0f', now)
local due = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', moment, 'LIMIT', 0, ARGV[5])
if ARGV[3] ~= '1' then
  local over = redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', moment, 'LIMIT', 0, ARGV[5])
  for _, key in ipairs(over) do due[#due + 1] = key end
end
return {'DUE', due}
