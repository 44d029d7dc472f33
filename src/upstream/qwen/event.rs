//! The JSON of one upstream event, read leniently: a field that changed its type is absent, not fatal.

use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use crate::upstream::fields::{Count, First, Object, Text};

/// An event. Only what the program reads; the rest is skipped.
#[derive(Debug, Default, Deserialize)]
pub(super) struct UpstreamEvent<'a> {
    #[serde(borrow, rename = "response.created", default)]
    pub(super) created: Option<Created<'a>>,
    #[serde(rename = "response.info", default)]
    pub(super) info: Option<IgnoredAny>,
    #[serde(borrow, default)]
    pub(super) choices: First<Choice<'a>>,
    #[serde(borrow, default)]
    pub(super) response_id: Text<'a>,
    #[serde(default)]
    pub(super) usage: Object<Counts>,
    /// Present in each of the refusals' forms; `errors` says which one it is.
    #[serde(default)]
    pub(super) error: Option<IgnoredAny>,
    #[serde(default)]
    pub(super) code: Option<IgnoredAny>,
    #[serde(default)]
    pub(super) ret: Option<IgnoredAny>,
    #[serde(default)]
    pub(super) detail: Option<IgnoredAny>,
    #[serde(borrow, default)]
    pub(super) success: Option<&'a RawValue>,
}

impl UpstreamEvent<'_> {
    pub(super) fn is_refusal(&self) -> bool {
        self.choices.0.is_none()
            && (self.error.is_some()
                || self.code.is_some()
                || self.ret.is_some()
                || self.detail.is_some()
                || self.success.is_some_and(|success| success.get() == "false"))
    }

    pub(super) fn is_known(&self) -> bool {
        self.created.is_some() || self.choices.0.is_some() || self.info.is_some() || self.is_refusal()
    }
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Created<'a> {
    #[serde(borrow, default)]
    pub(super) response_id: Text<'a>,
    #[serde(borrow, default)]
    pub(super) response_index: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Choice<'a> {
    #[serde(borrow, default)]
    pub(super) delta: Option<Delta<'a>>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Delta<'a> {
    #[serde(borrow, default)]
    pub(super) role: Text<'a>,
    #[serde(borrow, default)]
    pub(super) content: Text<'a>,
    #[serde(borrow, default)]
    pub(super) phase: Text<'a>,
    #[serde(borrow, default)]
    pub(super) status: Text<'a>,
    #[serde(borrow, default)]
    pub(super) finish_reason: Text<'a>,
    /// A call of a tool, unread.
    #[serde(borrow, default)]
    pub(super) function_call: Option<&'a RawValue>,
    /// Present where the site runs the tool itself.
    #[serde(borrow, default)]
    pub(super) function_id: Text<'a>,
    #[serde(borrow, default)]
    pub(super) extra: Option<&'a RawValue>,
}

/// `usage`, as far as it is passed on. Each of its fields is read where it stands: skipping the nested objects instead would
/// cost an allocation an event, for the stack of brackets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Counts {
    #[serde(default)]
    pub(super) input_tokens: Count,
    #[serde(default)]
    pub(super) output_tokens: Count,
    #[serde(default)]
    pub(super) total_tokens: Count,
    #[serde(default)]
    pub(super) output_tokens_details: Object<OutputDetails>,
    #[serde(default)]
    pub(super) prompt_tokens_details: Object<PromptDetails>,
    /// Of a picture, in pixels.
    #[serde(default)]
    pub(super) width: Count,
    #[serde(default)]
    pub(super) height: Count,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct OutputDetails {
    #[serde(default)]
    pub(super) reasoning_tokens: Count,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct PromptDetails {
    #[serde(default)]
    pub(super) cached_tokens: Count,
}

/// `delta.extra` of thinking and of tools.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Extra<'a> {
    #[serde(borrow, default)]
    pub(super) summary_title: Option<Paragraphs<'a>>,
    #[serde(borrow, default)]
    pub(super) summary_thought: Option<Paragraphs<'a>>,
    #[serde(borrow, default)]
    pub(super) web_search_info: Option<Vec<WebPage<'a>>>,
}

/// `delta.extra` of a picture.
#[derive(Debug, Default, Deserialize)]
pub(super) struct PictureExtra<'a> {
    #[serde(borrow, default)]
    image_list: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tool_result: Option<&'a RawValue>,
    /// Height and width of each.
    #[serde(borrow, default)]
    output_image_hw: Option<&'a RawValue>,
}

impl PictureExtra<'_> {
    /// The links to the pictures of a tool's result, in either place.
    pub(super) fn links(&self) -> Vec<String> {
        #[derive(Deserialize)]
        struct Entry {
            image: String,
        }
        let read = |list: Option<&RawValue>| {
            let entries: Vec<serde_json::Value> = list.and_then(|list| serde_json::from_str(list.get()).ok())?;
            let links = entries.into_iter().filter_map(|entry| serde_json::from_value::<Entry>(entry).ok());
            Some(links.map(|entry| entry.image).collect::<Vec<_>>()).filter(|links| !links.is_empty())
        };
        read(self.image_list).or_else(|| read(self.tool_result)).unwrap_or_default()
    }

    /// Width and height of the first picture.
    pub(super) fn size(&self) -> Option<(u32, u32)> {
        let sizes: Vec<(u32, u32)> = serde_json::from_str(self.output_image_hw?.get()).ok()?;
        sizes.first().map(|(height, width)| (*width, *height)).filter(|(width, height)| *width > 0 && *height > 0)
    }
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Paragraphs<'a> {
    #[serde(borrow, default)]
    pub(super) content: Vec<Text<'a>>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct WebPage<'a> {
    #[serde(borrow, default)]
    pub(super) url: Text<'a>,
    #[serde(borrow, default)]
    pub(super) title: Text<'a>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_whatever_stands_in_their_place() {
        let nothing = Counts::default();
        let one = Counts { output_tokens: Count(Some(1)), ..nothing };
        for (usage, expected) in [
            (r#"{"output_tokens":1}"#, one),
            (r#"{"output_tokens":"1","input_tokens":"many","total_tokens":-3}"#, one),
            (r#"{"output_tokens":1.9,"input_tokens":{"a":[{}]},"total_tokens":[[1]]}"#, one),
            (
                r#"{"output_tokens":1,"output_tokens_details":[{}],"prompt_tokens_details":{},"more":{"a":{"b":[{}]}}}"#,
                one,
            ),
            (r#"{"output_tokens":1,"output_tokens_details":null,"prompt_tokens_details":7,"input_tokens":true}"#, one),
            (
                r#"{"output_tokens":1,"output_tokens_details":{"reasoning_tokens":2},"prompt_tokens_details":{"cached_tokens":"3"}}"#,
                Counts {
                    output_tokens_details: Object(OutputDetails { reasoning_tokens: Count(Some(2)) }),
                    prompt_tokens_details: Object(PromptDetails { cached_tokens: Count(Some(3)) }),
                    ..one
                },
            ),
            ("{}", nothing),
            ("null", nothing),
            ("[{\"output_tokens\":1}]", nothing),
            ("\"output_tokens\"", nothing),
        ] {
            let event = format!(r#"{{"usage":{usage},"choices":[{{}}]}}"#);
            let event: UpstreamEvent<'_> = serde_json::from_str(&event).unwrap();
            assert_eq!(event.usage.0, expected, "{usage}");
            assert!(event.choices.0.is_some(), "{usage}");
        }
    }
}
