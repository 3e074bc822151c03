-- Documents of a kind by order. KEYS[1] root; ARGV: 3 kind, 4 the lowest order, 5 the highest, 6 "oldest" or "newest",
-- 7 limit, 8 the count of readers and the readers, then the count of labels and the labels. Answers epoch, head, more,
-- and the documents.
local at = tenant(KEYS[1])
local root, low, high, oldest, limit = KEYS[1], ARGV[4], ARGV[5], ARGV[6] == 'oldest', tonumber(ARGV[7])
local readers, next = words_at(8)
local terms = { 'kind:' .. ARGV[3] }
for _, label in ipairs((words_at(next))) do
  terms[#terms + 1] = 'label:' .. label
end

-- Walk where there are fewest: what is walked in vain holds up everybody.
local fewest, best
for i, term in ipairs(terms) do
  local size = 0
  for _, reader in ipairs(readers) do
    size = size + redis.call('ZCARD', term_key(root, reader, term))
  end
  if not fewest or size < fewest then
    fewest, best = size, i
  end
end

local covered, keys, more = covering(root, readers), {}, 0
local function fits(key)
  for i, term in ipairs(terms) do
    if i ~= best and not redis.call('ZSCORE', term_key(root, '', term), key) then
      return false
    end
  end
  return not covered(key)
end

for key in walk(root, readers, terms[best], low, high, oldest) do
  if fits(key) then
    if #keys == limit then
      more = 1
      break
    end
    keys[#keys + 1] = key
  end
end
return { at.epoch, int(at.head), more, documents(root, keys) }
