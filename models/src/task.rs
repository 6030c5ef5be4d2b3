//! What a model is for: the head on top of an architecture's body.

use std::cmp::Ordering;
use std::fmt;

/// A task, as transformers' Auto classes name them.
///
/// [`Task::ALL`] are those that this crate has architectures for. A crate of a user's own makes another one with [`Task::new`] and
/// registers architectures for it ([`register`](crate::auto::register)).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Task {
    auto_class: &'static str,
    name: &'static str,
    class_ends: &'static [&'static str],
}

// They read like an enum's, but there may be more.
#[allow(non_upper_case_globals)]
impl Task {
    /// The body alone: hidden states (`AutoModel`).
    pub const Base: Task = Task::new("AutoModel", "hidden states", &["Model"]);
    /// The next token of a text.
    pub const CausalLm: Task =
        Task::new("AutoModelForCausalLM", "causal language modelling", &["ForCausalLM", "LMHeadModel"]);
    /// A text from a text, by an encoder and a decoder.
    pub const Seq2SeqLm: Task =
        Task::new("AutoModelForSeq2SeqLM", "sequence-to-sequence language modelling", &["ForConditionalGeneration"]);
    /// The tokens that were masked.
    pub const MaskedLm: Task = Task::new("AutoModelForMaskedLM", "masked language modelling", &["ForMaskedLM"]);
    /// One class for a text or a pair of texts.
    pub const SequenceClassification: Task =
        Task::new("AutoModelForSequenceClassification", "sequence classification", &["ForSequenceClassification"]);
    /// A class for each token.
    pub const TokenClassification: Task =
        Task::new("AutoModelForTokenClassification", "token classification", &["ForTokenClassification"]);
    /// Where in a text the answer begins and ends.
    pub const QuestionAnswering: Task =
        Task::new("AutoModelForQuestionAnswering", "question answering", &["ForQuestionAnswering"]);
}

impl Task {
    /// The tasks of this crate's architectures.
    pub const ALL: [Task; 7] = [
        Task::Base,
        Task::CausalLm,
        Task::Seq2SeqLm,
        Task::MaskedLm,
        Task::SequenceClassification,
        Task::TokenClassification,
        Task::QuestionAnswering,
    ];

    /// A task: the Auto class that loads a model for it, what it is for people, and the ends of the names of transformers' model classes
    /// for it.
    pub const fn new(auto_class: &'static str, name: &'static str, class_ends: &'static [&'static str]) -> Task {
        Task { auto_class, name, class_ends }
    }

    /// The Auto class that loads a model for it.
    pub fn auto_class(self) -> &'static str {
        self.auto_class
    }

    /// Of these, the task of a model class of transformers, by the end of its name: `BertForMaskedLM` is for [`Task::MaskedLm`].
    pub(crate) fn of_class(class: &str, known: impl IntoIterator<Item = Task>) -> Option<Task> {
        let ends = |task: &Task| task.class_ends.iter().filter(|end| class.ends_with(*end)).map(|end| end.len()).max();
        // The longest end is that of the task: `LMHeadModel` ends in `Model`, too.
        let fitting = known.into_iter().filter_map(|task| Some((ends(&task)?, task)));
        fitting.max_by_key(|(length, _)| *length).map(|(_, task)| task)
    }

    /// Where it stands among those of this crate; others come after them.
    fn order(&self) -> (usize, &'static str, &'static str, &'static [&'static str]) {
        let place = Task::ALL.iter().position(|task| task == self).unwrap_or(Task::ALL.len());
        (place, self.auto_class, self.name, self.class_ends)
    }
}

impl Ord for Task {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}

impl PartialOrd for Task {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.auto_class)
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_of_transformers_are_for_a_task() {
        let images = Task::new("AutoModelForImageClassification", "image classification", &["ForImageClassification"]);
        let of_class = |class| Task::of_class(class, Task::ALL.into_iter().chain([images]));
        for (class, task) in [
            ("BertModel", Task::Base),
            ("LlamaForCausalLM", Task::CausalLm),
            ("GPT2LMHeadModel", Task::CausalLm),
            ("T5ForConditionalGeneration", Task::Seq2SeqLm),
            ("BertForMaskedLM", Task::MaskedLm),
            ("BartForSequenceClassification", Task::SequenceClassification),
            ("BertForTokenClassification", Task::TokenClassification),
            ("RobertaForQuestionAnswering", Task::QuestionAnswering),
            ("ViTForImageClassification", images),
        ] {
            assert_eq!(of_class(class), Some(task), "{class}");
        }
        assert_eq!(of_class("ViTForMaskedImageModeling"), None);
        assert!(Task::ALL.is_sorted() && Task::QuestionAnswering < images);
    }
}
