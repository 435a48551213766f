-- How many keys of a bucket are open. KEYS: 3 and 4 only.
local over = redis.call('ZCOUNT', KEYS[3], '-inf', string.format('%.0f', now))
local flying = redis.call('ZCARD', KEYS[3]) - over
local doubted = redis.call('ZCARD', KEYS[4]) + over
local oldest = redis.call('ZRANGE', KEYS[3], 0, 0)[1] or redis.call('ZRANGE', KEYS[4], 0, 0)[1]
return {'STATS', flying, doubted, redis.call('HGET', KEYS[2], 'b'), oldest or ''}
