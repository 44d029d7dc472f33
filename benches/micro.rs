//! What the inner steps cost, each alone: `scripts/bench micro`.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use std::{alloc::System, hint::black_box};

use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use qwen_edge::{
    chat::{Form, Output},
    openai::{ChunkWriter, Identity},
    oss::{Credentials, Scope, Signable},
    qwen::{AnswerStream, EventReader, Flow},
    secret::Secret,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CREATED: &str = "data: {\"response.created\":{\"chat_id\":\"c\",\"parent_id\":\"u\",\"response_id\":\"r\",\"response_index\":\"0\"}}\n\n";
/// As the site sends it, usage and all.
const DELTA: &str = "data: {\"choices\": [{\"delta\": {\"role\": \"assistant\", \"content\": \"seven \", \"phase\": \"answer\", \"status\": \"typing\"}}], \"response_id\": \"r\", \"usage\": {\"input_tokens\": 1049, \"output_tokens\": 7, \"characters\": 0, \"total_tokens\": 1056, \"input_tokens_details\": {\"text_tokens\": 1049}, \"output_tokens_details\": {\"reasoning_tokens\": 0, \"text_tokens\": 7}, \"prompt_tokens_details\": {\"cached_tokens\": 0}}, \"timestamp\": 1790000006}\n\n";

fn identity() -> Identity {
    Identity {
        id: "chatcmpl-0123456789abcdef0123456789abcdef".to_owned(),
        created: 1_790_000_000,
        model: "qwen3-max".to_owned(),
    }
}

/// A stream that has begun.
fn begun() -> (AnswerStream, Output) {
    let mut output = Output::new(identity(), &Form::Stream { include_usage: true }, Vec::new(), None);
    let mut stream = AnswerStream::default();
    for piece in [CREATED, DELTA] {
        assert!(stream.feed(piece.as_bytes(), &mut output).unwrap());
    }
    (stream, output)
}

/// How often memory is asked for while deltas come one by one and each is handed out at once.
fn allocations(_: &mut Criterion) {
    const DELTAS: usize = 10_000;
    let (mut stream, mut output) = begun();
    drop(output.take());
    let region = Region::new(ALLOCATOR);
    for _ in 0..DELTAS {
        stream.feed(DELTA.as_bytes(), &mut output).unwrap();
        drop(output.take());
    }
    let stats = region.change();
    println!("allocations for {DELTAS} deltas: {}, growths: {}", stats.allocations, stats.reallocations);
}

fn streams(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("stream");
    group.throughput(Throughput::Elements(1));
    group.bench_function("delta: bytes of the site to bytes of the client", |bench| {
        let (mut stream, mut output) = begun();
        bench.iter(|| {
            stream.feed(black_box(DELTA.as_bytes()), &mut output).unwrap();
            black_box(output.take())
        });
    });
    group.bench_function("reader: one event", |bench| {
        let mut reader = EventReader::default();
        bench.iter(|| {
            reader.feed(black_box(DELTA.as_bytes()), |said| {
                black_box(&said);
                Flow::Continue(())
            })
        });
    });
    group.bench_function("writer: one chunk", |bench| {
        let (writer, mut out) = (ChunkWriter::new(identity(), true), BytesMut::with_capacity(4096));
        bench.iter(|| {
            out.clear();
            writer.content(&mut out, black_box("seven "));
        });
    });
    group.finish();
}

fn signatures(criterion: &mut Criterion) {
    let credentials =
        Credentials { access_key_id: "STS.NTexample".to_owned(), access_key_secret: Secret::new("example-secret") };
    let signable = Signable {
        method: "PUT",
        bucket: "qwen-webui-prod",
        key: "0123/4567_photo.jpg",
        query: &[("partNumber", Some("7")), ("uploadId", Some("0004B9894A22E5B1888A1E29F8236E2D"))],
        headers: &[
            ("content-type", "image/jpeg"),
            ("x-oss-content-sha256", "UNSIGNED-PAYLOAD"),
            ("x-oss-date", "20261124T100000Z"),
            ("x-oss-security-token", "CAIS0example"),
        ],
        additional_headers: &[],
    };
    let scope = Scope { region: "ap-southeast-1", time: "20261124T100000Z" };
    criterion.bench_function("signer: one request", |bench| {
        bench.iter(|| black_box(&signable).authorization(&credentials, scope))
    });
}

criterion_group!(benches, allocations, streams, signatures);
criterion_main!(benches);
