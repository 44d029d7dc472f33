//! What a client's model name means: a model of the site, and how it is to answer.

use std::collections::BTreeMap;

use super::models::{Model, ModelList};
use crate::llm::Quality;

/// The predecessor's aliases. A literal id always goes first.
const ALIASES: &[(&str, &str)] = &[
    ("gpt-3.5-turbo", "qwen-turbo-2025-02-11"),
    ("gpt-4", "qwen-plus-2025-09-11"),
    ("gpt-4-turbo", "qwen3-max"),
    ("qvq", "qvq-72b-preview-0310"),
    ("qwen", "qwen3-max"),
    ("qwen-max", "qwen-max-latest"),
    ("qwen-plus", "qwen-plus-2025-09-11"),
    ("qwen-plus-old", "qwen-plus-2025-01-25"),
    ("qwen-turbo", "qwen-turbo-2025-02-11"),
    ("qwen2.5", "qwen2.5-72b-instruct"),
    ("qwen2.5-14b", "qwen2.5-14b-instruct-1m"),
    ("qwen2.5-72b", "qwen2.5-72b-instruct"),
    ("qwen2.5-coder", "qwen2.5-coder-32b-instruct"),
    ("qwen2.5-omni", "qwen2.5-omni-7b"),
    ("qwen2.5-vl", "qwen2.5-vl-32b-instruct"),
    ("qwen3", "qwen3-max"),
    ("qwen3-235b", "qwen3-235b-a22b"),
    ("qwen3-30b", "qwen3-30b-a3b"),
    ("qwen3-coder", "qwen3-coder-plus"),
    ("qwen3-coder-30b", "qwen3-coder-30b-a3b-instruct"),
    ("qwen3-omni", "qwen3-omni-flash"),
    ("qwen3-vl", "qwen3-vl-plus"),
    ("qwq", "qwq-32b"),
];

/// What a client's model name asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The id to send upstream.
    pub id: String,
    /// `-thinking` or `-fast`.
    pub thinking: Option<bool>,
    /// `-search`.
    pub search: bool,
}

/// An alias may lead to another one; so often that is followed.
const MAX_ALIASES: usize = 4;

/// Names of other vendors' models begin so. Some clients offer no others.
const VENDORS: [&str; 4] = ["claude-", "gpt-", "chatgpt-", "gemini-"];
/// Their words for a model that answers at once.
const SMALL: [&str; 4] = ["haiku", "mini", "nano", "flash"];

/// What decides over a name, beside itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names<'a> {
    /// The live list, if it is known.
    pub(super) live: Option<&'a ModelList>,
    /// `MODEL_ALIASES`, in lower case.
    pub(super) aliases: &'a BTreeMap<String, String>,
    /// `DEFAULT_MODEL`
    pub(super) default: &'a str,
}

/// Finds the model that `name` means: a live id or display name, an alias, or either with suffixes. Another vendor's name means
/// the default model. An unknown name stands for itself. The suffixes of an alias' target count as well, after those of the
/// name.
#[must_use]
pub(super) fn choose(name: &str, names: Names<'_>) -> Choice {
    let name = name.trim();
    let mut choice = Choice { id: name.to_owned(), thinking: None, search: false };
    let mut base = name.to_owned();
    // What is known of the name so far; without that it stands for itself, suffixes and all.
    let mut known = None;
    for _ in 0..=MAX_ALIASES {
        let (found, stem) = resolve(&base, names, &mut choice);
        match found {
            Some(Meaning::Model(id)) => return Choice { id, ..choice },
            Some(Meaning::Alias(target)) => {
                known = Some(Choice { id: target.clone(), ..choice.clone() });
                base = target;
            }
            None => {
                // Without a list nobody can tell whether the suffix is part of an id, and then it most likely is ours.
                if names.live.is_none() && !stem.is_empty() {
                    return Choice { id: stem, ..choice };
                }
                break;
            }
        }
    }
    known.unwrap_or(Choice { id: name.to_owned(), thinking: None, search: false })
}

/// What a name of an image model means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PictureChoice {
    /// The upstream id of the text model that carries the request.
    pub text_model: String,
    /// The site's name of the image model; `None` = its default.
    pub image_model: Option<String>,
}

/// The site's image models, the default one first.
const IMAGE_MODELS: &[&str] = &["qwen-image", "qwen-image-3.0-pro", "qwen-image-3.0", "qwen-image-2.0-pro"];
/// The site's image models, and what makes videos: no list of the site names them. Their time is that of the newest of `listed`,
/// since clients want one.
pub fn media_models(listed: &ModelList) -> impl Iterator<Item = Model> {
    let created = listed.iter().map(|model| model.created).max().unwrap_or(0);
    let model = move |id: &str, abilities: &[&str]| Model {
        created,
        id: id.to_owned(),
        name: id.to_owned(),
        owned_by: "qwen".to_owned(),
        capabilities: abilities.iter().map(|ability| ((*ability).to_owned(), true)).collect(),
        ..Model::default()
    };
    let images = IMAGE_MODELS.iter().map(move |id| model(id, &["image_generation", "image_edit"]));
    images.chain(std::iter::once(model(VIDEO_MODEL, &["video_generation"])))
}

/// How the names of text models end that are to draw.
const DRAWS: &str = "-image";

/// What a client's name of an image model means. `text` = the text model that carries what names none.
pub(super) fn choose_picture(name: &str, quality: Quality, text: &str, names: Names<'_>) -> PictureChoice {
    let lower = name.trim().to_lowercase();
    let wanted = names.aliases.get(&lower).map_or(lower, |target| target.trim().to_lowercase());
    let carried_by = |text_model: String, image_model: Option<String>| PictureChoice { text_model, image_model };
    let by_quality = match quality {
        Quality::Auto => None,
        Quality::Low => Some("qwen-image-3.0".to_owned()),
        Quality::High => Some("qwen-image-3.0-pro".to_owned()),
    };
    let default = || choose(text, names).id;
    if wanted == "qwen-image" {
        return carried_by(default(), None);
    }
    if wanted.is_empty() || is_other_image_model(&wanted) {
        return carried_by(default(), by_quality);
    }
    if let Some(stem) = wanted.strip_suffix(DRAWS)
        && let Some(text_model) = known_text_model(stem, names)
    {
        return carried_by(text_model, by_quality);
    }
    carried_by(default(), Some(wanted))
}

/// How the names of text models end that are to make videos.
const FILMS: &str = "-video";
/// The name of the site's way to make videos: it has no models for them.
pub const VIDEO_MODEL: &str = "qwen-video";

/// The text model that carries a video, by a client's name of a video model: any name is one. `text` = the text model of names
/// that name none.
pub(super) fn choose_video(name: &str, text: &str, names: Names<'_>) -> String {
    let lower = name.trim().to_lowercase();
    let wanted = names.aliases.get(&lower).map_or(lower, |target| target.trim().to_lowercase());
    let by_suffix = wanted.strip_suffix(FILMS).filter(|_| wanted != VIDEO_MODEL);
    let carries = by_suffix.and_then(|stem| known_text_model(stem, names));
    let live = || names.live?.named(&wanted).map(|model| model.id.clone());
    carries.or_else(live).unwrap_or_else(|| choose(text, names).id)
}

/// Whether a name of a chat's model means that the answer is a picture.
pub(super) fn draws(name: &str, aliases: &BTreeMap<String, String>) -> bool {
    let lower = name.trim().to_lowercase();
    let wanted = aliases.get(&lower).map_or(lower, |target| target.trim().to_lowercase());
    wanted.starts_with("qwen-image") || (wanted.len() > DRAWS.len() && wanted.ends_with(DRAWS))
}

/// Whether OpenAI names its image models so.
fn is_other_image_model(lower: &str) -> bool {
    lower.starts_with("gpt-image-") || matches!(lower, "gpt-image" | "chatgpt-image-latest" | "dall-e-2" | "dall-e-3")
}

/// The text model of this name, if the name is known to be one's: by the list, as an alias, or, without a list, by its look.
fn known_text_model(stem: &str, names: Names<'_>) -> Option<String> {
    let choice = choose(stem, names);
    let is_known = match names.live {
        Some(live) => live.named(&choice.id).is_some(),
        None => choice.id != stem || stem.starts_with("qwen"),
    };
    is_known.then_some(choice.id)
}

enum Meaning {
    /// The id of a live model.
    Model(String),
    /// Another name.
    Alias(String),
}

/// What a name means, with suffixes taken off it until it means something; and what is left of it then.
fn resolve(name: &str, names: Names<'_>, choice: &mut Choice) -> (Option<Meaning>, String) {
    let Names { live, aliases, default } = names;
    let mut base = name;
    loop {
        if let Some(model) = live.and_then(|live| live.named(base)) {
            return (Some(Meaning::Model(model.id.clone())), base.to_owned());
        }
        let lower = base.to_lowercase();
        let built_in = || {
            let at = ALIASES.binary_search_by_key(&lower.as_str(), |(alias, _)| alias).ok()?;
            let target = ALIASES.get(at).map(|(_, id)| *id)?;
            // Models come and go at the site, and this table does not.
            let is_gone = live.is_some_and(|live| live.named(target).is_none());
            Some(if is_gone && !default.eq_ignore_ascii_case(&lower) { default } else { target }.to_owned())
        };
        if let Some(target) = aliases.get(&lower).cloned().or_else(built_in) {
            return (Some(Meaning::Alias(target)), base.to_owned());
        }
        let suffix = match () {
            () if lower.ends_with("-thinking") => {
                choice.thinking = choice.thinking.or(Some(true));
                "-thinking"
            }
            () if lower.ends_with("-fast") => {
                choice.thinking = choice.thinking.or(Some(false));
                "-fast"
            }
            () if lower.ends_with("-search") => {
                choice.search = true;
                "-search"
            }
            () => break,
        };
        base = base.get(..base.len().saturating_sub(suffix.len())).unwrap_or_default();
    }
    let lower = name.to_lowercase();
    if !is_other_vendors(&lower) || default.eq_ignore_ascii_case(name) {
        return (None, base.to_owned());
    }
    if lower.split(|separator: char| !separator.is_alphanumeric()).any(|word| SMALL.contains(&word)) {
        choice.thinking = choice.thinking.or(Some(false));
    }
    (Some(Meaning::Alias(default.to_owned())), base.to_owned())
}

/// Whether another vendor names its models so: `claude-…`, `gpt-…`, `o1` to `o9` with anything behind.
fn is_other_vendors(lower: &str) -> bool {
    VENDORS.iter().any(|vendor| lower.starts_with(vendor)) || matches!(lower.as_bytes(), [b'o', b'1'..=b'9', ..])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn list(ids: &[&str]) -> ModelList {
        ModelList(Arc::new(ids.iter().map(|id| Model { id: (*id).to_owned(), ..Model::default() }).collect()))
    }

    fn names<'a>(live: Option<&'a ModelList>, aliases: &'a BTreeMap<String, String>) -> Names<'a> {
        Names { live, aliases, default: "qwen3-max" }
    }

    #[test]
    fn the_document_has_every_alias() {
        let page = include_str!("../../../docs/models.md");
        let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
        let rows = page.lines().skip_while(|line| !line.starts_with("| alias |")).skip(2);
        let mut documented = Vec::new();
        for row in rows.take_while(|line| line.starts_with('|')) {
            let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
            for pair in cells.chunks(2) {
                documented.extend(names(pair[0]).into_iter().map(|alias| (alias, names(pair[1]).concat())));
            }
        }
        documented.sort();
        let expected: Vec<_> =
            ALIASES.iter().map(|(alias, model)| ((*alias).to_owned(), (*model).to_owned())).collect();
        assert_eq!(documented, expected);
    }

    #[test]
    fn the_alias_table_is_sorted() {
        assert!(ALIASES.is_sorted_by_key(|(alias, _)| *alias));
    }

    #[test]
    fn a_name_is_a_live_id_then_an_alias_then_has_suffixes() {
        let mut live = list(&["qwen3-max", "qwen3.7-plus", "qwen3-next-thinking", "qwen"]);
        Arc::make_mut(&mut live.0)[1].name = "The Plus One".to_owned();
        let own = BTreeMap::from([
            ("mine".to_owned(), "qwen3.7-plus".to_owned()),
            ("qwen3".to_owned(), "qwen3.7-plus".to_owned()),
            ("my-fast".to_owned(), "qwen3-max-fast".to_owned()),
            ("quick".to_owned(), "Qwen3-MAX-FAST-search".to_owned()),
            ("of-alias".to_owned(), "gpt-4-turbo-thinking".to_owned()),
            ("to-new".to_owned(), "somebody-new-fast".to_owned()),
            ("round".to_owned(), "About".to_owned()),
            ("about".to_owned(), "round".to_owned()),
            ("case".to_owned(), "CASE".to_owned()),
        ]);
        for (name, id, thinking, search) in [
            ("qwen3-max", "qwen3-max", None, false),
            ("qwen", "qwen", None, false),
            ("gpt-4-turbo", "qwen3-max", None, false),
            ("GPT-4-Turbo", "qwen3-max", None, false),
            ("qwen3", "qwen3.7-plus", None, false),
            ("MINE", "qwen3.7-plus", None, false),
            ("qwen3-next-thinking", "qwen3-next-thinking", None, false),
            ("qwen3-max-thinking", "qwen3-max", Some(true), false),
            ("qwen3-max-fast", "qwen3-max", Some(false), false),
            ("qwen3-max-search", "qwen3-max", None, true),
            ("qwen3-max-thinking-search", "qwen3-max", Some(true), true),
            ("qwen3-max-search-fast", "qwen3-max", Some(false), true),
            ("gpt-4-turbo-thinking", "qwen3-max", Some(true), false),
            ("somebody-new", "somebody-new", None, false),
            ("somebody-new-thinking", "somebody-new-thinking", None, false),
            ("-thinking", "-thinking", None, false),
            ("QWEN3-Max", "qwen3-max", None, false),
            (" Qwen3.7-Plus-Thinking ", "qwen3.7-plus", Some(true), false),
            ("the plus one", "qwen3.7-plus", None, false),
            ("The Plus One-fast", "qwen3.7-plus", Some(false), false),
            ("my-fast", "qwen3-max", Some(false), false),
            ("My-Fast-search", "qwen3-max", Some(false), true),
            ("my-fast-thinking", "qwen3-max", Some(true), false),
            ("quick", "qwen3-max", Some(false), true),
            ("of-alias", "qwen3-max", Some(true), false),
            ("of-alias-fast", "qwen3-max", Some(false), false),
            ("to-new", "somebody-new-fast", None, false),
            ("to-new-search", "somebody-new-fast", None, true),
            ("case", "CASE", None, false),
            ("", "", None, false),
        ] {
            let expected = Choice { id: id.to_owned(), thinking, search };
            assert_eq!(choose(name, names(Some(&live), &own)), expected, "{name}");
        }
        assert!(["round", "About"].contains(&choose("round", names(Some(&live), &own)).id.as_str()), "it ends");
        let expected = Choice { id: "qwen3.7-plus".to_owned(), thinking: Some(true), search: false };
        assert_eq!(choose("qwen3.7-plus-thinking", names(None, &BTreeMap::new())), expected);
        let expected = Choice { id: "qwen3-max".to_owned(), thinking: Some(false), search: false };
        assert_eq!(choose("my-fast", names(None, &own)), expected, "also without a list");
    }

    #[test]
    fn other_vendors_names_mean_the_default_model() {
        let live = list(&["qwen3.7-plus", "qwen-plus-2025-09-11", "gpt-oss-120b", "gemini-flash"]);
        let own = BTreeMap::from([
            ("claude-opus-5".to_owned(), "qwen-plus-2025-09-11-search".to_owned()),
            ("o3-mini".to_owned(), "gpt-oss-120b".to_owned()),
            ("to-other".to_owned(), "gpt-5-nano".to_owned()),
        ]);
        let default = "qwen3.7-plus";
        for (name, id, thinking, search) in [
            ("claude-opus-4-1-20250805", default, None, false),
            ("Claude-Sonnet-5", default, None, false),
            ("claude-3-5-haiku-20241022", default, Some(false), false),
            ("claude-haiku-4.5", default, Some(false), false),
            ("gpt-5", default, None, false),
            ("gpt-4o", default, None, false),
            ("gpt-4o-mini", default, Some(false), false),
            ("gpt-5-nano-2025-08-07", default, Some(false), false),
            ("gpt-5.mini", default, Some(false), false),
            ("chatgpt-4o-latest", default, None, false),
            ("o1", default, None, false),
            ("o3-pro", default, None, false),
            ("O4-Mini", default, Some(false), false),
            ("gemini-2.5-pro", default, None, false),
            ("gemini-2.5-flash-lite", default, Some(false), false),
            // The list and aliases know more.
            ("gpt-oss-120b", "gpt-oss-120b", None, false),
            ("gemini-flash", "gemini-flash", None, false),
            ("claude-opus-5", "qwen-plus-2025-09-11", None, true),
            ("o3-mini", "gpt-oss-120b", None, false),
            ("gpt-4", "qwen-plus-2025-09-11", None, false),
            ("to-other", default, Some(false), false),
            // Words, not parts of words.
            ("gpt-minimal", default, None, false),
            ("gemini-flashy", default, None, false),
            // Suffixes count, and go before what the name says.
            ("gpt-4o-search", default, None, true),
            ("gpt-4o-mini-thinking", default, Some(true), false),
            ("claude-sonnet-5-fast-search", default, Some(false), true),
            ("gpt-search", default, None, true),
            // Not theirs.
            ("gpt5", "gpt5", None, false),
            ("o0", "o0", None, false),
            ("o", "o", None, false),
            ("my-gpt-4o", "my-gpt-4o", None, false),
            ("claude", "claude", None, false),
            ("mini", "mini", None, false),
            // A built-in alias whose model is gone.
            ("qwen", default, None, false),
            ("qwq-thinking", default, Some(true), false),
            ("gpt-3.5-turbo", default, None, false),
            ("qwen-plus", "qwen-plus-2025-09-11", None, false),
        ] {
            let expected = Choice { id: id.to_owned(), thinking, search };
            assert_eq!(choose(name, Names { live: Some(&live), aliases: &own, default }), expected, "{name}");
        }
        let without_list = |name, default| choose(name, Names { live: None, aliases: &BTreeMap::new(), default });
        for (name, default, id, thinking) in [
            ("gpt-4o-mini", "qwen3-max", "qwen3-max", Some(false)),
            ("gpt-4o-thinking", "qwen3-max", "qwen3-max", Some(true)),
            ("qwq", "qwen3-max", "qwq-32b", None),
            // The default may be an alias, have suffixes of its own, or be a name that nobody knows.
            ("claude-opus-5", "qwen3", "qwen3-max", None),
            ("claude-opus-5", "qwen3-thinking", "qwen3-max", Some(true)),
            ("claude-haiku-5", "qwen3-thinking", "qwen3-max", Some(false)),
            ("claude-opus-5", "gpt-9", "gpt-9", None),
            ("gpt-9", "gpt-9", "gpt-9", None),
        ] {
            assert_eq!(without_list(name, default), Choice { id: id.to_owned(), thinking, search: false }, "{name}");
        }
        let gone = |name, default| choose(name, Names { live: Some(&live), aliases: &own, default }).id;
        assert_eq!(gone("qwen3", "qwen3"), "qwen3-max", "a default that is itself such an alias");
        assert_eq!(gone("gpt-9", "qwen3"), "qwen3-max");
    }

    #[test]
    fn names_of_video_models_are_understood() {
        let live = list(&["qwen3-max", "qwen3.7-plus"]);
        let own = BTreeMap::from([("film".to_owned(), "qwen3.7-plus-video".to_owned())]);
        for (name, expected) in [
            ("", "qwen3.7-plus"),
            ("qwen-video", "qwen3.7-plus"),
            ("sora-2", "qwen3.7-plus"),
            ("sora-2-pro", "qwen3.7-plus"),
            ("wan2.7-t2v", "qwen3.7-plus"),
            ("gpt-5", "qwen3.7-plus"),
            ("nobody-video", "qwen3.7-plus"),
            ("-video", "qwen3.7-plus"),
            ("qwen3-max-video", "qwen3-max"),
            ("Qwen3-Max-Video", "qwen3-max"),
            ("qwen3-video", "qwen3-max"),
            ("qwen3-max", "qwen3-max"),
            ("film", "qwen3.7-plus"),
        ] {
            assert_eq!(choose_video(name, "qwen3.7-plus", names(Some(&live), &own)), expected, "{name}");
        }
        assert_eq!(choose_video("qwen9-video", "qwen3-max", names(None, &own)), "qwen9", "without a list");
        assert_eq!(choose_video("wan-video", "qwen3-max", names(None, &own)), "qwen3-max");
    }

    #[test]
    fn names_of_image_models_are_understood() {
        let live = list(&["qwen3-max", "qwen3.7-plus"]);
        let own = BTreeMap::from([
            ("painter".to_owned(), "qwen-image-2.0-pro".to_owned()),
            ("artist".to_owned(), "qwen3.7-plus-image".to_owned()),
        ]);
        let (auto, low, high) = (Quality::Auto, Quality::Low, Quality::High);
        for (name, quality, text, image) in [
            ("", auto, "qwen3-max", None),
            ("qwen-image", auto, "qwen3-max", None),
            ("Qwen-Image", high, "qwen3-max", None),
            ("qwen-image-3.0-pro", low, "qwen3-max", Some("qwen-image-3.0-pro")),
            ("qwen-image-9", auto, "qwen3-max", Some("qwen-image-9")),
            ("gpt-image-1", auto, "qwen3-max", None),
            ("gpt-image-1", low, "qwen3-max", Some("qwen-image-3.0")),
            ("gpt-image-2-2026-04-21", high, "qwen3-max", Some("qwen-image-3.0-pro")),
            ("chatgpt-image-latest", auto, "qwen3-max", None),
            ("dall-e-3", high, "qwen3-max", Some("qwen-image-3.0-pro")),
            ("dall-e-2", auto, "qwen3-max", None),
            ("qwen3.7-plus-image", auto, "qwen3.7-plus", None),
            ("qwen3.7-plus-image", high, "qwen3.7-plus", Some("qwen-image-3.0-pro")),
            ("qwen3-image", auto, "qwen3-max", None),
            ("wan2.7-image", auto, "qwen3-max", Some("wan2.7-image")),
            ("flux", auto, "qwen3-max", Some("flux")),
            ("painter", high, "qwen3-max", Some("qwen-image-2.0-pro")),
            ("Artist", auto, "qwen3.7-plus", None),
        ] {
            let expected = PictureChoice { text_model: text.to_owned(), image_model: image.map(str::to_owned) };
            assert_eq!(choose_picture(name, quality, "qwen3-max", names(Some(&live), &own)), expected, "{name}");
        }
        for (name, expected) in [
            ("qwen-image", true),
            ("QWEN-IMAGE-3.0", true),
            ("qwen3.7-plus-image", true),
            ("wan2.7-image", true),
            ("painter", true),
            ("artist", true),
            ("-image", false),
            ("image", false),
            ("gpt-image-1", false),
            ("qwen3-max", false),
            ("qwen3-image-x", false),
        ] {
            assert_eq!(draws(name, &own), expected, "{name}");
        }
    }
}
