//! The files that pages load: style, script and icon, all from this listener.

use axum::extract::Path;
use axum::response::{IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};

use crate::problem::Problem;

const STYLE: &str = include_str!("../../../dashboard/assets/app.css");
const THEME: &str = include_str!("../../../dashboard/assets/theme.js");
const SCRIPT: &str = include_str!("../../../dashboard/assets/app.js");
const LIVE: &str = include_str!("../../../dashboard/assets/live.js");
const COMPARE: &str = include_str!("../../../dashboard/assets/compare.js");
const PLUGIN: &str = include_str!("../../../dashboard/assets/plugin.js");
const ICON: &str = include_str!("../../../dashboard/assets/icon.svg");

pub(super) async fn get(Path(name): Path<String>) -> Result<Response, Problem> {
    let (kind, text) = match name.as_str() {
        "app.css" => ("text/css; charset=utf-8", STYLE),
        "theme.js" => ("text/javascript; charset=utf-8", THEME),
        "app.js" => ("text/javascript; charset=utf-8", SCRIPT),
        "live.js" => ("text/javascript; charset=utf-8", LIVE),
        "compare.js" => ("text/javascript; charset=utf-8", COMPARE),
        "plugin.js" => ("text/javascript; charset=utf-8", PLUGIN),
        "icon.svg" => ("image/svg+xml", ICON),
        _ => return Err(Problem::NotFound("resource")),
    };
    // Their names stay the same from version to version, so browsers ask each time: the files are small and near.
    Ok(([(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-cache")], text).into_response())
}
