#!/bin/sh
# Builds the network of cluster minik (flannel-vxlan) by hand. Made by `minik plan --as shell`.
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
10.244.0.0	node-1
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
10.244.1.0	node-2
10.244.1.1	node-2
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
10.244.0.3	test-b8fb9cdb5-khzl9
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
10.244.1.3	two-containers
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
[ ! -d /proc/sys/net/bridge ] || ip netns exec minik-minik-node-1 sysctl -qw net.bridge.bridge-nf-call-iptables=1
ip netns exec minik-minik-node-2 sysctl -qw net.ipv4.ip_forward=1
ip netns exec minik-minik-node-2 sysctl -qw net.ipv4.conf.all.rp_filter=0
ip netns exec minik-minik-node-2 sysctl -qw net.ipv4.conf.default.rp_filter=0
[ ! -d /proc/sys/net/ipv6 ] || ip netns exec minik-minik-node-2 sysctl -qw net.ipv6.conf.default.accept_ra=0
[ ! -d /proc/sys/net/bridge ] || ip netns exec minik-minik-node-2 sysctl -qw net.bridge.bridge-nf-call-iptables=1
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
ip -n minik-minik-node-1 link add flannel.1 address 4a:0e:bd:3c:34:13 mtu 1450 type vxlan id 1 local 10.1.10.9 dev ens33 dstport 8472 nolearning
ip -n minik-minik-node-1 link add cni0 address 1e:80:2d:58:39:b2 mtu 1450 type bridge
ip -n minik-minik-node-1 link add veth37760fb5 address 3e:cd:41:91:ac:96 mtu 1450 type veth peer name eth0 netns minik-minik-default-test-b8fb9cdb5-wls2w address 6a:a3:fb:40:4a:30 mtu 1450
ip -n minik-minik-node-1 link add veth1df4c15e address ce:89:56:2a:f4:0f mtu 1450 type veth peer name eth0 netns minik-minik-default-test-b8fb9cdb5-khzl9 address 8a:85:17:ee:5a:86 mtu 1450
ip -n minik-minik-node-2 link add flannel.1 address ba:11:9d:8e:78:41 mtu 1450 type vxlan id 1 local 10.1.10.10 dev ens33 dstport 8472 nolearning
ip -n minik-minik-node-2 link add cni0 address 0a:61:fc:08:ef:a2 mtu 1450 type bridge
ip -n minik-minik-node-2 link add veth8400e453 address f6:4a:1c:45:ab:c0 mtu 1450 type veth peer name eth0 netns minik-minik-default-test-b8fb9cdb5-8jfc5 address 96:42:51:c7:54:aa mtu 1450
ip -n minik-minik-node-2 link add vethcbd4cf7b address ca:74:c8:53:91:be mtu 1450 type veth peer name eth0 netns minik-minik-default-two-containers address 8e:43:a2:42:45:ba mtu 1450

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
ip -n minik-minik-client route add 10.244.0.0/16 via 10.1.10.9 dev ens33

# --- node-1
ip -n minik-minik-node-1 link set dev lo up
ip -n minik-minik-node-1 address add 10.1.10.9/24 broadcast 10.1.10.255 dev ens33
ip -n minik-minik-node-1 link set dev ens33 up
ip -n minik-minik-node-1 address add 10.244.0.0/32 dev flannel.1
ip -n minik-minik-node-1 link set dev flannel.1 up
ip -n minik-minik-node-1 address add 10.244.0.1/24 broadcast 10.244.0.255 dev cni0
ip -n minik-minik-node-1 link set dev cni0 up
ip -n minik-minik-node-1 link set dev veth37760fb5 master cni0
bridge -n minik-minik-node-1 link set dev veth37760fb5 hairpin on
ip -n minik-minik-node-1 link set dev veth37760fb5 up
ip -n minik-minik-node-1 link set dev veth1df4c15e master cni0
bridge -n minik-minik-node-1 link set dev veth1df4c15e hairpin on
ip -n minik-minik-node-1 link set dev veth1df4c15e up
ip -n minik-minik-node-1 neighbour add 10.244.1.0 lladdr ba:11:9d:8e:78:41 dev flannel.1 nud permanent
bridge -n minik-minik-node-1 fdb append ba:11:9d:8e:78:41 dev flannel.1 dst 10.1.10.10
ip -n minik-minik-node-1 route add default via 10.1.10.2 dev ens33
ip -n minik-minik-node-1 route add 10.244.1.0/24 via 10.244.1.0 dev flannel.1 onlink
ip netns exec minik-minik-node-1 iptables-restore <<'END'
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:FLANNEL-POSTRTG - [0:0]
-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.244.0.0/24 -d 10.244.0.0/16 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.244.0.0/16 -d 10.244.0.0/24 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG ! -s 10.244.0.0/16 -d 10.244.0.0/24 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.244.0.0/16 ! -d 224.0.0.0/4 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully
-A FLANNEL-POSTRTG ! -s 10.244.0.0/16 -d 10.244.0.0/16 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:FLANNEL-FWD - [0:0]
-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
-A FLANNEL-FWD -s 10.244.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
-A FLANNEL-FWD -d 10.244.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
COMMIT
END
# Files that this has too; `minik exec` shows them at their paths, `ip netns exec` cannot:
# /run/flannel/subnet.env
#   FLANNEL_NETWORK=10.244.0.0/16
#   FLANNEL_SUBNET=10.244.0.1/24
#   FLANNEL_MTU=1450
#   FLANNEL_IPMASQ=true
# /etc/cni/net.d/10-flannel.conflist
#   {
#     "name": "cbr0",
#     "cniVersion": "0.3.1",
#     "plugins": [
#       {
#         "type": "flannel",
#         "delegate": {
#           "hairpinMode": true,
#           "isDefaultGateway": true
#         }
#       },
#       {
#         "type": "portmap",
#         "capabilities": {
#           "portMappings": true
#         }
#       }
#     ]
#   }
# /var/lib/cni/networks/cbr0/10.244.0.2
#   6dc1e2e499ab631b802ca36421b008a770cad26cc333b03a68d316518cf21504
#   eth0
# /var/lib/cni/networks/cbr0/10.244.0.3
#   f74aadf3fb8f11469d0402ddbf5513f2823ccf3019088cb18184697ad227a884
#   eth0
# /var/lib/cni/networks/cbr0/last_reserved_ip.0
#   10.244.0.3
# /var/lib/cni/networks/cbr0/lock
# /var/lib/cni/flannel/6dc1e2e499ab631b802ca36421b008a770cad26cc333b03a68d316518cf21504
#   {"cniVersion":"0.3.1","hairpinMode":true,"ipMasq":false,"ipam":{"ranges":[[{"subnet":"10.244.0.0/24"}]],"routes":[{"dst":"10.244.0.0/16"}],"type":"host-local"},"isDefaultGateway":true,"isGateway":true,"mtu":1450,"name":"cbr0","type":"bridge"}
# /var/lib/cni/flannel/f74aadf3fb8f11469d0402ddbf5513f2823ccf3019088cb18184697ad227a884
#   {"cniVersion":"0.3.1","hairpinMode":true,"ipMasq":false,"ipam":{"ranges":[[{"subnet":"10.244.0.0/24"}]],"routes":[{"dst":"10.244.0.0/16"}],"type":"host-local"},"isDefaultGateway":true,"isGateway":true,"mtu":1450,"name":"cbr0","type":"bridge"}

# --- node-2
ip -n minik-minik-node-2 link set dev lo up
ip -n minik-minik-node-2 address add 10.1.10.10/24 broadcast 10.1.10.255 dev ens33
ip -n minik-minik-node-2 link set dev ens33 up
ip -n minik-minik-node-2 address add 10.244.1.0/32 dev flannel.1
ip -n minik-minik-node-2 link set dev flannel.1 up
ip -n minik-minik-node-2 address add 10.244.1.1/24 broadcast 10.244.1.255 dev cni0
ip -n minik-minik-node-2 link set dev cni0 up
ip -n minik-minik-node-2 link set dev veth8400e453 master cni0
bridge -n minik-minik-node-2 link set dev veth8400e453 hairpin on
ip -n minik-minik-node-2 link set dev veth8400e453 up
ip -n minik-minik-node-2 link set dev vethcbd4cf7b master cni0
bridge -n minik-minik-node-2 link set dev vethcbd4cf7b hairpin on
ip -n minik-minik-node-2 link set dev vethcbd4cf7b up
ip -n minik-minik-node-2 neighbour add 10.244.0.0 lladdr 4a:0e:bd:3c:34:13 dev flannel.1 nud permanent
bridge -n minik-minik-node-2 fdb append 4a:0e:bd:3c:34:13 dev flannel.1 dst 10.1.10.9
ip -n minik-minik-node-2 route add default via 10.1.10.2 dev ens33
ip -n minik-minik-node-2 route add 10.244.0.0/24 via 10.244.0.0 dev flannel.1 onlink
ip netns exec minik-minik-node-2 iptables-restore <<'END'
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:FLANNEL-POSTRTG - [0:0]
-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.244.1.0/24 -d 10.244.0.0/16 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.244.0.0/16 -d 10.244.1.0/24 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG ! -s 10.244.0.0/16 -d 10.244.1.0/24 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.244.0.0/16 ! -d 224.0.0.0/4 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully
-A FLANNEL-POSTRTG ! -s 10.244.0.0/16 -d 10.244.0.0/16 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:FLANNEL-FWD - [0:0]
-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
-A FLANNEL-FWD -s 10.244.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
-A FLANNEL-FWD -d 10.244.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
COMMIT
END
# Files that this has too; `minik exec` shows them at their paths, `ip netns exec` cannot:
# /run/flannel/subnet.env
#   FLANNEL_NETWORK=10.244.0.0/16
#   FLANNEL_SUBNET=10.244.1.1/24
#   FLANNEL_MTU=1450
#   FLANNEL_IPMASQ=true
# /etc/cni/net.d/10-flannel.conflist
#   {
#     "name": "cbr0",
#     "cniVersion": "0.3.1",
#     "plugins": [
#       {
#         "type": "flannel",
#         "delegate": {
#           "hairpinMode": true,
#           "isDefaultGateway": true
#         }
#       },
#       {
#         "type": "portmap",
#         "capabilities": {
#           "portMappings": true
#         }
#       }
#     ]
#   }
# /var/lib/cni/networks/cbr0/10.244.1.2
#   cb041266d27306313b35d74ac87ec70153e813257cc716a6e4f9b968424af102
#   eth0
# /var/lib/cni/networks/cbr0/10.244.1.3
#   7c10acbf2b142f622277eaa96f69496fe7ce9ae95e61717fa2ece7afe0a192f4
#   eth0
# /var/lib/cni/networks/cbr0/last_reserved_ip.0
#   10.244.1.3
# /var/lib/cni/networks/cbr0/lock
# /var/lib/cni/flannel/cb041266d27306313b35d74ac87ec70153e813257cc716a6e4f9b968424af102
#   {"cniVersion":"0.3.1","hairpinMode":true,"ipMasq":false,"ipam":{"ranges":[[{"subnet":"10.244.1.0/24"}]],"routes":[{"dst":"10.244.0.0/16"}],"type":"host-local"},"isDefaultGateway":true,"isGateway":true,"mtu":1450,"name":"cbr0","type":"bridge"}
# /var/lib/cni/flannel/7c10acbf2b142f622277eaa96f69496fe7ce9ae95e61717fa2ece7afe0a192f4
#   {"cniVersion":"0.3.1","hairpinMode":true,"ipMasq":false,"ipam":{"ranges":[[{"subnet":"10.244.1.0/24"}]],"routes":[{"dst":"10.244.0.0/16"}],"type":"host-local"},"isDefaultGateway":true,"isGateway":true,"mtu":1450,"name":"cbr0","type":"bridge"}

# --- default/test-b8fb9cdb5-wls2w
ip -n minik-minik-default-test-b8fb9cdb5-wls2w link set dev lo up
ip -n minik-minik-default-test-b8fb9cdb5-wls2w address add 10.244.0.2/24 broadcast 10.244.0.255 dev eth0
ip netns exec minik-minik-default-test-b8fb9cdb5-wls2w sysctl -qw net.ipv4.conf.eth0.arp_notify=1
ip -n minik-minik-default-test-b8fb9cdb5-wls2w link set dev eth0 up
ip -n minik-minik-default-test-b8fb9cdb5-wls2w route add default via 10.244.0.1 dev eth0
ip -n minik-minik-default-test-b8fb9cdb5-wls2w route add 10.244.0.0/16 via 10.244.0.1 dev eth0

# --- default/test-b8fb9cdb5-8jfc5
ip -n minik-minik-default-test-b8fb9cdb5-8jfc5 link set dev lo up
ip -n minik-minik-default-test-b8fb9cdb5-8jfc5 address add 10.244.1.2/24 broadcast 10.244.1.255 dev eth0
ip netns exec minik-minik-default-test-b8fb9cdb5-8jfc5 sysctl -qw net.ipv4.conf.eth0.arp_notify=1
ip -n minik-minik-default-test-b8fb9cdb5-8jfc5 link set dev eth0 up
ip -n minik-minik-default-test-b8fb9cdb5-8jfc5 route add default via 10.244.1.1 dev eth0
ip -n minik-minik-default-test-b8fb9cdb5-8jfc5 route add 10.244.0.0/16 via 10.244.1.1 dev eth0

# --- default/test-b8fb9cdb5-khzl9
ip -n minik-minik-default-test-b8fb9cdb5-khzl9 link set dev lo up
ip -n minik-minik-default-test-b8fb9cdb5-khzl9 address add 10.244.0.3/24 broadcast 10.244.0.255 dev eth0
ip netns exec minik-minik-default-test-b8fb9cdb5-khzl9 sysctl -qw net.ipv4.conf.eth0.arp_notify=1
ip -n minik-minik-default-test-b8fb9cdb5-khzl9 link set dev eth0 up
ip -n minik-minik-default-test-b8fb9cdb5-khzl9 route add default via 10.244.0.1 dev eth0
ip -n minik-minik-default-test-b8fb9cdb5-khzl9 route add 10.244.0.0/16 via 10.244.0.1 dev eth0

# --- default/two-containers
ip -n minik-minik-default-two-containers link set dev lo up
ip -n minik-minik-default-two-containers address add 10.244.1.3/24 broadcast 10.244.1.255 dev eth0
ip netns exec minik-minik-default-two-containers sysctl -qw net.ipv4.conf.eth0.arp_notify=1
ip -n minik-minik-default-two-containers link set dev eth0 up
ip -n minik-minik-default-two-containers route add default via 10.244.1.1 dev eth0
ip -n minik-minik-default-two-containers route add 10.244.0.0/16 via 10.244.1.1 dev eth0

# Done. A look around, and the way to remove all of it:
#   ip netns exec minik-minik-default-test-b8fb9cdb5-wls2w ip route
#   sh THIS-SCRIPT down
