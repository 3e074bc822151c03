-- Moves the due time of a document that is still at a revision. KEYS[1] root; ARGV: 3 key, 4 revision, 5 due_at.
-- Answers 1 if it was.
local blob = redis.call('HGET', KEYS[1] .. ':doc', ARGV[3])
local it = stored(blob)
if it == nil or it.gone or it.revision ~= ARGV[4] then
  return 0
end
local first, rest = string.match(blob, '^(%S+ %S+ %S+ )%S+()')
redis.call('HSET', KEYS[1] .. ':doc', ARGV[3], first .. ARGV[5] .. string.sub(blob, rest))
redis.call('ZADD', KEYS[1] .. ':due', ARGV[5], ARGV[3])
return 1
