//! The head of the page: what was measured, on what, and what came out.

use std::fmt::{self, Formatter};

use super::markup::{count, interval, percent, pictures, text};
use crate::eval::{Comparison, Header, ReportContext};
use crate::preprocess::{CropMode, InputSpec, Views};

pub(super) fn write(page: &ReportContext<'_>, out: &mut Formatter<'_>) -> fmt::Result {
    let (report, header) = (page.report, page.header);
    let classes = report.classes.len();
    write!(
        out,
        "<header>\n<h1>{}</h1>\n<p class=\"lead\">{} of {} answered, {} class{}</p>\n",
        text(&report.model),
        count(report.answered),
        pictures(report.pictures),
        count(classes),
        if classes == 1 { "" } else { "es" }
    )?;
    if report.answered == 0 {
        out.write_str(
            "<p class=\"notice\">No picture has an answer, so there is no accuracy.</p>\n",
        )?;
    }
    for warning in page.warnings {
        writeln!(
            out,
            "<p class=\"notice\"><b>Beware:</b> {}.</p>",
            text(warning)
        )?;
    }
    figures(page, out)?;
    out.write_str("<dl class=\"facts\">\n")?;
    if let Some(published) = page.comparison {
        compare(published, out)?;
    }
    for member in &header.members {
        if header.members.len() > 1 {
            fact(out, "Member", &member.model)?;
        }
        fact(out, "Input", &input(&member.input))?;
        let preprocessing = preprocessing(&member.input, header);
        fact(out, "Preprocessing", &preprocessing)?;
        hash(out, "Weights", &member.weights)?;
    }
    match header.views {
        Views::One => {}
        Views::Flip => fact(out, "Views", "the crop and its mirror image")?,
        Views::TenCrop => fact(out, "Views", "ten crops")?,
    }
    if let Some(valid) = &header.valid {
        let valid = format!("{} of {} classes", valid.len(), header.classes.len());
        fact(out, "Valid answers", &valid)?;
    }
    hash(out, "Data set", &header.data)?;
    out.write_str("</dl>\n</header>\n")
}

fn figures(page: &ReportContext<'_>, out: &mut Formatter<'_>) -> fmt::Result {
    let report = page.report;
    out.write_str("<dl class=\"figures\">\n")?;
    for top in &report.top {
        if let Some(accuracy) = top.accuracy {
            let more = format!(
                "{}<br/>{} right",
                interval(top.interval),
                count(top.correct)
            );
            figure(out, &format!("top-{}", top.k), &percent(accuracy), &more)?;
        }
    }
    if let Some(loss) = report.loss {
        figure(out, "loss", &format!("{loss:.4}"), "mean cross-entropy")?;
    }
    if let Some(error) = report.calibration_error {
        figure(
            out,
            "calibration error",
            &format!("{error:.4}"),
            "expected, 15 bins",
        )?;
    }
    if let Some(best) = report.temperature {
        let more = format!("would give a loss of {:.4}", best.loss);
        figure(
            out,
            "best temperature",
            &format!("{:.2}", best.value),
            &more,
        )?;
    }
    let failed = match report.failed {
        0 => "every picture was read".to_owned(),
        _ => "<a href=\"#failed\">listed below</a>".to_owned(),
    };
    figure(out, "failed", &count(report.failed), &failed)?;
    let missing = report.pictures.saturating_sub(page.records.len());
    if missing > 0 {
        figure(
            out,
            "without a result",
            &count(missing),
            "not in these results",
        )?;
    }
    out.write_str("</dl>\n")
}

fn figure(out: &mut Formatter<'_>, name: &str, value: &str, more: &str) -> fmt::Result {
    writeln!(
        out,
        "<div><dt>{name}</dt><dd><strong>{value}</strong><small>{more}</small></dd></div>"
    )
}

fn fact(out: &mut Formatter<'_>, name: &str, value: &str) -> fmt::Result {
    writeln!(out, "<div><dt>{name}</dt><dd>{}</dd></div>", text(value))
}

/// Hashes are taken where results are kept.
fn hash(out: &mut Formatter<'_>, name: &str, hash: &str) -> fmt::Result {
    if hash.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "<div><dt>{name}</dt><dd><code>{}</code></dd></div>",
        text(hash)
    )
}

fn compare(published: &Comparison, out: &mut Formatter<'_>) -> fmt::Result {
    let (class, verdict) = if published.agrees {
        ("good", "agrees")
    } else {
        ("bad", "differs")
    };
    writeln!(
        out,
        "<div><dt>Published</dt><dd>top-1 {} %, top-5 {} % ({}): <b class=\"{class}\">{verdict}</b></dd></div>",
        published.top1,
        published.top5,
        text(&published.source)
    )
}

fn input(input: &InputSpec) -> String {
    let [height, width] = input.size;
    let list = |values: [f32; 3]| values.map(|value| value.to_string()).join(", ");
    format!(
        "{height} × {width} px; mean {}; deviation {}",
        list(input.mean),
        list(input.std)
    )
}

fn preprocessing(input: &InputSpec, header: &Header) -> String {
    let [height, width] = input.scale_size();
    let resize = match input.crop_mode {
        CropMode::Center => format!("short side to {}", height.min(width)),
        CropMode::Squash => format!("both sides to {height} × {width}"),
        CropMode::Border => format!("long side to {}", height.max(width)),
    };
    let filter = input.interpolation.name();
    let turned = if header.exif {
        "turned as EXIF says"
    } else {
        "EXIF orientation ignored"
    };
    format!(
        "{resize} px, {filter}, centre crop of {}; {turned}{}",
        input.crop_pct,
        if header.scale_16bit {
            "; 16-bit grey divided by 257"
        } else {
            ""
        }
    )
}
