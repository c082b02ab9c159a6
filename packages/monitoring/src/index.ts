// The whole public face of @heptad/monitoring.

export {
  AlertManager,
  type AlertManagerOptions,
  type RuleStatus,
  type VectorSource,
} from './alert/manager.ts';
export {
  type Alert,
  type AlertRule,
  type AlertState,
  type AlertStep,
  type AlertTransition,
  beginAlert,
  nextAlert,
  type Observation,
} from './alert/state.ts';
export type { DeliveryOptions, DeliveryReport } from './alert/webhook.ts';
export {
  type CorrelatedMetric,
  type CorrelateOptions,
  type Correlation,
  type CorrelationSources,
  correlate,
} from './correlate.ts';
export {
  type Anomaly,
  type AnomalyOptions,
  DEFAULT_VECTOR_QUERIES,
  findAnomalies,
  type MetricDeviation,
  type VectorQueries,
} from './detect/anomalies.ts';
export {
  averagePathLength,
  IsolationForest,
  type IsolationForestOptions,
  type Point,
} from './detect/isolation-forest.ts';
export { MonitoringError, type MonitoringErrorCode } from './errors.ts';
export type { Signal } from './ingest/otlp.ts';
export type { Attributes, AttributeValue } from './ingest/otlp-model.ts';
export { type PrometheusClient, type PrometheusOptions, prometheus } from './integrations/prometheus.ts';
export {
  LOG_LEVELS,
  type LogLevel,
  type LogQuery,
  type LogRecord,
  type LogStoreOptions,
  type StoredLog,
} from './logs/log-types.ts';
export { type LogCondition, parseLogSearch } from './logs/search.ts';
export { LogStore } from './logs/store.ts';
export { EXPOSITION_CONTENT_TYPE, writeExposition } from './metrics/exposition.ts';
export { type Exposition, parseExposition } from './metrics/exposition-parse.ts';
export type { Labels } from './metrics/labels.ts';
export type { Matcher, MatchOperator } from './metrics/matcher.ts';
export { isStale, STALE_NAN } from './metrics/stale.ts';
export { MetricStore } from './metrics/store.ts';
export type {
  AppendResult,
  MetricMetadata,
  MetricStoreOptions,
  MetricStoreStats,
  RejectedSample,
  RejectReason,
  Sample,
  SeriesData,
} from './metrics/store-types.ts';
export type {
  AggregateOperator,
  Aggregation,
  AtModifier,
  Binary,
  BinaryOperator,
  Call,
  Expression,
  MatrixSelector,
  Span as TextSpan,
  Subquery,
  TimeShift,
  VectorMatching,
  VectorSelector,
} from './query/ast.ts';
export { QueryEngine, type QueryEngineOptions, type QueryRange } from './query/engine.ts';
export { type PrometheusAnswer, prometheusApi, type QueryBackend } from './query/http-api.ts';
export { parsePromql } from './query/parser.ts';
export type { SampleSource } from './query/selection.ts';
export type { ApiSample, Element, QueryData, Vector } from './query/value.ts';
export type { ScrapeOptions, ScrapeResult, Scraper } from './scrape.ts';
export { MonitoringServer, type MonitoringServerOptions, monitoringHandler } from './server.ts';
export { type IngestResult, MonitoringStack, type MonitoringStackOptions, type Retention } from './stack.ts';
export { TraceStore } from './traces/store.ts';
export type {
  ServiceCall,
  Span,
  SpanKind,
  SpanNode,
  Trace,
  TraceQuery,
  TraceStoreOptions,
  TraceSummary,
} from './traces/trace-types.ts';
