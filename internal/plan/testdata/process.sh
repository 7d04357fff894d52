# setsid
echo $$ > cgroup 0/tasks  # linux.cgroupsPath
echo $$ > cgroup 1/tasks  # linux.cgroupsPath
echo system_u:system_r:container_t:s0:c1,c2 > /proc/self/attr/keycreate  # process.selinuxLabel
echo system_u:system_r:container_t:s0:c1,c2 > /proc/self/attr/exec  # process.selinuxLabel
# unshare --mount  # linux.namespaces
mount --make-rprivate /  # linux.namespaces
mount --rbind /srv/rootfs /srv/rootfs  # root
# unshare --uts  # linux.namespaces
hostname labelled  # hostname
mount -t proc  proc ./proc  # mounts[0]
mount -t tmpfs -o mode=755 tmpfs ./dev  # mounts[1]
mknod -m 666 ./dev/null c 1 3  # linux.devices
mknod -m 666 ./dev/zero c 1 5  # linux.devices
mknod -m 666 ./dev/full c 1 7  # linux.devices
mknod -m 666 ./dev/random c 1 8  # linux.devices
mknod -m 666 ./dev/urandom c 1 9  # linux.devices
mknod -m 666 ./dev/tty c 5 0  # linux.devices
ln -s /proc/self/fd ./dev/fd  # linux.devices
ln -s /proc/self/fd/0 ./dev/stdin  # linux.devices
ln -s /proc/self/fd/1 ./dev/stdout  # linux.devices
ln -s /proc/self/fd/2 ./dev/stderr  # linux.devices
ln -s /proc/kcore ./dev/core  # linux.devices
ln -s pts/ptmx ./dev/ptmx  # linux.devices
pivot_root . .  # root
umount -l .  # root
cd /  # root
umask 0022  # process.user
ionice -c 3 -n 4 -p $$  # process.ioPriority
cd /  # process.cwd
exec /bin/true  # process.args
