/** The configuration of a node's programs, written anew for each life of the node. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { keyFiles, kubeconfigOf } from './authority.ts';
import { addressOf, network, nodeNames, places } from './places.ts';
import type { NodeName } from './places.ts';

/** The folder of a node: its configuration, and what it has in place of /var/lib and /var/log. */
export const folderOf = (node: NodeName): string => join(places.run, node);

/** What node.sh is told. */
export function environmentOf(node: NodeName): Record<string, string> {
  const { ip, cgroup } = addressOf(node);
  const others = nodeNames.filter((other) => other !== node).map(addressOf);
  return {
    NODE: node,
    NODE_IP: ip,
    NODE_CGROUP: cgroup,
    NODE_FOLDER: folderOf(node),
    BIN: places.bin,
    LOG: places.log,
    ROUTES: others.map((other) => `${other.pods} ${other.ip}`).join('\n'),
  };
}

/** Writes the configuration of the programs that node.sh runs. */
export function configure(node: NodeName): void {
  const folder = folderOf(node);
  for (const part of ['cni', 'hold', 'pid']) mkdirSync(join(folder, part), { recursive: true });
  const write = (file: string, content: string | object): void =>
    writeFileSync(join(folder, file), typeof content === 'string' ? content : JSON.stringify(content));
  const server = `https://${network.host}:${network.apiPort}`;
  write('kubeconfig', kubeconfigOf(node, server));
  write('proxy.kubeconfig', kubeconfigOf('admin', server));
  // Of pods that do not ask for the names of the cluster; they get no others, either.
  write('resolv.conf', `nameserver ${network.host}\n`);
  write('cni/10-bridge.conflist', podNetwork(node));
  write('containerd.toml', containerdSettings(folder));
  write('kubelet.yaml', kubeletSettings(node));
  write('kube-proxy.yaml', {
    apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
    kind: 'KubeProxyConfiguration',
    clientConnection: { kubeconfig: join(folder, 'proxy.kubeconfig') },
    mode: 'iptables',
    clusterCIDR: network.pods,
    hostnameOverride: node,
    // The table of connections is the machine's.
    conntrack: { maxPerCore: 0, min: 0 },
  });
}

function podNetwork(node: NodeName): object {
  const routes = [{ dst: '0.0.0.0/0' }];
  const ipam = { type: 'host-local', ranges: [[{ subnet: addressOf(node).pods }]], routes };
  const bridge = { type: 'bridge', bridge: 'cni0', isGateway: true, hairpinMode: true, ipam };
  const portmap = { type: 'portmap', capabilities: { portMappings: true } };
  return { cniVersion: '0.4.0', name: 'pods', plugins: [bridge, portmap] };
}

function containerdSettings(folder: string): string {
  return `version = 3
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = 'registry.k8s.io/pause:3.10'
[plugins.'io.containerd.cri.v1.runtime']
# Where root has no CAP_SYS_RESOURCE, no process may get a lower score than ours.
restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dir = '/usr/lib/cni'
conf_dir = '${join(folder, 'cni')}'
`;
}

function kubeletSettings(node: NodeName): object {
  const { certificate, key, authority } = keyFiles;
  const little = '1%';
  return {
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    authentication: {
      anonymous: { enabled: false },
      webhook: { enabled: true },
      x509: { clientCAFile: authority },
    },
    authorization: { mode: 'Webhook' },
    cgroupDriver: 'cgroupfs',
    failCgroupV1: false,
    failSwapOn: false,
    clusterDNS: [network.host],
    clusterDomain: 'cluster.local',
    resolvConf: join(folderOf(node), 'resolv.conf'),
    containerRuntimeEndpoint: 'unix:///run/containerd/containerd.sock',
    tlsCertFile: certificate(node),
    tlsPrivateKeyFile: key(node),
    featureGates: { ImageVolume: true },
    // The disk is the machine's, and an image that were collected could not be pulled again.
    imageGCHighThresholdPercent: 100,
    evictionHard: {
      'memory.available': '100Mi',
      'nodefs.available': little,
      'imagefs.available': little,
      'nodefs.inodesFree': little,
    },
  };
}
