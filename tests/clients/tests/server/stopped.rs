//! Processes that are stopped at any point while others read the ledger's entries from rows. A commit is visible
//! a moment before it is in the ledger: these tests make that moment long.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use tenancy_client_tests::metering::{Dice, Stop, all_agrees, ledger_agrees};
use tenancy_client_tests::{Session, World};

/// Stops one of these processes for about three milliseconds, again and again.
fn stop_some(pids: &[i32], until: &AtomicBool, seed: u64) -> usize {
    let mut shell = Command::new("sh")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut ask, mut answer) = (
        shell.stdin.take().unwrap(),
        BufReader::new(shell.stdout.take().unwrap()),
    );
    let (mut dice, mut line, mut stops) = (Dice(seed), String::new(), 0);
    while !until.load(Ordering::Relaxed) {
        let pid = pids[dice.roll(pids.len() as u64) as usize];
        // In one line, so that no process stays stopped, however the test ends.
        writeln!(ask, "kill -STOP {pid}; sleep 0.003; kill -CONT {pid}; echo").unwrap();
        answer.read_line(&mut line).unwrap();
        stops += 1;
    }
    drop(ask);
    shell.wait().unwrap();
    stops
}

#[test]
fn a_session_stopped_at_a_commit_is_counted_once() {
    const ROUNDS: usize = 40;
    const EACH: usize = 60;
    let world = World::bare();
    let mut admin = world.db.admin();
    // Each of the entries is read by itself: there are many, so that one is read at every moment.
    admin.run(
        "SELECT tenancy.define_metric('tokens', 'tokens', price => 0.5);
         SELECT tenancy.set_budget(s::tenancy.regscope, m, 1000000, p) FROM unnest('{platform,globex,acme,acme/alice}'::text[]) s,
                unnest('{tokens,NULL}'::text[]) m, unnest('{day,week,month,year,total}'::text[]) p",
    );
    admin.run(&format!(
        "ALTER DATABASE {} SET synchronous_commit = off",
        world.db.name
    ));
    // A reservation settled for less than its amount is in flight nowhere: its entries can be evicted.
    let made: Vec<String> = {
        let mut alice = world.begin("alice");
        let made = alice.texts(&format!(
            "SELECT tenancy.reserve('tokens', 2, '1 day') FROM generate_series(1, {})",
            ROUNDS * EACH
        ));
        alice.run("COMMIT");
        made
    };
    let connect = || {
        let mut session = world.db.app();
        session.login_session(world.key("alice"));
        session
    };
    let mut writers: Vec<Session> = (0..3).map(|_| connect()).collect();
    let mut reader = connect();
    let mut pids: Vec<i32> = writers.iter_mut().map(Session::pid).collect();
    pids.push(reader.pid());
    let mut stops = 0;
    for round in 0..ROUNDS {
        let ids = Mutex::new(made[round * EACH..(round + 1) * EACH].iter());
        let (until, working) = (AtomicBool::new(false), AtomicUsize::new(writers.len()));
        thread::scope(|scope| {
            let stop = Stop(&until);
            let stopper = scope.spawn(|| stop_some(&pids, &until, round as u64));
            let (working, ids) = (&working, &ids);
            for (n, writer) in writers.iter_mut().enumerate() {
                scope.spawn(move || {
                    let mut dice = Dice((round * 10 + n) as u64);
                    loop {
                        let Some(id) = ids.lock().unwrap().next() else {
                            break;
                        };
                        writer.run(&match dice.roll(3) {
                            0 => format!("SELECT tenancy.settle('{id}', 1)"),
                            _ => format!("SELECT tenancy.cancel('{id}')"),
                        });
                    }
                    working.fetch_sub(1, Ordering::Relaxed);
                });
            }
            // All of the entries go and are read again, one after the other, for as long as there is something to settle.
            while working.load(Ordering::Relaxed) > 0 {
                admin.run("SELECT tenancy_internal.forget_ledger()");
                reader.run("SELECT * FROM tenancy.check_budget('tokens')");
            }
            drop(stop);
            stops += stopper.join().unwrap();
        });
        ledger_agrees(&mut admin, 30);
    }
    assert!(stops > ROUNDS, "{stops}");
    assert_eq!(
        admin.number(
            "SELECT count(*) FROM tenancy_internal.budget_reservations WHERE state = 'open'"
        ),
        0
    );
    all_agrees(&mut admin, 30);
}
