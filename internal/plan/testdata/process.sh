#!/bin/sh
set -e
if [ "$1" != inside ]; then
  mkdir -p /sys/fs/cgroup/cpu,cpuacct/tripod/pod/web; echo $$ > /sys/fs/cgroup/cpu,cpuacct/tripod/pod/web/tasks  # linux.cgroupsPath
  mkdir -p /sys/fs/cgroup/systemd/tripod/pod/web; echo $$ > /sys/fs/cgroup/systemd/tripod/pod/web/tasks  # linux.cgroupsPath
  echo system_u:system_r:container_t:s0:c1,c2 > /proc/self/attr/keycreate  # process.selinuxLabel
  echo system_u:system_r:container_t:s0:c1,c2 > /proc/self/attr/exec  # process.selinuxLabel
exec setarch linux32 unshare --mount --uts --pid --propagation unchanged --fork --kill-child setsid sh "$0" inside
fi
mount --make-rprivate /  # linux.namespaces
mount --rbind /srv/rootfs /srv/rootfs  # root
cd /srv/rootfs  # root
echo labelled > /proc/sys/kernel/hostname  # hostname
mkdir -p ./proc  # mounts[0]
mount -t proc  proc ./proc  # mounts[0]
mkdir -p ./dev  # mounts[1]
mount -t tmpfs -o 'mode=755,context="system_u:object_r:container_file_t:s0:c1,c2"' tmpfs ./dev  # mounts[1]
mkdir -p ./dev  # linux.devices
[ -e ./dev/null ] || mknod -m 666 ./dev/null c 1 3  # linux.devices
[ -e ./dev/zero ] || mknod -m 666 ./dev/zero c 1 5  # linux.devices
[ -e ./dev/full ] || mknod -m 666 ./dev/full c 1 7  # linux.devices
[ -e ./dev/random ] || mknod -m 666 ./dev/random c 1 8  # linux.devices
[ -e ./dev/urandom ] || mknod -m 666 ./dev/urandom c 1 9  # linux.devices
[ -e ./dev/tty ] || mknod -m 666 ./dev/tty c 5 0  # linux.devices
mkdir -p ./dev  # linux.devices
[ -e ./dev/fd ] || [ -L ./dev/fd ] || ln -s /proc/self/fd ./dev/fd  # linux.devices
[ -e ./dev/stdin ] || [ -L ./dev/stdin ] || ln -s /proc/self/fd/0 ./dev/stdin  # linux.devices
[ -e ./dev/stdout ] || [ -L ./dev/stdout ] || ln -s /proc/self/fd/1 ./dev/stdout  # linux.devices
[ -e ./dev/stderr ] || [ -L ./dev/stderr ] || ln -s /proc/self/fd/2 ./dev/stderr  # linux.devices
[ -e ./dev/core ] || [ -L ./dev/core ] || ln -s /proc/kcore ./dev/core  # linux.devices
[ -e ./dev/ptmx ] || [ -L ./dev/ptmx ] || ln -s pts/ptmx ./dev/ptmx  # linux.devices
prlimit --pid $$ --nofile=1024:524288
chrt --deadline --sched-runtime 1000000 --sched-deadline 10000000 --sched-period 10000000 -p 0 $$  # process.scheduler
ionice -c 3 -n 4 -p $$  # process.ioPriority
umask 0022  # process.user
mount --move . /
exec env -i "$(command -v capsh)" --chroot=. --drop=cap_chown,cap_dac_override,cap_dac_read_search,cap_fowner,cap_fsetid,cap_setgid,cap_setuid,cap_setpcap,cap_linux_immutable,cap_net_bind_service,cap_net_broadcast,cap_net_admin,cap_net_raw,cap_ipc_lock,cap_ipc_owner,cap_sys_module,cap_sys_rawio,cap_sys_chroot,cap_sys_ptrace,cap_sys_pacct,cap_sys_admin,cap_sys_boot,cap_sys_nice,cap_sys_resource,cap_sys_time,cap_sys_tty_config,cap_mknod,cap_lease,cap_audit_write,cap_audit_control,cap_setfcap,cap_mac_override,cap_mac_admin,cap_syslog,cap_wake_alarm,cap_block_suspend,cap_audit_read,cap_perfmon,cap_bpf,cap_checkpoint_restore --groups= --gid=0 --keep=1 --uid=0 --caps='= cap_kill+p cap_kill+e cap_kill+i' --addamb=cap_kill --shell=/bin/true --  # process.args
