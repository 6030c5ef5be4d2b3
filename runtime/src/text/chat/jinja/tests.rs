use super::*;

/// Small templates with what they write in transformers' environment, or null where they fail there; `tests/goldens/jinja.py`
/// wrote the texts.
const CASES: &str = include_str!("cases.json");

#[derive(serde::Deserialize)]
struct Cases {
    variables: Value,
    cases: Vec<(String, Option<String>)>,
}

fn rendered(template: &str, variables: &Value) -> Result<String, Error> {
    let Value::Dict(variables) = variables else { panic!("expected an object") };
    let variables = variables.iter().map(|(name, value)| (name.as_str().unwrap().to_string(), value.clone()));
    // What every chat template sees, of an empty chat.
    let chat = [("messages", Value::list(vec![])?), ("tools", Value::None), ("documents", Value::None)];
    let chat = chat.into_iter().chain([("add_generation_prompt", false.into())]);
    Template::new(template)?.render(variables.chain(chat.map(|(name, value)| (name.to_string(), value))))
}

fn fails(template: &str) -> String {
    Template::new(template).and_then(|template| template.render([])).unwrap_err().to_string()
}

#[test]
fn templates_write_what_jinja_writes() {
    let Cases { variables, cases } = serde_json::from_str(CASES).unwrap();
    assert!(cases.len() > 500);
    let mut wrong = vec![];
    for (template, text) in cases {
        let got = rendered(&template, &variables);
        match (&got, &text) {
            (Ok(got), Some(text)) if got == text => {}
            (Err(_), None) => {}
            _ => wrong.push(format!("{template}\n  got  {got:?}\n  want {text:?}")),
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn errors_say_what_and_where() {
    for (template, message) in [
        ("{{ x.y }}", "'x' is undefined"),
        ("{{ {}.a.b }}", "'dict object' has no attribute 'a'"),
        ("{{ 'a' + 1 }}", "can only concatenate str (not \"int\") to str"),
        ("{{ 1 + 'a' }}", "unsupported operand type(s) for +: 'int' and 'str'"),
        ("{{ [] | nothing }}", "No filter named 'nothing'."),
        ("{{ [] is nothing }}", "No test named 'nothing'."),
        ("{{ [].append(1) }}", "access to attribute 'append' of 'list' object is unsafe"),
        ("{{ 'a'.index('b') }}", "substring not found"),
        ("{{ 'a'.center() }}", "center() needs the argument 'width'"),
        ("{{ 'a'.center(1, colour=2) }}", "unexpected keyword argument 'colour'"),
        ("{{ 10 ** 40 }}", "too large"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{% for a, b in [1] %}{% endfor %}", "'int' object is not iterable"),
        ("{% for a, b in [[1]] %}{% endfor %}", "cannot unpack 1 values, expected 2"),
        ("{% set x.y = 1 %}", "non-namespace object 'x'"),
        ("{% unknown %}", "unknown tag 'unknown'"),
        ("{% if x %}", "found the end of the template"),
        ("{{ (1 }}", "unexpected '}', expected ')'"),
        ("{% include 'other' %}", "a chat template stands alone"),
        ("{{ [1] | map('upper') | tojson }}", "a value of type generator has no JSON"),
    ] {
        let error = fails(template);
        assert!(error.contains(message), "{template}: {error}");
    }
    let error = Template::new("line\n{% if true %}\n{{ 1 + }}{% endif %}").err().unwrap();
    assert_eq!(error.line(), Some(3));
    let error =
        Template::new("{% macro f() %}\n\n{{ 1 / 0 }}{% endmacro %}\n{{ f() }}").unwrap().render([]).unwrap_err();
    assert_eq!(error.line(), Some(3));
}

#[test]
fn whatever_a_template_nests_it_ends() {
    let deep = |before: &str, within: &str, after: &str| before.repeat(5000) + within + &after.repeat(5000);
    for template in [
        format!("{{{{ {} }}}}", deep("(", "1", ")")),
        format!("{{{{ {} }}}}", deep("[", "1", "]")),
        format!("{{{{ {} }}}}", deep("-", "1", "")),
        format!("{{{{ {}1 }}}}", "1 + ".repeat(50_000)),
        format!("{{{{ x{} }}}}", ".y".repeat(50_000)),
        format!("{{{{ x{} }}}}", "|e".repeat(50_000)),
        deep("{% if true %}", "", "{% endif %}"),
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}".to_string(),
        "{% for x in [[]] recursive %}{{ loop([[]]) }}{% endfor %}".to_string(),
        "{% set n = namespace(x=[]) %}{% for i in range(9999) %}{% set n.x = [n.x] %}{% endfor %}".to_string(),
        "{% set n = namespace(x='a'.upper) %}{% for i in range(9999) %}{% set n.x = [n.x].index %}{% endfor %}".to_string(),
        "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{% endfor %}{% endfor %}{% endfor %}"
            .to_string(),
        "{{ ('x' * 99999999) * 99999999 }}".to_string(),
        "{{ ('x' * 9999).replace('', 'x' * 99999) }}".to_string(),
        "{{ '%999999999d' % 1 }}".to_string(),
        "{{ '{:999999999}'.format(1) }}".to_string(),
        "{{ 'a'.center(10 ** 20) }}".to_string(),
        "{{ [1] | batch(10 ** 12, 1) | list }}".to_string(),
        "{{ range(10 ** 30) }}".to_string(),
    ] {
        let error = fails(&template);
        assert!(!error.is_empty(), "{template}");
    }
    // Namespaces that hold each other in a long row, or themselves.
    let row = "{% set first = namespace() %}{% set n = namespace(at=first) %}{% for i in range(99999) %}{% set next = namespace() %}\
               {% set last = n.at %}{% set last.next = next %}{% set n.at = next %}{% endfor %}{% set first.own = first %}{{ first.own.own is defined }}";
    assert_eq!(Template::new(row).unwrap().render([]).unwrap(), "True");
}

/// Templates that are broken in small ways are refused or run; nothing panics or hangs.
#[test]
fn broken_templates_do_no_harm() {
    let Cases { variables, cases } = serde_json::from_str(CASES).unwrap();
    let mut random = fastrand::Rng::with_seed(1);
    let pieces = [
        "{{", "}}", "{%", "%}", "{#", "-", "'", "(", "[", "}", "|", ".", " is ", "*9", "é", "\u{0}", "\\", "loop", "%",
    ];
    let mut written = 0;
    for (template, _) in &cases {
        for _ in 0..12 {
            let mut chars: Vec<char> = template.chars().collect();
            let at = random.usize(..chars.len());
            match random.usize(..3) {
                0 => drop(chars.remove(at)),
                1 => drop(chars.splice(at..at, pieces[random.usize(..pieces.len())].chars())),
                _ => {
                    let other = random.usize(..chars.len());
                    chars.swap(at, other);
                }
            }
            let broken: String = chars.into_iter().collect();
            written += usize::from(rendered(&broken, &variables).is_ok());
        }
    }
    assert!(written > 1000, "{written}");
}
