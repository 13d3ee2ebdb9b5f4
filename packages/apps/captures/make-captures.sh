#!/bin/sh
# Records mixed-a.pcap and mixed-b.pcap beside this file: one session of real programs between two network namespaces
# joined by a veth pair. mixed-a.pcap holds the frames that side A sent, mixed-b.pcap those that side B sent, both on
# one clock, so that replaying A on one port and B on the other is the session again.
#
# Run as root. It needs ip, tc, ethtool, tcpdump, tshark, ping, dnsmasq, dig, curl and python3, and nothing of the
# kernel beyond veth, tun and cls_bpf: the 802.1Q interface is a tap with a relay, the loss a classic BPF filter,
# because neither 8021q nor netem is in every kernel. It takes about a minute and leaves no process or namespace behind.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
a=weir-cap-a-$$
b=weir-cap-b-$$
tmp=$(mktemp -d)
pids=

fail() {
  echo "make-captures: $*" >&2
  exit 1
}

stop() { # signal pid...: ends processes that this script started, and waits for them
  signal=$1
  shift
  for pid in "$@"; do kill -"$signal" "$pid" 2>/dev/null || true; done
  for pid in "$@"; do wait "$pid" 2>/dev/null || true; done
}

cleanup() {
  trap - EXIT INT TERM
  # shellcheck disable=SC2086
  stop TERM $pids
  ip netns del "$a" 2>/dev/null || true
  ip netns del "$b" 2>/dev/null || true
  rm -rf "$tmp"
}

trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

[ "$(id -u)" = 0 ] || fail "run it as root: it creates network namespaces"
for tool in ip tc ethtool tcpdump tshark ping dnsmasq dig curl python3; do
  command -v "$tool" >/dev/null || fail "$tool is not installed"
done

# In the background use `ip netns exec` itself: $! of a function would be a subshell's pid, not the program's.
in_a() { ip netns exec "$a" "$@"; }
in_b() { ip netns exec "$b" "$@"; }

until_ok() { # seconds command...: runs the command until it succeeds
  tries=$(($1 * 10))
  shift
  while ! "$@" >/dev/null 2>&1; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || fail "gave up waiting for: $*"
    sleep 0.1
  done
}

# --- The two sides -------------------------------------------------------------------------------------------------
# IPv4 of RFC 5737, IPv6 of RFC 3849, locally administered MAC addresses.

ip netns add "$a"
ip netns add "$b"
in_a ip link add eth0 address 02:00:00:00:00:0a type veth peer name eth0 address 02:00:00:00:00:0b netns "$b"
for side in "$a" "$b"; do
  # Frames in the capture are what a wire would carry: whole checksums, no segments beyond the MTU, tags inline.
  ip netns exec "$side" ethtool -K eth0 tx off rx off sg off tso off gso off gro off txvlan off rxvlan off >/dev/null 2>&1
  ip netns exec "$side" ip link set lo up
  # libpcap sizes its ring by the MTU it sees when it starts: 9000 until the recorders run, or jumbo frames are cut.
  ip netns exec "$side" ip link set eth0 mtu 9000 up
done

record() { # namespace file
  ip netns exec "$1" tcpdump -i eth0 -Q out -s 0 -B 8192 -U -Z root --time-stamp-precision nano --immediate-mode \
    -w "$tmp/$2" 2>"$tmp/$2.log" &
  pids="$pids $!"
  until_ok 10 grep -q "listening on" "$tmp/$2.log"
}
record "$a" mixed-a.pcap
tcpdump_a=${pids##* }
record "$b" mixed-b.pcap
tcpdump_b=${pids##* }

in_a ip link set eth0 mtu 1500
in_b ip link set eth0 mtu 1500
# Addresses after the recorders: duplicate address detection belongs in the capture.
in_a ip addr add 192.0.2.1/24 dev eth0
in_b ip addr add 192.0.2.2/24 dev eth0
in_a ip addr add 2001:db8::1/64 dev eth0
in_b ip addr add 2001:db8::2/64 dev eth0
until_ok 10 in_a ping -c 1 -W 1 -I 2001:db8::1 2001:db8::2

# --- Servers on side B ---------------------------------------------------------------------------------------------

mkdir "$tmp/www"
echo "<!doctype html><title>weir</title><p>A page." >"$tmp/www/index.html"
seq 1 9000 >"$tmp/www/numbers.txt" # 43,893 bytes
ip netns exec "$b" python3 -m http.server 80 --bind :: --directory "$tmp/www" >/dev/null 2>&1 &
pids="$pids $!"
ip netns exec "$b" dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --user=root --pid-file="$tmp/dnsmasq.pid" \
  --listen-address=192.0.2.2,2001:db8::2 --bind-interfaces --log-facility="$tmp/dnsmasq.log" \
  --local=/weir.example/ --host-record=www.weir.example,192.0.2.2,2001:db8::2 \
  --mx-host=weir.example,mail.weir.example,10 --srv-host=_http._tcp.weir.example,www.weir.example,80 \
  --txt-record=long.weir.example,"$(printf '%0250d' 0)","$(printf '%0250d' 1)","$(printf '%0250d' 2)" &
pids="$pids $!"
until_ok 10 in_b curl -s -o /dev/null http://127.0.0.1/
until_ok 10 grep -q started "$tmp/dnsmasq.log"

# --- MTU 1500 ------------------------------------------------------------------------------------------------------

in_a ping -c 6 -i 0.05 192.0.2.2 >/dev/null
in_b ping -c 4 -i 0.05 -s 0 192.0.2.1 >/dev/null
in_a ping -c 2 -i 0.05 -s 1472 -M do 192.0.2.2 >/dev/null # 1,514 bytes: the largest ordinary frame
in_a ping -c 2 -i 0.05 -s 4000 192.0.2.2 >/dev/null       # fragments
in_a ping -c 6 -i 0.05 2001:db8::2 >/dev/null
in_b ping -c 4 -i 0.05 2001:db8::1 >/dev/null
in_a ping -c 2 -i 0.05 -s 4000 2001:db8::2 >/dev/null # fragments
in_a ping -c 2 -i 0.05 ff02::1%eth0 >/dev/null        # multicast

ask() { in_a dig +tries=1 +timeout=2 "$@" >/dev/null; }
ask @192.0.2.2 www.weir.example A
ask @192.0.2.2 www.weir.example AAAA
ask @192.0.2.2 weir.example MX
ask @192.0.2.2 _http._tcp.weir.example SRV
ask @192.0.2.2 nowhere.weir.example A
ask @192.0.2.2 -x 192.0.2.2
ask @192.0.2.2 long.weir.example TXT
ask @192.0.2.2 +tcp long.weir.example TXT
ask @2001:db8::2 www.weir.example AAAA
ask @2001:db8::2 +tcp www.weir.example A

get() { in_a curl -sS --max-time 60 -o /dev/null "$@"; }
get http://192.0.2.2/
get http://192.0.2.2/nowhere.html
get --head http://192.0.2.2/numbers.txt
get http://192.0.2.2/numbers.txt
get 'http://[2001:db8::2]/'
get 'http://[2001:db8::2]/numbers.txt'
if in_a curl -s --max-time 2 http://192.0.2.2:81/; then fail "port 81 answered"; fi # a reset

# Loss on A's side: of the frames that B sent, those whose IPv4 identification ends in binary 011 (offset 14 + 4) are
# dropped after they were recorded. Linux numbers the segments of a connection in turn: every eighth is lost.
in_a tc qdisc add dev eth0 clsact
in_a tc filter add dev eth0 ingress bpf direct-action bytecode '5,40 0 0 18,84 0 0 7,21 0 1 3,6 0 0 2,6 0 0 0'
get http://192.0.2.2/numbers.txt
in_a tc qdisc del dev eth0 clsact

# All loss on B's side while A connects: A sends its SYN again after a second.
in_b tc qdisc add dev eth0 clsact
in_b tc filter add dev eth0 ingress bpf direct-action bytecode '1,6 0 0 2'
ip netns exec "$a" curl -sS --max-time 60 -o /dev/null http://192.0.2.2/ &
get_again=$!
pids="$pids $get_again"
sleep 0.5
in_b tc qdisc del dev eth0 clsact
wait "$get_again" || fail "the connection did not outlive the loss of its SYN"

# --- 802.1Q, VLAN 100 ----------------------------------------------------------------------------------------------

cat >"$tmp/vlan.py" <<'PYTHON'
# A VLAN interface: a tap whose frames go out of eth0 with a tag, and back. vlan.py TAP VLAN
import fcntl, os, select, socket, struct, sys
name, vlan = sys.argv[1], int(sys.argv[2])
SOL_PACKET, PACKET_AUXDATA, PACKET_OUTGOING, TP_STATUS_VLAN_VALID = 263, 8, 4, 0x10
IFF_TAP, IFF_NO_PI, TUNSETIFF, ETH_P_ALL, MACS = 2, 0x1000, 0x400454CA, 3, 12
tap = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
wire.bind(("eth0", ETH_P_ALL))
wire.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
while True:
    for ready in select.select([tap, wire], [], [])[0]:
        if ready == tap:
            frame = os.read(tap, 65535)
            wire.send(frame[:MACS] + struct.pack("!HH", 0x8100, vlan) + frame[MACS:])
            continue
        # The kernel took the tag out of the frame and tells it in a tpacket_auxdata.
        frame, controls, _, address = wire.recvmsg(65535, 256)
        for level, kind, data in controls:
            if (level, kind) != (SOL_PACKET, PACKET_AUXDATA) or address[2] == PACKET_OUTGOING:
                continue
            status, _, _, _, _, tci, _ = struct.unpack("IIIHHHH", data[:20])
            if status & TP_STATUS_VLAN_VALID and tci & 0xFFF == vlan:
                try:
                    os.write(tap, frame)
                except OSError:
                    pass  # EIO: the tap is not up yet
PYTHON
for side in "$a 1 0a" "$b 2 0b"; do
  # shellcheck disable=SC2086
  set -- $side
  ip netns exec "$1" python3 "$tmp/vlan.py" vlan100 100 &
  pids="$pids $!"
  until_ok 10 ip netns exec "$1" ip link show vlan100
  ip netns exec "$1" ip link set vlan100 address 02:00:00:00:01:"$3" up
  ip netns exec "$1" ip addr add 198.51.100."$2"/24 dev vlan100
  ip netns exec "$1" ip addr add 2001:db8:100::"$2"/64 dev vlan100
done
until_ok 10 in_a ping -c 1 -W 1 -I 2001:db8:100::1 2001:db8:100::2
in_a ping -c 4 -i 0.05 198.51.100.2 >/dev/null
in_b ping -c 4 -i 0.05 2001:db8:100::1 >/dev/null
in_a ping -c 2 -i 0.05 -s 1472 -M do 198.51.100.2 >/dev/null # 1,518 bytes with the tag
get http://198.51.100.2/

# --- Runts ---------------------------------------------------------------------------------------------------------
# A veth neither pads nor checks: from a bare Ethernet header to one byte below the minimum, and the minimum.
# The EtherType is the one for local experiments (IEEE 802-2014, 9.2.4).

cat >"$tmp/runts.py" <<'PYTHON'
import socket, sys
to, source = (bytes.fromhex("0200000000" + side) for side in sys.argv[1:3])
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind(("eth0", 0))
for size in (14, 15, 16, 17, 18, 20, 28, 33, 34, 42, 46, 47, 52, 58, 59, 60):
    wire.send((to + source + bytes.fromhex("88b5") + bytes(range(size)))[:size])
PYTHON
in_a python3 "$tmp/runts.py" 0b 0a
in_b python3 "$tmp/runts.py" 0a 0b

# --- MTU 9000 ------------------------------------------------------------------------------------------------------

in_a ip link set eth0 mtu 9000
in_b ip link set eth0 mtu 9000
in_a ping -c 2 -i 0.05 -s 2000 -M do 192.0.2.2 >/dev/null
in_a ping -c 2 -i 0.05 -s 8972 -M do 192.0.2.2 >/dev/null   # 9,014 bytes
in_a ping -c 2 -i 0.05 -s 8952 -M do 2001:db8::2 >/dev/null # 9,014 bytes
in_b ping -c 1 -s 5000 -M do 192.0.2.1 >/dev/null
get http://192.0.2.2/numbers.txt
in_a ip neigh flush dev eth0 # ARP and neighbour discovery once more
in_a ping -c 1 192.0.2.2 >/dev/null
in_a ping -c 1 2001:db8::2 >/dev/null

# --- Check, print, keep --------------------------------------------------------------------------------------------

sleep 1
stop INT "$tcpdump_a" "$tcpdump_b"
for side in a b; do
  grep -q "^0 packets dropped by kernel" "$tmp/mixed-$side.pcap.log" || fail "the recorder of side $side lost frames: run it again"
done

frames() { # file filter: how many frames match
  tshark -n -r "$1" -Y "$2" 2>/dev/null | wc -l
}

row() { # minimum in both files together, name, filter
  in_file_a=$(frames "$tmp/mixed-a.pcap" "$3")
  in_file_b=$(frames "$tmp/mixed-b.pcap" "$3")
  [ $((in_file_a + in_file_b)) -ge "$1" ] || fail "no $2 in the captures: run it again"
  echo "| $2 | \`$(echo "$3" | sed 's/|/\\|/g')\` | $in_file_a | $in_file_b |"
}

for side in a b; do
  [ "$(frames "$tmp/mixed-$side.pcap" "frame.cap_len < frame.len")" = 0 ] || fail "mixed-$side.pcap holds cut frames"
done

echo "| kind | tshark filter | mixed-a.pcap | mixed-b.pcap |"
echo "|---|---|---|---|"
row 300 "all frames" "frame"
row 4 "ARP" "arp"
row 30 "ICMP echo" "icmp.type == 8 || icmp.type == 0"
row 20 "ICMPv6 echo" "icmpv6.type == 128 || icmpv6.type == 129"
row 4 "neighbour discovery" "icmpv6.type >= 133 && icmpv6.type <= 136"
row 8 "IPv4 fragments" "ip.flags.mf == 1 || ip.frag_offset > 0"
row 8 "IPv6 fragments" "ipv6.fraghdr"
row 20 "DNS" "dns"
row 10 "HTTP" "http"
row 60 "TCP over IPv4" "ip && tcp"
row 40 "TCP over IPv6" "ipv6 && tcp"
row 3 "TCP sent again, fast" "tcp.analysis.out_of_order"
row 1 "TCP sent again, by timeout" "tcp.analysis.retransmission"
row 1 "TCP resets" "tcp.flags.reset == 1"
row 30 "802.1Q" "vlan.id == 100"
row 30 "runts, below 60 bytes" "frame.len < 60 && eth.type == 0x88b5"
row 8 "jumbo, above 1,518 bytes" "frame.len > 1518"
row 8 "jumbo of 9,014 bytes" "frame.len == 9014"

for side in a b; do
  [ "$(wc -c <"$tmp/mixed-$side.pcap")" -lt 400000 ] || fail "mixed-$side.pcap is too large to ship"
  cp "$tmp/mixed-$side.pcap" "$here/mixed-$side.pcap"
done
ls -l "$here"/mixed-?.pcap >&2
