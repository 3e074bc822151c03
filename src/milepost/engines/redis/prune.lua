-- Turns expired documents into gone ones and drops those that have been gone for long. KEYS[1] root; ARGV: 3 the tenant's
-- name, 4 now, 5 the time before which gone ones are dropped, 6 limit. Answers how many it was.
local at = tenant(KEYS[1])
local root, limit = KEYS[1], tonumber(ARGV[6])
local expired = redis.call('ZRANGEBYSCORE', root .. ':expires', '-inf', ARGV[4], 'LIMIT', 0, limit)
local dropped = redis.call('ZRANGEBYSCORE', root .. ':gone', '-inf', ARGV[5], 'LIMIT', 0, limit - #expired)
for _, key in ipairs(dropped) do
  local it = stored(redis.call('HGET', root .. ':doc', key))
  local floor = tonumber(it.revision)
  if floor > at.floor then
    at.floor = floor
  end
  for _, reader in ipairs(list_of(words_of(it.words).audiences)) do
    later(removing, 'ZREM', seen_key(root, reader), key)
  end
  later(removing, 'ZREM', seen_key(root, ''), key)
  later(removing, 'ZREM', root .. ':gone', key)
  later(removing, 'ZREM', root .. ':left', key)
  later(removing, 'HDEL', root .. ':doc', key)
end
if #dropped > 0 then
  later(adding, 'HSET', root, 'floor', int(at.floor))
end
local slots = {}
for _, key in ipairs(expired) do
  local it = stored(redis.call('HGET', root .. ':doc', key))
  slots[key] = { stored = it, now = it }
  plan(at, slots, { { key = key, order = '-', due = '-', replaces = '-', gone = true, words = it.words } })
end
if #expired + #dropped > 0 then
  flush(at, slots, ARGV[4])
end
if #expired > 0 then
  grew(ARGV[3])
end
return #expired + #dropped
