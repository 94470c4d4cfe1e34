-- Rows as builds have written them, of the call with scope "tenant", operation
-- "write" and payload "a", whose fingerprint is sha256('a') in version 1. What is
-- here stays here: newer builds have to replay it.
insert into idempotency_keys (scope, key, operation, request_hash, hash_version, response_json,
    request_id, execution_id, created_at, expires_at)
select 'tenant', key, 'write', '\xca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb', version, response::json,
    request_id, '6f1c1f0e-6f0b-4b7e-9c53-0f6d5c1f2a11', now() - interval '1 hour', now() + interval '23 hours'
from (values
    ('as today',            1, '{"id":1,"text":"a"}',                          'request of a'),
    ('without request id',  1, '{"id":1,"text":"a"}',                          null),
    ('other notation',      1, E'{ "text" : "\\u0061",\n "id" : 1 }',          'request of a'),
    ('extra members',       1, '{"id":1,"text":"a","tags":["x"],"by":{"n":1.0}}', 'request of a'),
    ('missing member',      1, '{"id":1}',                                     'request of a'),
    ('other type',          1, '{"id":"1","text":"a"}',                        'request of a'),
    ('no object',           1, '[1,"a"]',                                      'request of a'),
    ('unknown version',     7, '{"id":1,"text":"a"}',                          'request of a')
) as rows (key, version, response, request_id);
