//! The only room that names a runtime: sockets, clocks, randomness and the database behind small ports.
//!
//! `native` uses tokio, hyper and SQLite. `worker` uses workerd and D1. `testing` uses a virtual clock, scripted answers and
//! SQLite in memory. `docs/platforms.md` lists the differences.

pub mod address;
mod boxed;
mod database;
mod helpers;
mod messages;
#[cfg(not(target_arch = "wasm32"))]
pub mod native;
mod ports;
mod random;
mod request;
pub mod telemetry;
#[cfg(all(test, not(target_arch = "wasm32")))]
pub(crate) mod testing;
#[cfg(target_arch = "wasm32")]
pub mod worker;

pub use boxed::{BoxFuture, BoxStream, MaybeSend, MaybeSync};
pub use database::{DatabaseError, Row, Statement, StoreHealth, Value};
pub use helpers::{ask, patient, timeout, work_on};
pub use messages::{Asset, Body, ByteStream, FetchError, FetchErrorKind, FetchResponse, Payload, READ_SIZE};
pub use ports::{Assets, Clock, Database, Entropy, Http, NoRandomness, Platform, Reach, Tasks, Telemetry, unique};
pub use request::{Headers, Request, RequestBody, sendable};
pub use telemetry::{AccountGauges, Gauges};
