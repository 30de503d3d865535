#!/bin/sh
# Builds the network of cluster minik (bridge) by hand. Made by `minik plan --as shell`.
# Run as root; needs iproute2, procps, and of ipset, iptables, nft and ebtables what it names. `down` as argument
# removes it again.
# Nothing outside of the namespaces named here is touched, but for /etc/netns.
set -eu

NAMESPACES="
minik-minik-switch
minik-minik-gateway
minik-minik-client
minik-minik-node-1
minik-minik-default-test-b8fb9cdb5-wls2w
minik-minik-default-test-b8fb9cdb5-8jfc5
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
10.22.0.1	node-1
END
cat > /etc/netns/minik-minik-node-1/resolv.conf <<'END'
# minik: there is no DNS server here
END
mkdir -p /etc/netns/minik-minik-default-test-b8fb9cdb5-wls2w
cat > /etc/netns/minik-minik-default-test-b8fb9cdb5-wls2w/hostname <<'END'
test-b8fb9cdb5-wls2w
END
cat > /etc/netns/minik-minik-default-test-b8fb9cdb5-wls2w/hosts <<'END'
127.0.0.1	localhost
10.22.0.2	test-b8fb9cdb5-wls2w
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
10.22.0.3	test-b8fb9cdb5-8jfc5
END
cat > /etc/netns/minik-minik-default-test-b8fb9cdb5-8jfc5/resolv.conf <<'END'
# minik: there is no DNS server here
END
mkdir -p /etc/netns/minik-minik-default-web
cat > /etc/netns/minik-minik-default-web/hostname <<'END'
web
END
cat > /etc/netns/minik-minik-default-web/hosts <<'END'
127.0.0.1	localhost
10.22.0.4	web
END
cat > /etc/netns/minik-minik-default-web/resolv.conf <<'END'
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
[ ! -d /proc/sys/net/bridge ] || ip netns exec minik-minik-node-1 sysctl -qw net.bridge.bridge-nf-call-iptables=1
ip netns exec minik-minik-default-test-b8fb9cdb5-wls2w sysctl -qw net.ipv4.ip_forward=0
[ ! -d /proc/sys/net/ipv6 ] || ip netns exec minik-minik-default-test-b8fb9cdb5-wls2w sysctl -qw net.ipv6.conf.all.disable_ipv6=1
ip netns exec minik-minik-default-test-b8fb9cdb5-8jfc5 sysctl -qw net.ipv4.ip_forward=0
[ ! -d /proc/sys/net/ipv6 ] || ip netns exec minik-minik-default-test-b8fb9cdb5-8jfc5 sysctl -qw net.ipv6.conf.all.disable_ipv6=1
ip netns exec minik-minik-default-web sysctl -qw net.ipv4.ip_forward=0
[ ! -d /proc/sys/net/ipv6 ] || ip netns exec minik-minik-default-web sysctl -qw net.ipv6.conf.all.disable_ipv6=1

# --- Links, each veth pair once, born where it belongs
ip -n minik-minik-switch link add br0 address b6:c4:2c:2b:b7:cf mtu 1500 type bridge
ip -n minik-minik-switch link add gateway address be:b8:60:c7:db:65 mtu 1500 type veth peer name eth0 netns minik-minik-gateway address 2e:57:81:6a:d2:d2 mtu 1500
ip -n minik-minik-switch link add client address f6:6d:04:ce:df:97 mtu 1500 type veth peer name ens33 netns minik-minik-client address f2:23:be:05:0f:59 mtu 1500
ip -n minik-minik-switch link add node-1 address a2:29:76:df:c5:77 mtu 1500 type veth peer name ens33 netns minik-minik-node-1 address 00:0c:29:10:a9:6c mtu 1500
ip -n minik-minik-node-1 link add cni0 address 1e:80:2d:58:39:b2 mtu 1500 type bridge
ip -n minik-minik-node-1 link add veth37760fb5 address 3e:cd:41:91:ac:96 mtu 1500 type veth peer name eth0 netns minik-minik-default-test-b8fb9cdb5-wls2w address 6a:a3:fb:40:4a:30 mtu 1500
ip -n minik-minik-node-1 link add veth8400e453 address 66:6d:cf:5e:e2:29 mtu 1500 type veth peer name eth0 netns minik-minik-default-test-b8fb9cdb5-8jfc5 address 96:42:51:c7:54:aa mtu 1500
ip -n minik-minik-node-1 link add veth6bead204 address ee:b0:df:49:57:83 mtu 1500 type veth peer name eth0 netns minik-minik-default-web address 66:bf:3c:62:d1:9f mtu 1500

# --- switch
ip -n minik-minik-switch link set dev lo up
ip -n minik-minik-switch link set dev br0 up
ip -n minik-minik-switch link set dev gateway master br0
ip -n minik-minik-switch link set dev gateway up
ip -n minik-minik-switch link set dev client master br0
ip -n minik-minik-switch link set dev client up
ip -n minik-minik-switch link set dev node-1 master br0
ip -n minik-minik-switch link set dev node-1 up

# --- gateway
ip -n minik-minik-gateway link set dev lo up
ip -n minik-minik-gateway address add 10.1.10.2/24 broadcast 10.1.10.255 dev eth0
ip -n minik-minik-gateway link set dev eth0 up

# --- client
ip -n minik-minik-client link set dev lo up
ip -n minik-minik-client address add 10.1.10.8/24 broadcast 10.1.10.255 dev ens33
ip -n minik-minik-client link set dev ens33 up
ip -n minik-minik-client route add default via 10.1.10.2 dev ens33

# --- node-1
ip -n minik-minik-node-1 link set dev lo up
ip -n minik-minik-node-1 address add 10.1.10.9/24 broadcast 10.1.10.255 dev ens33
ip -n minik-minik-node-1 link set dev ens33 up
ip -n minik-minik-node-1 address add 10.22.0.1/16 broadcast 10.22.255.255 dev cni0
ip -n minik-minik-node-1 link set dev cni0 up
ip -n minik-minik-node-1 link set dev veth37760fb5 master cni0
ip -n minik-minik-node-1 link set dev veth37760fb5 up
ip -n minik-minik-node-1 link set dev veth8400e453 master cni0
ip -n minik-minik-node-1 link set dev veth8400e453 up
ip -n minik-minik-node-1 link set dev veth6bead204 master cni0
ip -n minik-minik-node-1 link set dev veth6bead204 up
ip -n minik-minik-node-1 route add default via 10.1.10.2 dev ens33
ip netns exec minik-minik-node-1 iptables-restore <<'END'
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:CNI-59a011f7e4825895818c8004 - [0:0]
:CNI-8596e7b8561339e79c44eb32 - [0:0]
:CNI-b98b62843fb89077b82f8b71 - [0:0]
-A POSTROUTING -s 10.22.0.2/32 -m comment --comment "name: \"mynet\" id: \"6dc1e2e499ab631b802ca36421b008a770cad26cc333b03a68d316518cf21504\"" -j CNI-8596e7b8561339e79c44eb32
-A POSTROUTING -s 10.22.0.3/32 -m comment --comment "name: \"mynet\" id: \"cb041266d27306313b35d74ac87ec70153e813257cc716a6e4f9b968424af102\"" -j CNI-59a011f7e4825895818c8004
-A POSTROUTING -s 10.22.0.4/32 -m comment --comment "name: \"mynet\" id: \"4838640b664a248b8cce733205f2fb2029cc6fee0799585bfe11c25eb05ca7c8\"" -j CNI-b98b62843fb89077b82f8b71
-A CNI-59a011f7e4825895818c8004 -d 10.22.0.0/16 -m comment --comment "name: \"mynet\" id: \"cb041266d27306313b35d74ac87ec70153e813257cc716a6e4f9b968424af102\"" -j ACCEPT
-A CNI-59a011f7e4825895818c8004 ! -d 224.0.0.0/4 -m comment --comment "name: \"mynet\" id: \"cb041266d27306313b35d74ac87ec70153e813257cc716a6e4f9b968424af102\"" -j MASQUERADE
-A CNI-8596e7b8561339e79c44eb32 -d 10.22.0.0/16 -m comment --comment "name: \"mynet\" id: \"6dc1e2e499ab631b802ca36421b008a770cad26cc333b03a68d316518cf21504\"" -j ACCEPT
-A CNI-8596e7b8561339e79c44eb32 ! -d 224.0.0.0/4 -m comment --comment "name: \"mynet\" id: \"6dc1e2e499ab631b802ca36421b008a770cad26cc333b03a68d316518cf21504\"" -j MASQUERADE
-A CNI-b98b62843fb89077b82f8b71 -d 10.22.0.0/16 -m comment --comment "name: \"mynet\" id: \"4838640b664a248b8cce733205f2fb2029cc6fee0799585bfe11c25eb05ca7c8\"" -j ACCEPT
-A CNI-b98b62843fb89077b82f8b71 ! -d 224.0.0.0/4 -m comment --comment "name: \"mynet\" id: \"4838640b664a248b8cce733205f2fb2029cc6fee0799585bfe11c25eb05ca7c8\"" -j MASQUERADE
COMMIT
END
# Files that this has too; `minik exec` shows them at their paths, `ip netns exec` cannot:
# /etc/cni/net.d/10-mynet.conflist
#   {
#     "cniVersion": "0.4.0",
#     "name": "mynet",
#     "plugins": [
#       {
#         "type": "bridge",
#         "bridge": "cni0",
#         "isGateway": true,
#         "ipMasq": true,
#         "ipam": {
#           "type": "host-local",
#           "subnet": "10.22.0.0/16",
#           "routes": [
#             { "dst": "0.0.0.0/0" }
#           ]
#         }
#       },
#       {
#         "type": "portmap",
#         "capabilities": { "portMappings": true }
#       }
#     ]
#   }
# /var/lib/cni/networks/mynet/10.22.0.2
#   6dc1e2e499ab631b802ca36421b008a770cad26cc333b03a68d316518cf21504
#   eth0
# /var/lib/cni/networks/mynet/10.22.0.3
#   cb041266d27306313b35d74ac87ec70153e813257cc716a6e4f9b968424af102
#   eth0
# /var/lib/cni/networks/mynet/10.22.0.4
#   4838640b664a248b8cce733205f2fb2029cc6fee0799585bfe11c25eb05ca7c8
#   eth0
# /var/lib/cni/networks/mynet/last_reserved_ip.0
#   10.22.0.4
# /var/lib/cni/networks/mynet/lock

# --- default/test-b8fb9cdb5-wls2w
ip -n minik-minik-default-test-b8fb9cdb5-wls2w link set dev lo up
ip -n minik-minik-default-test-b8fb9cdb5-wls2w address add 10.22.0.2/16 broadcast 10.22.255.255 dev eth0
ip netns exec minik-minik-default-test-b8fb9cdb5-wls2w sysctl -qw net.ipv4.conf.eth0.arp_notify=1
ip -n minik-minik-default-test-b8fb9cdb5-wls2w link set dev eth0 up
ip -n minik-minik-default-test-b8fb9cdb5-wls2w route add default via 10.22.0.1 dev eth0

# --- default/test-b8fb9cdb5-8jfc5
ip -n minik-minik-default-test-b8fb9cdb5-8jfc5 link set dev lo up
ip -n minik-minik-default-test-b8fb9cdb5-8jfc5 address add 10.22.0.3/16 broadcast 10.22.255.255 dev eth0
ip netns exec minik-minik-default-test-b8fb9cdb5-8jfc5 sysctl -qw net.ipv4.conf.eth0.arp_notify=1
ip -n minik-minik-default-test-b8fb9cdb5-8jfc5 link set dev eth0 up
ip -n minik-minik-default-test-b8fb9cdb5-8jfc5 route add default via 10.22.0.1 dev eth0

# --- default/web
ip -n minik-minik-default-web link set dev lo up
ip -n minik-minik-default-web address add 10.22.0.4/16 broadcast 10.22.255.255 dev eth0
ip netns exec minik-minik-default-web sysctl -qw net.ipv4.conf.eth0.arp_notify=1
ip -n minik-minik-default-web link set dev eth0 up
ip -n minik-minik-default-web route add default via 10.22.0.1 dev eth0

# Done. A look around, and the way to remove all of it:
#   ip netns exec minik-minik-default-test-b8fb9cdb5-wls2w ip route
#   sh THIS-SCRIPT down
