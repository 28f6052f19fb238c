//! The printed result: the rate, the refusals, the tree and the verdict.

use crate::drive::Done;
use crate::options::Options;
use crate::trace::Request;
use crate::world::World;
use crate::{Counts, METRICS, sum};

/// Prints the speed.
pub fn rate(options: &Options, requests: &[Request], done: &Done) -> String {
    let seconds = done.took.as_secs_f64().max(1e-9);
    let recorded = requests.last().map_or(0.0, |last| last.at as f64 / 1e6);
    let transactions = (requests.len() + done.admitted.len()) as f64;
    let mut text = format!(
        "{} requests over {} connections in {seconds:.1} s: {:.0} requests and {:.0} transactions a second, {:.1} times as fast as recorded; \
         at most {} open at once",
        grouped(requests.len() as i64),
        options.connections,
        requests.len() as f64 / seconds,
        transactions / seconds,
        recorded / seconds,
        done.open,
    );
    if options.speed.is_some() {
        text += &format!(
            "; a step came {:.0} ms late at most",
            done.late.as_secs_f64() * 1e3
        );
    }
    text + "\n"
}

/// Returns the text about the requests that budgets refused.
pub fn refusals(requests: &[Request], done: &Done, refused: usize, late: usize) -> String {
    let tokens = sum(done.refused.iter().map(|n| requests[*n].counts()));
    format!(
        "{} requests were refused while others were open; when all was quiet {} of them had room, the others, with {} context tokens, had none\n",
        grouped(refused as i64),
        grouped(late as i64),
        grouped(tokens[1]),
    )
}

/// Returns the tree with the usage of each level, without those that used nothing.
pub fn tree(world: &World, said: &[Counts]) -> String {
    let mut text = format!("{:<28}", "");
    for metric in METRICS {
        text += &format!("{:>18}", metric.replace('_', " "));
    }
    branch(world, said, 0, "", "", &mut text);
    text + "\n"
}

fn branch(world: &World, said: &[Counts], at: usize, mark: &str, margin: &str, text: &mut String) {
    let scope = &world.scopes[at];
    let name = match scope.level {
        "project" => format!("{mark}{} (project)", scope.slug),
        _ => format!("{mark}{}", scope.slug),
    };
    *text += &format!("\n{name:<28}");
    for quantity in said[at] {
        *text += &format!("{:>18}", grouped(quantity));
    }
    let children: Vec<usize> = (0..world.scopes.len())
        .filter(|child| world.scopes[*child].parent == Some(at) && said[*child] != [0; 3])
        .collect();
    for (n, child) in children.iter().enumerate() {
        let last = n + 1 == children.len();
        let (mark, more) = if last {
            ("└ ", "  ")
        } else {
            ("├ ", "│ ")
        };
        let (mark, more) = (format!("{margin}{mark}"), format!("{margin}{more}"));
        branch(world, said, *child, &mark, &more, text);
    }
}

/// Prints the result.
pub fn verdict(options: &Options, requests: &[Request], done: &Done, wrong: &[String]) -> String {
    if !wrong.is_empty() {
        let some: Vec<&str> = wrong.iter().take(20).map(String::as_str).collect();
        return format!(
            "{} things do not add up:\n  {}",
            wrong.len(),
            some.join("\n  ")
        );
    }
    let [count, context, generated] = sum(requests.iter().map(Request::counts)).map(grouped);
    let file =
        format!("{count} requests, {context} context tokens and {generated} generated tokens");
    match options.budget {
        None => format!(
            "All of the file is there, {file}: usage(), events and ledger agree at every level, and each level is the sum of the one below."
        ),
        Some(percent) => format!(
            "No level has used more than its {percent} %, nothing was refused that had room, and with the {} refused it is all of the file: {file}. \
             usage(), events and ledger agree at every level, and each level is the sum of the one below.",
            grouped(done.refused.len() as i64)
        ),
    }
}

/// Formats a number as 4,088,665.
fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0 { format!("-{text}") } else { text }
}
