# Servers, clients and what happens to the way between them; read by every command that the host sends.
#
#   client cN (10.0.2.2N) ── bridge ── init namespace = router (10.0.2.15, 10.99.N.1) ── server sN (10.99.N.2)
#
# A lane N is one server and one client. The client has the NFS connections of its mount and its agent, but the mount
# itself lies in the guest at /mnt/N, so that a mount that is taken away and made again is what a new pod sees.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TZ=UTC

server_address() { echo "10.99.$1.2"; }

# Waits up to DEADLINE seconds for a command to succeed.
until_true() { # DEADLINE COMMAND...
  local until=$((SECONDS + $1)); shift
  until "$@"; do
    [ $SECONDS -lt $until ] || { echo "not within its time: $*"; return 1; }
    sleep 0.1
  done
}

lane_make() { # LANE
  local n=$1
  mkdir -p /lanes/$n/state /mnt/$n
  chown 1000:1000 /lanes/$n/state
  ip netns add s$n
  ip link add to-s$n type veth peer name eth0 netns s$n
  ip addr add 10.99.$n.1/24 dev to-s$n
  ip link set to-s$n up
  ip -n s$n addr add 10.99.$n.2/24 dev eth0
  ip -n s$n link set eth0 up
  ip -n s$n link set lo up
  ip -n s$n route add default via 10.99.$n.1
  ip netns add c$n
  ip link add to-c$n type veth peer name eth0 netns c$n
  ip link set to-c$n master bridge up
  ip -n c$n addr add 10.0.2.$((20 + n))/24 dev eth0
  ip -n c$n link set eth0 up
  ip -n c$n link set lo up
  ip -n c$n route add default via 10.0.2.15
}

# A folder that a server can export. The root of a new tmpfs always has the inode number 1, that of a folder of the disk
# has one of its own: clients see a replaced volume of the first kind without an error, and one of the second as stale.
volume_make() { # NAME disk|tmpfs
  mkdir -p /volumes/$1
  [ $2 = disk ] || mount -t tmpfs -o size=256m "$1" /volumes/$1
  chown 1000:1000 /volumes/$1
}

server_start() { # LANE knfsd|ganesha VOLUME
  rm -f /lanes/$1/ready
  nsenter --net=/run/netns/s$1 unshare --mount --propagation private \
    bash /longshore/lab/server.sh $1 $2 /volumes/$3 >>/lanes/$1/server.log 2>&1 &
  until_true 240 test -e /lanes/$1/ready
}

# What a kubelet does: TERM, and KILL after the grace period of a pod.
server_stop() { # LANE
  kill -TERM $(cat /lanes/$1/server.pid)
  until_true 30 test ! -e /proc/$(cat /lanes/$1/server.pid) || server_kill $1
}

# With the processes of its namespace the threads of the kernel's server end, too.
server_kill() { # LANE
  kill -KILL $(ip netns pids s$1) || true
  until_true 30 eval "[ -z \"\$(ip netns pids s$1)\" ]"
}

way_cut() { ip route add blackhole $(server_address $1)/32; }
way_heal() { ip route del blackhole $(server_address $1)/32; }

lane_mount() { # LANE OPTIONS
  local path=/
  case $2 in *vers=3*) path=/export ;; esac
  # A name of its own, so that each client is another one for a server of version 4.
  nsenter --net=/run/netns/c$1 unshare --uts \
    sh -c "hostname c$1; exec mount -t nfs -o $2 $(server_address $1):$path /mnt/$1"
}

agent_start() { # LANE FLAGS...
  local n=$1; shift
  nsenter --net=/run/netns/c$n setpriv --reuid 1000 --regid 1000 --clear-groups \
    env HOME=/tmp UV_THREADPOOL_SIZE=64 node /longshore/.build/cli.js serve --volume /mnt/$n \
    --state /lanes/$n/state --listen 10.0.2.$((20 + n)):8460 --metrics 10.0.2.$((20 + n)):8461 "$@" \
    </dev/null >>/lanes/$n/agent.log 2>&1 &
  echo $! >/lanes/$n/agent.pid
}

# Notes once a second how the mount answers a process that has no part in the agent: same, other, absent, stale, error or
# hang, with the seconds of the guest. The first word of the epoch must be there when it starts.
witness_start() { # LANE
  echo "$(cat /mnt/$1/longshore-v1/identity/epoch)" >/lanes/$1/epoch
  (
    while [ ! -e /lanes/$1/witness.end ]; do
      code=0
      answer=$(LC_ALL=C timeout --signal=KILL 4 cat /mnt/$1/longshore-v1/identity/epoch 2>&1) || code=$?
      case $code:$answer in
        0:$(cat /lanes/$1/epoch)) word=same ;;
        0:*) word=other ;;
        137:*) word=hang ;;
        *'No such file'*) word=absent ;;
        *Stale*) word=stale ;;
        *) word=error ;;
      esac
      echo "$EPOCHREALTIME $word"
      sleep 1
    done
  ) </dev/null >/lanes/$1/witness.log 2>/dev/null &
}

# Writes the time of now, and what was noted.
witness_end() { # LANE
  touch /lanes/$1/witness.end
  echo "$EPOCHREALTIME"
  cat /lanes/$1/witness.log
}

agent_kill() { # LANE
  kill -KILL $(cat /lanes/$1/agent.pid) 2>/dev/null || true
}
