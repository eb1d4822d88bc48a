//! Compiles the messages that need no gRPC; `protox` stands in for a system `protoc`.

/// Relative to this package, where cargo runs the script: builds are shared between clones.
const ROOT: &str = "../../proto";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = std::path::Path::new(ROOT);
    let files = [
        "eschaton/types/v1/transaction.proto",
        "eschaton/log/v1/records.proto",
        "eschaton/log/v1/timestamps.proto",
        "eschaton/state/v1/rows.proto",
        "eschaton/state/v1/timestamps.proto",
        "eschaton/proof/v1/proof.proto",
    ]
    .map(|file| root.join(file));
    println!("cargo::rerun-if-changed={ROOT}");
    let descriptors = protox::compile(&files, [root])?;
    prost_build::Config::new().bytes(["."]).include_file("messages.rs").compile_fds(descriptors)?;
    Ok(())
}
