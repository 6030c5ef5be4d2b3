use super::*;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

/// Templates in the manner of real ones, with what jinja2 makes of them in transformers' environment.
const CASES: &str = include_str!("cases.json");

fn templates(config: &Json, default: Option<&str>) -> ChatTemplates {
    ChatTemplates::new(Some(config.to_string().as_bytes()), default).unwrap().unwrap()
}

fn template(text: &str) -> ChatTemplates {
    ChatTemplates::new(None, Some(text)).unwrap().unwrap()
}

fn hello() -> Chat {
    Chat::new().with_message("user", "Hello")
}

fn says(text: &str) -> String {
    template(text).apply(&hello(), true).unwrap()
}

fn refused(text: &str) -> String {
    template(text).apply(&hello(), true).unwrap_err().to_string()
}

#[test]
fn the_last_message_is_left_unfinished() {
    let chat = hello().with_message("assistant", "Well, ");
    let kept = template("{% for m in messages %}<{{ m.role }}>{{ m.content }}<end>{% endfor %}");
    assert_eq!(kept.apply_unfinished(&chat).unwrap(), "<user>Hello<end><assistant>Well, ");
    let trimmed = template("{% for m in messages %}{{ m.content | trim }}\n{% endfor %}");
    assert_eq!(trimmed.apply_unfinished(&chat).unwrap(), "Hello\nWell,");
    let silent = template("{{ messages[0].content }}").apply_unfinished(&chat).unwrap_err().to_string();
    assert!(silent.contains("does not write it"), "{silent}");
    // Of content in parts, the last part with a text goes on.
    let parts =
        Chat::from_json(br#"[{"role": "a", "content": [{"text": "One, "}, {"text": "two"}, {"type": "image"}]}]"#)
            .unwrap();
    let joined = template("{% for m in messages %}{% for p in m.content %}{{ p.text }}{% endfor %}<end>{% endfor %}");
    assert_eq!(joined.apply_unfinished(&parts).unwrap(), "One, two");
    let printed = template("{{ messages[0].content }}").apply_unfinished(&parts).unwrap();
    assert_eq!(printed, "[{'text': 'One, '}, {'text': 'two");
    // A text that the template writes in another way is not one to go on with.
    let quoted = Chat::new().with_message("user", "say \"hi\"");
    assert!(template("{{ messages[0].content | tojson }}").apply_unfinished(&quoted).is_err());
    let call = Chat::from_json(br#"[{"role": "assistant", "tool_calls": []}]"#).unwrap();
    let bare = kept.apply_unfinished(&call).unwrap_err().to_string();
    assert!(bare.contains("`content` has a text"), "{bare}");
}

/// A case of the file; templates see its values as they stand there, with the order of their keys.
#[derive(serde::Deserialize)]
struct Case {
    template: String,
    messages: Vec<Value>,
    tools: Option<Value>,
    add_generation_prompt: bool,
    variables: BTreeMap<String, Value>,
    text: Option<String>,
    error: Option<String>,
}

#[derive(serde::Deserialize)]
struct Cases {
    templates: BTreeMap<String, String>,
    special_tokens: Json,
    cases: Vec<Case>,
}

#[test]
fn templates_say_what_jinja_says() {
    let cases: Cases = serde_json::from_str(CASES).unwrap();
    let named: Vec<Json> = cases.templates.iter().map(|(n, t)| json!({"name": n, "template": t})).collect();
    let mut config = cases.special_tokens.clone();
    config["chat_template"] = named.into();
    let templates = templates(&config, None);
    assert!(cases.cases.len() > 10);
    for case in cases.cases {
        let Case { template, messages, tools, variables, .. } = case;
        let variables = variables.into_iter().collect();
        let chat = Chat { messages, tools, template: Some(template.clone()), variables };
        let got = templates.apply(&chat, case.add_generation_prompt);
        match (case.text, case.error) {
            (Some(text), _) => assert_eq!(got.unwrap(), text, "{template}"),
            (None, Some(error)) => assert!(got.unwrap_err().to_string().contains(&error), "{template}"),
            (None, None) => panic!("{template}: the case says nothing"),
        }
    }
}

#[test]
fn the_template_is_the_one_for_tools_where_there_are_some() {
    let config = json!({"chat_template": [
        {"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}, {"name": "rag", "template": "rag"}
    ]});
    let both = templates(&config, None);
    let tools = || hello().with_tools(b"[{}]").unwrap();
    assert_eq!(both.apply(&hello(), true).unwrap(), "plain");
    assert_eq!(both.apply(&tools(), true).unwrap(), "tools");
    assert_eq!(both.apply(&tools().with_template("rag"), true).unwrap(), "rag");
    assert_eq!(both.names(), ["default", "tool_use", "rag"]);
    let message = both.apply(&hello().with_template("other"), true).unwrap_err().to_string();
    assert!(message.contains("`other`") && message.contains("default, tool_use, rag"), "{message}");
    // A text of its own file goes over the config's default one.
    assert_eq!(templates(&config, Some("own")).apply(&hello(), true).unwrap(), "own");
    let one = templates(&json!({"chat_template": "single"}), None);
    assert_eq!(one.apply(&tools(), true).unwrap(), "single");
    let none = templates(&json!({"chat_template": [{"name": "rag", "template": "r"}]}), None);
    assert!(none.apply(&hello(), true).unwrap_err().to_string().contains("`default`; it has rag"));
    for nothing in [&b"{}"[..], br#"{"chat_template": null}"#] {
        assert!(ChatTemplates::new(Some(nothing), None).unwrap().is_none());
    }
}

#[test]
fn a_template_that_cannot_be_read_spoils_no_other() {
    let config = json!({"chat_template": [
        {"name": "default", "template": "plain"}, {"name": "rag", "template": "a\n{% nonsense %}"}
    ]});
    let both = templates(&config, None);
    assert_eq!(both.apply(&hello(), true).unwrap(), "plain");
    assert_eq!(both.names(), ["default", "rag"]);
    let message = both.apply(&hello().with_template("rag"), true).unwrap_err().to_string();
    assert!(message.contains("`rag`, line 2: unknown tag 'nonsense'"), "{message}");
    assert_eq!(both.unreadable().map(|e| e.to_string()).collect::<Vec<_>>(), [message]);
}

#[test]
fn special_tokens_are_variables() {
    let config = json!({
        "bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": false}, "pad_token": null, "add_bos_token": true,
        "extra_special_tokens": {"image_token": "<image>", "boi": "<boi>"}, "model_max_length": 5,
        "chat_template": "{{ bos_token }}{{ eos_token }}{{ image_token }}{{ boi }}{{ pad_token is defined }}{{ add_bos_token is defined }}"
    });
    assert_eq!(templates(&config, None).apply(&hello(), true).unwrap(), "<s></s><image><boi>FalseFalse");
    let own = hello().with_variable("bos_token", "\"mine\"").unwrap();
    assert!(templates(&config, None).apply(&own, true).unwrap().starts_with("mine"));
    let documents = || template("{{ documents is none }}{{ documents | length if documents }}");
    assert_eq!(documents().apply(&hello(), true).unwrap(), "True");
    let two = hello().with_variable("documents", r#"[{"title": "a"}, {"title": "b"}]"#).unwrap();
    assert_eq!(documents().apply(&two, true).unwrap(), "False2");
}

#[test]
fn messages_lose_empty_keys_and_share_their_reasoning() {
    let all = "{% for m in messages %}{{ m | tojson }}{% endfor %}";
    let says = |json: &str| template(all).apply(&Chat::from_json(json.as_bytes()).unwrap(), true).unwrap();
    assert_eq!(says(r#"[{"role": "a", "content": null, "n": 1}]"#), r#"{"role": "a", "n": 1}"#);
    assert_eq!(
        says(r#"[{"role": "a", "reasoning": "r", "n": 1}]"#),
        r#"{"thinking": "r", "role": "a", "reasoning": "r", "n": 1, "reasoning_content": "r"}"#
    );
    assert_eq!(
        says(r#"[{"reasoning_content": "r", "role": "a", "thinking": "t"}]"#),
        r#"{"thinking": "t", "reasoning_content": "r", "role": "a"}"#
    );
    let chat = hello().with_system("Be brief.").with_message("assistant", "Hi");
    let roles = template("{{ messages | map(attribute='role') | list }}").apply(&chat, false).unwrap();
    assert_eq!(roles, "['system', 'user', 'assistant']");
}

#[test]
fn the_date_is_todays() {
    let year = says("{{ strftime_now('%Y') }}");
    assert!(year.len() == 4 && year.parse::<u32>().is_ok_and(|y| y >= 2024), "{year}");
    assert_eq!(says("{{ strftime_now('%d %b %Y') }}").split(' ').count(), 3);
    assert!(refused("{{ strftime_now('%!') }}").contains("strftime_now"));
    // As Python's in the C locale, without a zone.
    assert_eq!(says("{{ strftime_now('[%z%Z%%Z]') }}"), "[%Z]");
    let shape = |format: &str| -> String {
        let text = says(&format!("{{{{ strftime_now('{format}') }}}}"));
        text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect()
    };
    assert_eq!((shape("%x"), shape("%f")), ("00/00/00".into(), "000000".into()));
    let date = shape("%c");
    assert!(date.len() == 24 && date.ends_with(" 00:00:00 0000"), "{date}");
    assert!(shape("%r").starts_with("00:00:00 "));
}

#[test]
fn what_is_wrong_is_said() {
    let message = refused("line\n{{ raise_exception('Only one turn') }}");
    assert!(message.contains("`default`, line 2: Only one turn"), "{message}");
    for text in ["{% if %}", "{{ x", "{% endfor %}", "{% generation %}"] {
        let message = refused(text);
        assert!(message.contains("chat template `default`"), "{text}: {message}");
    }
    assert!(refused("{{ messages[0].content.nothing.more }}").contains("chat template"));
    assert!(refused("{{ missing | tojson }}").contains("no JSON"));
    assert!(refused("{{ 1 | tojson(colour=3) }}").contains("colour"));
    assert!(template("x").apply(&Chat::new(), true).unwrap_err().to_string().contains("empty"));
    for (json, word) in [
        ("", "expected JSON"),
        ("{}", "found an object"),
        ("[1]", "a number as item 0"),
        (r#"[{}, "hello"]"#, "a string as item 1"),
    ] {
        let message = Chat::from_json(json.as_bytes()).unwrap_err().to_string();
        assert!(message.contains("messages") && message.contains(word), "{json}: {message}");
        assert!(hello().with_tools(json.as_bytes()).unwrap_err().to_string().contains("tools"));
    }
    assert!(hello().with_variable("x", "{").unwrap_err().to_string().contains("x: "));
    for config in [&b"[]"[..], b"{", br#"{"chat_template": 3}"#, br#"{"chat_template": [{"name": "x"}]}"#] {
        let message = ChatTemplates::new(Some(config), None).unwrap_err().to_string();
        assert!(message.contains("tokenizer_config.json"), "{message}");
    }
}

#[test]
fn templates_of_strangers_end() {
    let loops = "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}x{% endfor %}{% endfor %}{% endfor %}";
    for text in [loops, "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "{{ ('x' * 99999999) * 99999999 }}"] {
        assert!(refused(text).contains("chat template"), "{text}");
    }
}
