import { digits, milliseconds, percentile, rounded } from './figures.ts';
import type { Finding, Verdict } from './finding.ts';
import { TIMED_CALLS, type Trials } from './trial-words.ts';

const FSYNC_MS = { note: 100, warn: 1000 };
const CALL_MS = { note: 50, warn: 500 };
const LEAST_MIB_PER_SECOND = 10;
const LEAST_FILES_PER_SECOND = 50;

/** The time of an fsync is that of its slower half: file or folder. */
export function fsyncFinding({ fileMs, folderMs }: Trials['fsync']): Finding {
  const [file, folder] = [percentile(fileMs, 0.5), percentile(folderMs, 0.5)];
  const slowest = Math.max(file, folder);
  const verdict = stepOf(slowest, FSYNC_MS);
  return {
    check: 'fsync',
    verdict,
    measured: `file ${milliseconds(file)}, folder ${milliseconds(folder)}`,
    figures: { fileMs: rounded(file), folderMs: rounded(folder), rounds: fileMs.length },
    says:
      verdict === 'good' ? 'it returns without an error' : 'it is slow, and a start waits for a few of them',
    ...(verdict !== 'good' && {
      advice: 'look at the disk behind the server, and at its export: sync is right, and needs a quick disk',
    }),
  };
}

function stepOf(value: number, steps: { readonly note: number; readonly warn: number }): Verdict {
  if (value > steps.warn) return 'warn';
  return value > steps.note ? 'note' : 'good';
}

export function throughputFinding({ bytes, seconds }: Trials['space']): Finding {
  const rate = bytes / seconds / 2 ** 20;
  return {
    check: 'throughput',
    verdict: rate < LEAST_MIB_PER_SECOND ? 'note' : 'good',
    measured: `${digits(rate)} MiB/s`,
    figures: { mibPerSecond: rounded(rate), bytes },
    says: `a package of 1 GiB takes about ${digits(1024 / rate)} s to be written`,
  };
}

export function latencyFinding(times: Trials['latency']): Finding {
  const figures: Record<string, number> = {};
  const words = TIMED_CALLS.map((call) => {
    const [p50, p99] = [percentile(times[call], 0.5), percentile(times[call], 0.99)];
    figures[`${call}P50Ms`] = rounded(p50);
    figures[`${call}P99Ms`] = rounded(p99);
    return `${call} ${digits(p50)}/${digits(p99)}`;
  });
  const slowest = Math.max(...TIMED_CALLS.map((call) => percentile(times[call], 0.5)));
  const verdict = stepOf(slowest, CALL_MS);
  return {
    check: 'latency',
    verdict,
    measured: `${words.join(', ')} ms`,
    figures,
    says: 'half of the calls and 99 of 100 are back within these times',
    ...(verdict !== 'good' && {
      advice:
        'a start makes some tens of them one after the other: bring agent, pods and server closer together',
    }),
  };
}

export function smallFilesFinding({ files, seconds }: Trials['small-files']): Finding {
  const rate = files / seconds;
  const isSlow = rate < LEAST_FILES_PER_SECOND;
  return {
    check: 'small-files',
    verdict: isSlow ? 'note' : 'good',
    measured: `${digits(rate)} files/s`,
    figures: { files, filesPerSecond: rounded(rate) },
    says: `a workspace of 1000 files takes about ${digits(1000 / rate)} s when they are made one by one`,
    ...(isSlow && { advice: 'send many small files as one package' }),
  };
}
