-- Documents by their keys. KEYS[1] root; ARGV: from 3 on the keys. Answers them in their order, false where there is none.
local answer = {}
for first = 3, #ARGV, 4000 do
  local final = math.min(first + 3999, #ARGV)
  for _, blob in ipairs(redis.call('HMGET', KEYS[1] .. ':doc', unpack(ARGV, first, final))) do
    answer[#answer + 1] = blob
  end
end
return answer
