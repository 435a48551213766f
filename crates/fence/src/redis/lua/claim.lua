-- core::fence::rules::claim. ARGV: 6 the first 44 bytes of the record, 7 lease, 8 how long a doubt
-- is kept, 9 "1" if it is repeatable, 10 "1" if there is no room for new keys.
local owner, print = string.sub(ARGV[6], 5, 20), string.sub(ARGV[6], 21, 36)
local attempt = 1
if held then
  if held.owner == owner and held.state == FLYING then
    -- Counting writes, so that copies are waited for on this connection too.
    return {'WON', count(), now, held.attempt}
  end
  -- What may still change is told with a write, so that copies are waited for: a master that was
  -- replaced may go on for a while, and know claims that nobody else does.
  if held.state ~= DONE then count() end
  local is_known = is_marked(held.flags) and is_marked(string.byte(ARGV[6], 3))
  if is_known and held.print ~= print then return {'CLASH', held.state} end
  if held.state == DONE then return {'HELD', stored} end
  if held.state == FLYING and now < held.lease then return {'BUSY', held.lease - now} end
  if ARGV[9] ~= '1' or held.owner == NOBODY then return {'HELD', stored} end
  attempt = math.min(held.attempt + 1, 255)
elseif ARGV[10] == '1' then
  return {'FULL'}
end
local lease = after(now, ARGV[7])
local head = string.sub(ARGV[6], 1, 3) .. string.char(attempt) .. string.sub(ARGV[6], 5)
put(FLYING, head .. struct.pack('>I8', now), lease, after(lease, ARGV[8]), '')
return {'WON', count(), now, attempt}
