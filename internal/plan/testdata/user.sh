# setsid
# unshare --mount  # linux.namespaces
mount --make-rprivate /  # linux.namespaces
mount -t tmpfs -o mode=0755 tmpfs /run/root  # root
mkdir /run/root/merged  # root
mkdir /run/root/l0  # root
mkdir /run/root/l1  # root
cd /run/root/  # root
mount -t overlay -o lowerdir=l0:l1,upperdir=/var/lib/rw/0/upper,workdir=/var/lib/rw/0/work overlay /run/root/merged  # root
# nsenter to /proc/42/ns/net  # linux.namespaces[7]
# unshare --uts  # linux.namespaces
# unshare --ipc  # linux.namespaces
# unshare --cgroup  # linux.namespaces
# unshare --time  # linux.namespaces
echo 'boottime 86400 0' > /proc/self/timens_offsets  # linux.timeOffsets.boottime
hostname v2-user  # hostname
mount -t proc  proc ./proc  # mounts[0]
mount -t tmpfs -o mode=755 tmpfs ./dev  # mounts[1]
mount -t devpts  devpts ./dev/pts  # mounts[2]
mount -t cgroup2  cgroup ./sys/fs/cgroup  # mounts[4]
mount --rbind -o rbind,idmap /srv/data ./data  # mounts[5]
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
umask 0022  # process.user
cd /  # process.cwd
exec /bin/true  # process.args
