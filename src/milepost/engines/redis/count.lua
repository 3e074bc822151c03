-- How many documents carry a label above an order. KEYS[1] root; ARGV: from 3 on audience, label and the key of the
-- document above whose order it counts. Answers epoch, head, and the numbers.
local at = tenant(KEYS[1])
local answer = { at.epoch, int(at.head) }
for i = 3, #ARGV, 3 do
  local above = stored(redis.call('HGET', KEYS[1] .. ':doc', ARGV[i + 2]))
  local from = '(' .. (above and not above.gone and above.order or '0')
  answer[#answer + 1] = redis.call('ZCOUNT', term_key(KEYS[1], ARGV[i], 'label:' .. ARGV[i + 1]), from, '+inf')
end
return answer
