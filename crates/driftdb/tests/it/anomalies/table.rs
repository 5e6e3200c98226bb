//! The table of anomalies in the documentation, made from the outcomes that the scripts expect.

use std::fmt::Write as _;

use super::script::{Action, Case, Level, System, verb};

/// What a verdict begins with that says how.
const PREVENTED: &str = "prevented: ";

/// The table: a row a case that is an anomaly, a column a level.
pub(super) fn markdown(cases: &[Case]) -> String {
    let mut table = String::from("| anomaly |");
    for level in Level::ALL {
        write!(table, " {} |", level.sql()).unwrap();
    }
    table.push_str("\n|---|---|---|---|\n");
    for case in cases.iter().filter(|case| case.is_anomaly) {
        write!(table, "| {} |", case.name).unwrap();
        for level in Level::ALL {
            let (ours, theirs) = (verdict(case, level, System::DriftDb), verdict(case, level, System::PostgreSql));
            if ours == theirs {
                write!(table, " {ours} |").unwrap();
            } else {
                let both_prevent = ours.starts_with(PREVENTED);
                let short = theirs.strip_prefix(PREVENTED).filter(|_| both_prevent).unwrap_or(&theirs);
                write!(table, " {ours} (PostgreSQL: {short}) |").unwrap();
            }
        }
        table.push('\n');
    }
    table
}

/// Whether the anomaly occurs, and what keeps it from occurring: nothing where each reads what was committed.
fn verdict(case: &Case, level: Level, system: System) -> String {
    let (mut waits, mut failures) = (false, Vec::new());
    for (index, step) in case.steps.iter().enumerate() {
        let outcome = step.outcome(level, system);
        if outcome.shows_anomaly {
            return "**possible**".to_owned();
        }
        match outcome.text.as_str() {
            "waits" => waits = true,
            state @ ("40001" | "40P01" | "23505") => {
                failures.push(format!("{state} at {}", statement(case, index, level, system)));
            }
            _ => {}
        }
    }
    match (failures.is_empty(), waits) {
        (false, _) => format!("{PREVENTED}{}", failures.join(", ")),
        (true, true) => format!("{PREVENTED}waits"),
        (true, false) => "prevented".to_owned(),
    }
}

/// The command of a step, or of the statement whose end it takes.
fn statement(case: &Case, index: usize, level: Level, system: System) -> &str {
    let session = &case.steps[index].session;
    let until = case.steps[..=index].iter().rev().filter(|step| step.session == *session);
    let mut sent = until.filter_map(|step| match &step.action {
        Action::Run(sql) if step.outcome(level, system).text != "skip" => Some(verb(sql)),
        _ => None,
    });
    sent.next().expect("a statement ends after it was sent")
}
