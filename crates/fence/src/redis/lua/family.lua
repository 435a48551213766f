-- core::fence::family::meet. KEYS: 1 the family. ARGV: 5 the key of the event, 6 how long it is kept.
local known = redis.call('GET', KEYS[1])
local first, ends = ARGV[5], after(now, ARGV[6])
local told = {'FIRST'}
if known and #known == 40 then
  local until_then = struct.unpack('>I8', known, 33)
  if now < until_then or ARGV[3] == '1' then
    first = string.sub(known, 1, 32)
    told = {'KIN', first}
    if ends <= until_then then return told end
  end
end
local gone = ends + tonumber(ARGV[4])
local value = first .. struct.pack('>I8', ends)
if gone < NEVER then
  redis.call('SET', KEYS[1], value, 'PXAT', string.format('%.0f', gone))
else
  redis.call('SET', KEYS[1], value)
end
return told
