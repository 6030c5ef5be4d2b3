//! Bars for what takes long.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar on stderr for so many bytes; nothing where stderr is no terminal.
pub(super) fn progress_bar(bytes: u64, message: &str) -> ProgressBar {
    let bar = ProgressBar::new(bytes);
    if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:30}] {bytes}/{total_bytes} {eta}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.with_message(message.to_string())
}
