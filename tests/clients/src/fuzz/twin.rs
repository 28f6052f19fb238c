//! Decides whether a difference comes from rows that the caller does not see, or from a plan that evaluates conditions in another order.
//!
//! Whether a failing condition is evaluated depends on the plan, and a table has another plan than its smaller copy. So an error in only one
//! of them is tried on a twin: tables of the same size, with the same statistics and policies, and other values in the rows that the caller
//! does not see. A difference between table and twin comes from those values.

/// Copies the statistics of a table in `app`, its parts and its indexes to those of the same names in another schema.
pub fn same_statistics(twin: &str, table: &str) -> String {
    format!(
        "DO $$
         DECLARE pair record;
         BEGIN
             FOR pair IN SELECT a.oid AS app, t.oid AS twin, a.relpages, a.reltuples, a.relallvisible FROM pg_class a JOIN pg_class t ON t.relname = a.relname AND t.relkind = a.relkind
                 WHERE a.relnamespace = 'app'::regnamespace AND t.relnamespace = '{twin}'::regnamespace AND a.relname ~ '^{table}(_|$)'
             LOOP
                 UPDATE pg_class SET relpages = pair.relpages, reltuples = pair.reltuples, relallvisible = pair.relallvisible WHERE oid = pair.twin;
                 DELETE FROM pg_statistic WHERE starelid = pair.twin;
                 EXECUTE format('INSERT INTO pg_statistic SELECT %s, %s FROM pg_statistic WHERE starelid = %s', pair.twin,
                     (SELECT string_agg(attname, ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'pg_statistic'::regclass AND attnum > 1), pair.app);
             END LOOP;
         END $$"
    )
}
