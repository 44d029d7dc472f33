//! The official suite, `tests/json_schema_suite`.

use super::Schema;
use serde_json::Value;
use std::{collections::BTreeSet, fs, path::Path};

/// Groups or single cases that are left out: the file, the beginning of `group / case`, and the reason.
const SKIPPED: &[(&str, &str, &str)] = &[
    ("defs", "validate definition against metaschema", "needs the document of the metaschema"),
    ("ref", "remote ref, containing refs itself", "needs the document of the metaschema"),
    ("ref", "ref creates new scope when adjacent to keywords", "unevaluatedProperties is not checked"),
    (
        "not",
        "collect annotations inside a 'not', even if collection is disabled / unevaluated property",
        "unevaluatedProperties is not checked",
    ),
];

#[test]
fn the_official_suite_passes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/json_schema_suite");
    let (mut cases, mut failed, mut skipped) = (0, Vec::new(), BTreeSet::new());
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let file = path.file_stem().unwrap().to_str().unwrap();
        let groups: Vec<Value> = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        for group in groups {
            let schema = Schema::new(&group["schema"].to_string());
            for case in group["tests"].as_array().unwrap() {
                let name =
                    format!("{} / {}", group["description"].as_str().unwrap(), case["description"].as_str().unwrap());
                let skip = SKIPPED.iter().find(|(of, start, _)| *of == file && name.starts_with(start));
                if let Some(skip) = skip {
                    skipped.insert(skip);
                    continue;
                }
                cases += 1;
                let found = schema.as_ref().map(|schema| schema.check(&case["data"].to_string()));
                if found.as_ref().map(Result::is_ok) != Ok(case["valid"].as_bool().unwrap()) {
                    failed.push(format!("{file}: {name}: {found:?}"));
                }
            }
        }
    }
    assert!(failed.is_empty(), "{} of {cases} cases:\n{}", failed.len(), failed.join("\n"));
    assert!(cases > 800, "{cases} cases");
    assert_eq!(skipped.len(), SKIPPED.len(), "something is skipped that is not there");
}
