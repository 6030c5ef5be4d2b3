//! Toy models and a toy tokenizer.

use kiln_runtime::generate::{
    CausalLm, Detokenizer, Encoder, GenerateError, GenerationConfig, Output, Prompt, Request, Step, StepError,
    TextStream, TextStreamError, generate,
};
use std::ops::ControlFlow;

/// A model whose logits are a function of all tokens that a row has seen, those of its source first, and that checks how it is called.
pub struct Toy {
    pub vocab: usize,
    pub context: usize,
    pub rows: usize,
    pub chunk: usize,
    pub slots: Vec<Vec<i64>>,
    pub logits: Vec<f32>,
    pub encoder: Option<Encoder>,
    /// The source of each slot.
    pub sources: Vec<Vec<i64>>,
    /// Rows and columns of every call of the encoder.
    pub encodes: Vec<(usize, usize)>,
    /// Rows and columns of every call.
    pub calls: Vec<(usize, usize)>,
    /// Length of the first row of every call.
    pub lengths: Vec<i64>,
    pub cache_limit: Option<usize>,
    /// Slots of every copy, from and to.
    pub copies: Vec<(usize, usize)>,
    pub rule: fn(&[i64], &mut [f32]),
}

/// Logits that look random and depend on the whole history.
pub fn hashed(history: &[i64], logits: &mut [f32]) {
    let seed = xxhash_rust::xxh3::xxh3_64(bytemuck::cast_slice(history));
    let mut random = fastrand::Rng::with_seed(seed);
    logits.fill_with(|| random.f32() * 8.0 - 4.0);
}

/// Always the token after the last one; the last token of the vocabulary is followed by token 0.
pub fn counting(history: &[i64], logits: &mut [f32]) {
    let next = (*history.last().unwrap() as usize + 1) % logits.len();
    logits.fill(0.0);
    logits[next] = 9.0;
}

impl Toy {
    pub fn new(rule: fn(&[i64], &mut [f32])) -> Self {
        Toy {
            vocab: 32,
            context: 64,
            rows: 4,
            chunk: 64,
            slots: vec![Vec::new(); 4],
            logits: Vec::new(),
            encoder: None,
            sources: vec![Vec::new(); 4],
            encodes: Vec::new(),
            calls: Vec::new(),
            lengths: Vec::new(),
            cache_limit: None,
            copies: Vec::new(),
            rule,
        }
    }

    /// Twelve slots of an encoder-decoder that takes sources of 9 tokens and begins with token 2.
    pub fn encoder_decoder(rule: fn(&[i64], &mut [f32])) -> Self {
        Toy {
            rows: 12,
            slots: vec![Vec::new(); 12],
            sources: vec![Vec::new(); 12],
            encoder: Some(Encoder { max_source: 9, decoder_start_token_id: Some(2) }),
            ..Toy::new(rule)
        }
    }
}

impl CausalLm for Toy {
    fn vocab_size(&self) -> usize {
        self.vocab
    }
    fn max_context(&self) -> usize {
        self.context
    }
    fn max_rows(&self) -> usize {
        self.rows
    }
    fn max_chunk(&self) -> usize {
        self.chunk
    }
    fn cache_limit(&self) -> Option<usize> {
        self.cache_limit
    }

    fn step(&mut self, step: Step<'_>) -> Result<&mut [f32], StepError> {
        let Step { tokens, seq, slots, starts, lengths } = step;
        assert!(seq >= 1 && seq <= self.chunk && !slots.is_empty() && slots.len() <= self.rows);
        assert_eq!((tokens.len(), starts.len()), (slots.len() * seq, slots.len()));
        assert_eq!(lengths.len(), slots.len());
        self.lengths.push(lengths[0]);
        self.calls.push((slots.len(), seq));
        self.logits.clear();
        for (row, (&slot, &start)) in slots.iter().zip(starts).enumerate() {
            assert!(!slots[..row].contains(&slot), "a slot is named once");
            let cache = &mut self.slots[slot as usize];
            if start <= 0 {
                cache.clear();
            }
            assert_eq!(cache.len() as i64, start.max(0), "a row goes on where its slot ends");
            assert!(start + seq as i64 > 0, "the last token is no padding");
            cache.extend(&tokens[row * seq..][..seq][(-start).max(0) as usize..]);
            assert!(cache.len() <= self.context, "the slot overflows");
            let mut logits = vec![0.0; self.vocab];
            let source = &self.sources[slot as usize];
            assert_eq!(source.is_empty(), self.encoder.is_none(), "the encoder has run");
            (self.rule)(&[source.as_slice(), cache].concat(), &mut logits);
            self.logits.extend(logits);
        }
        Ok(&mut self.logits)
    }

    fn copy_slot(&mut self, from: usize, to: usize, len: usize) -> Result<(), StepError> {
        assert_ne!(from, to, "there is nothing to copy");
        assert_eq!(self.slots[from].len(), len, "all of the slot is copied");
        self.copies.push((from, to));
        self.slots[to] = self.slots[from].clone();
        Ok(())
    }

    fn encoder(&self) -> Option<Encoder> {
        self.encoder
    }

    fn encode(&mut self, tokens: &[i64], mask: &[i64], seq: usize, slots: &[i64]) -> Result<(), StepError> {
        assert_eq!((tokens.len(), mask.len()), (slots.len() * seq, slots.len() * seq));
        self.encodes.push((slots.len(), seq));
        for ((tokens, mask), &slot) in tokens.chunks(seq).zip(mask.chunks(seq)).zip(slots) {
            let len = mask.iter().take_while(|&&m| m == 1).count();
            assert!(len > 0 && mask[len..].iter().all(|&m| m == 0), "padding stands on the right: {mask:?}");
            self.sources[slot as usize] = tokens[..len].to_vec();
        }
        Ok(())
    }

    fn copy_source(&mut self, from: usize, to: usize) -> Result<(), StepError> {
        assert_ne!(from, to, "there is nothing to copy");
        self.sources[to] = self.sources[from].clone();
        Ok(())
    }
}

/// Letters for tokens; 26 and above are special.
pub struct Letters;

impl Detokenizer for Letters {
    fn text_stream(&self, skip_special_tokens: bool) -> Box<dyn TextStream + '_> {
        Box::new(LetterStream { skip: skip_special_tokens, held: String::new() })
    }
}

/// Holds every letter back until the next one, as a real one does with half a character.
struct LetterStream {
    skip: bool,
    held: String,
}

impl TextStream for LetterStream {
    fn push(&mut self, id: u32, text: &mut String) -> Result<(), TextStreamError> {
        text.push_str(&self.held);
        self.held = match id {
            0..26 => char::from(b'a' + id as u8).to_string(),
            _ if self.skip => String::new(),
            31 => return Err("token 31 is no letter".into()),
            _ => format!("<{id}>"),
        };
        if self.held != "q" {
            text.push_str(&std::mem::take(&mut self.held));
        }
        Ok(())
    }
    fn finish(&mut self, text: &mut String) -> Result<(), TextStreamError> {
        text.push_str(&std::mem::take(&mut self.held));
        Ok(())
    }
}

pub fn config(json: &str) -> GenerationConfig {
    GenerationConfig::from_json(json.as_bytes()).unwrap()
}

pub fn run(model: &mut Toy, prompts: &[Prompt], config: &GenerationConfig) -> Output {
    generate(model, Request::new(prompts, config), |_| ControlFlow::Continue(())).unwrap()
}

pub fn ids(output: &Output) -> Vec<Vec<u32>> {
    output.rows.iter().map(|r| r.token_ids.clone()).collect()
}

pub fn failure(model: &mut Toy, prompts: &[Prompt], config: &GenerationConfig) -> GenerateError {
    generate(model, Request::new(prompts, config), |_| ControlFlow::Continue(())).unwrap_err()
}
