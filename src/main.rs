//! The box: reads the configuration, listens, serves until it is told to stop.

#[cfg(not(target_arch = "wasm32"))]
mod cli;

#[cfg(not(target_arch = "wasm32"))]
fn main() -> std::process::ExitCode {
    cli::run()
}

/// The Worker is the library; this binary exists only natively.
#[cfg(target_arch = "wasm32")]
fn main() {}
