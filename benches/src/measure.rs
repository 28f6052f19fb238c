//! Measures both sides in turns.

use std::time::Instant;

use crate::Fault;

/// One side's turn.
pub struct Turn {
    /// Milliseconds per operation.
    pub ms: f64,
    /// The query's result: all sides must agree in every round.
    pub answer: i64,
}

/// Does one side's turn of a round.
pub type Side<'a> = &'a mut dyn FnMut(usize) -> Result<Turn, Fault>;

/// Runs two warm-up rounds and then `rounds`, each side in turn, beginning with another one each time.
/// The median of each side.
pub fn in_turns(rounds: usize, sides: &mut [Side<'_>]) -> Result<Vec<f64>, Fault> {
    const WARM_UP: usize = 2;
    let mut times = vec![Vec::with_capacity(rounds); sides.len()];
    for round in 0..rounds + WARM_UP {
        let mut answers = vec![0; sides.len()];
        for turn in 0..sides.len() {
            let side = (turn + round) % sides.len();
            let Turn { ms, answer } = sides[side](round)?;
            answers[side] = answer;
            if round >= WARM_UP {
                times[side].push(ms);
            }
        }
        if answers.iter().any(|answer| *answer != answers[0]) {
            return Err(format!("the sides disagree: {answers:?}").into());
        }
    }
    Ok(times.into_iter().map(median).collect())
}

/// Runs `work` this number of times: returns the milliseconds for one, and the sum of its results.
pub fn timed(
    times: usize,
    mut work: impl FnMut(usize) -> Result<i64, Fault>,
) -> Result<Turn, Fault> {
    let began = Instant::now();
    let mut answer = 0_i64;
    for n in 0..times {
        answer = answer.wrapping_add(work(n)?);
    }
    Ok(Turn {
        ms: began.elapsed().as_secs_f64() * 1e3 / times as f64,
        answer,
    })
}

/// Returns the median.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}
