-- Gives a tenant a new epoch. KEYS[1] root; ARGV: 3 the tenant's name.
redis.call('HSET', KEYS[1], 'epoch', redis.sha1hex(ARGV[1] .. KEYS[1]))
grew(ARGV[3])
return 1
