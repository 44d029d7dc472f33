//! The items of a request's `input`, and what they are in neutral words.

use std::{borrow::Cow, collections::HashMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeOwned, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::value::RawValue;

use crate::{
    api::{json_body::wrong_field, lenient::too_many, openai::content::Content},
    error::{Error, Result},
    llm::{self, Message, Role},
};

/// The most items of a request.
const MAX_ITEMS: usize = 10_000;

/// `input`: a text, or items.
#[derive(Debug)]
pub(super) enum Input {
    /// What the user says.
    Text(String),
    /// Items, oldest first.
    Items(Vec<Item>),
}

impl<'de> Deserialize<'de> for Input {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrItems;
        impl<'de> Visitor<'de> for TextOrItems {
            type Value = Input;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, an array of items, or one of them")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Input, E> {
                Ok(Input::Text(text.to_owned()))
            }

            fn visit_string<E: de::Error>(self, text: String) -> Result<Input, E> {
                Ok(Input::Text(text))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Input, A::Error> {
                let mut all = Vec::new();
                while let Some(item) = items.next_element::<ItemFields>()? {
                    if all.len() >= MAX_ITEMS {
                        return Err(too_many(MAX_ITEMS));
                    }
                    all.push(item.into_item(all.len()));
                }
                all.shrink_to_fit();
                Ok(Input::Items(all))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, item: A) -> Result<Input, A::Error> {
                let item = ItemFields::deserialize(MapAccessDeserializer::new(item))?;
                Ok(Input::Items(vec![item.into_item(0)]))
            }
        }
        deserializer.deserialize_any(TextOrItems)
    }
}

/// An item, as far as it means something here.
#[derive(Debug)]
pub(super) enum Item {
    /// A message.
    Message(Message),
    /// A call of a tool.
    Call(llm::ToolCall),
    /// The item of an earlier response, by its id.
    Reference(String),
    /// An item without a meaning here.
    Other,
}

/// An item of a request, or of an earlier answer. Types that mean nothing here are ignored.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = ResponseItem))]
pub(in crate::api::openai) struct ItemFields {
    /// `message` (also when absent), `function_call`, `function_call_output`, `custom_tool_call`, `custom_tool_call_output` or
    /// `item_reference`.
    #[cfg_attr(test, schema(rename = "type"))]
    kind: Option<String>,
    /// Its id.
    id: Option<String>,
    /// Who says a message: `user`, `assistant`, `system` or `developer`.
    role: Option<ItemRole>,
    /// A message's content.
    #[cfg_attr(test, schema(value_type = Option<crate::api::openai::chat_completions::schema::Content>))]
    content: Option<Content>,
    /// The id of a call, in the call and in its result.
    call_id: Option<String>,
    /// The tool that a call is of.
    name: Option<String>,
    /// The namespace of that tool.
    namespace: Option<String>,
    /// The arguments of a call, as JSON text.
    arguments: Option<String>,
    /// The input of a custom tool's call.
    input: Option<String>,
    /// The result of a call.
    #[cfg_attr(test, schema(value_type = Option<crate::api::openai::chat_completions::schema::Content>))]
    output: Option<Output>,
}

/// Who says a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
enum ItemRole {
    /// Instructions.
    System,
    /// Newer name for instructions.
    Developer,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// The result of a tool, as in chat completions.
    Tool,
}

/// The result of a call: a text, parts, or the object of a tool that means nothing here.
#[derive(Debug)]
struct Output(Option<Content>);

impl<'de> Deserialize<'de> for Output {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrParts;
        impl<'de> Visitor<'de> for TextOrParts {
            type Value = Output;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, or an array of content parts")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Output, E> {
                Ok(Output(Some(Content::Text(text.to_owned()))))
            }

            fn visit_string<E: de::Error>(self, text: String) -> Result<Output, E> {
                Ok(Output(Some(Content::Text(text))))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Output, A::Error> {
                Content::parts(items).map(|content| Output(Some(content)))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Output, A::Error> {
                while map.next_entry::<de::IgnoredAny, de::IgnoredAny>()?.is_some() {}
                Ok(Output(None))
            }
        }
        deserializer.deserialize_any(TextOrParts)
    }
}

/// Whether the fields of an item mean something here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// Neither its type nor a role came so far.
    Open,
    Known,
    /// Its fields may be anything.
    None,
}

impl Meaning {
    fn of(kind: &str) -> Self {
        match kind {
            ""
            | "message"
            | "function_call"
            | "function_call_output"
            | "custom_tool_call"
            | "custom_tool_call_output"
            | "item_reference" => Self::Known,
            _ => Self::None,
        }
    }
}

impl<'de> Deserialize<'de> for ItemFields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = ItemFields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an item")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<ItemFields, A::Error> {
                let mut item = ItemFields::default();
                let mut reader = FieldReader { meaning: Meaning::Open, problem: None };
                while let Some(name) = map.next_key::<Cow<'de, str>>()? {
                    match &*name {
                        "type" => {
                            item.kind = map.next_value()?;
                            if let Some(kind) = &item.kind {
                                reader.meaning = Meaning::of(kind);
                            }
                        }
                        "role" => {
                            item.role = reader.read(&mut map, "role")?;
                            if reader.meaning == Meaning::Open && item.role.is_some() {
                                reader.meaning = Meaning::Known;
                            }
                        }
                        "id" => item.id = reader.read(&mut map, "id")?,
                        "content" => item.content = reader.read(&mut map, "content")?,
                        "call_id" => item.call_id = reader.read(&mut map, "call_id")?,
                        "name" => item.name = reader.read(&mut map, "name")?,
                        "namespace" => item.namespace = reader.read(&mut map, "namespace")?,
                        "arguments" => item.arguments = reader.read(&mut map, "arguments")?,
                        "input" => item.input = reader.read(&mut map, "input")?,
                        "output" => item.output = reader.read(&mut map, "output")?,
                        _ => drop(map.next_value::<de::IgnoredAny>()?),
                    }
                }
                match reader.problem {
                    Some(problem) if reader.meaning != Meaning::None => Err(de::Error::custom(problem)),
                    _ => Ok(item),
                }
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// Reads the fields of an item whose type may come after them.
struct FieldReader {
    meaning: Meaning,
    /// What is wrong with a field, if the item turns out to mean something.
    problem: Option<String>,
}

impl FieldReader {
    fn read<'de, T: DeserializeOwned, A: de::MapAccess<'de>>(
        &mut self,
        map: &mut A,
        name: &str,
    ) -> Result<Option<T>, A::Error> {
        match self.meaning {
            Meaning::Known => map.next_value(),
            Meaning::None => map.next_value::<de::IgnoredAny>().map(|_| None),
            Meaning::Open => {
                let value: Box<RawValue> = map.next_value()?;
                let read = serde_json::from_str(value.get());
                Ok(read.unwrap_or_else(|problem| {
                    self.problem.get_or_insert_with(|| wrong_field(name, value.get(), &problem));
                    None
                }))
            }
        }
    }
}

impl ItemFields {
    /// The item in neutral words; `index` is its position in the request.
    fn into_item(self, index: usize) -> Item {
        let Self { kind, id, role, content, call_id, name, namespace, arguments, input, output } = self;
        let said = |text: Option<String>| text.filter(|text| !text.is_empty()).map(String::into_boxed_str);
        let name = match (namespace.filter(|namespace| !namespace.is_empty()), name) {
            (Some(namespace), Some(name)) => Some(shown_name(&namespace, &name)),
            (_, name) => name,
        };
        let call = |arguments: Option<String>| {
            let (name, arguments) = (said(name), said(arguments));
            Item::Call(llm::ToolCall {
                id: said(call_id.clone()),
                function: Some(Box::new(llm::FunctionCall { name, arguments })),
            })
        };
        match (kind.as_deref(), role) {
            (Some("message" | "") | None, role) if role.is_some() || content.is_some() => {
                let role = match role.unwrap_or(ItemRole::User) {
                    ItemRole::System | ItemRole::Developer => Role::System,
                    ItemRole::User => Role::User,
                    ItemRole::Assistant => Role::Assistant,
                    ItemRole::Tool => Role::Tool,
                };
                let parts = content.map(|content| content.into_neutral(|at| format!("input[{index}].content[{at}]")));
                let parts = parts.unwrap_or_default();
                Item::Message(Message { role, parts, tool_call_id: call_id, ..Message::text(role, String::new()) })
            }
            (Some("function_call"), _) => call(arguments),
            (Some("custom_tool_call"), _) => {
                let input = input.unwrap_or_default();
                call(Some(serde_json::json!({ "input": input }).to_string()))
            }
            (Some("function_call_output" | "custom_tool_call_output"), _) => {
                let content = output.and_then(|Output(content)| content);
                let parts = content.map(|content| content.into_neutral(|at| format!("input[{index}].output[{at}]")));
                let role = Role::Tool;
                Item::Message(Message {
                    parts: parts.unwrap_or_default(),
                    tool_call_id: call_id,
                    ..Message::text(role, String::new())
                })
            }
            (Some("item_reference"), _) | (None, None) => id.map_or(Item::Other, Item::Reference),
            _ => Item::Other,
        }
    }
}

/// Under which name a tool of a namespace is declared.
pub(in crate::api::openai) fn shown_name(namespace: &str, name: &str) -> String {
    format!("{namespace}__{name}")
}

impl Input {
    /// The ids of earlier items that it refers to.
    pub(super) fn references(&self) -> impl Iterator<Item = &str> {
        let items = match self {
            Self::Text(_) => &[][..],
            Self::Items(items) => items,
        };
        items.iter().filter_map(|item| match item {
            Item::Reference(id) => Some(id.as_str()),
            _ => None,
        })
    }

    /// The messages. `found` = the earlier items that are known, by their id, as JSON; references to others are left out.
    ///
    /// # Errors
    /// `invalid_request` when there are too many messages.
    pub(super) fn into_messages(self, found: &HashMap<String, Box<str>>) -> Result<Vec<Message>> {
        let mut messages = Vec::new();
        let items = match self {
            Self::Text(text) => vec![Item::Message(Message::text(Role::User, text))],
            Self::Items(items) => items,
        };
        for (index, item) in items.into_iter().enumerate() {
            let item = match item {
                Item::Reference(id) => {
                    let known = found.get(&id).and_then(|json| serde_json::from_str::<ItemFields>(json).ok());
                    known.map_or(Item::Other, |item| item.into_item(index))
                }
                item => item,
            };
            push(&mut messages, item);
        }
        if messages.len() > MAX_ITEMS {
            return Err(Error::invalid("input", format!("The request has more than {MAX_ITEMS} messages.")));
        }
        Ok(messages)
    }
}

/// Adds an item to the messages. What one answer said and called is one message, as it was when it was given.
fn push(messages: &mut Vec<Message>, item: Item) {
    match item {
        Item::Message(message) => messages.push(message),
        Item::Call(call) => match messages.last_mut() {
            Some(last) if last.role == Role::Assistant => last.tool_calls.push(call),
            _ => messages.push(Message {
                parts: Vec::new(),
                tool_calls: vec![call],
                ..Message::text(Role::Assistant, String::new())
            }),
        },
        Item::Reference(_) | Item::Other => {}
    }
}

/// Reads items of earlier responses, as JSON, into messages.
#[must_use]
pub fn messages_of<'a>(items: impl IntoIterator<Item = &'a str>) -> Vec<Message> {
    let mut messages = Vec::new();
    for item in items {
        if let Ok(item) = serde_json::from_str::<ItemFields>(item) {
            push(&mut messages, item.into_item(0));
        }
    }
    messages
}

/// Reads the input of an earlier response, as JSON, into messages.
#[must_use]
pub fn messages_of_input(input: &str) -> Vec<Message> {
    let input = serde_json::from_str::<Input>(input).ok();
    input.and_then(|input| input.into_messages(&HashMap::new()).ok()).unwrap_or_default()
}
