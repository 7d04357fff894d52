#!/bin/sh
set -e
if [ "$1" != inside ]; then
  mkdir -p /sys/fs/cgroup/cpu,cpuacct/tripod/pod/web; echo $$ > /sys/fs/cgroup/cpu,cpuacct/tripod/pod/web/tasks  # linux.cgroupsPath
  mkdir -p /sys/fs/cgroup/systemd/tripod/pod/web; echo $$ > /sys/fs/cgroup/systemd/tripod/pod/web/tasks  # linux.cgroupsPath
  # in a user namespace: unshare --user, and its maps  # linux.namespaces
exec unshare --mount --ipc --time --monotonic=5 --pid --propagation unchanged --fork --kill-child setsid sh "$0" inside
fi
mount --make-rprivate /  # linux.namespaces
mount --rbind /srv/rootfs /srv/rootfs  # root
cd /srv/rootfs  # root
mkdir -p ./proc  # mounts[0]
mount -t proc  proc ./proc  # mounts[0]
mkdir -p ./dev  # mounts[1]
mount -t tmpfs -o mode=755 tmpfs ./dev  # mounts[1]
mkdir -p ./dev/pts  # mounts[2]
mount -t devpts -o mode=0620 devpts ./dev/pts  # mounts[2]
mkdir -p ./sys  # mounts[3]
mount --rbind /sys ./sys  # mounts[3]
mkdir -p ./data  # mounts[4]
mount --rbind -o rbind,ro /srv/data ./data  # mounts[4]
mkdir -p ./dev  # linux.devices
[ -e ./dev/null ] || : > ./dev/null  # linux.devices
mkdir -p ./dev  # linux.devices
[ -e ./dev/zero ] || : > ./dev/zero  # linux.devices
mkdir -p ./dev  # linux.devices
[ -e ./dev/full ] || : > ./dev/full  # linux.devices
mkdir -p ./dev  # linux.devices
[ -e ./dev/random ] || : > ./dev/random  # linux.devices
mkdir -p ./dev  # linux.devices
[ -e ./dev/urandom ] || : > ./dev/urandom  # linux.devices
mkdir -p ./dev  # linux.devices
[ -e ./dev/tty ] || : > ./dev/tty  # linux.devices
mkdir -p ./dev  # linux.devices
[ -e ./dev/fd ] || [ -L ./dev/fd ] || ln -s /proc/self/fd ./dev/fd  # linux.devices
[ -e ./dev/stdin ] || [ -L ./dev/stdin ] || ln -s /proc/self/fd/0 ./dev/stdin  # linux.devices
[ -e ./dev/stdout ] || [ -L ./dev/stdout ] || ln -s /proc/self/fd/1 ./dev/stdout  # linux.devices
[ -e ./dev/stderr ] || [ -L ./dev/stderr ] || ln -s /proc/self/fd/2 ./dev/stderr  # linux.devices
[ -e ./dev/core ] || [ -L ./dev/core ] || ln -s /proc/kcore ./dev/core  # linux.devices
[ -e ./dev/ptmx ] || [ -L ./dev/ptmx ] || ln -s pts/ptmx ./dev/ptmx  # linux.devices
mkdir -p ./dev  # process.terminal
[ -e ./dev/console ] || : > ./dev/console  # process.terminal
if [ -e ./proc/kcore ] && [ ! -d ./proc/kcore ]; then mount --bind /dev/null ./proc/kcore; fi  # linux.maskedPaths[0]
mount -o remount,bind,ro .  # root.readonly
prlimit --pid $$ --nofile=1024:524288
umask 0022  # process.user
mount --move . /
exec env -i "$(command -v capsh)" --chroot=. --groups= --gid=0 --keep=1 --uid=0 --no-new-privs --shell=/bin/true --  # process.args
