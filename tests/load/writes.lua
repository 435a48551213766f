-- A write with a key of its own, again and again. Prints what the bench needs, in JSON.
local sent = 0
local run = tostring(os.time()) .. tostring({}):match("0x%x+")
request = function()
  sent = sent + 1
  wrk.headers["Idempotency-Key"] = run .. "-" .. sent
  return wrk.format("POST", nil, nil, '{"order":' .. sent .. '}')
end
