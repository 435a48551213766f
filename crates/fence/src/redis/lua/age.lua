-- Looks whether a key still belongs to those that are open, and whether its time is over.
local is_open = stored and (not held or held.state ~= DONE)
if stored and not is_open then
  redis.call('ZREM', KEYS[3], ARGV[5])
  redis.call('ZREM', KEYS[4], ARGV[5])
  return {'KEPT'}
end
if not held then
  -- Its time is over, or it went by itself because nobody was there to see its end.
  remove()
  return {'FORGOTTEN', count(), now}
end
if held.state == FLYING and held.lease <= now then
  -- From here on only the end of the record matters. The record itself stays as it is: what it is
  -- follows from the time, and its owner may still say more.
  redis.call('ZREM', KEYS[3], ARGV[5])
  redis.call('ZADD', KEYS[4], string.format('%.0f', held.ends), ARGV[5])
end
return {'KEPT'}
