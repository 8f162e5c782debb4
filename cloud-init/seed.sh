# Mounts the seed disk and runs its installer; one line of shell per purpose because this
# text is used twice: as cloud-init's bootcmd and in cadet-seed.service.
set -eu
at=/run/cadet-seed
mkdir -p "$at"
tries=0
until mount -t vfat -o ro,nosuid,nodev,noexec LABEL=CIDATA "$at"; do
    tries=$((tries + 1))
    if [ "$tries" -ge 10 ]; then
        echo "cadet-seed: no disk labelled CIDATA" >&2
        exit 1
    fi
    sleep 1
done
status=0
sh "$at/install.sh" "$at" || status=$?
umount "$at" || true
exit "$status"
