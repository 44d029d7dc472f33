//! Serves a fake chat.qwen.ai, to try qwen-edge without an account or a network.

#[path = "../tests/fake_compatible/mod.rs"]
mod fake_compatible;
#[path = "../tests/fake_qwen/mod.rs"]
mod fake_qwen;

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use clap::Parser;
use fake_compatible::Compatible;
use fake_qwen::{Fake, FaultKind, Stage, StorageFault};

const DELAY_MS: u64 = 40;
const TOKEN_SECONDS: i64 = 30 * 24 * 3600;

/// Serves a fake of chat.qwen.ai and auth.qwen.ai until Ctrl-C.
#[derive(Parser)]
#[command(name = "fake-qwen")]
struct Options {
    /// Port to listen on; 0 takes a free one.
    #[arg(long, default_value_t = 9000)]
    port: u16,
    /// Address to listen on.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Speed limit of one upload to the storage, in MB/s.
    #[arg(long)]
    storage_speed: Option<u64>,
    /// Milliseconds between two events of an answer.
    #[arg(long, default_value_t = DELAY_MS)]
    delay_ms: u64,
    /// A directive, without its brackets, for prompts that have none; may have the steps of each chat.
    #[arg(long, default_value = "")]
    directive: String,
    /// Serve a fake OpenAI-compatible endpoint as well, on this port; 0 takes a free one.
    #[arg(long)]
    compatible_port: Option<u16>,
    /// Print only KEY=VALUE lines.
    #[arg(long)]
    print_env: bool,
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    let fake = Fake::bind(SocketAddr::new(options.host, options.port))?;
    fake.set_default_delay_ms(options.delay_ms);
    fake.set_directive("", &options.directive);
    if let Some(speed) = options.storage_speed {
        let slow = |stage, parallel| {
            StorageFault::new(stage, FaultKind::SlowRead(speed.saturating_mul(1_000_000).div_ceil(parallel)))
        };
        // A multipart upload has three parts in flight.
        fake.set_storage_fault("", &[slow(Stage::Put, 1), slow(Stage::Part(None), 3)]);
    }
    let compatible =
        options.compatible_port.map(|port| Compatible::bind(SocketAddr::new(options.host, port))).transpose()?;
    let (url, token) = (fake.url(), Fake::token("demo", TOKEN_SECONDS));
    let mut out = io::stdout().lock();
    if !options.print_env {
        writeln!(out, "A fake chat.qwen.ai listens on {url}. Start qwen-edge with\n")?;
    }
    writeln!(out, "QWEN_BASE_URL={url}\nQWEN_AUTH_URL={url}\nOSS_URL={url}\nQWEN_AUTH_TOKEN={token}")?;
    if let Some(compatible) = &compatible {
        writeln!(out, "FALLBACK_BASE_URL={}\nFALLBACK_API_KEY={}", compatible.url(), fake_compatible::KEY)?;
    }
    if !options.print_env {
        writeln!(out, "\n{HINT}")?;
    }
    out.flush()?;
    drop(out);
    loop {
        std::thread::park();
    }
}

const HINT: &str = "\
It thinks and then repeats the last line of the prompt. A directive in the prompt changes the answer:

  [[fake say=Hello%20there think=Hm]]        answer and thinking
  [[fake stream=count n=200 delay_ms=10]]    200 numbered deltas, 10 ms apart
  [[fake stream=web_search]]                 a stream from tests/streams
  [[fake fail=rate_limited num=3]]           a failure (waf_json, in_progress, error_amid, …)
  [[fake call=read_file args=%7B%7D]]        a native call, refused
  [[fake steps=One|Two%20words]]             the answers of this chat, one after the other
  [[fake pictures=2]]   [[fake lost=cut]]    two pictures; one that only the chat has (prompts of pictures)
  [[fake run_ms=20000]]                      a video that takes 20 s
  [[fake cut=900]]   [[fake hang]]   [[fake stall=4]]   [[fake gap_ms=30000 keepalive_ms=5000]]

With --compatible-port a second upstream answers models named api:NAME, and what the site refuses:

  [[fake fail=rate_limited num=3]] [[api say=From%20the%20second.]]

Pictures and videos are on this machine, too: qwen-edge fetches them with ALLOW_PRIVATE_URLS=true only. Ctrl-C stops it.";
