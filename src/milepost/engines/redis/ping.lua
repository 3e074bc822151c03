-- Shows whether a write would be taken. KEYS[1] any key of this node.
redis.call('SET', KEYS[1], '1')
return 1
