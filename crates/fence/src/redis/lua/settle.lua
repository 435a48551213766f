-- core::fence::rules::complete and doubt. ARGV: 6 the first 44 bytes of the record if the claim was
-- lost, 7 lease, 8 how long the outcome is kept, 9 what belongs to the state.
local owner, print = string.sub(ARGV[6], 5, 20), string.sub(ARGV[6], 21, 36)
local state, flags = string.byte(ARGV[6], 2, 3)
local function ends(lease)
  if state == DONE then return after(now, ARGV[8]) end
  return after(math.max(now, lease), ARGV[8])
end
if not held then
  local lease = after(now, ARGV[7])
  put(state, ARGV[6] .. struct.pack('>I8', now), lease, ends(lease), ARGV[9])
  return {'RESURRECTED', count(), now}
end
if held.owner ~= owner then return {'ESCAPED', held.owner} end
if held.state == DONE or held.state == state then return {'ALREADY'} end
local head = held.head
if is_marked(flags) and not is_marked(held.flags) then
  -- The body may have been whole only by now.
  head = string.sub(head, 1, 2) .. string.char(held.flags + FINGERPRINTED)
    .. string.sub(head, 4, 20) .. print .. string.sub(head, 37)
end
put(state, head, held.lease, ends(held.lease), ARGV[9])
return {'STORED', count(), now}
