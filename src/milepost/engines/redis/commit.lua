-- Commits of one tenant in a group: all or nothing each, and each with its own fate. KEYS[1] root; ARGV: 3 the tenant's
-- name, 4 now, 5 the writer, 6 the number of its group, then for each commit the count of its writes and for each write:
-- key, "order due replaces gone", and the tail. Answers a line for each commit: `!` and the key that is in conflict, or
-- for each write, parted by tabs, "revision order" and, where it went, the audiences that it keeps.
--
-- A group that comes again, since its reply was lost, is answered as it was the first time. One that comes after a
-- later group of its writer is refused: nobody waits for it any more.
local memory = KEYS[1] .. ':by:' .. ARGV[5]
local last = redis.call('GET', memory)
if last then
  local number, reply = string.match(last, '^(%d+)\n(.*)$')
  if number == ARGV[6] then
    redis.call('EXPIRE', memory, 60)  -- a write, so that WAIT behind it waits for what the group wrote
    return reply
  end
  if tonumber(number) > tonumber(ARGV[6]) then
    return redis.error_reply('LATE a later group was first')
  end
end

local at = tenant(KEYS[1])
local commits, keys, next = {}, {}, 7
while next <= #ARGV do
  local writes = {}
  local count = tonumber(ARGV[next])
  next = next + 1
  for i = 1, count do
    local key, numbers, tail = ARGV[next], ARGV[next + 1], ARGV[next + 2]
    local order, due, replaces, gone = string.match(numbers, '^(%S+) (%S+) (%S+) (%d)$')
    local words, from = string.match(tail, '^(%d+) %d+\n()')
    writes[i] = {
      key = key,
      order = order,
      due = due,
      replaces = replaces,
      gone = gone == '1',
      words = string.sub(tail, from, from + words - 1),
      tail = tail,
    }
    keys[#keys + 1] = key
    next = next + 3
  end
  commits[#commits + 1] = writes
end

local slots = {}
for first = 1, #keys, 4000 do
  local final = math.min(first + 3999, #keys)
  local blobs = redis.call('HMGET', KEYS[1] .. ':doc', unpack(keys, first, final))
  for i, blob in ipairs(blobs) do
    local it = stored(blob)
    slots[keys[first + i - 1]] = { stored = it, now = it }
  end
end

local before, lines = at.head, {}
for i, writes in ipairs(commits) do
  local result, conflict = plan(at, slots, writes)
  if result then
    local parts = {}
    for n, it in ipairs(result) do
      parts[n] = it.revision .. ' ' .. it.order
      if it.gone then
        parts[n] = parts[n] .. ' ' .. words_of(it.words).audiences
      end
    end
    lines[i] = table.concat(parts, '\t')
  else
    lines[i] = '!' .. cjson.encode(conflict)
  end
end
local reply = table.concat(lines, '\n')
if at.head > before then
  flush(at, slots, ARGV[4])
  redis.call('SET', memory, ARGV[6] .. '\n' .. reply, 'EX', 60)
  grew(ARGV[3])
end
return reply
