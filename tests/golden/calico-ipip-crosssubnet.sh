#!/bin/sh
# Builds the network of cluster minik (calico-ipip-crosssubnet) by hand. Made by `minik plan --as shell`.
# Run as root; needs iproute2, procps, ipset and iptables. `down` as argument removes it again.
# Nothing outside of the namespaces named here is touched, but for /etc/netns.
set -eu

NAMESPACES="
minik-minik-switch-rack-a
minik-minik-switch-rack-b
minik-minik-gateway
minik-minik-client
minik-minik-node-1
minik-minik-node-2
minik-minik-node-3
minik-minik-default-test-8664bfcc95-l2ths
minik-minik-default-test-8664bfcc95-b597m
minik-minik-default-test-8664bfcc95-tdp6z
minik-minik-default-test-8664bfcc95-wxgrx
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

# --- Namespaces, with the files that `ip netns exec` shows as /etc
for ns in $NAMESPACES; do
  ip netns add "$ns"
done
mkdir -p /etc/netns/minik-minik-switch-rack-a
cat > /etc/netns/minik-minik-switch-rack-a/hostname <<'END'
switch-rack-a
END
cat > /etc/netns/minik-minik-switch-rack-a/hosts <<'END'
127.0.0.1	localhost
END
cat > /etc/netns/minik-minik-switch-rack-a/resolv.conf <<'END'
# minik: there is no DNS server here
END
mkdir -p /etc/netns/minik-minik-switch-rack-b
cat > /etc/netns/minik-minik-switch-rack-b/hostname <<'END'
switch-rack-b
END
cat > /etc/netns/minik-minik-switch-rack-b/hosts <<'END'
127.0.0.1	localhost
END
cat > /etc/netns/minik-minik-switch-rack-b/resolv.conf <<'END'
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
mkdir -p /etc/netns/minik-minik-node-3
cat > /etc/netns/minik-minik-node-3/hostname <<'END'
node-3
END
cat > /etc/netns/minik-minik-node-3/hosts <<'END'
127.0.0.1	localhost
10.1.20.11	node-3
END
cat > /etc/netns/minik-minik-node-3/resolv.conf <<'END'
# minik: there is no DNS server here
END
mkdir -p /etc/netns/minik-minik-default-test-8664bfcc95-l2ths
cat > /etc/netns/minik-minik-default-test-8664bfcc95-l2ths/hostname <<'END'
test-8664bfcc95-l2ths
END
cat > /etc/netns/minik-minik-default-test-8664bfcc95-l2ths/hosts <<'END'
127.0.0.1	localhost
10.100.84.129	test-8664bfcc95-l2ths
END
cat > /etc/netns/minik-minik-default-test-8664bfcc95-l2ths/resolv.conf <<'END'
# minik: there is no DNS server here
END
mkdir -p /etc/netns/minik-minik-default-test-8664bfcc95-b597m
cat > /etc/netns/minik-minik-default-test-8664bfcc95-b597m/hostname <<'END'
test-8664bfcc95-b597m
END
cat > /etc/netns/minik-minik-default-test-8664bfcc95-b597m/hosts <<'END'
127.0.0.1	localhost
10.100.247.1	test-8664bfcc95-b597m
END
cat > /etc/netns/minik-minik-default-test-8664bfcc95-b597m/resolv.conf <<'END'
# minik: there is no DNS server here
END
mkdir -p /etc/netns/minik-minik-default-test-8664bfcc95-tdp6z
cat > /etc/netns/minik-minik-default-test-8664bfcc95-tdp6z/hostname <<'END'
test-8664bfcc95-tdp6z
END
cat > /etc/netns/minik-minik-default-test-8664bfcc95-tdp6z/hosts <<'END'
127.0.0.1	localhost
10.100.139.65	test-8664bfcc95-tdp6z
END
cat > /etc/netns/minik-minik-default-test-8664bfcc95-tdp6z/resolv.conf <<'END'
# minik: there is no DNS server here
END
mkdir -p /etc/netns/minik-minik-default-test-8664bfcc95-wxgrx
cat > /etc/netns/minik-minik-default-test-8664bfcc95-wxgrx/hostname <<'END'
test-8664bfcc95-wxgrx
END
cat > /etc/netns/minik-minik-default-test-8664bfcc95-wxgrx/hosts <<'END'
127.0.0.1	localhost
10.100.84.130	test-8664bfcc95-wxgrx
END
cat > /etc/netns/minik-minik-default-test-8664bfcc95-wxgrx/resolv.conf <<'END'
# minik: there is no DNS server here
END

# --- Settings that links inherit, so they come before any link
[ ! -d /proc/sys/net/ipv6 ] || ip netns exec minik-minik-switch-rack-a sysctl -qw net.ipv6.conf.all.disable_ipv6=1
[ ! -d /proc/sys/net/bridge ] || ip netns exec minik-minik-switch-rack-a sysctl -qw net.bridge.bridge-nf-call-iptables=0
[ ! -d /proc/sys/net/ipv6 ] || ip netns exec minik-minik-switch-rack-b sysctl -qw net.ipv6.conf.all.disable_ipv6=1
[ ! -d /proc/sys/net/bridge ] || ip netns exec minik-minik-switch-rack-b sysctl -qw net.bridge.bridge-nf-call-iptables=0
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
ip netns exec minik-minik-node-3 sysctl -qw net.ipv4.ip_forward=1
ip netns exec minik-minik-node-3 sysctl -qw net.ipv4.conf.all.rp_filter=0
ip netns exec minik-minik-node-3 sysctl -qw net.ipv4.conf.default.rp_filter=0
[ ! -d /proc/sys/net/ipv6 ] || ip netns exec minik-minik-node-3 sysctl -qw net.ipv6.conf.default.accept_ra=0
ip netns exec minik-minik-default-test-8664bfcc95-l2ths sysctl -qw net.ipv4.ip_forward=0
[ ! -d /proc/sys/net/ipv6 ] || ip netns exec minik-minik-default-test-8664bfcc95-l2ths sysctl -qw net.ipv6.conf.all.disable_ipv6=1
ip netns exec minik-minik-default-test-8664bfcc95-b597m sysctl -qw net.ipv4.ip_forward=0
[ ! -d /proc/sys/net/ipv6 ] || ip netns exec minik-minik-default-test-8664bfcc95-b597m sysctl -qw net.ipv6.conf.all.disable_ipv6=1
ip netns exec minik-minik-default-test-8664bfcc95-tdp6z sysctl -qw net.ipv4.ip_forward=0
[ ! -d /proc/sys/net/ipv6 ] || ip netns exec minik-minik-default-test-8664bfcc95-tdp6z sysctl -qw net.ipv6.conf.all.disable_ipv6=1
ip netns exec minik-minik-default-test-8664bfcc95-wxgrx sysctl -qw net.ipv4.ip_forward=0
[ ! -d /proc/sys/net/ipv6 ] || ip netns exec minik-minik-default-test-8664bfcc95-wxgrx sysctl -qw net.ipv6.conf.all.disable_ipv6=1

# --- Links, each veth pair once, born where it belongs
ip -n minik-minik-switch-rack-a link add br0 address ea:84:cb:7f:0c:f5 mtu 1500 type bridge
ip -n minik-minik-switch-rack-a link add gateway address a6:d7:dc:b8:02:9e mtu 1500 type veth peer name eth0 netns minik-minik-gateway address 2e:57:81:6a:d2:d2 mtu 1500
ip -n minik-minik-switch-rack-a link add client address aa:3b:f4:33:07:b7 mtu 1500 type veth peer name ens33 netns minik-minik-client address f2:23:be:05:0f:59 mtu 1500
ip -n minik-minik-switch-rack-a link add node-1 address be:75:b8:a5:41:b0 mtu 1500 type veth peer name ens33 netns minik-minik-node-1 address aa:ab:3d:d2:ec:b0 mtu 1500
ip -n minik-minik-switch-rack-a link add node-2 address fe:1c:a1:c1:63:17 mtu 1500 type veth peer name ens33 netns minik-minik-node-2 address 9e:12:39:8b:ce:9a mtu 1500
ip -n minik-minik-switch-rack-b link add br0 address 66:fb:ae:de:9f:7e mtu 1500 type bridge
ip -n minik-minik-switch-rack-b link add gateway address ae:9d:cc:bd:7e:cd mtu 1500 type veth peer name eth1 netns minik-minik-gateway address 86:36:a8:f1:cb:2f mtu 1500
ip -n minik-minik-switch-rack-b link add node-3 address 7a:01:ff:eb:42:4d mtu 1500 type veth peer name ens33 netns minik-minik-node-3 address 8a:35:62:1f:e0:f2 mtu 1500
# The ipip module makes this device by itself where it is loaded.
ip -n minik-minik-node-1 link add tunl0 type ipip 2>/dev/null || ip -n minik-minik-node-1 link show dev tunl0 >/dev/null
ip -n minik-minik-node-1 link set dev tunl0 mtu 1480
ip -n minik-minik-node-1 link add calif707d77ca48 address ee:ee:ee:ee:ee:ee mtu 1480 type veth peer name eth0 netns minik-minik-default-test-8664bfcc95-l2ths address 92:82:58:83:c3:07 mtu 1480
ip -n minik-minik-node-1 link add cali624fb020c64 address ee:ee:ee:ee:ee:ee mtu 1480 type veth peer name eth0 netns minik-minik-default-test-8664bfcc95-wxgrx address a2:f5:38:77:44:69 mtu 1480
# The ipip module makes this device by itself where it is loaded.
ip -n minik-minik-node-2 link add tunl0 type ipip 2>/dev/null || ip -n minik-minik-node-2 link show dev tunl0 >/dev/null
ip -n minik-minik-node-2 link set dev tunl0 mtu 1480
ip -n minik-minik-node-2 link add califa4ce6c259e address ee:ee:ee:ee:ee:ee mtu 1480 type veth peer name eth0 netns minik-minik-default-test-8664bfcc95-b597m address c6:e7:df:58:35:3d mtu 1480
# The ipip module makes this device by itself where it is loaded.
ip -n minik-minik-node-3 link add tunl0 type ipip 2>/dev/null || ip -n minik-minik-node-3 link show dev tunl0 >/dev/null
ip -n minik-minik-node-3 link set dev tunl0 mtu 1480
ip -n minik-minik-node-3 link add calicfa2f6df0cd address ee:ee:ee:ee:ee:ee mtu 1480 type veth peer name eth0 netns minik-minik-default-test-8664bfcc95-tdp6z address 52:e0:19:4a:65:0c mtu 1480

# --- switch-rack-a
ip -n minik-minik-switch-rack-a link set dev lo up
ip -n minik-minik-switch-rack-a link set dev br0 up
ip -n minik-minik-switch-rack-a link set dev gateway master br0
ip -n minik-minik-switch-rack-a link set dev gateway up
ip -n minik-minik-switch-rack-a link set dev client master br0
ip -n minik-minik-switch-rack-a link set dev client up
ip -n minik-minik-switch-rack-a link set dev node-1 master br0
ip -n minik-minik-switch-rack-a link set dev node-1 up
ip -n minik-minik-switch-rack-a link set dev node-2 master br0
ip -n minik-minik-switch-rack-a link set dev node-2 up

# --- switch-rack-b
ip -n minik-minik-switch-rack-b link set dev lo up
ip -n minik-minik-switch-rack-b link set dev br0 up
ip -n minik-minik-switch-rack-b link set dev gateway master br0
ip -n minik-minik-switch-rack-b link set dev gateway up
ip -n minik-minik-switch-rack-b link set dev node-3 master br0
ip -n minik-minik-switch-rack-b link set dev node-3 up

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
ip -n minik-minik-client route add 10.100.0.0/16 via 10.1.10.9 dev ens33

# --- node-1
ip -n minik-minik-node-1 link set dev lo up
ip -n minik-minik-node-1 address add 10.1.10.9/24 broadcast 10.1.10.255 dev ens33
ip -n minik-minik-node-1 link set dev ens33 up
ip -n minik-minik-node-1 address add 10.100.84.128/32 dev tunl0
ip -n minik-minik-node-1 link set dev tunl0 up
ip netns exec minik-minik-node-1 sysctl -qw net.ipv4.conf.calif707d77ca48.proxy_arp=1
ip netns exec minik-minik-node-1 sysctl -qw net.ipv4.conf.calif707d77ca48.forwarding=1
ip netns exec minik-minik-node-1 sysctl -qw net.ipv4.conf.calif707d77ca48.route_localnet=1
ip netns exec minik-minik-node-1 sysctl -qw net.ipv4.neigh.calif707d77ca48.proxy_delay=0
ip -n minik-minik-node-1 link set dev calif707d77ca48 up
ip netns exec minik-minik-node-1 sysctl -qw net.ipv4.conf.cali624fb020c64.proxy_arp=1
ip netns exec minik-minik-node-1 sysctl -qw net.ipv4.conf.cali624fb020c64.forwarding=1
ip netns exec minik-minik-node-1 sysctl -qw net.ipv4.conf.cali624fb020c64.route_localnet=1
ip netns exec minik-minik-node-1 sysctl -qw net.ipv4.neigh.cali624fb020c64.proxy_delay=0
ip -n minik-minik-node-1 link set dev cali624fb020c64 up
ip -n minik-minik-node-1 route add default via 10.1.10.2 dev ens33
ip -n minik-minik-node-1 route add blackhole 10.100.84.128/26 proto bird
ip -n minik-minik-node-1 route add 10.100.84.129 dev calif707d77ca48 scope link
ip -n minik-minik-node-1 route add 10.100.84.130 dev cali624fb020c64 scope link
ip -n minik-minik-node-1 route add 10.100.139.64/26 via 10.1.20.11 dev tunl0 proto bird onlink
ip -n minik-minik-node-1 route add 10.100.247.0/26 via 10.1.10.10 dev ens33 proto bird
ip netns exec minik-minik-node-1 ipset restore <<'END'
create cali40all-hosts-net hash:net family inet hashsize 1024 maxelem 1048576
add cali40all-hosts-net 10.1.10.9
add cali40all-hosts-net 10.1.10.10
add cali40all-hosts-net 10.1.20.11
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
:cali-fw-cali624fb020c64 - [0:0]
:cali-fw-calif707d77ca48 - [0:0]
:cali-pri-kns.default - [0:0]
:cali-pri-ksa.default.default - [0:0]
:cali-pro-kns.default - [0:0]
:cali-pro-ksa.default.default - [0:0]
:cali-to-hep-forward - [0:0]
:cali-to-host-endpoint - [0:0]
:cali-to-wl-dispatch - [0:0]
:cali-tw-cali624fb020c64 - [0:0]
:cali-tw-calif707d77ca48 - [0:0]
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
-A cali-from-wl-dispatch -i cali624fb020c64 -m comment --comment "cali:6JzHfD1RadVIK11l" -g cali-fw-cali624fb020c64
-A cali-from-wl-dispatch -i calif707d77ca48 -m comment --comment "cali:gSx0nuhcl7Xo1ZRW" -g cali-fw-calif707d77ca48
-A cali-from-wl-dispatch -m comment --comment "cali:zYBHCAb1bmZhH8Jr" -m comment --comment "Unknown interface" -j DROP
-A cali-fw-cali624fb020c64 -m comment --comment "cali:vBZlaZdNyRoNx2ml" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-fw-cali624fb020c64 -m comment --comment "cali:7RSqf89r2q1-75rZ" -m conntrack --ctstate INVALID -j DROP
-A cali-fw-cali624fb020c64 -m comment --comment "cali:HGNhBiMP33sYx2UY" -j MARK --set-xmark 0x0/0x10000
-A cali-fw-cali624fb020c64 -p udp -m comment --comment "cali:J-D2BNZI42Lxb3yi" -m comment --comment "Drop VXLAN encapped packets originating in workloads" -m multiport --dports 4789 -j DROP
-A cali-fw-cali624fb020c64 -p 4 -m comment --comment "cali:Ng9AelwkfbMJo5ps" -m comment --comment "Drop IPinIP encapped packets originating in workloads" -j DROP
-A cali-fw-cali624fb020c64 -m comment --comment "cali:Koa4I2_Qr2jmQvMz" -j cali-pro-kns.default
-A cali-fw-cali624fb020c64 -m comment --comment "cali:80q_EQfeKp89WGhX" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-fw-cali624fb020c64 -m comment --comment "cali:nsnPhAdBrfxL4UP9" -j cali-pro-ksa.default.default
-A cali-fw-cali624fb020c64 -m comment --comment "cali:QqFrQRwZWHZaE5cM" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-fw-cali624fb020c64 -m comment --comment "cali:K_Zk0rfdGfFE1Xyv" -m comment --comment "Drop if no profiles matched" -j DROP
-A cali-fw-calif707d77ca48 -m comment --comment "cali:CYzQ5XumCOcWvKCZ" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-fw-calif707d77ca48 -m comment --comment "cali:a3T-mgU8IfArdqP6" -m conntrack --ctstate INVALID -j DROP
-A cali-fw-calif707d77ca48 -m comment --comment "cali:iH4tVFjhyWsvbX14" -j MARK --set-xmark 0x0/0x10000
-A cali-fw-calif707d77ca48 -p udp -m comment --comment "cali:QopboECysa2HEZwm" -m comment --comment "Drop VXLAN encapped packets originating in workloads" -m multiport --dports 4789 -j DROP
-A cali-fw-calif707d77ca48 -p 4 -m comment --comment "cali:nLuj9XtPieQKg3iG" -m comment --comment "Drop IPinIP encapped packets originating in workloads" -j DROP
-A cali-fw-calif707d77ca48 -m comment --comment "cali:CyJeT_JNz5QOogvS" -j cali-pro-kns.default
-A cali-fw-calif707d77ca48 -m comment --comment "cali:dM-p8xhgweH5TJXd" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-fw-calif707d77ca48 -m comment --comment "cali:YfNQcWrN40_jI11Q" -j cali-pro-ksa.default.default
-A cali-fw-calif707d77ca48 -m comment --comment "cali:AkrBZ2jrQi0a9izz" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-fw-calif707d77ca48 -m comment --comment "cali:n76hmyCYpc0d_eBM" -m comment --comment "Drop if no profiles matched" -j DROP
-A cali-pri-kns.default -m comment --comment "cali:7Fnh7Pv3_98FtLW7" -j MARK --set-xmark 0x10000/0x10000
-A cali-pri-kns.default -m comment --comment "cali:ZbV6bJXWSRefjK0u" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-pro-kns.default -m comment --comment "cali:oLzzje5WExbgfib5" -j MARK --set-xmark 0x10000/0x10000
-A cali-pro-kns.default -m comment --comment "cali:4goskqvxh5xcGw3s" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-to-wl-dispatch -o cali624fb020c64 -m comment --comment "cali:7uD58s5dogd4hlma" -g cali-tw-cali624fb020c64
-A cali-to-wl-dispatch -o calif707d77ca48 -m comment --comment "cali:V5BeihgNIWqdmHfb" -g cali-tw-calif707d77ca48
-A cali-to-wl-dispatch -m comment --comment "cali:dbsd5I739GozvC_W" -m comment --comment "Unknown interface" -j DROP
-A cali-tw-cali624fb020c64 -m comment --comment "cali:oOpVpGTrtQw_wLkQ" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-tw-cali624fb020c64 -m comment --comment "cali:w_UcDugFgXnquVrC" -m conntrack --ctstate INVALID -j DROP
-A cali-tw-cali624fb020c64 -m comment --comment "cali:rIs2fuBi5yWuTBGU" -j MARK --set-xmark 0x0/0x10000
-A cali-tw-cali624fb020c64 -m comment --comment "cali:a3ZCGK8oToAABE8I" -j cali-pri-kns.default
-A cali-tw-cali624fb020c64 -m comment --comment "cali:X5-FEgHh5Zj_XjCc" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-tw-cali624fb020c64 -m comment --comment "cali:bpVWc5pef9aMXTIk" -j cali-pri-ksa.default.default
-A cali-tw-cali624fb020c64 -m comment --comment "cali:IjZ30jokkHSB4yiF" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-tw-cali624fb020c64 -m comment --comment "cali:PG47HiUpy5x6SeQf" -m comment --comment "Drop if no profiles matched" -j DROP
-A cali-tw-calif707d77ca48 -m comment --comment "cali:FMs2AmDlJAvpvPFk" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-tw-calif707d77ca48 -m comment --comment "cali:O7hs8V6U0WtuQ1Cm" -m conntrack --ctstate INVALID -j DROP
-A cali-tw-calif707d77ca48 -m comment --comment "cali:XEMU76Myq31VHtWh" -j MARK --set-xmark 0x0/0x10000
-A cali-tw-calif707d77ca48 -m comment --comment "cali:-v8OcoPhcbEXaM4y" -j cali-pri-kns.default
-A cali-tw-calif707d77ca48 -m comment --comment "cali:OHFfgx9ELOOMBR8h" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-tw-calif707d77ca48 -m comment --comment "cali:dTCxJ7I78sZLPVaP" -j cali-pri-ksa.default.default
-A cali-tw-calif707d77ca48 -m comment --comment "cali:BVQCRahnE7N7khif" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-tw-calif707d77ca48 -m comment --comment "cali:VtIXsaed0inkLz0v" -m comment --comment "Drop if no profiles matched" -j DROP
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
ip netns exec minik-minik-node-2 sysctl -qw net.ipv4.conf.califa4ce6c259e.proxy_arp=1
ip netns exec minik-minik-node-2 sysctl -qw net.ipv4.conf.califa4ce6c259e.forwarding=1
ip netns exec minik-minik-node-2 sysctl -qw net.ipv4.conf.califa4ce6c259e.route_localnet=1
ip netns exec minik-minik-node-2 sysctl -qw net.ipv4.neigh.califa4ce6c259e.proxy_delay=0
ip -n minik-minik-node-2 link set dev califa4ce6c259e up
ip -n minik-minik-node-2 route add default via 10.1.10.2 dev ens33
ip -n minik-minik-node-2 route add 10.100.84.128/26 via 10.1.10.9 dev ens33 proto bird
ip -n minik-minik-node-2 route add 10.100.139.64/26 via 10.1.20.11 dev tunl0 proto bird onlink
ip -n minik-minik-node-2 route add blackhole 10.100.247.0/26 proto bird
ip -n minik-minik-node-2 route add 10.100.247.1 dev califa4ce6c259e scope link
ip netns exec minik-minik-node-2 ipset restore <<'END'
create cali40all-hosts-net hash:net family inet hashsize 1024 maxelem 1048576
add cali40all-hosts-net 10.1.10.9
add cali40all-hosts-net 10.1.10.10
add cali40all-hosts-net 10.1.20.11
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
:cali-fw-califa4ce6c259e - [0:0]
:cali-pri-kns.default - [0:0]
:cali-pri-ksa.default.default - [0:0]
:cali-pro-kns.default - [0:0]
:cali-pro-ksa.default.default - [0:0]
:cali-to-hep-forward - [0:0]
:cali-to-host-endpoint - [0:0]
:cali-to-wl-dispatch - [0:0]
:cali-tw-califa4ce6c259e - [0:0]
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
-A cali-from-wl-dispatch -i califa4ce6c259e -m comment --comment "cali:yEJugkloDdm-f_TW" -g cali-fw-califa4ce6c259e
-A cali-from-wl-dispatch -m comment --comment "cali:gzCIbHP6xMdViFVj" -m comment --comment "Unknown interface" -j DROP
-A cali-fw-califa4ce6c259e -m comment --comment "cali:PcCvY6AwnSxibEOu" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-fw-califa4ce6c259e -m comment --comment "cali:ZrVfW6k1bCpORp5I" -m conntrack --ctstate INVALID -j DROP
-A cali-fw-califa4ce6c259e -m comment --comment "cali:9-i8oPM9G8vlom4F" -j MARK --set-xmark 0x0/0x10000
-A cali-fw-califa4ce6c259e -p udp -m comment --comment "cali:ArlzdpTSk3HeDIkg" -m comment --comment "Drop VXLAN encapped packets originating in workloads" -m multiport --dports 4789 -j DROP
-A cali-fw-califa4ce6c259e -p 4 -m comment --comment "cali:T6HL_5LtH_SjYmyW" -m comment --comment "Drop IPinIP encapped packets originating in workloads" -j DROP
-A cali-fw-califa4ce6c259e -m comment --comment "cali:YUnAImKwTJhHYmRB" -j cali-pro-kns.default
-A cali-fw-califa4ce6c259e -m comment --comment "cali:NLzr58DIfhiM51kJ" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-fw-califa4ce6c259e -m comment --comment "cali:pYHZQQvtuYrkyCAU" -j cali-pro-ksa.default.default
-A cali-fw-califa4ce6c259e -m comment --comment "cali:RKtxkeTzVgFAdhf4" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-fw-califa4ce6c259e -m comment --comment "cali:X9blK0kzUGAiBYXq" -m comment --comment "Drop if no profiles matched" -j DROP
-A cali-pri-kns.default -m comment --comment "cali:7Fnh7Pv3_98FtLW7" -j MARK --set-xmark 0x10000/0x10000
-A cali-pri-kns.default -m comment --comment "cali:ZbV6bJXWSRefjK0u" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-pro-kns.default -m comment --comment "cali:oLzzje5WExbgfib5" -j MARK --set-xmark 0x10000/0x10000
-A cali-pro-kns.default -m comment --comment "cali:4goskqvxh5xcGw3s" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-to-wl-dispatch -o califa4ce6c259e -m comment --comment "cali:-5WSzlWbn3ft1pdb" -g cali-tw-califa4ce6c259e
-A cali-to-wl-dispatch -m comment --comment "cali:iJdt6tmUEPh8gbMe" -m comment --comment "Unknown interface" -j DROP
-A cali-tw-califa4ce6c259e -m comment --comment "cali:QcoxNYf15fN0VMTe" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-tw-califa4ce6c259e -m comment --comment "cali:LXhehctCL9RAgU85" -m conntrack --ctstate INVALID -j DROP
-A cali-tw-califa4ce6c259e -m comment --comment "cali:KgoI_C03OuUtejbK" -j MARK --set-xmark 0x0/0x10000
-A cali-tw-califa4ce6c259e -m comment --comment "cali:pSBh4njMipTInUu3" -j cali-pri-kns.default
-A cali-tw-califa4ce6c259e -m comment --comment "cali:7Jz_jjGBhIj_4Hng" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-tw-califa4ce6c259e -m comment --comment "cali:K4GEcmyAGrLqu-Yd" -j cali-pri-ksa.default.default
-A cali-tw-califa4ce6c259e -m comment --comment "cali:QQnjkyOuFN2Pyw9C" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-tw-califa4ce6c259e -m comment --comment "cali:uH0BpyDLS7zVwHPM" -m comment --comment "Drop if no profiles matched" -j DROP
-A cali-wl-to-host -m comment --comment "cali:Ee9Sbo10IpVujdIY" -j cali-from-wl-dispatch
-A cali-wl-to-host -m comment --comment "cali:nSZbcOoG1xPONxb8" -m comment --comment "Configured DefaultEndpointToHostAction" -j ACCEPT
COMMIT
END

# --- node-3
ip -n minik-minik-node-3 link set dev lo up
ip -n minik-minik-node-3 address add 10.1.20.11/24 broadcast 10.1.20.255 dev ens33
ip -n minik-minik-node-3 link set dev ens33 up
ip -n minik-minik-node-3 address add 10.100.139.64/32 dev tunl0
ip -n minik-minik-node-3 link set dev tunl0 up
ip netns exec minik-minik-node-3 sysctl -qw net.ipv4.conf.calicfa2f6df0cd.proxy_arp=1
ip netns exec minik-minik-node-3 sysctl -qw net.ipv4.conf.calicfa2f6df0cd.forwarding=1
ip netns exec minik-minik-node-3 sysctl -qw net.ipv4.conf.calicfa2f6df0cd.route_localnet=1
ip netns exec minik-minik-node-3 sysctl -qw net.ipv4.neigh.calicfa2f6df0cd.proxy_delay=0
ip -n minik-minik-node-3 link set dev calicfa2f6df0cd up
ip -n minik-minik-node-3 route add default via 10.1.20.2 dev ens33
ip -n minik-minik-node-3 route add 10.100.84.128/26 via 10.1.10.9 dev tunl0 proto bird onlink
ip -n minik-minik-node-3 route add blackhole 10.100.139.64/26 proto bird
ip -n minik-minik-node-3 route add 10.100.139.65 dev calicfa2f6df0cd scope link
ip -n minik-minik-node-3 route add 10.100.247.0/26 via 10.1.10.10 dev tunl0 proto bird onlink
ip netns exec minik-minik-node-3 ipset restore <<'END'
create cali40all-hosts-net hash:net family inet hashsize 1024 maxelem 1048576
add cali40all-hosts-net 10.1.10.9
add cali40all-hosts-net 10.1.10.10
add cali40all-hosts-net 10.1.20.11
create cali40all-ipam-pools hash:net family inet hashsize 1024 maxelem 1048576
add cali40all-ipam-pools 10.100.0.0/16
create cali40masq-ipam-pools hash:net family inet hashsize 1024 maxelem 1048576
add cali40masq-ipam-pools 10.100.0.0/16
create cali40this-host hash:ip family inet hashsize 1024 maxelem 1048576
add cali40this-host 10.1.20.11
add cali40this-host 10.100.139.64
add cali40this-host 127.0.0.0
add cali40this-host 127.0.0.1
END
ip netns exec minik-minik-node-3 iptables-restore <<'END'
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
:cali-fw-calicfa2f6df0cd - [0:0]
:cali-pri-kns.default - [0:0]
:cali-pri-ksa.default.default - [0:0]
:cali-pro-kns.default - [0:0]
:cali-pro-ksa.default.default - [0:0]
:cali-to-hep-forward - [0:0]
:cali-to-host-endpoint - [0:0]
:cali-to-wl-dispatch - [0:0]
:cali-tw-calicfa2f6df0cd - [0:0]
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
-A cali-from-wl-dispatch -i calicfa2f6df0cd -m comment --comment "cali:CX0cnElE900-BdjQ" -g cali-fw-calicfa2f6df0cd
-A cali-from-wl-dispatch -m comment --comment "cali:0wEvdaQzq3m7xH39" -m comment --comment "Unknown interface" -j DROP
-A cali-fw-calicfa2f6df0cd -m comment --comment "cali:ZE0l0PBUF3n0tccH" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-fw-calicfa2f6df0cd -m comment --comment "cali:9y2b6NdMdzwaMQlX" -m conntrack --ctstate INVALID -j DROP
-A cali-fw-calicfa2f6df0cd -m comment --comment "cali:mrpTJ7GAD30L45iM" -j MARK --set-xmark 0x0/0x10000
-A cali-fw-calicfa2f6df0cd -p udp -m comment --comment "cali:4avFcZkuAIRqtrE9" -m comment --comment "Drop VXLAN encapped packets originating in workloads" -m multiport --dports 4789 -j DROP
-A cali-fw-calicfa2f6df0cd -p 4 -m comment --comment "cali:Hs0pF_2WMBsWIeir" -m comment --comment "Drop IPinIP encapped packets originating in workloads" -j DROP
-A cali-fw-calicfa2f6df0cd -m comment --comment "cali:NTBMG-1d6BH8QRVd" -j cali-pro-kns.default
-A cali-fw-calicfa2f6df0cd -m comment --comment "cali:aSjWpLxTcq_ZWnBj" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-fw-calicfa2f6df0cd -m comment --comment "cali:nn_jKSMO0BPNLYY9" -j cali-pro-ksa.default.default
-A cali-fw-calicfa2f6df0cd -m comment --comment "cali:viMn8_RUczqZg2JY" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-fw-calicfa2f6df0cd -m comment --comment "cali:HIGXZz8SX2CnfJnL" -m comment --comment "Drop if no profiles matched" -j DROP
-A cali-pri-kns.default -m comment --comment "cali:7Fnh7Pv3_98FtLW7" -j MARK --set-xmark 0x10000/0x10000
-A cali-pri-kns.default -m comment --comment "cali:ZbV6bJXWSRefjK0u" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-pro-kns.default -m comment --comment "cali:oLzzje5WExbgfib5" -j MARK --set-xmark 0x10000/0x10000
-A cali-pro-kns.default -m comment --comment "cali:4goskqvxh5xcGw3s" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-to-wl-dispatch -o calicfa2f6df0cd -m comment --comment "cali:LDMbMqBI5ctLjiFM" -g cali-tw-calicfa2f6df0cd
-A cali-to-wl-dispatch -m comment --comment "cali:hw3dxEUN-E3Fm5Rb" -m comment --comment "Unknown interface" -j DROP
-A cali-tw-calicfa2f6df0cd -m comment --comment "cali:42QZiozzVP0-eINT" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-tw-calicfa2f6df0cd -m comment --comment "cali:WVPBg1JO87jiQilx" -m conntrack --ctstate INVALID -j DROP
-A cali-tw-calicfa2f6df0cd -m comment --comment "cali:aHPlmVRxQvF8TuCw" -j MARK --set-xmark 0x0/0x10000
-A cali-tw-calicfa2f6df0cd -m comment --comment "cali:gG5I4dFaCKG3f37U" -j cali-pri-kns.default
-A cali-tw-calicfa2f6df0cd -m comment --comment "cali:a5Oxb-bEvbBwpjkm" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-tw-calicfa2f6df0cd -m comment --comment "cali:vE9rhMW-Dv0D_S2c" -j cali-pri-ksa.default.default
-A cali-tw-calicfa2f6df0cd -m comment --comment "cali:k4CFkMljcFFQlMVZ" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-tw-calicfa2f6df0cd -m comment --comment "cali:HsyRFyZa4qmMk6ad" -m comment --comment "Drop if no profiles matched" -j DROP
-A cali-wl-to-host -m comment --comment "cali:Ee9Sbo10IpVujdIY" -j cali-from-wl-dispatch
-A cali-wl-to-host -m comment --comment "cali:nSZbcOoG1xPONxb8" -m comment --comment "Configured DefaultEndpointToHostAction" -j ACCEPT
COMMIT
END

# --- default/test-8664bfcc95-l2ths
ip -n minik-minik-default-test-8664bfcc95-l2ths link set dev lo up
ip -n minik-minik-default-test-8664bfcc95-l2ths address add 10.100.84.129/32 broadcast 10.100.84.129 dev eth0
ip -n minik-minik-default-test-8664bfcc95-l2ths link set dev eth0 up
ip -n minik-minik-default-test-8664bfcc95-l2ths route add 169.254.1.1 dev eth0 scope link
ip -n minik-minik-default-test-8664bfcc95-l2ths route add default via 169.254.1.1 dev eth0

# --- default/test-8664bfcc95-b597m
ip -n minik-minik-default-test-8664bfcc95-b597m link set dev lo up
ip -n minik-minik-default-test-8664bfcc95-b597m address add 10.100.247.1/32 broadcast 10.100.247.1 dev eth0
ip -n minik-minik-default-test-8664bfcc95-b597m link set dev eth0 up
ip -n minik-minik-default-test-8664bfcc95-b597m route add 169.254.1.1 dev eth0 scope link
ip -n minik-minik-default-test-8664bfcc95-b597m route add default via 169.254.1.1 dev eth0

# --- default/test-8664bfcc95-tdp6z
ip -n minik-minik-default-test-8664bfcc95-tdp6z link set dev lo up
ip -n minik-minik-default-test-8664bfcc95-tdp6z address add 10.100.139.65/32 broadcast 10.100.139.65 dev eth0
ip -n minik-minik-default-test-8664bfcc95-tdp6z link set dev eth0 up
ip -n minik-minik-default-test-8664bfcc95-tdp6z route add 169.254.1.1 dev eth0 scope link
ip -n minik-minik-default-test-8664bfcc95-tdp6z route add default via 169.254.1.1 dev eth0

# --- default/test-8664bfcc95-wxgrx
ip -n minik-minik-default-test-8664bfcc95-wxgrx link set dev lo up
ip -n minik-minik-default-test-8664bfcc95-wxgrx address add 10.100.84.130/32 broadcast 10.100.84.130 dev eth0
ip -n minik-minik-default-test-8664bfcc95-wxgrx link set dev eth0 up
ip -n minik-minik-default-test-8664bfcc95-wxgrx route add 169.254.1.1 dev eth0 scope link
ip -n minik-minik-default-test-8664bfcc95-wxgrx route add default via 169.254.1.1 dev eth0

# Done. A look around, and the way to remove all of it:
#   ip netns exec minik-minik-default-test-8664bfcc95-l2ths ip route
#   sh THIS-SCRIPT down
