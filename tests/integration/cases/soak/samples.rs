//! What the server uses while it runs: memory, descriptors, and the size of its database.

use std::{fmt::Write as _, path::Path};

/// One measurement.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    pub seconds: f64,
    /// Which start of the server it is of, from 1.
    pub life: usize,
    /// Resident memory of the process, in bytes.
    pub resident: u64,
    /// Heap and buffers of the Worker's isolate after a garbage collection.
    pub heap: Option<u64>,
    /// The linear memory of the Worker's module.
    pub wasm: Option<u64>,
    pub descriptors: usize,
    pub database: u64,
    /// Answers that the site is sending.
    pub open_streams: usize,
    pub requests: u64,
    pub errors: u64,
}

impl Sample {
    /// The memory that counts: what lives in the isolate, or what the process has.
    pub fn memory(&self) -> Option<u64> {
        match (self.heap, self.wasm) {
            (Some(heap), Some(wasm)) => Some(heap + wasm),
            _ => None,
        }
    }
}

/// Resident memory and open descriptors of a process; `None` when it is gone.
pub fn process(pid: u32) -> Option<(u64, usize)> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some((kib * 1024, std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count()))
}

/// The bytes of all files in a folder.
pub fn folder_bytes(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => folder_bytes(&entry.path()),
        Ok(data) => data.len(),
        Err(_) => 0,
    };
    entries.filter_map(Result::ok).map(size).sum()
}

pub fn csv(samples: &[Sample]) -> String {
    let mut text = "seconds,life,resident,heap,wasm,descriptors,database,open_streams,requests,errors\n".to_owned();
    for it in samples {
        let optional = |value: Option<u64>| value.map(|value| value.to_string()).unwrap_or_default();
        let _ = writeln!(
            text,
            "{:.1},{},{},{},{},{},{},{},{},{}",
            it.seconds,
            it.life,
            it.resident,
            optional(it.heap),
            optional(it.wasm),
            it.descriptors,
            it.database,
            it.open_streams,
            it.requests,
            it.errors
        );
    }
    text
}

/// How a series of (seconds, value) develops.
#[derive(Clone, Copy, Debug)]
pub struct Trend {
    pub count: usize,
    /// Medians of the first and the last third.
    pub first: f64,
    pub last: f64,
    /// The median of the slopes of all pairs (Theil and Sen), for an hour.
    pub per_hour: f64,
}

/// The trend of a series of six measurements or more.
pub fn trend(points: &[(f64, f64)]) -> Option<Trend> {
    if points.len() < 6 {
        return None;
    }
    let third = points.len() / 3;
    let values = |part: &[(f64, f64)]| median(part.iter().map(|(_, value)| *value).collect());
    let mut slopes = Vec::new();
    for (at, (from, low)) in points.iter().enumerate() {
        slopes.extend(points[at + 1..].iter().filter(|(to, _)| to > from).map(|(to, high)| (high - low) / (to - from)));
    }
    Some(Trend {
        count: points.len(),
        first: values(&points[..third]),
        last: values(&points[points.len() - third..]),
        per_hour: median(slopes) * 3_600.0,
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
