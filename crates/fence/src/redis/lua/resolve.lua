-- core::fence::rules::resolve. KEYS: 5 what was resolved in this bucket. ARGV: 6 owner, 7 "1" if it
-- was executed, 8 quarantine, 9 how long an answer is kept, 10 what belongs to an answer of which
-- nothing is known, 11 who and why, 12 how much of that is kept.
if not held or held.owner ~= ARGV[6] then return {'NO'} end
local is_doubt = held.state == DOUBT or (held.state == FLYING and held.lease <= now)
if not is_doubt then return {'NO'} end
if ARGV[7] == '1' then
  put(DONE, held.head, held.lease, after(now, ARGV[9]), ARGV[10])
else
  local safe = after(held.lease, ARGV[8])
  if now < safe then return {'EARLY', safe} end
  remove()
end
redis.call('LPUSH', KEYS[5], struct.pack('>I8', now) .. ARGV[11])
redis.call('LTRIM', KEYS[5], 0, tonumber(ARGV[12]) - 1)
return {'YES', count(), now}
