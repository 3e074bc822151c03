-- What readers have not seen. KEYS[1] root; ARGV: 3 the tenant's name, 4 now, 5 limit, 6 recent, 7 the cursor's epoch
-- (empty: none), 8 its revision, 9 the count of readers and the readers, then the count of keys (-1: all) and the keys.
-- Answers epoch, revision of the cursor, more, reset, and the documents: key, document, key, document …
local at = tenant(KEYS[1])
local root, now, limit, recent = KEYS[1], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local after_epoch, after = ARGV[7], tonumber(ARGV[8])
local readers, next = words_at(9)
local wanted = ARGV[next] ~= '-1' and words_at(next) or nil
local everything = #readers == 1 and readers[1] == ''
local reset = ''

local function visible(it)
  if everything then
    return true
  end
  for _, audience in ipairs(cjson.decode(words_of(it.words).audiences)) do
    for _, reader in ipairs(readers) do
      if audience == reader then
        return true
      end
    end
  end
  return false
end

-- The keys after the cursor: what of the named ones, and of those that they left, these readers may see.
local function named_after()
  local found = {}
  for _, name in ipairs(wanted) do
    local left = redis.call('ZRANGEBYLEX', root .. ':left', '[' .. name .. '!', '(' .. name .. '"')
    for _, key in ipairs({ name, unpack(left) }) do
      local it = stored(redis.call('HGET', root .. ':doc', key))
      if it and tonumber(it.revision) > after and visible(it) then
        found[key] = tonumber(it.revision)
      end
    end
  end
  return found
end

local function seen_after()
  local found = {}
  for _, reader in ipairs(readers) do
    local rows = redis.call('ZRANGEBYSCORE', seen_key(root, reader), '(' .. int(after), '+inf', 'WITHSCORES', 'LIMIT', 0,
      limit + 1)
    for i = 1, #rows, 2 do
      found[rows[i]] = tonumber(rows[i + 1])
    end
  end
  return found
end

local function page()
  local found = wanted and named_after() or seen_after()
  local keys = {}
  for key in pairs(found) do
    keys[#keys + 1] = key
  end
  table.sort(keys, function(a, b) return found[a] < found[b] end)
  if #keys <= limit then
    return { at.epoch, int(at.head), 0, '', documents(root, keys) }
  end
  for i = #keys, limit + 1, -1 do
    keys[i] = nil
  end
  return { at.epoch, int(found[keys[limit]]), 1, '', documents(root, keys) }
end

local function snapshot()
  local covered, keys, taken = covering(root, readers), {}, {}
  local function take(key)
    if not taken[key] and not covered(key) then
      taken[key] = true
      keys[#keys + 1] = key
      return true
    end
    return false
  end
  if wanted then
    for _, key in ipairs(wanted) do
      local it = stored(redis.call('HGET', root .. ':doc', key))
      if it and not it.gone and visible(it) then
        take(key)
      end
    end
  else
    for _, reader in ipairs(readers) do
      for _, key in ipairs(redis.call('ZRANGEBYSCORE', term_key(root, reader, 'open'), '(' .. now, '+inf')) do
        take(key)
      end
    end
    local others = walk(root, readers, 'label:recent', '-inf', '+inf', false)
    local open = term_key(root, '', 'open')
    while recent > 0 do
      local key = others()
      if not key then
        break
      end
      local until_ = redis.call('ZSCORE', open, key)
      if (not until_ or tonumber(until_) <= tonumber(now)) and take(key) then
        recent = recent - 1
      end
    end
  end
  return { at.epoch, int(at.head), 0, reset, documents(root, keys) }
end

if after_epoch ~= '' then
  if after_epoch ~= at.epoch then
    reset = 'epoch'
  elseif after > at.head then
    reset = 'ahead'
    if math.abs(tonumber(now) - at.drawn) >= 60 then
      local own = redis.sha1hex(ARGV[1] .. KEYS[1])
      -- Where it cannot be written the reader gets its snapshot all the same, in the old epoch.
      local done = redis.pcall('HSET', root, 'epoch', own, 'drawn', now)
      if type(done) == 'number' then
        at.epoch = string.sub(redis.sha1hex(replid .. own), 1, 12)
        grew(ARGV[3])
      end
    end
  elseif after < at.floor then
    reset = 'expired'
  elseif after == at.head then
    return { at.epoch, int(after), 0, '', {} }
  else
    return page()
  end
end
return snapshot()
