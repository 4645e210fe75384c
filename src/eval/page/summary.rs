//! The head of the page: what was measured, on what, and what came out.

use std::fmt::{self, Formatter};

use super::markup::{count, interval, percent, pictures, text};
use super::{Page, Published};
use crate::image::{CropMode, InputSpec, Interpolation};

pub(super) fn write(page: &Page<'_>, out: &mut Formatter<'_>) -> fmt::Result {
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
    if let Some(warning) = report.warning(header.classes.len()) {
        writeln!(
            out,
            "<p class=\"notice\"><b>Beware:</b> {}.</p>",
            text(&warning)
        )?;
    }
    figures(page, out)?;
    out.write_str("<dl class=\"facts\">\n")?;
    if let Some(published) = page.published {
        compare(&published, out)?;
    }
    fact(out, "Input", &input(&header.input))?;
    fact(
        out,
        "Preprocessing",
        &preprocessing(&header.input, header.exif),
    )?;
    for (name, hash) in [("Weights", &header.weights), ("Data set", &header.data)] {
        // They are taken where results are kept.
        if !hash.is_empty() {
            writeln!(
                out,
                "<div><dt>{name}</dt><dd><code>{}</code></dd></div>",
                text(hash)
            )?;
        }
    }
    out.write_str("</dl>\n</header>\n")
}

fn figures(page: &Page<'_>, out: &mut Formatter<'_>) -> fmt::Result {
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

fn compare(published: &Published<'_>, out: &mut Formatter<'_>) -> fmt::Result {
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
        text(published.source)
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

fn preprocessing(input: &InputSpec, exif: bool) -> String {
    let [height, width] = input.scale_size();
    let resize = match input.crop_mode {
        CropMode::Center => format!("short side to {}", height.min(width)),
        CropMode::Squash => format!("both sides to {height} × {width}"),
        CropMode::Border => format!("long side to {}", height.max(width)),
    };
    let filter = match input.interpolation {
        Interpolation::Bilinear => "bilinear",
        Interpolation::Bicubic => "bicubic",
    };
    let turned = if exif {
        "turned as EXIF says"
    } else {
        "EXIF orientation ignored"
    };
    format!(
        "{resize} px, {filter}, centre crop of {}; {turned}",
        input.crop_pct
    )
}
