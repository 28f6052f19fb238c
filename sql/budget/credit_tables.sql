-- Credits: amounts on top of a budget, drawn when the budget has no room.

-- No foreign keys, for the same reason as for budgets.
CREATE TABLE tenancy_internal.credit_grants (
    id           uuid PRIMARY KEY DEFAULT tenancy.new_id(),
    budget_id    uuid NOT NULL,
    scope_id     uuid NOT NULL,
    amount       bigint NOT NULL CHECK (amount > 0),
    priority     smallint NOT NULL CHECK (priority BETWEEN 0 AND 100),
    effective_at timestamptz NOT NULL,
    expires_at   timestamptz,
    rollover     bigint CHECK (rollover BETWEEN 0 AND amount),
    rolls_at     timestamptz,
    note         text,
    granted_at   timestamptz NOT NULL DEFAULT now(),
    granted_by   uuid,
    closed_at    timestamptz,
    CONSTRAINT credit_grants_rolls_at CHECK ((rollover IS NULL) = (rolls_at IS NULL))
);
REVOKE ALL ON tenancy_internal.credit_grants FROM PUBLIC;
CREATE INDEX credit_grants_budget_id_idx ON tenancy_internal.credit_grants (budget_id);
COMMENT ON TABLE tenancy_internal.credit_grants IS 'internal: credits on top of budgets; users read the view credits';
COMMENT ON COLUMN tenancy_internal.credit_grants.amount IS 'in millionths';
COMMENT ON COLUMN tenancy_internal.credit_grants.priority IS 'lower ones are drawn first';
COMMENT ON COLUMN tenancy_internal.credit_grants.expires_at IS 'NULL: never';
COMMENT ON COLUMN tenancy_internal.credit_grants.rollover IS 'in millionths: how much may be drawn after rolls_at; NULL: all that is left';
COMMENT ON COLUMN tenancy_internal.credit_grants.rolls_at IS
    'end of the budget''s period in which the credit became effective, in the scope''s time zone when it was granted';
COMMENT ON COLUMN tenancy_internal.credit_grants.granted_by IS 'the user who granted it; NULL: an administrator without a context';
COMMENT ON COLUMN tenancy_internal.credit_grants.closed_at IS 'since when nothing is drawn from it: it was revoked, is used up, or expired long ago';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.credit_grants', '');

-- Every backend caches them with the budgets that it has used.
CREATE TRIGGER budgets_added AFTER INSERT OR DELETE ON tenancy_internal.credit_grants FOR EACH ROW
    EXECUTE FUNCTION tenancy_internal.changed('credits', 'budget_id');
CREATE TRIGGER budgets_changed AFTER UPDATE ON tenancy_internal.credit_grants FOR EACH ROW
    WHEN (OLD.* IS DISTINCT FROM NEW.*)
    EXECUTE FUNCTION tenancy_internal.changed('credits', 'budget_id');
CREATE TRIGGER budgets_emptied AFTER TRUNCATE ON tenancy_internal.credit_grants FOR EACH STATEMENT
    EXECUTE FUNCTION tenancy_internal.changed();

CREATE TABLE tenancy_internal.credit_draws (
    credit_id   uuid NOT NULL,
    at          timestamptz NOT NULL,
    quantity    numeric NOT NULL,
    reservation uuid,
    folded      boolean NOT NULL DEFAULT false
);
REVOKE ALL ON tenancy_internal.credit_draws FROM PUBLIC;
CREATE INDEX credit_draws_credit_id_idx ON tenancy_internal.credit_draws (credit_id, at);
CREATE INDEX credit_draws_reservation_idx ON tenancy_internal.credit_draws (reservation) WHERE reservation IS NOT NULL;
CREATE INDEX credit_draws_new_idx ON tenancy_internal.credit_draws (at) WHERE reservation IS NULL AND NOT folded;
CREATE UNIQUE INDEX credit_draws_folded_idx ON tenancy_internal.credit_draws (credit_id, at) WHERE folded;
COMMENT ON TABLE tenancy_internal.credit_draws IS
    'internal: amounts drawn from credits, in the transaction that used them; after an hour merged into one row for each credit and '
    'quarter of an hour. Only the owner reads this';
COMMENT ON COLUMN tenancy_internal.credit_draws.at IS 'time of the usage or the reservation';
COMMENT ON COLUMN tenancy_internal.credit_draws.quantity IS 'in millionths, exact: with up to 12 digits after the point for budgets of cost';
COMMENT ON COLUMN tenancy_internal.credit_draws.reservation IS 'open reservation that holds it; NULL: it is used';
COMMENT ON COLUMN tenancy_internal.credit_draws.folded IS 'whether it is the sum of the quarter of an hour that begins at this time';
SELECT pg_catalog.pg_extension_config_dump('tenancy_internal.credit_draws', '');

CREATE FUNCTION tenancy_internal.drop_credits() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM tenancy_internal.credit_draws d USING tenancy_internal.credit_grants g WHERE g.budget_id = OLD.id AND d.credit_id = g.id;
    DELETE FROM tenancy_internal.credit_grants g WHERE g.budget_id = OLD.id;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION tenancy_internal.drop_credits() FROM PUBLIC;
COMMENT ON FUNCTION tenancy_internal.drop_credits() IS 'internal: trigger that drops the credits of a budget that is dropped';
CREATE TRIGGER drop_credits AFTER DELETE ON tenancy_internal.budget_definitions FOR EACH ROW EXECUTE FUNCTION tenancy_internal.drop_credits();
