-- Sealing ------------------------------------------------------------------------------------------

CREATE TABLE tenancy.audit_seals (
    id        bigint PRIMARY KEY,
    sealed_at timestamptz NOT NULL,
    origin    bigint NOT NULL,
    xid_from  xid8 NOT NULL,
    xid_to    xid8 NOT NULL,
    id_to     uuid NOT NULL,
    ids       uuid[] NOT NULL,
    ats       timestamptz[] NOT NULL,
    digests   bytea[] NOT NULL,
    previous  bytea NOT NULL,
    hash      bytea NOT NULL
);
REVOKE ALL ON tenancy.audit_seals FROM PUBLIC;
GRANT SELECT ON tenancy.audit_seals TO tenancy_admin, tenancy_auditor;
COMMENT ON TABLE tenancy.audit_seals IS
    'Hash chain over the audit log. Each seal holds the digests of its entries and the hash of the previous seal. Append-only; the '
    'worker adds to it. For tenancy_admin, tenancy_auditor';
COMMENT ON COLUMN tenancy.audit_seals.ids IS
    'Ids of the sealed entries, ordered by transaction and id: all of that origin up to (xid_to, id_to) that no earlier seal has';
COMMENT ON COLUMN tenancy.audit_seals.previous IS 'Hash of the previous seal; empty in the first';
COMMENT ON COLUMN tenancy.audit_seals.hash IS 'SHA-256 over all other columns of the row';
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON tenancy.audit_seals FOR EACH STATEMENT
    EXECUTE FUNCTION tenancy_internal.append_only('tenancy.audit_retention');
ALTER TABLE tenancy.audit_seals ENABLE ALWAYS TRIGGER append_only;
SELECT pg_catalog.pg_extension_config_dump('tenancy.audit_seals', '');

CREATE TABLE tenancy.audit_retired (
    partition  text PRIMARY KEY,
    from_at    timestamptz NOT NULL,
    to_at      timestamptz NOT NULL,
    entries    bigint NOT NULL,
    last_seal  bigint NOT NULL,
    retired_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
REVOKE ALL ON tenancy.audit_retired FROM PUBLIC;
GRANT SELECT ON tenancy.audit_retired TO tenancy_admin, tenancy_auditor;
COMMENT ON TABLE tenancy.audit_retired IS
    'Months of the audit log that tenancy.audit_retention dropped; verify_audit_log() does not report their entries as missing. '
    'Append-only. For tenancy_admin, tenancy_auditor';
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON tenancy.audit_retired FOR EACH STATEMENT
    EXECUTE FUNCTION tenancy_internal.append_only('tenancy.audit_retention');
ALTER TABLE tenancy.audit_retired ENABLE ALWAYS TRIGGER append_only;
SELECT pg_catalog.pg_extension_config_dump('tenancy.audit_retired', '');

-- A text that does not depend on settings: instants as microseconds, and JSON to delimit the fields.
CREATE FUNCTION tenancy_internal.audit_micros(at timestamptz) RETURNS bigint
    LANGUAGE sql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
    RETURN (extract(epoch FROM at) * 1000000)::bigint;
REVOKE ALL ON FUNCTION tenancy_internal.audit_micros(timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.audit_micros(timestamptz) IS 'internal: returns an instant as microseconds since 1970';

CREATE FUNCTION tenancy_internal.audit_digest(entry tenancy.audit_log) RETURNS bytea
    LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
    RETURN sha256(convert_to(jsonb_build_array(
        (entry).id, (extract(epoch FROM (entry).at) * 1000000)::bigint, (entry).origin, (entry).xid::text, (entry).action,
        (entry).user_id, (entry).tenant_id, (entry).partner_id, (entry).target, (entry).details, (entry).client::text,
        (entry).role, (entry).login)::text, 'UTF8'));
REVOKE ALL ON FUNCTION tenancy_internal.audit_digest(tenancy.audit_log) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.audit_digest(tenancy.audit_log) IS 'internal: SHA-256 over an entry';

CREATE FUNCTION tenancy_internal.seal_hash(seal tenancy.audit_seals) RETURNS bytea
    LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
    RETURN sha256((seal).previous || convert_to(
        jsonb_build_array((seal).id, tenancy_internal.audit_micros((seal).sealed_at), (seal).origin, (seal).xid_from::text, (seal).xid_to::text,
                          (seal).id_to, cardinality((seal).ids), cardinality((seal).ats), cardinality((seal).digests))::text
        || (SELECT string_agg(concat_ws(' ', e.id, (extract(epoch FROM e.at) * 1000000)::bigint, encode(e.digest, 'hex')), ',' ORDER BY e.n)
              FROM ROWS FROM (unnest((seal).ids), unnest((seal).ats), unnest((seal).digests)) WITH ORDINALITY e (id, at, digest, n)),
        'UTF8'));
REVOKE ALL ON FUNCTION tenancy_internal.seal_hash(tenancy.audit_seals) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.seal_hash(tenancy.audit_seals) IS 'internal: SHA-256 over a seal and the hash of the one before it';

-- Sealing does not wait for writers. A transaction's entries are sealed once every transaction that began earlier has ended
-- too; then no entry can appear below them.
CREATE FUNCTION tenancy_internal.seal_audit_log(most integer) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    here bigint := tenancy_internal.origin();
    of_origin bigint;
    mark record;
    batch record;
    seal tenancy.audit_seals;
BEGIN
    -- One caller at a time.
    LOCK TABLE tenancy.audit_seals IN SHARE UPDATE EXCLUSIVE MODE;
    SELECT min(l.origin) INTO of_origin FROM tenancy.audit_log l;
    WHILE of_origin IS NOT NULL LOOP
        SELECT s.xid_to, s.id_to INTO mark FROM tenancy.audit_seals s WHERE s.origin = of_origin ORDER BY s.id DESC LIMIT 1;
        -- Entries of another cluster are complete.
        SELECT array_agg(r.id ORDER BY r.xid, r.id) AS ids, array_agg(r.at ORDER BY r.xid, r.id) AS ats,
               array_agg(r.digest ORDER BY r.xid, r.id) AS digests, min(r.xid::text::numeric) AS first, max(r.xid::text::numeric) AS last
          INTO batch
          FROM (SELECT l.id, l.at, l.xid, tenancy_internal.audit_digest(l) AS digest FROM tenancy.audit_log l
                 WHERE l.origin = of_origin
                   AND (l.xid, l.id) > (coalesce(mark.xid_to, '0'), coalesce(mark.id_to, '00000000-0000-0000-0000-000000000000'))
                   AND l.xid < CASE WHEN of_origin = here THEN pg_snapshot_xmin(pg_current_snapshot()) ELSE '18446744073709551615' END
                 ORDER BY l.xid, l.id LIMIT most) r;
        IF batch.ids IS NOT NULL THEN
            SELECT s.id + 1, s.hash INTO seal.id, seal.previous FROM tenancy.audit_seals s ORDER BY s.id DESC LIMIT 1;
            seal.id := coalesce(seal.id, 1);
            seal.previous := coalesce(seal.previous, '');
            seal.sealed_at := clock_timestamp();
            seal.origin := of_origin;
            seal.xid_from := batch.first::text;
            seal.xid_to := batch.last::text;
            seal.id_to := batch.ids[cardinality(batch.ids)];
            seal.ids := batch.ids;
            seal.ats := batch.ats;
            seal.digests := batch.digests;
            seal.hash := tenancy_internal.seal_hash(seal);
            INSERT INTO tenancy.audit_seals SELECT seal.*;
            RETURN cardinality(batch.ids);
        END IF;
        SELECT min(l.origin) INTO of_origin FROM tenancy.audit_log l WHERE l.origin > of_origin;
    END LOOP;
    RETURN 0;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.seal_audit_log(integer) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.seal_audit_log(integer) IS 'internal: seals at most that many entries and returns how many';

CREATE FUNCTION tenancy.seal_audit_log() RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    total bigint := 0;
    sealed bigint;
BEGIN
    LOOP
        sealed := tenancy_internal.seal_audit_log(10000);
        EXIT WHEN sealed = 0;
        total := total + sealed;
    END LOOP;
    RETURN total;
END
$$;
REVOKE ALL ON FUNCTION tenancy.seal_audit_log() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.seal_audit_log() TO tenancy_admin;
COMMENT ON FUNCTION tenancy.seal_audit_log() IS
    'Seals the entries that the worker would seal within seconds, and returns how many. Entries wait as long as an older '
    'transaction is running. For tenancy_admin';

CREATE FUNCTION tenancy.audit_head() RETURNS TABLE (seal bigint, hash bytea, sealed_at timestamptz)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT s.id, s.hash, s.sealed_at FROM tenancy.audit_seals s ORDER BY s.id DESC LIMIT 1;
END;
REVOKE ALL ON FUNCTION tenancy.audit_head() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.audit_head() TO tenancy_admin, tenancy_auditor;
COMMENT ON FUNCTION tenancy.audit_head() IS
    'Returns the last seal of the audit log. Keep it outside the database and pass it to verify_audit_log() later: then not even a '
    'superuser can rebuild the chain unnoticed. For tenancy_admin, tenancy_auditor';

CREATE FUNCTION tenancy.verify_audit_log(since timestamptz DEFAULT NULL, expected_seal bigint DEFAULT NULL, expected_hash bytea DEFAULT NULL)
    RETURNS TABLE (seal bigint, entry uuid, at timestamptz, problem text)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    first_seal bigint := 1;
    s tenancy.audit_seals;
    before record;
    found_hash bytea;
    -- Where each origin's last seal ended: {origin: [xid, id]}.
    ends jsonb := '{}';
    lower_xid xid8;
    lower_id uuid;
    gap boolean;
    done bigint := 0;
BEGIN
    IF (expected_seal IS NULL) <> (expected_hash IS NULL) THEN
        RAISE EXCEPTION USING MESSAGE = tenancy_internal.error('invalid_argument', 'expected_seal and expected_hash go together',
            'Both are from tenancy.audit_head().');
    END IF;
    -- Prevents a month from being dropped meanwhile.
    LOCK TABLE tenancy.audit_log IN ACCESS SHARE MODE;
    IF since IS NOT NULL THEN
        SELECT coalesce(min(x.id), 1 + (SELECT max(y.id) FROM tenancy.audit_seals y), 1) INTO first_seal
          FROM tenancy.audit_seals x WHERE x.sealed_at >= since;
        SELECT coalesce(jsonb_object_agg(x.origin, jsonb_build_array(x.xid_to::text, x.id_to)), '{}') INTO ends
          FROM (SELECT DISTINCT ON (y.origin) y.origin, y.xid_to, y.id_to FROM tenancy.audit_seals y
                 WHERE y.id < first_seal ORDER BY y.origin, y.id DESC) x;
    END IF;
    SELECT x.id, x.hash INTO before FROM tenancy.audit_seals x WHERE x.id < first_seal ORDER BY x.id DESC LIMIT 1;
    before.id := coalesce(before.id, first_seal - 1);
    before.hash := coalesce(before.hash, '');
    FOR s IN SELECT x.* FROM tenancy.audit_seals x WHERE x.id >= first_seal ORDER BY x.id LOOP
        gap := s.id <> before.id + 1;
        IF gap THEN
            RETURN QUERY SELECT g, NULL::uuid, NULL::timestamptz, 'the seal is missing' FROM generate_series(before.id + 1, least(s.id - 1, before.id + 1000)) g;
        ELSIF s.previous <> before.hash THEN
            RETURN QUERY SELECT s.id, NULL::uuid, s.sealed_at, 'the seal does not follow the one before it: that one was changed, replaced or moved';
        END IF;
        IF s.hash <> tenancy_internal.seal_hash(s) THEN
            RETURN QUERY SELECT s.id, NULL::uuid, s.sealed_at, 'the seal was changed';
        END IF;
        lower_xid := coalesce(ends -> s.origin::text ->> 0, '0')::xid8;
        lower_id := coalesce(ends -> s.origin::text ->> 1, '00000000-0000-0000-0000-000000000000')::uuid;
        RETURN QUERY
            SELECT s.id, coalesce(e.id, l.id), coalesce(l.at, e.at),
                   CASE WHEN l.id IS NULL THEN 'the entry is missing'
                        WHEN e.id IS NULL THEN 'the entry was added to sealed entries'
                        ELSE 'the entry was changed' END
              FROM ROWS FROM (unnest(s.ids), unnest(s.ats), unnest(s.digests)) e (id, at, digest)
              FULL JOIN (SELECT x.id, x.at, tenancy_internal.audit_digest(x) AS digest FROM tenancy.audit_log x
                          WHERE x.origin = s.origin AND (x.xid, x.id) > (lower_xid, lower_id) AND (x.xid, x.id) <= (s.xid_to, s.id_to)
                            -- Entries of a missing seal are not reported as added.
                            AND (NOT gap OR (x.xid, x.id) >= (s.xid_from, s.ids[1]))) l ON l.id = e.id
             WHERE e.digest IS DISTINCT FROM l.digest
               AND NOT (l.id IS NULL AND EXISTS (SELECT FROM tenancy.audit_retired t WHERE e.at >= t.from_at AND e.at < t.to_at));
        ends := ends || jsonb_build_object(s.origin, jsonb_build_array(s.xid_to::text, s.id_to));
        before.id := s.id;
        before.hash := s.hash;
        done := done + 1;
        IF done % 1000 = 0 THEN
            RAISE NOTICE '% seals verified, up to %', done, s.sealed_at;
        END IF;
    END LOOP;
    -- Dropping a month is itself an entry.
    RETURN QUERY
        SELECT t.last_seal, NULL::uuid, t.retired_at, format('%s was retired without an entry that says so', t.partition)
          FROM tenancy.audit_retired t
         WHERE NOT EXISTS (SELECT FROM tenancy.audit_log x WHERE x.action = 'tenancy.audit.retired' AND x.target = t.partition
                              AND x.at BETWEEN t.retired_at - interval '1 hour' AND t.retired_at + interval '1 hour')
           AND NOT EXISTS (SELECT FROM tenancy.audit_retired u WHERE t.retired_at >= u.from_at AND t.retired_at < u.to_at);
    IF expected_seal IS NOT NULL THEN
        SELECT x.hash INTO found_hash FROM tenancy.audit_seals x WHERE x.id = expected_seal;
        IF found_hash IS DISTINCT FROM expected_hash THEN
            RETURN QUERY SELECT expected_seal, NULL::uuid, NULL::timestamptz,
                CASE WHEN found_hash IS NULL THEN 'the seal is missing' ELSE 'the seal is not the expected one: the chain was rebuilt' END;
        END IF;
    END IF;
END
$$;
REVOKE ALL ON FUNCTION tenancy.verify_audit_log(timestamptz, bigint, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.verify_audit_log(timestamptz, bigint, bytea) TO tenancy_admin, tenancy_auditor;
COMMENT ON FUNCTION tenancy.verify_audit_log(timestamptz, bigint, bytea) IS
    'Verifies the audit log and returns one row for each fault: entries changed, missing or added, seals changed, missing or moved. '
    'No rows: the log is intact. since: checks only what was sealed since then. expected_seal, expected_hash: a seal that '
    'audit_head() returned earlier. For tenancy_admin, tenancy_auditor';
