#!/bin/sh
# Runs once in a fresh Ubuntu cloud image (cloud-init's runcmd, as root): installs the
# container engine, takes away all that must not be shared between machines, powers off.
# The host watches the serial console for the line that starts with CADET-PREPARE.
set -u
console=/dev/console
step=start

tell() {
    echo "CADET-PREPARE $*" >"$console"
}

finish() {
    status=$?
    trap - EXIT
    if [ "$status" -ne 0 ]; then
        # One line, printable, short: the last words of what went wrong.
        last=$(tail -n 3 /var/log/cadet-prepare.log 2>/dev/null | tr -c '[:print:]' ' ' | cut -c 1-300)
        tell "FAILED step=$step status=$status $last"
    fi
    sync
    systemctl poweroff --no-block
}
trap finish EXIT
set -e

export DEBIAN_FRONTEND=noninteractive
{
    step=packages
    tries=0
    until apt-get update &&
        apt-get install -y --no-install-recommends \
            docker.io crun nftables iptables procps curl ca-certificates; do
        tries=$((tries + 1))
        [ "$tries" -lt 3 ] || exit 1
        sleep 10
    done

    step=configure
    install -d -m 0755 /etc/docker
    install -m 0644 /run/cadet-prepare/daemon.json /etc/docker/daemon.json
    install -m 0644 /run/cadet-prepare/sysctl.conf /etc/sysctl.d/60-cadet.conf
    install -m 0644 /run/cadet-prepare/modules-load.conf /etc/modules-load.d/cadet.conf
    install -m 0644 /run/cadet-prepare/sshd.conf /etc/ssh/sshd_config.d/10-cadet.conf
    # Start the engine before the first client asks: no socket activation delay.
    systemctl disable docker.socket || true
    systemctl enable docker.service
    # Boot time that a cluster for learning does not need.
    for unit in apt-daily.timer apt-daily-upgrade.timer unattended-upgrades.service \
        motd-news.timer snapd.service snapd.socket snapd.seeded.service fwupd-refresh.timer \
        ua-timer.timer multipathd.service multipathd.socket; do
        systemctl mask "$unit" || true
    done

    step=verify
    systemctl restart docker.service
    runtime=$(docker info --format '{{.DefaultRuntime}}')
    [ "$runtime" = crun ] || { echo "default runtime is $runtime"; exit 1; }
    engine=$(docker version --format '{{.Server.Version}}')
    nft --version
    sshd -t

    step=clean
    systemctl stop docker.service docker.socket containerd.service || true
    apt-get clean
    rm -rf /var/lib/apt/lists/*
    rm -f /etc/ssh/ssh_host_* /etc/apt/apt.conf.d/90cloud-init-*
    : >/etc/machine-id
    rm -f /var/lib/dbus/machine-id /var/lib/systemd/random-seed
    cloud-init clean --logs --seed
    fstrim / || true
} >/var/log/cadet-prepare.log 2>&1
step=done
tell "OK docker=$engine runtime=crun"
