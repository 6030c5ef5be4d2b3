//! What the command prints.

use crate::Result;
use kiln_runtime::cli::CliError;
use std::io::Write;

/// Prints to stdout. That it is closed or full is an error like others, and no panic.
macro_rules! out {
    ($($text:tt)*) => {
        $crate::cli::print::print(format_args!($($text)*))
    };
}
pub(crate) use out;

/// The same, and the end of the line.
macro_rules! outln {
    ($($text:tt)*) => {
        $crate::cli::print::print(format_args!("{}\n", format_args!($($text)*)))
    };
}
pub(crate) use outln;

pub(super) fn print(text: std::fmt::Arguments<'_>) -> Result<()> {
    Ok(std::io::stdout().write_fmt(text).map_err(CliError::from)?)
}

/// Prints to stderr, which may be closed.
macro_rules! note {
    ($($text:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}
pub(crate) use note;
