//! Reading the scripts.

/// An isolation level under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

impl Level {
    pub(super) const ALL: [Level; 3] = [Level::ReadCommitted, Level::RepeatableRead, Level::Serializable];

    /// As the scripts write it.
    pub(super) fn short(self) -> &'static str {
        match self {
            Level::ReadCommitted => "RC",
            Level::RepeatableRead => "RR",
            Level::Serializable => "SER",
        }
    }

    /// As SQL writes it.
    pub(super) fn sql(self) -> &'static str {
        match self {
            Level::ReadCommitted => "READ COMMITTED",
            Level::RepeatableRead => "REPEATABLE READ",
            Level::Serializable => "SERIALIZABLE",
        }
    }
}

/// A system that the scripts run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum System {
    DriftDb,
    PostgreSql,
}

impl System {
    pub(super) const ALL: [System; 2] = [System::DriftDb, System::PostgreSql];

    pub(super) fn name(self) -> &'static str {
        match self {
            System::DriftDb => "DriftDB",
            System::PostgreSql => "PostgreSQL",
        }
    }
}

/// A case: statements of several sessions in one order.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) name: String,
    /// Whether it is a row of the table of anomalies.
    pub(super) is_anomaly: bool,
    pub(super) file: &'static str,
    pub(super) setup: Vec<String>,
    pub(super) steps: Vec<Step>,
}

/// What a step does.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Sends a statement.
    Run(String),
    /// Takes the outcome of the statement that the session waits in.
    End,
    /// Sees that the session waits still.
    Wait,
}

/// A line of a case with what has to come of it.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) line: usize,
    pub(super) session: String,
    pub(super) action: Action,
    outcomes: Vec<Outcome>,
}

/// What has to come of a step at some levels on some systems.
#[derive(Debug)]
pub(super) struct Outcome {
    levels: Vec<Level>,
    systems: Vec<System>,
    pub(super) text: String,
    pub(super) shows_anomaly: bool,
}

impl Outcome {
    fn holds(&self, level: Level, system: System) -> bool {
        self.levels.contains(&level) && self.systems.contains(&system)
    }
}

impl Step {
    /// What has to come of it at this level on this system.
    pub(super) fn outcome(&self, level: Level, system: System) -> &Outcome {
        let found = self.outcomes.iter().find(|outcome| outcome.holds(level, system));
        found.unwrap_or_else(|| panic!("line {}: no outcome at {} on {}", self.line, level.short(), system.name()))
    }
}

/// The cases of a script; panics where it is not one.
pub(super) fn parse(file: &'static str, text: &str) -> Vec<Case> {
    let mut shared_setup = Vec::new();
    let mut cases: Vec<Case> = Vec::new();
    for (number, line) in text.lines().enumerate().map(|(index, line)| (index + 1, line.trim_end())) {
        let wrong = || -> ! { panic!("{file}:{number}: not understood: {line}") };
        if line.is_empty() || line.starts_with('#') {
        } else if let Some(title) = line.strip_prefix("== ") {
            let (kind, name) = title.split_once(' ').unwrap_or_else(|| wrong());
            let is_anomaly = kind == "anomaly";
            if !is_anomaly && kind != "case" {
                wrong();
            }
            let (name, setup) = (name.to_owned(), shared_setup.clone());
            cases.push(Case { name, is_anomaly, file, setup, steps: Vec::new() });
        } else if let Some(sql) = line.strip_prefix("setup: ") {
            cases.last_mut().map_or(&mut shared_setup, |case| &mut case.setup).push(sql.to_owned());
        } else {
            let steps = &mut cases.last_mut().unwrap_or_else(|| wrong()).steps;
            if line.starts_with(' ') {
                let outcome = parse_outcome(line.trim_start()).unwrap_or_else(|| wrong());
                steps.last_mut().unwrap_or_else(|| wrong()).outcomes.push(outcome);
            } else {
                steps.push(parse_step(number, line).unwrap_or_else(|| wrong()));
            }
        }
    }
    cases.iter_mut().for_each(complete);
    cases
}

fn parse_step(line: usize, text: &str) -> Option<Step> {
    let step = |session: &str, action| Some(Step { line, session: session.to_owned(), action, outcomes: Vec::new() });
    if let Some((session, sql)) = text.split_once(": ") {
        step(session, Action::Run(sql.to_owned()))
    } else if let Some((session, word)) = text.split_once(' ') {
        match word {
            "ends" => step(session, Action::End),
            "waits" => step(session, Action::Wait),
            _ => None,
        }
    } else {
        None
    }
}

fn parse_outcome(line: &str) -> Option<Outcome> {
    let (conditions, text) = line.split_once("-> ")?;
    let (text, shows_anomaly) = text.strip_suffix(" !").map_or((text, false), |text| (text, true));
    let (mut levels, mut systems) = (Vec::new(), Vec::new());
    for word in conditions.split_whitespace() {
        if let Some(level) = Level::ALL.into_iter().find(|level| level.short() == word) {
            levels.push(level);
        } else {
            systems.push(System::ALL.into_iter().find(|system| system.name() == word)?);
        }
    }
    if levels.is_empty() {
        levels.extend(Level::ALL);
    }
    if systems.is_empty() {
        systems.extend(System::ALL);
    }
    Some(Outcome { levels, systems, text: text.to_owned(), shows_anomaly })
}

/// Fills in the outcomes that are understood, and sees that each step has one at every level on every system.
fn complete(case: &mut Case) {
    for step in &mut case.steps {
        let understood = match &step.action {
            Action::Run(sql) => (!returns_rows(sql) && !counts_rows(sql)).then_some("ok"),
            Action::End => None,
            Action::Wait => Some("waits"),
        };
        if let Some(text) = understood {
            step.outcomes.push(Outcome {
                levels: Level::ALL.to_vec(),
                systems: System::ALL.to_vec(),
                text: text.to_owned(),
                shows_anomaly: false,
            });
        }
        for level in Level::ALL {
            for system in System::ALL {
                step.outcome(level, system);
            }
        }
    }
    assert!(!case.steps.is_empty(), "{}: {} has no steps", case.file, case.name);
}

/// The command that a statement begins with.
pub(super) fn verb(sql: &str) -> &str {
    sql.split_whitespace().next().unwrap_or_default()
}

/// Whether a statement answers with rows.
pub(super) fn returns_rows(sql: &str) -> bool {
    matches!(verb(sql), "SELECT" | "WITH") || sql.contains(" RETURNING ")
}

/// Whether a statement answers with the number of rows that it changed.
pub(super) fn counts_rows(sql: &str) -> bool {
    matches!(verb(sql), "INSERT" | "UPDATE" | "DELETE")
}
