//! The figures of a soak: a table on standard error, and files for the plots.

use std::{collections::BTreeMap, fmt::Write as _, path::Path, sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{
    World,
    samples::{self, Sample, Trend, trend},
};

const MIB: f64 = 1024.0 * 1024.0;
/// The share of a life that does not count: pools and caches fill.
const WARM_UP: f64 = 0.2;

/// The log lines of all lives.
pub async fn lines(world: &World) -> Vec<String> {
    let native: Vec<String> = world.logs.lock().unwrap().iter().flat_map(|log| log.lock().unwrap().clone()).collect();
    if native.is_empty() { world.server().log().await } else { native }
}

/// Prints what the log says of each error without an explanation, while the soak runs.
pub async fn explain(world: Arc<World>) {
    let mut done = 0;
    loop {
        let is_last = world.is_over();
        // Output of the Worker arrives later than its response.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let all = world.ledger.all_unexplained().1;
        if all.len() > done {
            let lines = lines(&world).await;
            let ids = all[done..].iter().filter_map(|text| text.split(' ').find(|word| word.starts_with("soak-")));
            for id in ids {
                near(&lines, id).iter().for_each(|line| eprintln!("LOG at {id}: {line}"));
            }
            done = all.len();
        }
        if is_last {
            return;
        }
    }
}

/// The lines of a request, and the lines around them that are not of requests that went well.
fn near<'a>(lines: &'a [String], id: &str) -> Vec<&'a String> {
    let id = format!("\"{id}\"");
    let Some(at) = lines.iter().position(|line| line.contains(&id)) else { return Vec::new() };
    let around = lines.iter().enumerate().skip(at.saturating_sub(150)).take(200);
    let told = around.filter(|(_, line)| line.contains(&id) || !line.contains("\"message\":\"request\""));
    told.map(|(_, line)| line).collect()
}

/// How often the log has each warning.
fn warnings(lines: &[String]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for line in lines {
        let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if ["WARN", "ERROR"].contains(&text(&line["level"]).to_uppercase().as_str()) {
            let message = [&line["message"], &line["fields"]["message"]].map(text).concat();
            *counts.entry(message).or_default() += 1;
        }
    }
    counts
}

/// The samples of the longest life, without its warm-up.
fn longest(samples: &[Sample]) -> Vec<&Sample> {
    let mut lives: BTreeMap<usize, Vec<&Sample>> = BTreeMap::new();
    samples.iter().for_each(|sample| lives.entry(sample.life).or_default().push(sample));
    let length = |life: &Vec<&Sample>| match (life.first(), life.last()) {
        (Some(first), Some(last)) => last.seconds - first.seconds,
        _ => 0.0,
    };
    let longest = lives.into_values().max_by(|one, two| length(one).total_cmp(&length(two))).unwrap_or_default();
    let from = longest.first().map_or(0.0, |first| first.seconds) + length(&longest) * WARM_UP;
    longest.into_iter().filter(|sample| sample.seconds >= from).collect()
}

fn describe(name: &str, trend: Option<Trend>, unit: &str, scale: f64) -> String {
    match trend {
        None => format!("{name}: too few measurements\n"),
        Some(it) => format!(
            "{name}: {:.1} {unit} in the first third, {:.1} in the last, {:+.2} {unit} an hour, of {} measurements\n",
            it.first / scale,
            it.last / scale,
            it.per_hour / scale,
            it.count
        ),
    }
}

/// Prints the figures, and writes them where `SOAK_FOLDER` says.
pub fn print(world: &World, all: &[Sample], lines: &[String]) {
    let product = format!("{:?}", world.case.product).to_lowercase();
    let seconds = world.begun.elapsed().as_secs_f64();
    let (requests, errors) = world.ledger.totals();
    let mut text =
        format!("soak of {product}: {seconds:.0} s, {requests} requests, {:.1} a second\n", requests as f64 / seconds);
    let _ = writeln!(text, "\n| requests | outcome | explained by | number |\n|---|---|---|---:|");
    for ((kind, outcome, explanation), count) in world.ledger.rows() {
        let _ = writeln!(text, "| {kind} | {outcome} | {explanation} | {count} |");
    }
    let _ = writeln!(text, "\n| event | number |\n|---|---:|");
    for (name, count) in world.ledger.events() {
        let _ = writeln!(text, "| {name} | {count} |");
    }
    let renewals =
        world.fake.requests().iter().filter(|it| it.path_and_query.starts_with("/api/v2/auths/refresh")).count();
    let _ = writeln!(text, "| renewals of access tokens | {renewals} |");
    let _ = writeln!(text, "| lives of the server | {} |", world.life.load(std::sync::atomic::Ordering::SeqCst));
    let _ = writeln!(text, "| uploads that are neither complete nor aborted | {} |\n", world.fake.open_uploads());
    let _ = writeln!(text, "| warning in the log | number |\n|---|---:|");
    for (message, count) in warnings(lines) {
        let _ = writeln!(text, "| {message} | {count} |");
    }
    text.push('\n');
    let part = longest(all);
    let series = |value: fn(&Sample) -> Option<u64>| {
        let points: Vec<_> = part.iter().filter_map(|it| Some((it.seconds, value(it)? as f64))).collect();
        trend(&points)
    };
    let memory = series(Sample::memory);
    text += &describe(
        "resident memory in the longest life",
        series(|it| (it.resident > 0).then_some(it.resident)),
        "MiB",
        MIB,
    );
    if memory.is_some() {
        text += &describe("memory of the isolate in the longest life", memory, "MiB", MIB);
    }
    text +=
        &describe("open descriptors in the longest life", series(|it| Some(it.descriptors as u64)), "descriptors", 1.0);
    text += &describe("database in the longest life", series(|it| Some(it.database)), "MiB", MIB);
    let (unexplained, _) = world.ledger.all_unexplained();
    let _ = writeln!(text, "errors: {errors}, unexplained: {unexplained}");
    eprintln!("\n{text}");
    if let Some(folder) = std::env::var_os("SOAK_FOLDER") {
        let write = |name: String, text: &str| std::fs::write(Path::new(&folder).join(name), text).unwrap();
        write(format!("soak-{product}.csv"), &samples::csv(all));
        write(format!("soak-{product}.md"), &text);
        write(format!("soak-{product}-server.log"), &lines.join("\n"));
        let summary: Value =
            json!({ "seconds": seconds, "requests": requests, "errors": errors, "unexplained": unexplained });
        write(format!("soak-{product}.json"), &summary.to_string());
    }
}
