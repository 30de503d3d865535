#!/bin/sh
# Builds the network of cluster minik (calico-ipip-crosssubnet) by hand. Made by `minik plan --as shell`.
# Run as root; needs iproute2, procps, and of ipset, iptables, nft and ebtables what it names. `down` as argument
# removes it again.
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
minik-minik-default-test-7687c8789c-s8g2h
minik-minik-default-test-7687c8789c-jbvqc
minik-minik-default-test-7687c8789c-4kbpp
minik-minik-default-test-7687c8789c-662bn
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
mkdir -p /etc/netns/minik-minik-default-test-7687c8789c-s8g2h
cat > /etc/netns/minik-minik-default-test-7687c8789c-s8g2h/hostname <<'END'
test-7687c8789c-s8g2h
END
cat > /etc/netns/minik-minik-default-test-7687c8789c-s8g2h/hosts <<'END'
127.0.0.1	localhost
10.100.84.129	test-7687c8789c-s8g2h
END
cat > /etc/netns/minik-minik-default-test-7687c8789c-s8g2h/resolv.conf <<'END'
# minik: there is no DNS server here
END
mkdir -p /etc/netns/minik-minik-default-test-7687c8789c-jbvqc
cat > /etc/netns/minik-minik-default-test-7687c8789c-jbvqc/hostname <<'END'
test-7687c8789c-jbvqc
END
cat > /etc/netns/minik-minik-default-test-7687c8789c-jbvqc/hosts <<'END'
127.0.0.1	localhost
10.100.247.1	test-7687c8789c-jbvqc
END
cat > /etc/netns/minik-minik-default-test-7687c8789c-jbvqc/resolv.conf <<'END'
# minik: there is no DNS server here
END
mkdir -p /etc/netns/minik-minik-default-test-7687c8789c-4kbpp
cat > /etc/netns/minik-minik-default-test-7687c8789c-4kbpp/hostname <<'END'
test-7687c8789c-4kbpp
END
cat > /etc/netns/minik-minik-default-test-7687c8789c-4kbpp/hosts <<'END'
127.0.0.1	localhost
10.100.139.65	test-7687c8789c-4kbpp
END
cat > /etc/netns/minik-minik-default-test-7687c8789c-4kbpp/resolv.conf <<'END'
# minik: there is no DNS server here
END
mkdir -p /etc/netns/minik-minik-default-test-7687c8789c-662bn
cat > /etc/netns/minik-minik-default-test-7687c8789c-662bn/hostname <<'END'
test-7687c8789c-662bn
END
cat > /etc/netns/minik-minik-default-test-7687c8789c-662bn/hosts <<'END'
127.0.0.1	localhost
10.100.84.130	test-7687c8789c-662bn
END
cat > /etc/netns/minik-minik-default-test-7687c8789c-662bn/resolv.conf <<'END'
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
ip netns exec minik-minik-default-test-7687c8789c-s8g2h sysctl -qw net.ipv4.ip_forward=0
[ ! -d /proc/sys/net/ipv6 ] || ip netns exec minik-minik-default-test-7687c8789c-s8g2h sysctl -qw net.ipv6.conf.all.disable_ipv6=1
ip netns exec minik-minik-default-test-7687c8789c-jbvqc sysctl -qw net.ipv4.ip_forward=0
[ ! -d /proc/sys/net/ipv6 ] || ip netns exec minik-minik-default-test-7687c8789c-jbvqc sysctl -qw net.ipv6.conf.all.disable_ipv6=1
ip netns exec minik-minik-default-test-7687c8789c-4kbpp sysctl -qw net.ipv4.ip_forward=0
[ ! -d /proc/sys/net/ipv6 ] || ip netns exec minik-minik-default-test-7687c8789c-4kbpp sysctl -qw net.ipv6.conf.all.disable_ipv6=1
ip netns exec minik-minik-default-test-7687c8789c-662bn sysctl -qw net.ipv4.ip_forward=0
[ ! -d /proc/sys/net/ipv6 ] || ip netns exec minik-minik-default-test-7687c8789c-662bn sysctl -qw net.ipv6.conf.all.disable_ipv6=1

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
ip -n minik-minik-node-1 link add caliaa41940d40b address ee:ee:ee:ee:ee:ee mtu 1480 type veth peer name eth0 netns minik-minik-default-test-7687c8789c-s8g2h address 32:d4:36:6a:76:90 mtu 1480
ip -n minik-minik-node-1 link add cali6aafbb16ad2 address ee:ee:ee:ee:ee:ee mtu 1480 type veth peer name eth0 netns minik-minik-default-test-7687c8789c-662bn address 86:37:d2:65:ca:cd mtu 1480
# The ipip module makes this device by itself where it is loaded.
ip -n minik-minik-node-2 link add tunl0 type ipip 2>/dev/null || ip -n minik-minik-node-2 link show dev tunl0 >/dev/null
ip -n minik-minik-node-2 link set dev tunl0 mtu 1480
ip -n minik-minik-node-2 link add cali9bb52b960ca address ee:ee:ee:ee:ee:ee mtu 1480 type veth peer name eth0 netns minik-minik-default-test-7687c8789c-jbvqc address 8e:1a:f3:3d:7b:62 mtu 1480
# The ipip module makes this device by itself where it is loaded.
ip -n minik-minik-node-3 link add tunl0 type ipip 2>/dev/null || ip -n minik-minik-node-3 link show dev tunl0 >/dev/null
ip -n minik-minik-node-3 link set dev tunl0 mtu 1480
ip -n minik-minik-node-3 link add calie57115fc996 address ee:ee:ee:ee:ee:ee mtu 1480 type veth peer name eth0 netns minik-minik-default-test-7687c8789c-4kbpp address 86:34:3b:3b:12:67 mtu 1480

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
ip netns exec minik-minik-node-1 sysctl -qw net.ipv4.conf.caliaa41940d40b.proxy_arp=1
ip netns exec minik-minik-node-1 sysctl -qw net.ipv4.conf.caliaa41940d40b.forwarding=1
ip netns exec minik-minik-node-1 sysctl -qw net.ipv4.conf.caliaa41940d40b.route_localnet=1
ip netns exec minik-minik-node-1 sysctl -qw net.ipv4.neigh.caliaa41940d40b.proxy_delay=0
ip -n minik-minik-node-1 link set dev caliaa41940d40b up
ip netns exec minik-minik-node-1 sysctl -qw net.ipv4.conf.cali6aafbb16ad2.proxy_arp=1
ip netns exec minik-minik-node-1 sysctl -qw net.ipv4.conf.cali6aafbb16ad2.forwarding=1
ip netns exec minik-minik-node-1 sysctl -qw net.ipv4.conf.cali6aafbb16ad2.route_localnet=1
ip netns exec minik-minik-node-1 sysctl -qw net.ipv4.neigh.cali6aafbb16ad2.proxy_delay=0
ip -n minik-minik-node-1 link set dev cali6aafbb16ad2 up
ip -n minik-minik-node-1 route add default via 10.1.10.2 dev ens33
ip -n minik-minik-node-1 route add blackhole 10.100.84.128/26 proto bird
ip -n minik-minik-node-1 route add 10.100.84.129 dev caliaa41940d40b scope link
ip -n minik-minik-node-1 route add 10.100.84.130 dev cali6aafbb16ad2 scope link
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
:cali-fw-cali6aafbb16ad2 - [0:0]
:cali-fw-caliaa41940d40b - [0:0]
:cali-pri-kns.default - [0:0]
:cali-pri-ksa.default.default - [0:0]
:cali-pro-kns.default - [0:0]
:cali-pro-ksa.default.default - [0:0]
:cali-to-hep-forward - [0:0]
:cali-to-host-endpoint - [0:0]
:cali-to-wl-dispatch - [0:0]
:cali-tw-cali6aafbb16ad2 - [0:0]
:cali-tw-caliaa41940d40b - [0:0]
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
-A cali-from-wl-dispatch -i cali6aafbb16ad2 -m comment --comment "cali:DAomL5x7IijLVCNi" -g cali-fw-cali6aafbb16ad2
-A cali-from-wl-dispatch -i caliaa41940d40b -m comment --comment "cali:Ps6ppY6VeO8OHnat" -g cali-fw-caliaa41940d40b
-A cali-from-wl-dispatch -m comment --comment "cali:YZThuhxyiyRuAsVa" -m comment --comment "Unknown interface" -j DROP
-A cali-fw-cali6aafbb16ad2 -m comment --comment "cali:Dz6kZCUwJW0zHBmp" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-fw-cali6aafbb16ad2 -m comment --comment "cali:h9iq0UPQl6i47lJ5" -m conntrack --ctstate INVALID -j DROP
-A cali-fw-cali6aafbb16ad2 -m comment --comment "cali:B863igd7GotYTcMO" -j MARK --set-xmark 0x0/0x10000
-A cali-fw-cali6aafbb16ad2 -p udp -m comment --comment "cali:CEmolfZoxzEHT48S" -m comment --comment "Drop VXLAN encapped packets originating in workloads" -m multiport --dports 4789 -j DROP
-A cali-fw-cali6aafbb16ad2 -p 4 -m comment --comment "cali:iuxrU0OrX7eQmoui" -m comment --comment "Drop IPinIP encapped packets originating in workloads" -j DROP
-A cali-fw-cali6aafbb16ad2 -m comment --comment "cali:mCeZWYm2wTjPDih_" -j cali-pro-kns.default
-A cali-fw-cali6aafbb16ad2 -m comment --comment "cali:Xu0Ef1_YEnNLG4eN" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-fw-cali6aafbb16ad2 -m comment --comment "cali:iv1XxKXubhI0S0tu" -j cali-pro-ksa.default.default
-A cali-fw-cali6aafbb16ad2 -m comment --comment "cali:ZMRC_B2X58Ci2E4Z" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-fw-cali6aafbb16ad2 -m comment --comment "cali:LIvPpFv5_N6JuXv_" -m comment --comment "Drop if no profiles matched" -j DROP
-A cali-fw-caliaa41940d40b -m comment --comment "cali:Jc6gIjE4jzz9Z7Em" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-fw-caliaa41940d40b -m comment --comment "cali:p_1c8IFyxu13ZKOC" -m conntrack --ctstate INVALID -j DROP
-A cali-fw-caliaa41940d40b -m comment --comment "cali:HWv0YBceP64WiFCt" -j MARK --set-xmark 0x0/0x10000
-A cali-fw-caliaa41940d40b -p udp -m comment --comment "cali:Q1RGUdKKPsjciZhT" -m comment --comment "Drop VXLAN encapped packets originating in workloads" -m multiport --dports 4789 -j DROP
-A cali-fw-caliaa41940d40b -p 4 -m comment --comment "cali:3NKuQ5GrLOWgh-WQ" -m comment --comment "Drop IPinIP encapped packets originating in workloads" -j DROP
-A cali-fw-caliaa41940d40b -m comment --comment "cali:jN1tS8wLgDcdMnUG" -j cali-pro-kns.default
-A cali-fw-caliaa41940d40b -m comment --comment "cali:e58IfIDqCAOi72_u" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-fw-caliaa41940d40b -m comment --comment "cali:voMSnlQRpYZS2uMZ" -j cali-pro-ksa.default.default
-A cali-fw-caliaa41940d40b -m comment --comment "cali:NsimiGcRbTR5BEiU" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-fw-caliaa41940d40b -m comment --comment "cali:ZyWW9jzzb-ahiMPI" -m comment --comment "Drop if no profiles matched" -j DROP
-A cali-pri-kns.default -m comment --comment "cali:7Fnh7Pv3_98FtLW7" -j MARK --set-xmark 0x10000/0x10000
-A cali-pri-kns.default -m comment --comment "cali:ZbV6bJXWSRefjK0u" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-pro-kns.default -m comment --comment "cali:oLzzje5WExbgfib5" -j MARK --set-xmark 0x10000/0x10000
-A cali-pro-kns.default -m comment --comment "cali:4goskqvxh5xcGw3s" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-to-wl-dispatch -o cali6aafbb16ad2 -m comment --comment "cali:qCwQsmVrzwBBeQq8" -g cali-tw-cali6aafbb16ad2
-A cali-to-wl-dispatch -o caliaa41940d40b -m comment --comment "cali:8UsKcsIeeV8jU4wq" -g cali-tw-caliaa41940d40b
-A cali-to-wl-dispatch -m comment --comment "cali:fU34_SkhUP-s4Hnt" -m comment --comment "Unknown interface" -j DROP
-A cali-tw-cali6aafbb16ad2 -m comment --comment "cali:ZKVH8wh5UtcFfntb" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-tw-cali6aafbb16ad2 -m comment --comment "cali:GQZ-ebnV8v5nY72y" -m conntrack --ctstate INVALID -j DROP
-A cali-tw-cali6aafbb16ad2 -m comment --comment "cali:b0kDE62tJ4Lc719a" -j MARK --set-xmark 0x0/0x10000
-A cali-tw-cali6aafbb16ad2 -m comment --comment "cali:QJJ1FvkYyp8z1kiG" -j cali-pri-kns.default
-A cali-tw-cali6aafbb16ad2 -m comment --comment "cali:T_gIUPjnagGirAIP" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-tw-cali6aafbb16ad2 -m comment --comment "cali:_MEbeM2cfNqmGYLQ" -j cali-pri-ksa.default.default
-A cali-tw-cali6aafbb16ad2 -m comment --comment "cali:sMd3XJiHS6QroK2i" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-tw-cali6aafbb16ad2 -m comment --comment "cali:-4EOYB-Di92k_EBb" -m comment --comment "Drop if no profiles matched" -j DROP
-A cali-tw-caliaa41940d40b -m comment --comment "cali:OvdChpwhbvns6wNc" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-tw-caliaa41940d40b -m comment --comment "cali:Tq48vKXxf3iI3z4y" -m conntrack --ctstate INVALID -j DROP
-A cali-tw-caliaa41940d40b -m comment --comment "cali:BfMLI4xbMLGYfmC9" -j MARK --set-xmark 0x0/0x10000
-A cali-tw-caliaa41940d40b -m comment --comment "cali:ebal4ZC756gHLrwb" -j cali-pri-kns.default
-A cali-tw-caliaa41940d40b -m comment --comment "cali:49ZE1McQe3-CTrPs" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-tw-caliaa41940d40b -m comment --comment "cali:5t924H97ywNQVLgl" -j cali-pri-ksa.default.default
-A cali-tw-caliaa41940d40b -m comment --comment "cali:dwfCT74_bERIwPTK" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-tw-caliaa41940d40b -m comment --comment "cali:ClbUVQGBlIPNKaFw" -m comment --comment "Drop if no profiles matched" -j DROP
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
ip netns exec minik-minik-node-2 sysctl -qw net.ipv4.conf.cali9bb52b960ca.proxy_arp=1
ip netns exec minik-minik-node-2 sysctl -qw net.ipv4.conf.cali9bb52b960ca.forwarding=1
ip netns exec minik-minik-node-2 sysctl -qw net.ipv4.conf.cali9bb52b960ca.route_localnet=1
ip netns exec minik-minik-node-2 sysctl -qw net.ipv4.neigh.cali9bb52b960ca.proxy_delay=0
ip -n minik-minik-node-2 link set dev cali9bb52b960ca up
ip -n minik-minik-node-2 route add default via 10.1.10.2 dev ens33
ip -n minik-minik-node-2 route add 10.100.84.128/26 via 10.1.10.9 dev ens33 proto bird
ip -n minik-minik-node-2 route add 10.100.139.64/26 via 10.1.20.11 dev tunl0 proto bird onlink
ip -n minik-minik-node-2 route add blackhole 10.100.247.0/26 proto bird
ip -n minik-minik-node-2 route add 10.100.247.1 dev cali9bb52b960ca scope link
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
:cali-fw-cali9bb52b960ca - [0:0]
:cali-pri-kns.default - [0:0]
:cali-pri-ksa.default.default - [0:0]
:cali-pro-kns.default - [0:0]
:cali-pro-ksa.default.default - [0:0]
:cali-to-hep-forward - [0:0]
:cali-to-host-endpoint - [0:0]
:cali-to-wl-dispatch - [0:0]
:cali-tw-cali9bb52b960ca - [0:0]
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
-A cali-from-wl-dispatch -i cali9bb52b960ca -m comment --comment "cali:RNAYYnjAoLBAgBm4" -g cali-fw-cali9bb52b960ca
-A cali-from-wl-dispatch -m comment --comment "cali:LLbMpRS1171mjLGw" -m comment --comment "Unknown interface" -j DROP
-A cali-fw-cali9bb52b960ca -m comment --comment "cali:cr82DtoPAMQ7lCKp" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-fw-cali9bb52b960ca -m comment --comment "cali:O1exf7yUHA0BW_ww" -m conntrack --ctstate INVALID -j DROP
-A cali-fw-cali9bb52b960ca -m comment --comment "cali:hW8jDsA9UQyZhRnm" -j MARK --set-xmark 0x0/0x10000
-A cali-fw-cali9bb52b960ca -p udp -m comment --comment "cali:1EbFMVIi1juW8N2Y" -m comment --comment "Drop VXLAN encapped packets originating in workloads" -m multiport --dports 4789 -j DROP
-A cali-fw-cali9bb52b960ca -p 4 -m comment --comment "cali:Xz6fcsInTogs2LH8" -m comment --comment "Drop IPinIP encapped packets originating in workloads" -j DROP
-A cali-fw-cali9bb52b960ca -m comment --comment "cali:wiKI0UUEvqX419L7" -j cali-pro-kns.default
-A cali-fw-cali9bb52b960ca -m comment --comment "cali:o-nvwN2U8Ot57PNy" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-fw-cali9bb52b960ca -m comment --comment "cali:G70zMOnf9IeSfcud" -j cali-pro-ksa.default.default
-A cali-fw-cali9bb52b960ca -m comment --comment "cali:FNDANwyNJR8eE_4g" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-fw-cali9bb52b960ca -m comment --comment "cali:Ixs9o0f-RnNuXZpS" -m comment --comment "Drop if no profiles matched" -j DROP
-A cali-pri-kns.default -m comment --comment "cali:7Fnh7Pv3_98FtLW7" -j MARK --set-xmark 0x10000/0x10000
-A cali-pri-kns.default -m comment --comment "cali:ZbV6bJXWSRefjK0u" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-pro-kns.default -m comment --comment "cali:oLzzje5WExbgfib5" -j MARK --set-xmark 0x10000/0x10000
-A cali-pro-kns.default -m comment --comment "cali:4goskqvxh5xcGw3s" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-to-wl-dispatch -o cali9bb52b960ca -m comment --comment "cali:srys39ahRTZfdbkZ" -g cali-tw-cali9bb52b960ca
-A cali-to-wl-dispatch -m comment --comment "cali:DvCJFCTx5xLhmaTw" -m comment --comment "Unknown interface" -j DROP
-A cali-tw-cali9bb52b960ca -m comment --comment "cali:ucdFCYVzJB9Mznp1" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-tw-cali9bb52b960ca -m comment --comment "cali:YfFZePcffs41xTEB" -m conntrack --ctstate INVALID -j DROP
-A cali-tw-cali9bb52b960ca -m comment --comment "cali:edC-7Ql9RXeJZUG9" -j MARK --set-xmark 0x0/0x10000
-A cali-tw-cali9bb52b960ca -m comment --comment "cali:VmOT-HcKVPBQ0_lP" -j cali-pri-kns.default
-A cali-tw-cali9bb52b960ca -m comment --comment "cali:BLiFMe8SFV2EvVd8" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-tw-cali9bb52b960ca -m comment --comment "cali:9SWpfvapgTqwp3e9" -j cali-pri-ksa.default.default
-A cali-tw-cali9bb52b960ca -m comment --comment "cali:KCpHhiUuT9vu7dbL" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-tw-cali9bb52b960ca -m comment --comment "cali:tZtSzDzsodzlN4Co" -m comment --comment "Drop if no profiles matched" -j DROP
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
ip netns exec minik-minik-node-3 sysctl -qw net.ipv4.conf.calie57115fc996.proxy_arp=1
ip netns exec minik-minik-node-3 sysctl -qw net.ipv4.conf.calie57115fc996.forwarding=1
ip netns exec minik-minik-node-3 sysctl -qw net.ipv4.conf.calie57115fc996.route_localnet=1
ip netns exec minik-minik-node-3 sysctl -qw net.ipv4.neigh.calie57115fc996.proxy_delay=0
ip -n minik-minik-node-3 link set dev calie57115fc996 up
ip -n minik-minik-node-3 route add default via 10.1.20.2 dev ens33
ip -n minik-minik-node-3 route add 10.100.84.128/26 via 10.1.10.9 dev tunl0 proto bird onlink
ip -n minik-minik-node-3 route add blackhole 10.100.139.64/26 proto bird
ip -n minik-minik-node-3 route add 10.100.139.65 dev calie57115fc996 scope link
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
:cali-fw-calie57115fc996 - [0:0]
:cali-pri-kns.default - [0:0]
:cali-pri-ksa.default.default - [0:0]
:cali-pro-kns.default - [0:0]
:cali-pro-ksa.default.default - [0:0]
:cali-to-hep-forward - [0:0]
:cali-to-host-endpoint - [0:0]
:cali-to-wl-dispatch - [0:0]
:cali-tw-calie57115fc996 - [0:0]
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
-A cali-from-wl-dispatch -i calie57115fc996 -m comment --comment "cali:FdN0-9b5NzkdIW7-" -g cali-fw-calie57115fc996
-A cali-from-wl-dispatch -m comment --comment "cali:jq1VLY_U6mlBnx3Z" -m comment --comment "Unknown interface" -j DROP
-A cali-fw-calie57115fc996 -m comment --comment "cali:kBb6JGUaobaU-LJR" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-fw-calie57115fc996 -m comment --comment "cali:SWScNncjvp_EsOAg" -m conntrack --ctstate INVALID -j DROP
-A cali-fw-calie57115fc996 -m comment --comment "cali:bb2E76xpmbUIzY6F" -j MARK --set-xmark 0x0/0x10000
-A cali-fw-calie57115fc996 -p udp -m comment --comment "cali:ja6WlifT3G7B-Arm" -m comment --comment "Drop VXLAN encapped packets originating in workloads" -m multiport --dports 4789 -j DROP
-A cali-fw-calie57115fc996 -p 4 -m comment --comment "cali:NJbCxZs63Wtdsu8q" -m comment --comment "Drop IPinIP encapped packets originating in workloads" -j DROP
-A cali-fw-calie57115fc996 -m comment --comment "cali:FFYnNRBrNyKv-wWA" -j cali-pro-kns.default
-A cali-fw-calie57115fc996 -m comment --comment "cali:M4OleNlNcI-b_IDW" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-fw-calie57115fc996 -m comment --comment "cali:ajGswYXmQ_ytYjim" -j cali-pro-ksa.default.default
-A cali-fw-calie57115fc996 -m comment --comment "cali:3wsmsdqT35WRfcEN" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-fw-calie57115fc996 -m comment --comment "cali:S0f4gerJVT6lTm6d" -m comment --comment "Drop if no profiles matched" -j DROP
-A cali-pri-kns.default -m comment --comment "cali:7Fnh7Pv3_98FtLW7" -j MARK --set-xmark 0x10000/0x10000
-A cali-pri-kns.default -m comment --comment "cali:ZbV6bJXWSRefjK0u" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-pro-kns.default -m comment --comment "cali:oLzzje5WExbgfib5" -j MARK --set-xmark 0x10000/0x10000
-A cali-pro-kns.default -m comment --comment "cali:4goskqvxh5xcGw3s" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-to-wl-dispatch -o calie57115fc996 -m comment --comment "cali:e7oZKb7fMkn-Vbg5" -g cali-tw-calie57115fc996
-A cali-to-wl-dispatch -m comment --comment "cali:yU6UXkjrbiL-AtLO" -m comment --comment "Unknown interface" -j DROP
-A cali-tw-calie57115fc996 -m comment --comment "cali:XWZvakqwTHipnpof" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-tw-calie57115fc996 -m comment --comment "cali:dbCzkZMY1W8-oowP" -m conntrack --ctstate INVALID -j DROP
-A cali-tw-calie57115fc996 -m comment --comment "cali:mMzwoj7NoviGJzJM" -j MARK --set-xmark 0x0/0x10000
-A cali-tw-calie57115fc996 -m comment --comment "cali:S3aSXnf7zX6jAaqe" -j cali-pri-kns.default
-A cali-tw-calie57115fc996 -m comment --comment "cali:e6JIPtZdnKzcLQXs" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-tw-calie57115fc996 -m comment --comment "cali:_y3H2ILmdmm2BEGI" -j cali-pri-ksa.default.default
-A cali-tw-calie57115fc996 -m comment --comment "cali:qTDe7MW8mkWPd2O0" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-tw-calie57115fc996 -m comment --comment "cali:PkS4cAwZqXDWHofY" -m comment --comment "Drop if no profiles matched" -j DROP
-A cali-wl-to-host -m comment --comment "cali:Ee9Sbo10IpVujdIY" -j cali-from-wl-dispatch
-A cali-wl-to-host -m comment --comment "cali:nSZbcOoG1xPONxb8" -m comment --comment "Configured DefaultEndpointToHostAction" -j ACCEPT
COMMIT
END

# --- default/test-7687c8789c-s8g2h
ip -n minik-minik-default-test-7687c8789c-s8g2h link set dev lo up
ip -n minik-minik-default-test-7687c8789c-s8g2h address add 10.100.84.129/32 broadcast 10.100.84.129 dev eth0
ip -n minik-minik-default-test-7687c8789c-s8g2h link set dev eth0 up
ip -n minik-minik-default-test-7687c8789c-s8g2h route add 169.254.1.1 dev eth0 scope link
ip -n minik-minik-default-test-7687c8789c-s8g2h route add default via 169.254.1.1 dev eth0

# --- default/test-7687c8789c-jbvqc
ip -n minik-minik-default-test-7687c8789c-jbvqc link set dev lo up
ip -n minik-minik-default-test-7687c8789c-jbvqc address add 10.100.247.1/32 broadcast 10.100.247.1 dev eth0
ip -n minik-minik-default-test-7687c8789c-jbvqc link set dev eth0 up
ip -n minik-minik-default-test-7687c8789c-jbvqc route add 169.254.1.1 dev eth0 scope link
ip -n minik-minik-default-test-7687c8789c-jbvqc route add default via 169.254.1.1 dev eth0

# --- default/test-7687c8789c-4kbpp
ip -n minik-minik-default-test-7687c8789c-4kbpp link set dev lo up
ip -n minik-minik-default-test-7687c8789c-4kbpp address add 10.100.139.65/32 broadcast 10.100.139.65 dev eth0
ip -n minik-minik-default-test-7687c8789c-4kbpp link set dev eth0 up
ip -n minik-minik-default-test-7687c8789c-4kbpp route add 169.254.1.1 dev eth0 scope link
ip -n minik-minik-default-test-7687c8789c-4kbpp route add default via 169.254.1.1 dev eth0

# --- default/test-7687c8789c-662bn
ip -n minik-minik-default-test-7687c8789c-662bn link set dev lo up
ip -n minik-minik-default-test-7687c8789c-662bn address add 10.100.84.130/32 broadcast 10.100.84.130 dev eth0
ip -n minik-minik-default-test-7687c8789c-662bn link set dev eth0 up
ip -n minik-minik-default-test-7687c8789c-662bn route add 169.254.1.1 dev eth0 scope link
ip -n minik-minik-default-test-7687c8789c-662bn route add default via 169.254.1.1 dev eth0

# Done. A look around, and the way to remove all of it:
#   ip netns exec minik-minik-default-test-7687c8789c-s8g2h ip route
#   sh THIS-SCRIPT down
