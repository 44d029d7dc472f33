//! Reads "Copy as fetch" of Chromium and Firefox, in the forms for a browser and for Node.js.

use serde_json::Value as Json;

use super::curl::Request;

/// Whether the text is a call of `fetch`.
pub(super) fn is_call(text: &str) -> bool {
    call(text).is_some()
}

fn call(text: &str) -> Option<&str> {
    let text = text.trim_start();
    let text = text.strip_prefix("await").map_or(text, str::trim_start);
    text.strip_prefix("fetch").map(str::trim_start)?.strip_prefix('(')
}

/// Parses the call. `None`: it is incomplete. Both browsers write the arguments as JSON.
pub(super) fn read(text: &str) -> Option<Request> {
    let mut values = serde_json::Deserializer::from_str(call(text)?).into_iter::<Json>();
    let url = values.next()?.ok()?.as_str()?.to_owned();
    let rest = call(text)?.get(values.byte_offset()..)?.trim_start();
    let mut request = Request { url, ..Request::default() };
    let Some(rest) = rest.strip_prefix(',') else { return rest.starts_with(')').then_some(request) };
    let init = serde_json::Deserializer::from_str(rest).into_iter::<Json>().next()?.ok()?;
    for (name, value) in init.get("headers").and_then(Json::as_object).into_iter().flatten() {
        request.take_field(name, value.as_str().unwrap_or_default());
    }
    Some(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_parsed_as_browsers_write_them() {
        for (text, cookies, token, user_agent) in [
            (
                "fetch(\"https://chat.qwen.ai/api/v1/auths/\", {\n  \"headers\": {\n    \"accept\": \"*/*\",\n    \"cookie\": \"cna=1; token=t\",\n    \"user-agent\": \"Mine\"\n  },\n  \"body\": null,\n  \"method\": \"GET\"\n});",
                Some("cna=1; token=t"),
                None,
                Some("Mine"),
            ),
            (
                "await fetch(\"https://chat.qwen.ai/api/v1/auths/\", {\n    \"credentials\": \"include\",\n    \"headers\": {\n        \"User-Agent\": \"Fox\",\n        \"Authorization\": \"Bearer abc\"\n    },\n    \"mode\": \"cors\"\n});",
                None,
                Some("Bearer abc"),
                Some("Fox"),
            ),
            ("fetch ( \"https://chat.qwen.ai/\" ) ;", None, None, None),
        ] {
            let request = read(text).unwrap();
            assert!(request.url.starts_with("https://chat.qwen.ai/"));
            let Request { url: _, cookies: found, user_agent: browser, authorization } = request;
            assert_eq!((found.as_deref(), authorization.as_deref(), browser.as_deref()), (cookies, token, user_agent));
        }
        for text in ["fetch(", "fetch(\"https://x/\"", "fetch(\"https://x/\", {\"headers\": {", "fetch(url)"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert!(!is_call("fetched") && !is_call("token=fetch"));
    }
}
