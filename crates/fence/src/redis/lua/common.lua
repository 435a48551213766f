-- What every script begins with: is this the store that is meant, and what time is it there?
-- KEYS: 1 the record, 2 the marker of its bucket, 3 those in flight by the end of their lease,
-- 4 those in doubt by the end of their record; each script says what else it has.
-- ARGV: 1 the generation, 2 the sequence that the marker has reached at least, 3 "1" while a
-- failover window is open, 4 for how many ms a record outlives its end, 5 the key.
local NEVER = 9007199254740991
local mark = redis.call('HMGET', KEYS[2], 'g', 's')
if not mark[1] or not mark[2] then return {'COLD'} end
if mark[1] ~= ARGV[1] then return {'OTHER'} end
if tonumber(mark[2]) < tonumber(ARGV[2]) then return {'BACK'} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function after(moment, span) return math.min(moment + tonumber(span), NEVER) end

local function count() return redis.call('HINCRBY', KEYS[2], 's', 1) end
