//! Latency by percentile, as a picture.

use std::path::Path;

use hdrhistogram::Histogram;
use plotters::prelude::*;

/// Writes an SVG: percentile on the x axis by its nines, milliseconds on a logarithmic y axis.
pub(crate) fn latency(path: &Path, title: &str, latency: &Histogram<u64>) -> anyhow::Result<()> {
    let points: Vec<(f64, f64)> = (0..=400)
        .map(|step| f64::from(step) / 100.0)
        .map(|nines| {
            let quantile = 1.0 - 10_f64.powf(-nines);
            (nines, millis(latency.value_at_quantile(quantile)))
        })
        .collect();
    let most = points.iter().map(|point| point.1).fold(1.0, f64::max) * 1.5;
    let area = SVGBackend::new(path, (900, 500)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 20))
        .margin(16)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..4.0, (0.1..most).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("percentile")
        .y_desc("milliseconds from due to accepted")
        .x_labels(5)
        .x_label_formatter(&|nines| match format!("{nines:.0}").as_str() {
            "0" => "0".to_owned(),
            "1" => "90".to_owned(),
            "2" => "99".to_owned(),
            "3" => "99.9".to_owned(),
            _ => "99.99".to_owned(),
        })
        .draw()?;
    chart.draw_series(LineSeries::new(points, BLUE.stroke_width(2)))?;
    area.present()?;
    Ok(())
}

#[allow(clippy::cast_precision_loss)] // microseconds far below 2^52
pub(crate) fn millis(micros: u64) -> f64 {
    micros as f64 / 1_000.0
}
