#!/usr/bin/env bash
# The life of one node, started by nodes.ts: `node.sh enter` takes a control group and namespaces of its own,
# `node.sh inside` is process 1 in there.
#
# The node has the usual folders (/var/lib/kubelet, /run/containerd, /var/log/pods) and the usual ports for itself.
# When its process 1 is killed, the kernel kills all others of the namespace: a power cut.
#
# Given by nodes.ts: NODE, NODE_IP, NODE_CGROUP, NODE_FOLDER (configuration files, hold/, pid/), BIN, LOG, ROUTES.
set -euo pipefail
shopt -s nullglob

enter() {
  local hierarchy group
  for hierarchy in /sys/fs/cgroup/*/; do
    [ ! -L "${hierarchy%/}" ] || continue
    group=$hierarchy$NODE_CGROUP
    # Of a node that lost its power. A kubelet looks at every group below it, dead ones too, for seconds each.
    [ ! -d "$group" ] || find "$group" -mindepth 1 -depth -type d -exec rmdir {} + || true
    mkdir -p "$group"
    if [ -e "$hierarchy/cpuset.cpus" ]; then
      # A fresh cpuset is empty, and nobody can enter it.
      cat "$hierarchy/cpuset.cpus" > "$group/cpuset.cpus"
      cat "$hierarchy/cpuset.mems" > "$group/cpuset.mems"
    fi
    echo 0 > "$group/cgroup.procs" # 0: whoever writes
  done
  exec unshare --mount --uts --ipc --pid --net --cgroup --fork --kill-child=KILL --propagation slave \
    bash "$0" inside
}

# Mounts anew what still shows the machine: its processes, its network's sysfs, its control groups.
own_kernel_views() {
  local hierarchies controllers name
  mount -t proc proc /proc
  hierarchies=$(cut -d: -f2 /proc/self/cgroup)
  mount -t sysfs sysfs /sys
  mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
  while read -r controllers; do
    name=${controllers#name=}
    mkdir -p "/sys/fs/cgroup/${name:-unified}"
    case $controllers in
      '') mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified ;;
      name=*) mount -t cgroup -o "none,$controllers" cgroup "/sys/fs/cgroup/$name" ;;
      *) mount -t cgroup -o "$controllers" cgroup "/sys/fs/cgroup/$name" ;;
    esac
  done <<< "$hierarchies"
}

own_folders() {
  mkdir -p "$NODE_FOLDER"/{lib/kubelet,lib/containerd,log}
  mount --bind "$NODE_FOLDER/lib" /var/lib
  mount --bind "$NODE_FOLDER/log" /var/log
  mount -t tmpfs -o mode=755 tmpfs /run
}

# The machine plugs in eth0 from outside.
own_network() {
  local target gateway
  ip link set lo up
  for _ in {1..400}; do
    ip link show eth0 > /dev/null 2>&1 && break
    sleep 0.05
  done
  ip addr add "$NODE_IP/24" dev eth0
  ip link set eth0 up
  while read -r target gateway; do ip route add "$target" via "$gateway"; done <<< "$ROUTES"
  sysctl -qw net.ipv4.ip_forward=1
  sysctl -qw net.bridge.bridge-nf-call-iptables=1 || echo 'no br_netfilter: pods of one node see service addresses unmasked'
}

# Keeps a program running. While hold/NAME is there, it stays down; pid/NAME is its pid in this namespace.
supervise() {
  local name=$1
  shift
  while :; do
    while [ -e "$NODE_FOLDER/hold/$name" ]; do sleep 0.1; done
    "$@" >> "$LOG/$NODE.$name.log" 2>&1 &
    echo $! > "$NODE_FOLDER/pid/$name"
    wait $! || true
    sleep 0.3
  done
}

inside() {
  mount --make-rshared / # still a slave of the machine (faults of storage arrive), and shared towards the pods
  own_kernel_views
  own_folders
  hostname "$NODE"
  own_network
  export PATH=$BIN:/usr/sbin:/usr/bin:/sbin:/bin
  supervise containerd containerd --config "$NODE_FOLDER/containerd.toml" &
  supervise kubelet kubelet --config "$NODE_FOLDER/kubelet.yaml" --kubeconfig "$NODE_FOLDER/kubeconfig" \
    --hostname-override "$NODE" --node-ip "$NODE_IP" --root-dir /var/lib/kubelet --v 2 &
  supervise kube-proxy kube-proxy --config "$NODE_FOLDER/kube-proxy.yaml" --v 1 &
  # Process 1 inherits every orphan of the node, and reaps it here.
  while :; do
    sleep 1 &
    wait -n || true
  done
}

"$1"
