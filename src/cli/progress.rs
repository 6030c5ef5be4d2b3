//! What is shown on stderr while something takes long; nothing where stderr is no terminal.

use crate::{Progress, Transfer};
use indicatif::{ProgressBar, ProgressStyle};

/// Something whose end nobody knows.
pub(super) fn spinner(message: &'static str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message(message);
    bar.enable_steady_tick(std::time::Duration::from_millis(100));
    bar
}

/// A bar for each download.
pub(super) fn downloads() -> Progress {
    Progress::new(|name, bytes| {
        let bar = ProgressBar::new(bytes);
        if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:30}] {bytes}/{total_bytes} {eta}") {
            bar.set_style(style.progress_chars("=> "));
        }
        Download(bar.with_message(name.to_string()))
    })
}

struct Download(ProgressBar);

impl Transfer for Download {
    fn at(&self, bytes: u64) {
        self.0.set_position(bytes);
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// A bar for so many inputs; nothing where there is one input.
pub(super) fn of_inputs(inputs: usize) -> ProgressBar {
    if inputs < 2 {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(inputs as u64);
    if let Ok(style) = ProgressStyle::with_template("[{bar:30}] {pos}/{len} {eta}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}
