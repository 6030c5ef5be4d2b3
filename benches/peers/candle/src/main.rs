//! `bench-candle FOLDER`: candle's Llama in f32 on the CPU, with a cache, timed as [`bench_protocol`] says.
//!
//! FOLDER has `config.json` (with `rope_theta` at the top, where candle looks for it) and `model.safetensors`. The number of threads
//! is rayon's: set `RAYON_NUM_THREADS`.

use bench_protocol::{Engine, Error, serve};
use candle_core::{D, DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::llama::{Cache, Config, Llama, LlamaConfig};
use std::path::PathBuf;

struct Candle {
    model: Llama,
    config: Config,
    cache: Cache,
    position: usize,
}

impl Candle {
    fn load(folder: &std::path::Path) -> Result<Self, Error> {
        let config: LlamaConfig = serde_json::from_slice(&std::fs::read(folder.join("config.json"))?)?;
        let config = config.into_config(false);
        let weights = [folder.join("model.safetensors")];
        // SAFETY: the bench's own file; nobody rewrites it while it is mapped.
        let weights = unsafe { VarBuilder::from_mmaped_safetensors(&weights, DType::F32, &Device::Cpu)? };
        let model = Llama::load(weights, &config)?;
        let cache = Self::empty_cache(&config)?;
        Ok(Candle { model, config, cache, position: 0 })
    }

    fn empty_cache(config: &Config) -> candle_core::Result<Cache> {
        Cache::new(true, DType::F32, config, &Device::Cpu)
    }
}

impl Engine for Candle {
    fn name(&self) -> String {
        "candle 0.11.1".into()
    }

    fn reset(&mut self) -> Result<(), Error> {
        self.cache = Self::empty_cache(&self.config)?;
        self.position = 0;
        Ok(())
    }

    fn feed(&mut self, ids: &[u32]) -> Result<u32, Error> {
        let input = Tensor::new(ids, &Device::Cpu)?.unsqueeze(0)?;
        let logits = self.model.forward(&input, self.position, &mut self.cache)?;
        self.position += ids.len();
        Ok(logits.argmax(D::Minus1)?.squeeze(0)?.to_scalar()?)
    }
}

fn main() -> Result<(), Error> {
    let folder: PathBuf = std::env::args_os().nth(1).ok_or("usage: bench-candle FOLDER")?.into();
    Ok(serve(&mut Candle::load(&folder)?)?)
}
