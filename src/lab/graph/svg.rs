//! Pictures as SVG: text, since the crate `svg` takes as many lines, and neither rounds numbers nor escapes quotes in attributes.

use super::layout::{self, CHARACTER, Layout, Place, TITLE};
use super::picture::{Panel, Picture, kilobytes, microseconds};
use kiln_core::TargetSpec;
use std::fmt::Write;

const GAP: f64 = 60.0;
const HEADING: f64 = 54.0;

/// All pictures, one below the other.
pub fn image(pictures: &[Picture], target: &TargetSpec) -> String {
    let parts: Vec<(String, f64, f64)> = pictures.iter().map(|p| picture(p, target)).collect();
    let width = parts.iter().map(|p| p.1).fold(0.0, f64::max);
    let height: f64 = parts.iter().map(|p| p.2 + GAP).sum();
    let mut out = open(width, height);
    let mut top = 0.0;
    for (body, _, height) in &parts {
        let _ = write!(out, "<g transform=\"translate(0 {top:.1})\">{body}</g>");
        top += height + GAP;
    }
    out + "</svg>\n"
}

/// One picture as an image of its own.
pub fn single(p: &Picture, target: &TargetSpec) -> String {
    let (body, width, height) = picture(p, target);
    open(width, height) + &body + "</svg>\n"
}

fn open(width: f64, height: f64) -> String {
    let (width, height) = (width + 2.0 * GAP, height + 2.0 * GAP);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"{} {} {width:.0} {height:.0}\" \
         font-family=\"ui-monospace, DejaVu Sans Mono, monospace\" font-size=\"10\">\n\
         <defs><marker id=\"arrow\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"6\" markerHeight=\"6\" orient=\"auto\">\
         <path d=\"M0 0L8 4L0 8z\" fill=\"#667\"/></marker></defs>\n",
        -GAP, -GAP
    )
}

/// The two panels of a picture side by side, and their size.
fn picture(p: &Picture, target: &TargetSpec) -> (String, f64, f64) {
    let mut out = String::new();
    let slowest = p.panels.iter().flat_map(|p| &p.boxes).map(|b| b.seconds).fold(1e-12, f64::max);
    let _ = write!(out, "<text x=\"0\" y=\"-20\" font-size=\"20\" font-weight=\"bold\">@{}</text>", escape(&p.block));
    let (mut left, mut height) = (0.0, 0.0f64);
    for panel in &p.panels {
        let layout = layout::panel(panel);
        let heading = format!(
            "{} kernels, {}, predicted {} on {}",
            panel.steps,
            kilobytes(panel.bytes),
            microseconds(panel.seconds),
            target.name()
        );
        let _ = write!(
            out,
            "<g class=\"panel\" transform=\"translate({left:.1} 0)\"><text y=\"14\" font-size=\"15\" font-weight=\"bold\">{}</text>\
             <text y=\"32\" font-size=\"12\">{}</text><g transform=\"translate(0 {HEADING})\">",
            panel.title,
            escape(&heading)
        );
        draw(&mut out, panel, &layout, slowest);
        out.push_str("</g></g>\n");
        left += layout.width.max(heading.chars().count() as f64 * 7.3) + 2.0 * GAP;
        height = height.max(layout.height + HEADING);
    }
    (out, left - 2.0 * GAP, height)
}

fn draw(out: &mut String, panel: &Panel, layout: &Layout, slowest: f64) {
    for (from, to) in &panel.edges {
        edge(out, &layout.boxes[*from], &layout.boxes[*to], "#667", 1.4);
    }
    for ((b, place), ops) in panel.boxes.iter().zip(&layout.boxes).zip(&layout.ops) {
        let Place { x, y, width, height } = place;
        if !b.title.is_empty() {
            let tooltip = format!("{}\n{}", b.heading(), b.details.join("\n"));
            let _ = write!(
                out,
                "<g class=\"kernel\"><title>{}</title><rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"6\" \
                 fill=\"{}\" stroke=\"#334\"/><text x=\"{:.1}\" y=\"{:.1}\" font-weight=\"bold\">{}</text></g>",
                escape(&tooltip),
                heat(b.seconds / slowest),
                x + 8.0,
                y + TITLE - 6.0,
                escape(&b.heading())
            );
        }
        for (from, to) in &b.edges {
            edge(out, &ops[*from], &ops[*to], "#99a", 1.0);
        }
        for (op, at) in b.ops.iter().zip(ops) {
            let (fill, round) = if op.leaf { ("#e8eef7", at.height / 2.0) } else { ("#ffffff", 3.0) };
            let centre = |text: &str| at.x + (at.width - text.chars().count() as f64 * CHARACTER) / 2.0;
            let _ = writeln!(
                out,
                "<g class=\"op\"><title>{}</title><rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"{round:.0}\" \
                 fill=\"{fill}\" stroke=\"#99a\"/><text x=\"{:.1}\" y=\"{:.1}\">{}</text>\
                 <text x=\"{:.1}\" y=\"{:.1}\" fill=\"#778\">{}</text></g>",
                escape(&op.tooltip),
                at.x,
                at.y,
                at.width,
                at.height,
                centre(&op.name),
                at.y + 12.0,
                escape(&op.name),
                centre(&op.detail),
                at.y + 23.0,
                escape(&op.detail)
            );
        }
    }
}

/// From the lower edge of one to the upper edge of the other.
fn edge(out: &mut String, from: &Place, to: &Place, colour: &str, width: f64) {
    let (x1, y1) = (from.x + from.width / 2.0, from.y + from.height);
    let (x2, y2) = (to.x + to.width / 2.0, to.y);
    let bend = ((y2 - y1) / 2.0).clamp(4.0, 40.0);
    let _ = write!(
        out,
        "<path d=\"M{x1:.1} {y1:.1}C{x1:.1} {:.1} {x2:.1} {:.1} {x2:.1} {y2:.1}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\" \
         marker-end=\"url(#arrow)\"/>",
        y1 + bend,
        y2 - bend
    );
}

/// From pale to warm, for a share of the slowest.
fn heat(share: f64) -> String {
    let (cold, warm) = ([250.0, 246.0, 236.0], [240.0, 120.0, 60.0]);
    let t = share.clamp(0.0, 1.0).sqrt();
    let at = |i: usize| (cold[i] + (warm[i] - cold[i]) * t) as u8;
    format!("#{:02x}{:02x}{:02x}", at(0), at(1), at(2))
}

pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_can_not_break_out() {
        assert_eq!(escape("<a href=\"x\">&"), "&lt;a href=&quot;x&quot;&gt;&amp;");
        assert_eq!([heat(0.0), heat(1.0), heat(9.0)], ["#faf6ec", "#f0783c", "#f0783c"]);
    }
}
