//! `bench-kiln ARTIFACT [--threads N]`: a compiled model, timed as [`bench_protocol`] says.

use bench_protocol::{Engine, Error, argmax, serve};
use kiln_runtime::generate::{CausalLm, Step};
use kiln_runtime::{CacheOptions, CausalSession, LoadOptions, Model};
use std::sync::Arc;

const USAGE: &str = "usage: bench-kiln ARTIFACT [--threads N]";

/// One row, from position `position` on.
struct Kiln {
    session: CausalSession,
    position: i64,
}

impl Kiln {
    fn new(model: &Arc<Model>) -> Result<Self, Error> {
        Ok(Kiln { session: CausalSession::new(model, &CacheOptions::default())?, position: 0 })
    }
}

impl Engine for Kiln {
    fn name(&self) -> String {
        "kiln".into()
    }

    fn reset(&mut self) -> Result<(), Error> {
        // What the cache holds past a position is never seen, so there is nothing to clear.
        self.position = 0;
        Ok(())
    }

    fn feed(&mut self, ids: &[u32]) -> Result<u32, Error> {
        let mut next = 0;
        for chunk in ids.chunks(self.session.max_chunk()) {
            let tokens: Vec<i64> = chunk.iter().map(|id| i64::from(*id)).collect();
            let (starts, seq) = ([self.position], tokens.len());
            self.position += seq as i64;
            // The length of what is read so far; only models whose rotary embedding follows it look at it.
            let step = Step { tokens: &tokens, seq, slots: &[0], starts: &starts, lengths: &[self.position] };
            next = argmax(self.session.step(step)?);
        }
        Ok(next)
    }
}

fn main() -> Result<(), Error> {
    let (mut artifact, mut options) = (None, LoadOptions::default());
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--threads" => options.threads = Some(args.next().ok_or(USAGE)?.parse()?),
            _ if artifact.is_none() && !arg.starts_with('-') => artifact = Some(arg),
            _ => return Err(USAGE.into()),
        }
    }
    let model = Model::open(artifact.ok_or(USAGE)?, &options)?;
    Ok(serve(&mut Kiln::new(&model)?)?)
}
