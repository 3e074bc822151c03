-- Documents that something must happen to. KEYS: roots; ARGV: 3 now, 4 limit. Answers for each, soonest first, the number
-- of its root, its key and the document.
local limit, found = tonumber(ARGV[4]), {}
for i, root in ipairs(KEYS) do
  local rows = redis.call('ZRANGEBYSCORE', root .. ':due', '-inf', ARGV[3], 'WITHSCORES', 'LIMIT', 0, limit)
  for n = 1, #rows, 2 do
    found[#found + 1] = { root = i, key = rows[n], due = tonumber(rows[n + 1]) }
  end
end
table.sort(found, function(a, b) return a.due < b.due end)
local answer = {}
for n = 1, math.min(limit, #found) do
  local it = found[n]
  answer[#answer + 1] = it.root
  answer[#answer + 1] = it.key
  answer[#answer + 1] = redis.call('HGET', KEYS[it.root] .. ':doc', it.key)
end
return answer
