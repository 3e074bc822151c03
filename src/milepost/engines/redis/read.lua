-- What the scripts that read many documents share. A list of readers holds audiences, or '' alone for all there is.

local CHUNK = 64

local function documents(root, keys)
  local answer = {}
  for first = 1, #keys, 4000 do
    local final = math.min(first + 3999, #keys)
    local blobs = redis.call('HMGET', root .. ':doc', unpack(keys, first, final))
    for i, blob in ipairs(blobs) do
      answer[#answer + 1] = keys[first + i - 1]
      answer[#answer + 1] = blob
    end
  end
  return answer
end

-- Whether a key is covered for one of the readers.
local function covering(root, readers)
  local having = {}
  for _, reader in ipairs(readers) do
    if reader ~= '' and redis.call('EXISTS', root .. ':cover:' .. reader) == 1 then
      having[#having + 1] = root .. ':cover:' .. reader
    end
  end
  return function(key)
    for _, set in ipairs(having) do
      if redis.call('SISMEMBER', set, key) == 1 then
        return true
      end
    end
    return false
  end
end

-- The keys at a term of any of the readers by order, each once, read as they are wanted.
local function walk(root, readers, term, low, high, oldest)
  local streams, given = {}, {}
  for i, reader in ipairs(readers) do
    streams[i] = { zset = term_key(root, reader, term), rows = {}, at = 1, read = 0, done = false }
  end
  local function front(stream)
    if stream.at > #stream.rows and not stream.done then
      local command, from, to = 'ZREVRANGEBYSCORE', high, low
      if oldest then
        command, from, to = 'ZRANGEBYSCORE', low, high
      end
      stream.rows = redis.call(command, stream.zset, from, to, 'WITHSCORES', 'LIMIT', stream.read, CHUNK)
      stream.at, stream.read, stream.done = 1, stream.read + CHUNK, #stream.rows < 2 * CHUNK
    end
    return tonumber(stream.rows[stream.at + 1])
  end
  return function()
    while true do
      local first, order
      for _, stream in ipairs(streams) do
        local mine = front(stream)
        if mine and (not first or (oldest and mine < order) or (not oldest and mine > order)) then
          first, order = stream, mine
        end
      end
      if not first then
        return nil
      end
      local key = first.rows[first.at]
      first.at = first.at + 2
      if not given[key] then
        given[key] = true
        return key
      end
    end
  end
end

-- The words that begin at ARGV[first], with their count before them, and where they end.
local function words_at(first)
  local found, count = {}, tonumber(ARGV[first])
  for i = 1, count do
    found[i] = ARGV[first + i]
  end
  return found, first + count + 1
end
