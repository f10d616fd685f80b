import { loadConfig } from '../../src/config.ts';
import { serve } from '../../src/serve.ts';

/**
 * An agent that kills itself with SIGKILL at the n-th operation on the volume after SIGUSR2, as a power cut would:
 * nothing is flushed, no handler runs. Its first argument is n; the others are the flags of `serve`.
 */
const [count = '', ...flags] = process.argv.slice(2);
let left = Number.POSITIVE_INFINITY;

process.on('SIGUSR2', () => {
  left = Number(count);
  process.stdout.write('{"msg":"armed"}\n');
});

await serve(loadConfig(flags), {
  observeGate: ({ phase }) => {
    if (phase !== 'begin' && phase !== 'end') return;
    left -= 1;
    if (left <= 0) process.kill(process.pid, 'SIGKILL');
  },
});
