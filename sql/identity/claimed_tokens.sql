-- Single-use tokens ----------------------------------------------------------------------------------

-- Not dumped: a used token matters only to this database's provider, and only for minutes.
CREATE TABLE tenancy_internal.claimed_tokens (
    provider   uuid NOT NULL,
    jti_hash   bytea NOT NULL CHECK (octet_length(jti_hash) = 32),
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (provider, jti_hash)
);
REVOKE ALL ON tenancy_internal.claimed_tokens FROM PUBLIC;
CREATE INDEX claimed_tokens_expires_at_idx ON tenancy_internal.claimed_tokens (expires_at);
COMMENT ON TABLE tenancy_internal.claimed_tokens IS 'internal: single-use tokens of identity providers that were used. Only the owner reads this';
