-- What a group of commits makes of a tenant: planned in tables, so that a conflict undoes nothing, then written with one
-- command for each key that changes. Several writes of one document in a group cost one: only the newest is kept anyway.

local adding, removing = {}, {}  -- key -> {command, arguments …}

-- Adds to the arguments of a command on a key that is run once, at the end. All that is removed goes first.
local function later(lists, command, key, one, other)
  local list = lists[key]
  if not list then
    list = { command }
    lists[key] = list
  end
  list[#list + 1] = one
  if other then
    list[#list + 1] = other
  end
end

local function run_lists()
  for _, lists in ipairs({ removing, adding }) do
    for key, list in pairs(lists) do
      for first = 2, #list, 4000 do  -- Lua cannot pass many more at once
        redis.call(list[1], key, unpack(list, first, math.min(first + 3999, #list)))
      end
    end
  end
end

local decoded = {}

local function list_of(json)
  local list = decoded[json]
  if not list then
    list = cjson.decode(json)
    decoded[json] = list
  end
  return list
end

local function has(list, wanted)
  for _, each in ipairs(list) do
    if each == wanted then
      return true
    end
  end
  return false
end

local known_terms = {}

-- The terms that a kind and labels stand for.
local function terms_of(words)
  local name = words.kind .. words.labels
  local terms = known_terms[name]
  if not terms then
    terms = { ':kind:' .. cjson.decode('[' .. words.kind .. ']')[1] }
    for _, label in ipairs(list_of(words.labels)) do
      terms[#terms + 1] = ':label:' .. label
    end
    known_terms[name] = terms
  end
  return terms
end

-- Where a document stands: sorted set -> score.
local function places(root, it)
  local found = {}
  if it == nil or it.gone then
    return found
  end
  local words = words_of(it.words)
  local open = words.open ~= '0.0' and string.sub(words.open, 1, 1) ~= '-' and words.open
  local terms, order = terms_of(words), it.order
  local function stand(reader)
    local base = root .. ':at:' .. #reader .. ':' .. reader
    for i = 1, #terms do
      found[base .. terms[i]] = order
    end
    if open then
      found[base .. ':open'] = open
    end
  end
  stand('')
  for _, reader in ipairs(list_of(words.audiences)) do
    stand(reader)
  end
  return found
end

-- Adds or drops what a key of the form `<covered>@<audience>` covers; a key may have several "@".
local function covers(root, key, lists, command)
  local from = string.find(key, '@', 1, true)
  while from do
    later(lists, command, root .. ':cover:' .. string.sub(key, from + 1), string.sub(key, 1, from - 1))
    from = string.find(key, '@', from + 1, true)
  end
end

-- One document from what is stored to what is to be; `new.tail` is all of it behind its numbers.
local function store(at, key, old, new, now)
  local root = at.root
  local gone = new.gone and '1' or '0'
  local numbers = new.revision .. ' ' .. new.order .. ' ' .. gone .. ' ' .. new.due .. ' '
  later(adding, 'HSET', root .. ':doc', key, numbers .. new.tail)
  local words = words_of(new.words)
  for _, reader in ipairs(list_of(words.audiences)) do
    later(adding, 'ZADD', seen_key(root, reader), new.revision, key)
  end
  later(adding, 'ZADD', seen_key(root, ''), new.revision, key)
  if new.due ~= '-' then
    later(adding, 'ZADD', root .. ':due', new.due, key)
  elseif old and old.due ~= '-' then
    later(removing, 'ZREM', root .. ':due', key)
  end
  if old and old.words == new.words and old.order == new.order and not old.gone and not new.gone then
    return  -- the common case: its places stay what they are
  end
  local was = old and words_of(old.words)
  if old and was.audiences ~= words.audiences then
    local still = list_of(words.audiences)
    for _, reader in ipairs(list_of(was.audiences)) do
      if not has(still, reader) then
        later(removing, 'ZREM', seen_key(root, reader), key)
      end
    end
  end
  local there, wanted = places(root, old), places(root, new)
  for zset in pairs(there) do
    if not wanted[zset] then
      later(removing, 'ZREM', zset, key)
    end
  end
  for zset, score in pairs(wanted) do
    if there[zset] ~= score then
      later(adding, 'ZADD', zset, score, key)
    end
  end
  if words.expires ~= '-' then
    later(adding, 'ZADD', root .. ':expires', words.expires, key)
  elseif old and was.expires ~= '-' then
    later(removing, 'ZREM', root .. ':expires', key)
  end
  if new.gone then
    later(adding, 'ZADD', root .. ':gone', now, key)
  elseif old and old.gone then
    later(removing, 'ZREM', root .. ':gone', key)
  end
  if not old and string.find(key, '!', 1, true) then
    later(adding, 'ZADD', root .. ':left', 0, key)
  end
  if new.gone then
    covers(root, key, removing, 'SREM')
  else
    covers(root, key, adding, 'SADD')
  end
end

local function gone_document(revision, order, kind, audiences)
  local words = kind .. '\n' .. audiences .. '\n[]\n0.0\n-'
  local tail = #words .. ' 0\n' .. words
  return { revision = revision, order = order, gone = true, due = '-', words = words, tail = tail }
end

-- Plans one commit on the group's slots (key -> {stored, now}). Its writes are key, order, due, replaces, gone, words,
-- tail. Returns what was stored, one document for each write, or nil and the key that is in conflict.
local function plan(at, slots, writes)
  local head, new, result = at.head, {}, {}
  local function slot(key)
    local it = slots[key]
    if not it then
      local blob = stored(redis.call('HGET', at.root .. ':doc', key))
      it = { stored = blob, now = blob }
      slots[key] = it
    end
    return it
  end
  for i, write in ipairs(writes) do
    local old = new[write.key] or slot(write.key).now
    local there = old ~= nil and not old.gone
    if write.replaces ~= '-' and write.replaces ~= (there and old.revision or '0') then
      return nil, write.key
    end
    local words = words_of(write.words)
    local audiences = words.audiences
    if old then
      local was = words_of(old.words)
      if write.gone then
        audiences = was.audiences
      elseif was.audiences ~= audiences then
        local still = list_of(audiences)
        for _, audience in ipairs(list_of(was.audiences)) do
          if not has(still, audience) then
            head = head + 1
            local left = write.key .. '!' .. audience
            new[left] = gone_document(int(head), int(head), was.kind, '[' .. cjson.encode(audience) .. ']')
            slot(left)
          end
        end
      end
    end
    head = head + 1
    local order = write.order
    if order == '-' then
      order = there and old.order or int(head)
    end
    local it
    if write.gone then
      it = gone_document(int(head), order, words.kind, audiences)
    else
      it = { revision = int(head), order = order, gone = false, due = write.due, words = write.words, tail = write.tail }
    end
    new[write.key] = it
    result[i] = it
  end
  for key, it in pairs(new) do
    slots[key].now = it
  end
  at.head = head
  return result
end

-- Writes what was planned.
local function flush(at, slots, now)
  for key, slot in pairs(slots) do
    if slot.now ~= slot.stored then
      store(at, key, slot.stored, slot.now, now)
    end
  end
  later(adding, 'HSET', at.root, 'head', int(at.head))
  run_lists()
end
