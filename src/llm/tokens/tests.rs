use std::{collections::BTreeMap, fs};

use serde::Deserialize;
use serde_json::json;

use super::{estimate_text, estimate_tokens, scan, weights::WEIGHTS};
use crate::llm::{
    FunctionCall, Media, MediaClass, MediaSource, Message, OutputFormat, Part, Request, Role, Tool, ToolCall,
    ToolChoice, ToolKind,
};

/// A text and how many tokens it is for Qwen's tokenizer.
#[derive(Deserialize)]
struct Sample {
    class: String,
    name: String,
    /// Whether the weights were fitted without it.
    held_out: bool,
    tokens: u64,
    text: String,
}

fn samples() -> Vec<Sample> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tokens/samples.jsonl");
    fs::read_to_string(file).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The relative errors of a class, sorted: the median, and the 95th percentile.
fn spread(mut errors: Vec<f64>) -> (f64, f64) {
    errors.sort_by(f64::total_cmp);
    let at = |share: f64| errors[((errors.len() - 1) as f64 * share).round() as usize];
    (at(0.5), at(0.95))
}

#[test]
fn estimates_are_within_their_bounds() {
    let mut by_class = BTreeMap::<(bool, String), Vec<f64>>::new();
    for Sample { class, name, held_out, tokens, text } in samples() {
        assert!(tokens > 0, "{name} has no count");
        let error = estimate_text(&text).abs_diff(tokens) as f64 / tokens as f64;
        by_class.entry((held_out, class)).or_default().push(error);
    }
    for ((held_out, class), errors) in by_class {
        let (median, most) = spread(errors);
        // Other languages are not promised; these bounds only notice a change.
        let bounds = if class == "other" { (0.25, 0.45) } else { (0.10, 0.25) };
        assert!(median <= bounds.0 && most <= bounds.1, "{class}, held out {held_out}: {median:.3}, {most:.3}");
    }
}

/// What `scripts/calibrate-tokens` fits the weights to: it names a file of texts in `TOKEN_TEXTS`, a JSON array, and finds
/// the features of each in the same place.
#[test]
fn features_are_written_for_the_calibration() {
    let Some(file) = std::env::var_os("TOKEN_TEXTS") else { return };
    let texts: Vec<String> = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let features = |text: &String| {
        let mut counts = [0_u32; scan::Feature::COUNT];
        scan::scan(text, |feature| counts[feature.0] += 1);
        counts.to_vec()
    };
    fs::write(file, serde_json::to_vec(&texts.iter().map(features).collect::<Vec<_>>()).unwrap()).unwrap();
}

#[test]
fn every_feature_has_a_weight() {
    for sample in samples() {
        scan::scan(&sample.text, |feature| assert!(feature.0 < WEIGHTS.len(), "{}", sample.name));
    }
}

#[test]
fn texts_are_taken_apart_as_by_the_tokenizer() {
    // Single digits, a blank of its own before a digit, indentation, and line ends that punctuation takes.
    for (text, tokens) in [
        ("", 0),
        (" ", 1),
        ("7", 1),
        ("2026", 4),
        ("a 7", 3),
        ("hello world", 2),
        ("Hello world", 2),
        ("\n\n\n", 1),
        ("x\n    y", 4),
        ("你好", 1),
    ] {
        assert_eq!(estimate_text(text), tokens, "{text:?}");
    }
    assert!(estimate_text("\u{10ffff}") >= 1 && estimate_text("\u{0}") >= 1);
}

#[test]
fn any_text_has_an_estimate_near_its_parts() {
    proptest::proptest!(|(first in "\\PC{0,40}", second in "\\PC{0,40}")| {
        let (one, two) = (estimate_text(&first), estimate_text(&second));
        let both = estimate_text(&format!("{first}\n{second}"));
        proptest::prop_assert!(both <= one + two + 4 && both + 6 >= one.max(two), "{} {} {}", one, two, both);
        proptest::prop_assert!(both <= 4 * (first.len() + second.len() + 1) as u64);
    });
}

fn attached(class: MediaClass) -> Part {
    let (source, param) = (MediaSource::Content("aGk=".repeat(10_000)), String::new());
    Part::Media(Box::new(Media { class, source, filename: None, format: None, param, word: "image_url".into() }))
}

#[test]
fn each_part_of_a_request_counts() {
    let estimate = |change: fn(&mut Request)| {
        let mut request =
            Request { messages: vec![Message::text(Role::User, "Hello world".to_owned())], ..Request::default() };
        change(&mut request);
        estimate_tokens(&request)
    };
    let tool = || Tool {
        name: "get_weather".to_owned(),
        description: Some("Get the weather of a city.".to_owned()),
        parameters: Some(r#"{"type":"object","properties":{"city":{"type":"string"}}}"#.into()),
        kind: ToolKind::Function,
        strict: false,
    };
    let plain = estimate(|_| {});
    assert_eq!(plain, 6);
    assert_eq!(estimate_tokens(&Request::default()), 0);
    assert!(
        estimate(|request| request.messages.insert(0, Message::text(Role::System, "Be brief.".to_owned()))) > plain
    );
    assert!(estimate(|request| request.messages[0].parts.push(attached(MediaClass::Image))) > plain + 1_000);
    assert!(
        estimate(|request| request.messages[0].parts.push(attached(MediaClass::Image))) < plain + 2_000,
        "the content of an attachment is no text"
    );
    let mut request = Request { tools: [tool()].into(), ..Request::default() };
    let with_tool = estimate_tokens(&request);
    assert!((280..400).contains(&with_tool), "{with_tool}");
    request.tools = [tool(), tool()].into();
    let more = estimate_tokens(&request) - with_tool;
    assert!((30..60).contains(&more), "the explanation counts once: {more}");
    request.tool_choice = ToolChoice::None;
    assert_eq!(estimate_tokens(&request), 0, "no tools are shown");
    let with_call = |arguments: &str| {
        let function = FunctionCall { name: Some("get_weather".into()), arguments: Some(arguments.into()) };
        let mut asked = Message::text(Role::Assistant, String::new());
        asked.tool_calls.push(ToolCall { id: Some("call_1".into()), function: Some(Box::new(function)) });
        let mut told = Message::text(Role::Tool, "18 degrees".to_owned());
        told.tool_call_id = Some("call_1".to_owned());
        estimate_tokens(&Request { messages: vec![asked, told], ..Request::default() })
    };
    assert!(with_call(r#"{"city":"Oslo"}"#) > with_call("{}"));
    let schema = json!({"type": "object", "properties": {"age": {"type": "integer"}}}).to_string();
    let format =
        Some(OutputFormat { schema: Some(schema.into()), param: "response_format", ..OutputFormat::default() });
    assert!(estimate_tokens(&Request { format, ..Request::default() }) > 30);
}
