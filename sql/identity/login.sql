-- Logging in ------------------------------------------------------------------------------------

-- In PL/pgSQL, which caches its plans: a function in SQL would be planned for each token.
CREATE FUNCTION tenancy_internal.group_roles(provider uuid, "user" uuid, groups text[]) RETURNS TABLE (role_id uuid, scope_id uuid)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY
    SELECT DISTINCT m.role_id, s.id
      FROM tenancy_internal.identity_group_registry m
      JOIN tenancy_internal.identity_provider_registry p ON p.id = m.provider_id
      JOIN tenancy_internal.role_definitions r ON r.id = m.role_id
      JOIN tenancy.scopes u ON u.id = "user"
      JOIN tenancy.scopes s ON s.id = coalesce(m.scope_id, u.parent_id)
     -- A star is every user who logs in. Roles are limited to the provider's part of the tree, which may have changed since,
     -- and to the user's parent.
     WHERE m.provider_id = provider AND m.group_name = ANY (groups || '*'::text)
       AND p.scope_id = ANY (s.path) AND u.parent_id = ANY (s.path) AND r.scope_id = ANY (s.path);
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.group_roles(uuid, uuid, text[]) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.group_roles(uuid, uuid, text[]) IS 'internal: returns the roles that a user gets from its groups';

-- groups NULL: those of before stay, and the roles of every user count.
CREATE FUNCTION tenancy_internal.groups_differ(provider uuid, "user" uuid, groups text[], elsewhere boolean, issued bigint) RETURNS boolean
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    was_elsewhere boolean;
BEGIN
    SELECT b.groups_elsewhere INTO was_elsewhere FROM tenancy_internal.identity_users b WHERE b.user_id = "user" AND b.groups_as_of <= issued;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF groups IS NULL THEN
        RETURN elsewhere AND NOT was_elsewhere
            OR EXISTS (SELECT FROM tenancy_internal.group_roles(provider, "user", '{}') g
                        WHERE NOT EXISTS (SELECT FROM tenancy_internal.role_assignments a
                                           WHERE a.user_id = "user" AND a.source = 'group' AND a.role_id = g.role_id AND a.scope_id = g.scope_id));
    END IF;
    RETURN was_elsewhere OR EXISTS (
        SELECT FROM tenancy_internal.group_roles(provider, "user", groups) g
          FULL JOIN (SELECT a.role_id, a.scope_id FROM tenancy_internal.role_assignments a
                      WHERE a.user_id = "user" AND a.source = 'group') held USING (role_id, scope_id)
         WHERE g IS NULL OR held IS NULL);
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.groups_differ(uuid, uuid, text[], boolean, bigint) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.groups_differ(uuid, uuid, text[], boolean, bigint) IS
    'internal: returns whether a login changes the user''s roles, or whether its groups are elsewhere';

CREATE FUNCTION tenancy_internal.sync_groups(provider uuid, "user" uuid, groups text[], elsewhere boolean, issued bigint) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    gone uuid[];
    was_elsewhere boolean;
BEGIN
    -- A concurrent drop of the provider or the mapping waits for this to commit.
    PERFORM FROM tenancy_internal.identity_provider_registry p WHERE p.id = provider FOR KEY SHARE;
    -- Logins of one user queue; a login with an older token changes nothing afterwards.
    SELECT b.groups_elsewhere INTO was_elsewhere FROM tenancy_internal.identity_users b
     WHERE b.user_id = "user" AND b.provider_id = provider AND b.groups_as_of <= issued FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    UPDATE tenancy_internal.identity_users b
       SET groups_as_of = CASE WHEN groups IS NULL AND NOT elsewhere THEN b.groups_as_of ELSE issued END,
           groups_elsewhere = CASE WHEN groups IS NULL THEN b.groups_elsewhere OR elsewhere ELSE false END
     WHERE b.user_id = "user";
    IF groups IS NULL THEN
        INSERT INTO tenancy_internal.role_assignments (user_id, role_id, scope_id, source)
        SELECT "user", g.role_id, g.scope_id, 'group' FROM tenancy_internal.group_roles(provider, "user", '{}') g
            ON CONFLICT (user_id, role_id, scope_id, source) DO NOTHING;
        IF elsewhere AND NOT was_elsewhere THEN
            PERFORM tenancy_internal.audit('identity.groups_elsewhere', "user", "user"::text, NULL);
        END IF;
        RETURN;
    END IF;
    -- A statement that deletes nothing would still make every backend resolve again, at each sign-up.
    gone := ARRAY(SELECT a.id FROM tenancy_internal.role_assignments a
                   WHERE a.user_id = "user" AND a.source = 'group'
                     AND NOT EXISTS (SELECT FROM tenancy_internal.group_roles(provider, "user", groups) g
                                     WHERE g.role_id = a.role_id AND g.scope_id = a.scope_id));
    IF cardinality(gone) > 0 THEN
        DELETE FROM tenancy_internal.role_assignments a WHERE a.id = ANY (gone);
    END IF;
    INSERT INTO tenancy_internal.role_assignments (user_id, role_id, scope_id, source)
    SELECT "user", g.role_id, g.scope_id, 'group' FROM tenancy_internal.group_roles(provider, "user", groups) g
        ON CONFLICT (user_id, role_id, scope_id, source) DO NOTHING;
    -- Groups that give no role may be a person's own.
    PERFORM tenancy_internal.audit('identity.groups_changed', "user", "user"::text, jsonb_build_object('groups',
        ARRAY(SELECT DISTINCT g.group_name FROM tenancy_internal.identity_group_registry g
               WHERE g.provider_id = provider AND g.group_name = ANY (groups) ORDER BY 1)));
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.sync_groups(uuid, uuid, text[], boolean, bigint) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.sync_groups(uuid, uuid, text[], boolean, bigint) IS
    'internal: gives a user the roles of its groups, and removes those of former groups; groups NULL: those stay';

CREATE FUNCTION tenancy_internal.first_login(provider uuid, parent uuid, subject text, slugs text[], name text) RETURNS uuid
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    holder record;
    reach uuid;
    new_scope uuid;
    found_user uuid;
    slug text;
    bound_to uuid;
    key record;
BEGIN
    -- The parent's place must not change under the new child: move_tenant() takes the stronger lock.
    SELECT s.path INTO holder FROM tenancy.scopes s WHERE s.id = parent FOR KEY SHARE;
    -- Nor may the provider be dropped. The current state of both counts.
    SELECT p.scope_id INTO reach FROM tenancy_internal.identity_provider_registry p WHERE p.id = provider AND p.enabled FOR KEY SHARE;
    IF NOT FOUND OR reach <> ALL (holder.path) THEN
        RETURN NULL;
    END IF;
    -- The last candidate contains the user's id, so it cannot be taken.
    FOREACH slug IN ARRAY ARRAY[NULL] || slugs || CASE WHEN cardinality(slugs) > 0 THEN 'user-' || right(tenancy.new_id()::text, 12) END LOOP
        IF slug IS NOT NULL THEN
            new_scope := tenancy.new_id();
            -- Of two first logins at once, one waits here for the other and then finds its user.
            INSERT INTO tenancy.scopes (id, level, parent_id, path, slug, name, external_id, kind)
            VALUES (new_scope, 'user', parent, holder.path || new_scope, slug, coalesce(name, slug), subject, 'human')
                ON CONFLICT DO NOTHING;
            IF FOUND THEN
                PERFORM tenancy_internal.audit('user.created', new_scope, new_scope::text, jsonb_build_object('provider', provider));
            END IF;
        END IF;
        SELECT s.id INTO found_user FROM tenancy.scopes s
         WHERE s.parent_id = parent AND s.level = 'user' AND s.external_id = subject;
        EXIT WHEN found_user IS NOT NULL;
    END LOOP;
    IF found_user IS NULL THEN
        RETURN NULL;
    END IF;
    INSERT INTO tenancy_internal.identity_users (user_id, provider_id) VALUES (found_user, provider) ON CONFLICT (user_id) DO NOTHING;
    IF FOUND THEN
        -- An admin may have created the user, and keys for it, to impersonate this person after the first login.
        FOR key IN SELECT k.id, k.label FROM tenancy_internal.api_key_secrets k
                    WHERE k.user_id = found_user AND k.revoked_at IS NULL FOR NO KEY UPDATE LOOP
            UPDATE tenancy_internal.api_key_secrets k SET revoked_at = now() WHERE k.id = key.id;
            PERFORM tenancy_internal.audit('key.revoked', found_user, key.label, jsonb_build_object('user', found_user, 'provider', provider));
        END LOOP;
    END IF;
    SELECT b.provider_id INTO bound_to FROM tenancy_internal.identity_users b WHERE b.user_id = found_user;
    RETURN CASE WHEN bound_to = provider THEN found_user END;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.first_login(uuid, uuid, text, text[], text) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.first_login(uuid, uuid, text, text[], text) IS
    'internal: finds or creates a user and binds it to its provider; returns NULL if it belongs to another provider, or does not '
    'exist and must not be created';

CREATE FUNCTION tenancy_internal.note_refusal(provider uuid, reason text, meaning text, count bigint, first_at timestamptz, last_at timestamptz) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM tenancy_internal.identity_refusal_counts c WHERE c.day < (note_refusal.last_at AT TIME ZONE 'UTC')::date - 35;
    -- Nor of one that was dropped meanwhile.
    INSERT INTO tenancy_internal.identity_refusal_counts AS c (provider_id, reason, day, meaning, count, first_at, last_at)
    SELECT provider, note_refusal.reason, (note_refusal.last_at AT TIME ZONE 'UTC')::date, note_refusal.meaning, note_refusal.count,
           note_refusal.first_at, note_refusal.last_at
     WHERE provider IS NULL OR EXISTS (SELECT FROM tenancy_internal.identity_provider_registry p WHERE p.id = provider)
    ON CONFLICT ON CONSTRAINT identity_refusal_counts_key DO UPDATE
       SET count = c.count + excluded.count, first_at = least(c.first_at, excluded.first_at), last_at = greatest(c.last_at, excluded.last_at);
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.note_refusal(uuid, text, text, bigint, timestamptz, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.note_refusal(uuid, text, text, bigint, timestamptz, timestamptz) IS
    'internal: adds refusals of a provider''s tokens to those of the day';
