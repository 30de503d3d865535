#!/bin/sh
# Builds the network of cluster minik (calico-bgp) by hand. Made by `minik plan --as shell`.
# Run as root; needs iproute2, procps, and of ipset, iptables, nft and ebtables what it names. `down` as argument
# removes it again.
# Nothing outside of the namespaces named here is touched, but for /etc/netns.
set -eu

NAMESPACES="
minik-minik-switch
minik-minik-gateway
minik-minik-client
minik-minik-node-1
minik-minik-node-2
minik-minik-default-test-b8fb9cdb5-wls2w
minik-minik-default-test-b8fb9cdb5-8jfc5
minik-minik-default-test-b8fb9cdb5-khzl9
minik-minik-default-two-containers
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
mkdir -p /etc/netns/minik-minik-switch
cat > /etc/netns/minik-minik-switch/hostname <<'END'
switch
END
cat > /etc/netns/minik-minik-switch/hosts <<'END'
127.0.0.1	localhost
END
cat > /etc/netns/minik-minik-switch/resolv.conf <<'END'
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
mkdir -p /etc/netns/minik-minik-default-test-b8fb9cdb5-wls2w
cat > /etc/netns/minik-minik-default-test-b8fb9cdb5-wls2w/hostname <<'END'
test-b8fb9cdb5-wls2w
END
cat > /etc/netns/minik-minik-default-test-b8fb9cdb5-wls2w/hosts <<'END'
127.0.0.1	localhost
10.100.84.128	test-b8fb9cdb5-wls2w
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
10.100.247.0	test-b8fb9cdb5-8jfc5
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
10.100.84.129	test-b8fb9cdb5-khzl9
END
cat > /etc/netns/minik-minik-default-test-b8fb9cdb5-khzl9/resolv.conf <<'END'
# minik: there is no DNS server here
END
mkdir -p /etc/netns/minik-minik-default-two-containers
cat > /etc/netns/minik-minik-default-two-containers/hostname <<'END'
two-containers
END
cat > /etc/netns/minik-minik-default-two-containers/hosts <<'END'
127.0.0.1	localhost
10.100.247.1	two-containers
END
cat > /etc/netns/minik-minik-default-two-containers/resolv.conf <<'END'
# minik: there is no DNS server here
END

# --- Settings that links inherit, so they come before any link
[ ! -d /proc/sys/net/ipv6 ] || ip netns exec minik-minik-switch sysctl -qw net.ipv6.conf.all.disable_ipv6=1
[ ! -d /proc/sys/net/bridge ] || ip netns exec minik-minik-switch sysctl -qw net.bridge.bridge-nf-call-iptables=0
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
ip netns exec minik-minik-default-test-b8fb9cdb5-wls2w sysctl -qw net.ipv4.ip_forward=0
[ ! -d /proc/sys/net/ipv6 ] || ip netns exec minik-minik-default-test-b8fb9cdb5-wls2w sysctl -qw net.ipv6.conf.all.disable_ipv6=1
ip netns exec minik-minik-default-test-b8fb9cdb5-8jfc5 sysctl -qw net.ipv4.ip_forward=0
[ ! -d /proc/sys/net/ipv6 ] || ip netns exec minik-minik-default-test-b8fb9cdb5-8jfc5 sysctl -qw net.ipv6.conf.all.disable_ipv6=1
ip netns exec minik-minik-default-test-b8fb9cdb5-khzl9 sysctl -qw net.ipv4.ip_forward=0
[ ! -d /proc/sys/net/ipv6 ] || ip netns exec minik-minik-default-test-b8fb9cdb5-khzl9 sysctl -qw net.ipv6.conf.all.disable_ipv6=1
ip netns exec minik-minik-default-two-containers sysctl -qw net.ipv4.ip_forward=0
[ ! -d /proc/sys/net/ipv6 ] || ip netns exec minik-minik-default-two-containers sysctl -qw net.ipv6.conf.all.disable_ipv6=1

# --- Links, each veth pair once, born where it belongs
ip -n minik-minik-switch link add br0 address b6:c4:2c:2b:b7:cf mtu 1500 type bridge
ip -n minik-minik-switch link add gateway address be:b8:60:c7:db:65 mtu 1500 type veth peer name eth0 netns minik-minik-gateway address 2e:57:81:6a:d2:d2 mtu 1500
ip -n minik-minik-switch link add client address f6:6d:04:ce:df:97 mtu 1500 type veth peer name ens33 netns minik-minik-client address f2:23:be:05:0f:59 mtu 1500
ip -n minik-minik-switch link add node-1 address a2:29:76:df:c5:77 mtu 1500 type veth peer name ens33 netns minik-minik-node-1 address 00:0c:29:10:a9:6c mtu 1500
ip -n minik-minik-switch link add node-2 address 36:9e:4e:24:56:03 mtu 1500 type veth peer name ens33 netns minik-minik-node-2 address 00:0c:29:2f:33:85 mtu 1500
ip -n minik-minik-node-1 link add calidd47bd11a40 address ee:ee:ee:ee:ee:ee mtu 1500 type veth peer name eth0 netns minik-minik-default-test-b8fb9cdb5-wls2w address 6a:a3:fb:40:4a:30 mtu 1500
ip -n minik-minik-node-1 link add cali70701a9aebc address ee:ee:ee:ee:ee:ee mtu 1500 type veth peer name eth0 netns minik-minik-default-test-b8fb9cdb5-khzl9 address 8a:85:17:ee:5a:86 mtu 1500
ip -n minik-minik-node-2 link add calif403b72aa18 address ee:ee:ee:ee:ee:ee mtu 1500 type veth peer name eth0 netns minik-minik-default-test-b8fb9cdb5-8jfc5 address 96:42:51:c7:54:aa mtu 1500
ip -n minik-minik-node-2 link add cali84261f2dfa9 address ee:ee:ee:ee:ee:ee mtu 1500 type veth peer name eth0 netns minik-minik-default-two-containers address 8e:43:a2:42:45:ba mtu 1500

# --- switch
ip -n minik-minik-switch link set dev lo up
ip -n minik-minik-switch link set dev br0 up
ip -n minik-minik-switch link set dev gateway master br0
ip -n minik-minik-switch link set dev gateway up
ip -n minik-minik-switch link set dev client master br0
ip -n minik-minik-switch link set dev client up
ip -n minik-minik-switch link set dev node-1 master br0
ip -n minik-minik-switch link set dev node-1 up
ip -n minik-minik-switch link set dev node-2 master br0
ip -n minik-minik-switch link set dev node-2 up

# --- gateway
ip -n minik-minik-gateway link set dev lo up
ip -n minik-minik-gateway address add 10.1.10.2/24 broadcast 10.1.10.255 dev eth0
ip -n minik-minik-gateway link set dev eth0 up

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
ip netns exec minik-minik-node-1 sysctl -qw net.ipv4.conf.calidd47bd11a40.proxy_arp=1
ip netns exec minik-minik-node-1 sysctl -qw net.ipv4.conf.calidd47bd11a40.forwarding=1
ip netns exec minik-minik-node-1 sysctl -qw net.ipv4.conf.calidd47bd11a40.route_localnet=1
ip netns exec minik-minik-node-1 sysctl -qw net.ipv4.neigh.calidd47bd11a40.proxy_delay=0
ip -n minik-minik-node-1 link set dev calidd47bd11a40 up
ip netns exec minik-minik-node-1 sysctl -qw net.ipv4.conf.cali70701a9aebc.proxy_arp=1
ip netns exec minik-minik-node-1 sysctl -qw net.ipv4.conf.cali70701a9aebc.forwarding=1
ip netns exec minik-minik-node-1 sysctl -qw net.ipv4.conf.cali70701a9aebc.route_localnet=1
ip netns exec minik-minik-node-1 sysctl -qw net.ipv4.neigh.cali70701a9aebc.proxy_delay=0
ip -n minik-minik-node-1 link set dev cali70701a9aebc up
ip -n minik-minik-node-1 route add default via 10.1.10.2 dev ens33
ip -n minik-minik-node-1 route add blackhole 10.100.84.128/26 proto bird
ip -n minik-minik-node-1 route add 10.100.84.128 dev calidd47bd11a40 scope link
ip -n minik-minik-node-1 route add 10.100.84.129 dev cali70701a9aebc scope link
ip -n minik-minik-node-1 route add 10.100.247.0/26 via 10.1.10.10 dev ens33 proto bird
ip netns exec minik-minik-node-1 ipset restore <<'END'
create cali40all-ipam-pools hash:net family inet hashsize 1024 maxelem 1048576
add cali40all-ipam-pools 10.100.0.0/16
create cali40masq-ipam-pools hash:net family inet hashsize 1024 maxelem 1048576
add cali40masq-ipam-pools 10.100.0.0/16
create cali40this-host hash:ip family inet hashsize 1024 maxelem 1048576
add cali40this-host 10.1.10.9
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
:cali-fw-cali70701a9aebc - [0:0]
:cali-fw-calidd47bd11a40 - [0:0]
:cali-pri-kns.default - [0:0]
:cali-pri-ksa.default.default - [0:0]
:cali-pro-kns.default - [0:0]
:cali-pro-ksa.default.default - [0:0]
:cali-to-hep-forward - [0:0]
:cali-to-host-endpoint - [0:0]
:cali-to-wl-dispatch - [0:0]
:cali-tw-cali70701a9aebc - [0:0]
:cali-tw-calidd47bd11a40 - [0:0]
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
-A cali-INPUT -i cali+ -m comment --comment "cali:FewJpBykm9iJ-YNH" -g cali-wl-to-host
-A cali-INPUT -m comment --comment "cali:hder3ARWznqqv8Va" -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-INPUT -m comment --comment "cali:xgOu2uJft6H9oDGF" -j MARK --set-xmark 0x0/0xf0000
-A cali-INPUT -m comment --comment "cali:_-d-qojMfHM6NwBo" -j cali-from-host-endpoint
-A cali-INPUT -m comment --comment "cali:LqmE76MP94lZTGhA" -m comment --comment "Host endpoint policy accepted packet." -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-OUTPUT -m comment --comment "cali:Mq1_rAdXXH3YkrzW" -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-OUTPUT -o cali+ -m comment --comment "cali:69FkRTJDvD5Vu6Vl" -j RETURN
-A cali-OUTPUT -m comment --comment "cali:Fskumj4SGQtDV6GC" -j MARK --set-xmark 0x0/0xf0000
-A cali-OUTPUT -m comment --comment "cali:1F4VWEsQu0QbRwKf" -m conntrack ! --ctstate DNAT -j cali-to-host-endpoint
-A cali-OUTPUT -m comment --comment "cali:m8Eqm15x1MjD24LD" -m comment --comment "Host endpoint policy accepted packet." -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-from-wl-dispatch -i cali70701a9aebc -m comment --comment "cali:ABY9hIQ3RGwHAnBK" -g cali-fw-cali70701a9aebc
-A cali-from-wl-dispatch -i calidd47bd11a40 -m comment --comment "cali:Fv0Ng0dISiQdrROQ" -g cali-fw-calidd47bd11a40
-A cali-from-wl-dispatch -m comment --comment "cali:abuZFUtU2v6IBsYL" -m comment --comment "Unknown interface" -j DROP
-A cali-fw-cali70701a9aebc -m comment --comment "cali:uKqAOUjRIkfZ-PqR" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-fw-cali70701a9aebc -m comment --comment "cali:RKh2ecNKLkQEknOL" -m conntrack --ctstate INVALID -j DROP
-A cali-fw-cali70701a9aebc -m comment --comment "cali:C5KYj8GItkJgX4rC" -j MARK --set-xmark 0x0/0x10000
-A cali-fw-cali70701a9aebc -p udp -m comment --comment "cali:VYcof7FwaqPKs4-t" -m comment --comment "Drop VXLAN encapped packets originating in workloads" -m multiport --dports 4789 -j DROP
-A cali-fw-cali70701a9aebc -p 4 -m comment --comment "cali:OfF9NmswZTpG9ZSf" -m comment --comment "Drop IPinIP encapped packets originating in workloads" -j DROP
-A cali-fw-cali70701a9aebc -m comment --comment "cali:ckcLF4zqXTG0LSGq" -j cali-pro-kns.default
-A cali-fw-cali70701a9aebc -m comment --comment "cali:CsnKJunlmC5fD36T" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-fw-cali70701a9aebc -m comment --comment "cali:tZI5DzGifrN09P1q" -j cali-pro-ksa.default.default
-A cali-fw-cali70701a9aebc -m comment --comment "cali:uYu5H7HdgY52vBxt" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-fw-cali70701a9aebc -m comment --comment "cali:9MOn8R3ThXYdigEq" -m comment --comment "Drop if no profiles matched" -j DROP
-A cali-fw-calidd47bd11a40 -m comment --comment "cali:ABXgC3w8NJzpvj3F" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-fw-calidd47bd11a40 -m comment --comment "cali:R5ZoVcjJSaAifME-" -m conntrack --ctstate INVALID -j DROP
-A cali-fw-calidd47bd11a40 -m comment --comment "cali:IaJ-b7V6BV8d0q5A" -j MARK --set-xmark 0x0/0x10000
-A cali-fw-calidd47bd11a40 -p udp -m comment --comment "cali:xG0MtLYz9J0GL_xf" -m comment --comment "Drop VXLAN encapped packets originating in workloads" -m multiport --dports 4789 -j DROP
-A cali-fw-calidd47bd11a40 -p 4 -m comment --comment "cali:gkCupD6xRgX7doJw" -m comment --comment "Drop IPinIP encapped packets originating in workloads" -j DROP
-A cali-fw-calidd47bd11a40 -m comment --comment "cali:8SxcgwnwwHK1owef" -j cali-pro-kns.default
-A cali-fw-calidd47bd11a40 -m comment --comment "cali:bDPOAxLS0heEnu9I" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-fw-calidd47bd11a40 -m comment --comment "cali:8o2BmH0ib9fUMd9O" -j cali-pro-ksa.default.default
-A cali-fw-calidd47bd11a40 -m comment --comment "cali:YhaXR9CeLL84cJ_e" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-fw-calidd47bd11a40 -m comment --comment "cali:MWgY1B_It3ZBS86B" -m comment --comment "Drop if no profiles matched" -j DROP
-A cali-pri-kns.default -m comment --comment "cali:7Fnh7Pv3_98FtLW7" -j MARK --set-xmark 0x10000/0x10000
-A cali-pri-kns.default -m comment --comment "cali:ZbV6bJXWSRefjK0u" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-pro-kns.default -m comment --comment "cali:oLzzje5WExbgfib5" -j MARK --set-xmark 0x10000/0x10000
-A cali-pro-kns.default -m comment --comment "cali:4goskqvxh5xcGw3s" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-to-wl-dispatch -o cali70701a9aebc -m comment --comment "cali:A8SdBzGzbxw8nqHf" -g cali-tw-cali70701a9aebc
-A cali-to-wl-dispatch -o calidd47bd11a40 -m comment --comment "cali:PaVdM9dxN-uDtO1G" -g cali-tw-calidd47bd11a40
-A cali-to-wl-dispatch -m comment --comment "cali:1pUN_UlOy3GWO1o2" -m comment --comment "Unknown interface" -j DROP
-A cali-tw-cali70701a9aebc -m comment --comment "cali:m4Zsf1hkgU8njTIQ" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-tw-cali70701a9aebc -m comment --comment "cali:7EIP1YrFDxR0r2cv" -m conntrack --ctstate INVALID -j DROP
-A cali-tw-cali70701a9aebc -m comment --comment "cali:oTW4frCnu_-KLD07" -j MARK --set-xmark 0x0/0x10000
-A cali-tw-cali70701a9aebc -m comment --comment "cali:sbZelub07095jF4K" -j cali-pri-kns.default
-A cali-tw-cali70701a9aebc -m comment --comment "cali:1NDELLQL2VWMNpKZ" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-tw-cali70701a9aebc -m comment --comment "cali:SJkNtvtlLNF5WJ7H" -j cali-pri-ksa.default.default
-A cali-tw-cali70701a9aebc -m comment --comment "cali:Sn_1HCflYdUcEPWp" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-tw-cali70701a9aebc -m comment --comment "cali:4XSKgSvQtt0yW2Al" -m comment --comment "Drop if no profiles matched" -j DROP
-A cali-tw-calidd47bd11a40 -m comment --comment "cali:0Ch1D2Cx_sRql15u" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-tw-calidd47bd11a40 -m comment --comment "cali:zhD0r1SeAPUI76tm" -m conntrack --ctstate INVALID -j DROP
-A cali-tw-calidd47bd11a40 -m comment --comment "cali:2UgBJwAl7GjIQHg_" -j MARK --set-xmark 0x0/0x10000
-A cali-tw-calidd47bd11a40 -m comment --comment "cali:pUf1sPz8cdOhmBBn" -j cali-pri-kns.default
-A cali-tw-calidd47bd11a40 -m comment --comment "cali:891pmtt7rA9LndBe" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-tw-calidd47bd11a40 -m comment --comment "cali:4YByNAxnx9Z7o7sq" -j cali-pri-ksa.default.default
-A cali-tw-calidd47bd11a40 -m comment --comment "cali:_E99kLXolxjWVkzs" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-tw-calidd47bd11a40 -m comment --comment "cali:gNBwwPkxYZB8fT9p" -m comment --comment "Drop if no profiles matched" -j DROP
-A cali-wl-to-host -m comment --comment "cali:Ee9Sbo10IpVujdIY" -j cali-from-wl-dispatch
-A cali-wl-to-host -m comment --comment "cali:nSZbcOoG1xPONxb8" -m comment --comment "Configured DefaultEndpointToHostAction" -j ACCEPT
COMMIT
END

# --- node-2
ip -n minik-minik-node-2 link set dev lo up
ip -n minik-minik-node-2 address add 10.1.10.10/24 broadcast 10.1.10.255 dev ens33
ip -n minik-minik-node-2 link set dev ens33 up
ip netns exec minik-minik-node-2 sysctl -qw net.ipv4.conf.calif403b72aa18.proxy_arp=1
ip netns exec minik-minik-node-2 sysctl -qw net.ipv4.conf.calif403b72aa18.forwarding=1
ip netns exec minik-minik-node-2 sysctl -qw net.ipv4.conf.calif403b72aa18.route_localnet=1
ip netns exec minik-minik-node-2 sysctl -qw net.ipv4.neigh.calif403b72aa18.proxy_delay=0
ip -n minik-minik-node-2 link set dev calif403b72aa18 up
ip netns exec minik-minik-node-2 sysctl -qw net.ipv4.conf.cali84261f2dfa9.proxy_arp=1
ip netns exec minik-minik-node-2 sysctl -qw net.ipv4.conf.cali84261f2dfa9.forwarding=1
ip netns exec minik-minik-node-2 sysctl -qw net.ipv4.conf.cali84261f2dfa9.route_localnet=1
ip netns exec minik-minik-node-2 sysctl -qw net.ipv4.neigh.cali84261f2dfa9.proxy_delay=0
ip -n minik-minik-node-2 link set dev cali84261f2dfa9 up
ip -n minik-minik-node-2 route add default via 10.1.10.2 dev ens33
ip -n minik-minik-node-2 route add 10.100.84.128/26 via 10.1.10.9 dev ens33 proto bird
ip -n minik-minik-node-2 route add blackhole 10.100.247.0/26 proto bird
ip -n minik-minik-node-2 route add 10.100.247.0 dev calif403b72aa18 scope link
ip -n minik-minik-node-2 route add 10.100.247.1 dev cali84261f2dfa9 scope link
ip netns exec minik-minik-node-2 ipset restore <<'END'
create cali40all-ipam-pools hash:net family inet hashsize 1024 maxelem 1048576
add cali40all-ipam-pools 10.100.0.0/16
create cali40masq-ipam-pools hash:net family inet hashsize 1024 maxelem 1048576
add cali40masq-ipam-pools 10.100.0.0/16
create cali40this-host hash:ip family inet hashsize 1024 maxelem 1048576
add cali40this-host 10.1.10.10
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
:cali-fw-cali84261f2dfa9 - [0:0]
:cali-fw-calif403b72aa18 - [0:0]
:cali-pri-kns.default - [0:0]
:cali-pri-ksa.default.default - [0:0]
:cali-pro-kns.default - [0:0]
:cali-pro-ksa.default.default - [0:0]
:cali-to-hep-forward - [0:0]
:cali-to-host-endpoint - [0:0]
:cali-to-wl-dispatch - [0:0]
:cali-tw-cali84261f2dfa9 - [0:0]
:cali-tw-calif403b72aa18 - [0:0]
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
-A cali-INPUT -i cali+ -m comment --comment "cali:FewJpBykm9iJ-YNH" -g cali-wl-to-host
-A cali-INPUT -m comment --comment "cali:hder3ARWznqqv8Va" -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-INPUT -m comment --comment "cali:xgOu2uJft6H9oDGF" -j MARK --set-xmark 0x0/0xf0000
-A cali-INPUT -m comment --comment "cali:_-d-qojMfHM6NwBo" -j cali-from-host-endpoint
-A cali-INPUT -m comment --comment "cali:LqmE76MP94lZTGhA" -m comment --comment "Host endpoint policy accepted packet." -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-OUTPUT -m comment --comment "cali:Mq1_rAdXXH3YkrzW" -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-OUTPUT -o cali+ -m comment --comment "cali:69FkRTJDvD5Vu6Vl" -j RETURN
-A cali-OUTPUT -m comment --comment "cali:Fskumj4SGQtDV6GC" -j MARK --set-xmark 0x0/0xf0000
-A cali-OUTPUT -m comment --comment "cali:1F4VWEsQu0QbRwKf" -m conntrack ! --ctstate DNAT -j cali-to-host-endpoint
-A cali-OUTPUT -m comment --comment "cali:m8Eqm15x1MjD24LD" -m comment --comment "Host endpoint policy accepted packet." -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-from-wl-dispatch -i cali84261f2dfa9 -m comment --comment "cali:MKp1N9KELTbVdMx2" -g cali-fw-cali84261f2dfa9
-A cali-from-wl-dispatch -i calif403b72aa18 -m comment --comment "cali:Ntj4FAXe6OJ_g2bY" -g cali-fw-calif403b72aa18
-A cali-from-wl-dispatch -m comment --comment "cali:U4M71QtMnPSholIc" -m comment --comment "Unknown interface" -j DROP
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
-A cali-fw-calif403b72aa18 -m comment --comment "cali:ZPxhPULM2qlcYW1m" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-fw-calif403b72aa18 -m comment --comment "cali:r5Vt0xg6sjPUF02j" -m conntrack --ctstate INVALID -j DROP
-A cali-fw-calif403b72aa18 -m comment --comment "cali:M_iTOwPzkmq3dk3X" -j MARK --set-xmark 0x0/0x10000
-A cali-fw-calif403b72aa18 -p udp -m comment --comment "cali:aTY7i2rK5TFPQoR4" -m comment --comment "Drop VXLAN encapped packets originating in workloads" -m multiport --dports 4789 -j DROP
-A cali-fw-calif403b72aa18 -p 4 -m comment --comment "cali:wqwfqC5ma5qaJJUh" -m comment --comment "Drop IPinIP encapped packets originating in workloads" -j DROP
-A cali-fw-calif403b72aa18 -m comment --comment "cali:V510307oaCX-qdz7" -j cali-pro-kns.default
-A cali-fw-calif403b72aa18 -m comment --comment "cali:rDIFPq7UxHpKFI9B" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-fw-calif403b72aa18 -m comment --comment "cali:pa9ZZyZTsTd7e1Pz" -j cali-pro-ksa.default.default
-A cali-fw-calif403b72aa18 -m comment --comment "cali:ltm_C0H9RuDa-TJd" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-fw-calif403b72aa18 -m comment --comment "cali:B7r7cOjd0RDl-t9D" -m comment --comment "Drop if no profiles matched" -j DROP
-A cali-pri-kns.default -m comment --comment "cali:7Fnh7Pv3_98FtLW7" -j MARK --set-xmark 0x10000/0x10000
-A cali-pri-kns.default -m comment --comment "cali:ZbV6bJXWSRefjK0u" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-pro-kns.default -m comment --comment "cali:oLzzje5WExbgfib5" -j MARK --set-xmark 0x10000/0x10000
-A cali-pro-kns.default -m comment --comment "cali:4goskqvxh5xcGw3s" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-to-wl-dispatch -o cali84261f2dfa9 -m comment --comment "cali:SqtjcqVL4SJ-1uhF" -g cali-tw-cali84261f2dfa9
-A cali-to-wl-dispatch -o calif403b72aa18 -m comment --comment "cali:EBZmP_uc8p5Td0sZ" -g cali-tw-calif403b72aa18
-A cali-to-wl-dispatch -m comment --comment "cali:sik_1ydmxY1NQB-A" -m comment --comment "Unknown interface" -j DROP
-A cali-tw-cali84261f2dfa9 -m comment --comment "cali:hD3xNggYEt6wZ68j" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-tw-cali84261f2dfa9 -m comment --comment "cali:WUWW0UX8rCxD3w-S" -m conntrack --ctstate INVALID -j DROP
-A cali-tw-cali84261f2dfa9 -m comment --comment "cali:dmCAhiFYEskSvmjO" -j MARK --set-xmark 0x0/0x10000
-A cali-tw-cali84261f2dfa9 -m comment --comment "cali:-bU3yyLZ4AKKcErr" -j cali-pri-kns.default
-A cali-tw-cali84261f2dfa9 -m comment --comment "cali:X0FA5iSUJY25-1Xy" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-tw-cali84261f2dfa9 -m comment --comment "cali:t6vU62c-fhTa9RlA" -j cali-pri-ksa.default.default
-A cali-tw-cali84261f2dfa9 -m comment --comment "cali:ej8v7vyDVsBJs1dQ" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-tw-cali84261f2dfa9 -m comment --comment "cali:eAX1Y5qE3yv3y10H" -m comment --comment "Drop if no profiles matched" -j DROP
-A cali-tw-calif403b72aa18 -m comment --comment "cali:MaJ1edSDGQc1f2fv" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-tw-calif403b72aa18 -m comment --comment "cali:G50pETU_gyiMOtpO" -m conntrack --ctstate INVALID -j DROP
-A cali-tw-calif403b72aa18 -m comment --comment "cali:4CaYrF5up9moRlmY" -j MARK --set-xmark 0x0/0x10000
-A cali-tw-calif403b72aa18 -m comment --comment "cali:IqLW_sgE-jgTwZR7" -j cali-pri-kns.default
-A cali-tw-calif403b72aa18 -m comment --comment "cali:eXEEE7JPHn4OH4Uo" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-tw-calif403b72aa18 -m comment --comment "cali:tD6w9C38Pl4EYBLw" -j cali-pri-ksa.default.default
-A cali-tw-calif403b72aa18 -m comment --comment "cali:L-v8aqNK0boPVFnx" -m comment --comment "Return if profile accepted" -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-tw-calif403b72aa18 -m comment --comment "cali:Hd9wNvIt235wvD9K" -m comment --comment "Drop if no profiles matched" -j DROP
-A cali-wl-to-host -m comment --comment "cali:Ee9Sbo10IpVujdIY" -j cali-from-wl-dispatch
-A cali-wl-to-host -m comment --comment "cali:nSZbcOoG1xPONxb8" -m comment --comment "Configured DefaultEndpointToHostAction" -j ACCEPT
COMMIT
END

# --- default/test-b8fb9cdb5-wls2w
ip -n minik-minik-default-test-b8fb9cdb5-wls2w link set dev lo up
ip -n minik-minik-default-test-b8fb9cdb5-wls2w address add 10.100.84.128/32 broadcast 10.100.84.128 dev eth0
ip -n minik-minik-default-test-b8fb9cdb5-wls2w link set dev eth0 up
ip -n minik-minik-default-test-b8fb9cdb5-wls2w route add 169.254.1.1 dev eth0 scope link
ip -n minik-minik-default-test-b8fb9cdb5-wls2w route add default via 169.254.1.1 dev eth0

# --- default/test-b8fb9cdb5-8jfc5
ip -n minik-minik-default-test-b8fb9cdb5-8jfc5 link set dev lo up
ip -n minik-minik-default-test-b8fb9cdb5-8jfc5 address add 10.100.247.0/32 broadcast 10.100.247.0 dev eth0
ip -n minik-minik-default-test-b8fb9cdb5-8jfc5 link set dev eth0 up
ip -n minik-minik-default-test-b8fb9cdb5-8jfc5 route add 169.254.1.1 dev eth0 scope link
ip -n minik-minik-default-test-b8fb9cdb5-8jfc5 route add default via 169.254.1.1 dev eth0

# --- default/test-b8fb9cdb5-khzl9
ip -n minik-minik-default-test-b8fb9cdb5-khzl9 link set dev lo up
ip -n minik-minik-default-test-b8fb9cdb5-khzl9 address add 10.100.84.129/32 broadcast 10.100.84.129 dev eth0
ip -n minik-minik-default-test-b8fb9cdb5-khzl9 link set dev eth0 up
ip -n minik-minik-default-test-b8fb9cdb5-khzl9 route add 169.254.1.1 dev eth0 scope link
ip -n minik-minik-default-test-b8fb9cdb5-khzl9 route add default via 169.254.1.1 dev eth0

# --- default/two-containers
ip -n minik-minik-default-two-containers link set dev lo up
ip -n minik-minik-default-two-containers address add 10.100.247.1/32 broadcast 10.100.247.1 dev eth0
ip -n minik-minik-default-two-containers link set dev eth0 up
ip -n minik-minik-default-two-containers route add 169.254.1.1 dev eth0 scope link
ip -n minik-minik-default-two-containers route add default via 169.254.1.1 dev eth0

# Done. A look around, and the way to remove all of it:
#   ip netns exec minik-minik-default-test-b8fb9cdb5-wls2w ip route
#   sh THIS-SCRIPT down
