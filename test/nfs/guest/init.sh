#!/bin/bash
# The first process of the guest, once the disk with Longshore is mounted at /longshore.
. /longshore/lab/lab.sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
# udev makes these elsewhere, and bash reads pipes by them.
ln -s /proc/self/fd /dev/fd
ln -s /proc/self/fd/0 /dev/stdin
ln -s /proc/self/fd/1 /dev/stdout
ln -s /proc/self/fd/2 /dev/stderr
mkdir -p /volumes /lanes
mount /dev/vdc /volumes
mount /dev/vdd /longshore/node_modules
ln -sf /longshore/node_modules/.bin/node /usr/local/bin/node
# ganesha finds the file system of its export there.
ln -sf /proc/self/mounts /etc/mtab
hostname guest
echo '127.0.0.1 localhost guest' >/etc/hosts
: >/etc/resolv.conf
for module in virtio_net bridge veth nfs nfsv3 nfsv4 nfsd; do modprobe $module; done
ip link set lo up
ip link add bridge type bridge
ip link set eth0 master bridge up
ip addr add 10.0.2.15/24 dev bridge
ip link set bridge up
echo 1 >/proc/sys/net/ipv4/ip_forward
socat -t 86400 TCP-LISTEN:7000,reuseaddr,fork EXEC:/longshore/lab/command.sh &
echo "guest is up after $(cut -d' ' -f1 /proc/uptime) s"
# The shell takes the exit codes of all orphans meanwhile.
while :; do sleep 3600 & wait $!; done
