//! Compiles the gRPC services; `protox` stands in for a system `protoc`.

use std::path::{Path, PathBuf};

use prost::Message;

/// Relative to this package, where cargo runs the script: builds are shared between clones.
const ROOT: &str = "../../proto";

#[allow(clippy::disallowed_methods, reason = "how cargo tells a build script where to write")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(ROOT);
    println!("cargo::rerun-if-changed={ROOT}");
    let files = [
        "eschaton/ingress/v1/ingress.proto",
        "eschaton/query/v1/query.proto",
        "eschaton/proofs/v1/proofs.proto",
        "eschaton/dev/v1/dev.proto",
        "eschaton/timestamp/v1/timestamp.proto",
        "eschaton/anchor/v1/anchor.proto",
        "eschaton/chain/v1/chain.proto",
    ]
    .map(|file| root.join(file));
    let descriptors = protox::compile(&files, [root])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().bytes(".").include_file("services.rs").compile_fds(descriptors)?;
    Ok(())
}
