-- What people write: short names of types, defaults without casts.
CREATE FUNCTION pg_temp.plain(declared text) RETURNS text LANGUAGE sql AS $$
    SELECT regexp_replace(replace(replace(replace(declared,
        '''00000000-0000-7000-8000-000000000001''::uuid', '''internal'''),
        'tenancy.', ''), 'timestamp with time zone', 'timestamptz'),
        '::(timestamptz|numeric|interval|jsonb|bytea|text|name|uuid|regscope|inet|bigint|integer)(\[\])?', '', 'g')
$$;
