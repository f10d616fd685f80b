import { Resolver } from 'node:dns/promises';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { binary } from './binaries.ts';
import { eventually } from '../harness/eventually.ts';
import { expectRunning, start } from './daemon.ts';
import { network, places } from './places.ts';

const READY_DEADLINE_MS = 60_000;

/** Starts CoreDNS beside the control plane, and not in pods: a node that is lost takes no names with it.
 *  Returns when it answers for the cluster. */
export async function startDns(): Promise<void> {
  const zones = 'cluster.local in-addr.arpa ip6.arpa';
  const everywhere = `  bind ${network.host}\n  errors\n`;
  const names = `  kubernetes ${zones} {\n    kubeconfig ${places.kubeconfig}\n    pods insecure\n  }\n  cache 5\n`;
  // There is no outside: every other name does not exist, at once.
  const others = '  template ANY ANY {\n    rcode NXDOMAIN\n  }\n';
  const corefile = join(places.run, 'Corefile');
  writeFileSync(corefile, `${zones} {\n${everywhere}${names}}\n. {\n${everywhere}${others}}\n`);
  start('coredns', binary('coredns'), ['-conf', corefile]);
  const resolver = new Resolver({ timeout: 500, tries: 1 });
  resolver.setServers([network.host]);
  const answers = async (): Promise<boolean> => {
    expectRunning('coredns');
    const addresses = await resolver
      .resolve4('kubernetes.default.svc.cluster.local')
      .catch((): string[] => []);
    return addresses.includes(network.firstService);
  };
  await eventually(answers, READY_DEADLINE_MS);
}
