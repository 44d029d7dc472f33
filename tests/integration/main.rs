//! The cases, each against both products: the native binary and the Worker in workerd.
//!
//! `cargo test --test integration -- box::` runs those of one product, `-- streams` those whose name holds a word. The Worker
//! must have been built (`scripts/build-edge`), and Node 22.12 or newer be first on `PATH`: `scripts/test` sees to both.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::print_stderr,
    clippy::string_slice,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod cases;
#[path = "../fake_qwen/mod.rs"]
mod fake_qwen;
mod form;
mod hostile_bodies;
mod http;
mod server;

use std::{process::ExitCode, sync::Arc};

use libtest_mimic::{Arguments, Trial};

use server::World;

/// What a case runs against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    Box,
    Edge,
}

impl Product {
    const fn name(self) -> &'static str {
        match self {
            Self::Box => "box",
            Self::Edge => "edge",
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let world = Arc::new(World::new());
    let mut trials = Vec::new();
    for case in cases::all() {
        for product in [Product::Box, Product::Edge] {
            let world = Arc::clone(&world);
            let skipped = case.only.is_some_and(|(only, _)| only != product);
            let name = match case.only {
                Some((_, why)) if skipped => format!("{}::{} (skipped: {why})", product.name(), case.name),
                _ => format!("{}::{}", product.name(), case.name),
            };
            let run = case.run;
            let trial = Trial::test(name, move || {
                let started = std::time::Instant::now();
                world.run(run, product);
                if std::env::var_os("SHOW_TIMES").is_some() {
                    eprintln!("{} took {:?}", case.name, started.elapsed());
                }
                Ok(())
            });
            trials.push(trial.with_ignored_flag(skipped));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    world.end();
    conclusion.exit_code()
}
