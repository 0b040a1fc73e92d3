#!/usr/bin/env bash
# A node of the Ray cluster that ndm.sbatch makes: `node.sh start` runs it until it is told to end, `node.sh address`
# says how the others reach this machine.
set -euo pipefail

SECONDS_TO_ANSWER=${NDM_SECONDS_TO_JOIN:-300}

# The address that Slurm itself uses, or that of NDM_INTERFACE. Never one of loopback, to which Debian's hosts file
# leads a machine's own name.
own_address() {
    if [ -n "${NDM_INTERFACE:-}" ]; then
        ip -4 -o addr show dev "$NDM_INTERFACE" | awk '{ sub("/.*", "", $4); print $4; exit }'
        return
    fi
    local name=${SLURMD_NODENAME:-$(hostname)} known
    name=$(scontrol show node "$name" | sed -n 's/.*NodeAddr=\([^ ]*\).*/\1/p')
    known=$(getent ahostsv4 "$name" | awk '$1 !~ /^127\./ { print $1; exit }')
    [ -n "$known" ] || known=$(ip -4 -o addr show scope global | awk '{ sub("/.*", "", $4); print $4; exit }')
    echo "$known"
}

# The network card that has an address.
card_of() {
    ip -4 -o addr show | awk -v address="$1" '{ split($4, parts, "/") } parts[1] == address { print $2; exit }'
}

# Wait until something listens at the head: Ray would give up after half a minute.
until_head_listens() {
    local end=$((SECONDS + SECONDS_TO_ANSWER))
    until (: <"/dev/tcp/$NDM_HEAD/$NDM_FIRST_PORT") 2>/dev/null; do
        [ "$SECONDS" -lt "$end" ] || {
            echo "The head at $NDM_HEAD:$NDM_FIRST_PORT did not answer $(hostname) within $SECONDS_TO_ANSWER s." >&2
            exit 1
        }
        sleep 1
    done
}

start() {
    local address card port=$NDM_FIRST_PORT role='worker'
    local -a options
    address=$(own_address)
    [ "$address" != "$NDM_HEAD" ] || role='head'
    card=$(card_of "$address")
    # gloo takes the interface of the machine's own name otherwise, and NCCL the first that it finds.
    export GLOO_SOCKET_IFNAME=${GLOO_SOCKET_IFNAME:-$card} NCCL_SOCKET_IFNAME=${NCCL_SOCKET_IFNAME:-$card}

    # Ray's exporters of metrics would answer anybody; this keeps them shut.
    export RAY_enable_metrics_collection=0 DASHBOARD_METRIC_PORT=-1 AUTOSCALER_METRIC_PORT=-1

    # Short, because Ray's sockets lie far below it and have at most 107 characters; of this user alone.
    scratch=${NDM_SCRATCH:-/tmp}/ndm-$SLURM_JOB_ID
    [ ! -O "$scratch" ] || rm -rf "$scratch" # of a run of this job that was cut off
    mkdir -m 700 "$scratch"
    trap 'rm -rf "$scratch"' EXIT

    if [ "$role" = head ]; then
        options=(--head "--port=$port" --include-dashboard=false)
    else
        until_head_listens
        options=("--address=$NDM_HEAD:$port")
    fi
    ulimit -n "$(ulimit -Hn)"
    # shellcheck disable=SC2206 # words: --object-store-memory=... --resources=...
    options+=(${NDM_RAY_OPTIONS:-})
    "$NDM_BIN/ray" start --block "${options[@]}" \
        "--node-ip-address=$address" "--num-cpus=$SLURM_CPUS_ON_NODE" "--temp-dir=$scratch" \
        "--node-manager-port=$((port + 1))" "--object-manager-port=$((port + 2))" \
        "--dashboard-agent-grpc-port=$((port + 3))" "--dashboard-agent-listen-port=$((port + 4))" \
        "--runtime-env-agent-port=$((port + 5))" "--metrics-export-port=$((port + 6))" \
        "--min-worker-port=$((port + 10))" "--max-worker-port=$((port + 199))" &
    ray=$!
    # Ray's own processes are ended by it, never by `ray stop`, which would end every Ray of the machine.
    trap 'kill -TERM "$ray" 2>/dev/null || true' TERM
    while kill -0 "$ray" 2>/dev/null; do wait "$ray" || true; done # a signal interrupts a wait
}

case ${1:-} in
    start) start ;;
    address) own_address ;;
    *) echo "usage: node.sh start|address" >&2 && exit 2 ;;
esac
