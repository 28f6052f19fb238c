//! An attacker's objects: functions, an operator and a domain that report a call with a value that the caller cannot see, and
//! functions with the names that the application's own functions call without a schema.

/// The application's functions, with a search path that is the caller's. Indexes call them.
pub const UNPINNED: &str = "
    SET check_function_bodies = off;
    CREATE SCHEMA fns;
    GRANT USAGE ON SCHEMA fns TO PUBLIC;
    CREATE FUNCTION fns.tidy(text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN $1;
    CREATE FUNCTION fns.wanted(int) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN true;
    CREATE FUNCTION fns.norm(text) RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS 'BEGIN RETURN tidy($1); END';
    CREATE FUNCTION fns.fold(text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS 'SELECT tidy($1)';
    CREATE FUNCTION fns.chosen(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS 'BEGIN RETURN wanted($1); END';
    -- From PostgreSQL 17 on, CREATE INDEX and VACUUM look names up in pg_catalog and pg_temp alone.
    DO $$ BEGIN
        IF current_setting('server_version_num')::int >= 170000 THEN
            ALTER FUNCTION fns.norm(text) SET search_path = fns;
            ALTER FUNCTION fns.fold(text) SET search_path = fns;
            ALTER FUNCTION fns.chosen(int) SET search_path = fns;
        END IF;
    END $$;";

/// The attacker's schema. `fuzz.f` and `fuzz.t` list marks and texts that the caller cannot see, `fuzz.how` names the way in which a call is reported.
pub const EVIL: &str = r#"
    CREATE SCHEMA evil;
    GRANT USAGE ON SCHEMA evil TO PUBLIC;
    CREATE SEQUENCE evil.counter;
    GRANT ALL ON SEQUENCE evil.counter TO PUBLIC;
    CREATE FUNCTION evil.fire(hit boolean) RETURNS boolean LANGUAGE plpgsql VOLATILE PARALLEL SAFE COST 0.0001 AS $$
    BEGIN
        IF hit THEN
            CASE current_setting('fuzz.how')
                WHEN 'notice' THEN RAISE NOTICE 'seen';
                WHEN 'fail' THEN RAISE EXCEPTION 'seen';
                WHEN 'sleep' THEN PERFORM pg_sleep(0.3);
                WHEN 'count' THEN PERFORM nextval('evil.counter');
            END CASE;
        END IF;
        RETURN true;
    END $$;
    CREATE FUNCTION evil.boom() RETURNS int LANGUAGE plpgsql STABLE PARALLEL SAFE COST 0.0001 AS 'BEGIN RAISE EXCEPTION ''seen''; END';
    CREATE FUNCTION evil.spy(int) RETURNS boolean LANGUAGE plpgsql VOLATILE PARALLEL SAFE COST 0.0001 AS
        'BEGIN RETURN evil.fire($1 = ANY (current_setting(''fuzz.f'')::int[])); END';
    CREATE FUNCTION evil.spy(text) RETURNS boolean LANGUAGE plpgsql VOLATILE PARALLEL SAFE COST 0.0001 AS
        'BEGIN RETURN evil.fire(left($1, 5) = ANY (current_setting(''fuzz.t'')::text[]) OR $1 = ANY (current_setting(''fuzz.t'')::text[])); END';
    CREATE FUNCTION evil.calm_spy(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 0.0001 AS
        'BEGIN RETURN evil.fire($1 = ANY (current_setting(''fuzz.f'')::int[])); END';
    CREATE FUNCTION evil.calm_spy(text) RETURNS boolean LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE COST 100000 AS
        'BEGIN RETURN evil.fire(left($1, 5) = ANY (current_setting(''fuzz.t'')::text[]) OR $1 = ANY (current_setting(''fuzz.t'')::text[])); END';
    CREATE FUNCTION evil.inline_spy(int) RETURNS boolean LANGUAGE sql VOLATILE PARALLEL SAFE AS
        'SELECT evil.fire($1 = ANY (current_setting(''fuzz.f'')::int[]))';
    CREATE FUNCTION evil.inline_spy(text) RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS
        'SELECT evil.calm_spy($1)';
    CREATE FUNCTION evil.same(text, text) RETURNS boolean LANGUAGE plpgsql STABLE PARALLEL SAFE COST 0.0001 AS
        'BEGIN RETURN evil.fire(left($1, 5) = ANY (current_setting(''fuzz.t'')::text[]) OR $1 = ANY (current_setting(''fuzz.t'')::text[])); END';
    CREATE FUNCTION evil.same(int, int) RETURNS boolean LANGUAGE plpgsql STABLE PARALLEL SAFE COST 0.0001 AS
        'BEGIN RETURN evil.fire($1 = ANY (current_setting(''fuzz.f'')::int[])); END';
    CREATE OPERATOR evil.=~ (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.same, RESTRICT = eqsel, JOIN = eqjoinsel);
    CREATE OPERATOR evil.=~ (LEFTARG = int, RIGHTARG = int, FUNCTION = evil.same, RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
    CREATE DOMAIN evil.careful AS int CHECK (evil.spy(VALUE));
    CREATE DOMAIN evil.careful_text AS text CHECK (evil.spy(VALUE));
    CREATE FUNCTION evil.tidy(t text) RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS 'BEGIN PERFORM evil.spy(t); RETURN t; END';
    CREATE FUNCTION evil.wanted(m int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS 'BEGIN RETURN evil.spy(m); END';
    GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA evil, fns TO PUBLIC;"#;
