-- core::fence::rules::renew. ARGV: 6 owner, 7 lease, 8 how long a doubt is kept.
local is_ours = held and held.owner == ARGV[6] and held.state == FLYING and now < held.lease
if not is_ours then return {'NO'} end
local lease = after(now, ARGV[7])
put(FLYING, held.head, lease, after(lease, ARGV[8]), '')
return {'YES', count(), now}
