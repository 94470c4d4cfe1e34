-- Rows of calls of the anonymous tenant, as the build wrote them that had no versions.
insert into idempotency_keys (scope, key, operation, request_hash, hash_version, response_json,
    request_id, execution_id, created_at, expires_at)
select '', key, operation, sha256(convert_to(form, 'UTF8')), 1, response::json,
    'r', '6f1c1f0e-6f0b-4b7e-9c53-0f6d5c1f2a11', now() - interval '1 hour', now() + interval '23 hours'
from (values
    ('golden create', 'createProject', 'v1 createProject {"input":{"name":"Apollo"}}',
     '{"project":{"id":"019ac0de-0000-7000-8000-000000000001","name":"Apollo","createdAt":"2026-11-01T12:00:00.123456Z","updatedAt":"2026-11-01T12:00:00.123456Z"}}'),
    ('golden update', 'updateProject', 'v1 updateProject {"input":{"description":"d","id":"019ac0de-0000-7000-8000-000000000001","name":"Gemini"}}',
     '{"project":{"id":"019ac0de-0000-7000-8000-000000000001","name":"Gemini","description":"d","createdAt":"2026-11-01T12:00:00.123456Z","updatedAt":"2026-11-01T12:00:01.5Z"}}'),
    ('golden archive', 'archiveProject', 'v1 archiveProject {"input":{"id":"019ac0de-0000-7000-8000-000000000001"}}',
     '{"project":{"id":"019ac0de-0000-7000-8000-000000000001","name":"Gemini","description":"d","createdAt":"2026-11-01T12:00:00.123456Z","updatedAt":"2026-11-01T12:00:02Z","archivedAt":"2026-11-01T12:00:02Z"}}')
) as rows (key, operation, form, response);
