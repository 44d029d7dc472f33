//! The integration cases, each against both products: the native server and the Worker in workerd.
//!
//! `cargo test --test integration -- native::` runs the cases of one product, `-- streams` those whose name contains a word. The
//! Worker must have been built (`scripts/build-edge`), and Node 22.12 or newer must be first on `PATH`; `scripts/test` does both.

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
#[path = "../documents/mod.rs"]
mod documents;
#[path = "../fake_compatible/mod.rs"]
mod fake_compatible;
#[path = "../fake_qwen/mod.rs"]
mod fake_qwen;
mod form;
mod hostile_bodies;
mod http;
mod server;

use std::{process::ExitCode, sync::Arc};

use libtest_mimic::{Arguments, Trial};

use server::Suite;

/// The program under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    Native,
    Worker,
}

impl Product {
    const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Worker => "worker",
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let suite = Arc::new(Suite::new());
    let mut trials = Vec::new();
    for case in cases::all() {
        for product in [Product::Native, Product::Worker] {
            let suite = Arc::clone(&suite);
            let skipped = case.only.is_some_and(|(only, _)| only != product);
            let name = match case.only {
                Some((_, reason)) if skipped => format!("{}::{} (skipped: {reason})", product.name(), case.name),
                _ => format!("{}::{}", product.name(), case.name),
            };
            let run = case.run;
            let trial = Trial::test(name, move || {
                let started = std::time::Instant::now();
                suite.run(run, product, cases::time_limit(case.name));
                if std::env::var_os("SHOW_TIMES").is_some() {
                    eprintln!("{} took {:?}", case.name, started.elapsed());
                }
                Ok(())
            });
            trials.push(trial.with_ignored_flag(skipped));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    suite.end();
    conclusion.exit_code()
}
