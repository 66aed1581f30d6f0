//! Manifests as text, and names of files.
//!
//! A manifest's serialised form has names where the types have enums, so that it can be read
//! without this crate, and outlives a change of the enums' order.

use super::{ArtifactKey, ArtifactManifest, BackendSelection};
use crate::{OptimizationLevel, lookup::RuntimeCacheKey};
use alloy_primitives::B256;
use revm::primitives::hardfork::SpecId;
use serde::{Deserialize, Serialize};

/// The serialised form of a manifest.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    code_hash: B256,
    spec: String,
    backend: String,
    opt_level: String,
    symbol_name: String,
    bytecode_len: usize,
    artifact_len: usize,
    created_at_unix_secs: u64,
    content_hash: B256,
}

/// A manifest with a fork, a compiler or a level that this crate doesn't know.
#[derive(Debug, thiserror::Error)]
#[error("unknown {what}: {name}")]
pub(super) struct UnknownName {
    what: &'static str,
    name: String,
}

impl From<ArtifactManifest> for Record {
    fn from(manifest: ArtifactManifest) -> Self {
        let ArtifactKey { runtime, backend, opt_level } = manifest.artifact_key;
        Self {
            code_hash: runtime.code_hash,
            spec: runtime.spec_id.to_string(),
            backend: backend_name(backend).to_owned(),
            opt_level: level_name(opt_level).to_owned(),
            symbol_name: manifest.symbol_name,
            bytecode_len: manifest.bytecode_len,
            artifact_len: manifest.artifact_len,
            created_at_unix_secs: manifest.created_at_unix_secs,
            content_hash: B256::new(manifest.content_hash),
        }
    }
}

impl TryFrom<Record> for ArtifactManifest {
    type Error = UnknownName;

    fn try_from(record: Record) -> Result<Self, UnknownName> {
        let unknown = |what, name: &str| UnknownName { what, name: name.to_owned() };
        let Record { spec, backend, opt_level, .. } = &record;
        let artifact_key = ArtifactKey {
            runtime: RuntimeCacheKey {
                code_hash: record.code_hash,
                spec_id: spec_named(spec).ok_or_else(|| unknown("fork", spec))?,
            },
            backend: backend_named(backend).ok_or_else(|| unknown("compiler", backend))?,
            opt_level: level_named(opt_level)
                .ok_or_else(|| unknown("optimisation level", opt_level))?,
        };
        Ok(Self {
            artifact_key,
            symbol_name: record.symbol_name,
            bytecode_len: record.bytecode_len,
            artifact_len: record.artifact_len,
            created_at_unix_secs: record.created_at_unix_secs,
            content_hash: record.content_hash.0,
        })
    }
}

/// What artifacts' names end in.
const EXTENSION: &str = ".cranevm";

/// The name of an artifact's file. Made of the key alone.
pub(super) fn file_name(key: &ArtifactKey) -> String {
    let ArtifactKey { runtime: RuntimeCacheKey { code_hash, spec_id }, backend, opt_level } = key;
    let (backend, level) = (backend_name(*backend), level_name(*opt_level));
    format!("{code_hash:x}_{spec_id}_{backend}_{level}{EXTENSION}")
}

/// Whether a name ends like an artifact's.
pub(super) fn is_artifact_name(name: &str) -> bool {
    name.ends_with(EXTENSION)
}

/// The key that an artifact's file is named after. Only the very name that [`file_name`] gives is
/// one.
pub(super) fn key_of(name: &str) -> Option<ArtifactKey> {
    let mut parts = name.strip_suffix(EXTENSION)?.split('_');
    let code_hash = parts.next()?.parse().ok()?;
    let spec_id = spec_named(parts.next()?)?;
    let (backend, opt_level) = (backend_named(parts.next()?)?, level_named(parts.next()?)?);
    let key = ArtifactKey { runtime: RuntimeCacheKey { code_hash, spec_id }, backend, opt_level };
    (file_name(&key) == name).then_some(key)
}

fn spec_named(name: &str) -> Option<SpecId> {
    (0..=u8::MAX).map_while(SpecId::try_from_u8).find(|spec| <&str>::from(*spec) == name)
}

const fn backend_name(backend: BackendSelection) -> &'static str {
    match backend {
        BackendSelection::Auto => "auto",
        BackendSelection::Llvm => "llvm",
    }
}

fn backend_named(name: &str) -> Option<BackendSelection> {
    [BackendSelection::Auto, BackendSelection::Llvm]
        .into_iter()
        .find(|&backend| backend_name(backend) == name)
}

const fn level_name(level: OptimizationLevel) -> &'static str {
    match level {
        OptimizationLevel::None => "none",
        OptimizationLevel::Less => "less",
        OptimizationLevel::Default => "default",
        OptimizationLevel::Aggressive => "aggressive",
    }
}

fn level_named(name: &str) -> Option<OptimizationLevel> {
    use OptimizationLevel::{Aggressive, Default, Less, None};
    [None, Less, Default, Aggressive].into_iter().find(|&level| level_name(level) == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> impl Iterator<Item = ArtifactKey> {
        let specs = (0..=u8::MAX).map_while(SpecId::try_from_u8);
        specs.flat_map(|spec_id| {
            let runtime = RuntimeCacheKey { code_hash: B256::repeat_byte(0xa7), spec_id };
            ["none", "less", "default", "aggressive"].into_iter().flat_map(move |level| {
                ["auto", "llvm"].into_iter().map(move |backend| ArtifactKey {
                    runtime,
                    backend: backend_named(backend).unwrap(),
                    opt_level: level_named(level).unwrap(),
                })
            })
        })
    }

    #[test]
    fn names_lead_back_to_keys() {
        let mut names = std::collections::HashSet::new();
        for key in keys() {
            let name = file_name(&key);
            assert_eq!(key_of(&name), Some(key), "{name}");
            assert!(name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/'), "{name}");
            assert!(names.insert(name));
        }
        let name = file_name(&keys().next().unwrap());
        for other in [
            name.to_uppercase(),
            format!("0x{name}"),
            format!("{name}{EXTENSION}"),
            name.replace("a7", "A7"),
            name.replace('_', "__"),
            name.replace(EXTENSION, ""),
            String::new(),
        ] {
            assert_eq!(key_of(&other), None, "{other}");
        }
    }

    #[test]
    fn manifests_survive_their_text() {
        for key in keys() {
            let manifest = ArtifactManifest {
                artifact_key: key,
                symbol_name: "a\"b".into(),
                bytecode_len: 1,
                artifact_len: usize::MAX,
                created_at_unix_secs: 3,
                content_hash: [9; 32],
            };
            let text = serde_json::to_string(&manifest).unwrap();
            let back: ArtifactManifest = serde_json::from_str(&text).unwrap();
            assert_eq!(format!("{back:?}"), format!("{manifest:?}"));
        }
    }

    #[test]
    fn unknown_names_are_told() {
        let key = keys().next().unwrap();
        let text = format!(
            r#"{{"code_hash":"{}","spec":"Frontier","backend":"llvm","opt_level":"best",
                "symbol_name":"","bytecode_len":1,"artifact_len":1,"created_at_unix_secs":1,
                "content_hash":"{}"}}"#,
            key.runtime.code_hash, key.runtime.code_hash
        );
        let error = serde_json::from_str::<ArtifactManifest>(&text).unwrap_err().to_string();
        assert!(error.contains("unknown optimisation level: best"), "{error}");
    }
}
