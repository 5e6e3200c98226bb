//! Panics, caught quietly, with the place they came from. `DRIFTDB_TEST_PANICS=1` has each of them printed: where a panic
//! comes while another unwinds the process dies, and only that says why.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;

thread_local! {
    /// How many [`catch`]es this thread is in.
    static CATCHING: Cell<usize> = const { Cell::new(0) };
    /// The last panic within one.
    static LAST: RefCell<Option<Panicked>> = const { RefCell::new(None) };
    /// The first one within them that was our own.
    static OWN: RefCell<Option<Panicked>> = const { RefCell::new(None) };
}

/// A panic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Panicked {
    message: String,
    /// The source file that it came from, and the line.
    file: String,
    line: u32,
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it panics at {}:{}: {}", self.file, self.line, self.message)
    }
}

impl Panicked {
    fn of(info: &PanicHookInfo<'_>) -> Panicked {
        let place = info.location().map(|at| (at.file().to_owned(), at.line()));
        let (file, line) = place.unwrap_or_default();
        Panicked { message: info.payload_as_str().unwrap_or_default().to_owned(), file, line }
    }

    /// Whether it came from a library that is not ours.
    fn is_of_a_library(&self) -> bool {
        self.file.contains("/registry/src/")
    }
}

/// Does work over which it may come to a panic; says which, and nothing of it is printed.
pub(crate) fn catch<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let other = panic::take_hook();
        let loud = std::env::var_os("DRIFTDB_TEST_PANICS").is_some();
        panic::set_hook(Box::new(move |info| {
            if CATCHING.get() == 0 || loud {
                other(info);
            }
            let panicked = Panicked::of(info);
            OWN.with_borrow_mut(|own| {
                if own.is_none() && !panicked.is_of_a_library() {
                    *own = Some(panicked.clone());
                }
            });
            LAST.set(Some(panicked));
        }));
    });
    CATCHING.set(CATCHING.get() + 1);
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    CATCHING.set(CATCHING.get() - 1);
    done.map_err(|_| {
        let unknown =
            || Panicked { message: "a panic of which nothing is known".to_owned(), file: String::new(), line: 0 };
        LAST.take().unwrap_or_else(unknown)
    })
}

/// The first panic of our own since this was asked for last, whoever caught it: code that survives the panics of a library
/// must not hide its own.
pub(crate) fn take_own() -> Option<Panicked> {
    OWN.take()
}

/// Does work in which a library may panic over damaged files, and we have to live with it: `None` then. (A panic of our own
/// fails the target all the same.)
pub fn excuse_libraries<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch(work).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_are_caught_with_their_place() {
        let panicked = catch::<()>(|| panic!("number {}", 7)).unwrap_err();
        assert_eq!(panicked.message, "number 7");
        assert!(panicked.file.ends_with("panics.rs") && panicked.line > 0, "{panicked:?}");
        assert_eq!(catch(|| 5), Ok(5));
    }

    #[test]
    fn our_own_panics_are_not_excused() {
        take_own();
        assert_eq!(excuse_libraries(|| [1, 2].get(5).unwrap() + 1), None);
        let mut panicked = take_own().unwrap();
        assert!(panicked.message.contains("None"), "{panicked:?}");
        assert_eq!(take_own(), None);
        panicked.file = "/root/.cargo/registry/src/index/redb-4.6.0/src/lib.rs".to_owned();
        assert!(panicked.is_of_a_library());
    }
}
