//! `senet eval --html`: the page has the figures of `--json`, and its file is complete or absent.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::env::Env;

/// Images of several classes; one cannot be read, and one has a name that is markup.
fn set(env: &Env) {
    for class in ["Ankle boot", "Sneaker", "Bag", "3"] {
        for image in 0..4 {
            env.image("ankle-boot.png", &format!("set/{class}/{image}.png"));
        }
    }
    env.image("rgb.jpg", "set/Trouser/it's <img src=x onerror=a>.jpg");
    env.write("set/Bag/broken.png", b"\x89PNG\r\n\x1a\nno more");
}

fn eval<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [
        &["eval", "set", "-m", "demo", "-q", "--html", "report.html"],
        more,
    ]
    .concat()
}

/// `93.75 %` as on the page.
fn percent(share: &Value) -> String {
    format!("{:.2}\u{a0}%", share.as_f64().unwrap() * 100.0)
}

#[test]
fn the_figures_are_those_of_the_json() {
    let env = Env::new();
    set(&env);
    let output = env.run(&eval(&["--json", "--expect", "--results", "a.jsonl"]));
    assert_eq!(output.status.code(), Some(1), "one image is broken");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let page = fs::read_to_string(env.path("report.html")).unwrap();
    let has = |text: &str| assert!(page.contains(text), "{text} is missing");
    for top in report["top"].as_array().unwrap() {
        has(&format!(
            "<dt>top-{}</dt><dd><strong>{}</strong><small>{:.2} to {}<br/>{} right",
            top["k"],
            percent(&top["accuracy"]),
            top["interval"]["low"].as_f64().unwrap() * 100.0,
            percent(&top["interval"]["high"]),
            top["correct"]
        ));
    }
    for (name, key) in [("loss", "loss"), ("calibration error", "calibration_error")] {
        let value = report[key].as_f64().unwrap();
        has(&format!("<dt>{name}</dt><dd><strong>{value:.4}</strong>"));
    }
    has("<dt>failed</dt><dd><strong>1</strong>");
    has("<b class=\"bad\">differs</b>");
    for class in report["classes"].as_array().unwrap() {
        has(&format!(
            "<tr><th scope=\"row\">{}</th>",
            class["name"].as_str().unwrap()
        ));
    }
    for pair in report["confusions"].as_array().unwrap() {
        has(&format!(
            "<tr><td>{}</td><td>{}</td><td class=\"n\">{}</td>",
            pair["label_name"].as_str().unwrap(),
            pair["prediction_name"].as_str().unwrap(),
            pair["images"]
        ));
    }
    let results = fs::read_to_string(env.path("a.jsonl")).unwrap();
    let header: Value = serde_json::from_str(results.lines().next().unwrap()).unwrap();
    has(header["members"][0]["weights"].as_str().unwrap());
    has("it&#39;s &lt;img src=x onerror=a&gt;.jpg");
    has("<td>Bag/broken.png</td><td>cannot decode this PNG");
    let mistakes =
        report["answered"].as_u64().unwrap() - report["top"][0]["correct"].as_u64().unwrap();
    assert!(mistakes > 0);
    assert_eq!(
        page.matches("data:image/jpeg;base64,").count() as u64,
        mistakes
    );

    // Merged results give the same page, but without thumbnails.
    let merged = env.run(&["eval", "merge", "-q", "a.jsonl", "--html", "merged.html"]);
    assert_eq!(merged.status.code(), Some(1), "{merged:?}");
    let merged = fs::read_to_string(env.path("merged.html")).unwrap();
    let section = |page: &str| {
        let start = page.find("<section").unwrap();
        page[start..page.find("id=\"mistakes\"").unwrap()].to_owned()
    };
    assert_eq!(section(&merged), section(&page));
    assert!(!merged.contains("<img"));
}

#[test]
fn an_unwritable_page_is_reported_before_the_run() {
    let env = Env::new();
    set(&env);
    let run = |file: &str| {
        let output = env.run(&[
            "eval",
            "set",
            "-m",
            "demo",
            "--html",
            file,
            "--results",
            "a.jsonl",
        ]);
        assert!(!env.path("a.jsonl").exists(), "the run began");
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(run("missing/report.html").contains("cannot write missing/report.html"));
    assert!(run("set").contains("it is a directory"));
    assert!(run("missing/..").contains("it is not the name of a file"));
}

#[test]
fn a_page_is_replaced_as_a_whole() {
    let env = Env::new();
    set(&env);
    env.write("report.html", "an older one");
    let failed = env.run(&eval(&["--limit", "0"]));
    assert_eq!(failed.status.code(), Some(2));
    assert_eq!(
        fs::read_to_string(env.path("report.html")).unwrap(),
        "an older one"
    );
    env.run(&eval(&["--limit", "5"]));
    let page = fs::read_to_string(env.path("report.html")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"));
    let mut left: Vec<_> = fs::read_dir(env.path("."))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["report.html", "set"]);
}

#[test]
#[cfg(unix)]
fn a_link_to_the_page_is_kept() {
    let env = Env::new();
    set(&env);
    env.write("elsewhere/report.html", "");
    std::os::unix::fs::symlink("elsewhere/report.html", env.path("report.html")).unwrap();
    env.run(&eval(&["--limit", "5"]));
    assert!(
        fs::symlink_metadata(env.path("report.html"))
            .unwrap()
            .is_symlink()
    );
    assert!(
        fs::metadata(env.path("elsewhere/report.html"))
            .unwrap()
            .len()
            > 1000
    );
}

/// Chromium's messages about a page in a window of the given width, and the final document.
fn browse(folder: &Path, page: &str, more: &[&str]) -> (String, String) {
    let output = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
        ])
        .args([
            "--enable-logging=stderr",
            "--v=0",
            "--user-data-dir=profile",
        ])
        .args(more)
        .arg(format!("file://{}", folder.join(page).display()))
        .current_dir(folder)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// That a browser renders the page without errors, requests, broken images or overflow, narrow and wide, and with
/// so many drawings.
pub(super) fn check_in_browser(env: &Env, page: &str, drawings: usize) {
    // The page itself allows no script, so a page around it inspects it.
    let look = "<body style='margin:0'><iframe src='PAGE' style='border:0' width='WIDTH' height='5000'>\
        </iframe><script>onload = () => { \
        const page = document.querySelector('iframe').contentDocument; \
        const edge = page.documentElement.clientWidth; \
        const wide = [...page.querySelectorAll('main *')].filter(e => !e.closest('.scroll, .unseen') \
        && e.getBoundingClientRect().right > edge + 1).map(e => e.outerHTML.slice(0, 200)); \
        const broken = [...page.images].filter(i => !i.naturalWidth).length; \
        const loaded = page.defaultView.performance.getEntriesByType('resource') \
        .filter(r => !r.name.startsWith('data:')).map(r => r.name); \
        const drawn = page.querySelectorAll('svg').length; \
        document.body.dataset.found = JSON.stringify({wide, broken, loaded, drawn}); }</script>";
    for width in ["400", "1200"] {
        let look = look.replace("PAGE", page).replace("WIDTH", width);
        env.write("look.html", look);
        let arguments = [
            "--dump-dom",
            "--allow-file-access-from-files",
            "--window-size=1300,900",
        ];
        let (document, log) = browse(&env.path(""), "look.html", &arguments);
        assert!(!log.contains("CONSOLE"), "{log}");
        let found = document
            .split("data-found=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        let found = found
            .unwrap_or_else(|| panic!("{document}"))
            .replace("&quot;", "\"");
        let found: Value = serde_json::from_str(&found).unwrap();
        assert_eq!(found["wide"], Value::Array(vec![]), "at {width} px");
        assert_eq!(
            (&found["broken"], &found["loaded"]),
            (&0.into(), &Value::Array(vec![]))
        );
        assert_eq!(found["drawn"], drawings);
    }
}

#[test]
#[ignore = "needs Debian's chromium; cargo test --test cli browser -- --ignored"]
fn a_browser_renders_it_without_errors_requests_or_overflow() {
    let env = Env::new();
    set(&env);
    env.run(&eval(&["--results", "a.jsonl", "--expect"]));
    let folder = env.path("");
    // A diagram, a map and the bars of five classes.
    check_in_browser(&env, "report.html", 2 + 5);
    let arguments = ["--screenshot=page.png", "--window-size=1200,2000"];
    let (_, log) = browse(&folder, "report.html", &arguments);
    assert!(!log.contains("CONSOLE"), "{log}");
    let screen = image::open(env.path("page.png")).unwrap().into_rgb8();
    assert_eq!(screen.dimensions(), (1200, 2000));
    let mut colours: Vec<[u8; 3]> = screen.pixels().map(|pixel| pixel.0).collect();
    colours.sort_unstable();
    colours.dedup();
    assert!(colours.len() > 500, "only {} colours", colours.len());
}
