-- core::fence::rules::release. ARGV: 6 owner.
if not held or held.owner ~= ARGV[6] or held.state ~= FLYING then return {'NO'} end
remove()
return {'YES', count(), now}
