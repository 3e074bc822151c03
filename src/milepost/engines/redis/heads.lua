-- Where histories end. KEYS: roots. Answers epoch and head of each.
local answer = {}
for _, root in ipairs(KEYS) do
  local at = tenant(root)
  answer[#answer + 1] = at.epoch
  answer[#answer + 1] = int(at.head)
end
return answer
