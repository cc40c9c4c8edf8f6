//! `GET /metrics` and `GET /metrics/prometheus`: what this server counts.

use super::{Answer, Error};
use crate::http::Status;
use crate::metrics::View;
use crate::queue::Engine;

const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

pub async fn run(engine: &Engine, view: View, answer: &mut Answer<'_>) -> Result<(), Error> {
    let body = engine.scrape(view).await?;
    if view == View::Prometheus {
        answer.content_type(PROMETHEUS);
    }
    answer.no_cache();
    answer.write(Status::Ok, |out| out.extend_from_slice(&body));
    Ok(())
}
