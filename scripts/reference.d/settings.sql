-- The page of settings. The two that are never shown are described here; all else comes from pg_settings.
SELECT '# Settings

<!-- Written by scripts/reference from the catalogs: change src/ instead. -->

"Who" says who changes a setting: *start* is postgresql.conf, before a restart; *superuser* changes it there, by
`ALTER SYSTEM`, `ALTER DATABASE` or `ALTER ROLE … SET`, or by `SET`; *anyone* sets it for a session of its own. The library
is loaded by `shared_preload_libraries = ''tenancy''` and by nothing else.

| setting | default | values | who | |
| --- | --- | --- | --- | --- |
| `tenancy.context` | empty | | anyone, to clear it | The context: a sealed value that only `authenticate()`, `assume()` and `maintenance()` make. Never shown. |
| `tenancy.ticket` | empty | a ticket | anyone | A ticket that is verified at its first use in each transaction. Never shown. |';
SELECT '| `' || name || '` | ' || CASE WHEN unit IS NULL THEN boot_val ELSE boot_val || ' ' || unit END
    || ' | ' || CASE vartype WHEN 'bool' THEN 'off, on' WHEN 'enum' THEN array_to_string(enumvals, ', ') WHEN 'string' THEN '' ELSE min_val || ' to ' || max_val END
    || ' | ' || CASE context WHEN 'postmaster' THEN 'start' WHEN 'user' THEN 'anyone' WHEN 'sighup' THEN 'reload' ELSE context END
    || ' | ' || short_desc || coalesce(' ' || nullif(extra_desc, ''), '') || ' |'
  FROM pg_settings WHERE name LIKE 'tenancy.%' AND name NOT LIKE 'tenancy.debug%' ORDER BY name;
