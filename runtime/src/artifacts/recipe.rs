//! How a configuration makes artifacts and what it accepts: without a backend, for tools.

use super::{
    ArtifactKey, ArtifactManifest, ArtifactProblem, BackendSelection, StoredArtifact,
    read::read_artifact,
};
use crate::{
    OptimizationLevel, error::CompileFailure, lookup::RuntimeCacheKey, runtime::RuntimeConfig,
};
use alloy_primitives::{B256, hex, keccak256};
use cranevm_codegen::{
    CompileError, CompiledCode, Compiler, CompilerOptions, OpcodeSet,
    artifact::{self, Expected, FORMAT, Header, Identity, abi_hash},
    on_deep_stack,
};
use std::time::SystemTime;

/// What artifacts of a configuration are: how they are compiled, named and checked.
///
/// A [`JitBackend`](crate::runtime::JitBackend) with the same configuration takes what is made
/// here, and the other way round.
#[derive(Clone, Debug)]
pub struct ArtifactRecipe {
    options: CompilerOptions,
    level: OptimizationLevel,
}

/// An artifact, not stored yet.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// Describes it.
    pub manifest: ArtifactManifest,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Compiles contracts to artifacts.
#[derive(Debug)]
pub struct ArtifactCompiler {
    recipe: ArtifactRecipe,
    compiler: Compiler,
}

impl ArtifactCompiler {
    /// Compiles `code`, whose key is `key`, whatever stack the calling thread has.
    ///
    /// # Errors
    /// Those of the compiler; [`CompileFailure::WrongHash`] if it is the key of other code.
    pub fn compile(
        &mut self,
        key: RuntimeCacheKey,
        code: &[u8],
    ) -> Result<Artifact, CompileFailure> {
        match keccak256(code) {
            found if found == key.code_hash => {}
            found => return Err(CompileFailure::WrongHash { found }),
        }
        let compiled = on_deep_stack(|| self.compiler.compile(code, key.spec_id))??;
        let identity = self.compiler.identity(key.code_hash);
        Ok(self.recipe.encode(key, &compiled, &identity))
    }
}

impl ArtifactRecipe {
    /// The recipe of a configuration.
    pub fn new(config: &RuntimeConfig) -> Self {
        Self::with_options(config.compiler_options(), config.tuning.aot_opt_level)
    }

    /// `options` are those of the backend's other compilations.
    pub(crate) fn with_options(options: CompilerOptions, level: OptimizationLevel) -> Self {
        // Whole, for an artifact isn't compiled a second time when a guess turns out wrong.
        let options = CompilerOptions { opt_level: level, compile_all: true, ..options };
        Self { options, level }
    }

    /// How artifacts are compiled.
    pub(crate) const fn options(&self) -> &CompilerOptions {
        &self.options
    }

    /// The key of a program's artifact.
    pub const fn key(&self, runtime: RuntimeCacheKey) -> ArtifactKey {
        // Stores of clients rebuild keys with this value; what made a file is told by the file.
        ArtifactKey { runtime, backend: BackendSelection::Llvm, opt_level: self.level }
    }

    /// A compiler of artifacts, for one contract after the other.
    ///
    /// # Errors
    /// If there is none for this machine.
    pub fn compiler(&self) -> Result<ArtifactCompiler, CompileError> {
        Ok(ArtifactCompiler { recipe: self.clone(), compiler: Compiler::new(self.options)? })
    }

    /// [`compiler`](Self::compiler), for artifacts that another machine loads. Nothing is assumed
    /// of its CPU beyond what all of its kind have.
    ///
    /// # Errors
    /// If no code is generated for `target`.
    #[cfg(feature = "cranelift")]
    pub fn compiler_for(
        &self,
        target: cranevm_codegen::Triple,
    ) -> Result<ArtifactCompiler, CompileError> {
        let compiler = Compiler::for_target(self.options, target)?;
        Ok(ArtifactCompiler { recipe: self.clone(), compiler })
    }

    /// Makes an artifact of what was compiled with [`options`](Self::options).
    pub(crate) fn encode(
        &self,
        key: RuntimeCacheKey,
        code: &CompiledCode,
        identity: &Identity,
    ) -> Artifact {
        let bytes = artifact::encode(code, identity);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let manifest = ArtifactManifest {
            artifact_key: self.key(key),
            symbol_name: symbol_name(key, &identity.machine.triple),
            bytecode_len: code.code_len() as usize,
            artifact_len: bytes.len(),
            created_at_unix_secs: now.map_or(0, |since| since.as_secs()),
            content_hash: keccak256(&bytes).0,
        };
        Artifact { manifest, bytes }
    }

    /// Checks a stored artifact as a backend does before it loads it.
    ///
    /// # Errors
    /// Why a backend wouldn't load it as the program of `key`.
    pub fn verify(
        &self,
        key: RuntimeCacheKey,
        stored: &StoredArtifact,
    ) -> Result<(), ArtifactProblem> {
        self.decode(key, None, OpcodeSet::ZERO, stored).map(drop)
    }

    /// Reads and checks a stored artifact, for who has these foreign opcodes.
    pub(crate) fn decode(
        &self,
        key: RuntimeCacheKey,
        code_len: Option<usize>,
        foreign: OpcodeSet,
        stored: &StoredArtifact,
    ) -> Result<CompiledCode, ArtifactProblem> {
        let bytes = read_artifact(stored)?;
        self.decode_bytes(key, code_len, foreign, (&stored.manifest, &bytes))
    }

    /// Checks an artifact that was read.
    pub(crate) fn decode_bytes(
        &self,
        key: RuntimeCacheKey,
        code_len: Option<usize>,
        foreign: OpcodeSet,
        (manifest, bytes): (&ArtifactManifest, &[u8]),
    ) -> Result<CompiledCode, ArtifactProblem> {
        let hash = B256::new(manifest.content_hash);
        let expected = Expected {
            code_hash: key.code_hash,
            code_len,
            spec_id: key.spec_id,
            options: &CompilerOptions { foreign, ..self.options },
            cranelift: Some(Compiler::CRANELIFT),
            artifact_hash: (!hash.is_zero()).then_some(hash),
        };
        Ok(artifact::decode(bytes, &expected)?)
    }

    /// Whether this is the key of an artifact of this configuration.
    pub(crate) fn is_own(&self, key: &ArtifactKey) -> bool {
        *key == self.key(key.runtime)
    }

    /// Whether a file that was refused for this reason stands where this configuration puts its
    /// own. Artifacts of another level may be those of another configuration.
    pub(crate) fn may_delete(&self, key: &ArtifactKey, problem: &ArtifactProblem) -> bool {
        match problem {
            ArtifactProblem::Refused(_) => self.is_own(key),
            // The file, or the store, may be well again later.
            _ => false,
        }
    }
}

/// What an artifact says of itself, unverified.
///
/// # Errors
/// If its file can't be read, or isn't an artifact of this format.
pub fn read_header(stored: &StoredArtifact) -> Result<Header, ArtifactProblem> {
    use std::io::Read;
    let unreadable = |source| {
        let path = stored.dylib_path.clone();
        ArtifactProblem::Unreadable { path, source }
    };
    let file = std::fs::File::open(&stored.dylib_path).map_err(unreadable)?;
    let mut prefix = Vec::new();
    file.take(Header::MAX_LEN as u64).read_to_end(&mut prefix).map_err(unreadable)?;
    Ok(Header::read(&prefix)?)
}

/// The name of a contract's entry, which tells what it is for: format, target, ABI.
fn symbol_name(key: RuntimeCacheKey, target: &str) -> String {
    let RuntimeCacheKey { code_hash, spec_id } = key;
    let abi = hex::encode(&abi_hash()[..8]);
    format!("cranevm{FORMAT}_{target}_{abi}_{code_hash:x}_{spec_id:?}")
}
