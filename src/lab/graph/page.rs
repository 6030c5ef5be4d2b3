//! Pictures as one HTML page: nothing is loaded from elsewhere.

use super::{Picture, svg};
use kiln_core::TargetSpec;
use std::fmt::Write;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

pub fn page(pictures: &[Picture], target: &TargetSpec) -> String {
    let (mut choices, mut bodies) = (String::new(), String::new());
    for (i, p) in pictures.iter().enumerate() {
        let name = svg::escape(&p.block);
        let _ = write!(choices, "<option value=\"{i}\">{name}</option>");
        let hidden = if i == 0 { "" } else { " hidden" };
        let _ = writeln!(bodies, "<section id=\"block-{i}\"{hidden}>{}</section>", svg::single(p, target));
    }
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>kiln graph</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <header><select id=\"block\" aria-label=\"block\">{choices}</select> <button id=\"fit\">fit</button> \
         <span>wheel: zoom, drag: move, pointer on a box: details; the warmer, the slower on {}</span></header>\n\
         <main>{bodies}</main>\n<footer id=\"details\">details</footer>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n",
        svg::escape(target.name())
    )
}
