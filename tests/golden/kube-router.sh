#!/bin/sh
# Builds the network of cluster minik (kube-router) by hand. Made by `minik plan --as shell`.
# Run as root; needs iproute2, procps, and of ipset, iptables, nft and ebtables what it names. `down` as argument
# removes it again.
# Nothing outside of the namespaces named here is touched, but for /etc/netns.
set -eu

NAMESPACES="
minik-minik-switch-lan
minik-minik-switch-far
minik-minik-gateway
minik-minik-client
minik-minik-node-1
minik-minik-node-2
minik-minik-node-3
minik-minik-default-test-b8fb9cdb5-wls2w
minik-minik-default-test-b8fb9cdb5-8jfc5
minik-minik-default-test-b8fb9cdb5-khzl9
minik-minik-default-test-b8fb9cdb5-hv8xb
minik-minik-default-web
"

if [ "${1:-}" = down ]; then
  for ns in $NAMESPACES; do
    if [ -e "/run/netns/$ns" ]; then ip netns del "$ns"; fi
    rm -rf "/etc/netns/$ns"
  done
  # Empty now, it is nobody's.
  rmdir "/etc/netns" 2>/dev/null || :
  exit 0
fi

# `minik up` makes links there, whose files a reboot takes away.
for ns in $NAMESPACES; do
  if [ -L "/etc/netns/$ns" ] && [ ! -e "/etc/netns/$ns" ]; then rm "/etc/netns/$ns"; fi
done

# --- Namespaces, with the files that `ip netns exec` shows as /etc
for ns in $NAMESPACES; do
  ip netns add "$ns"
done
mkdir -p /etc/netns/minik-minik-switch-lan
cat > /etc/netns/minik-minik-switch-lan/hostname <<'END'
switch-lan
END
cat > /etc/netns/minik-minik-switch-lan/hosts <<'END'
127.0.0.1	localhost
END
cat > /etc/netns/minik-minik-switch-lan/resolv.conf <<'END'
# minik: there is no DNS server here
END
mkdir -p /etc/netns/minik-minik-switch-far
cat > /etc/netns/minik-minik-switch-far/hostname <<'END'
switch-far
END
cat > /etc/netns/minik-minik-switch-far/hosts <<'END'
127.0.0.1	localhost
END
cat > /etc/netns/minik-minik-switch-far/resolv.conf <<'END'
# minik: there is no DNS server here
END
mkdir -p /etc/netns/minik-minik-gateway
cat > /etc/netns/minik-minik-gateway/hostname <<'END'
gateway
END
cat > /etc/netns/minik-minik-gateway/hosts <<'END'
127.0.0.1	localhost
10.1.10.2	gateway
10.1.20.2	gateway
END
cat > /etc/netns/minik-minik-gateway/resolv.conf <<'END'
# minik: there is no DNS server here
END
mkdir -p /etc/netns/minik-minik-client
cat > /etc/netns/minik-minik-client/hostname <<'END'
client
END
cat > /etc/netns/minik-minik-client/hosts <<'END'
127.0.0.1	localhost
10.1.10.8	client
END
cat > /etc/netns/minik-minik-client/resolv.conf <<'END'
# minik: there is no DNS server here
END
mkdir -p /etc/netns/minik-minik-node-1
cat > /etc/netns/minik-minik-node-1/hostname <<'END'
node-1
END
cat > /etc/netns/minik-minik-node-1/hosts <<'END'
127.0.0.1	localhost
10.1.10.9	node-1
10.244.0.1	node-1
END
cat > /etc/netns/minik-minik-node-1/resolv.conf <<'END'
# minik: there is no DNS server here
END
mkdir -p /etc/netns/minik-minik-node-2
cat > /etc/netns/minik-minik-node-2/hostname <<'END'
node-2
END
cat > /etc/netns/minik-minik-node-2/hosts <<'END'
127.0.0.1	localhost
10.1.10.10	node-2
10.244.1.1	node-2
END
cat > /etc/netns/minik-minik-node-2/resolv.conf <<'END'
# minik: there is no DNS server here
END
mkdir -p /etc/netns/minik-minik-node-3
cat > /etc/netns/minik-minik-node-3/hostname <<'END'
node-3
END
cat > /etc/netns/minik-minik-node-3/hosts <<'END'
127.0.0.1	localhost
10.1.20.10	node-3
10.244.2.1	node-3
END
cat > /etc/netns/minik-minik-node-3/resolv.conf <<'END'
# minik: there is no DNS server here
END
mkdir -p /etc/netns/minik-minik-default-test-b8fb9cdb5-wls2w
cat > /etc/netns/minik-minik-default-test-b8fb9cdb5-wls2w/hostname <<'END'
test-b8fb9cdb5-wls2w
END
cat > /etc/netns/minik-minik-default-test-b8fb9cdb5-wls2w/hosts <<'END'
127.0.0.1	localhost
10.244.0.2	test-b8fb9cdb5-wls2w
END
cat > /etc/netns/minik-minik-default-test-b8fb9cdb5-wls2w/resolv.conf <<'END'
# minik: there is no DNS server here
END
mkdir -p /etc/netns/minik-minik-default-test-b8fb9cdb5-8jfc5
cat > /etc/netns/minik-minik-default-test-b8fb9cdb5-8jfc5/hostname <<'END'
test-b8fb9cdb5-8jfc5
END
cat > /etc/netns/minik-minik-default-test-b8fb9cdb5-8jfc5/hosts <<'END'
127.0.0.1	localhost
10.244.1.2	test-b8fb9cdb5-8jfc5
END
cat > /etc/netns/minik-minik-default-test-b8fb9cdb5-8jfc5/resolv.conf <<'END'
# minik: there is no DNS server here
END
mkdir -p /etc/netns/minik-minik-default-test-b8fb9cdb5-khzl9
cat > /etc/netns/minik-minik-default-test-b8fb9cdb5-khzl9/hostname <<'END'
test-b8fb9cdb5-khzl9
END
cat > /etc/netns/minik-minik-default-test-b8fb9cdb5-khzl9/hosts <<'END'
127.0.0.1	localhost
10.244.2.2	test-b8fb9cdb5-khzl9
END
cat > /etc/netns/minik-minik-default-test-b8fb9cdb5-khzl9/resolv.conf <<'END'
# minik: there is no DNS server here
END
mkdir -p /etc/netns/minik-minik-default-test-b8fb9cdb5-hv8xb
cat > /etc/netns/minik-minik-default-test-b8fb9cdb5-hv8xb/hostname <<'END'
test-b8fb9cdb5-hv8xb
END
cat > /etc/netns/minik-minik-default-test-b8fb9cdb5-hv8xb/hosts <<'END'
127.0.0.1	localhost
10.244.0.3	test-b8fb9cdb5-hv8xb
END
cat > /etc/netns/minik-minik-default-test-b8fb9cdb5-hv8xb/resolv.conf <<'END'
# minik: there is no DNS server here
END
mkdir -p /etc/netns/minik-minik-default-web
cat > /etc/netns/minik-minik-default-web/hostname <<'END'
web
END
cat > /etc/netns/minik-minik-default-web/hosts <<'END'
127.0.0.1	localhost
10.244.1.3	web
END
cat > /etc/netns/minik-minik-default-web/resolv.conf <<'END'
# minik: there is no DNS server here
END

# --- Settings that links inherit, so they come before any link
[ ! -d /proc/sys/net/ipv6 ] || ip netns exec minik-minik-switch-lan sysctl -qw net.ipv6.conf.all.disable_ipv6=1
[ ! -d /proc/sys/net/bridge ] || ip netns exec minik-minik-switch-lan sysctl -qw net.bridge.bridge-nf-call-iptables=0
[ ! -d /proc/sys/net/ipv6 ] || ip netns exec minik-minik-switch-far sysctl -qw net.ipv6.conf.all.disable_ipv6=1
[ ! -d /proc/sys/net/bridge ] || ip netns exec minik-minik-switch-far sysctl -qw net.bridge.bridge-nf-call-iptables=0
ip netns exec minik-minik-gateway sysctl -qw net.ipv4.ip_forward=1
[ ! -d /proc/sys/net/ipv6 ] || ip netns exec minik-minik-gateway sysctl -qw net.ipv6.conf.all.disable_ipv6=1
ip netns exec minik-minik-client sysctl -qw net.ipv4.ip_forward=0
[ ! -d /proc/sys/net/ipv6 ] || ip netns exec minik-minik-client sysctl -qw net.ipv6.conf.all.disable_ipv6=1
ip netns exec minik-minik-node-1 sysctl -qw net.ipv4.ip_forward=1
ip netns exec minik-minik-node-1 sysctl -qw net.ipv4.conf.all.rp_filter=0
ip netns exec minik-minik-node-1 sysctl -qw net.ipv4.conf.default.rp_filter=0
[ ! -d /proc/sys/net/ipv6 ] || ip netns exec minik-minik-node-1 sysctl -qw net.ipv6.conf.default.accept_ra=0
[ ! -d /proc/sys/net/bridge ] || ip netns exec minik-minik-node-1 sysctl -qw net.bridge.bridge-nf-call-iptables=1
ip netns exec minik-minik-node-2 sysctl -qw net.ipv4.ip_forward=1
ip netns exec minik-minik-node-2 sysctl -qw net.ipv4.conf.all.rp_filter=0
ip netns exec minik-minik-node-2 sysctl -qw net.ipv4.conf.default.rp_filter=0
[ ! -d /proc/sys/net/ipv6 ] || ip netns exec minik-minik-node-2 sysctl -qw net.ipv6.conf.default.accept_ra=0
[ ! -d /proc/sys/net/bridge ] || ip netns exec minik-minik-node-2 sysctl -qw net.bridge.bridge-nf-call-iptables=1
ip netns exec minik-minik-node-3 sysctl -qw net.ipv4.ip_forward=1
ip netns exec minik-minik-node-3 sysctl -qw net.ipv4.conf.all.rp_filter=0
ip netns exec minik-minik-node-3 sysctl -qw net.ipv4.conf.default.rp_filter=0
[ ! -d /proc/sys/net/ipv6 ] || ip netns exec minik-minik-node-3 sysctl -qw net.ipv6.conf.default.accept_ra=0
[ ! -d /proc/sys/net/bridge ] || ip netns exec minik-minik-node-3 sysctl -qw net.bridge.bridge-nf-call-iptables=1
ip netns exec minik-minik-default-test-b8fb9cdb5-wls2w sysctl -qw net.ipv4.ip_forward=0
[ ! -d /proc/sys/net/ipv6 ] || ip netns exec minik-minik-default-test-b8fb9cdb5-wls2w sysctl -qw net.ipv6.conf.all.disable_ipv6=1
ip netns exec minik-minik-default-test-b8fb9cdb5-8jfc5 sysctl -qw net.ipv4.ip_forward=0
[ ! -d /proc/sys/net/ipv6 ] || ip netns exec minik-minik-default-test-b8fb9cdb5-8jfc5 sysctl -qw net.ipv6.conf.all.disable_ipv6=1
ip netns exec minik-minik-default-test-b8fb9cdb5-khzl9 sysctl -qw net.ipv4.ip_forward=0
[ ! -d /proc/sys/net/ipv6 ] || ip netns exec minik-minik-default-test-b8fb9cdb5-khzl9 sysctl -qw net.ipv6.conf.all.disable_ipv6=1
ip netns exec minik-minik-default-test-b8fb9cdb5-hv8xb sysctl -qw net.ipv4.ip_forward=0
[ ! -d /proc/sys/net/ipv6 ] || ip netns exec minik-minik-default-test-b8fb9cdb5-hv8xb sysctl -qw net.ipv6.conf.all.disable_ipv6=1
ip netns exec minik-minik-default-web sysctl -qw net.ipv4.ip_forward=0
[ ! -d /proc/sys/net/ipv6 ] || ip netns exec minik-minik-default-web sysctl -qw net.ipv6.conf.all.disable_ipv6=1

# --- Links, each veth pair once, born where it belongs
ip -n minik-minik-switch-lan link add br0 address a6:1e:cb:69:ea:7e mtu 1500 type bridge
ip -n minik-minik-switch-lan link add gateway address 9e:00:25:1e:e4:89 mtu 1500 type veth peer name eth0 netns minik-minik-gateway address 2e:57:81:6a:d2:d2 mtu 1500
ip -n minik-minik-switch-lan link add client address b2:40:0f:ac:1b:35 mtu 1500 type veth peer name ens33 netns minik-minik-client address f2:23:be:05:0f:59 mtu 1500
ip -n minik-minik-switch-lan link add node-1 address c6:14:28:54:22:b4 mtu 1500 type veth peer name ens33 netns minik-minik-node-1 address 00:0c:29:10:a9:6c mtu 1500
ip -n minik-minik-switch-lan link add node-2 address 26:34:14:f2:bf:1e mtu 1500 type veth peer name ens33 netns minik-minik-node-2 address 00:0c:29:2f:33:85 mtu 1500
ip -n minik-minik-switch-far link add br0 address ce:30:4a:55:ae:18 mtu 1500 type bridge
ip -n minik-minik-switch-far link add gateway address 8a:e5:db:56:78:b9 mtu 1500 type veth peer name eth1 netns minik-minik-gateway address 86:36:a8:f1:cb:2f mtu 1500
ip -n minik-minik-switch-far link add node-3 address 9e:1a:60:02:bb:52 mtu 1500 type veth peer name ens33 netns minik-minik-node-3 address 8a:35:62:1f:e0:f2 mtu 1500
ip -n minik-minik-node-1 link add tun-820da6d4b1f type ipip local 10.1.10.9 remote 10.1.20.10 ttl inherit pmtudisc
ip -n minik-minik-node-1 link set dev tun-820da6d4b1f mtu 1480
ip -n minik-minik-node-1 link add kube-bridge address 26:29:5f:04:45:00 mtu 1500 type bridge
ip -n minik-minik-node-1 link add veth37760fb5 address 3e:cd:41:91:ac:96 mtu 1500 type veth peer name eth0 netns minik-minik-default-test-b8fb9cdb5-wls2w address 6a:a3:fb:40:4a:30 mtu 1500
ip -n minik-minik-node-1 link add vethfbc632ad address 8e:07:52:b9:4e:8b mtu 1500 type veth peer name eth0 netns minik-minik-default-test-b8fb9cdb5-hv8xb address fe:97:09:0a:b8:0d mtu 1500
ip -n minik-minik-node-2 link add tun-820da6d4b1f type ipip local 10.1.10.10 remote 10.1.20.10 ttl inherit pmtudisc
ip -n minik-minik-node-2 link set dev tun-820da6d4b1f mtu 1480
ip -n minik-minik-node-2 link add kube-bridge address ee:2a:ef:ae:e4:bf mtu 1500 type bridge
ip -n minik-minik-node-2 link add veth8400e453 address f6:4a:1c:45:ab:c0 mtu 1500 type veth peer name eth0 netns minik-minik-default-test-b8fb9cdb5-8jfc5 address 96:42:51:c7:54:aa mtu 1500
ip -n minik-minik-node-2 link add veth6bead204 address 6a:a7:14:36:2e:bc mtu 1500 type veth peer name eth0 netns minik-minik-default-web address 66:bf:3c:62:d1:9f mtu 1500
ip -n minik-minik-node-3 link add tun-736624fc7ff type ipip local 10.1.20.10 remote 10.1.10.9 ttl inherit pmtudisc
ip -n minik-minik-node-3 link set dev tun-736624fc7ff mtu 1480
ip -n minik-minik-node-3 link add tun-a4e12047889 type ipip local 10.1.20.10 remote 10.1.10.10 ttl inherit pmtudisc
ip -n minik-minik-node-3 link set dev tun-a4e12047889 mtu 1480
ip -n minik-minik-node-3 link add kube-bridge address 32:a2:b2:33:c7:2c mtu 1500 type bridge
ip -n minik-minik-node-3 link add veth1df4c15e address 96:f2:3a:23:d2:9d mtu 1500 type veth peer name eth0 netns minik-minik-default-test-b8fb9cdb5-khzl9 address 8a:85:17:ee:5a:86 mtu 1500

# --- switch-lan
ip -n minik-minik-switch-lan link set dev lo up
ip -n minik-minik-switch-lan link set dev br0 up
ip -n minik-minik-switch-lan link set dev gateway master br0
ip -n minik-minik-switch-lan link set dev gateway up
ip -n minik-minik-switch-lan link set dev client master br0
ip -n minik-minik-switch-lan link set dev client up
ip -n minik-minik-switch-lan link set dev node-1 master br0
ip -n minik-minik-switch-lan link set dev node-1 up
ip -n minik-minik-switch-lan link set dev node-2 master br0
ip -n minik-minik-switch-lan link set dev node-2 up

# --- switch-far
ip -n minik-minik-switch-far link set dev lo up
ip -n minik-minik-switch-far link set dev br0 up
ip -n minik-minik-switch-far link set dev gateway master br0
ip -n minik-minik-switch-far link set dev gateway up
ip -n minik-minik-switch-far link set dev node-3 master br0
ip -n minik-minik-switch-far link set dev node-3 up

# --- gateway
ip -n minik-minik-gateway link set dev lo up
ip -n minik-minik-gateway address add 10.1.10.2/24 broadcast 10.1.10.255 dev eth0
ip -n minik-minik-gateway link set dev eth0 up
ip -n minik-minik-gateway address add 10.1.20.2/24 broadcast 10.1.20.255 dev eth1
ip -n minik-minik-gateway link set dev eth1 up

# --- client
ip -n minik-minik-client link set dev lo up
ip -n minik-minik-client address add 10.1.10.8/24 broadcast 10.1.10.255 dev ens33
ip -n minik-minik-client link set dev ens33 up
ip -n minik-minik-client route add default via 10.1.10.2 dev ens33
ip -n minik-minik-client route add 10.244.0.0/24 via 10.1.10.9 dev ens33

# --- node-1
ip -n minik-minik-node-1 link set dev lo up
ip -n minik-minik-node-1 address add 10.1.10.9/24 broadcast 10.1.10.255 dev ens33
ip -n minik-minik-node-1 link set dev ens33 up
ip -n minik-minik-node-1 link set dev tun-820da6d4b1f up
ip -n minik-minik-node-1 address add 10.244.0.1/24 broadcast 10.244.0.255 dev kube-bridge
ip -n minik-minik-node-1 link set dev kube-bridge up
ip -n minik-minik-node-1 link set dev veth37760fb5 master kube-bridge
ip -n minik-minik-node-1 link set dev veth37760fb5 up
ip -n minik-minik-node-1 link set dev vethfbc632ad master kube-bridge
ip -n minik-minik-node-1 link set dev vethfbc632ad up
ip -n minik-minik-node-1 route add default via 10.1.10.2 dev ens33
ip -n minik-minik-node-1 route add 10.1.20.10 dev tun-820da6d4b1f table 77 scope link
ip -n minik-minik-node-1 route add 10.244.1.0/24 via 10.1.10.10 dev ens33 proto 17
ip -n minik-minik-node-1 route add 10.244.2.0/24 dev tun-820da6d4b1f proto 17 scope link src 10.1.10.9
ip -n minik-minik-node-1 rule add from 10.244.0.0/24 lookup 77 priority 32765
ip netns exec minik-minik-node-1 ipset restore <<'END'
create kube-router-node-ips hash:ip family inet hashsize 1024 maxelem 1048576
add kube-router-node-ips 10.1.10.9
add kube-router-node-ips 10.1.10.10
add kube-router-node-ips 10.1.20.10
create kube-router-pod-subnets hash:net family inet hashsize 1024 maxelem 1048576
add kube-router-pod-subnets 10.244.0.0/24
add kube-router-pod-subnets 10.244.1.0/24
add kube-router-pod-subnets 10.244.2.0/24
END
ip netns exec minik-minik-node-1 iptables-restore <<'END'
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A POSTROUTING -m set --match-set kube-router-pod-subnets src -m set ! --match-set kube-router-pod-subnets dst -m set ! --match-set kube-router-node-ips dst -j MASQUERADE --random-fully
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:KUBE-NWPLCY-DEFAULT - [0:0]
:KUBE-ROUTER-FORWARD - [0:0]
:KUBE-ROUTER-INPUT - [0:0]
:KUBE-ROUTER-OUTPUT - [0:0]
-A INPUT -m comment --comment "kube-router netpol - 4IA2OSFRMVNDXBVV" -j KUBE-ROUTER-INPUT
-A FORWARD -m comment --comment "kube-router netpol - TEMCG2JMHZYE7H7T" -j KUBE-ROUTER-FORWARD
-A FORWARD -o ens33 -m comment --comment "allow outbound node port traffic on node interface with which node ip is associated" -j ACCEPT
-A FORWARD -o kube-bridge -m comment --comment "allow inbound traffic to pods" -j ACCEPT
-A FORWARD -i kube-bridge -m comment --comment "allow outbound traffic from pods" -j ACCEPT
-A OUTPUT -m comment --comment "kube-router netpol - VEAAIY32XVBHCSCY" -j KUBE-ROUTER-OUTPUT
-A KUBE-NWPLCY-DEFAULT -p icmp -m comment --comment "allow icmp echo requests" -m icmp --icmp-type 8 -j ACCEPT
-A KUBE-NWPLCY-DEFAULT -p icmp -m comment --comment "allow icmp destination unreachable messages" -m icmp --icmp-type 3 -j ACCEPT
-A KUBE-NWPLCY-DEFAULT -p icmp -m comment --comment "allow icmp time exceeded messages" -m icmp --icmp-type 11 -j ACCEPT
-A KUBE-NWPLCY-DEFAULT -m comment --comment "rule to mark traffic matching a network policy" -j MARK --set-xmark 0x10000/0x10000
-A KUBE-ROUTER-FORWARD -m comment --comment "rule to explicitly ACCEPT traffic that comply to network policies" -m mark --mark 0x20000/0x20000 -j ACCEPT
-A KUBE-ROUTER-INPUT -d 10.96.0.0/12 -m comment --comment "allow traffic to primary/secondary cluster IP range - BVHX2PIHDXXEO43X" -j RETURN
-A KUBE-ROUTER-INPUT -p tcp -m comment --comment "allow LOCAL TCP traffic to node ports - LR7XO7NXDBGQJD2M" -m addrtype --dst-type LOCAL -m multiport --dports 30000:32767 -j RETURN
-A KUBE-ROUTER-INPUT -p udp -m comment --comment "allow LOCAL UDP traffic to node ports - 76UCBPIZNGJNWNUZ" -m addrtype --dst-type LOCAL -m multiport --dports 30000:32767 -j RETURN
-A KUBE-ROUTER-INPUT -m comment --comment "rule to explicitly ACCEPT traffic that comply to network policies" -m mark --mark 0x20000/0x20000 -j ACCEPT
-A KUBE-ROUTER-OUTPUT -m comment --comment "rule to explicitly ACCEPT traffic that comply to network policies" -m mark --mark 0x20000/0x20000 -j ACCEPT
COMMIT
END
# Files that this has too; `minik exec` shows them at their paths, `ip netns exec` cannot:
# /etc/cni/net.d/10-kuberouter.conflist
#   {"cniVersion":"0.3.0","name":"mynet","plugins":[{"bridge":"kube-bridge","ipam":{"subnet":"10.244.0.0/24","type":"host-local"},"isDefaultGateway":true,"mtu":1500,"name":"kubernetes","type":"bridge"},{"capabilities":{"portMappings":true,"snat":true},"type":"portmap"}]}
# /var/lib/cni/networks/mynet/10.244.0.2
#   6dc1e2e499ab631b802ca36421b008a770cad26cc333b03a68d316518cf21504
#   eth0
# /var/lib/cni/networks/mynet/10.244.0.3
#   2b30162500d27e50fc64ee0246a09023fd969a7629a3ed2d60ca6f82d777edbe
#   eth0
# /var/lib/cni/networks/mynet/last_reserved_ip.0
#   10.244.0.3
# /var/lib/cni/networks/mynet/lock

# --- node-2
ip -n minik-minik-node-2 link set dev lo up
ip -n minik-minik-node-2 address add 10.1.10.10/24 broadcast 10.1.10.255 dev ens33
ip -n minik-minik-node-2 link set dev ens33 up
ip -n minik-minik-node-2 link set dev tun-820da6d4b1f up
ip -n minik-minik-node-2 address add 10.244.1.1/24 broadcast 10.244.1.255 dev kube-bridge
ip -n minik-minik-node-2 link set dev kube-bridge up
ip -n minik-minik-node-2 link set dev veth8400e453 master kube-bridge
ip -n minik-minik-node-2 link set dev veth8400e453 up
ip -n minik-minik-node-2 link set dev veth6bead204 master kube-bridge
ip -n minik-minik-node-2 link set dev veth6bead204 up
ip -n minik-minik-node-2 route add default via 10.1.10.2 dev ens33
ip -n minik-minik-node-2 route add 10.1.20.10 dev tun-820da6d4b1f table 77 scope link
ip -n minik-minik-node-2 route add 10.244.0.0/24 via 10.1.10.9 dev ens33 proto 17
ip -n minik-minik-node-2 route add 10.244.2.0/24 dev tun-820da6d4b1f proto 17 scope link src 10.1.10.10
ip -n minik-minik-node-2 rule add from 10.244.1.0/24 lookup 77 priority 32765
ip netns exec minik-minik-node-2 ipset restore <<'END'
create kube-router-node-ips hash:ip family inet hashsize 1024 maxelem 1048576
add kube-router-node-ips 10.1.10.9
add kube-router-node-ips 10.1.10.10
add kube-router-node-ips 10.1.20.10
create kube-router-pod-subnets hash:net family inet hashsize 1024 maxelem 1048576
add kube-router-pod-subnets 10.244.0.0/24
add kube-router-pod-subnets 10.244.1.0/24
add kube-router-pod-subnets 10.244.2.0/24
END
ip netns exec minik-minik-node-2 iptables-restore <<'END'
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A POSTROUTING -m set --match-set kube-router-pod-subnets src -m set ! --match-set kube-router-pod-subnets dst -m set ! --match-set kube-router-node-ips dst -j MASQUERADE --random-fully
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:KUBE-NWPLCY-DEFAULT - [0:0]
:KUBE-ROUTER-FORWARD - [0:0]
:KUBE-ROUTER-INPUT - [0:0]
:KUBE-ROUTER-OUTPUT - [0:0]
-A INPUT -m comment --comment "kube-router netpol - 4IA2OSFRMVNDXBVV" -j KUBE-ROUTER-INPUT
-A FORWARD -m comment --comment "kube-router netpol - TEMCG2JMHZYE7H7T" -j KUBE-ROUTER-FORWARD
-A FORWARD -o ens33 -m comment --comment "allow outbound node port traffic on node interface with which node ip is associated" -j ACCEPT
-A FORWARD -o kube-bridge -m comment --comment "allow inbound traffic to pods" -j ACCEPT
-A FORWARD -i kube-bridge -m comment --comment "allow outbound traffic from pods" -j ACCEPT
-A OUTPUT -m comment --comment "kube-router netpol - VEAAIY32XVBHCSCY" -j KUBE-ROUTER-OUTPUT
-A KUBE-NWPLCY-DEFAULT -p icmp -m comment --comment "allow icmp echo requests" -m icmp --icmp-type 8 -j ACCEPT
-A KUBE-NWPLCY-DEFAULT -p icmp -m comment --comment "allow icmp destination unreachable messages" -m icmp --icmp-type 3 -j ACCEPT
-A KUBE-NWPLCY-DEFAULT -p icmp -m comment --comment "allow icmp time exceeded messages" -m icmp --icmp-type 11 -j ACCEPT
-A KUBE-NWPLCY-DEFAULT -m comment --comment "rule to mark traffic matching a network policy" -j MARK --set-xmark 0x10000/0x10000
-A KUBE-ROUTER-FORWARD -m comment --comment "rule to explicitly ACCEPT traffic that comply to network policies" -m mark --mark 0x20000/0x20000 -j ACCEPT
-A KUBE-ROUTER-INPUT -d 10.96.0.0/12 -m comment --comment "allow traffic to primary/secondary cluster IP range - BVHX2PIHDXXEO43X" -j RETURN
-A KUBE-ROUTER-INPUT -p tcp -m comment --comment "allow LOCAL TCP traffic to node ports - LR7XO7NXDBGQJD2M" -m addrtype --dst-type LOCAL -m multiport --dports 30000:32767 -j RETURN
-A KUBE-ROUTER-INPUT -p udp -m comment --comment "allow LOCAL UDP traffic to node ports - 76UCBPIZNGJNWNUZ" -m addrtype --dst-type LOCAL -m multiport --dports 30000:32767 -j RETURN
-A KUBE-ROUTER-INPUT -m comment --comment "rule to explicitly ACCEPT traffic that comply to network policies" -m mark --mark 0x20000/0x20000 -j ACCEPT
-A KUBE-ROUTER-OUTPUT -m comment --comment "rule to explicitly ACCEPT traffic that comply to network policies" -m mark --mark 0x20000/0x20000 -j ACCEPT
COMMIT
END
# Files that this has too; `minik exec` shows them at their paths, `ip netns exec` cannot:
# /etc/cni/net.d/10-kuberouter.conflist
#   {"cniVersion":"0.3.0","name":"mynet","plugins":[{"bridge":"kube-bridge","ipam":{"subnet":"10.244.1.0/24","type":"host-local"},"isDefaultGateway":true,"mtu":1500,"name":"kubernetes","type":"bridge"},{"capabilities":{"portMappings":true,"snat":true},"type":"portmap"}]}
# /var/lib/cni/networks/mynet/10.244.1.2
#   cb041266d27306313b35d74ac87ec70153e813257cc716a6e4f9b968424af102
#   eth0
# /var/lib/cni/networks/mynet/10.244.1.3
#   4838640b664a248b8cce733205f2fb2029cc6fee0799585bfe11c25eb05ca7c8
#   eth0
# /var/lib/cni/networks/mynet/last_reserved_ip.0
#   10.244.1.3
# /var/lib/cni/networks/mynet/lock

# --- node-3
ip -n minik-minik-node-3 link set dev lo up
ip -n minik-minik-node-3 address add 10.1.20.10/24 broadcast 10.1.20.255 dev ens33
ip -n minik-minik-node-3 link set dev ens33 up
ip -n minik-minik-node-3 link set dev tun-736624fc7ff up
ip -n minik-minik-node-3 link set dev tun-a4e12047889 up
ip -n minik-minik-node-3 address add 10.244.2.1/24 broadcast 10.244.2.255 dev kube-bridge
ip -n minik-minik-node-3 link set dev kube-bridge up
ip -n minik-minik-node-3 link set dev veth1df4c15e master kube-bridge
ip -n minik-minik-node-3 link set dev veth1df4c15e up
ip -n minik-minik-node-3 route add default via 10.1.20.2 dev ens33
ip -n minik-minik-node-3 route add 10.1.10.9 dev tun-736624fc7ff table 77 scope link
ip -n minik-minik-node-3 route add 10.1.10.10 dev tun-a4e12047889 table 77 scope link
ip -n minik-minik-node-3 route add 10.244.0.0/24 dev tun-736624fc7ff proto 17 scope link src 10.1.20.10
ip -n minik-minik-node-3 route add 10.244.1.0/24 dev tun-a4e12047889 proto 17 scope link src 10.1.20.10
ip -n minik-minik-node-3 rule add from 10.244.2.0/24 lookup 77 priority 32765
ip netns exec minik-minik-node-3 ipset restore <<'END'
create kube-router-node-ips hash:ip family inet hashsize 1024 maxelem 1048576
add kube-router-node-ips 10.1.10.9
add kube-router-node-ips 10.1.10.10
add kube-router-node-ips 10.1.20.10
create kube-router-pod-subnets hash:net family inet hashsize 1024 maxelem 1048576
add kube-router-pod-subnets 10.244.0.0/24
add kube-router-pod-subnets 10.244.1.0/24
add kube-router-pod-subnets 10.244.2.0/24
END
ip netns exec minik-minik-node-3 iptables-restore <<'END'
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A POSTROUTING -m set --match-set kube-router-pod-subnets src -m set ! --match-set kube-router-pod-subnets dst -m set ! --match-set kube-router-node-ips dst -j MASQUERADE --random-fully
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:KUBE-NWPLCY-DEFAULT - [0:0]
:KUBE-ROUTER-FORWARD - [0:0]
:KUBE-ROUTER-INPUT - [0:0]
:KUBE-ROUTER-OUTPUT - [0:0]
-A INPUT -m comment --comment "kube-router netpol - 4IA2OSFRMVNDXBVV" -j KUBE-ROUTER-INPUT
-A FORWARD -m comment --comment "kube-router netpol - TEMCG2JMHZYE7H7T" -j KUBE-ROUTER-FORWARD
-A FORWARD -o ens33 -m comment --comment "allow outbound node port traffic on node interface with which node ip is associated" -j ACCEPT
-A FORWARD -o kube-bridge -m comment --comment "allow inbound traffic to pods" -j ACCEPT
-A FORWARD -i kube-bridge -m comment --comment "allow outbound traffic from pods" -j ACCEPT
-A OUTPUT -m comment --comment "kube-router netpol - VEAAIY32XVBHCSCY" -j KUBE-ROUTER-OUTPUT
-A KUBE-NWPLCY-DEFAULT -p icmp -m comment --comment "allow icmp echo requests" -m icmp --icmp-type 8 -j ACCEPT
-A KUBE-NWPLCY-DEFAULT -p icmp -m comment --comment "allow icmp destination unreachable messages" -m icmp --icmp-type 3 -j ACCEPT
-A KUBE-NWPLCY-DEFAULT -p icmp -m comment --comment "allow icmp time exceeded messages" -m icmp --icmp-type 11 -j ACCEPT
-A KUBE-NWPLCY-DEFAULT -m comment --comment "rule to mark traffic matching a network policy" -j MARK --set-xmark 0x10000/0x10000
-A KUBE-ROUTER-FORWARD -m comment --comment "rule to explicitly ACCEPT traffic that comply to network policies" -m mark --mark 0x20000/0x20000 -j ACCEPT
-A KUBE-ROUTER-INPUT -d 10.96.0.0/12 -m comment --comment "allow traffic to primary/secondary cluster IP range - BVHX2PIHDXXEO43X" -j RETURN
-A KUBE-ROUTER-INPUT -p tcp -m comment --comment "allow LOCAL TCP traffic to node ports - LR7XO7NXDBGQJD2M" -m addrtype --dst-type LOCAL -m multiport --dports 30000:32767 -j RETURN
-A KUBE-ROUTER-INPUT -p udp -m comment --comment "allow LOCAL UDP traffic to node ports - 76UCBPIZNGJNWNUZ" -m addrtype --dst-type LOCAL -m multiport --dports 30000:32767 -j RETURN
-A KUBE-ROUTER-INPUT -m comment --comment "rule to explicitly ACCEPT traffic that comply to network policies" -m mark --mark 0x20000/0x20000 -j ACCEPT
-A KUBE-ROUTER-OUTPUT -m comment --comment "rule to explicitly ACCEPT traffic that comply to network policies" -m mark --mark 0x20000/0x20000 -j ACCEPT
COMMIT
END
# Files that this has too; `minik exec` shows them at their paths, `ip netns exec` cannot:
# /etc/cni/net.d/10-kuberouter.conflist
#   {"cniVersion":"0.3.0","name":"mynet","plugins":[{"bridge":"kube-bridge","ipam":{"subnet":"10.244.2.0/24","type":"host-local"},"isDefaultGateway":true,"mtu":1500,"name":"kubernetes","type":"bridge"},{"capabilities":{"portMappings":true,"snat":true},"type":"portmap"}]}
# /var/lib/cni/networks/mynet/10.244.2.2
#   f74aadf3fb8f11469d0402ddbf5513f2823ccf3019088cb18184697ad227a884
#   eth0
# /var/lib/cni/networks/mynet/last_reserved_ip.0
#   10.244.2.2
# /var/lib/cni/networks/mynet/lock

# --- default/test-b8fb9cdb5-wls2w
ip -n minik-minik-default-test-b8fb9cdb5-wls2w link set dev lo up
ip -n minik-minik-default-test-b8fb9cdb5-wls2w address add 10.244.0.2/24 broadcast 10.244.0.255 dev eth0
ip netns exec minik-minik-default-test-b8fb9cdb5-wls2w sysctl -qw net.ipv4.conf.eth0.arp_notify=1
ip -n minik-minik-default-test-b8fb9cdb5-wls2w link set dev eth0 up
ip -n minik-minik-default-test-b8fb9cdb5-wls2w route add default via 10.244.0.1 dev eth0

# --- default/test-b8fb9cdb5-8jfc5
ip -n minik-minik-default-test-b8fb9cdb5-8jfc5 link set dev lo up
ip -n minik-minik-default-test-b8fb9cdb5-8jfc5 address add 10.244.1.2/24 broadcast 10.244.1.255 dev eth0
ip netns exec minik-minik-default-test-b8fb9cdb5-8jfc5 sysctl -qw net.ipv4.conf.eth0.arp_notify=1
ip -n minik-minik-default-test-b8fb9cdb5-8jfc5 link set dev eth0 up
ip -n minik-minik-default-test-b8fb9cdb5-8jfc5 route add default via 10.244.1.1 dev eth0

# --- default/test-b8fb9cdb5-khzl9
ip -n minik-minik-default-test-b8fb9cdb5-khzl9 link set dev lo up
ip -n minik-minik-default-test-b8fb9cdb5-khzl9 address add 10.244.2.2/24 broadcast 10.244.2.255 dev eth0
ip netns exec minik-minik-default-test-b8fb9cdb5-khzl9 sysctl -qw net.ipv4.conf.eth0.arp_notify=1
ip -n minik-minik-default-test-b8fb9cdb5-khzl9 link set dev eth0 up
ip -n minik-minik-default-test-b8fb9cdb5-khzl9 route add default via 10.244.2.1 dev eth0

# --- default/test-b8fb9cdb5-hv8xb
ip -n minik-minik-default-test-b8fb9cdb5-hv8xb link set dev lo up
ip -n minik-minik-default-test-b8fb9cdb5-hv8xb address add 10.244.0.3/24 broadcast 10.244.0.255 dev eth0
ip netns exec minik-minik-default-test-b8fb9cdb5-hv8xb sysctl -qw net.ipv4.conf.eth0.arp_notify=1
ip -n minik-minik-default-test-b8fb9cdb5-hv8xb link set dev eth0 up
ip -n minik-minik-default-test-b8fb9cdb5-hv8xb route add default via 10.244.0.1 dev eth0

# --- default/web
ip -n minik-minik-default-web link set dev lo up
ip -n minik-minik-default-web address add 10.244.1.3/24 broadcast 10.244.1.255 dev eth0
ip netns exec minik-minik-default-web sysctl -qw net.ipv4.conf.eth0.arp_notify=1
ip -n minik-minik-default-web link set dev eth0 up
ip -n minik-minik-default-web route add default via 10.244.1.1 dev eth0

# Done. A look around, and the way to remove all of it:
#   ip netns exec minik-minik-default-test-b8fb9cdb5-wls2w ip route
#   sh THIS-SCRIPT down
