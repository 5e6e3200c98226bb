//! A history: what each transaction did and was answered, when, and how it ended.

/// Names a list that transactions append to.
pub(super) type Key = u32;
/// What is appended; no value is appended to a key twice, so a value that is read tells who wrote it.
pub(super) type Element = u32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

impl Level {
    pub(super) fn sql(self) -> &'static str {
        match self {
            Level::ReadCommitted => "READ COMMITTED",
            Level::RepeatableRead => "REPEATABLE READ",
            Level::Serializable => "SERIALIZABLE",
        }
    }
}

#[derive(Clone, Debug)]
pub(super) enum Op {
    Append(Key, Element),
    /// The list as it was read, the transaction's own appends included.
    Read(Key, Vec<Element>),
    /// An append that the transaction took back, by ROLLBACK TO SAVEPOINT, before it read the key again.
    Undone(Key, Element),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Committed,
    Aborted,
    /// The server was killed between COMMIT and its answer: the transaction happened, wholly, or did not.
    Unknown,
}

#[derive(Clone, Debug)]
pub(super) struct Transaction {
    pub(super) session: u64,
    pub(super) level: Level,
    pub(super) ops: Vec<Op>,
    /// Before BEGIN was sent. Instants are ticks of one counter, so that their order is that of real time.
    pub(super) invoked: u64,
    /// After the last answer; of an unknown one, when its connection was lost, which is after the server's death.
    pub(super) completed: u64,
    pub(super) outcome: Outcome,
}
