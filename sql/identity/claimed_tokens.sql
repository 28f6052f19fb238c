-- What the worker keeps ------------------------------------------------------------------------------

-- Not dumped: a token that was used up here is used up for this database's provider only, and for minutes.
CREATE TABLE tenancy_internal.claimed_tokens (
    provider   uuid NOT NULL,
    jti_hash   bytea NOT NULL CHECK (octet_length(jti_hash) = 32),
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (provider, jti_hash)
);
REVOKE ALL ON tenancy_internal.claimed_tokens FROM PUBLIC;
CREATE INDEX claimed_tokens_expires_at_idx ON tenancy_internal.claimed_tokens (expires_at);
COMMENT ON TABLE tenancy_internal.claimed_tokens IS 'tokens of identity providers that may be used once, and were. Only the owner reads this';
