//! The native server and its commands.

#[cfg(not(target_arch = "wasm32"))]
mod cli;

#[cfg(not(target_arch = "wasm32"))]
fn main() -> std::process::ExitCode {
    cli::run()
}

/// The Worker is the library; this binary has no purpose on its target.
#[cfg(target_arch = "wasm32")]
fn main() {}
