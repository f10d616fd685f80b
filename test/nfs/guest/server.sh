#!/bin/bash
# An NFS server as the container of a pod has it: `server.sh LANE knfsd|ganesha FOLDER`, in the network of its lane and
# with mounts of its own. The kernel's server is run as the one of Octopus Deploy is: its exports line, a grace period of
# 10 s, rpc.nfsd before exportfs at the start, exportfs before rpc.nfsd at the stop; all of that shows at the clients.
set -u
lane=$1 kind=$2
echo $$ >/lanes/$lane/server.pid
mkdir -p /export
mount --bind "$3" /export
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/lib/nfs
mkdir -p /run/rpcbind /var/lib/nfs/{v4recovery,rpc_pipefs,sm,sm.bak,ganesha,nfsdcld}
touch /var/lib/nfs/{etab,rmtab,xtab}
rpcbind -f &
daemons=$!
until rpcinfo -t 127.0.0.1 portmapper >/dev/null 2>&1; do sleep 0.1; done

stop() {
  case $kind in
    knfsd) exportfs -uav; rpc.nfsd 0 ;;
    ganesha) kill -TERM $server; wait $server ;;
  esac
  kill $daemons
  exit 0
}
trap stop TERM

case $kind in
  knfsd)
    echo '/export *(rw,fsid=0,sync,no_subtree_check,no_auth_nlm,insecure,no_root_squash)' >/run/exports
    mount --bind /run/exports /etc/exports
    mount -t nfsd nfsd /proc/fs/nfsd
    rpc.nfsd --grace-time 10 --no-udp 4
    exportfs -rv
    rpc.mountd --foreground --no-udp --port 20048 &
    daemons+=" $!"
    ;;
  ganesha)
    cat >/run/ganesha.conf <<'CONF'
NFS_CORE_PARAM { NFS_Protocols = 3, 4; NFS_Port = 2049; MNT_Port = 20048; Enable_NLM = false; Enable_RQUOTA = false; Enable_UDP = false; }
NFSv4 { Grace_Period = 10; Lease_Lifetime = 20; RecoveryBackend = fs; Minor_Versions = 0, 1, 2; Only_Numeric_Owners = true; }
EXPORT { Export_Id = 1; Path = /export; Pseudo = /; Access_Type = RW; Squash = No_Root_Squash; Protocols = 3, 4; Transports = TCP; SecType = sys; FSAL { Name = VFS; } }
LOG { Default_Log_Level = EVENT; }
CONF
    ganesha.nfsd -F -L /lanes/$lane/ganesha.log -f /run/ganesha.conf -N NIV_EVENT -p /run/ganesha.pid &
    server=$!
    ;;
esac
until (exec 3<>/dev/tcp/127.0.0.1/2049) 2>/dev/null; do sleep 0.1; done
touch /lanes/$lane/ready
while :; do sleep 3600 & wait $!; done
