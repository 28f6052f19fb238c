//! In which order tables are emptied: a table after those whose rows refer to it.

use std::collections::BTreeSet;

/// A foreign key between two tables, by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// The referencing table, which is emptied first.
    pub from: usize,
    /// The referenced table.
    pub to: usize,
    /// Whether the referenced rows may also go first: ON DELETE SET NULL.
    pub gives_way: bool,
}

/// Tables that are emptied together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// Their numbers.
    pub tables: Vec<usize>,
    /// Whether rows of these tables refer to each other, so that no order of the tables is enough.
    pub circular: bool,
}

/// Returns the stages in which a number of tables is emptied. Each table is in one. A stage comes after all tables that refer to it;
/// only keys that give way may point the other way, and only where they would close a circle.
#[must_use]
pub fn stages(tables: usize, edges: &[Edge]) -> Vec<Stage> {
    let mut found = Vec::new();
    peel((0..tables).collect(), edges, &mut found);
    found
}

fn peel(mut left: BTreeSet<usize>, edges: &[Edge], found: &mut Vec<Stage>) {
    while !left.is_empty() {
        let among: Vec<Edge> = (edges.iter().copied())
            .filter(|edge| left.contains(&edge.from) && left.contains(&edge.to))
            .collect();
        let referenced: BTreeSet<usize> = (among.iter())
            .filter(|edge| edge.from != edge.to)
            .map(|edge| edge.to)
            .collect();
        let free: Vec<usize> = left.difference(&referenced).copied().collect();
        for table in &free {
            left.remove(table);
            let circular = among
                .iter()
                .any(|edge| (edge.from, edge.to) == (*table, *table));
            found.push(Stage {
                tables: vec![*table],
                circular,
            });
        }
        if free.is_empty() {
            let circle = smallest_circle(&left, &among);
            let within = |edge: &&Edge| circle.contains(&edge.from) && circle.contains(&edge.to);
            let inner: Vec<Edge> = among.iter().filter(within).copied().collect();
            let firm: Vec<Edge> = (inner.iter().copied())
                .filter(|edge| !edge.gives_way || edge.from == edge.to)
                .collect();
            left.retain(|table| !circle.contains(table));
            if firm.len() < inner.len() {
                peel(circle, &firm, found);
            } else {
                found.push(Stage {
                    tables: circle.into_iter().collect(),
                    circular: true,
                });
            }
        }
    }
}

/// Returns tables that all refer to each other, directly or not, and that no other refers to. Every table is referred to.
fn smallest_circle(tables: &BTreeSet<usize>, edges: &[Edge]) -> BTreeSet<usize> {
    (tables.iter())
        .map(|table| before(*table, edges))
        .min_by_key(BTreeSet::len)
        .unwrap_or_default()
}

/// Returns a table and all that refer to it, directly or not.
fn before(table: usize, edges: &[Edge]) -> BTreeSet<usize> {
    let (mut found, mut next) = (BTreeSet::from([table]), vec![table]);
    while let Some(at) = next.pop() {
        for edge in edges.iter().filter(|edge| edge.to == at) {
            if found.insert(edge.from) {
                next.push(edge.from);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn edge(from: usize, to: usize) -> Edge {
        Edge {
            from,
            to,
            gives_way: false,
        }
    }

    fn stage(tables: &[usize], circular: bool) -> Stage {
        Stage {
            tables: tables.to_vec(),
            circular,
        }
    }

    #[test]
    fn children_are_emptied_before_their_parents() {
        // 0 orders, 1 lines, 2 customers.
        assert_eq!(
            stages(3, &[edge(1, 0), edge(0, 2)]),
            [stage(&[1], false), stage(&[0], false), stage(&[2], false)]
        );
    }

    #[test]
    fn a_table_that_refers_to_itself_is_circular() {
        assert_eq!(stages(1, &[edge(0, 0)]), [stage(&[0], true)]);
    }

    #[test]
    fn a_circle_is_one_stage_after_those_that_refer_to_it_and_before_those_it_refers_to() {
        let edges = [edge(3, 0), edge(0, 1), edge(1, 0), edge(1, 2)];
        assert_eq!(
            stages(4, &edges),
            [stage(&[3], false), stage(&[0, 1], true), stage(&[2], false)]
        );
    }

    #[test]
    fn a_key_that_gives_way_opens_a_circle() {
        let soft = Edge {
            gives_way: true,
            ..edge(0, 1)
        };
        assert_eq!(
            stages(2, &[soft, edge(1, 0)]),
            [stage(&[1], false), stage(&[0], false)]
        );
        // Without need it is kept.
        assert_eq!(stages(2, &[soft]), [stage(&[0], false), stage(&[1], false)]);
    }

    fn edges() -> impl Strategy<Value = Vec<Edge>> {
        let one = (0_usize..8, 0_usize..8, any::<bool>()).prop_map(|(from, to, gives_way)| Edge {
            from,
            to,
            gives_way,
        });
        prop::collection::vec(one, 0..20)
    }

    proptest! {
        #[test]
        fn each_table_is_in_one_stage_after_what_refers_to_it_firmly(edges in edges()) {
            let stages = stages(8, &edges);
            let mut all: Vec<usize> = stages.iter().flat_map(|stage| stage.tables.clone()).collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..8).collect::<Vec<_>>());
            let at = |table: usize| stages.iter().position(|stage| stage.tables.contains(&table));
            for edge in edges.iter().filter(|edge| !edge.gives_way) {
                prop_assert!(at(edge.from) <= at(edge.to), "{edge:?} in {stages:?}");
                let stage = at(edge.to).and_then(|at| stages.get(at));
                prop_assert!(
                    at(edge.from) < at(edge.to) || stage.is_some_and(|stage| stage.circular),
                    "{edge:?} in {stages:?}"
                );
            }
        }

        #[test]
        fn only_tables_that_reach_each_other_share_a_stage(edges in edges()) {
            for stage in stages(8, &edges).iter().filter(|stage| stage.tables.len() > 1) {
                for table in &stage.tables {
                    let before = before(*table, &edges);
                    prop_assert!(stage.tables.iter().all(|other| before.contains(other)));
                }
            }
        }
    }
}
