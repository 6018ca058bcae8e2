//! The log on standard error: plain short lines of this crate; with `-vv` the lines of the GPU layers too.

use std::fmt;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt::layer};

use super::{Global, output};

/// Starts the log at the level of `-q` and `-v`.
pub fn start(global: &Global) {
    let own = match (global.quiet, global.verbose) {
        // Other ranks have the same warnings.
        _ if !global.writes() => LevelFilter::ERROR,
        (true, _) => LevelFilter::WARN,
        (false, 0) => LevelFilter::INFO,
        (false, 1) => LevelFilter::DEBUG,
        (false, _) => LevelFilter::TRACE,
    };
    let everything = global.verbose >= 2;
    let others = if everything { LevelFilter::INFO } else { LevelFilter::OFF };
    let filter = Targets::new().with_target("softalign", own).with_default(others);
    let plain = layer().with_writer(|| output::Stderr);
    let layer = if everything { plain.without_time().boxed() } else { plain.event_format(Plain).boxed() };
    tracing_subscriber::registry().with(layer.with_filter(filter)).init();
}

/// The message alone; warnings and errors begin with their level.
struct Plain;

impl<S, N> FormatEvent<S, N> for Plain
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        to.write_str(match *event.metadata().level() {
            Level::ERROR => "error: ",
            Level::WARN => "warning: ",
            Level::INFO => "",
            Level::DEBUG => "debug: ",
            Level::TRACE => "trace: ",
        })?;
        let mut message = String::new();
        context.field_format().format_fields(Writer::new(&mut message), event)?;
        writeln!(to, "{}", output::shown(&message))
    }
}
