//! What is being done, shown to a person while it takes time: a line on standard error that goes
//! away when it is done.
//!
//! Only a terminal gets it, and not one that is `dumb`; what a program reads of standard error stays
//! as it is without.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::output::harmless;

/// What is over sooner needs no line.
const SHOWN_AFTER: Duration = Duration::from_millis(300);
const FRAME: Duration = Duration::from_millis(100);
const FRAMES: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];

/// The line; dropped, it is gone.
#[derive(Debug)]
pub struct Working {
    bar: ProgressBar,
    what: Arc<Mutex<String>>,
}

impl Working {
    /// Begins to show that this is being done.
    #[must_use]
    pub fn on(what: &str) -> Self {
        let what = Arc::new(Mutex::new(harmless(what)));
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if !bar.is_hidden() {
            let shown = what.clone();
            let line = move |state: &ProgressState, line: &mut dyn std::fmt::Write| {
                let time = state.elapsed();
                if time < SHOWN_AFTER {
                    return;
                }
                let frames = usize::try_from(time.as_millis() / FRAME.as_millis()).unwrap_or(0);
                let frame = FRAMES.get(frames % FRAMES.len()).unwrap_or(&' ');
                let what = shown.lock().unwrap_or_else(PoisonError::into_inner);
                // It is text in memory.
                let _ = write!(line, "{frame} {what}, {} s", time.as_secs());
            };
            // The template is this one word, which the key explains.
            if let Ok(style) = ProgressStyle::with_template("{line}") {
                bar.set_style(style.with_key("line", line));
                bar.enable_steady_tick(FRAME);
            }
        }
        Self { bar, what }
    }

    /// From here on it is this.
    pub fn now(&self, what: &str) {
        *self.what.lock().unwrap_or_else(PoisonError::into_inner) = harmless(what);
    }

    /// Does something that writes to the terminal, without the line in its way.
    pub fn aside<T>(&self, work: impl FnOnce() -> T) -> T {
        self.bar.suspend(work)
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
