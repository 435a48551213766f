-- Reads the record, and knows how one is written. Only its head is looked at:
-- 1 version, 2 state, 3 flags, 4 attempt, 5-20 owner, 21-36 fingerprint, 37-44 epoch,
-- 45-52 created, 53-60 lease, 61-68 end; then whatever belongs to the state.
local FLYING, DONE, DOUBT = 1, 2, 3
local NOBODY = string.rep('\0', 16)
local FINGERPRINTED = 4

local function number(bytes, from)
  local read = struct.unpack('>I8', bytes, from)
  return read
end

local stored = redis.call('GET', KEYS[1])
local held = nil
if stored then
  local version, state, flags, attempt = string.byte(stored, 1, 4)
  if #stored >= 68 and version == 1 and state >= FLYING and state <= DOUBT and flags < 8 then
    held = {
      state = state, flags = flags, attempt = attempt,
      owner = string.sub(stored, 5, 20), print = string.sub(stored, 21, 36),
      head = string.sub(stored, 1, 52), tail = string.sub(stored, 69),
      lease = number(stored, 53), ends = number(stored, 61),
    }
    if held.ends <= now and ARGV[3] ~= '1' then held = nil end
  else
    -- What cannot be read is in doubt, and nobody's; it is never absent.
    held = {
      state = DOUBT, flags = 0, attempt = 0, owner = NOBODY, print = NOBODY,
      head = string.char(1, DOUBT, 0, 0) .. string.rep('\0', 48), tail = '\6\0\0',
      lease = 0, ends = 0,
    }
  end
end

local function is_marked(flags) return flags >= FINGERPRINTED end

local function put(state, head, lease, ends, tail)
  local value = string.sub(head, 1, 1) .. string.char(state) .. string.sub(head, 3, 52)
    .. struct.pack('>I8I8', lease, ends) .. tail
  local gone = ends + tonumber(ARGV[4])
  if gone < NEVER then
    redis.call('SET', KEYS[1], value, 'PXAT', string.format('%.0f', gone))
  else
    redis.call('SET', KEYS[1], value)
  end
  if state == FLYING then
    redis.call('ZADD', KEYS[3], string.format('%.0f', lease), ARGV[5])
  elseif stored then
    redis.call('ZREM', KEYS[3], ARGV[5])
  end
  if state == DOUBT then
    redis.call('ZADD', KEYS[4], string.format('%.0f', ends), ARGV[5])
  elseif stored then
    redis.call('ZREM', KEYS[4], ARGV[5])
  end
end

local function remove()
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[3], ARGV[5])
  redis.call('ZREM', KEYS[4], ARGV[5])
end
