/** What one benchmark found; everything it measured is in it, the bad figures too. */
export interface BenchResult {
  readonly name: string;
  /** The promise that it measures, in words. */
  readonly goal: string;
  readonly rows: readonly BenchRow[];
  readonly met: boolean;
  /** What explains a figure: what the machine lacks, what was tried and lost. */
  readonly notes?: readonly string[];
}

export interface BenchRow {
  readonly label: string;
  readonly value: number;
  readonly unit: string;
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** The value below which the share `q` of `values` lies. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = values.toSorted((left, right) => left - right);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN;
}
