#!/bin/sh
set -e
if [ "$1" != inside ]; then
exec nsenter --net=/proc/42/ns/net unshare --mount --uts --ipc --cgroup --time --boottime=86400 --pid --propagation unchanged --fork --kill-child setsid sh "$0" inside
fi
mount --make-rprivate /  # linux.namespaces
mount -t tmpfs -o mode=0755 tmpfs /run/root  # root
mkdir /run/root/merged  # root
mkdir /run/root/l0  # root
mkdir /run/root/l1  # root
cd /run/root/  # root
mount -t overlay -o lowerdir=l0:l1,upperdir=/var/lib/rw/0/upper,workdir=/var/lib/rw/0/work overlay /run/root/merged  # root
cd /run/root/merged  # root
# in a user namespace: unshare --user, and its maps  # linux.namespaces
echo v2-user > /proc/sys/kernel/hostname  # hostname
mkdir -p ./proc  # mounts[0]
mount -t proc  proc ./proc  # mounts[0]
mkdir -p ./dev  # mounts[1]
mount -t tmpfs -o mode=755 tmpfs ./dev  # mounts[1]
mkdir -p ./dev/pts  # mounts[2]
mount -t devpts  devpts ./dev/pts  # mounts[2]
mkdir -p ./sys  # mounts[3]
mkdir -p ./sys/fs/cgroup  # mounts[4]
mount -t cgroup2 -o ro cgroup ./sys/fs/cgroup  # mounts[4]
mkdir -p ./data  # mounts[5]
mount --rbind -o rbind,idmap /srv/data ./data  # mounts[5]
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
prlimit --pid $$ --nofile=1024:524288
umask 0022  # process.user
mount --move . /
exec env -i "$(command -v capsh)" --chroot=. --groups= --gid=0 --keep=1 --uid=0 --shell=/bin/true --  # process.args
