//! What a row begins with, or an encoder takes.

use super::GenerateError;

/// The tokens of one row before generation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prompt {
    /// Token ids, left padding included.
    pub ids: Vec<u32>,
    /// How many of the first ids are padding. As in transformers they count towards `max_length` and n-grams, and nothing else sees
    /// them; an encoder does not take them. Rows of different length need no padding of the caller's.
    pub padding: usize,
    /// The row's stream of random numbers; its index in the batch where none is given.
    pub stream: Option<u64>,
}

impl Prompt {
    /// A prompt without padding.
    pub fn new(ids: impl Into<Vec<u32>>) -> Self {
        Prompt { ids: ids.into(), padding: 0, stream: None }
    }

    /// Row `row` of a batch that was padded on the left, with its attention mask.
    pub fn masked(row: usize, ids: impl Into<Vec<u32>>, mask: &[i64]) -> Result<Self, GenerateError> {
        let ids = ids.into();
        let problem = |problem: String| Err(GenerateError::Mask { row, problem, expected: ids.len() });
        if mask.len() != ids.len() {
            return problem(format!("it has {} numbers", mask.len()));
        }
        let padding = mask.iter().take_while(|&&m| m == 0).count();
        if let Some(at) = mask[padding..].iter().position(|&m| m != 1) {
            return problem(format!("{} at position {}, after the padding", mask[padding + at], padding + at));
        }
        Ok(Prompt { ids, padding, stream: None })
    }

    /// The tokens that the model sees.
    pub fn tokens(&self) -> &[u32] {
        self.ids.get(self.padding..).unwrap_or_default()
    }

    /// Checks the prompt of row `row` against a model's limits.
    pub(super) fn check(&self, row: usize, vocab_size: usize, max_context: usize) -> Result<(), GenerateError> {
        let found = self.tokens().len();
        if found == 0 {
            return Err(GenerateError::EmptyPrompt { row });
        }
        if found > max_context {
            return Err(GenerateError::PromptTooLong { row, found, max_context });
        }
        match self.ids.iter().position(|&id| id as usize >= vocab_size) {
            Some(position) => {
                Err(GenerateError::TokenOutOfVocabulary { row, position, id: self.ids[position], vocab_size })
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_zeros_then_ones() {
        let prompt = Prompt::masked(0, [9, 9, 4, 5], &[0, 0, 1, 1]).unwrap();
        assert_eq!((prompt.padding, prompt.tokens()), (2, &[4, 5][..]));
        assert_eq!(Prompt::masked(0, [4, 5], &[1, 1]).unwrap(), Prompt::new([4, 5]));
        for (mask, found) in [
            (&[1, 1, 0, 0][..], "0 at position 2"),
            (&[0, 1, 0, 1], "0 at position 2"),
            (&[0, 2, 1, 1], "2 at position 1"),
            (&[1, 1], "it has 2 numbers"),
        ] {
            let message = Prompt::masked(3, [9, 9, 4, 5], mask).unwrap_err().to_string();
            assert!(message.contains("prompt 3") && message.contains(found), "{message}");
        }
    }

    #[test]
    fn limits_are_checked_with_both_numbers_named() {
        let message = |prompt: Prompt| prompt.check(1, 10, 3).unwrap_err().to_string();
        assert!(message(Prompt::new([])).contains("prompt 1 is empty"));
        assert!(message(Prompt { ids: vec![1, 1], padding: 2, stream: None }).contains("empty"));
        assert!(message(Prompt { ids: vec![1], padding: 5, stream: None }).contains("empty"));
        let long = message(Prompt::new([1, 2, 3, 4]));
        assert!(long.contains("4 tokens") && long.contains("context of 3"), "{long}");
        let foreign = message(Prompt::new([1, 10]));
        assert!(foreign.contains("id 10 at position 1") && foreign.contains("size 10"), "{foreign}");
        Prompt { ids: vec![1, 2, 3, 4], padding: 1, stream: None }.check(0, 10, 3).unwrap();
    }
}
