//! The interactive prompt: history, several lines until the semicolon.

use std::borrow::Cow;
use std::path::PathBuf;

use anyhow::Result;
use driftdb_env::{Env, OpenOptions};
use reedline::{
    FileBackedHistory, Prompt, PromptEditMode, PromptHistorySearch, Reedline, Signal, ValidationResult, Validator,
};

use super::split;
use crate::say::complain;

/// Lines of history that are kept.
const HISTORY_LINES: usize = 10_000;

/// Asks for what to do.
pub(super) struct Asker {
    editor: Reedline,
    prompt: DriftPrompt,
}

/// What came from the keyboard.
pub(super) enum Typed {
    /// Text that is complete.
    Text(String),
    /// Ctrl-C: forget it.
    Nothing,
    /// Ctrl-D.
    End,
}

impl Asker {
    /// An editor with the history of earlier shells, where there is a home to keep it in.
    pub(super) fn new(env: &Env, name: &str) -> Result<Asker> {
        let mut editor = Reedline::create().with_validator(Box::new(Complete));
        if let Some(home) = std::env::var_os("HOME") {
            let file = PathBuf::from(home).join(".driftdb_history");
            // Made here, so that it is its owner's alone: what is typed may be as secret as what is stored.
            let made = env.disk.open(&file, OpenOptions::CREATE).map_err(|error| error.to_string());
            let opened = made.and_then(|_| {
                FileBackedHistory::with_file(HISTORY_LINES, file.clone()).map_err(|error| error.to_string())
            });
            match opened {
                Ok(history) => editor = editor.with_history(Box::new(history)),
                Err(error) => complain!("no history: {}: {error}", file.display()),
            }
        }
        Ok(Asker { editor, prompt: DriftPrompt { name: name.to_owned() } })
    }

    /// Waits for the next input.
    pub(super) fn ask(&mut self) -> Result<Typed> {
        Ok(match self.editor.read_line(&self.prompt)? {
            Signal::Success(text) => Typed::Text(text),
            Signal::CtrlD => Typed::End,
            _ => Typed::Nothing,
        })
    }
}

struct Complete;

impl Validator for Complete {
    fn validate(&self, line: &str) -> ValidationResult {
        if split::is_complete(line) { ValidationResult::Complete } else { ValidationResult::Incomplete }
    }
}

struct DriftPrompt {
    name: String,
}

impl Prompt for DriftPrompt {
    fn render_prompt_left(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.name)
    }

    fn render_prompt_right(&self) -> Cow<'_, str> {
        Cow::Borrowed("")
    }

    fn render_prompt_indicator(&self, _mode: PromptEditMode) -> Cow<'_, str> {
        Cow::Borrowed("=> ")
    }

    fn render_prompt_multiline_indicator(&self) -> Cow<'_, str> {
        Cow::Borrowed("-> ")
    }

    fn render_prompt_history_search_indicator(&self, search: PromptHistorySearch) -> Cow<'_, str> {
        Cow::Owned(format!("(search: {}) ", search.term))
    }
}
