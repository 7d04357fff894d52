#!/bin/bash
# traffic.sh DIR: makes traffic.pcap anew, real traffic between two network namespaces, with Debian's busybox, curl,
# python3 and tcpdump. The goldens of this package are what tcpdump prints of it, so it may be other traffic each time.
set -u
cd "$1"
unshare -n sleep 100 & A=$!
unshare -n sleep 100 & B=$!
sleep 0.2
na() { timeout 20 nsenter --net=/proc/$A/ns/net "$@"; }
serve() { exec timeout 60 nsenter --net=/proc/$B/ns/net "$@"; } # in the background: $! is what is to be ended
nb() { timeout 20 nsenter --net=/proc/$B/ns/net "$@"; }
na ip link add eth0 type veth peer name eth0 netns $B
na ip link set lo up
nb ip link set lo up
na ip link set eth0 address 02:00:00:00:00:01
nb ip link set eth0 address 02:00:00:00:00:02
na ip addr add 10.9.0.1/24 dev eth0
nb ip addr add 10.9.0.2/24 dev eth0
na ip addr add fd09::1/64 dev eth0
nb ip addr add fd09::2/64 dev eth0
na ip link set eth0 up
nb ip link set eth0 up
serve tcpdump -U -Z root -w traffic.pcap -i eth0 2>/dev/null & T=$!
sleep 2.5
na busybox ping -c 2 10.9.0.2
na busybox ping -c 1 -s 3000 10.9.0.2
na busybox ping -c 2 fd09::2
na busybox ping -c 1 -s 3000 fd09::2
mkdir -p www
echo hello >www/index.html
head -c 5000 /dev/zero >www/big
serve busybox httpd -f -p 80 -h www &
sleep 0.2
for url in http://10.9.0.2/ http://10.9.0.2/big http://10.9.0.2/none 'http://[fd09::2]/' http://10.9.0.2:81/; do na curl -s -o /dev/null "$url"; done
na bash -c 'echo hi >/dev/udp/10.9.0.2/7777; echo hi >/dev/udp/fd09::2/7777; head -c 4000 /dev/zero >/dev/udp/10.9.0.2/7777'
cat >answer.py <<'PYTHON'
import socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('10.9.0.2', 53))
name = lambda n: b''.join(bytes([len(x)]) + x for x in n.encode().split(b'.') if x) + b'\0'
rr = lambda t, data, n=b'\xc0\x0c': n + struct.pack('>HHIH', t, 1, 60, len(data)) + data
known = {1: [rr(5, name('real.example.com')), rr(1, b'\1\2\3\4', name('real.example.com'))], 28: [rr(28, socket.inet_pton(socket.AF_INET6, '2001:db8::1'))],
         15: [rr(15, b'\0\x0a' + name('mail.example.com'))], 16: [rr(16, b'\x05hello\x03a b')], 33: [rr(33, b'\0\1\0\2\0\x50' + name('srv.example.com'))],
         12: [rr(12, name('ptr.example.com'))], 2: [rr(2, name('ns.example.com'))]}
for _ in range(8):
    d, a = s.recvfrom(600)
    q = d[12:]; q = q[:q.index(b'\0') + 5]
    t = struct.unpack('>H', q[-4:-2])[0]
    ans = known.get(t, [])
    s.sendto(d[:2] + struct.pack('>HHHHH', 0x8180 if ans else 0x8183, 1, len(ans), 0, 0) + q + b''.join(ans), a)
PYTHON
cat >ask.py <<'PYTHON'
import socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(1)
name = lambda n: b''.join(bytes([len(x)]) + x for x in n.encode().split(b'.') if x) + b'\0'
for i, (n, t) in enumerate([('www.example.com', 1), ('www.example.com', 28), ('example.com', 15), ('example.com', 16), ('_http._tcp.example.com', 33), ('4.3.2.1.in-addr.arpa', 12), ('example.com', 2), ('nx.example.com', 6)]):
    s.sendto(struct.pack('>HHHHHH', 1000 + i, 0x100, 1, 0, 0, 0) + name(n) + struct.pack('>HH', t, 1), ('10.9.0.2', 53))
    s.recvfrom(600)
PYTHON
serve python3 answer.py &
sleep 0.3
na python3 ask.py
printf 'start 10.9.0.20\nend 10.9.0.30\ninterface eth0\nlease_file leases\nopt dns 10.9.0.2\nopt router 10.9.0.2\n' >udhcpd.conf
touch leases
serve busybox udhcpd -f udhcpd.conf &
sleep 0.3
na busybox udhcpc -i eth0 -n -t 2 -T 1 -q -s /bin/true
na busybox traceroute -n -m 1 -q 1 10.9.0.2
na busybox arping -c 1 -I eth0 10.9.0.2
sleep 1
kill "$T"
wait "$T"
for job in $(jobs -p); do kill "$job" 2>/dev/null; done
wait
