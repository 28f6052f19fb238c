#![allow(clippy::unwrap_used)]

use super::*;

const NOW: Instant = Instant::from_unix_seconds(1_000);

fn micros(micros: i64) -> Length {
    Length::from_micros(micros)
}

fn table(databases: &[u32]) -> Table<4> {
    let mut table = Table::new();
    for database in databases {
        table.entry(*database, NOW).unwrap();
    }
    table
}

fn entry(table: &mut Table<4>, database: u32) -> &mut Entry {
    table.find_mut(database).unwrap()
}

#[test]
fn tidying_is_not_done_more_often_than_once_a_minute() {
    let mut entry = Entry::of(1);
    assert_eq!(entry.next(), Instant::NEVER);
    entry.expect(What::Tidying, NOW);
    assert_eq!(entry.next(), NOW);
    entry.tidied = NOW;
    assert_eq!(entry.next(), NOW + TIDY);
    entry.expect(What::Due, NOW + micros(1));
    entry.expect(What::Due, NOW + micros(2));
    assert_eq!(entry.next(), NOW + micros(1));
    entry.away_until = NOW + AWAY;
    assert_eq!(entry.next(), NOW + AWAY);
}

#[test]
fn a_start_is_given_up_after_a_while_also_when_the_clock_was_set_back() {
    let mut entry = Entry::of(1);
    entry.started = NOW;
    assert!(entry.is_starting(NOW) && entry.is_starting(NOW + START - micros(1)));
    assert!(!entry.is_starting(NOW + START) && !entry.is_starting(NOW - micros(1)));
    entry.process = 7;
    assert!(!entry.is_starting(NOW));
}

#[test]
fn what_was_written_while_a_worker_goes_is_due_at_once() {
    let mut entry = Entry::of(1);
    entry.process = 7;
    entry.goes(Instant::NEVER, false, NOW);
    assert_eq!((entry.process, entry.due), (0, NOW));
    *entry.dirty.get_mut() = false;
    entry.due = NOW + micros(5);
    entry.goes(NOW + micros(9), true, NOW);
    assert_eq!(entry.due, NOW + micros(5));
    assert!(*entry.dirty.get_mut());
}

#[test]
fn a_full_table_gives_up_the_idle_database_that_is_due_last() {
    let mut table = table(&[1, 2, 3, 4]);
    for database in 1..=4 {
        entry(&mut table, database).due = NOW + micros(database.into());
    }
    entry(&mut table, 4).process = 7;
    entry(&mut table, 3).wanted = NOW;
    assert_eq!(table.entry(5, NOW).unwrap().database, 5);
    assert!(table.find_mut(2).is_none());
    // Something was due there: it is searched for.
    assert_eq!(table.search, NOW + SEARCH);
    // The new one has nothing to do, and gives way without a search.
    table.search = Instant::NEVER;
    table.entry(6, NOW).unwrap();
    assert!(table.find_mut(5).is_none());
    assert_eq!(table.search, Instant::NEVER);
}

#[test]
fn a_table_without_an_idle_database_takes_no_other() {
    let mut table = table(&[1, 2, 3, 4]);
    table
        .all_mut()
        .iter_mut()
        .for_each(|entry| entry.process = 7);
    assert!(table.entry(5, NOW).is_none());
    assert!(table.entry(4, NOW).is_some());
}

#[test]
fn an_entry_is_found_at_its_hint_and_elsewhere() {
    let table = table(&[1, 2]);
    for hint in [0, 1, 3, 100] {
        let (at, entry) = table.find(2, hint).unwrap();
        assert_eq!((at, entry.database), (1, 2));
    }
    assert!(table.find(3, 0).is_none());
}

#[test]
fn callers_and_errands_take_turns() {
    let mut table = table(&[1, 2, 3, 4]);
    entry(&mut table, 1).wanted = NOW - micros(1);
    entry(&mut table, 2).wanted = NOW - micros(2);
    entry(&mut table, 3).due = NOW - micros(3);
    // The one that waits longest; an errand when it is its turn.
    assert_eq!(table.next_job(NOW), Job::Start(2));
    table.errand_next = true;
    assert_eq!(table.next_job(NOW), Job::Start(3));
    table.errand_next = false;
    assert_eq!(table.next_job(NOW), Job::Start(1));
    assert!(entry(&mut table, 3).errand && !entry(&mut table, 1).errand);
}

#[test]
fn only_so_many_errands_run_at_once() {
    let mut table = table(&[1, 2, 3]);
    table.all_mut().iter_mut().for_each(|entry| entry.due = NOW);
    assert_eq!(table.next_job(NOW), Job::Start(1));
    assert_eq!(table.next_job(NOW), Job::Start(2));
    assert_eq!(table.next_job(NOW), Job::Sleep(NOW + SECOND));
    // One of them ended.
    entry(&mut table, 1).started = Instant::LONG_AGO;
    entry(&mut table, 1).due = Instant::NEVER;
    assert_eq!(table.next_job(NOW), Job::Start(3));
}

#[test]
fn the_launcher_sleeps_until_something_is_due() {
    let mut table = table(&[1, 2]);
    assert_eq!(table.next_job(NOW), Job::Sleep(Instant::NEVER));
    entry(&mut table, 1).due = NOW + SECOND * 50;
    entry(&mut table, 2).expect(What::Tidying, NOW + SECOND * 40);
    assert_eq!(table.next_job(NOW), Job::Sleep(NOW + SECOND * 40));
    assert_eq!(table.sleeps_until, NOW + SECOND * 40);
    table.search = NOW + SECOND;
    assert_eq!(table.next_job(NOW), Job::Sleep(NOW + SECOND));
}

#[test]
fn a_database_that_no_worker_reaches_is_given_up() {
    let mut table = table(&[1]);
    entry(&mut table, 1).due = NOW;
    let mut at = NOW;
    for _ in 0..TRIES {
        assert_eq!(table.next_job(at), Job::Start(1));
        at += START;
    }
    assert_eq!(table.next_job(at), Job::Sleep(at));
    assert_eq!(entry(&mut table, 1).next(), Instant::NEVER);
}

#[test]
fn others_wait_before_others_that_are_due() {
    let mut table = table(&[1, 2]);
    assert_eq!(table.others(NOW), Others::None);
    entry(&mut table, 1).due = NOW;
    assert_eq!(table.others(NOW), Others::Due);
    entry(&mut table, 2).wanted = NOW;
    assert_eq!(table.others(NOW), Others::Wait);
    entry(&mut table, 2).process = 7;
    entry(&mut table, 1).started = NOW;
    assert_eq!(table.others(NOW), Others::None);
}
