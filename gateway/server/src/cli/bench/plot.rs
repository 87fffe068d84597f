//! The open loop as a picture: what was delivered, and how long it took, over the rate at which events came.

use std::path::Path;

use anyhow::{Context as _, anyhow};
use plotters::prelude::*;

use super::report::{OpenLoop, RunMedians};

const SIZE: (u32, u32) = (960, 900);

/// A curve: its name, its colour, and what it shows of a run.
type Curve = (&'static str, RGBColor, fn(&RunMedians) -> f64);

const GATEWAY: [Curve; 4] = [
    ("gateway, to the answer, p50", RGBColor(31, 119, 180), |run| run.accept_p50_ms),
    ("gateway, to the answer, p99", RGBColor(23, 63, 120), |run| run.accept_p99_ms),
    ("gateway, to delivered, p50", RGBColor(44, 160, 44), |run| run.delivered_p50_ms),
    ("gateway, to delivered, p99", RGBColor(20, 90, 20), |run| run.delivered_p99_ms),
];
const RELAY: [Curve; 2] = [
    ("relay, p50", RGBColor(190, 120, 40), |run| run.accept_p50_ms),
    ("relay, p99", RGBColor(120, 70, 10), |run| run.accept_p99_ms),
];

/// Writes an SVG file.
pub(super) fn write(open: &OpenLoop, path: &Path) -> anyhow::Result<()> {
    let picture = draw(open).map_err(|error| anyhow!("the plot can't be drawn: {error}"))?;
    std::fs::write(path, picture).with_context(|| format!("{} can't be written", path.display()))
}

fn draw(open: &OpenLoop) -> Result<String, Box<dyn std::error::Error>> {
    let mut picture = String::new();
    {
        let area = SVGBackend::with_string(&mut picture, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let (above, below) = area.split_vertically(SIZE.1 / 2);
        throughput(open, &above)?;
        latency(open, &below)?;
        area.present()?;
    }
    Ok(picture)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn points<'a>(
    open: &'a OpenLoop,
    run: fn(&'a super::report::StepReport) -> &'a RunMedians,
    value: fn(&RunMedians) -> f64,
) -> impl Iterator<Item = (f64, f64)> + Clone + 'a {
    open.steps.iter().map(move |step| (f64::from(step.rate), value(run(step))))
}

fn most(open: &OpenLoop) -> f64 {
    open.steps.iter().map(|step| f64::from(step.rate)).fold(1.0, f64::max) * 1.05
}

fn throughput(open: &OpenLoop, area: &Area<'_>) -> Result<(), Box<dyn std::error::Error>> {
    let most = most(open);
    let mut chart = ChartBuilder::on(area)
        .caption("delivered events a second", ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(0.0..most, 0.0..most)?;
    chart.configure_mesh().x_desc("events a second that came").draw()?;
    let delivered: fn(&RunMedians) -> f64 = |run| run.delivered_per_s;
    let gateway = points(open, |step| &step.gateway, delivered);
    let relay = points(open, |step| &step.relay, delivered);
    line(&mut chart, gateway, "gateway", GATEWAY[0].1)?;
    line(&mut chart, relay, "relay", RELAY[0].1)?;
    legend(&mut chart)
}

fn latency(open: &OpenLoop, area: &Area<'_>) -> Result<(), Box<dyn std::error::Error>> {
    let gateway = GATEWAY.map(|(name, colour, value)| {
        (name, colour, points(open, |step| &step.gateway, value).collect::<Vec<_>>())
    });
    let relay = RELAY.map(|(name, colour, value)| {
        (name, colour, points(open, |step| &step.relay, value).collect::<Vec<_>>())
    });
    let values = || gateway.iter().chain(&relay).flat_map(|(_, _, points)| points).map(|(_, ms)| *ms);
    let (low, high) = (values().fold(f64::MAX, f64::min), values().fold(0.0, f64::max));
    // A logarithmic axis has no zero.
    let (low, high) = ((low * 0.8).max(0.01), (high * 1.25).max(1.0));
    let mut chart = ChartBuilder::on(area)
        .caption("latency in ms from when an event was due", ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(0.0..most(open), (low..high).log_scale())?;
    chart.configure_mesh().x_desc("events a second that came").draw()?;
    for (name, colour, points) in gateway.into_iter().chain(relay) {
        line(&mut chart, points.into_iter(), name, colour)?;
    }
    legend(&mut chart)
}

type Chart<'a, 'b, Y> =
    ChartContext<'a, SVGBackend<'b>, Cartesian2d<plotters::coord::types::RangedCoordf64, Y>>;

fn line<'a, 'b: 'a, Y: Ranged<ValueType = f64>>(
    chart: &mut Chart<'a, 'b, Y>,
    points: impl Iterator<Item = (f64, f64)> + Clone,
    name: &str,
    colour: RGBColor,
) -> Result<(), Box<dyn std::error::Error>> {
    chart.draw_series(points.clone().map(|point| Circle::new(point, 3, colour.filled())))?;
    chart
        .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
        .label(name)
        .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], colour.stroke_width(2)));
    Ok(())
}

fn legend<'a, 'b: 'a, Y: Ranged<ValueType = f64>>(
    chart: &mut Chart<'a, 'b, Y>,
) -> Result<(), Box<dyn std::error::Error>> {
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    Ok(())
}
