# setsid
echo $$ > cgroup 0/tasks  # linux.cgroupsPath
echo $$ > cgroup 1/tasks  # linux.cgroupsPath
# unshare --mount  # linux.namespaces
mount --make-rprivate /  # linux.namespaces
mount --rbind /srv/rootfs /srv/rootfs  # root
# unshare --ipc  # linux.namespaces
# unshare --time  # linux.namespaces
echo 'monotonic 5 0' > /proc/self/timens_offsets  # linux.timeOffsets.monotonic
mount -t proc  proc ./proc  # mounts[0]
mount -t tmpfs -o mode=755 tmpfs ./dev  # mounts[1]
mount -t devpts -o gid=5,mode=0620 devpts ./dev/pts  # mounts[2]
mount --rbind /sys ./sys  # mounts[3]
mount --rbind -o rbind,ro /srv/data ./data  # mounts[4]
ln -s /proc/self/fd ./dev/fd  # linux.devices
ln -s /proc/self/fd/0 ./dev/stdin  # linux.devices
ln -s /proc/self/fd/1 ./dev/stdout  # linux.devices
ln -s /proc/self/fd/2 ./dev/stderr  # linux.devices
ln -s /proc/kcore ./dev/core  # linux.devices
ln -s pts/ptmx ./dev/ptmx  # linux.devices
mount --bind /dev/null ./proc/kcore  # linux.maskedPaths[0]
pivot_root . .  # root
umount -l .  # root
cd /  # root
mount -o remount,bind,ro /  # root.readonly
umask 0022  # process.user
cd /  # process.cwd
exec /bin/true  # process.args
