-- Distributes the requests of app.trace to the tenants, four to a conversation, as the application would store them.
SET TimeZone = 'UTC';

INSERT INTO app.accounts
SELECT id, name, CASE slug WHEN 'acme' THEN 'enterprise' WHEN 'initech' THEN 'free' ELSE 'team' END
FROM tenancy.tenants
WHERE slug IN ('acme', 'umbrella', 'initech', 'soylent');

CREATE TEMP TABLE request AS
SELECT *, dense_rank() OVER (ORDER BY (k - 1) / 4, tenant_id) AS conversation
FROM (
    SELECT n, at, context_tokens, generated_tokens, tenant_id, row_number() OVER (PARTITION BY tenant_id ORDER BY n) AS k
    FROM (SELECT *, row_number() OVER (ORDER BY at, context_tokens, generated_tokens) AS n FROM app.trace) AS numbered
    JOIN (
        VALUES ('Acme', 0, 44), ('Umbrella', 45, 74), ('Initech', 75, 89), ('Soylent', 90, 99)
    ) AS share (name, low, high) ON n * 37 % 100 BETWEEN low AND high
    JOIN app.accounts USING (name)
) AS dealt;

-- One partition for each hour.
SELECT format('CREATE TABLE app.%I PARTITION OF app.api_calls FOR VALUES FROM (%L) TO (%L)',
              to_char(hour, '"api_calls_"YYYYMMDD_HH24'), hour, hour + interval '1 hour')
FROM (SELECT min(at) AS first, max(at) AS last FROM request) AS span,
     generate_series(date_trunc('hour', first), last, '1 hour') AS hour
\gexec
CREATE TABLE app.api_calls_later PARTITION OF app.api_calls DEFAULT;

INSERT INTO app.conversations (id, tenant_id, title, started_at)
SELECT conversation, tenant_id, 'Conversation ' || conversation, min(at)
FROM request
GROUP BY conversation, tenant_id;

INSERT INTO app.messages (tenant_id, conversation_id, role, tokens, body, sent_at)
SELECT tenant_id, conversation, role, tokens, format('%s tokens from the %s', tokens, role), at
FROM request, LATERAL (VALUES ('user', context_tokens), ('assistant', generated_tokens)) AS said (role, tokens);

INSERT INTO app.api_calls (tenant_id, conversation_id, at, context_tokens, generated_tokens)
SELECT tenant_id, conversation, at, context_tokens, generated_tokens
FROM request
ORDER BY at;

SELECT setval(pg_get_serial_sequence('app.conversations', 'id'), max(id)) FROM app.conversations;
DROP TABLE app.trace;
