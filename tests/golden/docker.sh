#!/bin/sh
# Builds the network of cluster minik (docker) by hand. Made by `minik plan --as shell`.
# Run as root; needs iproute2, procps, and of ipset, iptables, nft and ebtables what it names. `down` as argument
# removes it again.
# Nothing outside of the namespaces named here is touched, but for /etc/netns.
set -eu

NAMESPACES="
minik-minik-switch
minik-minik-gateway
minik-minik-client
minik-minik-node-1
minik-minik-default-web
minik-minik-default-shell
minik-minik-default-batch
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
172.17.0.1	node-1
END
cat > /etc/netns/minik-minik-node-1/resolv.conf <<'END'
# minik: there is no DNS server here
END
mkdir -p /etc/netns/minik-minik-default-web
cat > /etc/netns/minik-minik-default-web/hostname <<'END'
web
END
cat > /etc/netns/minik-minik-default-web/hosts <<'END'
127.0.0.1	localhost
172.17.0.2	web
END
cat > /etc/netns/minik-minik-default-web/resolv.conf <<'END'
# minik: there is no DNS server here
END
mkdir -p /etc/netns/minik-minik-default-shell
cat > /etc/netns/minik-minik-default-shell/hostname <<'END'
shell
END
cat > /etc/netns/minik-minik-default-shell/hosts <<'END'
127.0.0.1	localhost
172.17.0.3	shell
END
cat > /etc/netns/minik-minik-default-shell/resolv.conf <<'END'
# minik: there is no DNS server here
END
mkdir -p /etc/netns/minik-minik-default-batch
cat > /etc/netns/minik-minik-default-batch/hostname <<'END'
batch
END
cat > /etc/netns/minik-minik-default-batch/hosts <<'END'
127.0.0.1	localhost
END
cat > /etc/netns/minik-minik-default-batch/resolv.conf <<'END'
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
ip netns exec minik-minik-default-web sysctl -qw net.ipv4.ip_forward=0
[ ! -d /proc/sys/net/ipv6 ] || ip netns exec minik-minik-default-web sysctl -qw net.ipv6.conf.all.disable_ipv6=1
ip netns exec minik-minik-default-shell sysctl -qw net.ipv4.ip_forward=0
[ ! -d /proc/sys/net/ipv6 ] || ip netns exec minik-minik-default-shell sysctl -qw net.ipv6.conf.all.disable_ipv6=1
ip netns exec minik-minik-default-batch sysctl -qw net.ipv4.ip_forward=0
[ ! -d /proc/sys/net/ipv6 ] || ip netns exec minik-minik-default-batch sysctl -qw net.ipv6.conf.all.disable_ipv6=1

# --- Links, each veth pair once, born where it belongs
ip -n minik-minik-switch link add br0 address b6:c4:2c:2b:b7:cf mtu 1500 type bridge
ip -n minik-minik-switch link add gateway address be:b8:60:c7:db:65 mtu 1500 type veth peer name eth0 netns minik-minik-gateway address 2e:57:81:6a:d2:d2 mtu 1500
ip -n minik-minik-switch link add client address f6:6d:04:ce:df:97 mtu 1500 type veth peer name ens33 netns minik-minik-client address f2:23:be:05:0f:59 mtu 1500
ip -n minik-minik-switch link add node-1 address a2:29:76:df:c5:77 mtu 1500 type veth peer name ens33 netns minik-minik-node-1 address 00:0c:29:10:a9:6c mtu 1500
ip -n minik-minik-node-1 link add docker0 address 62:16:d3:c2:c5:1b mtu 1500 type bridge
ip -n minik-minik-node-1 link add veth041faa7 address e2:8d:a8:ed:47:d6 mtu 1500 type veth peer name eth0 netns minik-minik-default-web address 02:42:ac:11:00:02 mtu 1500
ip -n minik-minik-node-1 link add veth6622924 address ce:f4:61:01:db:5b mtu 1500 type veth peer name eth0 netns minik-minik-default-shell address 02:42:ac:11:00:03 mtu 1500

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
ip -n minik-minik-client route add 172.17.0.0/16 via 10.1.10.9 dev ens33

# --- node-1
ip -n minik-minik-node-1 link set dev lo up
ip -n minik-minik-node-1 address add 10.1.10.9/24 broadcast 10.1.10.255 dev ens33
ip -n minik-minik-node-1 link set dev ens33 up
ip -n minik-minik-node-1 address add 172.17.0.1/16 broadcast 172.17.255.255 dev docker0
ip -n minik-minik-node-1 link set dev docker0 up
ip -n minik-minik-node-1 link set dev veth041faa7 master docker0
ip -n minik-minik-node-1 link set dev veth041faa7 up
ip -n minik-minik-node-1 link set dev veth6622924 master docker0
ip -n minik-minik-node-1 link set dev veth6622924 up
ip -n minik-minik-node-1 route add default via 10.1.10.2 dev ens33
ip netns exec minik-minik-node-1 iptables-restore <<'END'
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A POSTROUTING -s 172.17.0.2/32 -d 172.17.0.2/32 -p tcp -m tcp --dport 80 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8081 -j DNAT --to-destination 172.17.0.2:80
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT
END

# --- default/web
ip -n minik-minik-default-web link set dev lo up
ip -n minik-minik-default-web address add 172.17.0.2/16 broadcast 172.17.255.255 dev eth0
ip -n minik-minik-default-web link set dev eth0 up
ip -n minik-minik-default-web route add default via 172.17.0.1 dev eth0

# --- default/shell
ip -n minik-minik-default-shell link set dev lo up
ip -n minik-minik-default-shell address add 172.17.0.3/16 broadcast 172.17.255.255 dev eth0
ip -n minik-minik-default-shell link set dev eth0 up
ip -n minik-minik-default-shell route add default via 172.17.0.1 dev eth0

# --- default/batch
ip -n minik-minik-default-batch link set dev lo up

# Done. A look around, and the way to remove all of it:
#   ip netns exec minik-minik-default-web ip route
#   sh THIS-SCRIPT down
