//! Threads, with names and a stack deep enough for a query planner.

use std::fmt::{self, Debug};
use std::io;
use std::thread::{Builder, JoinHandle};

use thread_priority::ThreadPriority;

/// The stack a thread gets unless told otherwise. It is address space, not memory: a page is taken when touched.
/// Query planning recurses deeply, and the 2 MiB default of Rust is not enough for it: the syntax tree of a thousand SELECTs with
/// UNION ALL between them takes 20 MiB to copy in a debug build.
pub const DEFAULT_STACK_BYTES: usize = 64 * 1024 * 1024;

/// The priority of background tasks, of 0 to 99: on Linux a nice value of 9, with about an eighth of the usual share
/// of a core.
const BACKGROUND_PRIORITY: u8 = 25;

/// What starts threads.
pub trait Spawner: Send + Sync + Debug {
    /// Runs `task` on a thread of its own. Fails when the system gives no thread.
    fn spawn(&self, name: &str, task: Box<dyn FnOnce() + Send>) -> io::Result<TaskHandle>;

    /// The same at a lower priority: the task gets a core when no other wants it, and a small share where all are wanted.
    fn spawn_background(&self, name: &str, task: Box<dyn FnOnce() + Send>) -> io::Result<TaskHandle> {
        let task = move || {
            // Where it cannot be had the task runs as any other: nothing but latencies depends on it.
            let _ = ThreadPriority::try_from(BACKGROUND_PRIORITY).map(thread_priority::set_current_thread_priority);
            task();
        };
        self.spawn(name, Box::new(task))
    }

    /// Called by a task now and then: whoever waits for its core gets it now, and not when the system's scheduler finds
    /// that the task has had it long enough, which takes milliseconds even from one of lower priority.
    fn yield_core(&self) {
        std::thread::yield_now();
    }
}

/// A task as its [`Spawner`] knows it.
pub trait RunningTask: Send + Sync + Debug {
    /// See [`TaskHandle::join`].
    fn join(self: Box<Self>) -> Result<(), TaskPanicked>;

    /// See [`TaskHandle::is_finished`].
    fn is_finished(&self) -> bool;
}

impl RunningTask for JoinHandle<()> {
    fn join(self: Box<Self>) -> Result<(), TaskPanicked> {
        let name = self.thread().name().unwrap_or_default().to_owned();
        JoinHandle::join(*self).map_err(|_| TaskPanicked { name })
    }

    fn is_finished(&self) -> bool {
        JoinHandle::is_finished(self)
    }
}

/// A running task. Dropping the handle lets the task run on.
#[derive(Debug)]
pub struct TaskHandle {
    task: Box<dyn RunningTask>,
}

impl TaskHandle {
    /// For a [`Spawner`] to give out.
    pub fn new(task: impl RunningTask + 'static) -> TaskHandle {
        TaskHandle { task: Box::new(task) }
    }

    /// Waits for the end of the task.
    pub fn join(self) -> Result<(), TaskPanicked> {
        self.task.join()
    }

    /// Whether the task has ended, so that [`TaskHandle::join`] would not wait.
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }
}

/// A task ended by a panic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskPanicked {
    /// The name the task was given.
    pub name: String,
}

impl fmt::Display for TaskPanicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task \"{}\" panicked", self.name)
    }
}

impl std::error::Error for TaskPanicked {}

/// One operating-system thread for each task.
#[derive(Debug)]
pub struct ThreadSpawner {
    stack_bytes: usize,
}

impl ThreadSpawner {
    /// Threads with a stack of 64 MiB (of address space).
    pub fn new() -> ThreadSpawner {
        ThreadSpawner::with_stack_bytes(DEFAULT_STACK_BYTES)
    }

    /// Threads with a stack of this size.
    pub fn with_stack_bytes(stack_bytes: usize) -> ThreadSpawner {
        ThreadSpawner { stack_bytes }
    }
}

impl Default for ThreadSpawner {
    fn default() -> Self {
        ThreadSpawner::new()
    }
}

impl Spawner for ThreadSpawner {
    fn spawn(&self, name: &str, task: Box<dyn FnOnce() + Send>) -> io::Result<TaskHandle> {
        let thread = Builder::new().name(name.to_owned()).stack_size(self.stack_bytes).spawn(task)?;
        Ok(TaskHandle::new(thread))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_has_a_name_and_a_deep_stack() {
        fn deep(levels: usize) -> usize {
            let frame = std::hint::black_box([levels; 64]);
            if levels == 0 { 0 } else { deep(levels - 1) + frame.len() }
        }
        let spawner = ThreadSpawner::new();
        let task = Box::new(|| {
            assert_eq!(std::thread::current().name(), Some("walker"));
            assert_eq!(deep(10_000), 640_000); // over 5 MB of frames
        });
        spawner.spawn("walker", task).unwrap().join().unwrap();
    }

    #[test]
    fn a_panic_is_reported_to_who_joins() {
        let handle = ThreadSpawner::new().spawn("doomed", Box::new(|| panic!("as planned"))).unwrap();
        assert_eq!(handle.join(), Err(TaskPanicked { name: "doomed".to_owned() }));
    }
}
