-- What every script begins with. Each one gets: KEYS, the roots of the tenants that it is about; ARGV[1], a random text
-- to draw new epochs from; ARGV[2], the channel for hints, empty where the client publishes them.
--
-- The keys of a tenant, all in one slot of a cluster (`mp:{tenant}` is the root; the audience '' stands for the whole
-- tenant, so that nothing has a second way for readers of everything):
--   root                    hash: head, floor, epoch (drawn when the tenant is first met), drawn (when, in seconds)
--   root:doc                hash: key -> document, as `stored` reads it
--   root:seen:<audience>    sorted set of keys by revision: what `changes` walks
--   root:at:<n>:<audience>:<term>   sorted set of keys by order (by open_until for "open"): what `find`, `count` and
--                           snapshots walk; n is the audience's length, so that no two names can meet
--   root:cover:<audience>   set of the keys that are covered for an audience
--   root:due, root:expires, root:gone    sorted sets of keys by time
--   root:left               sorted set of the keys with a "!" in them, by name
--   root:by:<writer>        the last group of commits of a writer, and what was answered
--
-- The epoch is a hash of the tenant's own and of the replication id: that one changes with every promotion of a replica
-- and with every restart, the only moments at which Redis itself forgets what it has acknowledged.

local replication = redis.call('INFO', 'replication')
local replid = string.match(replication, 'master_replid:(%x+)')
if not replid or not string.find(replication, 'role:master', 1, true) then
  return redis.error_reply('READONLY this is a replica')
end

local function tenant(root)
  local state = redis.call('HMGET', root, 'head', 'floor', 'epoch', 'drawn')
  local own = state[3]
  if not own then
    own = redis.sha1hex(ARGV[1] .. root)
    local done = redis.pcall('HSET', root, 'epoch', own)
    if type(done) == 'table' and done.err then
      own = ''  -- it cannot be written now; readers get the same answer until it can
    end
  end
  return {
    root = root,
    head = tonumber(state[1] or 0),
    floor = tonumber(state[2] or 0),
    epoch = string.sub(redis.sha1hex(replid .. own), 1, 12),
    drawn = tonumber(state[4] or -1e9),
  }
end

local function grew(name)
  if ARGV[2] ~= '' then
    redis.call('PUBLISH', ARGV[2], name)
  end
end

local function int(number)
  return string.format('%.0f', number)
end

local function seen_key(root, reader)
  return root .. ':seen:' .. reader
end

local function term_key(root, reader, term)
  return root .. ':at:' .. #reader .. ':' .. reader .. ':' .. term
end

-- A document is stored as `revision order gone due #words #body LF words body private`. Its words are five lines: kind,
-- audiences and labels as JSON, open_until, expires_at. Numbers stay text: Lua would round them.
local function stored(blob)
  if not blob then
    return nil
  end
  local revision, order, gone, due, words, body, at = string.match(blob, '^(%S+) (%S+) (%d) (%S+) (%d+) (%d+)\n()')
  return {
    revision = revision,
    order = order,
    gone = gone == '1',
    due = due,
    words = string.sub(blob, at, at + words - 1),
  }
end

local known_words = {}

local function words_of(text)
  local words = known_words[text]
  if not words then
    local kind, audiences, labels, open, expires = string.match(text, '^(.-)\n(.-)\n(.-)\n(.-)\n(.*)$')
    words = { kind = kind, audiences = audiences, labels = labels, open = open, expires = expires }
    known_words[text] = words
  end
  return words
end
