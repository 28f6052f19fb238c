-- move_tenant_out(): a tenant's rows to another database by logical replication, until it is switched over.

CREATE PROCEDURE tenancy.move_tenant_out(tenant tenancy.regscope, dry_run boolean DEFAULT false, lock_timeout text DEFAULT '2s')
    LANGUAGE c AS 'MODULE_PATHNAME', 'lifecycle_move_tenant_out_wrapper';
REVOKE ALL ON PROCEDURE tenancy.move_tenant_out(tenancy.regscope, boolean, text) FROM PUBLIC;
GRANT EXECUTE ON PROCEDURE tenancy.move_tenant_out(tenancy.regscope, boolean, text) TO tenancy_admin;
COMMENT ON PROCEDURE tenancy.move_tenant_out(tenancy.regscope, boolean, text) IS
    'Publishes a tenant''s rows in all protected tables, for a subscription of another database that copies them and keeps the copy in step, and says by which statement to subscribe. Tables whose replica '
    'identity lacks the tenant column get one that has it: a unique index with the tenant column and the primary key, or FULL. The tenant works on. The view moves shows its state. A call that was '
    'interrupted is resumed by the next one, which also takes up tables and partitions that are new. dry_run => true only says what it would change. lock_timeout: for each table, which is tried 20 '
    'times. Call it outside a transaction block, as the owner of the tables or a member of these roles, who may create publications. Errors: 22023 no tenant; 55000 the tenant is deleted or moved, or something '
    'stands in the way, with all reasons; 25001 in a transaction block; 55006 another session moves it; 42501 permission denied, or a context; 42704 no such scope. For tenancy_admin';

CREATE PROCEDURE tenancy.switch_over(tenant tenancy.regscope, destination text, timeout_seconds integer DEFAULT 60)
    LANGUAGE c AS 'MODULE_PATHNAME', 'lifecycle_switch_over_wrapper';
REVOKE ALL ON PROCEDURE tenancy.switch_over(tenancy.regscope, text, integer) FROM PUBLIC;
GRANT EXECUTE ON PROCEDURE tenancy.switch_over(tenancy.regscope, text, integer) TO tenancy_admin;
COMMENT ON PROCEDURE tenancy.switch_over(tenancy.regscope, text, integer) IS
    'Suspends a tenant that move_tenant_out() moves, and returns once the subscriber has all that it has written. It waits first until the subscriber has nearly all, while the tenant works; then for transactions that have '
    'written into protected tables. If that takes longer than timeout_seconds (1 to 3600), the tenant gets its status back, and the call fails. From then on the tenant cannot be activated here. destination is a line of 1 to '
    '300 printable characters that says where it is. A call that was interrupted is resumed by the next one, or undone by cancel_move(). Errors: 22023 a bad argument; 55000 something stands in the way, with all '
    'reasons, or the time is over; 25001 in a transaction block; 55006 another session moves it; 42501 permission denied, or a context; 42704 no such scope, or it is not being moved. For tenancy_admin';

CREATE PROCEDURE tenancy.finish_move(tenant tenancy.regscope, lock_timeout text DEFAULT '2s')
    LANGUAGE c AS 'MODULE_PATHNAME', 'lifecycle_finish_move_wrapper';
REVOKE ALL ON PROCEDURE tenancy.finish_move(tenancy.regscope, text) FROM PUBLIC;
GRANT EXECUTE ON PROCEDURE tenancy.finish_move(tenancy.regscope, text) TO tenancy_admin;
COMMENT ON PROCEDURE tenancy.finish_move(tenancy.regscope, text) IS
    'Drops the publication of a tenant that was switched over, and the replication slot if there is one, and gives tables their former replica identities, unless another move needs theirs. Drop the subscription first. The tenant stays '
    'suspended, and the view moves says where it is, until it is purged. Errors: 55000 it was not switched over; 55006 there is a subscriber, or another session moves it; 25001 in a transaction block; 42501 permission denied, or a context; 42704 no '
    'such scope, or it is not being moved. For tenancy_admin';

CREATE PROCEDURE tenancy.cancel_move(tenant tenancy.regscope, lock_timeout text DEFAULT '2s')
    LANGUAGE c AS 'MODULE_PATHNAME', 'lifecycle_cancel_move_wrapper';
REVOKE ALL ON PROCEDURE tenancy.cancel_move(tenancy.regscope, text) FROM PUBLIC;
GRANT EXECUTE ON PROCEDURE tenancy.cancel_move(tenancy.regscope, text) TO tenancy_admin;
COMMENT ON PROCEDURE tenancy.cancel_move(tenancy.regscope, text) IS
    'Undoes move_tenant_out() at any state, as finish_move() does, and forgets the move. A tenant that was suspended for a switch-over which was interrupted gets its status back. One that was switched over stays suspended: '
    'make sure that it does not work elsewhere before you activate it. Errors: 55006 there is a subscriber, or another session moves it; 25001 in a transaction block; 42501 permission denied, or a context; 42704 no such scope, or '
    'it is not being moved. For tenancy_admin';

CREATE FUNCTION tenancy.move_digest(tenant tenancy.regscope, hashes boolean DEFAULT true) RETURNS TABLE (table_name text, rows bigint, hash text)
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'lifecycle_move_digest_wrapper';
REVOKE ALL ON FUNCTION tenancy.move_digest(tenancy.regscope, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenancy.move_digest(tenancy.regscope, boolean) TO tenancy_admin;
COMMENT ON FUNCTION tenancy.move_digest(tenancy.regscope, boolean) IS
    'Returns for each protected table how many rows of a tenant it has, and a hash of their values in any order, but for generated columns: the same in two databases if the rows are the same. hashes => false only counts. The rest of the '
    'transaction is in maintenance. The caller is the owner of the tables or a member of these roles. Errors: 22023 no tenant; 42501 permission denied; 42704 no such scope; 55000 the transaction has a context. For tenancy_admin';
