-- Runs last: what no file may forget.
REVOKE ALL ON ALL TABLES IN SCHEMA tenancy FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA tenancy FROM PUBLIC;

-- The first key that tickets are signed with.
SELECT tenancy._rotate_signing_key(0);
