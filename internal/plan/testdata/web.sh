# setsid
echo $$ > cgroup 0/tasks  # linux.cgroupsPath
echo $$ > cgroup 1/tasks  # linux.cgroupsPath
echo 900 > /proc/self/oom_score_adj  # process.oomScoreAdj
# unshare --mount  # linux.namespaces
mount --make-rprivate /  # linux.namespaces
cd /var/lib/layers/  # root
mount -t overlay -o lowerdir=two:one,upperdir=/var/lib/rw/0/upper,workdir=/var/lib/rw/0/work overlay /run/root  # root
# nsenter to /proc/42/ns/net  # linux.namespaces[3]
# nsenter to /proc/42/ns/ipc  # linux.namespaces[4]
# unshare --uts  # linux.namespaces
# unshare --cgroup  # linux.namespaces
echo '1024 65535' > /proc/sys/net/ipv4/ip_local_port_range  # linux.sysctl.net.ipv4.ip_local_port_range
hostname shop  # hostname
mount -t proc -o nosuid,noexec,nodev proc ./proc  # mounts[0]
mount -t tmpfs -o nosuid,strictatime,mode=755,size=65536k tmpfs ./dev  # mounts[1]
mount -t devpts -o nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5 devpts ./dev/pts  # mounts[2]
mount -t sysfs -o nosuid,noexec,nodev,ro sysfs ./sys  # mounts[3]
mount -t tmpfs -o mode=755,size=1m tmpfs ./sys/fs/cgroup  # mounts[4]
mount -t cgroup -o cpu,cpuacct cgroup ./sys/fs/cgroup/cpu,cpuacct  # mounts[4]
ln -s cpu,cpuacct ./sys/fs/cgroup/cpu  # mounts[4]
ln -s cpu,cpuacct ./sys/fs/cgroup/cpuacct  # mounts[4]
mount -t cgroup -o none,name=systemd cgroup ./sys/fs/cgroup/systemd  # mounts[4]
mount -t cgroup2  cgroup ./sys/fs/cgroup/unified  # mounts[4]
mount --rbind -o rbind,ro,rslave /srv/data ./srv  # mounts[5]
mount --bind -o bind /srv/file ./etc/hosts  # mounts[6]
mknod -m 666 ./dev/null c 1 3  # linux.devices
mknod -m 666 ./dev/zero c 1 5  # linux.devices
mknod -m 666 ./dev/full c 1 7  # linux.devices
mknod -m 666 ./dev/random c 1 8  # linux.devices
mknod -m 666 ./dev/urandom c 1 9  # linux.devices
mknod -m 666 ./dev/tty c 5 0  # linux.devices
mknod -m 666 ./dev/fuse c 10 229  # linux.devices[0]
ln -s /proc/self/fd ./dev/fd  # linux.devices
ln -s /proc/self/fd/0 ./dev/stdin  # linux.devices
ln -s /proc/self/fd/1 ./dev/stdout  # linux.devices
ln -s /proc/self/fd/2 ./dev/stderr  # linux.devices
ln -s /proc/kcore ./dev/core  # linux.devices
ln -s pts/ptmx ./dev/ptmx  # linux.devices
mount --rbind ./proc/sys ./proc/sys && mount -o remount,bind,ro ./proc/sys  # linux.readonlyPaths[0]
mount --rbind ./proc/bus ./proc/bus && mount -o remount,bind,ro ./proc/bus  # linux.readonlyPaths[1]
mount --bind /dev/null ./proc/kcore  # linux.maskedPaths[0]
mount -t tmpfs -o ro,nr_blocks=1,nr_inodes=1 tmpfs ./proc/acpi  # linux.maskedPaths[1]
mount -t tmpfs -o ro,nr_blocks=1,nr_inodes=1 tmpfs ./sys/firmware  # linux.maskedPaths[2]
mount --bind /dev/null ./opt/secret  # linux.maskedPaths[4]
pivot_root . .  # root
umount -l .  # root
cd /  # root
mount -o remount,bind,ro /  # root.readonly
umask 0022  # process.user
cd /srv  # process.cwd
exec nginx -g 'daemon off;'  # process.args
