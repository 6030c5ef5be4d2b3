//! What a model is for: the head on top of an architecture's body.

use std::fmt;

/// A task, as transformers' Auto classes name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Task {
    /// The body alone: hidden states (`AutoModel`).
    Base,
    /// The next token of a text.
    CausalLm,
    /// A text from a text, by an encoder and a decoder.
    Seq2SeqLm,
    /// The tokens that were masked.
    MaskedLm,
    /// One class for a text or a pair of texts.
    SequenceClassification,
    /// A class for each token.
    TokenClassification,
    /// Where in a text the answer begins and ends.
    QuestionAnswering,
}

impl Task {
    /// All of them.
    pub const ALL: [Task; 7] = [
        Task::Base,
        Task::CausalLm,
        Task::Seq2SeqLm,
        Task::MaskedLm,
        Task::SequenceClassification,
        Task::TokenClassification,
        Task::QuestionAnswering,
    ];

    /// The task of a model class of transformers, by the end of its name: `BertForMaskedLM` is for [`Task::MaskedLm`].
    pub fn of_class(class: &str) -> Option<Task> {
        let ends = [
            ("ForCausalLM", Task::CausalLm),
            ("LMHeadModel", Task::CausalLm),
            ("ForConditionalGeneration", Task::Seq2SeqLm),
            ("ForMaskedLM", Task::MaskedLm),
            ("ForSequenceClassification", Task::SequenceClassification),
            ("ForTokenClassification", Task::TokenClassification),
            ("ForQuestionAnswering", Task::QuestionAnswering),
            ("Model", Task::Base),
        ];
        ends.into_iter().find(|(end, _)| class.ends_with(end)).map(|(_, task)| task)
    }

    /// The Auto class that loads a model for it.
    pub fn auto_class(self) -> &'static str {
        match self {
            Task::Base => "AutoModel",
            Task::CausalLm => "AutoModelForCausalLM",
            Task::Seq2SeqLm => "AutoModelForSeq2SeqLM",
            Task::MaskedLm => "AutoModelForMaskedLM",
            Task::SequenceClassification => "AutoModelForSequenceClassification",
            Task::TokenClassification => "AutoModelForTokenClassification",
            Task::QuestionAnswering => "AutoModelForQuestionAnswering",
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Task::Base => "hidden states",
            Task::CausalLm => "causal language modelling",
            Task::Seq2SeqLm => "sequence-to-sequence language modelling",
            Task::MaskedLm => "masked language modelling",
            Task::SequenceClassification => "sequence classification",
            Task::TokenClassification => "token classification",
            Task::QuestionAnswering => "question answering",
        })
    }
}
