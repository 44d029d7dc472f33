//! The ports that the storage client needs.

use crate::platform::{Clock, Entropy, Http, MaybeSend, MaybeSync, Tasks, Telemetry};

/// Requests, time, randomness, and work that continues after the client has left.
pub trait Network: Http + Clock + Entropy + Tasks + Telemetry + Clone + MaybeSend + MaybeSync + 'static {}

impl<P> Network for P where P: Http + Clock + Entropy + Tasks + Telemetry + Clone + MaybeSend + MaybeSync + 'static {}
