//! Compiles the messages that need no gRPC; `protox` stands in for a system `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    let files = [
        "eschaton/types/v1/transaction.proto",
        "eschaton/log/v1/records.proto",
        "eschaton/state/v1/rows.proto",
        "eschaton/proof/v1/proof.proto",
    ]
    .map(|file| root.join(file));
    println!("cargo::rerun-if-changed={}", root.display());
    let descriptors = protox::compile(&files, [&root])?;
    prost_build::Config::new().bytes(["."]).include_file("messages.rs").compile_fds(descriptors)?;
    Ok(())
}
