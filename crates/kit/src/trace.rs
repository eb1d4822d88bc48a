//! One payment, one trace: spans are made only for sampled payments, so an idle exporter costs nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use eschaton_driver::Observer;
use eschaton_ports::{TopicPartition, TraceContext};
use opentelemetry::trace::{
    Span, SpanContext, SpanId, SpanKind, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer,
};
use opentelemetry::{Context, KeyValue, global};

/// Decides which payments are traced and makes their spans.
#[derive(Debug, Default)]
pub struct Tracing {
    /// Every n-th submission is traced; 0: none.
    one_in: u64,
    count: AtomicU64,
}

impl Tracing {
    /// Traces every `one_in`-th submission; 0: none.
    pub fn new(one_in: u64) -> Self {
        Self { one_in, count: AtomicU64::new(0) }
    }

    /// Begins the trace of a submission, if it is one that is sampled. The caller's W3C context, when
    /// there is one and it is sampled, always is.
    pub fn begin(&self, name: &'static str, parent: Option<TraceContext>) -> Option<SubmissionSpan> {
        let wanted = parent.is_some_and(|parent| parent.flags & 1 == 1)
            || (self.one_in > 0 && self.count.fetch_add(1, Ordering::Relaxed).is_multiple_of(self.one_in));
        if !wanted {
            return None;
        }
        let context = parent.map_or_else(Context::new, |parent| remote(&parent));
        let tracer = global::tracer("eschaton");
        let span =
            tracer.span_builder(name).with_kind(SpanKind::Server).start_with_context(&tracer, &context);
        Some(SubmissionSpan(span))
    }
}

/// The root span of one payment; ends when dropped.
pub struct SubmissionSpan(global::BoxedSpan);

impl SubmissionSpan {
    /// What goes into record headers. `None` when no exporter is set up.
    pub fn context(&self) -> Option<TraceContext> {
        let context = self.0.span_context();
        context.is_valid().then(|| TraceContext {
            trace_id: u128::from_be_bytes(context.trace_id().to_bytes()),
            span_id: u64::from_be_bytes(context.span_id().to_bytes()),
            flags: context.trace_flags().to_u8(),
        })
    }
}

/// Makes a span of each durable step of a sampled payment.
#[derive(Debug, Clone, Copy)]
pub struct StepSpans(
    /// The span's name, such as `conflict-resolver.step`.
    pub &'static str,
);

impl Observer for StepSpans {
    #[allow(clippy::disallowed_methods, reason = "a span's own time; it decides nothing")]
    fn committed(&self, trace: &TraceContext, at: TopicPartition, offset: u64) {
        let tracer = global::tracer("eschaton");
        let mut span = tracer
            .span_builder(self.0)
            .with_kind(SpanKind::Consumer)
            .with_start_time(SystemTime::now())
            .with_attributes([
                KeyValue::new("messaging.destination.partition.id", at.to_string()),
                KeyValue::new("messaging.kafka.offset", i64::try_from(offset).unwrap_or(i64::MAX)),
            ])
            .start_with_context(&tracer, &remote(trace));
        span.end();
    }
}

fn remote(trace: &TraceContext) -> Context {
    Context::new().with_remote_span_context(SpanContext::new(
        TraceId::from_bytes(trace.trace_id.to_be_bytes()),
        SpanId::from_bytes(trace.span_id.to_be_bytes()),
        TraceFlags::new(trace.flags),
        true,
        TraceState::default(),
    ))
}
