//! Random settings: they decide which plans the server makes, and in which schemas it finds functions first.

use crate::dice::Dice;

/// The setting that has every query run in a parallel worker; its name depends on the server.
pub const ALWAYS_PARALLEL: &str = "force_parallel_mode = on";

/// The settings that a caller may change for a transaction, and `tenancy.index_search`, which the world grants to it.
#[derive(Debug)]
pub struct Settings {
    /// `name = value` each.
    pub all: Vec<String>,
    /// Whether the attacker's schema comes first in the search path.
    pub hostile: bool,
    /// How the attacker's functions tell.
    pub how: &'static str,
    /// Whether `work_mem` is so small that bitmaps become lossy.
    pub lossy: bool,
    /// Whether plans are made without looking at parameters.
    pub generic: bool,
}

const SWITCHES: [&str; 17] = [
    "enable_seqscan",
    "enable_indexscan",
    "enable_indexonlyscan",
    "enable_bitmapscan",
    "enable_hashjoin",
    "enable_mergejoin",
    "enable_nestloop",
    "enable_sort",
    "enable_incremental_sort",
    "enable_hashagg",
    "enable_material",
    "enable_memoize",
    "enable_tidscan",
    "enable_gathermerge",
    "enable_parallel_append",
    "enable_partition_pruning",
    "enable_parallel_hash",
];

const ON: [&str; 2] = [
    "enable_partitionwise_join",
    "enable_partitionwise_aggregate",
];

impl Settings {
    /// For one statement.
    pub fn new(dice: &mut Dice) -> Self {
        let mut all = vec![
            "statement_timeout = '6s'".to_owned(),
            "jit = off".to_owned(),
        ];
        let many = dice.roll(5);
        for _ in 0..many {
            all.push(format!("{} = off", dice.of(&SWITCHES)));
        }
        if dice.chance(20) {
            all.push(format!("{} = on", dice.of(&ON)));
        }
        let lossy = dice.chance(30);
        if lossy {
            all.push("work_mem = '64kB'".to_owned());
            if dice.chance(70) {
                all.extend(
                    [
                        "enable_seqscan = off",
                        "enable_indexscan = off",
                        "enable_indexonlyscan = off",
                    ]
                    .map(str::to_owned),
                );
            }
        }
        let values = [
            ("random_page_cost", &["0.1", "1", "4", "100"][..]),
            ("cpu_operator_cost", &["0", "0.0025", "1"]),
            ("cpu_tuple_cost", &["0", "0.01", "1"]),
            ("cpu_index_tuple_cost", &["0", "0.005", "1"]),
            ("from_collapse_limit", &["1", "8"]),
            ("join_collapse_limit", &["1", "8"]),
            ("geqo_threshold", &["2", "12"]),
            ("constraint_exclusion", &["on", "off", "partition"]),
            ("cursor_tuple_fraction", &["0.01", "1"]),
            ("effective_cache_size", &["1MB", "4GB"]),
        ];
        for (name, choices) in values {
            if dice.chance(12) {
                all.push(format!("{name} = '{}'", dice.of(choices)));
            }
        }
        if dice.chance(18) {
            all.extend(
                [
                    "parallel_setup_cost = 0",
                    "parallel_tuple_cost = 0",
                    "min_parallel_table_scan_size = 0",
                    "min_parallel_index_scan_size = 0",
                    "max_parallel_workers_per_gather = 2",
                ]
                .map(str::to_owned),
            );
            if dice.chance(60) {
                all.push(ALWAYS_PARALLEL.to_owned());
            }
        }
        all.push(format!(
            "tenancy.index_search = '{}'",
            dice.of(&["own", "all", "all", "off"])
        ));
        let generic = dice.chance(60);
        all.push(format!(
            "plan_cache_mode = {}",
            if generic {
                "force_generic_plan"
            } else {
                *dice.of(&["auto", "force_custom_plan"])
            }
        ));
        Self {
            all,
            hostile: dice.chance(55),
            how: *dice.of(&["notice", "notice", "fail", "fail", "count", "sleep"]),
            lossy,
            generic,
        }
    }
}
