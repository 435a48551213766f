-- Says on which change of ownership a balancer acts, and for how long. KEYS: 1 ownership. ARGV: 5 who,
-- 6 the change, 7 for how many ms. Only the last change is begun anew: of an older one the balancer
-- is told, and what was known of it stays as it is.
local last = redis.call('HGET', KEYS[1], 'e') or '0'
if ARGV[6] == last and last ~= '0' then
  local over = string.format('%.0f', after(now, ARGV[7]))
  redis.call('HSET', KEYS[1], 'h' .. ARGV[5], last .. ' ' .. over)
end
local oldest, balancers = last, 0
local all = redis.call('HGETALL', KEYS[1])
for place = 1, #all, 2 do
  if string.sub(all[place], 1, 1) == 'h' then
    local acts_on, over = string.match(all[place + 1], '^(%d+) (%d+)$')
    if not over or tonumber(over) <= now then
      redis.call('HDEL', KEYS[1], all[place])
    else
      balancers = balancers + 1
      if tonumber(acts_on) < tonumber(oldest) then oldest = acts_on end
    end
  end
end
local content = ''
if ARGV[6] ~= last then content = redis.call('HGET', KEYS[1], 't') or '' end
-- Counting writes, so that copies are waited for on this connection too.
return {'HELD', count(), last, oldest, balancers, content}
