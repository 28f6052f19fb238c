-- The page of settings. The two that are never shown are described here; the others come from pg_settings.
SELECT '# Settings

<!-- Written by scripts/reference from the catalogs: change src/ instead. -->

"Set by" names the way to change a setting. *start*: in postgresql.conf, before a restart. *superuser*: there, by
`ALTER SYSTEM`, `ALTER DATABASE` or `ALTER ROLE … SET`, or by `SET`. *session*: by each session for itself. The library must be
loaded by `shared_preload_libraries = ''tenancy''`.

| setting | default | values | set by | |
| --- | --- | --- | --- | --- |
| `tenancy.context` | empty | | session, to clear it | The context: a sealed value that only `authenticate()`, `assume()` and `maintenance()` set. Never shown. |
| `tenancy.ticket` | empty | a ticket | session | A ticket, verified at its first use in each transaction. Never shown. |';
SELECT '| `' || name || '` | ' || CASE WHEN unit IS NULL THEN boot_val ELSE boot_val || ' ' || unit END
    || ' | ' || CASE vartype WHEN 'bool' THEN 'off, on' WHEN 'enum' THEN array_to_string(enumvals, ', ') WHEN 'string' THEN '' ELSE min_val || ' to ' || max_val END
    || ' | ' || CASE context WHEN 'postmaster' THEN 'start' WHEN 'user' THEN 'session' WHEN 'sighup' THEN 'reload' ELSE context END
    || ' | ' || short_desc || coalesce(' ' || nullif(extra_desc, ''), '') || ' |'
  FROM pg_settings WHERE name LIKE 'tenancy.%' AND name NOT LIKE 'tenancy.debug%' ORDER BY name;
