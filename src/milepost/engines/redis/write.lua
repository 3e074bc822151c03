-- What a group of commits makes of a tenant: planned in tables, so that a conflict undoes nothing, then written with one
-- command for each key that changes. Several writes of one document in a group cost one: only the newest is kept anyway.

local lists, order_of_lists = {}, {}

-- Adds to the arguments of a command that is run once, at the end.
local function later(command, key, ...)
  local name = command .. ' ' .. key
  local list = lists[name]
  if not list then
    list = { command = command, key = key, args = {} }
    lists[name] = list
    order_of_lists[#order_of_lists + 1] = list
  end
  for _, value in ipairs({ ... }) do
    list.args[#list.args + 1] = value
  end
end

local function run_lists()
  for _, removing in ipairs({ true, false }) do
    for _, list in ipairs(order_of_lists) do
      local removes = list.command == 'ZREM' or list.command == 'SREM' or list.command == 'HDEL'
      if removes == removing then
        for first = 1, #list.args, 4000 do  -- Lua cannot pass many more at once
          redis.call(list.command, list.key, unpack(list.args, first, math.min(first + 3999, #list.args)))
        end
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

-- Where a document stands: sorted set -> score.
local function places(root, it)
  local found = {}
  if it == nil or it.gone then
    return found
  end
  local words = words_of(it.words)
  local readers = { '', unpack(list_of(words.audiences)) }
  local terms = { ['kind:' .. list_of('[' .. words.kind .. ']')[1]] = it.order }
  for _, label in ipairs(list_of(words.labels)) do
    terms['label:' .. label] = it.order
  end
  if words.open ~= '0.0' and string.sub(words.open, 1, 1) ~= '-' then
    terms['open'] = words.open
  end
  for _, reader in ipairs(readers) do
    for term, score in pairs(terms) do
      found[term_key(root, reader, term)] = score
    end
  end
  return found
end

-- Adds or drops what a key of the form `<covered>@<audience>` covers; a key may have several "@".
local function covers(root, key, command)
  local from = string.find(key, '@', 1, true)
  while from do
    later(command, root .. ':cover:' .. string.sub(key, from + 1), string.sub(key, 1, from - 1))
    from = string.find(key, '@', from + 1, true)
  end
end

-- One document from what is stored to what is to be; `new.tail` is all of it behind its numbers.
local function store(at, key, old, new, now)
  local root = at.root
  local gone = new.gone and '1' or '0'
  local numbers = new.revision .. ' ' .. new.order .. ' ' .. gone .. ' ' .. new.due .. ' '
  later('HSET', root .. ':doc', key, numbers .. new.tail)
  local words = words_of(new.words)
  for _, reader in ipairs(list_of(words.audiences)) do
    later('ZADD', seen_key(root, reader), new.revision, key)
  end
  later('ZADD', seen_key(root, ''), new.revision, key)
  if new.due ~= '-' then
    later('ZADD', root .. ':due', new.due, key)
  elseif old and old.due ~= '-' then
    later('ZREM', root .. ':due', key)
  end
  if old and old.words == new.words and old.order == new.order and not old.gone and not new.gone then
    return  -- the common case: its places stay what they are
  end
  local was = old and words_of(old.words)
  if old and was.audiences ~= words.audiences then
    local still = list_of(words.audiences)
    for _, reader in ipairs(list_of(was.audiences)) do
      if not has(still, reader) then
        later('ZREM', seen_key(root, reader), key)
      end
    end
  end
  local there, wanted = places(root, old), places(root, new)
  for zset in pairs(there) do
    if not wanted[zset] then
      later('ZREM', zset, key)
    end
  end
  for zset, score in pairs(wanted) do
    if there[zset] ~= score then
      later('ZADD', zset, score, key)
    end
  end
  if words.expires ~= '-' then
    later('ZADD', root .. ':expires', words.expires, key)
  elseif old and was.expires ~= '-' then
    later('ZREM', root .. ':expires', key)
  end
  if new.gone then
    later('ZADD', root .. ':gone', now, key)
  elseif old and old.gone then
    later('ZREM', root .. ':gone', key)
  end
  if not old and string.find(key, '!', 1, true) then
    later('ZADD', root .. ':left', 0, key)
  end
  covers(root, key, new.gone and 'SREM' or 'SADD')
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
  later('HSET', at.root, 'head', int(at.head))
  run_lists()
end
