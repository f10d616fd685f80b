import { Counter, Gauge, Histogram, Registry, type OpenMetricsContentType } from 'prom-client';
import { METRICS, type MetricName, type MetricRow } from './metric-list.ts';

type Labels = Readonly<Record<string, string>>;
type NameOf<Type extends MetricRow['type']> = {
  [Name in MetricName]: (typeof METRICS)[Name]['type'] extends Type ? Name : never;
}[MetricName];

/** Values that are read when somebody scrapes, instead of kept. */
export type GaugeReaders = Partial<Record<NameOf<'gauge'>, () => ReadonlyMap<string, number> | number>>;

/** The metrics of one agent, on registries of its own; what they are stands in the list. */
export class Metrics {
  readonly registry: Registry;
  /** The same metrics in the other format that a scraper may ask for. */
  readonly #openMetrics = new Registry<OpenMetricsContentType>();
  readonly #counters = new Map<MetricName, Counter>();
  readonly #histograms = new Map<MetricName, Histogram>();
  readonly #gauges = new Map<MetricName, Gauge>();

  constructor(registry: Registry = new Registry()) {
    this.registry = registry;
    this.#openMetrics.setContentType(Registry.OPENMETRICS_CONTENT_TYPE);
    for (const name of Object.keys(METRICS) as MetricName[]) this.#register(name);
  }

  count(name: NameOf<'counter'>, labels: Labels = {}, by = 1): void {
    this.#counters.get(name)?.inc(labels, by);
  }

  observe(name: NameOf<'histogram'>, labels: Labels, seconds: number): void {
    this.#histograms.get(name)?.observe(labels, seconds);
  }

  set(name: NameOf<'gauge'>, labels: Labels, value: number): void {
    this.#gauges.get(name)?.set(labels, value);
  }

  /**
   * Renders all metrics, as OpenMetrics where `accept` asks for that, else in the text format of Prometheus; `readers`
   * give the gauges that are read now.
   */
  async render(readers: GaugeReaders, accept = ''): Promise<{ type: string; text: string }> {
    for (const [name, read] of Object.entries(readers) as [
      NameOf<'gauge'>,
      () => ReadonlyMap<string, number> | number,
    ][]) {
      this.#read(name, read());
    }
    const registry = accept.includes('application/openmetrics-text') ? this.#openMetrics : this.registry;
    return { type: registry.contentType, text: await registry.metrics() };
  }

  #read(name: NameOf<'gauge'>, value: ReadonlyMap<string, number> | number): void {
    const gauge = this.#gauges.get(name);
    if (gauge === undefined) return;
    if (typeof value === 'number') return gauge.set(value);
    // A state that nobody is in must fall back to nothing, not stay at its last value.
    gauge.reset();
    const [label = ''] = METRICS[name].labels;
    for (const [of, count] of value) gauge.set({ [label]: of }, count);
  }

  #register(name: MetricName): void {
    const { type, labels, help, buckets }: MetricRow = METRICS[name];
    const common = { name, help, labelNames: [...labels], registers: [this.registry, this.#openMetrics] };
    if (type === 'counter') this.#counters.set(name, new Counter(common));
    else if (type === 'gauge') this.#gauges.set(name, new Gauge(common));
    else this.#histograms.set(name, new Histogram({ ...common, ...(buckets && { buckets: [...buckets] }) }));
  }
}
