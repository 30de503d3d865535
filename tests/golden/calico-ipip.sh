#!/bin/sh
# Builds the network of cluster minik (calico-ipip) by hand. Made by `minik plan --as shell`.
# Run as root; needs iproute2, procps, ipset and iptables. `down` as argument removes it again.
# Nothing outside of the namespaces named here is touched, but for /etc/netns.
set -eu

NAMESPACES="
minik-minik-switch-lan
minik-minik-gateway
minik-minik-client
minik-minik-node-1
minik-minik-node-2
minik-minik-default-test-7999578869-kx4hp
minik-minik-default-test-7999578869-jr2w9
minik-minik-default-test-7999578869-xkhlz
minik-minik-default-two-containers
"

if [ "${1:-}" = down ]; then
  for ns in $NAMESPACES; do
    if [ -e "/run/netns/$ns" ]; then ip netns del "$ns"; fi
    rm -rf "/etc/netns/$ns"
  done
  exit 0
fi

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
mkdir -p /etc/netns/minik-minik-gateway
cat > /etc/netns/minik-minik-gateway/hostname <<'END'
gateway
END
cat > /etc/netns/minik-minik-gateway/hosts <<'END'
127.0.0.1	localhost
10.1.10.2	gateway
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
END
cat > /etc/netns/minik-minik-node-2/resolv.conf <<'END'
# minik: there is no DNS server here
END
mkdir -p /etc/netns/minik-minik-default-test-7999578869-kx4hp
cat > /etc/netns/minik-minik-default-test-7999578869-kx4hp/hostname <<'END'
test-7999578869-kx4hp
END
cat > /etc/netns/minik-minik-default-test-7999578869-kx4hp/hosts <<'END'
127.0.0.1	localhost
10.100.84.129	test-7999578869-kx4hp
END
cat > /etc/netns/minik-minik-default-test-7999578869-kx4hp/resolv.conf <<'END'
# minik: there is no DNS server here
END
mkdir -p /etc/netns/minik-minik-default-test-7999578869-jr2w9
cat > /etc/netns/minik-minik-default-test-7999578869-jr2w9/hostname <<'END'
test-7999578869-jr2w9
END
cat > /etc/netns/minik-minik-default-test-7999578869-jr2w9/hosts <<'END'
127.0.0.1	localhost
10.100.247.1	test-7999578869-jr2w9
END
cat > /etc/netns/minik-minik-default-test-7999578869-jr2w9/resolv.conf <<'END'
# minik: there is no DNS server here
END
mkdir -p /etc/netns/minik-minik-default-test-7999578869-xkhlz
cat > /etc/netns/minik-minik-default-test-7999578869-xkhlz/hostname <<'END'
test-7999578869-xkhlz
END
cat > /etc/netns/minik-minik-default-test-7999578869-xkhlz/hosts <<'END'
127.0.0.1	localhost
10.100.247.2	test-7999578869-xkhlz
END
cat > /etc/netns/minik-minik-default-test-7999578869-xkhlz/resolv.conf <<'END'
# minik: there is no DNS server here
END
mkdir -p /etc/netns/minik-minik-default-two-containers
cat > /etc/netns/minik-minik-default-two-containers/hostname <<'END'
two-containers
END
cat > /etc/netns/minik-minik-default-two-containers/hosts <<'END'
127.0.0.1	localhost
10.100.84.130	two-containers
END
cat > /etc/netns/minik-minik-default-two-containers/resolv.conf <<'END'
# minik: there is no DNS server here
END

# --- Settings that links inherit, so they come before any link
[ ! -d /proc/sys/net/ipv6 ] || ip netns exec minik-minik-switch-lan sysctl -qw net.ipv6.conf.all.disable_ipv6=1
ip netns exec minik-minik-gateway sysctl -qw net.ipv4.ip_forward=1
[ ! -d /proc/sys/net/ipv6 ] || ip netns exec minik-minik-gateway sysctl -qw net.ipv6.conf.all.disable_ipv6=1
ip netns exec minik-minik-client sysctl -qw net.ipv4.ip_forward=0
[ ! -d /proc/sys/net/ipv6 ] || ip netns exec minik-minik-client sysctl -qw net.ipv6.conf.all.disable_ipv6=1
ip netns exec minik-minik-node-1 sysctl -qw net.ipv4.ip_forward=1
ip netns exec minik-minik-node-1 sysctl -qw net.ipv4.conf.all.rp_filter=0
ip netns exec minik-minik-node-1 sysctl -qw net.ipv4.conf.default.rp_filter=0
[ ! -d /proc/sys/net/ipv6 ] || ip netns exec minik-minik-node-1 sysctl -qw net.ipv6.conf.default.accept_ra=0
ip netns exec minik-minik-node-2 sysctl -qw net.ipv4.ip_forward=1
ip netns exec minik-minik-node-2 sysctl -qw net.ipv4.conf.all.rp_filter=0
ip netns exec minik-minik-node-2 sysctl -qw net.ipv4.conf.default.rp_filter=0
[ ! -d /proc/sys/net/ipv6 ] || ip netns exec minik-minik-node-2 sysctl -qw net.ipv6.conf.default.accept_ra=0
ip netns exec minik-minik-default-test-7999578869-kx4hp sysctl -qw net.ipv4.ip_forward=0
[ ! -d /proc/sys/net/ipv6 ] || ip netns exec minik-minik-default-test-7999578869-kx4hp sysctl -qw net.ipv6.conf.all.disable_ipv6=1
ip netns exec minik-minik-default-test-7999578869-jr2w9 sysctl -qw net.ipv4.ip_forward=0
[ ! -d /proc/sys/net/ipv6 ] || ip netns exec minik-minik-default-test-7999578869-jr2w9 sysctl -qw net.ipv6.conf.all.disable_ipv6=1
ip netns exec minik-minik-default-test-7999578869-xkhlz sysctl -qw net.ipv4.ip_forward=0
[ ! -d /proc/sys/net/ipv6 ] || ip netns exec minik-minik-default-test-7999578869-xkhlz sysctl -qw net.ipv6.conf.all.disable_ipv6=1
ip netns exec minik-minik-default-two-containers sysctl -qw net.ipv4.ip_forward=0
[ ! -d /proc/sys/net/ipv6 ] || ip netns exec minik-minik-default-two-containers sysctl -qw net.ipv6.conf.all.disable_ipv6=1

# --- Links, each veth pair once, born where it belongs
ip -n minik-minik-switch-lan link add br0 address a6:1e:cb:69:ea:7e mtu 1500 type bridge
ip -n minik-minik-switch-lan link add gateway address 9e:00:25:1e:e4:89 mtu 1500 type veth peer name eth0 netns minik-minik-gateway address 2e:57:81:6a:d2:d2 mtu 1500
ip -n minik-minik-switch-lan link add client address b2:40:0f:ac:1b:35 mtu 1500 type veth peer name ens33 netns minik-minik-client address f2:23:be:05:0f:59 mtu 1500
ip -n minik-minik-switch-lan link add node-1 address c6:14:28:54:22:b4 mtu 1500 type veth peer name ens33 netns minik-minik-node-1 address aa:ab:3d:d2:ec:b0 mtu 1500
ip -n minik-minik-switch-lan link add node-2 address 26:34:14:f2:bf:1e mtu 1500 type veth peer name ens33 netns minik-minik-node-2 address 9e:12:39:8b:ce:9a mtu 1500
# The ipip module makes this device by itself where it is loaded.
ip -n minik-minik-node-1 link add tunl0 type ipip 2>/dev/null || ip -n minik-minik-node-1 link show dev tunl0 >/dev/null
ip -n minik-minik-node-1 link set dev tunl0 mtu 1480
ip -n minik-minik-node-1 link add cali14de3927136 address ee:ee:ee:ee:ee:ee mtu 1480 type veth peer name eth0 netns minik-minik-default-test-7999578869-kx4hp address 3e:cc:04:39:76:ee mtu 1480
ip -n minik-minik-node-1 link add cali84261f2dfa9 address ee:ee:ee:ee:ee:ee mtu 1480 type veth peer name eth0 netns minik-minik-default-two-containers address 8e:43:a2:42:45:ba mtu 1480
# The ipip module makes this device by itself where it is loaded.
ip -n minik-minik-node-2 link add tunl0 type ipip 2>/dev/null || ip -n minik-minik-node-2 link show dev tunl0 >/dev/null
ip -n minik-minik-node-2 link set dev tunl0 mtu 1480
ip -n minik-minik-node-2 link add cali813929a4a7b address ee:ee:ee:ee:ee:ee mtu 1480 type veth peer name eth0 netns minik-minik-default-test-7999578869-jr2w9 address 8e:1d:49:60:25:69 mtu 1480
ip -n minik-minik-node-2 link add calieb588c579e3 address ee:ee:ee:ee:ee:ee mtu 1480 type veth peer name eth0 netns minik-minik-default-test-7999578869-xkhlz address 6a:93:5f:74:d1:74 mtu 1480

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

# --- gateway
ip -n minik-minik-gateway link set dev lo up
ip -n minik-minik-gateway address add 10.1.10.2/24 broadcast 10.1.10.255 dev eth0
ip -n minik-minik-gateway link set dev eth0 up

# --- client
ip -n minik-minik-client link set dev lo up
ip -n minik-minik-client address add 10.1.10.8/24 broadcast 10.1.10.255 dev ens33
ip -n minik-minik-client link set dev ens33 up
ip -n minik-minik-client route add default via 10.1.10.2 dev ens33
ip -n minik-minik-client route add 10.100.84.128/26 via 10.1.10.9 dev ens33
ip -n minik-minik-client route add 10.100.247.0/26 via 10.1.10.10 dev ens33

# --- node-1
ip -n minik-minik-node-1 link set dev lo up
ip -n minik-minik-node-1 address add 10.1.10.9/24 broadcast 10.1.10.255 dev ens33
ip -n minik-minik-node-1 link set dev ens33 up
ip -n minik-minik-node-1 address add 10.100.84.128/32 dev tunl0
ip -n minik-minik-node-1 link set dev tunl0 up
ip netns exec minik-minik-node-1 sysctl -qw net.ipv4.conf.cali14de3927136.proxy_arp=1
ip netns exec minik-minik-node-1 sysctl -qw net.ipv4.conf.cali14de3927136.forwarding=1
ip netns exec minik-minik-node-1 sysctl -qw net.ipv4.conf.cali14de3927136.route_localnet=1
ip netns exec minik-minik-node-1 sysctl -qw net.ipv4.neigh.cali14de3927136.proxy_delay=0
ip -n minik-minik-node-1 link set dev cali14de3927136 up
ip netns exec minik-minik-node-1 sysctl -qw net.ipv4.conf.cali84261f2dfa9.proxy_arp=1
ip netns exec minik-minik-node-1 sysctl -qw net.ipv4.conf.cali84261f2dfa9.forwarding=1
ip netns exec minik-minik-node-1 sysctl -qw net.ipv4.conf.cali84261f2dfa9.route_localnet=1
ip netns exec minik-minik-node-1 sysctl -qw net.ipv4.neigh.cali84261f2dfa9.proxy_delay=0
ip -n minik-minik-node-1 link set dev cali84261f2dfa9 up
ip -n minik-minik-node-1 route add default via 10.1.10.2 dev ens33
ip -n minik-minik-node-1 route add blackhole 10.100.84.128/26 proto bird
ip -n minik-minik-node-1 route add 10.100.84.129 dev cali14de3927136 scope link
ip -n minik-minik-node-1 route add 10.100.84.130 dev cali84261f2dfa9 scope link
ip -n minik-minik-node-1 route add 10.100.247.0/26 via 10.1.10.10 dev tunl0 proto bird onlink
ip netns exec minik-minik-node-1 ipset restore <<'END'
create cali40all-hosts-net hash:net family inet hashsize 1024 maxelem 1048576
add cali40all-hosts-net 10.1.10.9
add cali40all-hosts-net 10.1.10.10
create cali40all-ipam-pools hash:net family inet hashsize 1024 maxelem 1048576
add cali40all-ipam-pools 10.100.0.0/16
create cali40masq-ipam-pools hash:net family inet hashsize 1024 maxelem 1048576
add cali40masq-ipam-pools 10.100.0.0/16
create cali40this-host hash:ip family inet hashsize 1024 maxelem 1048576
add cali40this-host 10.1.10.9
add cali40this-host 10.100.84.128
add cali40this-host 127.0.0.0
add cali40this-host 127.0.0.1
END
ip netns exec minik-minik-node-1 iptables-restore <<'END'
*raw
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:cali-OUTPUT - [0:0]
:cali-PREROUTING - [0:0]
:cali-from-host-endpoint - [0:0]
:cali-to-host-endpoint - [0:0]
-A PREROUTING -m comment --comment "cali:6gwbT8clXdHdC1b1" -j cali-PREROUTING
-A OUTPUT -m comment --comment "cali:tVnHkvAo15HuiPy0" -j cali-OUTPUT
-A cali-OUTPUT -m comment --comment "cali:njdnLwYeGqBJyMxW" -j MARK --set-xmark 0x0/0xf0000
-A cali-OUTPUT -m comment --comment "cali:rz86uTUcEZAfFsh7" -j cali-to-host-endpoint
-A cali-OUTPUT -m comment --comment "cali:pN0F5zD0b8yf9W1Z" -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-PREROUTING -m comment --comment "cali:XFX5xbM8B9qR10JG" -j MARK --set-xmark 0x0/0xf0000
-A cali-PREROUTING -i cali+ -m comment --comment "cali:EWMPb0zVROM-woQp" -j MARK --set-xmark 0x40000/0x40000
-A cali-PREROUTING -m comment --comment "cali:V6ooGP15glg7wm91" -m mark --mark 0x40000/0x40000 -m rpfilter --invert -j DROP
-A cali-PREROUTING -m comment --comment "cali:RMTzKqp0j735XfY4" -m mark --mark 0x0/0x40000 -j cali-from-host-endpoint
-A cali-PREROUTING -m comment --comment "cali:T8-Zfumo2dKygI73" -m mark --mark 0x10000/0x10000 -j ACCEPT
COMMIT
*mangle
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:cali-POSTROUTING - [0:0]
:cali-PREROUTING - [0:0]
:cali-from-host-endpoint - [0:0]
:cali-to-host-endpoint - [0:0]
-A PREROUTING -m comment --comment "cali:6gwbT8clXdHdC1b1" -j cali-PREROUTING
-A POSTROUTING -m comment --comment "cali:O3lYWMrLQYEMJtB5" -j cali-POSTROUTING
-A cali-POSTROUTING -m comment --comment "cali:NX-7roTexQ3fGRfU" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-POSTROUTING -m comment --comment "cali:nnqPh8lh2VOogSzX" -j MARK --set-xmark 0x0/0xf0000
-A cali-POSTROUTING -m comment --comment "cali:nquN8Jw8Tz72pcBW" -m conntrack --ctstate DNAT -j cali-to-host-endpoint
-A cali-POSTROUTING -m comment --comment "cali:jWrgvDQ0xEZHmta3" -m comment --comment "Host endpoint policy accepted packet." -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-PREROUTING -m comment --comment "cali:6BJqBjBC7crtA-7-" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-PREROUTING -m comment --comment "cali:KX7AGNd6rMcDUai6" -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-PREROUTING -m comment --comment "cali:wNH7KsA3ILKJBsY9" -j cali-from-host-endpoint
-A cali-PREROUTING -m comment --comment "cali:Cg96MgVuoPm7UMRo" -m comment --comment "Host endpoint policy accepted packet." -m mark --mark 0x10000/0x10000 -j ACCEPT
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:cali-OUTPUT - [0:0]
:cali-POSTROUTING - [0:0]
:cali-PREROUTING - [0:0]
:cali-fip-dnat - [0:0]
:cali-fip-snat - [0:0]
:cali-nat-outgoing - [0:0]
-A PREROUTING -m comment --comment "cali:6gwbT8clXdHdC1b1" -j cali-PREROUTING
-A OUTPUT -m comment --comment "cali:tVnHkvAo15HuiPy0" -j cali-OUTPUT
-A POSTROUTING -m comment --comment "cali:O3lYWMrLQYEMJtB5" -j cali-POSTROUTING
-A cali-OUTPUT -m comment --comment "cali:GBTAv2p5CwevEyJm" -j cali-fip-dnat
-A cali-POSTROUTING -m comment --comment "cali:Z-c7XtVd2Bq7s_hA" -j cali-fip-snat
-A cali-POSTROUTING -m comment --comment "cali:nYKhEzDlr11Jccal" -j cali-nat-outgoing
-A cali-POSTROUTING -o tunl0 -m comment --comment "cali:JHlpT-eSqR1TvyYm" -m addrtype ! --src-type LOCAL --limit-iface-out -m addrtype --src-type LOCAL -j MASQUERADE
-A cali-PREROUTING -m comment --comment "cali:r6XmIziWUJsdOK6Z" -j cali-fip-dnat
-A cali-nat-outgoing -m comment --comment "cali:Dw4T8UWPnCLxRJiI" -m set --match-set cali40masq-ipam-pools src -m set ! --match-set cali40all-ipam-pools dst -j MASQUERADE
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:cali-FORWARD - [0:0]
:cali-INPUT - [0:0]
:cali-OUTPUT - [0:0]
:cali-cidr-block - [0:0]
:cali-from-hep-forward - [0:0]
:cali-from-host-endpoint - [0:0]
:cali-from-wl-dispatch - [0:0]
:cali-fw-cali14de3927136 - [0:0]
:cali-fw-cali84261f2dfa9 - [0:0]
:cali-pri-kns.default - [0:0]
:cali-pri-ksa.default.default - [0:0]
:cali-pro-kns.default - [0:0]
:cali-pro-ksa.default.default - [0:0]
:cali-to-hep-forward - [0:0]
:cali-to-host-endpoint - [0:0]
:cali-to-wl-dispatch - [0:0]
:cali-tw-cali14de3927136 - [0:0]
:cali-tw-cali84261f2dfa9 - [0:0]
:cali-wl-to-host - [0:0]
-A INPUT -m comment --comment "cali:Cz_u1IQiXIMmKD4c" -j cali-INPUT
-A FORWARD -m comment --comment "cali:wUHhoiAYhphO9Mso" -j cali-FORWARD
-A FORWARD -m comment --comment "cali:S93hcgKJrXEqnTfs" -m comment --comment "Policy explicitly accepted packet." -m mark --mark 0x10000/0x10000 -j ACCEPT
-A FORWARD -m comment --comment "cali:mp77cMpurHhyjLrM" -j MARK --set-xmark 0x10000/0x10000
-A OUTPUT -m comment --comment "cali:tVnHkvAo15HuiPy0" -j cali-OUTPUT
-A cali-FORWARD -m comment --comment "cali:vjrMJCRpqwy5oRoX" -j MARK --set-xmark 0x0/0xe0000
-A cali-FORWARD -m comment --comment "cali:A_sPAO0mcxbT9mOV" -m mark --mark 0x0/0x10000 -j cali-from-hep-forward
-A cali-FORWARD -i cali+ -m comment --comment "cali:8ZoYfO5HKXWbB3pk" -j cali-from-wl-dispatch
-A cali-FORWARD -o cali+ -m comment --comment "cali:jdEuaPBe14V2hutn" -j cali-to-wl-dispatch
-A cali-FORWARD -m comment --comment "cali:12bc6HljsMKsmfr-" -j cali-to-hep-forward
-A cali-FORWARD -m comment --comment "cali:NOSxoaGx8OIstr1z" -j cali-cidr-block
-A cali-INPUT -p 4 -m comment --comment "cali:PajejrV4aFdkZojI" -m comment --comment "Allow IPIP packets from Calico hosts" -m set --match-set cali40all-hosts-net src -m addrtype --dst-type LOCAL -j ACCEPT
-A cali-INPUT -p 4 -m comment --comment "cali:_wjq-Yrma8Ly1Svo" -m comment --comment "Drop IPIP packets from non-Calico hosts" -j DROP
-A cali-INPUT -i cali+ -m comment --comment "cali:8TZGxLWh_Eiz66wc" -g cali-wl-to-host
-A cali-INPUT -m comment --comment "cali:6McIeIDvPdL6PE1T" -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-INPUT -m comment --comment "cali:YGPbrUms7NId8xVa" -j MARK --set-xmark 0x0/0xf0000
-A cali-INPUT -m comment --comment "cali:2gmY7Bg2i0i84Wk_" -j cali-from-host-endpoint
-A cali-INPUT -m comment --comment "cali:q-Vz2ZT9iGE331LL" -m comment --comment "Host endpoint policy accepted packet." -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-OUTPUT -m comment --comment "cali:Mq1_rAdXXH3YkrzW" -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-OUTPUT -o cali+ -m comment --comment "cali:69FkRTJDvD5Vu6Vl" -j RETURN
-A cali-OUTPUT -p 4 -m comment --comment "cali:AnEsmO6bDZbQntWW" -m comment --comment "Allow IPIP packets to other Calico hosts" -m set --match-set cali40all-hosts-net dst -m addrtype --src-type LOCAL -j ACCEPT
-A cali-OUTPUT -m comment --comment "cali:9e9Uf3GU5tX--Lxy" -j MARK --set-xmark 0x0/0xf0000
-A cali-OUTPUT -m comment --comment "cali:0f3LDz_VKuHFaA2K" -m conntrack ! --ctstate DNAT -j cali-to-host-endpoint
-A cali-OUTPUT -m comment --comment "cali:OgU2f8BVEAZ_fwkq" -m comment --comment "Host endpoint policy accepted packet." -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-from-wl-dispatch -i cali14de3927136 -m comment --comment "cali:RishFcNOvDQSvZ0v" -g cali-fw-cali14de3927136
-A cali-from-wl-dispatch -i cali84261f2dfa9 -m comment --comment "cali:JiVta3N72rNd4E7J" -g cali-fw-cali84261f2dfa9
-A cali-from-wl-dispatch -m comment --comment "cali:9Puf3zeMLsZDRLwq" -m comment --comment "Unknown interface" -j DROP
-A cali-fw-cali14de3927136 -m comment --comment "cali:p0jcliOO1eE7RIUl" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-fw-cali14de3927136 -m comment --comment "cali:2KgT68F3Kdhl4bfP" -m conntrack --ctstate INVALID -j DROP
-A cali-fw-cali14de3927136 -m comment --comment "cali:JmWJSav2xYLo55mr" -j MARK --set-xmark 0x0/0x10000
-A cali-fw-cali14de3927136 -p udp -m comment --comment "cali:7dD7ZAaof-K7JYFk" -m comment --comment "Drop VXLAN encapped packets originating in workloads" -m multiport --dports 4789 -j DROP
-A cali-fw-cali14de3927136 -p 4 -m comment --comment "cali:e40qst8qt0cS8gL1" -m comment --comment "Drop IPinIP encapped packets originating in workloads" -j DROP
-A cali-fw-cali14de3927136 -m comment --comment "cali:Fy3H9dNRmyCbPFGj" -j cali-pro-kns.default
-A cali-fw-cali14de3927136 -m comment --comment "cali:Dvg6aaNef3gIZCMo" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-fw-cali14de3927136 -m comment --comment "cali:OG5J2nhYBaZUTNwI" -j cali-pro-ksa.default.default
-A cali-fw-cali14de3927136 -m comment --comment "cali:4ZDUxsPwixtbH9kz" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-fw-cali14de3927136 -m comment --comment "cali:suvHrZt_9l9Mk3Xj" -m comment --comment "Drop if no profiles matched" -j DROP
-A cali-fw-cali84261f2dfa9 -m comment --comment "cali:c7_8tC7Yr294FAlw" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-fw-cali84261f2dfa9 -m comment --comment "cali:Vmqj5UlVSqtpljmg" -m conntrack --ctstate INVALID -j DROP
-A cali-fw-cali84261f2dfa9 -m comment --comment "cali:p5yOmCzzMaa8A_T7" -j MARK --set-xmark 0x0/0x10000
-A cali-fw-cali84261f2dfa9 -p udp -m comment --comment "cali:IDnRXMc0hVpkJP-p" -m comment --comment "Drop VXLAN encapped packets originating in workloads" -m multiport --dports 4789 -j DROP
-A cali-fw-cali84261f2dfa9 -p 4 -m comment --comment "cali:vm3OU4JFFM2pkYdK" -m comment --comment "Drop IPinIP encapped packets originating in workloads" -j DROP
-A cali-fw-cali84261f2dfa9 -m comment --comment "cali:1uYUV7qRcRZkcKuG" -j cali-pro-kns.default
-A cali-fw-cali84261f2dfa9 -m comment --comment "cali:lnSAt-l51Ls8aMgn" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-fw-cali84261f2dfa9 -m comment --comment "cali:n2k0CW3ivDTz85x-" -j cali-pro-ksa.default.default
-A cali-fw-cali84261f2dfa9 -m comment --comment "cali:8H-FauLa7ueWR5si" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-fw-cali84261f2dfa9 -m comment --comment "cali:V-tJfQUtg-xxm3_y" -m comment --comment "Drop if no profiles matched" -j DROP
-A cali-pri-kns.default -m comment --comment "cali:7Fnh7Pv3_98FtLW7" -j MARK --set-xmark 0x10000/0x10000
-A cali-pri-kns.default -m comment --comment "cali:ZbV6bJXWSRefjK0u" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-pro-kns.default -m comment --comment "cali:oLzzje5WExbgfib5" -j MARK --set-xmark 0x10000/0x10000
-A cali-pro-kns.default -m comment --comment "cali:4goskqvxh5xcGw3s" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-to-wl-dispatch -o cali14de3927136 -m comment --comment "cali:W0p1X7HAZ9JV_jqn" -g cali-tw-cali14de3927136
-A cali-to-wl-dispatch -o cali84261f2dfa9 -m comment --comment "cali:Lck78osOuFPErQjI" -g cali-tw-cali84261f2dfa9
-A cali-to-wl-dispatch -m comment --comment "cali:E71k-OdKztSlSInG" -m comment --comment "Unknown interface" -j DROP
-A cali-tw-cali14de3927136 -m comment --comment "cali:DbIuemPpML1euy4I" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-tw-cali14de3927136 -m comment --comment "cali:RIpjNRvLBQERK4aS" -m conntrack --ctstate INVALID -j DROP
-A cali-tw-cali14de3927136 -m comment --comment "cali:3ALUB6dXr1xhNq9P" -j MARK --set-xmark 0x0/0x10000
-A cali-tw-cali14de3927136 -m comment --comment "cali:lefCwiyP5BChn_sC" -j cali-pri-kns.default
-A cali-tw-cali14de3927136 -m comment --comment "cali:AIs0yvKBcXU2v3z9" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-tw-cali14de3927136 -m comment --comment "cali:f5fyI_Wp-Ag4nu4m" -j cali-pri-ksa.default.default
-A cali-tw-cali14de3927136 -m comment --comment "cali:G3dwt921ZF2OHJ2p" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-tw-cali14de3927136 -m comment --comment "cali:iooo8KDJ9S06fJ9U" -m comment --comment "Drop if no profiles matched" -j DROP
-A cali-tw-cali84261f2dfa9 -m comment --comment "cali:hD3xNggYEt6wZ68j" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-tw-cali84261f2dfa9 -m comment --comment "cali:WUWW0UX8rCxD3w-S" -m conntrack --ctstate INVALID -j DROP
-A cali-tw-cali84261f2dfa9 -m comment --comment "cali:dmCAhiFYEskSvmjO" -j MARK --set-xmark 0x0/0x10000
-A cali-tw-cali84261f2dfa9 -m comment --comment "cali:-bU3yyLZ4AKKcErr" -j cali-pri-kns.default
-A cali-tw-cali84261f2dfa9 -m comment --comment "cali:X0FA5iSUJY25-1Xy" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-tw-cali84261f2dfa9 -m comment --comment "cali:t6vU62c-fhTa9RlA" -j cali-pri-ksa.default.default
-A cali-tw-cali84261f2dfa9 -m comment --comment "cali:ej8v7vyDVsBJs1dQ" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-tw-cali84261f2dfa9 -m comment --comment "cali:eAX1Y5qE3yv3y10H" -m comment --comment "Drop if no profiles matched" -j DROP
-A cali-wl-to-host -m comment --comment "cali:Ee9Sbo10IpVujdIY" -j cali-from-wl-dispatch
-A cali-wl-to-host -m comment --comment "cali:nSZbcOoG1xPONxb8" -m comment --comment "Configured DefaultEndpointToHostAction" -j ACCEPT
COMMIT
END

# --- node-2
ip -n minik-minik-node-2 link set dev lo up
ip -n minik-minik-node-2 address add 10.1.10.10/24 broadcast 10.1.10.255 dev ens33
ip -n minik-minik-node-2 link set dev ens33 up
ip -n minik-minik-node-2 address add 10.100.247.0/32 dev tunl0
ip -n minik-minik-node-2 link set dev tunl0 up
ip netns exec minik-minik-node-2 sysctl -qw net.ipv4.conf.cali813929a4a7b.proxy_arp=1
ip netns exec minik-minik-node-2 sysctl -qw net.ipv4.conf.cali813929a4a7b.forwarding=1
ip netns exec minik-minik-node-2 sysctl -qw net.ipv4.conf.cali813929a4a7b.route_localnet=1
ip netns exec minik-minik-node-2 sysctl -qw net.ipv4.neigh.cali813929a4a7b.proxy_delay=0
ip -n minik-minik-node-2 link set dev cali813929a4a7b up
ip netns exec minik-minik-node-2 sysctl -qw net.ipv4.conf.calieb588c579e3.proxy_arp=1
ip netns exec minik-minik-node-2 sysctl -qw net.ipv4.conf.calieb588c579e3.forwarding=1
ip netns exec minik-minik-node-2 sysctl -qw net.ipv4.conf.calieb588c579e3.route_localnet=1
ip netns exec minik-minik-node-2 sysctl -qw net.ipv4.neigh.calieb588c579e3.proxy_delay=0
ip -n minik-minik-node-2 link set dev calieb588c579e3 up
ip -n minik-minik-node-2 route add default via 10.1.10.2 dev ens33
ip -n minik-minik-node-2 route add 10.100.84.128/26 via 10.1.10.9 dev tunl0 proto bird onlink
ip -n minik-minik-node-2 route add blackhole 10.100.247.0/26 proto bird
ip -n minik-minik-node-2 route add 10.100.247.1 dev cali813929a4a7b scope link
ip -n minik-minik-node-2 route add 10.100.247.2 dev calieb588c579e3 scope link
ip netns exec minik-minik-node-2 ipset restore <<'END'
create cali40all-hosts-net hash:net family inet hashsize 1024 maxelem 1048576
add cali40all-hosts-net 10.1.10.9
add cali40all-hosts-net 10.1.10.10
create cali40all-ipam-pools hash:net family inet hashsize 1024 maxelem 1048576
add cali40all-ipam-pools 10.100.0.0/16
create cali40masq-ipam-pools hash:net family inet hashsize 1024 maxelem 1048576
add cali40masq-ipam-pools 10.100.0.0/16
create cali40this-host hash:ip family inet hashsize 1024 maxelem 1048576
add cali40this-host 10.1.10.10
add cali40this-host 10.100.247.0
add cali40this-host 127.0.0.0
add cali40this-host 127.0.0.1
END
ip netns exec minik-minik-node-2 iptables-restore <<'END'
*raw
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:cali-OUTPUT - [0:0]
:cali-PREROUTING - [0:0]
:cali-from-host-endpoint - [0:0]
:cali-to-host-endpoint - [0:0]
-A PREROUTING -m comment --comment "cali:6gwbT8clXdHdC1b1" -j cali-PREROUTING
-A OUTPUT -m comment --comment "cali:tVnHkvAo15HuiPy0" -j cali-OUTPUT
-A cali-OUTPUT -m comment --comment "cali:njdnLwYeGqBJyMxW" -j MARK --set-xmark 0x0/0xf0000
-A cali-OUTPUT -m comment --comment "cali:rz86uTUcEZAfFsh7" -j cali-to-host-endpoint
-A cali-OUTPUT -m comment --comment "cali:pN0F5zD0b8yf9W1Z" -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-PREROUTING -m comment --comment "cali:XFX5xbM8B9qR10JG" -j MARK --set-xmark 0x0/0xf0000
-A cali-PREROUTING -i cali+ -m comment --comment "cali:EWMPb0zVROM-woQp" -j MARK --set-xmark 0x40000/0x40000
-A cali-PREROUTING -m comment --comment "cali:V6ooGP15glg7wm91" -m mark --mark 0x40000/0x40000 -m rpfilter --invert -j DROP
-A cali-PREROUTING -m comment --comment "cali:RMTzKqp0j735XfY4" -m mark --mark 0x0/0x40000 -j cali-from-host-endpoint
-A cali-PREROUTING -m comment --comment "cali:T8-Zfumo2dKygI73" -m mark --mark 0x10000/0x10000 -j ACCEPT
COMMIT
*mangle
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:cali-POSTROUTING - [0:0]
:cali-PREROUTING - [0:0]
:cali-from-host-endpoint - [0:0]
:cali-to-host-endpoint - [0:0]
-A PREROUTING -m comment --comment "cali:6gwbT8clXdHdC1b1" -j cali-PREROUTING
-A POSTROUTING -m comment --comment "cali:O3lYWMrLQYEMJtB5" -j cali-POSTROUTING
-A cali-POSTROUTING -m comment --comment "cali:NX-7roTexQ3fGRfU" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-POSTROUTING -m comment --comment "cali:nnqPh8lh2VOogSzX" -j MARK --set-xmark 0x0/0xf0000
-A cali-POSTROUTING -m comment --comment "cali:nquN8Jw8Tz72pcBW" -m conntrack --ctstate DNAT -j cali-to-host-endpoint
-A cali-POSTROUTING -m comment --comment "cali:jWrgvDQ0xEZHmta3" -m comment --comment "Host endpoint policy accepted packet." -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-PREROUTING -m comment --comment "cali:6BJqBjBC7crtA-7-" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-PREROUTING -m comment --comment "cali:KX7AGNd6rMcDUai6" -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-PREROUTING -m comment --comment "cali:wNH7KsA3ILKJBsY9" -j cali-from-host-endpoint
-A cali-PREROUTING -m comment --comment "cali:Cg96MgVuoPm7UMRo" -m comment --comment "Host endpoint policy accepted packet." -m mark --mark 0x10000/0x10000 -j ACCEPT
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:cali-OUTPUT - [0:0]
:cali-POSTROUTING - [0:0]
:cali-PREROUTING - [0:0]
:cali-fip-dnat - [0:0]
:cali-fip-snat - [0:0]
:cali-nat-outgoing - [0:0]
-A PREROUTING -m comment --comment "cali:6gwbT8clXdHdC1b1" -j cali-PREROUTING
-A OUTPUT -m comment --comment "cali:tVnHkvAo15HuiPy0" -j cali-OUTPUT
-A POSTROUTING -m comment --comment "cali:O3lYWMrLQYEMJtB5" -j cali-POSTROUTING
-A cali-OUTPUT -m comment --comment "cali:GBTAv2p5CwevEyJm" -j cali-fip-dnat
-A cali-POSTROUTING -m comment --comment "cali:Z-c7XtVd2Bq7s_hA" -j cali-fip-snat
-A cali-POSTROUTING -m comment --comment "cali:nYKhEzDlr11Jccal" -j cali-nat-outgoing
-A cali-POSTROUTING -o tunl0 -m comment --comment "cali:JHlpT-eSqR1TvyYm" -m addrtype ! --src-type LOCAL --limit-iface-out -m addrtype --src-type LOCAL -j MASQUERADE
-A cali-PREROUTING -m comment --comment "cali:r6XmIziWUJsdOK6Z" -j cali-fip-dnat
-A cali-nat-outgoing -m comment --comment "cali:Dw4T8UWPnCLxRJiI" -m set --match-set cali40masq-ipam-pools src -m set ! --match-set cali40all-ipam-pools dst -j MASQUERADE
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:cali-FORWARD - [0:0]
:cali-INPUT - [0:0]
:cali-OUTPUT - [0:0]
:cali-cidr-block - [0:0]
:cali-from-hep-forward - [0:0]
:cali-from-host-endpoint - [0:0]
:cali-from-wl-dispatch - [0:0]
:cali-fw-cali813929a4a7b - [0:0]
:cali-fw-calieb588c579e3 - [0:0]
:cali-pri-kns.default - [0:0]
:cali-pri-ksa.default.default - [0:0]
:cali-pro-kns.default - [0:0]
:cali-pro-ksa.default.default - [0:0]
:cali-to-hep-forward - [0:0]
:cali-to-host-endpoint - [0:0]
:cali-to-wl-dispatch - [0:0]
:cali-tw-cali813929a4a7b - [0:0]
:cali-tw-calieb588c579e3 - [0:0]
:cali-wl-to-host - [0:0]
-A INPUT -m comment --comment "cali:Cz_u1IQiXIMmKD4c" -j cali-INPUT
-A FORWARD -m comment --comment "cali:wUHhoiAYhphO9Mso" -j cali-FORWARD
-A FORWARD -m comment --comment "cali:S93hcgKJrXEqnTfs" -m comment --comment "Policy explicitly accepted packet." -m mark --mark 0x10000/0x10000 -j ACCEPT
-A FORWARD -m comment --comment "cali:mp77cMpurHhyjLrM" -j MARK --set-xmark 0x10000/0x10000
-A OUTPUT -m comment --comment "cali:tVnHkvAo15HuiPy0" -j cali-OUTPUT
-A cali-FORWARD -m comment --comment "cali:vjrMJCRpqwy5oRoX" -j MARK --set-xmark 0x0/0xe0000
-A cali-FORWARD -m comment --comment "cali:A_sPAO0mcxbT9mOV" -m mark --mark 0x0/0x10000 -j cali-from-hep-forward
-A cali-FORWARD -i cali+ -m comment --comment "cali:8ZoYfO5HKXWbB3pk" -j cali-from-wl-dispatch
-A cali-FORWARD -o cali+ -m comment --comment "cali:jdEuaPBe14V2hutn" -j cali-to-wl-dispatch
-A cali-FORWARD -m comment --comment "cali:12bc6HljsMKsmfr-" -j cali-to-hep-forward
-A cali-FORWARD -m comment --comment "cali:NOSxoaGx8OIstr1z" -j cali-cidr-block
-A cali-INPUT -p 4 -m comment --comment "cali:PajejrV4aFdkZojI" -m comment --comment "Allow IPIP packets from Calico hosts" -m set --match-set cali40all-hosts-net src -m addrtype --dst-type LOCAL -j ACCEPT
-A cali-INPUT -p 4 -m comment --comment "cali:_wjq-Yrma8Ly1Svo" -m comment --comment "Drop IPIP packets from non-Calico hosts" -j DROP
-A cali-INPUT -i cali+ -m comment --comment "cali:8TZGxLWh_Eiz66wc" -g cali-wl-to-host
-A cali-INPUT -m comment --comment "cali:6McIeIDvPdL6PE1T" -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-INPUT -m comment --comment "cali:YGPbrUms7NId8xVa" -j MARK --set-xmark 0x0/0xf0000
-A cali-INPUT -m comment --comment "cali:2gmY7Bg2i0i84Wk_" -j cali-from-host-endpoint
-A cali-INPUT -m comment --comment "cali:q-Vz2ZT9iGE331LL" -m comment --comment "Host endpoint policy accepted packet." -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-OUTPUT -m comment --comment "cali:Mq1_rAdXXH3YkrzW" -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-OUTPUT -o cali+ -m comment --comment "cali:69FkRTJDvD5Vu6Vl" -j RETURN
-A cali-OUTPUT -p 4 -m comment --comment "cali:AnEsmO6bDZbQntWW" -m comment --comment "Allow IPIP packets to other Calico hosts" -m set --match-set cali40all-hosts-net dst -m addrtype --src-type LOCAL -j ACCEPT
-A cali-OUTPUT -m comment --comment "cali:9e9Uf3GU5tX--Lxy" -j MARK --set-xmark 0x0/0xf0000
-A cali-OUTPUT -m comment --comment "cali:0f3LDz_VKuHFaA2K" -m conntrack ! --ctstate DNAT -j cali-to-host-endpoint
-A cali-OUTPUT -m comment --comment "cali:OgU2f8BVEAZ_fwkq" -m comment --comment "Host endpoint policy accepted packet." -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-from-wl-dispatch -i cali813929a4a7b -m comment --comment "cali:fXPgLfKgBzBD2nxJ" -g cali-fw-cali813929a4a7b
-A cali-from-wl-dispatch -i calieb588c579e3 -m comment --comment "cali:oCJM65725REFYofW" -g cali-fw-calieb588c579e3
-A cali-from-wl-dispatch -m comment --comment "cali:pwmu101O0cFRzHpz" -m comment --comment "Unknown interface" -j DROP
-A cali-fw-cali813929a4a7b -m comment --comment "cali:leH_vQEpjBIXNVuU" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-fw-cali813929a4a7b -m comment --comment "cali:6MWgPTYQU-guhAhr" -m conntrack --ctstate INVALID -j DROP
-A cali-fw-cali813929a4a7b -m comment --comment "cali:qykrWSJQ_V6RGiNt" -j MARK --set-xmark 0x0/0x10000
-A cali-fw-cali813929a4a7b -p udp -m comment --comment "cali:ag8LbqFRtBx6K_PX" -m comment --comment "Drop VXLAN encapped packets originating in workloads" -m multiport --dports 4789 -j DROP
-A cali-fw-cali813929a4a7b -p 4 -m comment --comment "cali:eOD-x39CZ4WrMhfH" -m comment --comment "Drop IPinIP encapped packets originating in workloads" -j DROP
-A cali-fw-cali813929a4a7b -m comment --comment "cali:ZU8Od-l5atyVMnIK" -j cali-pro-kns.default
-A cali-fw-cali813929a4a7b -m comment --comment "cali:T9I_Lk3I3qdUHvR0" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-fw-cali813929a4a7b -m comment --comment "cali:FLH1feaTMMEYb0Sy" -j cali-pro-ksa.default.default
-A cali-fw-cali813929a4a7b -m comment --comment "cali:NnEArKi6FTz0INqr" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-fw-cali813929a4a7b -m comment --comment "cali:WjBmVgSGrUgsySTI" -m comment --comment "Drop if no profiles matched" -j DROP
-A cali-fw-calieb588c579e3 -m comment --comment "cali:u-9DOKjACAVcZ3gn" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-fw-calieb588c579e3 -m comment --comment "cali:1gUXVZ5wNskTTC6S" -m conntrack --ctstate INVALID -j DROP
-A cali-fw-calieb588c579e3 -m comment --comment "cali:3bzA-b6Yp6lE6X1d" -j MARK --set-xmark 0x0/0x10000
-A cali-fw-calieb588c579e3 -p udp -m comment --comment "cali:aScheY-9K1HUnerE" -m comment --comment "Drop VXLAN encapped packets originating in workloads" -m multiport --dports 4789 -j DROP
-A cali-fw-calieb588c579e3 -p 4 -m comment --comment "cali:9Gw1e1MLJZtwJqOa" -m comment --comment "Drop IPinIP encapped packets originating in workloads" -j DROP
-A cali-fw-calieb588c579e3 -m comment --comment "cali:U43kXoltlF4ybxRA" -j cali-pro-kns.default
-A cali-fw-calieb588c579e3 -m comment --comment "cali:gGeoB3P7xVQbTzDC" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-fw-calieb588c579e3 -m comment --comment "cali:XTRpGBzHeHKGn5JE" -j cali-pro-ksa.default.default
-A cali-fw-calieb588c579e3 -m comment --comment "cali:5WK1peOf8aI-mANd" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-fw-calieb588c579e3 -m comment --comment "cali:uv1grQxY8vZowSBG" -m comment --comment "Drop if no profiles matched" -j DROP
-A cali-pri-kns.default -m comment --comment "cali:7Fnh7Pv3_98FtLW7" -j MARK --set-xmark 0x10000/0x10000
-A cali-pri-kns.default -m comment --comment "cali:ZbV6bJXWSRefjK0u" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-pro-kns.default -m comment --comment "cali:oLzzje5WExbgfib5" -j MARK --set-xmark 0x10000/0x10000
-A cali-pro-kns.default -m comment --comment "cali:4goskqvxh5xcGw3s" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-to-wl-dispatch -o cali813929a4a7b -m comment --comment "cali:tGtHZGC0CAaLAiAB" -g cali-tw-cali813929a4a7b
-A cali-to-wl-dispatch -o calieb588c579e3 -m comment --comment "cali:Cz51bLUs9K2sKOKZ" -g cali-tw-calieb588c579e3
-A cali-to-wl-dispatch -m comment --comment "cali:k29b88b3mkOgEFKS" -m comment --comment "Unknown interface" -j DROP
-A cali-tw-cali813929a4a7b -m comment --comment "cali:LwquxUiONs_oAyzD" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-tw-cali813929a4a7b -m comment --comment "cali:ftAwu7UsBKb8rp9b" -m conntrack --ctstate INVALID -j DROP
-A cali-tw-cali813929a4a7b -m comment --comment "cali:GfohWx-oawuP8u1x" -j MARK --set-xmark 0x0/0x10000
-A cali-tw-cali813929a4a7b -m comment --comment "cali:CgKKN8ECrqsvn9_J" -j cali-pri-kns.default
-A cali-tw-cali813929a4a7b -m comment --comment "cali:Wn0YVYCYItwhUZy8" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-tw-cali813929a4a7b -m comment --comment "cali:uNxj8ba2lq4Ijif6" -j cali-pri-ksa.default.default
-A cali-tw-cali813929a4a7b -m comment --comment "cali:c-DBmj3_0aeBkJhW" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-tw-cali813929a4a7b -m comment --comment "cali:cayBQeZAKqIYXd61" -m comment --comment "Drop if no profiles matched" -j DROP
-A cali-tw-calieb588c579e3 -m comment --comment "cali:6GnA7_lL8upKu69E" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-tw-calieb588c579e3 -m comment --comment "cali:K-i1FPSexjmkvwvk" -m conntrack --ctstate INVALID -j DROP
-A cali-tw-calieb588c579e3 -m comment --comment "cali:J7YTXpeWuer9uYLd" -j MARK --set-xmark 0x0/0x10000
-A cali-tw-calieb588c579e3 -m comment --comment "cali:2vT5n3WV1hmN-lzi" -j cali-pri-kns.default
-A cali-tw-calieb588c579e3 -m comment --comment "cali:EHA21xVMoAKdz15_" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-tw-calieb588c579e3 -m comment --comment "cali:m4jFO4SsQFp76nxl" -j cali-pri-ksa.default.default
-A cali-tw-calieb588c579e3 -m comment --comment "cali:oFx0a0EWxBJyaNuu" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-tw-calieb588c579e3 -m comment --comment "cali:HGtz65BsnxYmu2Vx" -m comment --comment "Drop if no profiles matched" -j DROP
-A cali-wl-to-host -m comment --comment "cali:Ee9Sbo10IpVujdIY" -j cali-from-wl-dispatch
-A cali-wl-to-host -m comment --comment "cali:nSZbcOoG1xPONxb8" -m comment --comment "Configured DefaultEndpointToHostAction" -j ACCEPT
COMMIT
END

# --- default/test-7999578869-kx4hp
ip -n minik-minik-default-test-7999578869-kx4hp link set dev lo up
ip -n minik-minik-default-test-7999578869-kx4hp address add 10.100.84.129/32 broadcast 10.100.84.129 dev eth0
ip -n minik-minik-default-test-7999578869-kx4hp link set dev eth0 up
ip -n minik-minik-default-test-7999578869-kx4hp route add 169.254.1.1 dev eth0 scope link
ip -n minik-minik-default-test-7999578869-kx4hp route add default via 169.254.1.1 dev eth0

# --- default/test-7999578869-jr2w9
ip -n minik-minik-default-test-7999578869-jr2w9 link set dev lo up
ip -n minik-minik-default-test-7999578869-jr2w9 address add 10.100.247.1/32 broadcast 10.100.247.1 dev eth0
ip -n minik-minik-default-test-7999578869-jr2w9 link set dev eth0 up
ip -n minik-minik-default-test-7999578869-jr2w9 route add 169.254.1.1 dev eth0 scope link
ip -n minik-minik-default-test-7999578869-jr2w9 route add default via 169.254.1.1 dev eth0

# --- default/test-7999578869-xkhlz
ip -n minik-minik-default-test-7999578869-xkhlz link set dev lo up
ip -n minik-minik-default-test-7999578869-xkhlz address add 10.100.247.2/32 broadcast 10.100.247.2 dev eth0
ip -n minik-minik-default-test-7999578869-xkhlz link set dev eth0 up
ip -n minik-minik-default-test-7999578869-xkhlz route add 169.254.1.1 dev eth0 scope link
ip -n minik-minik-default-test-7999578869-xkhlz route add default via 169.254.1.1 dev eth0

# --- default/two-containers
ip -n minik-minik-default-two-containers link set dev lo up
ip -n minik-minik-default-two-containers address add 10.100.84.130/32 broadcast 10.100.84.130 dev eth0
ip -n minik-minik-default-two-containers link set dev eth0 up
ip -n minik-minik-default-two-containers route add 169.254.1.1 dev eth0 scope link
ip -n minik-minik-default-two-containers route add default via 169.254.1.1 dev eth0

# Done. A look around, and the way to remove all of it:
#   ip netns exec minik-minik-default-test-7999578869-kx4hp ip route
#   sh THIS-SCRIPT down
