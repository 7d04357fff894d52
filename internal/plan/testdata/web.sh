#!/bin/sh
set -e
if [ "$1" != inside ]; then
  mkdir -p /sys/fs/cgroup/cpu,cpuacct/tripod/pod/web; echo $$ > /sys/fs/cgroup/cpu,cpuacct/tripod/pod/web/tasks  # linux.cgroupsPath
  mkdir -p /sys/fs/cgroup/systemd/tripod/pod/web; echo $$ > /sys/fs/cgroup/systemd/tripod/pod/web/tasks  # linux.cgroupsPath
  echo 900 > /proc/self/oom_score_adj  # process.oomScoreAdj
exec nsenter --net=/proc/42/ns/net --ipc=/proc/42/ns/ipc unshare --mount --uts --cgroup --pid --propagation unchanged --fork --kill-child setsid sh "$0" inside
fi
mount --make-rprivate /  # linux.namespaces
cd /var/lib/layers/  # root
mount -t overlay -o lowerdir=two:one,upperdir=/var/lib/rw/0/upper,workdir=/var/lib/rw/0/work overlay /run/root  # root
cd /run/root  # root
echo '1024 65535' > /proc/sys/net/ipv4/ip_local_port_range  # linux.sysctl.net.ipv4.ip_local_port_range
echo shop > /proc/sys/kernel/hostname  # hostname
mkdir -p ./proc  # mounts[0]
mount -t proc -o nodev,noexec,nosuid proc ./proc  # mounts[0]
mkdir -p ./dev  # mounts[1]
mount -t tmpfs -o nosuid,strictatime,mode=755,size=65536k tmpfs ./dev  # mounts[1]
mkdir -p ./dev/pts  # mounts[2]
mount -t devpts -o noexec,nosuid,newinstance,ptmxmode=0666,mode=0620,gid=5 devpts ./dev/pts  # mounts[2]
mkdir -p ./sys  # mounts[3]
mount -t sysfs -o nodev,noexec,nosuid,ro sysfs ./sys  # mounts[3]
mkdir -p ./sys/fs/cgroup  # mounts[4]
mount -t tmpfs -o nodev,noexec,nosuid,relatime,mode=755,size=1m tmpfs ./sys/fs/cgroup  # mounts[4]
mkdir -p ./sys/fs/cgroup/cpu,cpuacct  # mounts[4]
mount -t cgroup -o nodev,noexec,nosuid,relatime,ro,cpu,cpuacct cgroup ./sys/fs/cgroup/cpu,cpuacct  # mounts[4]
ln -s cpu,cpuacct ./sys/fs/cgroup/cpu  # mounts[4]
ln -s cpu,cpuacct ./sys/fs/cgroup/cpuacct  # mounts[4]
mkdir -p ./sys/fs/cgroup/systemd  # mounts[4]
mount -t cgroup -o nodev,noexec,nosuid,relatime,ro,none,name=systemd cgroup ./sys/fs/cgroup/systemd  # mounts[4]
mkdir -p ./sys/fs/cgroup/unified  # mounts[4]
mount -t cgroup2 -o nodev,noexec,nosuid,relatime,ro cgroup ./sys/fs/cgroup/unified  # mounts[4]
mount -o nodev,noexec,nosuid,relatime,ro,remount,bind,ro ./sys/fs/cgroup  # mounts[4]
mkdir -p ./srv  # mounts[5]
mount --rbind -o rbind,ro,rslave /srv/data ./srv  # mounts[5]
mkdir -p ./etc  # mounts[6]
[ -e ./etc/hosts ] || : > ./etc/hosts  # mounts[6]
mount --bind -o bind /srv/file ./etc/hosts  # mounts[6]
mkdir -p ./dev  # linux.devices
[ -e ./dev/null ] || mknod -m 666 ./dev/null c 1 3  # linux.devices
[ -e ./dev/zero ] || mknod -m 666 ./dev/zero c 1 5  # linux.devices
[ -e ./dev/full ] || mknod -m 666 ./dev/full c 1 7  # linux.devices
[ -e ./dev/random ] || mknod -m 666 ./dev/random c 1 8  # linux.devices
[ -e ./dev/urandom ] || mknod -m 666 ./dev/urandom c 1 9  # linux.devices
[ -e ./dev/tty ] || mknod -m 666 ./dev/tty c 5 0  # linux.devices
[ -e ./dev/fuse ] || mknod -m 666 ./dev/fuse c 10 229  # linux.devices[0]
mkdir -p ./dev  # linux.devices
[ -e ./dev/fd ] || [ -L ./dev/fd ] || ln -s /proc/self/fd ./dev/fd  # linux.devices
[ -e ./dev/stdin ] || [ -L ./dev/stdin ] || ln -s /proc/self/fd/0 ./dev/stdin  # linux.devices
[ -e ./dev/stdout ] || [ -L ./dev/stdout ] || ln -s /proc/self/fd/1 ./dev/stdout  # linux.devices
[ -e ./dev/stderr ] || [ -L ./dev/stderr ] || ln -s /proc/self/fd/2 ./dev/stderr  # linux.devices
[ -e ./dev/core ] || [ -L ./dev/core ] || ln -s /proc/kcore ./dev/core  # linux.devices
[ -e ./dev/ptmx ] || [ -L ./dev/ptmx ] || ln -s pts/ptmx ./dev/ptmx  # linux.devices
if [ -e ./proc/sys ]; then mount --rbind ./proc/sys ./proc/sys; mount -o remount,bind,ro,$(findmnt -no VFS-OPTIONS -T ./proc/sys | sed 's/^rw//') ./proc/sys; fi  # linux.readonlyPaths[0]
if [ -e ./proc/bus ]; then mount --rbind ./proc/bus ./proc/bus; mount -o remount,bind,ro,$(findmnt -no VFS-OPTIONS -T ./proc/bus | sed 's/^rw//') ./proc/bus; fi  # linux.readonlyPaths[1]
if [ -e ./proc/kcore ] && [ ! -d ./proc/kcore ]; then mount --bind /dev/null ./proc/kcore; fi  # linux.maskedPaths[0]
if [ -d ./proc/acpi ]; then mount -t tmpfs -o ro,nr_blocks=1,nr_inodes=1 tmpfs ./proc/acpi; fi  # linux.maskedPaths[1]
if [ -d ./sys/firmware ]; then mount -t tmpfs -o ro,nr_blocks=1,nr_inodes=1 tmpfs ./sys/firmware; fi  # linux.maskedPaths[2]
if [ -d ./opt/secret ]; then mount -t tmpfs -o ro,nr_blocks=1,nr_inodes=1 tmpfs ./opt/secret; fi  # linux.maskedPaths[4]
if [ -e ./opt/secret ] && [ ! -d ./opt/secret ]; then mount --bind /dev/null ./opt/secret; fi  # linux.maskedPaths[4]
mkdir -p ./srv  # process.cwd
mount -o remount,bind,ro .  # root.readonly
prlimit --pid $$ --nofile=1024:4096  # process.rlimits[0]
umask 0022  # process.user
mount --move . /
for d in /usr/sbin /usr/bin; do if [ -e .$d/nginx ] || [ -L .$d/nginx ]; then break; fi; done
exec env -i PATH=/usr/sbin:/usr/bin LANG=C "$(command -v capsh)" --chroot=. --drop=cap_chown,cap_dac_override,cap_dac_read_search,cap_fowner,cap_fsetid,cap_kill,cap_setgid,cap_setuid,cap_setpcap,cap_linux_immutable,cap_net_broadcast,cap_net_admin,cap_net_raw,cap_ipc_lock,cap_ipc_owner,cap_sys_module,cap_sys_rawio,cap_sys_chroot,cap_sys_ptrace,cap_sys_pacct,cap_sys_admin,cap_sys_boot,cap_sys_nice,cap_sys_resource,cap_sys_time,cap_sys_tty_config,cap_mknod,cap_lease,cap_audit_write,cap_audit_control,cap_setfcap,cap_mac_override,cap_mac_admin,cap_syslog,cap_wake_alarm,cap_block_suspend,cap_audit_read,cap_perfmon,cap_bpf,cap_checkpoint_restore --groups=33,100 --gid=33 --keep=1 --uid=33 --caps='= cap_net_bind_service+p cap_net_bind_service+e' --no-new-privs --shell=/bin/sh -- -c 'cd /srv && unset OLDPWD && exec "$@"' sh "$d"/nginx -g 'daemon off;'  # process.args
