//! `kiln cache`: what the compile cache holds.

use super::outln;
use crate::{CacheEntry, CompileCache, Manifest, Result};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::Path;
use std::time::SystemTime;

#[derive(Args)]
pub struct CacheArgs {
    #[command(subcommand)]
    verb: CacheVerb,
}

#[derive(Subcommand)]
enum CacheVerb {
    /// Show the compiled models that are kept, the last used first.
    List {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Remove them all. A process that runs one of them goes on.
    Clear {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
}

pub fn run(args: &CacheArgs) -> Result<()> {
    let cache = CompileCache::from_env()?;
    match args.verb {
        CacheVerb::List { json } => list(&cache, json),
        CacheVerb::Clear { json } => clear(&cache, json),
    }
}

fn list(cache: &CompileCache, json: bool) -> Result<()> {
    let entries = cache.entries()?;
    let bytes: u64 = entries.iter().map(|e| e.bytes).sum();
    if json {
        let entries: Vec<Value> = entries.iter().map(as_json).collect();
        return outln!(
            "{}",
            json!({ "folder": folder(cache), "limit": cache.limit(), "bytes": bytes, "entries": entries })
        );
    }
    for CacheEntry { path, bytes, used, manifest } in &entries {
        let what = manifest.as_ref().map_or("damaged".to_string(), |m| {
            let revision = m.model.revision.as_deref().map(|r| format!("@{r}")).unwrap_or_default();
            format!("{}{revision}, {}, {}, kiln {}", m.model.id, m.model.auto_class, targets(m), m.kiln)
        });
        let name = path.file_name().unwrap_or_default().display();
        outln!("{name}  {:>9}  used {:>10}  {what}", size(*bytes), age(*used))?;
    }
    let of = cache.limit().map_or("no limit".into(), |limit| format!("{} at most", size(limit)));
    let folder = cache.folder().map_or("no cache folder".into(), |folder| folder.display().to_string());
    outln!("{} models, {}, {of}, in {folder}", entries.len(), size(bytes))
}

fn clear(cache: &CompileCache, json: bool) -> Result<()> {
    let (removed, bytes) = cache.clear()?;
    match json {
        true => outln!("{}", json!({ "folder": folder(cache), "removed": removed, "bytes": bytes })),
        false => outln!("{removed} models removed, {}", size(bytes)),
    }
}

fn folder(cache: &CompileCache) -> Option<std::borrow::Cow<'_, str>> {
    cache.folder().map(Path::to_string_lossy)
}

fn as_json(entry: &CacheEntry) -> Value {
    let since = entry.used.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let manifest = entry.manifest.as_ref();
    json!({
        "path": entry.path.to_string_lossy(),
        "bytes": entry.bytes,
        "used": since.as_secs(),
        "damaged": manifest.is_none(),
        "kiln": manifest.map(|m| &m.kiln),
        "model": manifest.map(|m| &m.model),
        "target": manifest.map(targets),
    })
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{:.1} kB", bytes as f64 * 1e-3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 * 1e-6),
        _ => format!("{:.1} GB", bytes as f64 * 1e-9),
    }
}

/// How long ago a time was.
fn age(time: SystemTime) -> String {
    match time.elapsed().unwrap_or_default().as_secs() {
        seconds @ 0..120 => format!("{seconds} s ago"),
        seconds @ 120..7200 => format!("{} min ago", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h ago", seconds / 3600),
        seconds => format!("{} d ago", seconds / 86_400),
    }
}

/// The names of the targets that an artifact has code for.
fn targets(manifest: &Manifest) -> String {
    manifest.builds.iter().map(|build| build.target.name()).collect::<Vec<_>>().join(" and ")
}
