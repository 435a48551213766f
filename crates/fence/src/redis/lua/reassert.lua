-- core::fence::rules::reassert. ARGV: 6 the whole record, 7 what belongs to a doubt because the
-- store forgot.
local again = {
  state = string.byte(ARGV[6], 2), owner = string.sub(ARGV[6], 5, 20),
  head = string.sub(ARGV[6], 1, 52), tail = string.sub(ARGV[6], 69),
  lease = number(ARGV[6], 53), ends = number(ARGV[6], 61),
}
local rank = {[FLYING] = 0, [DOUBT] = 1, [DONE] = 2}
if again.ends <= now and ARGV[3] ~= '1' then return {'KNOWN'} end
if held then
  local is_ours, theirs, ours = held.owner == again.owner, rank[held.state], rank[again.state]
  if theirs == 2 and ours == 2 and not is_ours then return {'ESCAPED', held.owner} end
  if theirs == 0 and ours == 0 and not is_ours then
    put(DOUBT, again.head, again.lease, math.max(again.ends, held.ends), ARGV[7])
    return {'WRITTEN', count(), now}
  end
  if theirs >= ours then return {'KNOWN'} end
end
put(again.state, again.head, again.lease, again.ends, again.tail)
return {'WRITTEN', count(), now}
