//! Results of evaluation within the interpreter.

use crate::IrError;

/// What an op's evaluation gives; the reason is put into [`IrError::Eval`] by the caller.
pub(super) type Result<T> = std::result::Result<T, String>;

impl From<IrError> for String {
    fn from(e: IrError) -> String {
        e.to_string()
    }
}
