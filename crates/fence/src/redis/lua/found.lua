-- Makes the marker of a bucket, unless there is one. KEYS: 1 the marker. ARGV: 1 the generation,
-- 2 "1" if one that is there is replaced.
if ARGV[2] == '1' then redis.call('DEL', KEYS[1]) end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if redis.call('HSETNX', KEYS[1], 'g', ARGV[1]) == 1 then
  redis.call('HSET', KEYS[1], 'b', string.format('%.0f', now), 's', '0')
end
return redis.call('HGET', KEYS[1], 'g')
